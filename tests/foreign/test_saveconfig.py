from __future__ import annotations

import json
from typing import Any

import pytest

from tcmu_gluster.control.operations import OPERATIONS
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.foreign import saveconfig
from tcmu_gluster.foreign.plan import Plan

WWN = "6b60c53c-8ce0-4d8d-a42c-5b546bca3d09"
# In the form of rtslib's dump() for a disk that targetcli made with `/backstores/user:glfs create`.
DISK = {"alua_tpgs": [], "attributes": {"cmd_time_out": 130, "dev_size": 1073741824}, "name": "vm1", "plugin": "user",
        "config": f"glfs/vol@192.0.2.1/block-store/{WWN}", "size": 1073741824, "wwn": WWN}  # fmt: skip


def plan(*objects: Any) -> Plan:
    made = saveconfig.plan("/etc/target/saveconfig.json", json.dumps({"storage_objects": objects, "targets": []}))
    for group in made.groups:
        for step in group.steps:
            OPERATIONS[step.op].check(step.args)
    return made


def disk(**changed: Any) -> dict[str, Any]:
    """The arguments of the step that makes it."""
    (group,) = plan({**DISK, **changed}).groups
    assert [step.op for step in group.steps] == ["disk.create", "restore"]
    return dict(group.steps[0].args)


def test_a_disk_keeps_its_name_and_serial_and_then_the_file_is_restored() -> None:
    args = disk()
    assert (args["name"], args["serial"], args["front"]) == ("vm1", WWN, "engine")
    assert args["uri"] == f"gluster://192.0.2.1/vol/block-store/{WWN}"
    assert (args["vendor"], args["product"], args["revision"]) == ("LIO-ORG", "TCMU device", "0002")
    restore = plan(DISK).groups[0].steps[-1]
    assert restore.args == {"file": "/etc/target/saveconfig.json", "source": "lio"}


@pytest.mark.parametrize(
    ("config", "uri"),
    [
        ("glfs/vol@host/dir/disk;tcmur_cmd_time_out=43", "gluster://host/vol/dir/disk"),
        ("glfs/vol@2001:db8::1/disk", "gluster://[2001:db8::1]/vol/disk"),
        ("glfs/vol@host/a%41:b", "gluster://host/vol/a%2541:b"),  # it does not decode
    ],
)
def test_config_strings_are_read_as_tcmu_runner_reads_them(config: str, uri: str) -> None:
    assert disk(config=config)["uri"] == uri


@pytest.mark.parametrize(
    "config", ["glfs/vol@host", "glfs/a/b@host/x", "glfs/%61@host/x", "glfs/vol@host/../x", "glfs/"]
)
def test_what_is_not_understood_is_left_out_with_a_note(config: str) -> None:
    made = plan({**DISK, "config": config})
    assert [step.op for step in made.groups[0].steps] == ["restore"]
    assert made.notes[0].startswith("skipped storage object 'vm1': ")


def test_block_size_and_write_cache() -> None:
    assert not {"block_size", "write_cache"} & set(disk())
    assert disk(control="max_data_area_mb=8,hw_block_size=4096")["block_size"] == "4096"
    assert "block_size" not in disk(control="hw_block_size=512")
    assert disk(attributes={"block_size": 4096})["block_size"] == "4096"
    assert "neither 512 nor 4096" in plan({**DISK, "control": "hw_block_size=1024"}).notes[0]
    assert disk(attributes={"emulate_write_cache": 0})["write_cache"] == "off"
    assert "write_cache" not in disk(attributes={"emulate_write_cache": 1})


def test_other_peoples_disks_are_the_restores_matter() -> None:
    others = [{**DISK, "config": "gluster/vol@h/x"}, {**DISK, "plugin": "fileio"}, {"name": "x"}, 7, None]
    assert [step.op for step in plan(*others).groups[0].steps] == ["restore"]


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"storage_objects": 7}', "[" * 100_000])
def test_what_is_no_saved_configuration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        saveconfig.plan("x.json", text)

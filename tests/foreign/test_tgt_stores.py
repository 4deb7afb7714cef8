from __future__ import annotations

import pytest

from tcmu_gluster.control.operations import OPERATIONS
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.foreign.apache import Option, Place
from tcmu_gluster.foreign.tgt_stores import Store, lun_step, whole_number

IQN = "iqn.2013-10.com.redhat"
HERE = Place("t.conf", 7)


def options(**given: str) -> list[Option]:
    return [Option(name.replace("_", "-") if name in DASHES else name, value, HERE) for name, value in given.items()]


DASHES = ("bs_type", "block_size", "write_cache", "device_type")


def store(path: str = "/srv/disk3", kind: str = "backing-store", **given: str) -> Store:
    return Store(kind, path, HERE, options(**given))


def test_a_number_is_one_from_one_on() -> None:
    assert [whole_number(text, 255) for text in ("1", "255", "0", "256", "-1", "x", "²", "")] == [
        1, 255, None, None, None, None, None, None,
    ]  # fmt: skip


def test_a_plain_file_keeps_what_tgtd_calls_it() -> None:
    notes: list[str] = []
    step = lun_step(IQN, 2, 3, store(), [], set(), notes)
    assert step.op == "tgt.add" and notes == []
    checked = OPERATIONS["tgt.add"].check(step.args)
    assert (checked["uri"], checked["lun"], checked["target"]) == ("file:///srv/disk3", 3, IQN)
    assert (checked["scsi_id"], checked["serial"]) == ("IET     00020003", "beaf23")
    assert (checked["write_cache"], checked["read_only"], checked["block_size"]) == (None, False, "512e")


def test_a_file_on_a_volume_with_its_options() -> None:
    path = "vol@server:dir/disk 3%41"
    given = store(path, bs_type="glfs", bsopts="logfile=/var/log/t.log;loglevel=7")
    assert given.uri([]) == "gluster://server/vol/dir/disk%203%2541?debug=7&logfile=/var/log/t.log"
    assert store("v@h:a", bs_type="glfs", bsopts="loglevel=3").uri([]) == "gluster://h/v/a?debug=3"
    with pytest.raises(ConfigError, match="bsopts 'conf'"):
        store("v@h:a", bs_type="glfs", bsopts="conf=x").uri([])
    with pytest.raises(ConfigError, match=r"can't be named|not a volume name"):
        store("a/b@h:c", bs_type="glfs").uri([])
    with pytest.raises(ConfigError, match="volume@host:file"):
        store("v@h/c", bs_type="glfs").uri([])


def test_its_own_option_wins_over_the_targets() -> None:
    defaults = options(vendor_id="TARGET", write_cache="off")
    notes: list[str] = []
    both = lun_step(IQN, 1, 1, store(vendor_id="OWN"), defaults, set(), notes)
    assert (both.args["vendor"], both.args["write_cache"]) == ("OWN", "off")
    own = lun_step(IQN, 1, 1, store(write_cache="on"), defaults, set(), notes)
    assert own.args["vendor"] == "TARGET" and "write_cache" not in own.args


def test_how_it_behaves() -> None:
    notes: list[str] = []
    step = lun_step(IQN, 1, 1, store(readonly="1", bsoflags="sync:direct", block_size="4096"), [], set(), notes)
    assert (step.args["read_only"], step.args["write_cache"], step.args["block_size"]) == (True, "off", "4096")
    assert "read_only" not in lun_step(IQN, 1, 1, store(readonly="0"), [], set(), notes).args


@pytest.mark.parametrize(
    ("given", "shape"),
    [({}, "512e"), ({"block_size": "512"}, "512e"), ({"lbppbe": "0"}, "512"), ({"lbppbe": "3"}, "512e"),
     ({"block_size": "4096"}, "4096")],
)  # fmt: skip
def test_physical_blocks_are_as_large_as_tgtd_says(given: dict[str, str], shape: str) -> None:
    assert lun_step(IQN, 1, 1, store(**given), [], set(), []).args["block_size"] == shape


def test_what_follows_from_the_backing_or_is_not_known_is_a_note_with_its_place() -> None:
    notes: list[str] = []
    lun_step(IQN, 1, 1, store(mode_page="8:0:18", foo="bar"), [], set(), notes)
    assert [note.partition(": ")[0] for note in notes] == ["t.conf:7", "t.conf:7"]
    assert "mode_page" in notes[0] and "foo: it is not understood" in notes[1]


def test_a_device_of_which_tgt_admin_asks_the_names_keeps_none_that_is_not_written() -> None:
    notes: list[str] = []
    step = lun_step(IQN, 1, 1, store("/dev/sdz", "direct-store", vendor_id="ACME"), [], set(), notes)
    assert step.args["vendor"] == "ACME" and not {"serial", "unit_serial", "product", "revision"} & set(step.args)
    assert "serial" in notes[0] and "write them into the file" in notes[0]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"bs_type": "sg"}, "'sg' is not known here"),
        ({"bs_type": "rbd"}, "'rbd' is not known here"),
        ({"device_type": "tape"}, "it is a tape"),
        ({"block_size": "2048"}, "neither 512 nor 4096"),
        ({"lbppbe": "9"}, "2 to the power of 9"),
    ],
)
def test_what_is_no_disk_of_ours_is_refused(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        store(**given).check([])

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from handler.lio_admin import RtslibLio, RtslibObject, answer
from tests.doubles.fake_lio import NO_SUCH_ATTRIBUTE, FakeLio

CREATE = {
    "do": "create",
    "name": "vm1",
    "config": "gluster/vol@host/vm1",
    "size_bytes": 1 << 30,
    "serial": "8e9b7af7",
    "block_bytes": 512,
    "cmd_time_out_seconds": 25,
}


@pytest.mark.parametrize("word", ["RTSLibNotInCFS", "RTSLibNotInCFSError"])
def test_a_backstore_that_is_not_there_by_either_name_of_rtslib(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """The exception's names in rtslib-fb 2.1.75 (Debian 12) and 2.2.4 (PyPI)."""
    absent = type(word, (Exception,), {})

    def find(name: str) -> None:
        raise absent(name)

    rtslib = SimpleNamespace(RTSRoot=object, UserBackedStorageObject=find, **{word: absent})
    monkeypatch.setitem(sys.modules, "rtslib_fb", rtslib)
    monkeypatch.setattr("handler.lio_admin.os.makedirs", lambda *_, **__: None)
    assert RtslibLio().find("vm1") is None


@pytest.mark.parametrize("word", ["RTSLibALUANotSupported", "RTSLibALUANotSupportedError"])
def test_a_backstore_without_alua_has_no_groups_by_either_name_of_rtslib(word: str) -> None:
    unsupported = type(word, (Exception,), {})

    def setup(*_: object) -> None:
        raise unsupported

    rtslib = SimpleNamespace(ALUATargetPortGroup=SimpleNamespace(setup=setup), **{word: unsupported})
    made = SimpleNamespace(name="vm1", path="/sys/kernel/config/target/core/user_0/vm1")
    RtslibObject(made, rtslib).add_alua_group({"name": "default_tg_pt_gp"})


class CrampedRtslib:
    """rtslib-fb's tcm.py on a configfs in a folder: the number is one that no backstore has, and mkdir is its create.

    Like configfs it keeps a folder with another in it; unlike there, an HBA has no files.
    """

    class RTSLibError(Exception):
        pass

    class RTSLibNotInCFSError(RTSLibError):
        pass

    def __init__(self, core: Path) -> None:
        self.core, self.tries = core, 0

    def RTSRoot(self) -> SimpleNamespace:
        return SimpleNamespace(path=str(self.core.parent))

    def UserBackedStorageObject(self, name: str, **_: object) -> SimpleNamespace:
        self.tries += 1
        taken = {int(one.parent.name.rsplit("_", 1)[1]) for one in self.core.glob("*_*/*")}
        hba = self.core / f"user_{next(number for number in range(9) if number not in taken)}"
        if hba.exists():
            raise self.RTSLibError("This _Backstore already exists in configFS")
        (hba / name).mkdir(parents=True)
        return SimpleNamespace(name=name, path=str(hba / name))


@pytest.fixture
def cramped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CrampedRtslib:
    rtslib = CrampedRtslib(tmp_path / "core")
    monkeypatch.setitem(sys.modules, "rtslib_fb", rtslib)
    monkeypatch.setattr("handler.lio_admin.os.makedirs", lambda *_, **__: None)
    return rtslib


def test_empty_hbas_that_somebody_left_are_not_in_the_way(cramped: CrampedRtslib) -> None:
    for folder in ("user_0", "user_1/other", "user_2", "fileio_3/disk", "fileio_4"):
        (cramped.core / folder).mkdir(parents=True)
    made = RtslibLio().create("vm1", "gluster/vol@host/vm1", 1 << 20, "8e9b7af7", "")
    assert made.hba == 0 and cramped.tries == 2
    left = sorted(str(folder.relative_to(cramped.core)) for folder in cramped.core.glob("*_*"))
    assert left == ["fileio_3", "fileio_4", "user_0", "user_1"], "backstores, and what is not ours, stay"


def test_what_another_process_is_making_just_now_is_refused_once_and_for_all(cramped: CrampedRtslib) -> None:
    """Nothing was empty: a second try would end as the first did."""
    (cramped.core / "user_0/half/made").mkdir(parents=True)
    cramped.UserBackedStorageObject = raising(cramped, "This _Backstore already exists in configFS")
    with pytest.raises(CrampedRtslib.RTSLibError, match="already exists"):
        RtslibLio().create("vm1", "gluster/vol@host/vm1", 1 << 20, "8e9b7af7", "")
    assert cramped.tries == 1 and (cramped.core / "user_0/half").exists()


def test_another_refusal_of_rtslib_takes_nothing_away(cramped: CrampedRtslib) -> None:
    (cramped.core / "user_5").mkdir(parents=True)
    cramped.UserBackedStorageObject = raising(cramped, "Storage object user/vm1 exists")
    with pytest.raises(CrampedRtslib.RTSLibError, match="vm1 exists"):
        RtslibLio().create("vm1", "gluster/vol@host/vm1", 1 << 20, "8e9b7af7", "")
    assert cramped.tries == 1 and (cramped.core / "user_5").exists()


def raising(rtslib: CrampedRtslib, sentence: str) -> Any:
    def make(*_: object, **__: object) -> None:
        rtslib.tries += 1
        raise rtslib.RTSLibError(sentence)

    return make


def test_a_device_is_made_so_that_nobody_waits_for_a_netlink_answer() -> None:
    lio = FakeLio()
    assert answer(CREATE, lio) == {"changed": True, "hba": 0, "serial": "8e9b7af7"}
    assert lio.controls == ["nl_reply_supported=-1,hw_block_size=512"]
    assert lio.objects["vm1"].attributes == {"cmd_time_out": "25", "tmr_notification": "1", "emulate_write_cache": "1"}
    assert lio.reservation_directory, "or the kernel fails every PERSISTENT RESERVE OUT"


def test_a_device_that_is_there_is_already_so() -> None:
    lio = FakeLio()
    answer(CREATE, lio)
    assert answer(CREATE, lio) == {"changed": False, "hba": 0, "serial": "8e9b7af7"}
    assert "another name" in answer({**CREATE, "size_bytes": 1 << 20}, lio)["error"]


def test_what_older_kernels_lack_is_left_out() -> None:
    lio = FakeLio()
    lio.faults = dict.fromkeys(("tmr_notification", "cmd_time_out", "emulate_write_cache"), NO_SUCH_ATTRIBUTE)
    assert answer(CREATE, lio)["changed"] is True


@pytest.mark.parametrize(
    ("fault", "request_"),
    [("cmd_time_out", CREATE), ("emulate_write_cache", {**CREATE, "write_cache": False}), ("create", CREATE)],
)
def test_what_was_half_made_is_taken_away_again(fault: str, request_: dict[str, Any]) -> None:
    lio = FakeLio()
    lio.faults = {fault: errno.EIO}
    result = answer(request_, lio)
    assert result["errno"] == errno.EIO and "LIO refused" in result["error"]
    assert lio.objects == {}


def test_resize_and_delete() -> None:
    lio = FakeLio()
    answer(CREATE, lio)
    assert answer({"do": "resize", "name": "vm1", "size_bytes": 1 << 30}, lio) == {"changed": False}
    assert answer({"do": "resize", "name": "vm1", "size_bytes": 2 << 30}, lio) == {"changed": True}
    assert "no user backstore" in answer({"do": "resize", "name": "vm2", "size_bytes": 1}, lio)["error"]
    lio.objects["vm1"].exported = True
    assert "still shows" in answer({"do": "delete", "name": "vm1"}, lio)["error"]
    lio.objects["vm1"].exported = False
    assert answer({"do": "delete", "name": "vm1"}, lio) == {"changed": True}
    assert answer({"do": "delete", "name": "vm1"}, lio) == {"changed": False}


def test_list_names_everything() -> None:
    lio = FakeLio()
    answer(CREATE, lio)
    assert answer({"do": "list"}, lio)["items"] == [
        {"name": "vm1", "hba": 0, "config": "gluster/vol@host/vm1", "size_bytes": 1 << 30, "serial": "8e9b7af7"}
    ]


@pytest.mark.parametrize("request_", [None, [], {}, {"do": "explode"}, {"do": "create"}, {"do": "resize", "name": "x"}])
def test_nonsense_is_one_sentence(request_: Any) -> None:
    result = answer(request_, FakeLio())
    assert set(result) == {"error"} and "\n" not in result["error"]


def test_the_write_cache_is_as_on_the_engine_unless_it_is_turned_off() -> None:
    """linux/include/target/target_core_base.h: DA_EMULATE_WRITE_CACHE is 0, so the kernel's default is off."""
    lio = FakeLio()
    answer({**CREATE, "write_cache": False}, lio)
    assert lio.objects["vm1"].attributes["emulate_write_cache"] == "0"


def test_the_process_answers_each_line_on_standard_output() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "handler.lio_admin"],
        input='nonsense\n{"do": "explode"}\n', capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert run.returncode == 1
    assert ["error" in json.loads(line) for line in run.stdout.splitlines()] == [True, True]

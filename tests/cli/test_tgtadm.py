from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tcmu_gluster.cli import tgtadm
from tcmu_gluster.cli.tgt_options import TgtError, parse
from tcmu_gluster.cli.tgtadm import HANDLERS, Tgtadm, backing_of, main
from tcmu_gluster.errors import ConfigError

IQN = "iqn.2013-10.com.redhat"
HOST = "iqn.1994-05.com.redhat:cf75c8d4274d"


class Daemon:
    """Answers tgt.show; remembers the rest."""

    def __init__(self, **target: Any) -> None:
        empty = {"tid": 1, "target": IQN, "enabled": True, "luns": [], "users": [], "outgoing": [], "rules": [],
                 "sessions": [], "parameters": {"MaxBurstLength": 262144}}  # fmt: skip
        self.shown = {"targets": [{**empty, **target}], "accounts": ["joe"], "portals": []}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def call(self, op: str, args: dict[str, Any]) -> dict[str, Any]:
        if op == "tgt.show":
            return self.shown
        self.calls.append((op, args))
        return {"now": "", "changed": True}


def do(daemon: Daemon, line: str) -> str:
    options = parse(["--lld", "iscsi", *line.split()])
    return HANDLERS[options.mode, options.op](Tgtadm(daemon), options)


@pytest.mark.parametrize(
    ("line", "calls"),
    [
        (f"--op new --mode target --tid 2 -T {IQN}:2", [("target.create", {"target": f"{IQN}:2", "tid": 2})]),
        ("--op delete --mode target --tid 1", [("target.delete", {"target": IQN})]),
        ("--op bind --mode target --tid 1 -I ALL", [("acl.allow", {"target": IQN, "rule": "all"})]),
        ("--op bind --mode target --tid 1 -I 192.0.2.7", [("acl.allow", {"target": IQN, "rule": "192.0.2.7"})]),
        (f"--op bind --mode target --tid 1 -Q {HOST}", [("acl.allow", {"target": IQN, "rule": HOST})]),
        ("--op update --mode target --tid 1 -n state -v offline", [("target.disable", {"target": IQN})]),
        ("--op new --mode lu --tid 1 --lun 1 -b /d", [("tgt.add", {"target": IQN, "lun": 1, "uri": "file:///d"})]),
        ("--op new --mode lu --tid 1 --lun 1 --bstype glfs -b vol@host:disk3",
         [("tgt.add", {"target": IQN, "lun": 1, "uri": "gluster://host/vol/disk3"})]),
        ("--op new --mode lu --tid 1 --lun 1 -b /d -f sync:direct -P vendor_id=IET,scsi_sn=beaf11",
         [("tgt.add", {"target": IQN, "lun": 1, "uri": "file:///d", "write_cache": "off", "vendor": "IET",
                       "serial": "beaf11"})]),
        ("--op bind --mode account --tid 1 --user joe",
         [("tgt.bind", {"target": IQN, "user": "joe", "outgoing": False})]),
        ("--op new --mode portal --param portal=127.0.0.1:4", [("tgt.portal", {"portal": "127.0.0.1:4"})]),
    ],
)  # fmt: skip
def test_what_is_typed_becomes_operations(line: str, calls: list[Any]) -> None:
    daemon = Daemon()
    assert do(daemon, line) == ""
    assert daemon.calls == calls


def test_a_target_goes_with_its_luns_and_not_under_somebody() -> None:
    lun, session = {"lun": 1}, {"id": 3, "connections": [0]}
    busy = Daemon(luns=[lun], sessions=[session])
    with pytest.raises(TgtError, match="this target is still active"):
        do(busy, "--op delete --mode target --tid 1")
    assert busy.calls == []
    do(busy, "--op delete --mode target --tid 1 --force")
    assert [op for op, _ in busy.calls] == ["tgt.remove", "target.delete"]


def test_names_beside_all_narrow_it_as_in_tgt() -> None:
    """tgt asks for an address and a name where both are given; ours would let in either."""
    daemon = Daemon(rules=["all"])
    do(daemon, f"--op bind --mode target --tid 1 -Q {HOST}")
    assert daemon.calls == [
        ("acl.allow", {"target": IQN, "rule": HOST}),
        ("acl.deny", {"target": IQN, "rule": "all"}),
    ]
    named = Daemon(rules=[HOST])
    do(named, "--op bind --mode target --tid 1 -I ALL")
    assert named.calls == []
    for rules, line in ((["192.0.2.0/24"], f"-Q {HOST}"), ([HOST], "-I 192.0.2.0/24")):
        with pytest.raises(TgtError, match="tgt means both"):
            do(Daemon(rules=rules), f"--op bind --mode target --tid 1 {line}")


@pytest.mark.parametrize(
    ("line", "uri"),
    [
        ("-b vol@h:a/b --bstype glfs --bsopts logfile=/l,loglevel=7", "gluster://h/vol/a/b?debug=7&logfile=/l"),
        ("-b gluster://h/vol/a", "gluster://h/vol/a"),
        ("-b /mnt/a%20b", "file:///mnt/a%2520b"),
        ("-b memory:x?size=1M", "memory:x?size=1M"),
    ],
)
def test_backing_stores(line: str, uri: str) -> None:
    assert backing_of(parse(f"-o new -m lu {line}".split())) == uri


@pytest.mark.parametrize("line", ["-b /x --bstype sheepdog", "", "-b v@h:x -E glfs -S nope=1", "-b disk3 -E glfs"])
def test_backing_stores_that_are_none(line: str) -> None:
    with pytest.raises((TgtError, ConfigError)):
        backing_of(parse(f"-o new -m lu {line}".split()))


def test_the_cookbooks_malformed_name_is_refused_with_what_was_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old page says iqn.20013-10.com.redhat, and tgt took it; initiators that check names don't."""
    with pytest.raises(ConfigError, match=r"did you mean 'iqn\.2013-10\.com\.redhat'\?"):
        do(Daemon(), "--op new --mode target --tid 2 -T iqn.20013-10.com.redhat")

    class Client(Daemon):
        def __init__(self, path: Path) -> None:
            super().__init__()

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *exception: object) -> None:
            pass

    monkeypatch.setattr(tgtadm, "ControlClient", Client)
    assert (
        main(["--lld", "iscsi", "--op", "new", "--mode", "target", "--tid", "2", "-T", "iqn.20013-10.com.redhat"]) == 22
    )
    said = capsys.readouterr().err
    assert said.startswith("tgtadm: ") and said.count("\n") == 1
    assert "four digits" in said and "did you mean 'iqn.2013-10.com.redhat'?" in said


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCMU_GLUSTER_CONTROL_SOCKET", str(tmp_path / "none.sock"))
    assert main(["--op", "show", "--mode", "target"]) == 107
    assert "Transport endpoint is not connected" in capsys.readouterr().err
    assert main(["--op", "foo", "--mode", "target"]) == 1
    assert main(["--op", "stat", "--mode", "target", "--tid", "1"]) == 22
    assert main(["--lld", "iser", "--op", "show", "--mode", "target"]) == 22
    assert main(["--help"]) == main(["-V"]) == 0
    assert "--bstype" in capsys.readouterr().out


def test_the_other_refusals() -> None:
    for line, sentence in (
        ("--op new --mode target --tid 1 -T iqn.2013-10.com.redhat:x", "this target already exists"),
        ("--op new --mode lu --tid 1 --lun 0 -b /x", "this logical unit number already exists"),
        ("--op new --mode lu --tid 1 --lun 1 -b /x -Y tape", "only disks"),
        ("--op update --mode lu --tid 1 --lun 1 -P readonly=1", "can't find the logical unit"),
        ("--op show --mode conn --tid 2", "can't find the target"),
        ("--op delete --mode system", "systemctl"),
        ("--op unbind --mode account --tid 1 --user joe", "can't find the account"),
        ("--op bind --mode target --tid 1", "initiator-address"),
        ("--op delete --mode conn --tid 1 --sid 1", "can't find the session"),
    ):
        with pytest.raises(TgtError, match=sentence):
            do(Daemon(), line)

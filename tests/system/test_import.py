"""import against the real tgt: what an initiator is told before (by tgtd) and after (by us) is the same, by field."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.initiator import Initiator
from tests.system.served import Served
from tests.system.test_tgtadm import PORT, Tgtd

IQN = "iqn.2013-10.com.redhat"
TOOLS = ("tgtd", "tgt-admin", "iscsi-inq", "iscsi-ls", "iscsi-readcapacity16")
pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(
        any(shutil.which(tool) is None for tool in TOOLS), reason=f"not installed: one of {', '.join(TOOLS)}"
    ),
]

# Two targets whose order in the file is not that of their names; LUNs given and not; names given and not.
CONF = """
default-driver iscsi
include {folder}/conf.d/*.conf
<target {iqn}:second>
    <backing-store {folder}/c>
        scsi_id MYID-0123456789abcdef
        scsi_sn SN01
        vendor_id ACME
        product_id A product
        product_rev 1.23
        lun 5
        write-cache off
    </backing-store>
    <backing-store {folder}/b>
        scsi_sn A-serial-number-of-more-than-36-characters
        vendor_id TooLongVendor
        readonly 1
    </backing-store>
    <backing-store {folder}/missing>
    </backing-store>
    <backing-store {folder}/d>
        block-size 4096
    </backing-store>
    initiator-address 127.0.0.1
    incominguser joe secretsecret1
</target>
"""
INCLUDED = """
<target {iqn}:first>
    backing-store {folder}/a      # LUN 1
    backing-store "{folder}/e f"
    vendor_id OURS
</target>
"""


def initiator(tool: str, portal: str, target: str, lun: int, *words: str, user: str = "") -> str:
    """What a tool of libiscsi prints about a LUN, without the lines that name the portal."""
    done = subprocess.run(
        [tool, *words, f"iscsi://{user}{portal}/{target}/{lun}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, (tool, words, done.stdout, done.stderr)
    return done.stdout


def told(portal: str, target: str, lun: int, user: str) -> dict[str, Any]:
    """What an initiator is told about a disk, as it names the fields: identity, size, whether it is write-protected."""
    standard = fields(initiator("iscsi-inq", portal, target, lun, user=user))
    serial = fields(initiator("iscsi-inq", portal, target, lun, "-e", "1", "-c", "128", user=user))
    capacity = fields(
        initiator("iscsi-readcapacity16", portal, target, lun, user=user).replace(" LOGICAL", "\nLOGICAL")
    )
    return {
        **{key: standard[key] for key in ("Peripheral Qualifier", "Peripheral Device Type", "Removable", "Vendor",
                                          "Product", "Revision")},
        "Unit Serial Number": serial["Unit Serial Number"],
        "Designators": designators(portal, target, lun, user),
        **{key: capacity[key] for key in ("Total size", "LOGICAL BLOCK LENGTH IN BYTES",
                                          "LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT")},
    }  # fmt: skip


def fields(text: str) -> dict[str, str]:
    """Name:value of each line."""
    rows = (line.partition(":") for line in text.split("\n"))
    return {name.strip(): value.strip() for name, _, value in rows}


def designators(portal: str, target: str, lun: int, user: str) -> set[tuple[int, int, str]]:
    """(code set, type, value) of what names the logical unit in page 83h; a port's names are each target's own.

    iscsi-inq prints binary ones as text, so the page is read here. Zeros behind a text are no part of it (SPC-4 4.4.2).
    """
    page = inquiry(portal, target, lun, bytes([0x12, 1, 0x83, 4, 0, 0]), user)
    found, at = set(), 4
    while at < len(page):
        code_set, association, type_, length = page[at] & 15, page[at + 1] >> 4 & 3, page[at + 1] & 15, page[at + 3]
        value = page[at + 4 : at + 4 + length]
        if association == 0:
            found.add((code_set, type_, value.hex() if code_set == 1 else value.rstrip(b"\0").decode()))
        at += 4 + length
    return found


def inquiry(portal: str, target: str, lun: int, cdb: bytes, user: str) -> bytes:
    """The answer to one command."""
    host, _, port = portal.rpartition(":")
    name, _, password = user.rstrip("@").partition("%")
    double = Initiator(target, chap=(name, password) if user else None)
    with socket.create_connection((host, int(port)), timeout=30) as connection:

        def until(done: Callable[[], bool]) -> None:
            while not done():
                connection.sendall(double.take())
                if not done():
                    data = connection.recv(65536)
                    assert data, "the target hangs up"
                    double.feed(data)

        double.login()
        until(lambda: double.full_feature)
        attention = double.scsi(bytes(6), lun=lun)  # TEST UNIT READY takes it
        until(lambda: attention.status is not None)
        task = double.scsi(cdb, read=1024, lun=lun)
        until(lambda: task.status is not None)
        assert task.status == 0
        return task.data


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Tgtd]:
    for name in ("a", "b", "c", "d", "e f"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(4 << 20)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "first.conf").write_text(INCLUDED.format(iqn=IQN, folder=tmp_path))
    (tmp_path / "targets.conf").write_text(CONF.format(iqn=IQN, folder=tmp_path))
    tgtd = Tgtd()
    try:
        yield tgtd
    finally:
        tgtd.stop()


def luns(shown: str) -> dict[str, dict[str, str]]:
    """ "tid/LUN" -> fields of every disk that tgtadm's show prints."""
    found: dict[str, dict[str, str]] = {}
    for target in re.split(r"^Target ", shown, flags=re.MULTILINE)[1:]:
        tid = target.partition(":")[0]
        for lun in re.split(r"^ +LUN: ", target.partition("Account information")[0], flags=re.MULTILINE)[1:]:
            found[f"{tid}/{lun.partition(chr(10))[0]}"] = fields(lun)
    return found


SHOW = ("--lld", "iscsi", "--op", "show", "--mode", "target")


def test_initiators_are_told_the_same_before_and_after(real: Tgtd, tmp_path: Path) -> None:
    conf = str(tmp_path / "targets.conf")
    done = subprocess.run(["tgt-admin", "-C", str(PORT), "-c", conf, "-e"], capture_output=True, text=True, check=False)
    assert "does not exist" in done.stdout + done.stderr or done.returncode == 0, (done.stdout, done.stderr)
    disks = [(f"{IQN}:first", 1), (f"{IQN}:first", 2), (f"{IQN}:second", 1), (f"{IQN}:second", 2), (f"{IQN}:second", 5)]
    users = {f"{IQN}:first": "", f"{IQN}:second": "joe%secretsecret1@"}
    before = {disk: told(real.portal, *disk, users[disk[0]]) for disk in disks}
    shown = real.tgtadm(*SHOW).stdout
    assert len(before) == 5 and len({str(one) for one in before.values()}) == 5
    real.stop()
    with Served(tmp_path) as ours:
        imported = ours.command("import", conf, "--json")
        assert imported.returncode == 0, (imported.stdout, imported.stderr)
        outcomes = json.loads(imported.stdout)
        assert [(one["name"], one["outcome"]) for one in outcomes["items"]] == [
            (f"{IQN}:first", "done"), (f"{IQN}:second", "done"),
        ]  # fmt: skip
        assert any("missing: there is no such file" in note for note in outcomes["notes"])
        after = {disk: told(ours.portal, *disk, users[disk[0]]) for disk in disks}
        for disk in disks:
            assert after[disk] == before[disk], disk
        for key, theirs in luns(shown).items():
            if theirs["Type"] == "disk":
                mine = luns(ours.tgtadm(*SHOW).stdout)[key]
                same = ("SCSI ID", "SCSI SN", "Size", "Readonly", "Backing store type", "Backing store path")
                assert {name: mine[name] for name in same} == {name: theirs[name] for name in same}, key
        refused = subprocess.run(
            ["iscsi-inq", f"iscsi://{ours.portal}/{IQN}:second/1"], capture_output=True, text=True, check=False
        )
        assert refused.returncode != 0, "the password is asked for"
        saved = ours.state.read_text()
        again = json.loads(ours.command("import", conf, "--json").stdout)
        assert {one["outcome"] for one in again["items"]} == {"already so"}
        assert ours.state.read_text() == saved
        ours.stop()
        ours.start()
        assert {disk: told(ours.portal, *disk, users[disk[0]]) for disk in disks} == before, "and after a restart"

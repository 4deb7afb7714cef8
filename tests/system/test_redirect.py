"""Login redirection (RFC 7143 11.13.5, status class 1) with real initiators: libiscsi's tools, and QEMU's client.

Two daemons with a target of the same name, each with a file of its own: what is written shows who was reached.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.system.served import Served, until

TOOLS = ("iscsi-inq", "iscsi-ls", "iscsi-readcapacity16", "qemu-io")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
IQN = "iqn.2026-01.example:moved"
HERE, THERE = 16 << 20, 32 << 20
"""Sizes of the two disks, in bytes: the answer to READ CAPACITY says whose it is."""

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (Debian: libiscsi-bin, qemu-utils)"),
]


def run(*command: str) -> tuple[int, str]:
    """Exit status and output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


def fill(served: Served, size_bytes: int) -> None:
    """Its disk and target."""
    served.do("disk", "create", "vm1", f"file://{served.folder}/disk", "--size", str(size_bytes))
    served.do("target", "create", IQN)
    served.do("acl", "allow", IQN, "all")
    served.do("lun", "map", IQN, "vm1")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Served]]:
    """Where the target was, and where it is."""
    folder = tmp_path_factory.mktemp("redirect")
    for name in ("here", "there"):
        (folder / name).mkdir()
    with Served(folder / "here") as here, Served(folder / "there") as there:
        fill(here, HERE)
        fill(there, THERE)
        yield here, there
        assert "Traceback" not in here.log() + there.log()


def url(served: Served) -> str:
    """libiscsi's name of the disk there."""
    return f"iscsi://{served.portal}/{IQN}/0"


def capacity(served: Served) -> int:
    """What READ CAPACITY(16) says to somebody who asks this daemon, in bytes."""
    code, out = run("iscsi-readcapacity16", url(served))
    total = re.search(r"Total size:(\d+)", out)
    assert code == 0 and total, out
    return int(total[1])


def test_libiscsi_and_qemu_follow_a_target_that_moved(hosts: tuple[Served, Served]) -> None:
    here, there = hosts
    here.do("target", "redirect", IQN)
    assert capacity(here) == HERE
    here.do("target", "redirect", IQN, there.portal)
    assert capacity(here) == THERE
    code, out = run("iscsi-inq", url(here))
    assert code == 0 and "Peripheral Device Type:DIRECT_ACCESS" in out, out
    code, out = run("iscsi-ls", "-s", f"iscsi://{here.portal}")
    assert code == 0 and IQN in out and "Lun:0" in out, out
    code, out = run("qemu-io", "-f", "raw", "-c", "write -P 0xA5 0 4096", "-c", "flush", url(here))
    assert code == 0 and "wrote 4096/4096" in out, out
    assert (there.folder / "disk").read_bytes()[:4096] == b"\xa5" * 4096
    assert (here.folder / "disk").read_bytes()[:4096] == bytes(4096)
    here.do("target", "redirect", IQN)
    assert capacity(here) == HERE, "it is here again"


def test_a_target_that_moved_for_good_is_said_with_its_own_status(hosts: tuple[Served, Served]) -> None:
    """Class 1, detail 2 (258). libiscsi 1.19 follows detail 1 alone, and says so."""
    here, there = hosts
    here.do("target", "redirect", IQN, there.portal, "--permanent")
    code, out = run("iscsi-inq", url(here))
    assert code and "Target moved permanently(258)" in out, out
    here.do("target", "redirect", IQN)


def test_a_session_is_asked_to_leave_and_goes_where_the_target_is(hosts: tuple[Served, Served]) -> None:
    """QEMU's client obeys the logout request (asynchronous message 1) and logs in anew, by way of the redirection."""
    here, there = hosts
    here.do("target", "redirect", IQN)
    client = subprocess.Popen(
        ["qemu-io", "-f", "raw", url(here)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    try:
        assert client.stdin is not None
        until(lambda: IQN in here.command("session", "list").stdout, "it is logged in here")
        here.do("target", "redirect", IQN, there.portal)
        until(lambda: IQN not in here.command("session", "list").stdout, "it has left")
        until(lambda: IQN in there.command("session", "list").stdout, "it has come there")
        out, _ = client.communicate("write -P 0x77 8192 4096\nflush\n", timeout=60)
        assert "wrote 4096/4096" in out, out
    finally:
        client.kill()
        client.wait()
        here.do("target", "redirect", IQN)
    assert (there.folder / "disk").read_bytes()[8192:12288] == b"\x77" * 4096
    assert (here.folder / "disk").read_bytes()[8192:12288] == bytes(4096)

"""tcmu-gluster-tgtadm beside the real tgtadm: the same commands, and what both show and say, field by field."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.export import free_port
from tests.system.served import Served, until

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(shutil.which("tgtd") is None, reason="not installed: tgtd (Debian: tgt)"),
]

IQN = "iqn.2013-10.com.redhat"
PORT = 4321
OURS_BY_DESIGN = ("SCSI ID", "SCSI SN", "I_T nexus", "Session", "Portal", "Thin-provisioning")
"""Fields that must be there, in their place, but differ: identities and numbers are made by each target, and our disks
are thin where their backing can discard."""


class Tgtd:
    """The real one, with its own control port and portal."""

    def __init__(self) -> None:
        self.port = free_port()
        self.portal = f"127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            ["tgtd", "-f", "-C", str(PORT), "--iscsi", f"portal={self.portal}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(lambda: self.tgtadm("--op", "show", "--mode", "system").returncode == 0, "tgtd answers")

    def tgtadm(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["tgtadm", "-C", str(PORT), *words], capture_output=True, text=True, check=False, timeout=30
        )

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()  # it waits for its RDMA threads where there is no RDMA
            self.process.wait()


class Both:
    """One command, twice."""

    def __init__(self, ours: Served, real: Tgtd) -> None:
        self.ours, self.real = ours, real

    def run(self, line: str) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
        return self.ours.tgtadm(*line.split()), self.real.tgtadm(*line.split())

    def same(self, line: str) -> None:
        """Both end with the same code, say the same, and show the same but for what each makes by design."""
        ours, real = self.run(line)
        assert ours.returncode == real.returncode, (line, ours, real)
        if real.returncode:  # what is done may come with a warning of ours, as that everybody may log in now
            assert ours.stderr == real.stderr, (line, ours, real)
        assert fields(ours.stdout) == fields(real.stdout), line


def fields(text: str) -> list[tuple[int, str, str]]:
    """(indentation, name, value) of every line. Blanks at the end of a line are tgt's, and so ours."""
    rows = []
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        name, colon, value = line.strip().partition(": ")
        rows.append((indent, name, "*" if name in OURS_BY_DESIGN else colon + value))
    return rows


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    for name, size in (("disk3", 64 << 20), ("disk4", 1_999_872), ("big", 2048 << 20)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    real = Tgtd()
    try:
        with Served(tmp_path) as ours:
            yield Both(ours, real)
    finally:
        real.stop()


def test_the_same_set_up_is_shown_the_same(both: Both, tmp_path: Path) -> None:
    for line in (
        "--lld iscsi --op show --mode target",
        f"--lld iscsi --op new --mode target --tid 1 -T {IQN}",
        "--lld iscsi --op show --mode conn --tid 1",
        f"--lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b {tmp_path}/disk3",
        f"-L iscsi -o new -m logicalunit -t 1 -l 2 -b {tmp_path}/disk4 -E rdwr -Y disk",
        "--lld iscsi --op bind --mode target --tid 1 -I ALL",
        f"--lld iscsi --op new --mode target --tid 7 -T {IQN}:second",
        f"--lld iscsi --op new --mode logicalunit --tid 7 --lun 1 -b {tmp_path}/big",
        "--lld iscsi --op bind --mode target --tid 7 -I 192.0.2.0/24",
        "--lld iscsi --op bind --mode target --tid 7 -I 198.51.100.7",
        "--lld iscsi --op new --mode account --user joe --password secretsecret1",
        "--lld iscsi --op new --mode account --user out --password secretsecret2",
        "--lld iscsi --op bind --mode account --tid 1 --user joe",
        "--lld iscsi --op bind --mode account --tid 1 --user out --outgoing",
        "--lld iscsi --op update --mode target --tid 7 --name state --value offline",
        "--lld iscsi --op update --mode logicalunit --tid 1 --lun 2 --params readonly=1",
    ):
        both.same(line)
    both.same("--lld iscsi --op show --mode target")
    both.same("--lld iscsi --mode target --op show")
    both.same("--op show --mode tgt")
    both.same("--lld iscsi --op show --mode portal")
    ours, real = both.run("--lld iscsi --op show --mode account")
    assert sorted(ours.stdout.split("\n")) == sorted(real.stdout.split("\n"))
    ours, real = both.run("--lld iscsi --op show --mode target --tid 1")
    names = [[line.partition("=")[0] for line in text.split("\n")] for text in (ours.stdout, real.stdout)]
    left_out = {"RDMAExtensions", "TargetRecvDataSegmentLength", "InitiatorRecvDataSegmentLength",
                "MaxOutstandingUnexpectedPDUs", "MaxXmitDataSegmentLength"}  # fmt: skip
    assert names[0] == [name for name in names[1] if name not in left_out], "iSER's are tgt's alone"


def test_a_session_is_shown_the_same(both: Both, tmp_path: Path) -> None:
    both.same(f"--lld iscsi --op new --mode target --tid 1 -T {IQN}")
    both.same(f"--lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b {tmp_path}/disk3")
    both.same("--lld iscsi --op bind --mode target --tid 1 -I ALL")
    clients = []
    for portal in (both.ours.portal, both.real.portal):
        words = ["qemu-io", "-f", "raw", f"iscsi://{portal}/{IQN}/1"]
        clients.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL))
    try:
        show = "--lld iscsi --op show --mode conn --tid 1"
        until(lambda: all("IP Address" in done.stdout for done in both.run(show)), "both are logged in")
        both.same(show)
        both.same("--lld iscsi --op show --mode target")
        both.same("--lld iscsi --op delete --mode target --tid 1")
        both.same("--lld iscsi --op delete --mode conn --tid 1 --sid 4711 --cid 0")
    finally:
        for client in clients:
            client.communicate()
    both.same("--lld iscsi --op delete --mode logicalunit --tid 1 --lun 1")
    both.same("--lld iscsi --op delete --mode target --tid 1")
    both.same("--lld iscsi --op show --mode target")
    assert (tmp_path / "disk3").exists()


def test_refusals_are_worded_and_numbered_the_same(both: Both, tmp_path: Path) -> None:
    both.same(f"--lld iscsi --op new --mode target --tid 1 -T {IQN}")
    both.same(f"--lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b {tmp_path}/disk3")
    both.same("--lld iscsi --op bind --mode target --tid 1 -I ALL")
    both.same("--lld iscsi --op new --mode account --user joe --password secretsecret1")
    for line in (
        f"--lld iscsi --op new --mode target --tid 1 -T {IQN}:other",
        f"--lld iscsi --op new --mode target --tid 2 -T {IQN}",
        "--lld iscsi --op new --mode target --tid 3",
        "--op new --mode target --tid 0 -T x",
        "--op new --mode target --tid x -T x",
        f"--op new --mode target -T {IQN}",
        f"--lld foo --op new --mode target --tid 3 -T {IQN}:3",
        f"--lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b {tmp_path}/disk4",
        f"--lld iscsi --op new --mode logicalunit --tid 1 --lun 0 -b {tmp_path}/disk4",
        f"--lld iscsi --op new --mode logicalunit --tid 1 -b {tmp_path}/disk4",
        f"--lld iscsi --op new --mode logicalunit --tid 9 --lun 1 -b {tmp_path}/disk4",
        "--lld iscsi --op delete --mode logicalunit --tid 1 --lun 5",
        "--lld iscsi --op delete --mode target --tid 9",
        "--lld iscsi --op bind --mode target --tid 1 -I ALL",
        "--lld iscsi --op unbind --mode target --tid 1 -I 198.51.100.0/24",
        "--lld iscsi --op new --mode account --user joe --password secretsecret1",
        "--lld iscsi --op bind --mode account --tid 1 --user nobody",
        "--lld iscsi --op unbind --mode account --tid 1 --user joe",
        "--lld iscsi --op delete --mode account --user nobody",
        "--lld iscsi --op update --mode logicalunit --tid 1 --lun 1 --params foo=1",
        "--lld iscsi --op update --mode target --tid 1 --name Bogus --value 1",
        "--lld iscsi --op show --mode logicalunit --tid 1 --lun 1",
        "--op foo --mode target",
        "--op new --mode foo",
        "--lld iscsi",
        "--wrong",
        "--lld iscsi --op show --mode target extra",
        "--lld iscsi --op delete --mode account --user joe",
        "--lld iscsi --op delete --mode target --tid 1",
    ):
        both.same(line)


def test_without_a_daemon_the_code_is_the_same(tmp_path: Path) -> None:
    ours = Served(tmp_path).tgtadm("--lld", "iscsi", "--op", "show", "--mode", "target")
    real = subprocess.run(
        ["tgtadm", "-C", "4322", "--lld", "iscsi", "--op", "show", "--mode", "target"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ours.returncode == real.returncode == 107
    assert real.stderr.strip() in ours.stderr


def test_tids_and_the_shown_text_survive_a_restart(both: Both, tmp_path: Path) -> None:
    for line in (
        f"--lld iscsi --op new --mode target --tid 5 -T {IQN}",
        f"--lld iscsi --op new --mode logicalunit --tid 5 --lun 1 -b {tmp_path}/disk3",
        "--lld iscsi --op bind --mode target --tid 5 -I ALL",
        f"--lld iscsi --op new --mode target --tid 3 -T {IQN}:three",
    ):
        both.same(line)
    show = ("--lld", "iscsi", "--op", "show", "--mode", "target")
    before = both.ours.tgtadm(*show).stdout
    assert [int(number) for number in re.findall(r"^Target ([0-9]+): ", before, re.MULTILINE)] == [3, 5]
    both.ours.stop()
    both.ours.start()
    assert both.ours.tgtadm(*show).stdout == before
    both.same(" ".join(show))

"""The old cookbook, typed as it was, on a real volume: FUSE-mounted, and as volume@host:file.

iscsiadm needs a kernel of its own: tests/system/kernel/guest/scenarios/k_cookbook.py types those lines too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.gluster_server import HOST, GlusterServer, why_unavailable
from tests.system.served import Served
from tests.system.test_tgtadm import fields

_reason = why_unavailable() or (None if os.path.exists("/dev/fuse") else "there is no /dev/fuse here")
pytestmark = [pytest.mark.gluster, pytest.mark.skipif(bool(_reason), reason=_reason or "-")]

IQN = "iqn.2013-10.com.redhat"
MIB = 1 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[GlusterServer]:
    with GlusterServer() as gluster:
        gluster.create_volume("gserver")
        yield gluster


class Host:
    """The machine of the cookbook: tgtadm is linked into the path, the volume and the daemon are on it."""

    def __init__(self, server: GlusterServer, folder: Path) -> None:
        self.ours = Served(folder, portal=f"{HOST}:3260", wrap=server.command).start()
        self.bin, self.mount = folder / "bin", folder / "mnt"
        self.bin.mkdir()
        self.mount.mkdir()
        (self.bin / "tgtadm").symlink_to(Path(sys.executable).with_name("tcmu-gluster-tgtadm"))

    def type(self, line: str, status: int = 0) -> str:
        """What the line prints, with /mnt where this test has its mount; on standard error for refusals."""
        environ = [f"{key}={value}" for key, value in self.ours.environ.items() if key.startswith("TCMU_GLUSTER_")]
        shell = [
            "env",
            *environ,
            f"PATH={self.bin}:{os.environ['PATH']}",
            "sh",
            "-c",
            line.replace("/mnt", str(self.mount)),
        ]
        done = subprocess.run(self.ours.wrap(shell), capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == status, (line, done.stdout, done.stderr)
        return (done.stderr if status else done.stdout).replace(str(self.mount), "/mnt")

    def close(self) -> None:
        self.ours.stop()
        self.type("umount /mnt")


@pytest.fixture
def host(server: GlusterServer, tmp_path: Path) -> Iterator[Host]:
    opened = Host(server, tmp_path)
    try:
        yield opened
    finally:
        opened.close()


def shown(text: str, lun: str) -> dict[str, str]:
    """The fields that show prints about a LUN."""
    rows = fields(text)
    start = rows.index((8, "LUN", ": " + lun))
    return {name: value.removeprefix(": ") for indent, name, value in rows[start + 1 :][:16] if indent > 8}


@pytest.mark.parametrize("count", [64, pytest.param(2048, marks=pytest.mark.full)])
def test_the_cookbook_as_it_was_typed(host: Host, count: int) -> None:
    host.type(f"mount -t glusterfs 127.0.0.1:gserver /mnt ; dd if=/dev/zero of=/mnt/disk3 bs=1M count={count}")
    host.type("truncate -s 64M /mnt/disk4")
    assert "did you mean 'iqn.2013-10.com.redhat'?" in host.type(
        "tgtadm --lld iscsi --op new --mode target --tid 1 -T iqn.20013-10.com.redhat", status=22
    )
    host.type(f"tgtadm --lld iscsi --op new --mode target --tid 1 -T {IQN}")
    assert host.type("tgtadm --lld iscsi --op show --mode conn --tid 1") == ""
    host.type("tgtadm --lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b /mnt/disk3")
    host.type(f"tgtadm --lld iscsi --op new --mode logicalunit --tid 1 --lun 2 --bstype glfs -b gserver@{HOST}:disk4")
    host.type("tgtadm --lld iscsi --op bind --mode target --tid 1 -I ALL")
    text = host.type("tgtadm --lld iscsi --op show --mode target")
    fuse, volume = shown(text, "1"), shown(text, "2")
    assert (fuse["Type"], fuse["Size"], fuse["Online"]) == (
        "disk", f"{count * MIB // 1_000_000} MB, Block size: 512", "Yes",
    )  # fmt: skip
    assert (fuse["Backing store type"], fuse["Backing store path"]) == ("rdwr", "/mnt/disk3")
    assert (volume["Size"], volume["Online"]) == ("67 MB, Block size: 512", "Yes")
    assert (volume["Backing store type"], volume["Backing store path"]) == ("glfs", f"gserver@{HOST}:disk4")
    # what iscsiadm, lsblk and dd do, done by initiators that need no kernel
    listed = host.type(f"iscsi-ls -s iscsi://{HOST}")
    assert f"Target:{IQN} Portal:{HOST}:3260,1" in listed
    assert "Lun:1    Type:DIRECT_ACCESS" in listed and "Lun:2    Type:DIRECT_ACCESS" in listed
    for lun, name, megabytes in ((1, "disk3", count), (2, "disk4", 64)):
        assert f"Total size:{megabytes * MIB}\n" in host.type(f"iscsi-readcapacity16 iscsi://{HOST}/{IQN}/{lun}")
        url = f"iscsi://{HOST}/{IQN}/{lun}"
        script = f"-c 'write -P 0x5a 0 {100 * 4096}' -c flush"
        assert f"wrote {100 * 4096}/{100 * 4096} bytes" in host.type(f"qemu-io -f raw {script} {url}")
        assert host.type(f"head -c {100 * 4096} /mnt/{name} | tr -d Z | wc -c") == "0\n", "it is in the volume's file"
    host.type("tgtadm --lld iscsi --op delete --mode logicalunit --tid 1 --lun 1")
    host.type("tgtadm --lld iscsi --op delete --mode logicalunit --tid 1 --lun 2")
    host.type("tgtadm --lld iscsi --op delete --mode target --tid 1")
    assert host.type("tgtadm --lld iscsi --op show --mode target") == ""
    assert host.type("stat -c %s /mnt/disk3 /mnt/disk4") == f"{count * MIB}\n{64 * MIB}\n", "files stay"

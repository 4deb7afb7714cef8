"""import of tcmu-runner's and gluster-block's disks on a real volume: the same data under the same names."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.gluster_server import BLOCK_OPTIONS, HOST, GlusterServer, why_unavailable
from tests.system.served import Served

_reason = why_unavailable()
pytestmark = [pytest.mark.gluster, pytest.mark.skipif(bool(_reason), reason=_reason or "-")]

VOLUME = "block"
GBID = "6b60c53c-8ce0-4d8d-a42c-5b546bca3d09"
SECOND = "0d1f6d0e-35b3-4b26-8f5a-3a2f8b9c7e11"
IQN = "iqn.2016-12.org.gluster-block:"
PASSWORD = "5f3c2c7e-8c5d-4f7a-9b57-1f7a4c2d9e60"  # gluster-block's are UUIDs
SIZE = 16 << 20

# As gluster-block appends it: what it makes, then what became of it on each host.
METADATA = f"""VOLUME: {VOLUME}
GBID: {GBID}
HA: 1
ENTRYCREATE: INPROGRESS
PRIOPATH: {HOST}
SIZE: {SIZE}
RINGBUFFER: 0
BLKSIZE: 0
ENTRYCREATE: SUCCESS
PASSWORD: {PASSWORD}
{HOST}: CONFIGINPROGRESS
{HOST}: CONFIGSUCCESS
{HOST}: AUTHENFORCED
"""

# As `gluster-block genconfig` prints it for the second of two hosts (each has a portal group; its own is on), with a
# disk of another handler of tcmu-runner beside it.
SAVED = {
    "storage_objects": [
        {"attributes": {"cmd_time_out": 130, "dev_size": SIZE}, "config": f"glfs/{VOLUME}@{HOST}/block-store/{SECOND}",
         "control": "max_data_area_mb=8,hw_block_size=4096", "name": "second", "plugin": "user", "size": SIZE,
         "wwn": SECOND},
        {"attributes": {}, "config": "rbd/pool/image", "name": "theirs", "plugin": "user", "size": SIZE, "wwn": "1"},
    ],
    "targets": [
        {"fabric": "iscsi", "wwn": IQN + SECOND, "tpgs": [
            {"attributes": {"authentication": 0, "cache_dynamic_acls": 1, "demo_mode_write_protect": 0,
                            "generate_node_acls": 1, **({} if here else {"tpg_enabled_sendtargets": 0})},
             "enable": here, "luns": [{"alias": "a1b2c3d4e5", "index": 0, "storage_object": "/backstores/user/second"}],
             "parameters": {}, "portals": [{"ip_address": address, "port": 3260}], "tag": tag}
            for tag, address, here in ((1, "192.0.2.9", False), (2, HOST, True))
        ]},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[GlusterServer]:
    with GlusterServer() as gluster:
        gluster.create_volume(VOLUME, options=BLOCK_OPTIONS)
        yield gluster


def inside(server: GlusterServer, *words: str) -> str:
    """What a command in there prints; iscsi-inq prints binary designators as they are."""
    done = subprocess.run(
        server.command(words), capture_output=True, text=True, errors="replace", check=False, timeout=120
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def test_the_disks_of_a_gluster_block_host(server: GlusterServer, tmp_path: Path) -> None:
    mount = tmp_path / "mnt"
    mount.mkdir()
    inside(server, "mount", "-t", "glusterfs", f"{HOST}:/{VOLUME}", str(mount))
    inside(server, "mkdir", f"{mount}/block-meta", f"{mount}/block-store")
    for name, pattern in ((GBID, "41"), (SECOND, "42")):
        path = f"{mount}/block-store/{name}"
        inside(server, "qemu-img", "create", "-q", "-f", "raw", path, str(SIZE))
        inside(server, "qemu-io", "-f", "raw", "-c", f"write -P 0x{pattern} 0 {SIZE}", path)
    for name, text in (("first", METADATA), ("meta.lock", ""), ("prio.info", "")):
        (tmp_path / name).write_text(text)
        inside(server, "cp", str(tmp_path / name), f"{mount}/block-meta/{name}")
    saved = tmp_path / "saveconfig.json"
    saved.write_text(json.dumps(SAVED))
    with Served(tmp_path, portal=f"{HOST}:3260", wrap=server.command) as ours:
        done = ours.do("import", f"{mount}/block-meta")
        assert [(one["name"], one["outcome"]) for one in done["items"]] == [(IQN + GBID, "done")]
        done = ours.do("import", str(saved))
        assert [one["outcome"] for one in done["items"]] == ["done"], done
        assert any("its handler is rbd" in note for note in done["notes"])
        looks_the_same(server, f"iscsi://{GBID}%{PASSWORD}@{HOST}/{IQN}{GBID}/0", GBID, "41", 512)
        looks_the_same(server, f"iscsi://{HOST}/{IQN}{SECOND}/0", SECOND, "42", 4096)
        refused = server.run(["iscsi-inq", f"iscsi://{HOST}/{IQN}{GBID}/0"], check=False)
        assert refused.returncode != 0, "the password is asked for"
        for words in ((f"{mount}/block-meta",), (str(saved),)):
            assert [one["outcome"] for one in ours.do("import", *words)["items"]] == ["already so"]
        ours.stop()
        ours.start()
        looks_the_same(server, f"iscsi://{HOST}/{IQN}{SECOND}/0", SECOND, "42", 4096)


def looks_the_same(server: GlusterServer, url: str, wwn: str, pattern: str, block_bytes: int) -> None:
    """INQUIRY as tcmu-runner answers it for that wwn, and the bytes that were in the file."""
    standard = inside(server, "iscsi-inq", url)
    assert "Vendor:LIO-ORG \n" in standard and "Product:TCMU device     \n" in standard
    assert "Revision:0002\n" in standard
    assert f"Unit Serial Number:[{wwn}]" in inside(server, "iscsi-inq", "-e", "1", "-c", "128", url)
    assert f"Designator:[LIO-ORG {wwn}]" in inside(server, "iscsi-inq", "-e", "1", "-c", "131", url)
    assert f"LOGICAL BLOCK LENGTH IN BYTES:{block_bytes}\n" in inside(server, "iscsi-readcapacity16", url)
    # In pieces below 32 KiB: for larger reads QEMU asks what is allocated, and aborts itself on blocks of 4096 bytes.
    reads = [word for at in (0, SIZE // 2, SIZE - 16384) for word in ("-c", f"read -P 0x{pattern} {at} 16384")]
    done = inside(server, "qemu-io", "-f", "raw", "-r", *reads, url)
    assert done.count("read 16384/16384 bytes") == 3 and "verification failed" not in done, done

"""script/demo: the two commands of the README, played through with a real initiator."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.system.export import Export
from tests.system.gluster_server import BLOCK_OPTIONS, GlusterServer, why_unavailable

MIB = 1024 * 1024
SIZE_BYTES = 1024 * MIB
VOLUME, FILE, IQN = "demo", "disk1", "iqn.2024-01.org.example.demo:disk1"


def heading(sentence: str) -> None:
    print(f"\n== {sentence}", flush=True)


def run(*command: str) -> None:
    """Show the command as one would type it, run it, and end the demo if it fails."""
    print(f"$ {shlex.join(command)}", flush=True)
    started = time.monotonic()
    status = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=120, check=False).returncode
    if status != 0:
        sys.exit(f"script/demo: {command[0]} ended with status {status}")
    print(f"  ({time.monotonic() - started:.1f} s)", flush=True)


@contextlib.contextmanager
def gluster_uri() -> Iterator[str]:
    """The URI of a file on a volume that exists only for the demo; the thread is in its network."""
    reason = why_unavailable()
    if reason:
        sys.exit(f"script/demo: {reason}; script/demo --file does it without Gluster")
    heading("A Gluster volume with one brick, in network, mount and process namespaces of its own")
    with GlusterServer() as server:
        server.create_volume(VOLUME, options=BLOCK_OPTIONS)
        print(server.gluster("volume", "info", VOLUME).strip().split("Options Reconfigured")[0], flush=True)
        with server.entered():
            yield f"gluster://{server.host}/{VOLUME}/{FILE}"


def make_pattern(path: Path) -> None:
    """Random bytes at the start, in the middle and at the very end; holes between them."""
    with path.open("wb") as file:
        file.truncate(SIZE_BYTES)
        for offset, count in ((0, 128 * MIB), (512 * MIB, 64 * MIB), (SIZE_BYTES - 16 * MIB, 16 * MIB)):
            file.seek(offset)
            for _ in range(count // MIB):
                file.write(os.urandom(MIB))


def serve(uri: str) -> Export:
    export = Export(uri, "--size", "1G", "--iqn", IQN)
    print(f"$ tcmu-gluster export {uri} --size 1G --allow all --portal {export.portal} --iqn {IQN}", flush=True)
    export.start()
    print(f"  ready: {export.url}, {export.ready['size_bytes']:,} bytes, serial {export.ready['serial']}", flush=True)
    return export


def end(export: Export) -> None:
    status = export.stop()
    if status != 0:
        sys.exit(f"script/demo: export ended with status {status}:\n{export.log()}")


def play(uri: str, folder: Path) -> None:
    """Serve, discover, write, read back, compare; then serve the file again and compare once more."""
    pattern, back = str(folder / "pattern.img"), str(folder / "back.img")
    make_pattern(Path(pattern))
    heading("Serve it")
    with serve(uri) as export:
        heading("Discover it, and log in with two real initiators: libiscsi and QEMU")
        run("iscsi-ls", "-s", f"iscsi://{export.portal}")
        run("iscsi-inq", export.url)
        heading("Write 1 GiB (random bytes and holes), read it back, compare")
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", pattern, export.url)
        run("qemu-img", "convert", "-f", "raw", "-O", "raw", export.url, back)
        run("cmp", pattern, back)
        run("qemu-img", "bench", "-f", "raw", "-t", "none", "-c", "20000", "-d", "32", "-s", "4096", export.url)
        serial = export.ready["serial"]
        end(export)
    heading("End it, serve the same file again: the data is on the volume, not in the process")
    with serve(uri) as export:
        if export.ready["serial"] != serial:
            sys.exit(f"script/demo: the same file is another disk now: {serial} became {export.ready['serial']}")
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", pattern, export.url)
        end(export)


def main() -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="demo-", dir="/var/tmp") as name:
        folder = Path(name)
        if sys.argv[1:] == ["--file"]:
            play(f"file://{folder / FILE}", folder)
        else:
            with gluster_uri() as uri:
                play(uri, folder)
    heading(f"Verified: what was read back is what was written ({time.monotonic() - started:.0f} s)")
    print(
        "Next, with a volume of your own (any number of servers, separated by commas):\n\n"
        "    .venv/bin/tcmu-gluster export gluster://SERVER/VOLUME/disk1 --size 2G --allow all\n\n"
        "and on the same machine, from another terminal, one of:\n\n"
        "    iscsiadm -m discovery -t sendtargets -p 127.0.0.1 && iscsiadm -m node --login\n"
        "    qemu-img info iscsi://127.0.0.1/IQN/0        (export prints the IQN)\n\n"
        "README.md tells the rest: other machines, who may log in, how it ends."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

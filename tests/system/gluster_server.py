"""A Gluster server of one's own: glusterd and bricks inside private namespaces, gone when this process goes.

    with GlusterServer() as server:
        server.create_volume("block", options=BLOCK_OPTIONS)
        server.run(["gluster", "volume", "info"])                  # a command inside, with the server's network
        with server.entered():                                     # this thread inside: libgfapi reaches server.host
            ...

    python tests/system/gluster_server.py [--volume block] [--replica 1] -- COMMAND...

does the same for one command, which finds GLUSTER_HOST and GLUSTER_VOLUME in its environment.

Needs root and glusterfs-server. Every server has its own network (only lo, with 10.66.0.1 on it, as glusterd refuses
127.0.0.1 for bricks), its own /var/lib/glusterd, /run and /var/log/glusterfs, and its own process numbers: the
first process in there ends when the pipe to its starter closes, and the kernel then ends all others. So servers do not
meet, and none is left behind, however the starter ended.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

HOST = "10.66.0.1"
UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
CLONE_NEWNET = 0x40000000  # sched.h

BLOCK_OPTIONS: Mapping[str, str] = {
    # What Gluster's group "gluster-block" sets for speed and safety of block files. The group itself is refused on one
    # brick (quorum), and its shard translator isn't wanted here.
    "performance.quick-read": "off",
    "performance.read-ahead": "off",
    "performance.io-cache": "off",
    "performance.stat-prefetch": "off",
    "performance.open-behind": "off",
    "performance.readdir-ahead": "off",
    "performance.strict-o-direct": "on",
    "performance.client-io-threads": "on",
    "performance.io-thread-count": "32",
    "performance.high-prio-threads": "32",
    "performance.normal-prio-threads": "32",
    "performance.low-prio-threads": "32",
    "performance.least-prio-threads": "4",
    "client.event-threads": "8",
    "server.event-threads": "8",
    "network.remote-dio": "disable",
    "server.allow-insecure": "on",
}


def why_unavailable() -> str | None:
    """The reason why no server can be started here, for a test's skip; None when one can."""
    if os.geteuid() != 0:
        return "a Gluster server needs root"
    missing = [tool for tool in ("glusterd", "gluster", "unshare", "nsenter", "ip") if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)} (Debian: glusterfs-server, util-linux, iproute2)" if missing else None


def _has_trusted_attributes(folder: Path) -> bool:
    try:
        os.setxattr(folder, "trusted.tcmu-gluster.probe", b"1")
        os.removexattr(folder, "trusted.tcmu-gluster.probe")
    except OSError:
        return False
    return True


def _set_network(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns failed")


class GlusterServer:
    """One glusterd. folder holds bricks and logs (default: a new temporary folder, removed by stop())."""

    def __init__(self, folder: Path | None = None, host: str = HOST) -> None:
        self.host = host
        self._given_folder = folder
        self.folder = folder or Path()
        self._starter: subprocess.Popen[bytes] | None = None
        self._inner_pid = 0
        self._nets: list[int] = []

    def __enter__(self) -> GlusterServer:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self, timeout_seconds: float = 60) -> GlusterServer:
        """Returns when glusterd answers. Raises RuntimeError with its log when it does not in time."""
        self.folder = self._choose_folder()
        (self.folder / "logs").mkdir(exist_ok=True)
        self._starter = subprocess.Popen(
            [*UNSHARE, sys.executable, str(Path(__file__).resolve()), "--hold", str(self.folder), "--host", self.host],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._starter.stdout is not None
        if self._starter.stdout.readline() != b"ready\n":
            self.stop()
            raise RuntimeError("the namespaces for glusterd could not be set up (see the output above)")
        children = Path(f"/proc/{self._starter.pid}/task/{self._starter.pid}/children").read_text()
        self._inner_pid = int(children.split()[0])
        deadline = time.monotonic() + timeout_seconds
        while self.run(["gluster", "--mode=script", "pool", "list"], check=False).returncode != 0:
            if time.monotonic() > deadline:
                log = self.logs()
                self.stop()
                raise RuntimeError(f"glusterd did not answer within {timeout_seconds} s:\n{log}")
            time.sleep(0.2)
        return self

    def _choose_folder(self) -> Path:
        if self._given_folder is not None:
            return self._given_folder
        for parent in dict.fromkeys((tempfile.gettempdir(), "/var/tmp")):
            folder = Path(tempfile.mkdtemp(prefix="gluster-", dir=parent))
            if _has_trusted_attributes(folder):
                return folder
            folder.rmdir()
        raise RuntimeError(
            "bricks need a file system with trusted extended attributes (ext4, xfs) under /tmp or /var/tmp"
        )

    def stop(self) -> None:
        """End every process in there and remove the temporary folder. A second stop does nothing."""
        for descriptor in self._nets:
            os.close(descriptor)
        self._nets.clear()
        if self._starter is None:
            return
        assert self._starter.stdin is not None and self._starter.stdout is not None
        self._starter.stdin.close()
        try:
            self._starter.wait(20)
        except subprocess.TimeoutExpired:
            self._starter.kill()  # --kill-child takes the namespaces' first process, and so all, with it
            self._starter.wait()
        self._starter.stdout.close()
        self._starter = None
        if self._given_folder is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def inner_pid(self) -> int:
        """The first process inside, as numbered outside."""
        return self._inner_pid

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The argument list that runs arguments inside (for subprocess of the caller's own)."""
        return ["nsenter", "--target", str(self._inner_pid), "--net", "--mount", "--pid", "--", *arguments]

    def run(
        self, arguments: Sequence[str], *, check: bool = True, timeout_seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside; its output is kept. Raises RuntimeError with that output unless it ends with 0."""
        done = subprocess.run(
            self.command(arguments), capture_output=True, text=True, timeout=timeout_seconds, check=False
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def gluster(self, *arguments: str, check: bool = True) -> str:
        """Run the gluster command and return what it printed."""
        return self.run(["gluster", "--mode=script", *arguments], check=check).stdout

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and every thread it starts in here, has the server's network (and no other)."""
        if not self._nets:
            self._nets = [os.open(f"/proc/{pid}/ns/net", os.O_RDONLY) for pid in ("thread-self", self._inner_pid)]
        before, inside = self._nets
        _set_network(inside)
        try:
            yield
        finally:
            _set_network(before)

    def create_volume(
        self,
        name: str,
        replica: int = 1,
        options: Mapping[str, str] | None = None,
        *,
        bricks: int | None = None,
        disperse: int = 0,
        brick_bytes: int = 0,
        start: bool = True,
    ) -> list[Path]:
        """Make and start a volume, a folder a brick; brick_bytes puts each on a file system of that size.

        disperse: data bricks + 1 redundancy, instead of replicas. Returns the brick folders.
        """
        count = bricks or (disperse + 1 if disperse else replica)
        paths = [self.folder / "bricks" / f"{name}-{number}" / "brick" for number in range(count)]
        for path in paths:
            path.parent.mkdir(parents=True)
            if brick_bytes:
                self._mount_small(path.parent, brick_bytes)
        layout: list[str] = []
        if disperse:
            layout = ["disperse", str(count), "redundancy", "1"]
        elif replica > 1:
            layout = ["replica", str(replica)]
        self.gluster("volume", "create", name, *layout, *(f"{self.host}:{path}" for path in paths), "force")
        if options:
            self.set_options(name, options)
        if start:
            self.gluster("volume", "start", name)
        return paths

    def _mount_small(self, folder: Path, size_bytes: int) -> None:
        image = folder.with_suffix(".img")
        with image.open("wb") as file:
            file.truncate(size_bytes)
        self.run(["mkfs.ext4", "-q", "-F", str(image)])
        self.run(["mount", "-o", "loop", str(image), str(folder)])

    def set_options(self, name: str, options: Mapping[str, str]) -> None:
        """Set volume options, all in one transaction."""
        self.gluster("volume", "set", name, *(word for pair in options.items() for word in pair))

    def brick_pids(self, name: str) -> list[int]:
        """Process numbers (as seen inside) of the volume's bricks, in brick order; -1 for one that is down."""
        status = ElementTree.fromstring(self.gluster("volume", "status", name, "--xml"))
        bricks = [node for node in status.iter("node") if (node.findtext("path") or "").startswith("/")]
        return [int(node.findtext("pid") or -1) for node in bricks]

    def kill_brick(self, name: str, number: int) -> None:
        """SIGKILL one brick; restart_bricks() brings it back."""
        self.run(["kill", "-KILL", str(self.brick_pids(name)[number])])

    def restart_bricks(self, name: str, timeout_seconds: float = 30) -> None:
        """Start the bricks that are not running; returns when all are."""
        deadline = time.monotonic() + timeout_seconds
        self.gluster("volume", "start", name, "force")
        while -1 in self.brick_pids(name):
            if time.monotonic() > deadline:
                raise RuntimeError(f"bricks of {name} did not come back:\n{self.logs()}")
            time.sleep(0.2)

    def logs(self) -> str:
        """The ends of all logs, for a failing test's output."""
        ends = []
        for path in sorted((self.folder / "logs").rglob("*.log")):
            ends.append(f"== {path.name}\n{path.read_text(errors='replace')[-3000:]}")
        return "\n".join(ends)


def _own_run(run: Path, before: Path) -> None:
    """A /run of our own that shows all but Gluster's things of the machine's.

    glusterd listens at /run/glusterd.socket, not in /run/gluster: servers would take each other's place there.
    """
    before.mkdir()
    subprocess.run(["mount", "--rbind", str(run), str(before)], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(run)], check=True)
    for entry in before.iterdir():
        if not entry.name.startswith("gluster"):
            (run / entry.name).symlink_to(entry)
    (run / "gluster").mkdir()


def hold(folder: Path, host: str) -> None:
    """The first process inside: private folders, lo, glusterd; ends when standard input closes."""
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for state in ("/var/lib/glusterd", "/var/log/glusterfs"):
        Path(state).mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", str(folder / "logs"), "/var/log/glusterfs"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/var/lib/glusterd"], check=True)
    _own_run(Path("/run"), Path("/var/lib/glusterd/host-run"))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", f"{host}/32", "dev", "lo"], check=True)
    with (folder / "logs" / "glusterd-output.log").open("wb") as output:
        glusterd = subprocess.Popen(
            ["glusterd", "--no-daemon", "--log-level", "WARNING"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # killed bricks come here as orphans: none may stay a zombie
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    glusterd.terminate()


def main() -> int:
    parser = argparse.ArgumentParser(description="Run one command beside a Gluster server of its own.")
    parser.add_argument("--hold", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--host", default=HOST, help=argparse.SUPPRESS)
    parser.add_argument("--volume", default="block")
    parser.add_argument("--replica", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="leave the volume's options at Gluster's defaults")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if arguments.hold:
        hold(arguments.hold, arguments.host)
        return 0
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    with GlusterServer() as server:
        server.create_volume(arguments.volume, arguments.replica, None if arguments.plain else BLOCK_OPTIONS)
        environment = {**os.environ, "GLUSTER_HOST": HOST, "GLUSTER_VOLUME": arguments.volume}
        here = ["env", "--chdir", os.getcwd(), *(command or ["bash"])]  # nsenter --mount goes to /
        return subprocess.run(server.command(here), env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

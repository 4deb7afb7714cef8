"""Two gateways and one file, with LIO in front of the first: who may write, what becomes of the other's commands."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import daemon, lio, load, services, volume
from ..runner import scenario
from ..shell import OURS, expect, read, say, start, wait_for

PORTAL = "127.0.0.1:3271"
IQN = "iqn.2024-01.test.vm:second"
LEASE_SECONDS, COMMAND_LIMIT_SECONDS, GRACE_SECONDS = 20, 15, 2
"""As the product has them by default: nothing is shortened here."""
WAIT_SECONDS = (LEASE_SECONDS + COMMAND_LIMIT_SECONDS + GRACE_SECONDS) * 1.01
OTHER_HOST = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
"""With process numbers of its own an export can't tell by itself whether the holder lives: as from another host."""


@contextlib.contextmanager
def gateway(uri: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """`tcmu-gluster export` of the file by a second gateway; ended in an orderly way."""
    said = Path("/run/second.json")
    said.unlink(missing_ok=True)
    process = start(
        *OTHER_HOST, OURS, "export", uri, "--json", "--portal", PORTAL, "--iqn", IQN, "--allow", services.INITIATOR,
        *options, log=str(said),
    )  # fmt: skip
    try:
        wait_for("the second gateway serves, or gives up",
                 lambda: '"ready": true' in read(said) or process.poll() is not None, limit=400)  # fmt: skip
        say(read(said))
        yield process
    finally:
        for child in read(f"/proc/{process.pid}/task/{process.pid}/children").split():
            os.kill(int(child), signal.SIGTERM)
        process.wait(60)


@scenario(job="lease", limit=900)
def a_second_gateway_is_refused_in_a_sentence_while_lio_serves() -> None:
    """With the holder and when its time is up; reading is allowed; and the daemon is refused what an export holds."""
    backing = daemon.uri("leased")
    with daemon.Daemon() as served, daemon.Disk("leased", backing, "16M") as disk:
        with gateway(backing) as second:
            expect(second.poll(), "the second gateway gives up")
        words = read("/run/second.json")
        holder = rf"in use by host vm \(process {served.pid}\), which may write to it until \d\d:\d\d:\d\d, or longer"
        expect(re.search(holder, words), "it names the holder and the time")
        with gateway(backing, "--read-only") as reader:
            expect(reader.poll() is None, "a second gateway may serve the disk read-only")
        with lio.LoopDisk(disk.backstore) as local:
            load.copy_and_compare(local.device, 1)
    other = daemon.uri_of("held")
    with gateway(other, "--size", "16M") as first:
        expect(first.poll() is None, "an export holds another file")
        sentence = daemon.refused("disk.create", name="held", uri=other, front="lio")
        expect("which may write to it until" in sentence, f"the daemon is refused: {sentence}")
        expect(not list(lio.CORE.glob("*/held")), "and LIO has nothing of it")


@scenario(job="lease", limit=1200)
def a_stopped_gateways_commands_never_reach_the_file_that_another_serves() -> dict[str, Any]:
    """SIGSTOP with a WRITE in LIO's ring; another gateway follows after the wait; what the first had is not written."""
    backing = daemon.uri("fenced")
    services.start_iscsid()
    with (
        daemon.Daemon() as served,
        daemon.Disk("fenced", backing, "16M") as disk,
        lio.LoopDisk(disk.backstore) as local,
    ):
        load.copy_and_compare(local.device, 1)
        os.kill(served.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        inflight = Path("/sys/block") / Path(local.device).name / "inflight"
        late = start(
            "dd", "if=/dev/zero", f"of={local.device}", "bs=64k", "count=1", "oflag=direct", log="/run/late.log"
        )
        wait_for("the write is in the ring", lambda: int(read(inflight).split()[1]) > 0)
        with gateway(backing) as second:
            expect(second.poll() is None, "the second gateway serves")
            took = time.monotonic() - stopped
            # What was seen first may be a renewal that was a quarter of the lease old when the holder stopped.
            expect(took > WAIT_SECONDS - LEASE_SECONDS / 4, f"and not before its time ({took:.1f} s)")
            with services.Session(IQN, PORTAL) as session:
                data = load.copy_and_compare(session.disk(), 1)
            with contextlib.suppress(ProcessLookupError):  # the kernel ends a process that was stopped for so long
                os.kill(served.pid, signal.SIGCONT)
            wait_for("the stopped one has ended", lambda: not served.alive, limit=120)
            served.start()
            wait_for("the first one says who holds the disk", lambda: "which may write" in shown("fenced"), limit=240)
            expect(volume.on_the_brick("fenced", len(data)) == data, "the file holds the second gateway's bytes alone")
        wait_for("the first one serves again", lambda: "which may" not in shown("fenced"), limit=240)
        wait_for("the late write has ended, one way or the other", lambda: late.poll() is not None, limit=240)
        back = load.read_directly(local.device)
        expect(back in (data[: len(back)], bytes(len(back))), "the disk holds those bytes, or the repeated write")
        return {"seconds until the second served": round(took, 1), "the late write's status": late.returncode}


def shown(name: str) -> str:
    """Everything that the daemon says about a disk."""
    return json.dumps(daemon.ask("disk.show", name=name))

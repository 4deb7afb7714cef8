"""script/scale: many disks and targets at once. What is measured is the daemon as a process, asked as users ask it."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from script.measure.process import resident_bytes
from targetcli_ext.shell import HOME_VARIABLE
from tests.handler.process import Process

IQN = "iqn.2013-10.com.redhat"
RESTORE_SECONDS, STATUS_SECONDS, LS_SECONDS = 20.0, 0.2, 2.0
"""What 500 disks on 50 targets may take, at most."""


def many(disks: int, targets: int) -> dict[str, Any]:
    """A saved configuration: the disks spread over the targets, each of which one initiator may use."""
    root: dict[str, Any] = {
        "storage_objects": [
            {"name": f"d{n}", "plugin": "user", "config": f"gluster/memory/d{n}?size=64K", "size": 65536,
             "wwn": f"8e9b7af7-8786-f09b-0fd5-{n:012x}"}
            for n in range(disks)
        ],
        "targets": [],
    }  # fmt: skip
    for number in range(targets):
        shown = range(number, disks, targets)
        root["targets"].append({"fabric": "iscsi", "wwn": f"{IQN}:{number}", "tpgs": [{
            "tag": 1, "enable": True, "attributes": {"authentication": 0, "generate_node_acls": 0},
            "luns": [{"index": lun, "storage_object": f"/backstores/user/d{n}"} for lun, n in enumerate(shown)],
            "portals": [{"ip_address": "127.0.0.1", "port": 0, "iser": False, "offload": False}],
            "node_acls": [{"node_wwn": f"iqn.1994-05.com.redhat:{number}", "attributes": {}, "mapped_luns": [
                {"index": lun, "tpg_lun": lun, "write_protect": False} for lun, _ in enumerate(shown)]}],
        }]})  # fmt: skip
    return root


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def shell_ls(socket: Path) -> None:
    """`targetcli-gluster ls`, the whole process."""
    words = [sys.executable, "-m", "targetcli_ext.shell", "--front", "engine", "ls"]
    ours = {"TCMU_GLUSTER_CONTROL_SOCKET": str(socket), HOME_VARIABLE: str(socket.parent / "home")}
    run = subprocess.run(words, env={**os.environ, **ours}, capture_output=True, text=True, check=True)
    assert f"{IQN}:0" in run.stdout, run.stdout[-300:] + run.stderr


def measure(disks: int, targets: int, folder: Path) -> dict[str, float]:
    """One daemon, from its start."""
    daemon = Process(folder)
    try:
        daemon.state.parent.mkdir()
        daemon.state.write_text(json.dumps(many(disks, targets)))
        figures = {"restored and ready": seconds(daemon.start)}
        with daemon.client() as client:
            client.connect()
            figures["status"] = statistics.median(seconds(lambda: client.call("status")) for _ in range(11))
            engine = client.call("status")["engine"]
            assert engine == {"disks": disks, "waiting": 0, "targets": targets, "sessions": 0}, engine
            figures["disk list"] = statistics.median(seconds(lambda: client.call("disk.list")) for _ in range(5))
            change = {"target": f"{IQN}:0", "rule": "10.0.0.0/8"}
            figures["acl allow"] = seconds(lambda: client.call("acl.allow", change))
        figures["targetcli-gluster ls"] = seconds(lambda: shell_ls(daemon.socket))
        assert daemon.process is not None
        figures["resident MiB"] = resident_bytes(daemon.process.pid) / (1 << 20)
        figures["stopped"] = seconds(daemon.end)
        return figures
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
        daemon.notify.close()


def main() -> int:
    """The medians of all rounds, and whether they are within the bounds."""
    parser = argparse.ArgumentParser(prog="script/scale", description=__doc__)
    parser.add_argument("--disks", type=int, default=500)
    parser.add_argument("--targets", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            rounds.append(measure(options.disks, options.targets, Path(folder)))
    found = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    print(f"{options.disks} disks of memory on {options.targets} targets, median of {options.rounds}:")
    for name, value in found.items():
        print(f"  {name:24} {value:9.1f}" if "MiB" in name else f"  {name:24} {value * 1000:9.1f} ms")
    bounds = {"restored and ready": RESTORE_SECONDS, "status": STATUS_SECONDS, "targetcli-gluster ls": LS_SECONDS}
    late = [f"{name} took longer than {bound:g} s" for name, bound in bounds.items() if found[name] >= bound]
    print("\n".join(late) or "  all within the bounds")
    return int(bool(late))


if __name__ == "__main__":
    sys.exit(main())

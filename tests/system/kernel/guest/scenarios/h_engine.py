"""Our own iSCSI target and Linux's own initiator: the README's cookbook, line by line."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from .. import services
from ..runner import scenario
from ..shell import OURS, expect, read, run, say, start, wait_for

PORTAL = "127.0.0.1:3261"
IQN = "iqn.2013-10.com.example:disk3"


@scenario(limit=120)
def cookbook_export_discover_login_dd_logout() -> dict[str, str]:
    """A file exported without LIO is found, logged in to, written with dd and read back by open-iscsi; it ends well."""
    services.start_iscsid()
    said = Path("/run/cookbook.json")
    said.unlink(missing_ok=True)
    process = start(OURS, "export", "file:///run/disk3", "--size", "64M", "--allow", services.INITIATOR, "--iqn", IQN,
                    "--portal", PORTAL, "--json", log=str(said))  # fmt: skip
    wait_for("the target is ready", lambda: '"ready": true' in read(said))
    ready = json.loads(next(line for line in read(said).splitlines() if line.startswith("{")))
    with services.Session(IQN, PORTAL) as session:
        say(session.discovered.strip())
        expect(session.discovered.strip() == f"{PORTAL},1 {IQN}", "discovery names the portal and the target")
        disk = session.disk()
        serial = read(f"/sys/block/{Path(disk).name}/device/vpd_pg80")
        expect(str(ready["serial"]) in serial, "Linux sees the serial number that export announced")
        run("dd", "if=/dev/urandom", "of=/run/pattern", "bs=1M", "count=16", "status=none")
        run("dd", "if=/run/pattern", f"of={disk}", "bs=1M", "oflag=direct", "conv=fsync", "status=none")
        run("dd", f"if={disk}", "of=/run/back", "bs=1M", "count=16", "iflag=direct", "status=none")
        run("cmp", "/run/pattern", "/run/back")
        run("cmp", "-n", str(16 << 20), "/run/pattern", "/run/disk3")
        details = run("iscsiadm", "-m", "session", "-P", "1")
    os.kill(process.pid, signal.SIGINT)
    expect(process.wait(30) == 0, "Ctrl-C ends it with status 0")
    return {"session": details}

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


CHAP_IQN, CHAP_PORTAL = "iqn.2013-10.com.example:chap", "127.0.0.1:3262"
ALGORITHMS = ("MD5", "SHA1", "SHA256", "SHA3-256")
AUTHENTICATION_FAILED = 24
"""iscsiadm's status (ISCSI_ERR_LOGIN_AUTH_FAILED) for status class 2, detail 1 or 2 (RFC 7143 11.13.5)."""
TARGET_NOT_TRUSTED = 19
"""iscsiadm's status (ISCSI_ERR_FATAL_LOGIN) when it is the initiator that ends the login: our proof was wrong."""


def _login(**auth: str) -> tuple[int, str]:
    """Set node.session.auth.* and log in: iscsiadm's status and words."""
    for name, value in auth.items():
        run("iscsiadm", "-m", "node", "-T", CHAP_IQN, "-o", "update", "-n", f"node.session.auth.{name}", "-v", value)
    said = run("sh", "-c", f"iscsiadm -m node -T {CHAP_IQN} -l; echo status=$?", limit=90)
    words, _, status = said.rpartition("status=")
    return int(status), words


@scenario(limit=240)
def open_iscsi_proves_itself_with_every_algorithm_and_is_refused_without() -> dict[str, str]:
    """CHAP one way and mutual with open-iscsi: MD5, SHA-1, SHA-256, SHA3-256; wrong secrets and users are refused."""
    services.start_iscsid()
    for name, secret in (("one", "correct-horse-bat"), ("two", "staple-of-target")):
        file = Path(f"/run/{name}.secret")
        file.touch(0o600)
        file.write_text(secret)
    said = Path("/run/chap.json")
    said.unlink(missing_ok=True)
    process = start(OURS, "export", "memory:chap?size=16M", "--allow", services.INITIATOR, "--iqn", CHAP_IQN,
                    "--portal", CHAP_PORTAL, "--chap", "alice:/run/one.secret", "--mutual-chap", "bob:/run/two.secret",
                    "--json", log=str(said))  # fmt: skip
    wait_for("the target is ready", lambda: '"ready": true' in read(said))
    run("iscsiadm", "-m", "node", "-T", CHAP_IQN, "-p", f"{CHAP_PORTAL},1", "-o", "new")
    status, words = _login(authmethod="None")
    expect(status == AUTHENTICATION_FAILED, f"without a password: {words}")
    figures = {"without": str(status)}
    for algorithm in ALGORITHMS:
        status, words = _login(authmethod="CHAP", username="alice", password="correct-horse-bat", chap_algs=algorithm)
        expect(status == 0, f"{algorithm}: {words}")
        run("iscsiadm", "-m", "node", "-T", CHAP_IQN, "-u")
        figures[algorithm] = "logged in"
    status, words = _login(username_in="bob", password_in="staple-of-target", chap_algs=",".join(reversed(ALGORITHMS)))
    expect(status == 0, f"mutual: {words}")
    run("iscsiadm", "-m", "node", "-T", CHAP_IQN, "-u")
    for wrong, right, expected in (
        ({"password_in": "not-of-the-target"}, {"password_in": "staple-of-target"}, TARGET_NOT_TRUSTED),
        ({"username": "carol"}, {"username": "alice"}, AUTHENTICATION_FAILED),
        ({"password": "correct-horse-baX"}, {"password": "correct-horse-bat"}, AUTHENTICATION_FAILED),
    ):
        status, words = _login(**wrong)
        expect(status == expected, f"{wrong}: {status} {words}")
        figures[f"wrong {next(iter(wrong))}"] = str(status)
        status, words = _login(**right)
        expect(status == 0, f"right again: {words}")
        run("iscsiadm", "-m", "node", "-T", CHAP_IQN, "-u")
    run("iscsiadm", "-m", "node", "-T", CHAP_IQN, "-o", "delete")
    expect("correct-horse" not in read(said) and "staple" not in read(said), "no password is shown")
    os.kill(process.pid, signal.SIGINT)
    expect(process.wait(30) == 0, "Ctrl-C ends it with status 0")
    return figures

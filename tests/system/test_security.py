"""CHAP with real initiators: libiscsi's tools and conformance tests, QEMU's iSCSI client.

libiscsi 1.19 knows MD5 alone; open-iscsi and the stronger algorithms are the kernel tier's.
"""

from __future__ import annotations

import base64
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tcmu_gluster.cli.installing import HIDDEN
from tests.system import cu, flood, slow_readers
from tests.system.export import ROOT, Export
from tests.system.served import Served

TOOLS = ("iscsi-test-cu", "iscsi-inq", "iscsi-ls", "qemu-img")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
SECONDS = 20
USER, PASSWORD = "alice", "correct-horse-bat"
MUTUAL_USER, MUTUAL_PASSWORD = "target", "staple-of-target"
DISCOVERY_USER, DISCOVERY_PASSWORD = "finder", "battery-of-finder"
REFUSED = "Authentication failure(513)"
"""libiscsi's words for status class 2, detail 1 (RFC 7143 11.13.5)."""

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (Debian: libiscsi-bin, qemu-utils)"),
]


def run(*command: str) -> tuple[int, str]:
    """Exit status and output."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Export]:
    """A disk that asks for passwords in every direction there is."""
    folder = tmp_path_factory.mktemp("chap")
    options = ["--size", "100M"]
    for flag, user, password in (
        ("--chap", USER, PASSWORD),
        ("--mutual-chap", MUTUAL_USER, MUTUAL_PASSWORD),
        ("--discovery-chap", DISCOVERY_USER, DISCOVERY_PASSWORD),
    ):
        file = folder / user
        file.touch(0o600)
        file.write_text(f"{password}\n")
        options += [flag, f"{user}:{file}"]
    with Export("memory:chap", *options) as running:
        yield running
    assert running.stop() == 0
    log = running.log()
    assert not any(word in log for word in (PASSWORD, MUTUAL_PASSWORD, DISCOVERY_PASSWORD, "Traceback"))


def url(export: Export, user: str = USER, password: str = PASSWORD, **mutual: str) -> str:
    """libiscsi's name of the disk, with what the initiator knows."""
    more = "?" + "&".join(f"{key}={value}" for key, value in mutual.items()) if mutual else ""
    return export.url.replace("iscsi://", f"iscsi://{user}%{password}@") + more


def test_ready_says_nothing_of_passwords(export: Export) -> None:
    command_line = Path(f"/proc/{export.pid}/cmdline").read_bytes().decode()
    for password in (PASSWORD, MUTUAL_PASSWORD, DISCOVERY_PASSWORD):
        assert password not in str(export.ready) and password not in command_line


def test_libiscsi_logs_in_with_the_right_password(export: Export) -> None:
    code, out = run("iscsi-inq", url(export))
    assert code == 0 and "DIRECT_ACCESS" in out


@pytest.mark.parametrize(("user", "password"), [
    (USER, "correct-horse-baX"), ("bob", PASSWORD), (MUTUAL_USER, MUTUAL_PASSWORD),
    (DISCOVERY_USER, DISCOVERY_PASSWORD),
])  # fmt: skip
def test_libiscsi_is_refused_with_anything_else(export: Export, user: str, password: str) -> None:
    code, out = run("iscsi-inq", url(export, user, password))
    assert code and REFUSED in out


def test_libiscsi_is_refused_without_a_password(export: Export) -> None:
    code, out = run("iscsi-inq", export.url)
    assert code and REFUSED in out


def test_the_target_proves_itself_to_libiscsi(export: Export) -> None:
    assert run("iscsi-inq", url(export, target_user=MUTUAL_USER, target_password=MUTUAL_PASSWORD))[0] == 0
    code, out = run("iscsi-inq", url(export, target_user=MUTUAL_USER, target_password="not-the-targets"))
    assert code and "Invalid CHAP_R response from the target" in out
    code, out = run("iscsi-inq", url(export, target_user="somebody", target_password=MUTUAL_PASSWORD))
    assert code and "target" in out


def test_discovery_has_a_password_of_its_own(export: Export) -> None:
    code, out = run("iscsi-ls", f"iscsi://{DISCOVERY_USER}%{DISCOVERY_PASSWORD}@{export.portal}")
    assert code == 0 and export.iqn in out
    for who in ("", f"{USER}%{PASSWORD}@"):
        code, out = run("iscsi-ls", f"iscsi://{who}{export.portal}")
        assert code and REFUSED in out and export.iqn not in out


def test_qemu_logs_in_with_a_password_from_a_secret_object(export: Export, tmp_path: Path) -> None:
    options = f"driver=iscsi,transport=tcp,portal={export.portal},target={export.iqn},lun=0,user={USER}"
    for password, code in ((PASSWORD, 0), ("correct-horse-baX", 1)):
        file = tmp_path / "secret"
        file.write_text(password)
        words = ("--object", f"secret,id=s,file={file}", "--image-opts", f"{options},password-secret=s")
        status, out = run("qemu-img", "info", *words)
        assert status == code and ("100 MiB" in out) == (code == 0), out


def chap_url(export: Export) -> str:
    """libiscsi's name of a disk of flood.protected_export()."""
    return url(export, flood.USER, flood.PASSWORD)


@pytest.mark.parametrize("digests", ["none", "header"])
def test_the_iscsi_family_passes_with_chap_and_digests(digests: str) -> None:
    """iscsi-test-cu offers HeaderDigest=None,CRC32C whatever its URL says: the target has to insist."""
    with flood.protected_export(required_digests=digests) as export:
        _, out = run("iscsi-test-cu", "-d", "-V", "-t", "iSCSI", chap_url(export))
    results = cu.parse(out)
    assert len(results) == 15 and {result.outcome for result in results} == {cu.PASSED}, results


def test_libiscsi_can_not_do_data_digests() -> None:
    """It says DataDigest=None. Once it can, the test above has both; until then tests/system/test_digests.py has."""
    with flood.protected_export(required_digests="both") as export:
        code, out = run("iscsi-inq", chap_url(export))
    assert code and "Initiator error(512)" in out, out


def test_floods_of_one_address_are_limited_and_a_good_session_goes_on() -> None:
    figures = flood.measure(0.5, idle=400, guessers=100)
    assert 0 < figures["held"] <= 64, "settings: max_logins_per_address"
    assert min(len(figures[name]) for name in ("alone", "idle", "logins")) > 10
    assert figures["refused_per_second"] > 0


def test_slow_readers_are_dropped_in_time_and_a_good_session_goes_on() -> None:
    figures = slow_readers.measure(0.5, readers=8, patience_seconds=3)
    assert figures["held"] == 8, "they are given time"
    assert figures["gone_after"] < 20, "and then all of them are dropped"
    assert min(len(figures[name]) for name in slow_readers.PHASES) > 10


def documented() -> list[list[str]]:
    """The commands of docs/security.md's first section, as words."""
    text = (ROOT / "docs" / "security.md").read_text()
    section = text.split("\n## ")[1]
    block = re.search(r"(?:^    \S.*\n)+", section, re.MULTILINE)
    assert block is not None
    return [shlex.split(line) for line in block[0].splitlines()]


def test_a_reader_of_the_documentation_ends_with_a_password_and_a_rule(tmp_path: Path) -> None:
    """Every command of ours is run as it stands there; a file takes the volume's place, and systemd has no part."""
    lines = documented()
    assert len(lines) < 10
    secret = tmp_path / "vm1.secret"
    secret.touch(0o600)
    secret.write_bytes(base64.b64encode(b"twelve bytes") + b"\n")  # (umask 077; head -c 12 /dev/urandom | base64 > ...)
    instead = {
        "gluster://server/volume/vm1": f"file://{tmp_path}/vm1",
        "/etc/tcmu-gluster/vm1.secret": str(secret),
        "20G": "20M",
    }
    ours = [[instead.get(word, word) for word in line[1:]] for line in lines if line[0] == "tcmu-gluster"]
    assert [words[0] for words in ours] == ["install-service", "disk", "target", "acl", "chap", "lun"]
    ours[0] += ["--root", str(tmp_path / "root")]
    if sys.executable.startswith(HIDDEN):
        del ours[0]  # the sandbox hides this checkout, and the command says so (tests/cli/test_installing.py)
    with Served(tmp_path) as daemon:
        for words in ours:
            done = daemon.command(*words)
            assert done.returncode == 0 and "warning" not in done.stderr.lower(), (words, done.stderr)
        iqn, initiator = "iqn.2013-10.com.example:vm1", "iqn.1994-05.com.redhat:host1"
        place, password = f"{daemon.portal}/{iqn}/0", secret.read_text().strip()
        assert run("iscsi-inq", "-i", initiator, f"iscsi://host1%{password}@{place}")[0] == 0
        for name, who in (
            (initiator, ""),
            (initiator, "host1%wrong-horse-batt@"),
            ("iqn.2026-01.example:other", f"host1%{password}@"),
        ):
            assert run("iscsi-inq", "-i", name, f"iscsi://{who}{place}")[0] != 0, (name, who)
        assert "password" in daemon.command("why-denied").stdout

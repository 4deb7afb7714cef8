"""sg3-utils, the tools that administrators type, against the engine through Linux's own initiator."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from .. import daemon, services
from ..runner import scenario
from ..shell import OURS, expect, read, run, say, start, wait_for

PORTAL = "127.0.0.1:3262"
IQN = "iqn.2013-10.com.example:tools"
KEY = "0xabc123"


@scenario(limit=300)
def sg3_utils_agree_with_the_engine() -> dict[str, str]:
    """Pages, reservations, port groups, provisioning, buffers, format and sanitize: every tool ends well."""
    run("modprobe", "-a", "sd_mod", "sg")
    services.start_iscsid()
    said = Path("/run/tools.json")
    said.unlink(missing_ok=True)
    process = start(OURS, "export", "memory:tools?size=64M", "--allow", services.INITIATOR, "--iqn", IQN, "--portal",
                    PORTAL, "--block-size", "512e", "--json", log=str(said))  # fmt: skip
    wait_for("the target is ready", lambda: '"ready": true' in read(said))
    ready = json.loads(next(line for line in read(said).splitlines() if line.startswith("{")))
    with services.Session(IQN, PORTAL) as session:
        disk = session.disk()
        said_of = {"pages": _pages(disk, str(ready["serial"]))}
        _reservations(disk)
        _groups(disk)
        _blocks(disk)
        _buffers(disk)
        _whole_medium(disk)
    os.kill(process.pid, signal.SIGINT)
    expect(process.wait(30) == 0, "Ctrl-C ends it with status 0")
    return said_of


def _pages(disk: str, serial: str) -> str:
    pages = run("sg_vpd", "--all", disk)
    expect(serial in pages, "sg_vpd --all prints the serial number that export announced")
    for title in ("Block limits", "Logical block provisioning", "Device Identification"):
        expect(title.lower() in pages.lower(), f"sg_vpd --all decodes {title}")
    codes = run("sg_opcodes", "--no-inquiry", disk)
    for name in ("Sanitize", "Format unit", "Persistent reserve in"):
        expect(name.lower() in codes.lower(), f"sg_opcodes lists {name}")
    expect("Logical block provisioning" in run("sg_logs", "--all", disk), "sg_logs --all prints page 0Ch")
    run("sg_logs", "--page=0x19", disk)
    run("sg_modes", "--all", disk)
    expect("512 bytes" in run("sg_readcap", "--long", disk), "sg_readcap knows the block size")
    run("sg_luns", disk)
    run("sg_ident", disk)
    run("sg_timestamp", disk)
    return codes


def _reservations(disk: str) -> None:
    run("sg_persist", "--out", "--register", f"--param-sark={KEY}", disk)
    expect(KEY in run("sg_persist", "--in", "--read-keys", disk), "sg_persist reads the key that it registered")
    run("sg_persist", "--out", "--reserve", f"--param-rk={KEY}", "--prout-type=5", disk)
    held = run("sg_persist", "--in", "--read-reservation", disk)
    expect("registrants only" in held.lower(), "the reservation is held")
    run("sg_persist", "--in", "--read-full-status", disk)
    run("sg_persist", "--in", "--report-capabilities", disk)
    run("sg_persist", "--out", "--release", f"--param-rk={KEY}", "--prout-type=5", disk)
    run("sg_persist", "--out", "--clear", f"--param-rk={KEY}", disk)
    expect("NO registered" in run("sg_persist", "--in", "--read-keys", disk), "no key is left")


def _groups(disk: str) -> None:
    before = run("sg_rtpg", "--decode", disk)
    expect("active/optimized" in before, "sg_rtpg finds the group active")
    run("sg_stpg", "--active", disk)  # its word for active/non-optimized
    expect("active/non optimized" in run("sg_rtpg", "--decode", disk), "sg_stpg --active makes it non-optimized")
    run("sg_stpg", "--optimized", disk)
    expect("active/optimized" in run("sg_rtpg", "--decode", disk), "sg_stpg --optimized undoes that")


def _blocks(disk: str) -> None:
    run("dd", "if=/dev/urandom", "of=/run/tools.pattern", "bs=1M", "count=2", "status=none")
    run("sg_dd", "if=/run/tools.pattern", f"of={disk}", "bs=512", "bpt=128", "oflag=sgio")
    run("sg_dd", f"if={disk}", "of=/run/tools.back", "bs=512", "count=4096", "iflag=sgio")
    run("cmp", "/run/tools.pattern", "/run/tools.back")
    run("sg_unmap", "--force", "--lba=0", "--num=2048", disk)
    status = run("sg_get_lba_status", "--lba=0", disk)
    say(status.strip())
    expect("deallocated" in status, "sg_get_lba_status finds the blocks that sg_unmap gave back")
    run("sg_write_same", "--16", "--lba=8", "--num=16", "--in=/dev/zero", "--xferlen=512", disk)
    run("sg_verify", "--16", "--lba=0", "--count=128", disk)
    run("sg_sync", disk)


def _buffers(disk: str) -> None:
    run("sg_test_rwbuf", "--quick", "--size=4096", disk)
    # Debian 12's sg_read_buffer prints nothing of what it gets, so the same command goes by sg_raw.
    answer = Path("/run/tools.answer")
    descriptor = ["3c", "03", "00", "00", "00", "00", "00", "00", "04", "00"]
    run("sg_raw", "--request=4", "--binary", f"--outfile={answer}", disk, *descriptor)
    expect(answer.read_bytes().hex() == "00001000", f"the buffer's size is told: {answer.read_bytes().hex()}")
    Path("/run/tools.echo").write_bytes(b"echo" * 64)
    run("sg_write_buffer", "--mode=10", "--in=/run/tools.echo", "--length=256", disk)
    run("sg_raw", "--request=256", "--binary", f"--outfile={answer}", disk,
        "3c", "0a", "00", "00", "00", "00", "00", "01", "00", "00")  # fmt: skip
    expect(answer.read_bytes() == b"echo" * 64, "the echo comes back")
    run("sg_senddiag", "--test", disk)
    run("sg_senddiag", "--list", disk)


def _whole_medium(disk: str) -> None:
    run("dd", "if=/dev/urandom", f"of={disk}", "bs=1M", "count=4", "oflag=direct", "status=none")
    run("sg_format", "--format", "--quick", "--wait", disk, limit=60)
    _is_all(disk, b"\0")
    run("sg_sanitize", "--overwrite", "--pattern=/run/tools.echo", "--ipl=4", "--quick", "--wait", disk, limit=60)
    _is_all(disk, b"echo")
    run("sg_sanitize", "--block", "--quick", "--wait", disk, limit=60)
    _is_all(disk, b"\0")
    run("sg_turs", disk)


def _is_all(disk: str, pattern: bytes) -> None:
    run("dd", f"if={disk}", "of=/run/tools.back", "bs=1M", "count=4", "iflag=direct", "status=none")
    data = Path("/run/tools.back").read_bytes()
    expect(data == pattern * (len(data) // len(pattern)), f"the disk holds {pattern!r} all over")


@scenario(limit=120)
def sg_rtpg_sees_what_target_alua_says() -> None:
    """An administrator makes a target's paths worse and good again: Linux hears it, and asks the target again."""
    daemon.Daemon()
    services.start_iscsid()
    run("modprobe", "-a", "sd_mod", "sg")
    portal, iqn = "127.0.0.1:3264", "iqn.2026-11.com.example:paths"
    daemon.ask("disk.create", name="paths", uri="memory:paths", size="16M", front="engine")
    daemon.ask("target.create", target=iqn)
    daemon.ask("lun.map", target=iqn, disk="paths")
    daemon.ask("acl.allow", target=iqn, rule=services.INITIATOR)
    daemon.ask("portal.add", target=iqn, portal=portal)
    try:
        with services.Session(iqn, portal) as session:
            disk = session.disk()
            for state, word in (
                ("non-optimized", "active/non optimized"),
                ("standby", "standby"),
                ("optimized", "active/optimized"),
            ):
                daemon.ask("target.alua", target=iqn, state=state)
                run("sg_turs", disk, status=None)  # it ends with the news that the state has changed
                expect(word in run("sg_rtpg", "--decode", disk), f"the group is {state}")
            run("dd", f"if={disk}", "of=/dev/null", "bs=1M", "count=4", "iflag=direct", "status=none")
    finally:
        daemon.ask("target.delete", target=iqn)
        daemon.ask("disk.delete", name="paths")

"""What a host's tools are told through tcm_loop is what the engine tells over iSCSI: one SCSI core, two fronts."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from .. import daemon, lio, services
from ..runner import scenario
from ..shell import expect, run, say

# sg3-utils' own programs, as a person types them: each must understand the answer (status 0) on both fronts.
_QUESTIONS = (
    ("sg_inq", "--raw"),
    *(("sg_vpd", "--raw", f"--page={page}") for page in ("0x00", "0xb0", "0xb1", "0xb2")),
    ("sg_readcap", "--raw"),
    ("sg_readcap", "--long", "--raw"),
    ("sg_opcodes", "--raw"),
    ("sg_modes", "--all", "--raw"),
    ("sg_luns", "--raw"),
)
_SAME_WORDS = (
    ("sg_vpd", "--page=0x80"),
    ("sg_turs",),
    ("sg_opcodes",),
    ("sg_get_lba_status", "--lba=0"),
)


# What must differ: the engine is the target and names its ports and their groups; LIO's are LIO's business (TPGS 0).
# And LIO does not tell who asks: copies that outlive their command, and tokens, belong to somebody.
_ENGINE_COMMANDS = (
    *((0xA3, 0x0A), (0xA4, 0x0A)),  # REPORT and SET TARGET PORT GROUPS
    *((0x83, 0x01), (0x83, 0x10), (0x83, 0x11), (0x83, 0x1C)),  # EXTENDED COPY(LID4), tokens, COPY OPERATION ABORT
    *((0x84, 0x05), (0x84, 0x06)),  # RECEIVE COPY STATUS(LID4), RECEIVE COPY DATA(LID4)
    *((0x84, 0x07), (0x84, 0x08)),  # RECEIVE ROD TOKEN INFORMATION, REPORT ALL ROD TOKENS
)
_SCSI_PORTS_PAGE = 0x88


def without_ports_inquiry(text: str) -> str:
    """Standard INQUIRY data without TPGS (byte 5) and version descriptors (58 to 73: the engine names iSCSI)."""
    data = bytearray.fromhex(text)
    data[5] &= ~0x30
    return (data[:58] + data[74:]).hex()


def without_ports_page(text: str) -> str:
    """The list of VPD pages without SCSI Ports."""
    return bytes(page for page in bytes.fromhex(text)[4:] if page != _SCSI_PORTS_PAGE).hex()


def without_engine_commands(text: str) -> str:
    """REPORT SUPPORTED OPERATION CODES without what only the engine has."""
    data = bytes.fromhex(text)[4:]
    commands = [data[at : at + 8] for at in range(0, len(data), 8)]
    return b"".join(command for command in commands if (command[0], command[3]) not in _ENGINE_COMMANDS).hex()


def without_engine_lines(text: str) -> str:
    """The same of the table that sg_opcodes prints: operation code and service action come first."""
    names = [rf"{code:x} +{action:x} " for code, action in _ENGINE_COMMANDS]
    return "\n".join(line for line in text.splitlines() if not re.match(rf" *({'|'.join(names)})", line))


_DIFFERENT_BY_RIGHT: dict[str, Callable[[str], str]] = {
    "sg_inq --raw": without_ports_inquiry,
    "sg_vpd --raw --page=0x00": without_ports_page,
    "sg_opcodes --raw": without_engine_commands,
    "sg_opcodes": without_engine_lines,
}


def answers(device: str) -> dict[str, str]:
    """Every question's answer as text (binary ones in hexadecimal)."""
    told = {}
    for command in _QUESTIONS:
        file = Path("/run/answer")
        with open(file, "wb") as output:
            run_into(output, *command, device)
        told[" ".join(command)] = file.read_bytes().hex()
    for command in _SAME_WORDS:
        told[" ".join(command)] = run(*command, device).replace(device, "DISK")
    designators = run("sg_vpd", "--page=di_lu", device)
    for question, differs in _DIFFERENT_BY_RIGHT.items():
        told[question] = differs(told[question])
    told["logical unit designators"] = "\n".join(re.findall(r"0x\S+|vendor specific: .*|T10 .*", designators))
    return told


def run_into(output: object, *command: str) -> None:
    """A program whose standard output is binary."""
    process = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, timeout=60, check=False)
    expect(process.returncode == 0, f"{' '.join(command)}: status {process.returncode} {process.stderr.decode()[:200]}")


def change(device: str) -> None:
    """The commands that change blocks, each with its effect checked."""
    ones, twos = Path("/run/ones"), Path("/run/twos")
    ones.write_bytes(b"\x11" * 512)
    twos.write_bytes(b"\x22" * 512)
    run("sg_write_same", "--16", "--lba=8", "--num=8", f"--in={ones}", "--xferlen=512", device)
    expect(blocks(device, 8, 8) == b"\x11" * 4096, "WRITE SAME (16) repeats its block")
    expect(blocks(device, 16, 1) == bytes(512), "and stops where it should")
    both = Path("/run/compare")
    both.write_bytes(ones.read_bytes() + twos.read_bytes())
    run("sg_compare_and_write", f"--in={both}", "--lba=8", "--num=1", "--xferlen=1024", device)
    expect(blocks(device, 8, 2) == b"\x22" * 512 + b"\x11" * 512, "COMPARE AND WRITE replaces what compares equal")
    run("sg_compare_and_write", f"--in={both}", "--lba=8", "--num=1", "--xferlen=1024", device, status=14)
    expect(blocks(device, 8, 1) == b"\x22" * 512, "a miscompare is reported (status 14) and changes nothing")
    run("sg_unmap", "--force", "--lba=8", "--num=8", device)  # else it gives a person 15 seconds to think again
    expect(blocks(device, 8, 8) == bytes(4096), "unmapped blocks read as zeros")


def blocks(device: str, lba: int, count: int) -> bytes:
    """Blocks of 512 bytes, read past the page cache by READ commands of sg_dd."""
    Path("/run/blocks").unlink(missing_ok=True)  # sg_dd does not shorten what is there
    run("sg_dd", f"if={device}", "of=/run/blocks", "bs=512", f"skip={lba}", f"count={count}", "blk_sgio=1")
    return Path("/run/blocks").read_bytes()


@scenario(limit=300)
def tools_are_told_the_same_on_both_fronts() -> None:
    """sg3-utils through tcm_loop, then the disk moves to the engine and open-iscsi asks the same questions."""
    backing = daemon.uri("answers")
    services.start_iscsid()
    iqn = "iqn.2024-01.test.vm:answers"
    with daemon.Daemon():
        disk = daemon.Disk("answers", backing, "64M")
        with lio.LoopDisk(disk.backstore) as local:
            generic = local.generic
            change(generic)
            through_kernel = answers(generic)
        daemon.ask("disk.move", name="answers", to="engine")
        daemon.ask("target.create", target=iqn)
        daemon.ask("portal.add", target=iqn, portal="127.0.0.1:3270")
        daemon.ask("acl.allow", target=iqn, rule="all")
        daemon.ask("lun.map", target=iqn, disk="answers", lun=0)
        with services.Session(iqn, "127.0.0.1:3270") as session:
            block = Path("/sys/block") / Path(session.disk()).name
            through_engine = answers("/dev/" + next((block / "device/scsi_generic").iterdir()).name)
        different = [question for question, answer in through_kernel.items() if through_engine[question] != answer]
        for question in different:
            say(f"{question}\n  LIO:    {through_kernel[question]}\n  engine: {through_engine[question]}")
        expect(not different, f"all {len(through_kernel)} answers are the same on both fronts")
        daemon.ask("target.delete", target=iqn)
        daemon.ask("disk.delete", name="answers")

"""Copy offload by tools that people have: sg_xcopy, sg_dd and ddpt through the kernel's initiator and our engine."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

from tcmu_gluster.errors import TcmuGlusterError

from .. import daemon, services
from ..runner import scenario
from ..shell import expect, read, run

PORTAL = "127.0.0.1:3263"
IQN = "iqn.2026-11.com.example:copies"
MIB = 1 << 20
LIST_IDENTIFIER = 0x101
ZERO_TOKEN = struct.pack(">I2xH504x", 0xFFFF0001, 0x1F8)
"""The block device zero ROD token: its type and its length alone.  Source: SBC-4 4.28.4."""


@scenario(limit=180)
def tools_copy_between_two_disks_without_moving_the_data_themselves() -> dict[str, str]:
    """EXTENDED COPY by sg_xcopy and ddpt, tokens by ddpt and sg_raw; sg_dd reads the same bytes on the other disk."""
    daemon.Daemon()
    files = [Path(f"/run/copies-{name}") for name in ("a", "b")]
    services.start_iscsid()
    run("modprobe", "sg", status=None)
    for file in files:
        daemon.ask("disk.create", name=file.name, uri=f"file://{file}", size="16M", front="engine")
    daemon.ask("target.create", target=IQN)
    for lun, file in enumerate(files):
        daemon.ask("lun.map", target=IQN, disk=file.name, lun=lun)
    daemon.ask("acl.allow", target=IQN, rule=services.INITIATOR)
    daemon.ask("portal.add", target=IQN, portal=PORTAL)
    try:
        with services.Session(IQN, PORTAL) as session:
            one, two = session.disk(0), session.disk(1)
            run("modprobe", "sg")
            sink = _generic(two)
            between = f"if={_generic(one)}", f"of={sink}"
            run("dd", "if=/dev/urandom", "of=/run/copies-pattern", "bs=1M", "count=8", "status=none")
            run("dd", "if=/run/copies-pattern", f"of={one}", "bs=1M", "oflag=direct", "conv=fsync", "status=none")
            moved = _sectors_moved(one), _sectors_moved(two)
            figures = {
                "pages": run("sg_vpd", "--page=tpc", one),
                "sg_xcopy": run("sg_xcopy", *between, "bs=512", "count=8192"),
                "ddpt_xcopy": run("ddpt", *between, "bs=512", "skip=8192", "seek=8192", "count=4096",
                                  "iflag=pt", "oflag=pt", "--xcopy"),
                "ddpt_odx": run("ddpt", *between, "bs=512", f"skip={_early(12288, 2048)}",
                                f"seek={_early(12288, 2048)}", "iflag=pt", "oflag=pt", "--odx"),
            }  # fmt: skip
            expect(_odx_transfer_counts(figures["ddpt_odx"]) == 2, "ddpt named 256 times the blocks that it counts")
            _copy_by_token(_generic(one), sink, lba=14336, blocks=2048)
            expect(
                max(_sectors_moved(one) - moved[0], _sectors_moved(two) - moved[1]) < 4096,
                "the initiator moved less than a quarter of what was copied",
            )
            run("cmp", "-n", str(8 * MIB), "/run/copies-pattern", str(files[1]))
            run("sg_dd", f"if={two}", "of=/run/copies-back", "bs=512", "count=16384", "blk_sgio=1", "iflag=sgio")
            run("cmp", "/run/copies-pattern", "/run/copies-back")
            _write_token(sink, ZERO_TOKEN, lba=0, blocks=4096)
            run("cmp", "-n", str(2 * MIB), "/dev/zero", str(files[1]))
            run("ddpt", "if=/dev/null", f"of={sink}", "bs=512", f"seek={_early(4096, 4096)}", "oflag=pt", "rtype=zero",
                "--odx")  # fmt: skip
            run("cmp", "-n", str(4 * MIB), "/dev/zero", str(files[1]))
            run("cmp", "-i", str(4 * MIB), "-n", str(4 * MIB), "/run/copies-pattern", str(files[1]))
            _tokens_that_live(_generic(one))
    finally:
        with contextlib.suppress(TcmuGlusterError):  # half of it may not have been made
            daemon.ask("target.delete", target=IQN)
            for file in files:
                daemon.ask("disk.delete", name=file.name)
    return figures


def _early(lba: int, blocks: int) -> str:
    """What to ask ddpt 0.97 for so that it names these blocks: its numbers are a byte too early (docs/scsi.md)."""
    assert lba % 256 == blocks % 256 == 0
    return f"{lba // 256},{blocks // 256}"


def _odx_transfer_counts(said: str) -> int:
    """How often ddpt found that more was copied than it believes to have asked for."""
    return said.count("differs from transfer count")


def _tokens_that_live(disk: str) -> None:
    """ddptctl finds the one of sg_raw by REPORT ALL ROD TOKENS, then its own too; ddpt's last write deleted its own."""
    found = run("ddptctl", "--all_toks", disk)
    expect("headers returned: 1\n" in found and f"represented: {2048 * 512} " in found, "one token lives, sg_raw's")
    run("ddptctl", f"--pt={_early(256, 512)}", "--rtf=/run/copies-token", disk)
    expect(f"represented: {512 * 512} " in run("ddptctl", "--all_toks", disk), "ddptctl finds the token that it made")


def _copy_by_token(source: str, sink: str, lba: int, blocks: int) -> None:
    """POPULATE TOKEN, RECEIVE ROD TOKEN INFORMATION, WRITE USING TOKEN: an offloaded copy of Windows's.

    Source: SBC-4 5.12, 5.59; SPC-4 6.26.
    """
    _third_party(source, 0x10, struct.pack(">H2xII2xHQI4x", 30, 0, 0, 16, lba, blocks))
    Path("/run/copies-token").unlink(missing_ok=True)
    receive = struct.pack(">BBI4xI2x", 0x84, 0x07, LIST_IDENTIFIER, 1024)
    run("sg_raw", "--request=1024", "--outfile=/run/copies-token", source, *_words(receive))
    told = Path("/run/copies-token").read_bytes()
    at = 32 + told[13] + 4 + 2  # behind the sense data: length of the descriptors, then the first one's identifier
    expect(told[5] == 0x01 and len(told) >= at + 512, "the token is there")
    _write_token(sink, told[at : at + 512], lba, blocks)


def _write_token(sink: str, token: bytes, lba: int, blocks: int) -> None:
    _third_party(sink, 0x11, struct.pack(">H6xQ512s6xHQI4x", 550, 0, token, 16, lba, blocks))


def _third_party(disk: str, service_action: int, parameters: bytes) -> None:
    """THIRD-PARTY COPY OUT with a parameter list."""
    Path("/run/copies-parameters").write_bytes(parameters)
    command = struct.pack(">BB4xII2x", 0x83, service_action, LIST_IDENTIFIER, len(parameters))
    run("sg_raw", f"--send={len(parameters)}", "--infile=/run/copies-parameters", disk, *_words(command))


def _words(command: bytes) -> list[str]:
    return [f"{byte:02x}" for byte in command]


def _sectors_moved(disk: str) -> int:
    """What Linux has read from and written to a disk by its block layer, in sectors."""
    words = read(f"/sys/block/{Path(disk).name}/stat").split()
    return int(words[2]) + int(words[6])


def _generic(disk: str) -> str:
    """The node of the sg driver: sg3-utils look for others only where udev made links."""
    return f"/dev/{next(Path('/sys/block', Path(disk).name, 'device/scsi_generic').iterdir()).name}"

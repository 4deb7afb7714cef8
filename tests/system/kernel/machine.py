"""One boot of the test machine: QEMU, Debian's kernel, this host's root (read-only, under a layer) with the checkout.

    with Machine("default", ["loop_filesystems", ...]) as machine:
        result = machine.result("loop_filesystems")     # waits for it; raises MachineError if it can no longer come

The guest runs the scenarios one after the other and appends a JSON line for each to /io/results.jsonl, which is a
shared folder of the host: results are read while the machine runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import image

CHECKOUT = Path(__file__).resolve().parents[3]
_GUEST = Path(__file__).resolve().parent / "guest"
_BRICK_BYTES = 3 << 30
REBOOTED = frozenset(("reboot",))
"""Jobs whose guest may reboot; any other's ends with its first boot, also if its kernel panics."""


class MachineError(Exception):
    """The machine can give no (more) results; says why, with the end of its console."""


class Machine:
    """A running guest.  limit_seconds: the whole boot, after which QEMU is killed and what has not run has failed."""

    def __init__(self, job: str, scenarios: list[str], limit_seconds: float, memory_mib: int = 2048) -> None:
        self.job = job
        self.scenarios = scenarios
        self.limit_seconds = limit_seconds
        self.memory_mib = memory_mib
        self.results: dict[str, dict[str, Any]] = {}
        self.boot_seconds = 0.0
        self._read_bytes = 0

    def __enter__(self) -> Machine:
        kernel = image.prepare()
        self.release = kernel.release
        self.folder = Path(tempfile.mkdtemp(prefix=f"tcmu-gluster-{self.job}-"))
        self.io = self.folder / "io"
        self.io.mkdir()
        shutil.copy(_GUEST / "init.sh", self.io)
        (self.io / "checkout").write_text(str(CHECKOUT))
        nested = {"kernel": str(kernel.kernel), "initrd": str(kernel.nested)}
        (self.io / "job.json").write_text(json.dumps({"job": self.job, "scenarios": self.scenarios, "nested": nested}))
        brick = self._brick()
        self._compile()
        self._started = time.monotonic()
        with open(self.folder / "qemu.log", "wb") as log:
            self._qemu = subprocess.Popen(
                self._command(kernel, brick), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        return self

    def __exit__(self, *_: object) -> None:
        if not self.ended:
            self._qemu.kill()
        self._qemu.wait()
        self._read()
        (self.folder / "brick.img").unlink()
        kept = image.cache_folder() / "runs" / self.job
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(str(self.folder), kept)
        self.folder, self.io = kept, kept / "io"

    @property
    def ended(self) -> bool:
        """Whether the guest is switched off; what it has told can still be asked for."""
        return self._qemu.poll() is not None

    def stop(self) -> None:
        """End it, gently if it has nothing left to do, and keep its files."""
        self._read()
        if len(self.results) == len(self.scenarios):
            self.wait()
        self.__exit__()

    def result(self, scenario: str) -> dict[str, Any]:
        """The scenario's line: name, outcome, seconds, log, figures.  Waits until it has run."""
        while True:
            running = not self.ended
            self._read()
            if scenario in self.results:
                return self.results[scenario]
            if not running:
                raise MachineError(
                    f"{scenario} never ran: the machine ended (QEMU's status {self._qemu.returncode})\n"
                    + self._last_words()
                )
            if time.monotonic() - self._started > self.limit_seconds:
                self._qemu.kill()
                raise MachineError(
                    f"{scenario} never ran: the machine was stopped after {self.limit_seconds:.0f} s\n"
                    + self._last_words()
                )
            time.sleep(0.2)

    def wait(self) -> None:
        """Until the guest has powered itself off."""
        try:
            self._qemu.wait(max(1.0, self.limit_seconds - (time.monotonic() - self._started)))
        except subprocess.TimeoutExpired:
            self._qemu.kill()

    def _read(self) -> None:
        path = self.io / "results.jsonl"
        if not path.exists():
            return
        with open(path, "rb") as file:
            file.seek(self._read_bytes)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        for line in whole.splitlines():
            result = json.loads(line)
            if "boot" in result:
                self.boot_seconds = time.monotonic() - self._started
            else:
                self.results[result["name"]] = result

    def _compile(self) -> None:
        """Byte code for the guest, made here because the guest's processor is slow and it could not keep it."""
        folders = [str(CHECKOUT / name) for name in ("tcmu_gluster", "handler", "targetcli_ext", "tests/system")]
        subprocess.run([sys.executable, "-m", "compileall", "-q", *folders], check=False)

    def _brick(self) -> Path:
        """The disk under the guest's Gluster volume, formatted here, where that costs nothing."""
        brick = self.folder / "brick.img"
        with open(brick, "wb") as file:
            file.truncate(_BRICK_BYTES)
        subprocess.run(
            ["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=1", str(brick)], check=True
        )
        return brick

    def _command(self, kernel: image.Image, brick: Path) -> list[str]:
        accelerator = os.environ.get("TCMU_GLUSTER_TEST_ACCEL", "tcg,thread=multi")
        append = (
            "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off nokaslr audit=0 selinux=0 apparmor=0 "
            "random.trust_cpu=on tsc=reliable"
        )
        return [
            "qemu-system-x86_64",
            "-M",
            "q35",
            "-accel",
            accelerator,
            "-cpu",
            "Nehalem",
            "-smp",
            "2",
            "-m",
            str(self.memory_mib),
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            *(() if self.job in REBOOTED else ("-no-reboot",)),
            "-serial",
            f"file:{self.folder}/console.txt",
            "-device",
            "virtio-rng-pci",
            "-kernel",
            str(kernel.kernel),
            "-initrd",
            str(kernel.initrd),
            "-append",
            append,
            *_share("root", Path("/"), "readonly=on,multidevs=remap"),
            *_share("modules", kernel.modules, "readonly=on"),
            *_share("io", self.io, "multidevs=remap"),
            "-drive",
            f"file={brick},format=raw,if=none,id=brick,cache=unsafe,discard=unmap",
            "-device",
            "virtio-blk-pci,drive=brick,serial=brick",
        ]

    def _last_words(self) -> str:
        words = []
        for name in ("qemu.log", "console.txt", "io/runner.txt"):
            path = self.folder / name
            if path.exists():
                words.append(f"--- {name}\n" + path.read_text(errors="replace")[-3000:])
        return "\n".join(words)


def _share(tag: str, path: Path, options: str) -> list[str]:
    return [
        "-fsdev",
        f"local,id={tag},path={path},security_model=none,{options}",
        "-device",
        f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
    ]

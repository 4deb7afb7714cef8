"""Coverage-guided fuzzing of everything that takes bytes from outside: script/fuzz.

Each target runs in a process of its own from its kept corpus (tests/fuzz/corpus). It ends with a table; the exit status
is 0 only if no input crashed it, hung (20 s) or broke an invariant. An input that did is written to --findings, and
`script/fuzz --replay FILE TARGET` runs it again with a traceback.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
HANG_SECONDS = 20
MEMORY_MIB = 2048
DEFAULT_EXECUTIONS = 2_000_000
ROW = "{:18} {:>11} {:>10} {:>9} {:>10}  {}"


class Outcome(NamedTuple):
    """What one target's process told."""

    executions: int
    seconds: float
    coverage: int
    new_inputs: int
    findings: list[Path]
    status: int


def fuzz(name: str, arguments: argparse.Namespace, executions: int, seconds: int) -> Outcome:
    """Run one target within its limits (0: no limit)."""
    target = TARGETS[name]
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as folder:
        seeds, found = Path(folder, "seeds"), Path(folder, "found")
        seeds.mkdir()
        found.mkdir()
        for index, data in enumerate(corpus.load(name)):
            (seeds / f"{index:04}").write_bytes(data)
        prefix = arguments.findings / f"{name}-"
        before = set(arguments.findings.glob(f"{name}-*"))
        command = [
            sys.executable, "-m", "tests.fuzz.one", name, f"-max_len={target.longest_bytes}",
            f"-timeout={HANG_SECONDS}",
            f"-rss_limit_mb={MEMORY_MIB}", "-print_final_stats=1", f"-artifact_prefix={prefix}", "-verbosity=1",
            f"-seed={arguments.seed}", "-detect_leaks=0", "-len_control=20",
        ]  # fmt: skip
        command += [f"-runs={executions}"] if executions else []
        command += [f"-max_total_time={seconds}"] if seconds else []
        log = arguments.findings / f"log-{name}.txt"
        started = time.monotonic()
        with log.open("wb") as output:
            status = subprocess.run(
                [*command, str(found), str(seeds)], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                check=False,
            ).returncode  # fmt: skip
        took = time.monotonic() - started
        text = log.read_text(errors="replace")
        if arguments.keep and not status:
            corpus.save(name, corpus.load(name) + [path.read_bytes() for path in found.iterdir()])
        new = len(list(found.iterdir()))
    findings = sorted(set(arguments.findings.glob(f"{name}-*")) - before)
    return Outcome(number(r"stat::number_of_executed_units:\s+(\d+)", text), took, number(r".*\bcov: (\d+)", text),
                   new, findings, status)  # fmt: skip


def number(pattern: str, text: str) -> int:
    """The last number that the pattern finds."""
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def limits(arguments: argparse.Namespace, names: list[str]) -> dict[str, tuple[int, int]]:
    """(executions, seconds) of each target: its share of the whole."""
    shares = sum(TARGETS[name].share for name in names)
    return {
        name: (
            -(-arguments.executions * TARGETS[name].share // shares),
            -(-arguments.seconds * TARGETS[name].share // shares),
        )
        for name in names
    }


def replay(path: Path, names: list[str]) -> int:
    """Run one input, with its traceback."""
    for name in names:
        TARGETS[name].run(path.read_bytes())
        print(f"{name}: {path} passes")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="script/fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("target", nargs="*", metavar="TARGET", help=f"default: all ({', '.join(TARGETS)})")
    parser.add_argument("--executions", type=int, default=0, help=f"of all targets together ({DEFAULT_EXECUTIONS})")
    parser.add_argument("--seconds", type=int, default=0, help="for all targets together, instead")
    parser.add_argument("--findings", type=Path, help="where inputs that broke something and logs go")
    parser.add_argument("--seed", type=int, default=0, help="libFuzzer's (0: another one each time)")
    parser.add_argument("--keep", action="store_true", help="add what was found to tests/fuzz/corpus")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run this input alone")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.target if name not in TARGETS]
    if unknown:
        parser.error(f"no target {', '.join(unknown)}; targets are {', '.join(TARGETS)}")
    if not arguments.executions and not arguments.seconds:
        arguments.executions = DEFAULT_EXECUTIONS
    arguments.findings = (arguments.findings or Path(tempfile.mkdtemp(prefix="fuzz-findings-"))).resolve()
    arguments.findings.mkdir(parents=True, exist_ok=True)
    return arguments


def main() -> int:
    """Print a row a target."""
    arguments = parse()
    names = arguments.target or list(TARGETS)
    if arguments.replay:
        return replay(arguments.replay, names)
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: script/setup fuzz (there are wheels for Python 3.11 and later on x86)")
        return 2
    print(
        f"{'target':18} {'executions':>11} {'per second':>10} {'branches':>9} {'new inputs':>10}  findings", flush=True
    )
    total, broken = 0, False
    for name, (executions, seconds) in limits(arguments, names).items():
        outcome = fuzz(name, arguments, executions, seconds)
        total += outcome.executions
        broken |= bool(outcome.findings or outcome.status)
        rate = outcome.executions / outcome.seconds if outcome.seconds else 0
        found = f"{len(outcome.findings)}{f' (status {outcome.status})' if outcome.status else ''}"
        print(ROW.format(name, f"{outcome.executions:,}", f"{rate:,.0f}", outcome.coverage, outcome.new_inputs, found),
              flush=True)  # fmt: skip
    print(f"{total:,} executions, {'with' if broken else 'no'} crash, hang or broken invariant")
    if broken:
        print(f"inputs and logs are in {arguments.findings}; script/fuzz --replay FILE TARGET")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())

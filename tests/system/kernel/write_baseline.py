"""Runs iscsi-test-cu against LIO's fileio backstore (write-back) several times and writes down what fails.

Some tests fail in one run and pass in the next (they race with the kernel's own log-outs), so a failure that was seen
once is in the list, with how often. Suites that are known for it (RACING) run again and again in every run.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from .guest.scenarios.conformance import RACES, RACING
from .machine import Machine

BASELINE = Path(__file__).with_name("conformance-baseline.txt")
_SCENARIO = "conformance_of_lio_fileio"


def read() -> set[str]:
    """The names (SUITE.TEST) in the list."""
    lines = BASELINE.read_text().splitlines()
    return {line.split()[0] for line in lines if line and not line.startswith("#")}


def main() -> None:
    """Boot, run, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="how often the tests are run (default 3)")
    runs = parser.parse_args().runs
    failures: Counter[str] = Counter()
    release = ""
    for number in range(runs):
        with Machine("baseline", [_SCENARIO], limit_seconds=1200) as machine:
            result = machine.result(_SCENARIO)
            machine.wait()
            release = machine.release
        if result["outcome"] != "passed":
            raise SystemExit(f"the run failed:\n{result['log']}")
        failures.update(result["figures"]["failures"])
        print(f"run {number + 1} of {runs}: {result['figures']['counts']}", flush=True)
    lines = [
        "# Failures of LIO's fileio backstore (write-back, thin, explicit ACLs) in iscsi-test-cu -d -t ALL on Linux",
        f"# {release}, in {runs} runs, with {RACES} more times {', '.join(RACING)} in each; the number: in how many",
        "# runs it was seen. Made by tests/system/kernel/baseline.",
        *(f"{name} {count}" for name, count in sorted(failures.items())),
    ]
    BASELINE.write_text("\n".join(lines) + "\n")
    print(f"{len(failures)} names written to {BASELINE.name}")


if __name__ == "__main__":
    main()

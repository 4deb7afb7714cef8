"""script/reliability: trials whose figures stand in docs/reliability.md."""

from __future__ import annotations

import argparse
import sys

from script.trials import soak


def main() -> int:
    """Run one trial; 0 if it found nothing."""
    parser = argparse.ArgumentParser(prog="script/reliability", description=__doc__)
    trials = parser.add_subparsers(required=True, metavar="TRIAL")
    one = trials.add_parser("soak", help="mixed load with verification, resets, aborts, disconnects and brick kills")
    one.add_argument("--minutes", type=float, default=30)
    one.add_argument("--sessions", type=int, default=64)
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--memory", action="store_true", help="a disk in memory instead of a replicated volume")
    one.set_defaults(run=soak.main)
    arguments = parser.parse_args()
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())

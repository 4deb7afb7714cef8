"""script/reliability: trials whose figures stand in docs/reliability.md."""

from __future__ import annotations

import argparse
import sys

from script.trials import changed_volume, moving_bricks, power_cut, returning_brick, soak, storage


def main() -> int:
    """Run one trial; 0 if it found nothing."""
    parser = argparse.ArgumentParser(prog="script/reliability", description=__doc__)
    trials = parser.add_subparsers(required=True, metavar="TRIAL")
    one = trials.add_parser("soak", help="mixed load with verification, resets, aborts, disconnects and brick kills")
    one.add_argument("--minutes", type=float, default=30)
    one.add_argument("--sessions", type=int, default=64)
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--memory", action="store_true", help="a disk in memory instead of a replicated volume")
    one.add_argument("--up", type=float, default=20, metavar="SECONDS", help="how long all bricks are there")
    one.add_argument("--down", type=float, default=12, metavar="SECONDS", help="how long one of them is dead")
    one.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="of the volume")
    one.set_defaults(run=soak.main)
    one = trials.add_parser("power-cut", help="kill -9 of the engine on a disk that loses what was not flushed")
    one.add_argument("--rounds", type=int, default=500)
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--liar", action="store_true", help="a disk that ignores flushes: violations must be found")
    one.set_defaults(run=power_cut.main)
    one = trials.add_parser("storage", help="a real Gluster breaks in all ways under a daemon, and is mended")
    one.add_argument("fault", nargs="*", type=storage.known, metavar="FAULT", help=", ".join(storage.FAULTS))
    one.add_argument("--longer", type=float, default=1, metavar="TIMES", help="how many times as long it stays broken")
    one.add_argument("--rounds", type=int, default=3, help="how often the daemon is killed")
    one.set_defaults(run=storage.main)
    one = trials.add_parser("returning-brick", help="libgfapi alone: is old data read when a replica comes back?")
    one.add_argument("--rounds", type=int, default=5, help="how often a brick dies and comes back")
    one.add_argument("--plain", action="store_true", help="without our option for replication: old data is read")
    one.set_defaults(run=returning_brick.main)
    one = trials.add_parser("changed-volume", help="libgfapi alone: does a process live on when options change?")
    one.add_argument("--changes", type=int, default=50)
    one.add_argument("--processes", type=int, default=4, help="each change is a chance for each of them")
    one.add_argument("--plain", action="store_true", help="libgfapi follows the changes by itself: processes die")
    one.set_defaults(run=changed_volume.main)
    one = trials.add_parser("moving-bricks", help="bricks are replaced and added under sessions that write and verify")
    one.add_argument("--rounds", type=int, default=1)
    one.add_argument("--hasty", action="store_true", help="a replica is added while self-heal runs: it may miss writes")
    one.set_defaults(run=moving_bricks.main)
    arguments = parser.parse_args()
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())

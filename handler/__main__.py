"""`python -m handler` is `tcmu-gluster serve`."""

from __future__ import annotations

import sys

from tcmu_gluster.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))

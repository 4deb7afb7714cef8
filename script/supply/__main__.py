"""script/sbom"""

from __future__ import annotations

import argparse
from pathlib import Path

from script.supply.licences import judge, ours
from script.supply.sbom import bill

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/sbom", description="Write docs/sbom.json, or judge licences.")
    parser.add_argument(
        "--licences", action="store_true", help="print what the installed packages say, and our judgement"
    )
    if parser.parse_args().licences:
        verdicts = [judge(distribution) for distribution in ours()]
        print("\n".join(map(str, verdicts)))
        return int(any(not verdict.accepted for verdict in verdicts))
    path = ROOT / "docs" / "sbom.json"
    path.write_text(bill(ROOT))
    print(f"{path.relative_to(ROOT)} is current")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

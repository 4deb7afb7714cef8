"""What the pages of docs/ say is what the scenarios type."""

from __future__ import annotations

from pathlib import Path

import pytest

from .guest.scenarios import b_disks, fabrics, vhost

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGES = {
    "fabrics.md": fabrics.LOOP_TARGET + fabrics.USE + fabrics.LOOP_END,
    "iser.md": fabrics.ISER_TARGET + fabrics.ISER_INITIATOR + fabrics.USE + fabrics.ISER_END,
    "fcoe.md": fabrics.FCOE_TARGET + fabrics.FCOE_INITIATOR + fabrics.USE + fabrics.FCOE_END,
    "vhost.md": vhost.TARGET + vhost.END,
}


@pytest.mark.parametrize("name", PAGES)
def test_every_line_that_is_typed_stands_in_the_page_in_that_order(name: str) -> None:
    page = (DOCS / name).read_text()
    at = 0
    for line in PAGES[name].splitlines():
        shown = line.replace("DISK", "/dev/sdX").replace("/run/pattern", "pattern")
        assert shown in page[at:], shown
        at = page.index(shown, at)


def test_the_cookbook_of_lio_says_what_is_typed() -> None:
    page = (DOCS / "lio.md").read_text()
    for line in b_disks.COOKBOOK.splitlines():
        if line.startswith("targetcli"):
            assert line.replace("iqn.2024-01.test.vm:initiator", "iqn.2024-01.org.example:client") in page

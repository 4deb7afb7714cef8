from __future__ import annotations

from tcmu_gluster.cli.render import cell, item, table


def test_tables_align_and_show_units() -> None:
    assert table(
        ("name", "size_bytes", "on"), [{"name": "a", "size_bytes": 1 << 30, "on": True}, {"name": "long"}]
    ) == ("NAME  SIZE  ON\na     1G    yes\nlong  -     -")


def test_items_nest() -> None:
    text = item({"name": "vm1", "size_bytes": 4096, "luns": [{"lun": 0, "disk": "a"}], "none": [], "io": {"reads": 1}})
    assert text.splitlines() == [
        "name: vm1",
        "size: 4K",
        "luns:",
        "  - lun:  0",
        "    disk: a",
        "none: -",
        "io:",
        "  reads: 1",
    ]


def test_lists_in_a_list_are_words() -> None:
    assert cell("portals", [["::", 3260], ["192.0.2.1", 3260]]) == ":: 3260,192.0.2.1 3260"

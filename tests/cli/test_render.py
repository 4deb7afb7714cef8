from __future__ import annotations

import io

from tcmu_gluster.cli.render import ProgressLine, cell, item, printable, progress_text, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


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


def test_control_characters_are_shown_not_sent() -> None:
    assert printable("a\x1b[31mb\n\u202e") == "a\\x1b[31mb\\n\\u202e"
    assert printable("Grüße") == "Grüße"


def test_progress_waits_two_seconds_and_wipes_itself() -> None:
    now = [0.0]
    stream = Terminal()
    line = ProgressLine(stream, clock=lambda: now[0])
    line({"what": "allocating", "done_bytes": 0, "total_bytes": 1 << 30})
    assert stream.getvalue() == ""
    now[0] = 2.0
    line({"what": "allocating", "done_bytes": 1 << 29, "total_bytes": 1 << 30})
    assert stream.getvalue() == "\rallocating: 512M of 1G (50%)"
    now[0] = 2.1
    line({"what": "allocating", "done_bytes": 1 << 30, "total_bytes": 1 << 30})
    assert stream.getvalue() == "\rallocating: 512M of 1G (50%)"
    line.end()
    assert stream.getvalue().endswith("\r")


def test_progress_for_programs_is_json_and_nothing_without_a_terminal() -> None:
    now = [0.0]
    stream = io.StringIO()
    for as_json in (True, False):
        line = ProgressLine(stream, as_json, clock=lambda: now[0])
        now[0] += 3
        line({"done": 1, "total": 2})
    assert stream.getvalue() == '{"progress": {"done": 1, "total": 2}}\n'


def test_progress_without_numbers_is_its_words() -> None:
    assert progress_text({"what": "waiting", "total": 0, "done": 5}) == "waiting"
    assert progress_text({"what": "restoring", "done": 1, "total": 4}) == "restoring: 1 of 4 (25%)"


def test_lists_in_a_list_are_words() -> None:
    assert cell("portals", [["::", 3260], ["192.0.2.1", 3260]]) == ":: 3260,192.0.2.1 3260"

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tcmu_gluster.control.client import ControlClient, OnProgress
from tcmu_gluster.control.terminal import ProgressLine, call_with_progress, printable, progress_text
from tcmu_gluster.errors import OperationError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


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


@pytest.mark.parametrize("refused", [False, True])
def test_a_long_question_is_seen_to_go_on_and_leaves_no_trace(refused: bool) -> None:
    now = [0.0]
    stream = Terminal()

    class Slow(ControlClient):
        def call(
            self, name: str, args: Mapping[str, Any] | None = None, on_progress: OnProgress | None = None
        ) -> dict[str, Any]:
            now[0] = 3.0
            assert on_progress is not None
            on_progress({"what": name})
            if refused:
                raise OperationError("no")
            return {"now": "done"}

    line = ProgressLine(stream, clock=lambda: now[0])
    client = Slow(Path("nowhere"))
    if refused:
        with pytest.raises(OperationError):
            call_with_progress(client, "save", {}, line)
    else:
        assert call_with_progress(client, "save", {}, line) == {"now": "done"}
    assert stream.getvalue() == "\rsave\r    \r"

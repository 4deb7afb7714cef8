"""The trials of script/reliability in their short form, and that they notice what they are there for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from script.trials.blocks import SLOT_BYTES, Book, content
from tests.system.gluster_server import why_unavailable

_NO_GLUSTER = why_unavailable()
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(300)


def trial(*words: str) -> tuple[int, str]:
    """Exit status and output."""
    done = subprocess.run(
        [sys.executable, "-m", "script.trials", *words], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_a_book_tells_torn_lost_and_invented_blocks_from_right_ones() -> None:
    book = Book()
    book.check(3, bytes(SLOT_BYTES))
    book.acknowledge(3, book.begin(3))
    book.check(3, content(3, 1))
    second = book.begin(3)
    book.check(3, content(3, second)[:512] + content(3, 1)[512:])  # it is under way
    assert book.faults == []
    for wrong, word in ((bytes(SLOT_BYTES), "older"), (content(4, 1), "torn"), (content(3, 9), "never written")):
        book.faults.clear()
        book.check(3, wrong)
        assert len(book.faults) == 8 and word in book.faults[0]


@pytest.mark.faults
def test_power_cuts_keep_what_was_promised() -> None:
    status, out = trial("power-cut", "--rounds", "12")
    assert status == 0 and "0 violations" in out, out


@pytest.mark.faults
def test_a_disk_that_ignores_flushes_is_found_out() -> None:
    status, out = trial("power-cut", "--rounds", "12", "--liar")
    assert status == 1 and " violations" in out, out


@pytest.mark.faults
def test_a_short_soak_finds_nothing() -> None:
    status, out = trial("soak", "--memory", "--minutes", "0.15", "--sessions", "16")
    assert status == 0 and "0 lost, stale or torn" in out, out


@pytest.mark.gluster
@pytest.mark.skipif(bool(_NO_GLUSTER), reason=_NO_GLUSTER or "-")
def test_a_brick_that_comes_back_gives_nothing_old() -> None:
    status, out = trial("returning-brick", "--rounds", "1")
    assert status == 0 and ", 0 of them gave what had been overwritten" in out, out


@pytest.mark.gluster
@pytest.mark.skipif(bool(_NO_GLUSTER), reason=_NO_GLUSTER or "-")
def test_a_volume_that_changes_ends_no_process_and_no_read() -> None:
    status, out = trial("changed-volume", "--changes", "6")
    assert status == 0 and "24 times a volume changed under 32 reads: 0 processes died, 0 reads failed" in out, out


@pytest.mark.full
@pytest.mark.gluster
@pytest.mark.skipif(bool(_NO_GLUSTER), reason=_NO_GLUSTER or "-")
def test_bricks_that_are_replaced_and_added_lose_nothing() -> None:
    status, out = trial("moving-bricks")
    assert status == 0 and ", 0 lost, torn or invented" in out, out


@pytest.mark.full
@pytest.mark.gluster
@pytest.mark.skipif(bool(_NO_GLUSTER), reason=_NO_GLUSTER or "-")
def test_without_our_option_it_does() -> None:
    status, out = trial("returning-brick", "--rounds", "1", "--plain")
    assert status == 1 and ", 0 of them" not in out and "had been overwritten before" in out, out

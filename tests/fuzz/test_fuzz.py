"""Every input that a campaign kept still passes; a campaign finds what is broken and says so; the corpora are small."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.fuzz.reader import Reader
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 24


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs_pass(name: str) -> None:
    inputs = corpus.load(name)
    assert inputs, "no corpus"
    for data in inputs:
        TARGETS[name].run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_corpora_are_small_and_belong_to_a_target(name: str) -> None:
    assert (corpus.FOLDER / f"{name}.txt").stat().st_size <= corpus.LARGEST_BYTES
    assert all(len(data) <= TARGETS[name].longest_bytes for data in corpus.load(name))
    assert {path.stem for path in corpus.FOLDER.iterdir()} == set(TARGETS)


def test_a_reader_makes_an_input_of_any_bytes() -> None:
    reader = Reader(b"\x01\x02\x03")
    assert (reader.byte(), reader.number(4), reader.empty, reader.byte()) == (1, 0x02030000, True, 0)
    assert Reader(b"\x05").pick("abc") == "c" and Reader(b"").rest() == b""


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="not installed: atheris (script/setup fuzz)")
def test_a_short_campaign_finds_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--seconds", str(SECONDS), "--findings", str(tmp_path)], cwd=ROOT,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.targetcli_ext.tree import Tree


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tree]:
    """The engine's tree."""
    made = Tree(tmp_path, monkeypatch)
    yield made
    made.close()

from __future__ import annotations

from pathlib import Path

import pytest

from handler import backing_files
from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.errors import ConfigError

MIB = 1 << 20
MEMORY = parse_backing("memory:x?size=1M")


def test_sizes_of_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    file = tmp_path / "f"
    backing = parse_backing(f"file://{file}")
    assert backing_files.size_of(backing) is None
    file.write_bytes(bytes(4096))
    assert backing_files.size_of(backing) == 4096
    assert backing_files.size_of(MEMORY) is None


def test_files_grow_shrink_and_go(tmp_path: Path) -> None:
    file = tmp_path / "f"
    backing = parse_backing(f"file://{file}")
    file.write_bytes(b"x" * 4096)
    backing_files.resize(backing, MIB)
    assert file.stat().st_size == MIB and file.read_bytes()[4096:] == bytes(MIB - 4096)
    backing_files.resize(backing, 512)
    assert file.read_bytes() == b"x" * 512
    backing_files.remove(backing)
    backing_files.remove(backing)
    assert not file.exists()
    with pytest.raises(FileNotFoundError):
        backing_files.resize(backing, 512)


def test_memory_has_no_file() -> None:
    backing_files.remove(MEMORY)
    backing_files.allocate(MEMORY, MIB, lambda done, total: None)
    with pytest.raises(ConfigError, match="create it again"):
        backing_files.resize(MEMORY, MIB)


def test_allocation_goes_in_steps_and_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backing_files, "STEP_BYTES", MIB)
    file = tmp_path / "f"
    file.write_bytes(b"")
    seen: list[tuple[int, int]] = []
    backing_files.allocate(
        parse_backing(f"file://{file}"), 5 * MIB // 2, lambda done, total: seen.append((done, total))
    )
    whole = 5 * MIB // 2
    assert seen == [(MIB, whole), (2 * MIB, whole), (whole, whole)]
    assert file.stat().st_size == whole and file.stat().st_blocks * 512 >= whole


def test_what_lies_beside_a_file_goes_with_it(tmp_path: Path) -> None:
    for name in ("disk", ".disk.tcmu-gluster", ".disk.tcmu-gluster-lease", ".disk2.tcmu-gluster"):
        (tmp_path / name).touch()
    for _ in range(2):
        backing_files.remove(parse_backing(f"file://{tmp_path}/disk"))
    assert [path.name for path in tmp_path.iterdir()] == [".disk2.tcmu-gluster"]

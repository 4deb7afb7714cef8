"""What the compiler is told."""

from __future__ import annotations

from pathlib import Path

from tcmu_gluster.native import build


def test_every_part_is_a_header_and_a_source_and_all_are_built():
    folder = Path(build.__file__).parent
    parts = set(build.PARTS)
    for part in parts:
        assert (folder / f"{part}.h").is_file()
        assert (folder / f"{part}.c").is_file()
    assert {path.stem for path in folder.glob("*.h")} <= parts


def test_paths_are_relative_to_the_projects_root_for_setuptools():
    module, _, _, keywords = build.builder(build.FOLDER)._assigned_source
    assert module == "tcmu_gluster.native._shim"
    assert keywords["sources"] == [f"tcmu_gluster/native/{part}.c" for part in build.PARTS]

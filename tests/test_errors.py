"""Every exception of ours hangs in the one tree that tcmu_gluster/errors.py draws, so one except finds them all."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import tcmu_gluster
from tcmu_gluster import errors

OUTSIDE_THE_TREE = {
    # Backends know errno alone.
    OSError,
}


def exceptions() -> Iterator[type[Exception]]:
    for found in pkgutil.walk_packages(tcmu_gluster.__path__, "tcmu_gluster."):
        if found.name.endswith("._shim"):
            continue
        for _, value in inspect.getmembers(importlib.import_module(found.name), inspect.isclass):
            if issubclass(value, Exception) and value.__module__ == found.name:
                yield value


def test_every_exception_is_in_the_tree() -> None:
    strays = {
        kind.__qualname__
        for kind in exceptions()
        if not issubclass(kind, (errors.TcmuGlusterError, *OUTSIDE_THE_TREE)) and not kind.__name__.startswith("_")
    }
    assert strays == set()


def test_the_drawing_names_every_root() -> None:
    drawing = errors.__doc__ or ""
    roots = {kind.__name__ for kind in vars(errors).values() if inspect.isclass(kind)}
    assert {name for name in roots if name not in drawing} == set()

"""A lease store in memory with a hook before every step, and a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Optional

from tcmu_gluster.backends.lease_store import Cell


class Clock:
    """Seconds; add to now."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class _Inode:
    def __init__(self, data: bytes) -> None:
        self.data = data


class MemoryCell:
    """A handle: it leads to the file that was opened, whatever has its name now."""

    def __init__(self, store: MemoryLeases, inode: _Inode) -> None:
        self._store, self._inode = store, inode
        self.closed = False

    def write(self, data: bytes) -> None:
        self._store.step("write")
        if self._store.broken_handles:
            raise OSError(77, "File descriptor in bad state")
        self._inode.data = data

    def read(self) -> bytes:
        return self._inode.data

    def close(self) -> None:
        self.closed = True


class Shared:
    """The files of one disk, as every host sees them."""

    def __init__(self) -> None:
        self.files: dict[str, _Inode] = {}


class MemoryLeases:
    """One host's view of the shared files. before(step) is called before every step: a test acts there, or raises."""

    def __init__(self, shared: Optional[Shared] = None) -> None:
        self.shared = shared or Shared()
        self.group: object = id(self)
        self.broken_handles = False
        self.before: Callable[[str], None] = lambda step: None
        self._busy = False

    def step(self, name: str) -> None:
        if not self._busy:
            self._busy = True
            try:
                self.before(name)
            finally:
                self._busy = False

    def exists(self) -> bool:
        return True

    def read(self, claim: str = "") -> Optional[bytes]:
        self.step("read claim" if claim else "read")
        inode = self.shared.files.get(claim)
        return inode.data if inode is not None else None

    def create(self, data: bytes, claim: str = "") -> Optional[Cell]:
        self.step("claim" if claim else "create")
        if claim in self.shared.files:
            return None
        self.shared.files[claim] = _Inode(data)
        return MemoryCell(self, self.shared.files[claim])

    def open(self) -> Optional[Cell]:
        self.broken_handles = False
        inode = self.shared.files.get("")
        return MemoryCell(self, inode) if inode is not None else None

    def replace(self, data: bytes, unique: str) -> Cell:
        self.step("replace")
        self.shared.files[""] = _Inode(data)
        return MemoryCell(self, self.shared.files[""])

    def remove(self, claim: str = "") -> None:
        self.step("remove")
        self.shared.files.pop(claim, None)

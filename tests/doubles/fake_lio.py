"""LIO as handler/lio_admin.py sees it, without rtslib: user backstores by name, with faults on demand."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Optional


class FakeObject:
    """A user backstore."""

    def __init__(self, lio: FakeLio, name: str, config: str, size_bytes: int, serial: str) -> None:
        self._lio = lio
        self.name, self.config, self.size_bytes, self.serial = name, config, size_bytes, serial
        self.hba = len(lio.objects)
        self.exported = False
        self.attributes: dict[str, str] = {}

    def set_attribute(self, name: str, value: str) -> None:
        fault = self._lio.faults.get(name)
        if fault:
            raise OSError(fault, "the kernel said no")
        self.attributes[name] = value
        if name == "dev_size":
            self.size_bytes = int(value)

    def delete(self) -> None:
        del self._lio.objects[self.name]


class FakeLio:
    """faults: attribute -> errno."""

    def __init__(self) -> None:
        self.objects: dict[str, FakeObject] = {}
        self.faults: dict[str, int] = {}
        self.controls: list[str] = []
        self.reservation_directory = False

    def find(self, name: str) -> Optional[FakeObject]:
        return self.objects.get(name)

    def create(self, name: str, config: str, size_bytes: int, serial: str, control: str) -> FakeObject:
        if "create" in self.faults:
            raise OSError(self.faults["create"], "enable failed")
        assert ":" not in config and len(config) <= 255
        self.controls.append(control)
        self.objects[name] = made = FakeObject(self, name, config, size_bytes, serial)
        return made

    def all(self) -> Iterator[FakeObject]:
        yield from self.objects.values()

    def make_reservation_directory(self) -> None:
        self.reservation_directory = True


NO_SUCH_ATTRIBUTE = errno.ENOENT

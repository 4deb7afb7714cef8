"""LIO as handler/lio_admin.py sees it, without rtslib: user backstores by name, with faults on demand."""

from __future__ import annotations

import copy
import errno
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Optional


class FakeObject:
    """A user backstore."""

    def __init__(self, lio: FakeLio, name: str, config: str, size_bytes: int, serial: str) -> None:
        self._lio = lio
        self.name, self.config, self.size_bytes, self.serial = name, config, size_bytes, serial
        self.hba = len(lio.objects)
        self.attributes: dict[str, str] = {}
        self.alua_groups: list[str] = []
        self.control, self.max_sectors = "", 128
        self.pinned = False

    @property
    def exported(self) -> bool:
        """A LUN shows it: of an iSCSI target, or (pinned) of somebody that the test doesn't name."""
        path = f"/backstores/user/{self.name}"
        luns = [lun for one in self._lio.targets.made.values() for group in one["tpgs"] for lun in group["luns"]]
        return self.pinned or any(lun["storage_object"] == path for lun in luns)

    @exported.setter
    def exported(self, pinned: bool) -> None:
        self.pinned = pinned

    def set_attribute(self, name: str, value: str) -> None:
        fault = self._lio.faults.get(name)
        if fault:
            raise OSError(fault, "the kernel said no")
        self.attributes[name] = value
        if name == "dev_size":
            self.size_bytes = int(value)

    def add_alua_group(self, group: Mapping[str, Any]) -> None:
        self.alua_groups.append(group["name"])

    def dump(self) -> dict[str, Any]:
        """rtslib_fb tcm.py: UserBackedStorageObject.dump(), shortened; `control` as the kernel tells it."""
        words = [word for word in self.control.split(",") if not word.startswith("nl_reply_supported")]
        return {"name": self.name, "plugin": "user", "config": self.config, "size": self.size_bytes,
                "wwn": self.serial, "hw_max_sectors": self.max_sectors, "control": ",".join(words),
                "attributes": {name: int(value) for name, value in self.attributes.items()},
                "alua_tpgs": [{"name": name} for name in ("default_tg_pt_gp", *self.alua_groups)]}  # fmt: skip

    def delete(self) -> None:
        del self._lio.objects[self.name]


class FakeTargets:
    """LIO's iSCSI targets as handler/lio_targets.py sees them.

    faults: "put", "listen", "close" or "remove" -> so many calls succeed, and the next one raises. lose(target) spoils
    what is made.
    """

    def __init__(self, lio: FakeLio) -> None:
        self._lio = lio
        self.made: dict[str, dict[str, Any]] = {}
        self.others: dict[str, str] = {}
        self.registrations: set[str] = set()
        self.asked: dict[str, Any] = {"name": "iscsi", "discovery_enable_auth": False}
        self.faults: dict[str, int] = {}
        self.saved = Path("/nonexistent/saveconfig.json")
        self.lose = lambda target: None
        self.log: list[str] = []

    def _step(self, what: str, wwn: str) -> None:
        self.log.append(f"{what} {wwn}")
        left = self.faults.get(what)
        if left == 0:
            del self.faults[what]
            raise OSError(errno.EBUSY, f"{what} failed")
        if left is not None:
            self.faults[what] = left - 1

    def all(self) -> Iterable[dict[str, Any]]:
        return copy.deepcopy(list(self.made.values()))

    def find(self, wwn: str) -> Optional[dict[str, Any]]:
        return copy.deepcopy(self.made.get(wwn))

    def elsewhere(self) -> Mapping[str, str]:
        return self.others

    def discovery(self) -> dict[str, Any]:
        return dict(self.asked)

    def set_discovery(self, wanted: dict[str, Any]) -> None:
        self.asked = {"name": "iscsi", **wanted}

    def describe(self, name: str) -> dict[str, Any]:
        return self._lio.objects[name].dump()

    def registered(self, name: str) -> bool:
        return name in self.registrations

    def put(self, target: dict[str, Any]) -> list[str]:
        """A LUN of a backstore that isn't there is left out with a complaint, as rtslib does."""
        made = copy.deepcopy(target)
        complaints = []
        for group in made["tpgs"]:
            for lun in list(group["luns"]):
                if lun["storage_object"].rsplit("/", 1)[-1] not in self._lio.objects:
                    group["luns"].remove(lun)
                    complaints.append(f"Could not find matching StorageObject for LUN {lun['index']}")
        self.lose(made)
        self.made[made["wwn"]] = made
        self._step("put", target["wwn"])
        return complaints

    def listen(self, wwn: str, portals: list[dict[str, Any]]) -> None:
        self.made[wwn]["tpgs"][0]["portals"] = copy.deepcopy(portals)
        self._step("listen" if portals else "close", wwn)

    def remove(self, wwn: str) -> None:
        if wwn not in self.made:
            raise OSError(errno.ENOENT, "no such target")
        self._step("remove", wwn)
        del self.made[wwn]


class FakeLio:
    """faults: attribute -> errno."""

    def __init__(self) -> None:
        self.objects: dict[str, FakeObject] = {}
        self.faults: dict[str, int] = {}
        self.controls: list[str] = []
        self.reservation_directory = False
        self.targets = FakeTargets(self)

    def find(self, name: str) -> Optional[FakeObject]:
        return self.objects.get(name)

    def create(
        self, name: str, config: str, size_bytes: int, serial: str, control: str, max_sectors: Optional[int] = None
    ) -> FakeObject:
        if "create" in self.faults:
            raise OSError(self.faults["create"], "enable failed")
        assert ":" not in config and len(config) <= 255
        self.controls.append(control)
        self.objects[name] = made = FakeObject(self, name, config, size_bytes, serial)
        made.control, made.max_sectors = control, max_sectors or 128
        return made

    def all(self) -> Iterator[FakeObject]:
        yield from self.objects.values()

    def make_reservation_directory(self) -> None:
        self.reservation_directory = True


NO_SUCH_ATTRIBUTE = errno.ENOENT

"""Hosts of a cluster: they register, reserve and preempt through one or more ports of one unit."""

from __future__ import annotations

from typing import Any

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import Nexus
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc
from tcmu_gluster.scsi.target import Target
from tests.doubles.host import Answer, Host, Pending

TARGET = "iqn.2026-11.test:cluster"
OUT = {
    "register": cdb.REGISTER,
    "reserve": cdb.RESERVE,
    "release": cdb.RELEASE,
    "clear": cdb.CLEAR,
    "preempt": cdb.PREEMPT,
    "preempt_and_abort": cdb.PREEMPT_AND_ABORT,
    "ignore": cdb.REGISTER_AND_IGNORE_EXISTING_KEY,
    "move": cdb.REGISTER_AND_MOVE,
}


def basic_list(key: int = 0, new: int = 0, flags: int = 0) -> bytes:
    """The 24 bytes of the basic parameter list (SPC-4, PERSISTENT RESERVE OUT); flags is byte 20."""
    return key.to_bytes(8, "big") + new.to_bytes(8, "big") + bytes(4) + bytes([flags]) + bytes(3)


class Node(Host):
    """One I_T nexus of a cluster, logged in; it has heard its power on, or its loss if it was there before."""

    def __init__(self, unit: LogicalUnit, name: str, *, port: int = 1, isid: int = 1, group: int = 1) -> None:
        super().__init__(unit, name)
        self.unit = unit
        self.nexus = Nexus(f"iqn.2026-11.test:{name}", isid.to_bytes(6, "big"), TARGET, port, group)
        self.login()

    def login(self) -> None:
        """A new session of the same ports."""
        self.unit.attach(self.nexus)
        assert self.ready().asc in (Asc.POWER_ON_OCCURRED, Asc.NEXUS_LOSS)

    def logout(self) -> None:
        """I_T nexus loss."""
        self.unit.detach(self.nexus)

    def begin(self, action: str, key: int = 0, new: int = 0, kind: int = 0, flags: int = 0) -> Pending:
        """PERSISTENT RESERVE OUT with the basic list."""
        layout = OUT[action]
        return self.send(layout.pack(type=kind, parameter_list_length=24), basic_list(key, new, flags))

    def out(self, *arguments: Any, **named: Any) -> Answer:
        """begin() of what ends at once."""
        return self.begin(*arguments, **named).answer

    def listed(self, action: str, data: bytes, kind: int = 0) -> Answer:
        """PERSISTENT RESERVE OUT with any list."""
        return self.run(OUT[action].pack(type=kind, parameter_list_length=len(data)), data)

    def keys(self) -> tuple[int, list[int]]:
        """(PRGENERATION, keys)."""
        data = self.run(cdb.READ_KEYS.pack(allocation_length=65535)).data
        keys = [int.from_bytes(data[at : at + 8], "big") for at in range(8, len(data), 8)]
        assert int.from_bytes(data[4:8], "big") == 8 * len(keys)
        return int.from_bytes(data[:4], "big"), keys

    def reservation(self) -> tuple[int, int]:
        """(type, key) of the reservation; (0, 0) if there is none."""
        data = self.run(cdb.READ_RESERVATION.pack(allocation_length=255)).data
        if int.from_bytes(data[4:8], "big") == 0:
            return 0, 0
        assert len(data) == 24
        return data[21], int.from_bytes(data[8:16], "big")

    def ready(self) -> Answer:
        """TEST UNIT READY."""
        return self.run(cdb.TEST_UNIT_READY.pack())

    def hears(self) -> list[int]:
        """Every unit attention that waits, which is thereby taken."""
        heard = []
        while (answer := self.ready()).key == 6:
            heard.append(answer.asc)
        return heard

    def write(self) -> Answer:
        """One block."""
        return self.run(cdb.WRITE_10.pack(transfer_length=1), bytes(512))

    def read(self) -> Answer:
        """One block."""
        return self.run(cdb.READ_10.pack(transfer_length=1))


def with_ports(unit: LogicalUnit, *ports: Any) -> Target:
    """A target of these ports (scsi.alua.Port) that shows the unit."""
    target = Target(TARGET, {0: unit})
    target.set_ports(ports)
    return target

"""What a unit remembers beyond a restart: one record beside the disk, in sections that belong to those who write them.

    {"format": "tcmu-gluster unit record", "version": 1, "generation": 7,
     "sections": {"reservations": {...}, "mode_pages": {...}}, "sha256": "..."}

The checksum is over everything else in canonical form (sorted keys, no blanks). The generation grows with every store.
A record that does not check is DamagedRecord: the unit then answers NOT READY, because whoever had fenced another host
must not find the fence gone, until an administrator decides (disk reset-record). Nothing is stored meanwhile.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator
from typing import Any, Optional

from tcmu_gluster.backends.base import Backend, Done, Operation, Outcome, StoreSidecar
from tcmu_gluster.errors import TcmuGlusterError
from tcmu_gluster.scsi.sense import Asc, NotReady
from tcmu_gluster.scsi.turns import Turns

FORMAT = "tcmu-gluster unit record"
VERSION = 1

Sections = dict[str, Any]
"""Section name -> what json can hold."""


class DamagedRecord(TcmuGlusterError):
    """The record beside a disk can't be trusted; str() says why."""


class UnitRecord:
    """Sections under a generation number. Never changed: with_section() makes another."""

    __slots__ = ("generation", "sections")

    def __init__(self, generation: int = 0, sections: Optional[Sections] = None) -> None:
        self.generation, self.sections = generation, dict(sections or {})

    def section(self, name: str) -> Any:
        """What is kept under a name, or None."""
        return self.sections.get(name)

    def with_section(self, name: str, value: Any) -> UnitRecord:
        """The next record; value None drops the section."""
        sections = {key: kept for key, kept in self.sections.items() if key != name}
        if value is not None:
            sections[name] = value
        return UnitRecord(self.generation + 1, sections)

    def encode(self) -> bytes:
        """The bytes to keep."""
        facts = {"format": FORMAT, "version": VERSION, "generation": self.generation, "sections": self.sections}
        return json.dumps({**facts, "sha256": _checksum(facts)}, sort_keys=True, indent=1).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> UnitRecord:
        """Read what encode() made. Raises DamagedRecord."""
        try:
            facts = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise DamagedRecord(f"it is no JSON text ({len(data)} bytes): {error}") from error
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            raise DamagedRecord(f"it does not say that it is a {FORMAT}")
        checksum = facts.pop("sha256", None)
        if checksum != _checksum(facts):
            raise DamagedRecord("its checksum does not fit its contents")
        if facts.get("version") != VERSION:
            raise DamagedRecord(f"its version is {facts.get('version')}, and this program knows version {VERSION}")
        generation, sections = facts.get("generation"), facts.get("sections")
        if not isinstance(generation, int) or not isinstance(sections, dict):
            raise DamagedRecord("its generation or its sections are missing")
        return cls(generation, sections)


def _checksum(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class _Keep(Operation):
    """Store a record, and take it over at the moment it is stable: also if its command was aborted meanwhile."""

    __slots__ = ("_operation", "_stable")

    def __init__(self, record: UnitRecord, stable: Callable[[], None]) -> None:
        self._operation, self._stable = StoreSidecar(record.encode()), stable

    def start(self, backend: Backend, done: Done) -> Outcome:
        def ended(outcome: Any) -> None:
            if not isinstance(outcome, Exception):
                self._stable()
            done(outcome)

        outcome = self._operation.start(backend, ended)
        if isinstance(outcome, int):
            self._stable()
        return outcome


class Keeper:
    """The record of one unit: read when the unit is made, stored when a handler says so.

    damage  why the record can't be trusted, or empty
    """

    __slots__ = ("_turns", "damage", "record")

    def __init__(self, backend: Backend) -> None:
        self.record, self.damage = UnitRecord(), ""
        self._turns = Turns()
        try:
            data = backend.load_sidecar()
            if data is not None:
                self.record = UnitRecord.decode(data)
        except DamagedRecord as error:
            self.note_damage(str(error))
        except OSError as error:
            self.note_damage(f"it can't be read: {error.strerror or error}")

    def note_damage(self, why: str) -> None:
        """The record, or a section of it, can't be trusted."""
        self.damage = f"the record beside the disk is damaged, so its reservations and saved pages are unknown: {why}"

    def check(self) -> None:
        """Raises NotReady while the record is damaged."""
        if self.damage:
            raise NotReady(Asc.MANUAL_INTERVENTION_REQUIRED)

    def keep(
        self, name: str, value: Any, stable: Optional[Callable[[], None]] = None
    ) -> Generator[Operation, Any, None]:
        """Steps of a handler: `yield from keeper.keep("section", value)` ends when that is stable.

        value is what json can hold, None drops the section. stable() is called when the disk has it, even if the
        command is aborted meanwhile: what memory and disk say is then the same. Raises OSError: nothing changed.
        Raises NotReady while the record is damaged: what a host wants kept must not take its place.
        """
        self.check()
        turn = self._turns.join()
        try:
            yield turn
            record = self.record.with_section(name, value)

            def stored() -> None:
                self.record = record
                if stable is not None:
                    stable()

            yield _Keep(record, stored)
        finally:
            turn.leave()

    def forget(self) -> None:
        """An administrator gave up a damaged record: an empty one takes its place (with the next store)."""
        self.record, self.damage = UnitRecord(), ""

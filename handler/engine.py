"""The engine front at run time: disks that are open (or wait for their volume) and targets that show them.

apply(configuration) makes the run time what the configuration says, by the difference; whoever wants to change
something changes a copy of the configuration, applies it, saves it, or applies the old one again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Optional

from tcmu_gluster.backends.base import Backend
from tcmu_gluster.config.addresses import Portal, RuleKind, needless
from tcmu_gluster.config.uri import Backing
from tcmu_gluster.errors import ConfigError, TcmuGlusterError
from tcmu_gluster.iscsi.chap import NOBODY
from tcmu_gluster.iscsi.login import Refusal
from tcmu_gluster.scsi.command import Nexus
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.target import Target

from .accounts import accounts_of, discovery_account
from .configuration import Configuration
from .denials import Denial, Denials
from .engine_disk import EngineDisk, disk_of
from .iscsi_front import IscsiFront
from .portal_group import ALUA, alua_of, is_enabled
from .targets import EngineTarget, TargetDirectory
from .units import stop_background
from .world import World, flush, on_lease_lost, reason_of

log = logging.getLogger(__name__)

CLOSE_SECONDS = 30.0
"""How long a backend may still hold commands of a disk that is taken away."""


class GuardedTarget(EngineTarget):
    """Remembers whom it turned away."""

    def __init__(self, name: str, target: Target, denials: Denials) -> None:
        super().__init__(name, target)
        self._denials = denials

    def allows(self, initiator_name: str, peer_address: str) -> bool:
        """Whether a rule admits this initiator from this address."""
        if super().allows(initiator_name, peer_address):
            return True
        self._denials.add_unruly(self.name, map(str, self.rules), initiator_name, peer_address)
        return False


class ShownTarget(Target):
    """A target whose initiators may have a LUN map of their own."""

    def __init__(self, iqn: str, engine: Engine) -> None:
        super().__init__(iqn)
        self._engine = engine
        self._shown: dict[Nexus, tuple[bool, dict[int, tuple[str, bool]]]] = {}

    def attach(self, nexus: Nexus, *args: Any, **options: Any) -> None:
        """The nexus sees what the configuration says for its initiator."""
        view, protected = self._engine.view_of(self.name, nexus.initiator_name)
        self._shown[nexus] = view is None, self._engine.visible(self.name, nexus.initiator_name)
        super().attach(nexus, view, write_protected=protected)

    def detach(self, nexus: Nexus, *args: Any, **options: Any) -> None:
        """The nexus is gone."""
        self._shown.pop(nexus, None)
        super().detach(nexus, *args, **options)

    def outdated(self, nexus: Nexus) -> bool:
        """Whether the configuration says something else now than it did when the nexus came.

        Who sees the target's own map hears of LUNs that come and go, and keeps its session.
        """
        whole_before, before = self._shown.get(nexus, (True, {}))
        whole = self._engine.view_of(self.name, nexus.initiator_name)[0] is None
        after = self._engine.visible(self.name, nexus.initiator_name)
        if whole and whole_before:
            return any(protected for _, protected in (*before.values(), *after.values())) and before != after
        return whole != whole_before or before != after


class Engine:
    """All targets and disks of the engine."""

    def __init__(self, world: World, front: IscsiFront, directory: TargetDirectory) -> None:
        self._world, self.front, self.directory = world, front, directory
        self.disks: dict[str, EngineDisk] = {}
        self.configuration = Configuration()
        self._listening: dict[Portal, Portal] = {}  # as configured -> as it really is (port 0)
        self._denials = Denials()
        front.on_refusal = self._note_refusal
        self._said: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.troubles: dict[Portal, str] = {}
        """Portals that could not be opened, and why: tried again."""
        self.served_elsewhere: Callable[[EngineDisk], Optional[str]] = lambda disk: None
        """Who else of this daemon serves that disk, in words: after a crash in the middle of a move both have it."""

    # -- applying -----------------------------------------------------------------------------------------------------

    async def apply(self, wanted: Configuration, *, strict: bool = True) -> None:
        """Make it so. strict: raise ConfigError for a portal that can't be opened; else note it and go on."""
        await self._drop_disks(wanted)
        fresh = self._new_disks(wanted)
        await asyncio.gather(*(self._open(disk) for disk in fresh))
        self.configuration = wanted
        names = {target["wwn"] for target in wanted.targets()}
        for iqn in [iqn for iqn in self.directory.targets if iqn not in names]:
            self._end_sessions(iqn, "the target was deleted")
            self.directory.remove(iqn)
        shortest = self._world.settings.chap_shortest_secret_bytes
        self.directory.discovery, problems = discovery_account(wanted, shortest)
        self._say(problems)
        self._listen(wanted, strict)
        for iqn in names:
            self._show(iqn)

    def _new_disks(self, wanted: Configuration) -> list[EngineDisk]:
        fresh = []
        for entry in wanted.disks():
            disk = self.disks.get(entry["name"])
            if disk is None:
                try:
                    disk = disk_of(entry, self._world.disk_files)
                except ConfigError as error:  # one broken disk never blocks the others
                    log.error("disk %s: %s", entry["name"], error)
                    disk = EngineDisk(
                        entry["name"], Backing("memory", name="unknown"), str(entry.get("wwn", "")), 0, False
                    )
                    disk.reason = str(error)
                    self.disks[disk.name] = disk
                    continue
                self.disks[disk.name] = disk
            if disk.unit is None:
                fresh.append(disk)
        return fresh

    async def _drop_disks(self, wanted: Configuration) -> None:
        for name, disk in list(self.disks.items()):
            entry = wanted.find_disk(name)
            if entry is None or (disk.serial and str(entry.get("wwn") or disk.serial) != disk.serial):
                await self.close_disk(name)

    async def _open(self, disk: EngineDisk) -> None:
        elsewhere = self.served_elsewhere(disk)
        if elsewhere is not None:
            disk.reason = f"{elsewhere} serves it too; take it away from one of them"
            log.error("disk %s: %s", disk.name, disk.reason)
            return
        create = disk.size_bytes if disk.backing.scheme == "memory" else None
        try:
            backend = await self._world.open_backing(
                disk.backing,
                create_size_bytes=create or None,
                read_only=disk.read_only,
                block_bytes=disk.shape.logical_block_bytes,
            )
        except (OSError, TcmuGlusterError) as error:
            disk.reason = reason_of(error)
            log.warning("disk %s waits: %s", disk.name, disk.reason)
            return
        if self.disks.get(disk.name) is disk and disk.unit is None:
            disk.take(backend)
            self._watch_lease(disk)
        else:
            await self._world.in_thread(backend.close)

    def adopt(self, disk: EngineDisk) -> None:
        """A disk that an operation has opened already; the next apply() finds it."""
        self.disks[disk.name] = disk
        self._watch_lease(disk)

    def _watch_lease(self, disk: EngineDisk) -> None:
        """When another gateway has taken the disk, it waits here, and its sessions end: hosts have other paths."""
        backend, loop = disk.backend, self._world.loop

        def lost(why: str) -> None:  # from the thread that renews
            loop.call_soon_threadsafe(lambda: self._later(self._lose(disk, backend, why)))

        on_lease_lost(backend, lost)

    async def _lose(self, disk: EngineDisk, backend: Optional[Backend], why: str) -> None:
        if self.disks.get(disk.name) is not disk or disk.backend is not backend:
            return
        log.error("disk %s: %s", disk.name, why)
        unit, disk.unit, disk.backend, disk.reason = disk.unit, None, None, why
        for iqn, target in self.directory.targets.items():
            if unit in target.target.luns.values():
                self._end_sessions(iqn, why)
        await self._close(disk.name, unit, backend)

    def _later(self, work: Any) -> None:
        task = self._world.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close_disk(self, name: str) -> None:
        """Take a disk out of every target and close it when nothing of it runs any more."""
        disk = self.disks.pop(name)
        await self._close(name, disk.unit, disk.backend)

    async def _close(self, name: str, unit: Optional[LogicalUnit], backend: Optional[Backend]) -> None:
        if unit is not None:
            unit.copies.leave()
            for target in self.directory.targets.values():
                for lun in [lun for lun, shown in target.target.luns.items() if shown is unit]:
                    target.target.unmap(lun)
            await stop_background(unit)
            deadline = self._world.loop.time() + CLOSE_SECONDS
            while unit.tasks.running and self._world.loop.time() < deadline:
                await asyncio.sleep(0.01)
            if unit.tasks.running:
                log.error(
                    "disk %s: storage still holds %d commands; its file stays open", name, len(unit.tasks.running)
                )
                return
        if backend is not None:
            await self._world.in_thread(backend.close)

    # -- targets ------------------------------------------------------------------------------------------------------

    def _show(self, iqn: str) -> None:
        """One target: its rules, LUNs and portals as configured; sessions that may not stay are ended."""
        wanted = self.configuration
        shown = self.directory.targets.get(iqn)
        if shown is None:
            shown = GuardedTarget(iqn, ShownTarget(iqn, self), self._denials)
            self.directory.add(shown)
        enabled = shown.enabled = is_enabled(wanted.group(iqn))
        shown.rules = wanted.rules(iqn) if enabled else []
        shown.accounts = accounts_of(wanted, iqn, self._world.settings.chap_shortest_secret_bytes)
        self._say(shown.accounts.problems)
        portals = wanted.portals(iqn) if enabled else []
        shown.listening = [self._listening[portal] for portal in portals if portal in self._listening]
        luns = self._units(wanted.luns(iqn))
        target = shown.target
        assert isinstance(target, ShownTarget)
        changed = luns != target.luns
        for lun in [lun for lun, unit in target.luns.items() if luns.get(lun) is not unit]:
            target.unmap(lun)
        for lun, unit in luns.items():
            if lun not in target.luns:
                target.map(lun, unit)
        state = ALUA[alua_of(wanted, iqn)]
        if target.access is not state:  # else what a host has set since stays
            target.set_access(state)
        shown.redirect = wanted.redirect(iqn)
        self._see_off(iqn, shown)
        for session in self._sessions(iqn):
            if not any(rule.matches(session.initiator_name, peer_of(session)) for rule in shown.rules):
                self.front.end_session(session, "it may not log in any more")
            elif target.outdated(session.nexus) or (
                changed and self.view_of(iqn, session.initiator_name)[0] is not None
            ):
                self.front.end_session(session, "its LUNs changed; it may log in again")

    def _see_off(self, iqn: str, shown: EngineTarget) -> None:
        """Ask those to log out whose way in is gone: another portal, or another host, is to be used."""
        for session in self._sessions(iqn):
            for connection in tuple(session.connections.values()):
                if shown.redirect is not None and shown.redirect[0] != connection.local_address:
                    connection.request_logout(self._world.loop.time(), f"the target is at {shown.redirect[0]} now")
                elif connection.directory.lookup(iqn) is None:
                    connection.request_logout(self._world.loop.time(), "its portal was removed")
                connection.wake()

    def _units(self, luns: dict[int, str]) -> dict[int, LogicalUnit]:
        units = {}
        for lun, name in luns.items():
            disk = self.disks.get(name)
            if disk is not None and disk.unit is not None:
                units[lun] = disk.unit
        return units

    def visible(self, iqn: str, initiator: str) -> dict[int, tuple[str, bool]]:
        """LUN -> (disk name, write protected) of that initiator; empty if the target is gone."""
        found = self.configuration.find_target(iqn) is not None
        return self.configuration.visible_luns(iqn, initiator) if found else {}

    def view_of(self, iqn: str, initiator: str) -> tuple[Optional[dict[int, LogicalUnit]], list[int]]:
        """(LUN map of that initiator or None for the target's own, write-protected LUNs)."""
        if self.configuration.find_target(iqn) is None:
            return None, []
        visible = self.visible(iqn, initiator)
        protected = [lun for lun, (_, protect) in visible.items() if protect]
        names = {lun: name for lun, (name, _) in visible.items()}
        return (None if names == self.configuration.luns(iqn) else self._units(names)), protected

    def _listen(self, wanted: Configuration, strict: bool) -> None:
        portals = {portal for target in wanted.targets() for portal in wanted.portals(target["wwn"])}
        opened: list[Portal] = []
        try:
            for portal in portals - set(self._listening):
                try:
                    self._listening[portal] = self.front.listen(portal)
                    opened.append(portal)
                    self.troubles.pop(portal, None)
                except ConfigError as error:
                    if strict and portal not in self.troubles:
                        raise
                    self.troubles[portal] = str(error)
                    log.error("%s", error)
        except ConfigError:
            for portal in opened:
                self.front.stop_listening(self._listening.pop(portal))
            raise
        for portal in set(self._listening) - portals:
            self.front.stop_listening(self._listening.pop(portal))
        self.troubles = {portal: why for portal, why in self.troubles.items() if portal in portals}

    # -- sessions -----------------------------------------------------------------------------------------------------

    def sessions(self) -> Iterable[Any]:
        """Sessions that have a target."""
        return self.front.sessions()

    def _sessions(self, iqn: str) -> list[Any]:
        return [session for session in self.front.sessions() if session.target_name == iqn]

    def _end_sessions(self, iqn: str, why: str) -> None:
        for session in self._sessions(iqn):
            self.front.end_session(session, why)

    # -- time and end -------------------------------------------------------------------------------------------------

    async def retry(self) -> None:
        """Try again what waits: volumes and portals."""
        waiting = [disk for disk in self.disks.values() if disk.unit is None and disk.backing.name != "unknown"]
        if waiting or self.troubles:
            await self.apply(self.configuration, strict=False)

    async def stop(self, seconds: float) -> None:
        """Refuse, ask to log out, close; everything acknowledged reaches stable storage."""
        await self.front.stop(seconds)
        for disk in list(self.disks.values()):
            if disk.backend is not None and not disk.backend.read_only:
                try:
                    await asyncio.wait_for(flush(self._world, disk.backend), seconds)
                except (OSError, asyncio.TimeoutError) as error:
                    log.error("disk %s: the last flush failed (%s): acknowledged writes may be lost", disk.name, error)
        for name in list(self.disks):
            await self.close_disk(name)

    def _say(self, problems: Iterable[str]) -> None:
        """Each trouble once in the log, however often the configuration is applied."""
        for sentence in problems:
            if sentence not in self._said:
                self._said.add(sentence)
                log.error("%s", sentence)

    def _note_refusal(self, refusal: Refusal, address: str) -> None:
        self._denials.add_refusal(refusal, address, known=refusal.target_name in self.directory.targets)

    def denials(self) -> Iterable[Denial]:
        """Whom targets turned away lately, newest first."""
        return self._denials

    def warnings(self, iqn: str) -> list[str]:
        """What an administrator should know about who may log in."""
        accounts = accounts_of(self.configuration, iqn, self._world.settings.chap_shortest_secret_bytes)
        rules = self.configuration.rules(iqn)
        said = []
        if accounts.everybody is None and any(rule.kind is RuleKind.ALL for rule in rules):
            said.append(f"every initiator that reaches {iqn} may read and write its disks")
        if idle := needless(rules):
            said.append(f"{iqn}: {idle}; to narrow it: tcmu-gluster acl deny {iqn} all")
        if accounts.everybody is None:
            return said
        if accounts.everybody is NOBODY and any(accounts.of(rule.initiator_name) is NOBODY for rule in rules):
            accounts.problems.append(f"{iqn} wants a password, and initiators without one of their own can't have it")
        return said + accounts.problems


def peer_of(session: Any) -> str:
    """The address that the session's initiator comes from."""
    return next((str(connection.peer_address) for connection in session.connections.values()), "")

"""The copy manager: who finds which unit, how many copies run and are remembered."""

from __future__ import annotations

import pytest

from tcmu_gluster.scsi.command import ANY, Nexus
from tcmu_gluster.scsi.copies import RESULTS, CopyManager, CopyStatus
from tcmu_gluster.scsi.designation import BINARY, NAA
from tcmu_gluster.scsi.identity import identity_of_serial
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import InvalidFieldInCdb
from tests.doubles.copying import Daemon
from tests.doubles.host import Host, memory


def find(daemon: Daemon, asked: LogicalUnit, nexus: Nexus, wanted: LogicalUnit):
    return daemon.manager.find(asked, nexus, BINARY, NAA, wanted.identity.naa)


def test_a_unit_finds_itself_for_anybody():
    daemon = Daemon(1)
    assert find(daemon, daemon.units[0], ANY, daemon.units[0]) == (daemon.units[0], ANY)


def test_another_unit_only_for_who_is_logged_in_to_it():
    daemon = Daemon(1)
    other = daemon.add(memory())
    nexus = daemon.host.nexus
    assert find(daemon, daemon.units[0], nexus, other) is None
    other.attach(nexus)
    assert find(daemon, daemon.units[0], nexus, other) == (other, nexus)
    other.detach(nexus)
    assert find(daemon, daemon.units[0], nexus, other) is None


def test_the_initiator_may_see_it_through_another_target():
    daemon = Daemon(1)
    other, nexus = daemon.add(memory()), daemon.host.nexus
    elsewhere = Nexus(nexus.initiator_name, nexus.isid, "iqn.2026-11.test:other-target")
    other.attach(elsewhere)
    assert find(daemon, daemon.units[0], nexus, other) == (other, elsewhere)


def test_a_front_without_initiators_reaches_no_other_unit():
    daemon = Daemon(1)
    other = daemon.add(memory())
    other.attach(daemon.host.nexus)
    assert find(daemon, daemon.units[0], ANY, other) is None


def test_two_units_of_one_name_are_one_disk_and_the_asked_one_is_nearer():
    manager = CopyManager()
    one, two = (LogicalUnit(memory(), identity=identity_of_serial("same"), copies=manager) for _ in range(2))
    nexus = Host(one, attach=True).nexus
    two.attach(nexus)
    assert manager.find(two, nexus, BINARY, NAA, one.identity.naa) == (two, nexus)


def test_who_left_is_not_found():
    daemon = Daemon()
    daemon.units[1].copies.leave()
    assert find(daemon, daemon.units[0], daemon.host.nexus, daemon.units[1]) is None


def test_results_are_bounded():
    daemon = Daemon(1)
    copies, command = daemon.units[0].copies, daemon.host.send(bytes(6)).command
    for list_id in range(RESULTS + 10):
        copies.begin(command, list_id, 0).end(CopyStatus.COMPLETED)
    assert copies.find(daemon.host.nexus, RESULTS + 9)
    with pytest.raises(InvalidFieldInCdb):
        copies.find(daemon.host.nexus, 9)
    assert copies.running == daemon.manager.running == 0


def test_an_end_is_an_end():
    daemon = Daemon(1)
    copy = daemon.units[0].copies.begin(daemon.host.send(bytes(6)).command, None, 0)
    copy.end(CopyStatus.TERMINATED)
    copy.end(CopyStatus.COMPLETED)
    assert copy.status is CopyStatus.TERMINATED and daemon.manager.running == 0

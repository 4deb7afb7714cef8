"""Events as the log shows them."""

from __future__ import annotations

import subprocess
import sys

from tcmu_gluster.tcmu.device_events import Added, Reconfigured
from tcmu_gluster.tcmu.uapi import GenlCommand
from tcmu_gluster.tcmu.uio import UioDevice

DEVICE = UioDevice(5, 3, "vm1", "gluster/vol@server/vm1")


def test_an_event_names_its_kind_and_its_device() -> None:
    assert str(Added(GenlCommand.ADDED_DEVICE, DEVICE, 7)) == "ADDED_DEVICE user_3/vm1 (uio5)"


def test_an_event_that_says_nothing_known_has_none_of_the_three() -> None:
    event = Reconfigured(GenlCommand.RECONFIG_DEVICE, DEVICE, 7)
    assert (event.config, event.size_bytes, event.write_cache) == (None, None, None)


def test_two_announcements_are_two_events_even_if_they_say_the_same() -> None:
    one, other = (Added(GenlCommand.ADDED_DEVICE, DEVICE, 7) for _ in range(2))
    assert one != other


def test_who_only_knows_events_does_not_load_the_wires_library() -> None:
    code = "import sys, tcmu_gluster.tcmu.device_events; sys.exit('pyroute2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

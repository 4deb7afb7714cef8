"""initiator-config: the budget's numbers in each system's words."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from tcmu_gluster.cli.initiator import PARTS, VENDOR, Times, iscsid_conf, multipath_conf
from tcmu_gluster.cli.main import main
from tcmu_gluster.config.settings import Settings
from tcmu_gluster.scsi.identity import VENDOR as OUR_VENDOR

SLOW = Settings(
    gluster_ping_timeout_seconds=20, command_limit_seconds=30, lio_cmd_time_out_seconds=45, initiator_timer_seconds=60,
    lease_seconds=40, retry_seconds=10,
)  # fmt: skip


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TCMU_GLUSTER_SETTINGS", str(tmp_path / "none.toml"))


@pytest.mark.parametrize("settings", [Settings(), SLOW, Settings(lease_seconds=0)])
def test_each_waits_for_the_one_before_it(settings: Settings) -> None:
    times = Times.of(settings)
    assert times.gluster_ping_timeout < times.command_limit < times.lio_cmd_time_out < times.command_timer
    # A lease's follower waits (lease + command limit + 2 s) and 1 %, and may look a retry later.
    wait = settings.lease_seconds and (settings.lease_seconds + settings.command_limit_seconds + 2) * 1.01
    assert wait + settings.retry_seconds <= times.takeover <= wait + settings.retry_seconds + 1
    assert times.no_path_retries * 5 >= 2 * times.takeover
    assert times.path_lost + times.ping_every + times.ping_timeout < times.command_timer


def test_the_vendor_is_what_inquiry_says() -> None:
    assert VENDOR == OUR_VENDOR
    for text in (PARTS[name](Times.of(SLOW)) for name in ("multipath.conf", "udev", "esxi")):
        assert OUR_VENDOR in text


def test_multipath_sections_open_and_close_on_lines_of_their_own() -> None:
    lines = [line.split("#")[0].strip() for line in multipath_conf(Times.of(SLOW)).splitlines()]
    depth = 0
    for line in filter(None, lines):
        if line.endswith("{"):
            assert re.fullmatch(r"[a-z]+ \{", line)
            depth += 1
        elif "}" in line:
            assert line == "}"
            depth -= 1
        else:
            assert depth
    assert depth == 0


def test_iscsid_lines_are_settings_of_open_iscsi() -> None:
    for line in iscsid_conf(Times.of(Settings())).splitlines():
        assert line.startswith("#") or re.fullmatch(r"node\.[a-z_.\[\]0]+ = [0-9]+", line)
    assert "lu_reset_timeout = 45" in iscsid_conf(Times.of(SLOW))


def test_esxi_looks_for_a_path_for_twice_a_takeover_and_never_less_than_by_itself() -> None:
    # Misc.APDTimeout: 140 s by default, 20 to 99999 (VMware vSphere Storage, "Change APD Timeout Limits").
    assert "--option=/Misc/APDTimeout --int-value=140\n" in PARTS["esxi"](Times.of(Settings()))
    slow = Settings(**{**asdict(SLOW), "lease_seconds": 100})
    # (100 + 30 + 2) * 1.01 + 10 = 143.3, rounded up, twice
    assert "--option=/Misc/APDTimeout --int-value=288\n" in PARTS["esxi"](Times.of(slow))


def test_one_part_or_all_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["initiator-config", "iscsid.conf"]) == 0
    assert capsys.readouterr().out == iscsid_conf(Times.of(Settings()))
    assert main(["initiator-config"]) == 0
    everything = capsys.readouterr().out
    assert all(part(Times.of(Settings())) in everything for part in PARTS.values())
    assert main(["initiator-config", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["files"]) == set(PARTS) and told["seconds"]["command_timer"] == 30


def test_settings_change_what_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TCMU_GLUSTER_INITIATOR_TIMER_SECONDS", "90")
    assert main(["initiator-config", "windows"]) == 0
    assert "TimeOutValue -Type DWord -Value 90" in capsys.readouterr().out

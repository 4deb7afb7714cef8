"""The layout is tgt 1.0.85's own output, but for the identities (tests/system/test_tgtadm.py compares)."""

from __future__ import annotations

from typing import Any

import pytest

from tcmu_gluster.cli import tgt_show

IQN = "iqn.2013-10.com.redhat"
SESSION = {
    "id": 4, "initiator": "iqn.2008-11.org.linux-kvm", "alias": "", "connections": [0], "address": "127.0.0.1:50000",
}  # fmt: skip
DISK = {
    "lun": 1, "disk": "disk3", "uri": "file:///mnt/disk3", "online": True, "size_bytes": 64 << 20, "block_bytes": 512,
    "read_only": False, "thin": False, "serial": "beaf11", "vendor": "IET", "scsi_id": "IET     00010001",
}  # fmt: skip


def target(**more: Any) -> dict[str, Any]:
    return {"tid": 1, "target": IQN, "enabled": True, "luns": [DISK], "users": ["joe"], "outgoing": ["out"],
            "rules": ["all", "192.0.2.0/24"], "sessions": [SESSION], "parameters": {"MaxBurstLength": 262144},
            **more}  # fmt: skip


TGTS = """\
Target 1: iqn.2013-10.com.redhat
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
        I_T nexus: 4
            Initiator: iqn.2008-11.org.linux-kvm alias: none
            Connection: 0
                IP Address: 127.0.0.1
    LUN information:
        LUN: 0
            Type: controller
            SCSI ID: GLUSTER 00010000
            SCSI SN: controller-1
            Size: 0 MB, Block size: 1
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: No
            SWP: No
            Thin-provisioning: No
            Backing store type: null
            Backing store path: None
            Backing store flags:\x20
        LUN: 1
            Type: disk
            SCSI ID: IET     00010001
            SCSI SN: beaf11
            Size: 67 MB, Block size: 512
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: No
            SWP: No
            Thin-provisioning: No
            Backing store type: rdwr
            Backing store path: /mnt/disk3
            Backing store flags:\x20
    Account information:
        joe
        out (outgoing)
    ACL information:
        ALL
        192.0.2.0/24
"""


def test_a_target_is_printed_as_tgt_prints_it() -> None:
    assert tgt_show.targets({"targets": [target()]}) == TGTS


def test_a_disk_at_lun_0_is_no_controller() -> None:
    text = tgt_show.targets({"targets": [target(luns=[{**DISK, "lun": 0}])]})
    assert text.count("LUN: 0\n") == 1 and "controller" not in text


def test_a_disk_that_waits_is_not_online() -> None:
    text = tgt_show.targets({"targets": [target(luns=[{"lun": 1, "disk": "gone", "online": False}], enabled=False)]})
    assert "State: offline" in text and "Online: No" in text


def test_no_targets_are_no_lines() -> None:
    assert tgt_show.targets({"targets": []}) == ""


def test_connections_portals_accounts_parameters() -> None:
    assert tgt_show.connections(target()) == (
        "Session: 4\n    Connection: 0\n        Initiator: iqn.2008-11.org.linux-kvm\n        IP Address: 127.0.0.1\n"
    )
    assert tgt_show.portals({"portals": ["127.0.0.1:3260"]}) == "Portal: 127.0.0.1:3260,1\n"
    assert tgt_show.accounts({"accounts": ["joe"]}) == "Account list:\n    joe\n"
    assert tgt_show.parameters(target()) == "MaxBurstLength=262144\n"
    assert tgt_show.system().startswith("System:\n    State: ready\n")


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///mnt/a%20b", "/mnt/a b"),
        ("gluster://host/vol/disk3", "vol@host:disk3"),
        ("gluster://host:24008/vol/disk3", "gluster://host:24008/vol/disk3"),
        ("memory:x?size=1M", "memory:x?size=1M"),
    ],
)
def test_paths_are_what_was_typed(uri: str, path: str) -> None:
    assert tgt_show.path_of(uri) == path


@pytest.mark.parametrize(("size", "text"), [(0, "0 MB"), (499_712, "0 MB"), (500_224, "1 MB"), (2 << 30, "2147 MB")])
def test_sizes_are_decimal_and_rounded(size: int, text: str) -> None:
    assert tgt_show.size_mb(size) == text


@pytest.mark.parametrize(
    ("peer", "address"), [("127.0.0.1:5", "127.0.0.1"), ("[::1]:5", "::1"), ("::1", "::1"), ("", "")]
)
def test_addresses_without_their_port(peer: str, address: str) -> None:
    assert tgt_show.bare_address(peer) == address


def test_names_from_the_network_cannot_move_the_cursor() -> None:
    text = tgt_show.connections(target(sessions=[{**SESSION, "initiator": "iqn.x\x1b[2J\nSession: 9"}]))
    assert "\x1b" not in text and len(text.splitlines()) == 4

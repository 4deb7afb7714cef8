"""Finding, opening and mapping UIO devices, on directories and files that look like sysfs and /dev."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.tcmu import uio
from tcmu_gluster.tcmu.access import best_access
from tcmu_gluster.tcmu.ring import Ring, RingState
from tcmu_gluster.tcmu.uio import UioDevice, find_devices, map_size_bytes, map_uio, open_uio, parse_name, read_device
from tests.doubles.fake_kernel import FakeKernel

SIZE = 2 * 4096


class Host:
    """A sysfs and a /dev below one directory."""

    def __init__(self, root: Path) -> None:
        self.sysfs, self.dev = root / "sys", root / "dev"
        self.sysfs.mkdir()
        self.dev.mkdir()

    def add(self, minor: int, name: str, size: str = f"{SIZE:#x}") -> UioDevice:
        folder = self.sysfs / f"uio{minor}"
        (folder / "maps" / "map0").mkdir(parents=True, exist_ok=True)
        (folder / "name").write_bytes(os.fsencode(name))
        (folder / "maps" / "map0" / "size").write_text(size + "\n")
        (self.dev / f"uio{minor}").write_bytes(bytes(SIZE))
        return parse_name(name, minor) or UioDevice(minor, 0, "?", "")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcm-user/0/vm1/gluster/vol@host/path\n", UioDevice(4, 0, "vm1", "gluster/vol@host/path")),
        ("tcm-user/12/vm1/gluster/vol@host/a/b/c", UioDevice(4, 12, "vm1", "gluster/vol@host/a/b/c")),
        ("tcm-user/0/vm1", UioDevice(4, 0, "vm1", "")),
        ("tcm-user/0/vm1/gluster/x\n\n", UioDevice(4, 0, "vm1", "gluster/x")),
    ],
)
def test_names_are_split_at_most_three_times(text: str, expected: UioDevice) -> None:
    assert parse_name(text, 4) == expected


@pytest.mark.parametrize(
    "text",
    ["", "tcm-user", "tcm-user/0", "tcm-user/0/", "tcm-users/0/x", "tcm-user/-1/x", "x/0/y", "tcm-user//x/y",
     "tcm-user/99999999999999999999/x", "tcm-user/²/x"],
)  # fmt: skip
def test_other_names_are_nobody_of_ours(text: str) -> None:
    assert parse_name(text, 0) is None


@given(st.text())
def test_no_name_can_raise(text: str) -> None:
    parse_name(text, 0)
    parse_name("tcm-user/0/" + text, 0)


def test_only_whole_subtypes_are_found_and_in_order(host: Host) -> None:
    host.add(10, "tcm-user/0/ten/gluster/v@h/10")
    host.add(2, "tcm-user/1/two/gluster/v@h/2\n")
    host.add(1, "tcm-user/1/one/gluster2/v@h/1")
    host.add(3, "uio_pci_generic")
    host.add(4, "tcm-user/1/four/qcow//gluster/x")
    (host.sysfs / "uio77").mkdir()  # vanishing: no name any more
    (host.sysfs / "uevent").write_text("")
    assert [device.name for device in find_devices("gluster", host.sysfs)] == ["two", "ten"]


def test_no_uio_at_all_is_no_device(tmp_path: Path) -> None:
    assert list(find_devices("gluster", tmp_path / "missing")) == []


@pytest.mark.parametrize(("text", "size"), [("0x40800000", 0x40800000), ("8388608", 8388608), ("0x2000\n\n", 8192)])
def test_map_size_is_hexadecimal_text(host: Host, text: str, size: int) -> None:
    host.add(0, "tcm-user/0/a/gluster/x", text)
    assert map_size_bytes(0, host.sysfs) == size


@pytest.mark.parametrize("text", ["", "0", "-5", "0xzz", "lots"])
def test_senseless_map_size_is_einval(host: Host, text: str) -> None:
    host.add(0, "tcm-user/0/a/gluster/x", text)
    with pytest.raises(OSError, match="uio0 has a map0 of") as caught:
        map_size_bytes(0, host.sysfs)
    assert caught.value.errno == errno.EINVAL


def test_mapping_is_shared_with_the_file_and_goes_before_the_descriptor(host: Host) -> None:
    device = host.add(0, "tcm-user/0/a/gluster/x")
    fd = open_uio(device, host.sysfs, host.dev)
    assert not os.get_inheritable(fd)
    mapping = map_uio(device, fd, host.sysfs)
    assert (len(mapping.memory), mapping.memory.format, mapping.memory.readonly) == (SIZE, "B", False)
    mapping.memory[100:104] = b"ring"
    mapping.close()
    mapping.close()
    assert (host.dev / "uio0").read_bytes()[100:104] == b"ring"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_minor_number_that_was_given_away_meanwhile_is_enodev(host: Host) -> None:
    device = host.add(0, "tcm-user/0/a/gluster/x")
    host.add(0, "tcm-user/0/b/gluster/x")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="is gone") as caught:
        open_uio(device, host.sysfs, host.dev)
    assert caught.value.errno == errno.ENODEV
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_renamed_configuration_is_still_the_same_device(host: Host) -> None:
    device = host.add(0, "tcm-user/0/a/gluster/x")
    host.add(0, "tcm-user/0/a/gluster/moved")
    os.close(open_uio(device, host.sysfs, host.dev))
    again = read_device(0, host.sysfs)
    assert again is not None and again.config == "gluster/moved" and again.key == device.key


def test_mapping_refused_leaves_the_descriptor_to_the_caller(host: Host) -> None:
    device = host.add(0, "tcm-user/0/a/gluster/x")
    fd = open_uio(device, host.sysfs, host.dev)
    (host.sysfs / "uio0" / "maps" / "map0" / "size").write_text("0x7fffffffffff0000")
    with pytest.raises(OSError, match="can't be mapped"):
        map_uio(device, fd, host.sysfs)
    os.fstat(fd)
    os.close(fd)


def test_events_are_four_bytes_and_a_knock_too(host: Host) -> None:
    device = host.add(0, "tcm-user/0/a/gluster/x")
    mapping = map_uio(device, open_uio(device, host.sysfs, host.dev), host.sysfs)
    ours, kernels = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    real, mapping.fd = mapping.fd, ours
    try:
        assert mapping.read_event() is None
        os.write(kernels, (7).to_bytes(4, "little"))
        assert mapping.read_event() == 7
        mapping.fd = kernels
        mapping.knock()
        assert len(os.read(ours, 100)) == 4
    finally:
        mapping.fd = real
        mapping.close()
        os.close(ours)
        os.close(kernels)


def test_a_ring_works_on_a_mapping(host: Host) -> None:
    kernel = FakeKernel()
    issue = kernel.submit(bytes(6))
    device = host.add(0, "tcm-user/0/a/gluster/x")
    mapping = map_uio(device, open_uio(device, host.sysfs, host.dev), host.sysfs)
    mapping.memory[: len(kernel.memory)] = kernel.memory
    ring = Ring(mapping.memory, best_access())
    assert ring.state is RingState.SERVING and ring.refresh()
    assert [command.cdb for command in ring.commands()] == [issue.cdb]


def test_module_needs_no_compiler() -> None:
    assert uio._open_libc() is uio._open_libc()

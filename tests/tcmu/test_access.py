"""The two ways to the live words: one class judges both."""

from __future__ import annotations

import platform
import struct

import pytest

from tcmu_gluster.errors import ConfigError
from tcmu_gluster.tcmu import access
from tcmu_gluster.tcmu.access import PythonAccess, ShimAccess, best_access, shim_is_built

needs_shim = pytest.mark.skipif(not shim_is_built(), reason="the C shim is not built")


@pytest.mark.parametrize("kind", [PythonAccess, pytest.param(ShimAccess, marks=needs_shim)])
class TestAccess:
    def test_head_and_tail_are_where_the_kernel_has_them(self, kind: access.AccessFactory) -> None:
        mailbox = bytearray(128)
        struct.pack_into("=I", mailbox, 12, 0x01020304)
        struct.pack_into("=I", mailbox, 64, 0xFFFFFFF8)
        words = kind(memoryview(mailbox))
        assert (words.load_head(), words.load_tail()) == (0x01020304, 0xFFFFFFF8)

    def test_storing_the_tail_touches_nothing_else(self, kind: access.AccessFactory) -> None:
        mailbox = bytearray(range(128))
        kind(memoryview(mailbox)).store_tail(0x00A0B0C8)
        expected = bytearray(range(128))
        expected[64:68] = struct.pack("=I", 0x00A0B0C8)
        assert mailbox == expected

    def test_changes_are_seen_each_time(self, kind: access.AccessFactory) -> None:
        mailbox = bytearray(128)
        words = kind(memoryview(mailbox))
        for value in (0, 8, 1 << 31, 0xFFFFFFFF):
            struct.pack_into("=I", mailbox, 12, value)
            assert words.load_head() == value

    def test_a_tail_that_is_no_word_is_our_mistake(self, kind: access.AccessFactory) -> None:
        words = kind(memoryview(bytearray(128)))
        with pytest.raises((ValueError, OverflowError)):
            words.store_tail(1 << 32)


def test_without_the_shim_only_ordered_machines_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "function", lambda name: None)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert best_access() is PythonAccess
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(ConfigError, match="on aarch64 a TCMU ring can only be read through the C shim"):
        best_access()


@needs_shim
def test_the_shim_is_preferred() -> None:
    assert best_access() is ShimAccess

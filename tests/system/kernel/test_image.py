"""Taking the ELF kernel out of a bzImage (no QEMU needed)."""

from __future__ import annotations

import gzip
import lzma
import struct

import pytest

from .image import elf_kernel

ELF = b"\x7fELF" + bytes(range(200))


def bzimage(payload: bytes, setup_sectors: int = 4) -> bytes:
    """A file laid out as Linux Documentation/x86/boot.rst says: header fields at 0x1F1, 0x202, 0x248, 0x24C."""
    image = bytearray((setup_sectors + 1) * 512)
    image[0x1F1] = setup_sectors
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, 16, len(payload))
    return bytes(image) + bytes(16) + payload + b"what follows"


@pytest.mark.parametrize("packed", [gzip.compress(ELF), lzma.compress(ELF)], ids=["gzip", "xz"])
def test_kernel_is_unpacked_whatever_packed_it(packed: bytes) -> None:
    assert elf_kernel(bzimage(packed)) == ELF


def test_payload_starts_after_the_setup_sectors() -> None:
    assert elf_kernel(bzimage(gzip.compress(ELF), setup_sectors=39)) == ELF


def test_what_is_no_bzimage_is_refused() -> None:
    with pytest.raises(ValueError, match="not a bzImage"):
        elf_kernel(bytes(4096))


def test_unknown_packing_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown way"):
        elf_kernel(bzimage(b"\x00\x01\x02\x03\x04\x05\x06"))


def test_payload_that_is_no_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="no ELF"):
        elf_kernel(bzimage(gzip.compress(b"something else")))

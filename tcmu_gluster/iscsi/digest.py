"""CRC32C header and data digests.  Source: RFC 7143 section 13.1; golden values in RFC 3720 appendix B.4."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import crc32c as _library

from tcmu_gluster.iscsi.pdu import Buffer

DIGEST_BYTES = 4

_crc32c = _library.crc32c
_word = struct.Struct("<I")  # the bit order of the CRC makes the least significant byte travel first


def digest(parts: Iterable[Buffer]) -> bytes:
    """The four bytes that follow a header or a data segment (padding included) made of these parts."""
    value = 0
    for part in parts:
        value = _crc32c(part, value)
    return _word.pack(value)


def matches(covered: Buffer, sent: Buffer) -> bool:
    """Whether the digest `sent` (4 bytes) is that of `covered`."""
    return bool(_word.pack(_crc32c(covered)) == bytes(sent))

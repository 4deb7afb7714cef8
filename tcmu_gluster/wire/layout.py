"""Layouts: a wire structure as a table of the standard's own field names.

    READ_16 = Layout("READ(16)", 16, (
        Const("operation_code", 0, 1, 0x88),
        Bits("rdprotect", 1, high=7, low=5), Bit("dpo", 1, 4), Bit("fua", 1, 3),
        Int("logical_block_address", 2, 8),
        Int("transfer_length", 10, 4)))

    READ_16.pack(logical_block_address=7, transfer_length=1) -> bytearray
    fields = READ_16.unpack(view); fields.transfer_length -> 1

A layout is compiled once, at import, into one struct format. A record is a tuple of raw integers; a field that is a
whole item costs one tuple index, a bit field a shift and a mask when somebody asks for it. Reserved bits are the bits
that no field names, so the CDB usage data of REPORT SUPPORTED OPERATION CODES and the field pointer of sense data
come from here too. All integers are unsigned; big endian unless the layout says otherwise.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, Literal, Union

_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Int:
    """An unsigned integer of size_bytes at byte offset."""

    def __init__(self, name: str, offset: int, size_bytes: int) -> None:
        self.name, self.offset, self.size_bytes = name, offset, size_bytes


class Const(Int):
    """An Int that always has one value. unpack does not judge it: dispatch already did."""

    def __init__(self, name: str, offset: int, size_bytes: int, value: int) -> None:
        super().__init__(name, offset, size_bytes)
        self.value = value


class Bits:
    """Bits high..low (0 is the least significant) of the size_bytes-wide integer at byte offset.

    Fields that share an integer must name it alike (same offset, same size_bytes).
    """

    def __init__(self, name: str, offset: int, *, high: int, low: int, size_bytes: int = 1, value: int = 0) -> None:
        self.name, self.offset, self.size_bytes = name, offset, size_bytes
        self.high, self.low = high, low
        self.mask = (1 << (high - low + 1)) - 1
        self.value = value  # what pack() writes if nobody says otherwise


class Bit(Bits):
    """One bit of the byte at offset."""

    def __init__(self, name: str, offset: int, bit: int, *, value: int = 0) -> None:
        super().__init__(name, offset, high=bit, low=bit, value=value)


class Blob:
    """Raw bytes. pack() pads a shorter value with `fill` and refuses a longer one."""

    def __init__(self, name: str, offset: int, size_bytes: int, fill: bytes = b"\0") -> None:
        self.name, self.offset, self.size_bytes, self.fill = name, offset, size_bytes, fill


Field = Union[Int, Bits, Blob]


class Record(tuple[Any, ...]):
    """What unpack() returns: immutable, fields as attributes, printable."""

    __slots__ = ()
    layout: Layout

    def as_dict(self) -> dict[str, Any]:
        """Every field by name, in the layout's order."""
        return {name: getattr(self, name) for name in self.layout.fields}

    def __str__(self) -> str:
        words = []
        for name, value in self.as_dict().items():
            if isinstance(value, bytes):
                words.append(f"{name}={value.hex()}")
            elif value:
                words.append(f"{name}={value:#x}" if value > 9 else f"{name}={value}")
        return f"{self.layout.name}({' '.join(words)})"

    def __repr__(self) -> str:
        return str(self)

    def __getattr__(self, name: str) -> Any:  # typed as Any; properties of the subclass answer before this does
        raise AttributeError(f"{self.layout.name} has no field {name!r}")


class Layout:
    """One structure of a standard. Refuses, when it is made, fields that overlap or reach past size_bytes.

    source is the standard's section, where it is not said elsewhere.
    """

    def __init__(
        self, name: str, size_bytes: int, fields: Sequence[Field], *, little_endian: bool = False, source: str = ""
    ) -> None:
        self.name, self.size_bytes, self.source = name, size_bytes, source
        self.fields: dict[str, Field] = {field.name: field for field in fields}
        if len(self.fields) != len(fields):
            raise ValueError(f"{name}: a field is named twice")
        self._byte_order: Literal["little", "big"] = "little" if little_endian else "big"
        self._check_overlap()
        self._items = self._find_items()
        format_ = "<" if little_endian else ">"
        at = 0
        for offset, width, raw in self._items:
            format_ += "x" * (offset - at)
            format_ += _FORMATS[width] if width in _FORMATS and not raw else f"{width}s"
            at = offset + width
        self._struct = struct.Struct(format_ + "x" * (size_bytes - at))
        self._defaults = self._default_values()
        self.record = self._make_record()
        self.unpack_raw = self._struct.unpack_from

    def unpack(self, view: Any, offset: int = 0) -> Any:
        """A Record of the size_bytes at offset. Raises struct.error if the buffer is too short."""
        return self.record(self._struct.unpack_from(view, offset))

    def pack(self, **values: Any) -> bytearray:
        """The structure as bytes. Raises TypeError for an unknown field, ValueError for a value that doesn't fit."""
        buffer = bytearray(self.size_bytes)
        self.pack_into(buffer, 0, **values)
        return buffer

    def pack_into(self, buffer: Any, offset: int = 0, **values: Any) -> None:
        """pack() into a writable buffer; bytes that no field names become zero."""
        self._struct.pack_into(buffer, offset, *self._merge(values))

    def usage(self) -> bytes:
        """CDB usage data (SPC-4 6.35.3): a one for every bit that is evaluated; byte 0 is the operation code."""
        mask = bytearray(self.size_bytes)
        for field in self.fields.values():
            bits = field.mask << field.low if isinstance(field, Bits) else (1 << (8 * field.size_bytes)) - 1
            if isinstance(field, Const) and field.offset == 0:
                bits = field.value
            for index, byte in enumerate(bits.to_bytes(field.size_bytes, "big")):
                mask[field.offset + index] |= byte
        return bytes(mask)

    def field_pointer(self, name: str) -> tuple[int, int | None]:
        """(byte, bit) for sense-key specific data: the field's first byte, and its highest bit if it is a bit field."""
        field = self.fields[name]
        if isinstance(field, Bits):
            byte_from_end, bit = divmod(field.high, 8)
            return field.offset + field.size_bytes - 1 - byte_from_end, bit
        return field.offset, None

    def reserved_bits(self, view: Any) -> Iterator[tuple[int, int]]:
        """(byte, bit) of every set bit that no field names, in order."""
        used = self._used_bits()
        for byte in range(self.size_bytes):
            stray = view[byte] & ~used[byte] & 0xFF
            for bit in range(7, -1, -1):
                if stray & 1 << bit:
                    yield byte, bit

    # -- compiled once -------------------------------------------------------------------------------------------

    def _used_bits(self) -> bytearray:
        used = bytearray(self.size_bytes)
        for field in self.fields.values():
            bits = field.mask << field.low if isinstance(field, Bits) else (1 << (8 * field.size_bytes)) - 1
            for index, byte in enumerate(bits.to_bytes(field.size_bytes, self._byte_order)):
                used[field.offset + index] |= byte
        return used

    def _check_overlap(self) -> None:
        used = 0
        for field in self.fields.values():
            if field.offset + field.size_bytes > self.size_bytes:
                raise ValueError(f"{self.name}.{field.name} reaches past byte {self.size_bytes}")
            shift = 8 * field.offset
            if isinstance(field, Bits):
                if field.high >= 8 * field.size_bytes or field.low > field.high:
                    wrong = f"bits {field.high}..{field.low} of {field.size_bytes} bytes"
                    raise ValueError(f"{self.name}.{field.name}: {wrong}")
                raw = (field.mask << field.low).to_bytes(field.size_bytes, self._byte_order)
                bits = int.from_bytes(raw, "little") << shift
            else:
                bits = ((1 << (8 * field.size_bytes)) - 1) << shift
            if used & bits:
                raise ValueError(f"{self.name}.{field.name} overlaps another field")
            used |= bits

    def _find_items(self) -> list[tuple[int, int, bool]]:
        """(offset, width, raw) of each struct item, ascending."""
        items = {(f.offset, f.size_bytes, isinstance(f, Blob)) for f in self.fields.values()}
        ordered = sorted(items)
        for (offset, width, _), (following, _, _) in zip(ordered, ordered[1:]):
            if offset + width > following:
                raise ValueError(f"{self.name}: integers of different width share byte {following}")
        return ordered

    def _index_of(self, field: Field) -> int:
        return self._items.index((field.offset, field.size_bytes, isinstance(field, Blob)))

    def _default_values(self) -> list[Any]:
        values: list[Any] = [b"" if raw else 0 for _, _, raw in self._items]
        for field in self.fields.values():
            index = self._index_of(field)
            if isinstance(field, Blob):
                values[index] = field.fill * field.size_bytes
            elif isinstance(field, Bits):
                values[index] |= field.value << field.low
            elif isinstance(field, Const):
                values[index] = field.value
        return values

    def _merge(self, given: dict[str, Any]) -> list[Any]:
        values = list(self._defaults)
        for name, value in given.items():
            field = self.fields.get(name)
            if field is None:
                raise TypeError(f"{self.name} has no field {name!r}")
            index = self._index_of(field)
            if isinstance(field, Blob):
                if len(value) > field.size_bytes:
                    raise ValueError(f"{self.name}.{name} holds {field.size_bytes} bytes, not {len(value)}")
                values[index] = bytes(value) + field.fill * (field.size_bytes - len(value))
            else:
                limit = field.mask if isinstance(field, Bits) else (1 << (8 * field.size_bytes)) - 1
                number = int(value)
                if not 0 <= number <= limit:
                    raise ValueError(f"{self.name}.{name} can't hold {number:#x}")
                if isinstance(field, Bits):
                    number = values[index] & ~(field.mask << field.low) | number << field.low
                values[index] = number
        order = self._byte_order
        for index, (_, width, raw) in enumerate(self._items):
            if not raw and width not in _FORMATS:
                values[index] = values[index].to_bytes(width, order)
        return values

    def _make_record(self) -> type[Record]:
        namespace: dict[str, Any] = {"__slots__": (), "layout": self}
        for name, field in self.fields.items():
            index = self._index_of(field)
            odd = not isinstance(field, Blob) and field.size_bytes not in _FORMATS
            namespace[name] = property(self._getter(field, index, odd), doc=f"{self.name} {name}")
        return type("Record", (Record,), namespace)

    def _getter(self, field: Field, index: int, odd: bool) -> Any:
        order = self._byte_order
        if isinstance(field, Bits):
            low, mask = field.low, field.mask
            if odd:
                return lambda record: int.from_bytes(tuple.__getitem__(record, index), order) >> low & mask
            return lambda record: record[index] >> low & mask
        if odd:
            return lambda record: int.from_bytes(record[index], order)
        return itemgetter(index)

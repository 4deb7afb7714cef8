"""Mode pages: their layouts, what may be changed, and the values that a unit holds.  Source: SPC-4 7.5, SBC-3 6.4.

A page is a layout and a row in MODE_PAGES. MODE SENSE and MODE SELECT (spc.py) only walk through them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from tcmu_gluster.scsi.sense import InvalidFieldInParameterList, ParameterListLengthError
from tcmu_gluster.wire.layout import Bit, Bits, Const, Int, Layout

ALL_PAGES = 0x3F
ALL_SUBPAGES = 0xFF


class PageControl(IntEnum):
    """PC of MODE SENSE: which values are wanted."""

    CURRENT = 0
    CHANGEABLE = 1
    DEFAULT = 2
    SAVED = 3


def page_0(name: str, page_code: int, size_bytes: int, fields: Sequence[Any]) -> Layout:
    """A page in page_0 format (no subpage)."""
    head = (Bit("ps", 0, 7), Bit("spf", 0, 6), Bits("page_code", 0, high=5, low=0, value=page_code))
    return Layout(name, size_bytes, (*head, Const("page_length", 1, 1, size_bytes - 2), *fields))


PAGE_0_HEADER = Layout("page_0 mode page header", 2, (
    Bit("ps", 0, 7), Bit("spf", 0, 6), Bits("page_code", 0, high=5, low=0), Int("page_length", 1, 1),
))  # fmt: skip
SUB_PAGE_HEADER = Layout("sub_page mode page header", 4, (
    Bit("ps", 0, 7), Bit("spf", 0, 6), Bits("page_code", 0, high=5, low=0), Int("subpage_code", 1, 1),
    Int("page_length", 2, 2),
))  # fmt: skip

CACHING = page_0("Caching", 0x08, 20, (
    Bit("ic", 2, 7), Bit("abpf", 2, 6), Bit("cap", 2, 5), Bit("disc", 2, 4), Bit("size", 2, 3), Bit("wce", 2, 2),
    Bit("mf", 2, 1), Bit("rcd", 2, 0),
    Bits("demand_read_retention_priority", 3, high=7, low=4), Bits("write_retention_priority", 3, high=3, low=0),
    Int("disable_prefetch_transfer_length", 4, 2), Int("minimum_prefetch", 6, 2), Int("maximum_prefetch", 8, 2),
    Int("maximum_prefetch_ceiling", 10, 2),
    Bit("fsw", 12, 7), Bit("lbcss", 12, 6), Bit("dra", 12, 5), Bits("sync_prog", 12, high=2, low=1),
    Bit("nv_dis", 12, 0),
    Int("number_of_cache_segments", 13, 1), Int("cache_segment_size", 14, 2),
))  # fmt: skip

CONTROL = page_0("Control", 0x0A, 12, (
    Bits("tst", 2, high=7, low=5), Bit("tmf_only", 2, 4), Bit("dpicz", 2, 3), Bit("d_sense", 2, 2),
    Bit("gltsd", 2, 1), Bit("rlec", 2, 0),
    Bits("queue_algorithm_modifier", 3, high=7, low=4), Bit("nuar", 3, 3), Bits("qerr", 3, high=2, low=1),
    Bit("rac", 4, 6), Bits("ua_intlck_ctrl", 4, high=5, low=4), Bit("swp", 4, 3),
    Bit("ato", 5, 7), Bit("tas", 5, 6), Bit("atmpe", 5, 5), Bit("rwwp", 5, 4), Bits("autoload_mode", 5, high=2, low=0),
    Int("busy_timeout_period", 8, 2), Int("extended_self_test_completion_time", 10, 2),
))  # fmt: skip

INFORMATIONAL_EXCEPTIONS = page_0("Informational Exceptions Control", 0x1C, 12, (
    Bit("perf", 2, 7), Bit("ebf", 2, 5), Bit("ewasc", 2, 4), Bit("dexcpt", 2, 3), Bit("test", 2, 2),
    Bit("ebackerr", 2, 1), Bit("logerr", 2, 0),
    Bits("mrie", 3, high=3, low=0),
    Int("interval_timer", 4, 4), Int("report_count", 8, 4),
))  # fmt: skip


@dataclass(frozen=True)
class ModePage:
    """A row: the layout, what holds until somebody changes it, and which fields MODE SELECT may change."""

    page_code: int
    subpage_code: int
    layout: Layout
    defaults: dict[str, int] = field(default_factory=dict)
    changeable: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[int, int]:
        return self.page_code, self.subpage_code

    def default_bytes(self) -> bytes:
        """The page with its default values."""
        return bytes(self.layout.pack(**self.defaults))

    def changeable_bytes(self) -> bytes:
        """The page with every bit set that may be changed."""
        ones = {}
        for name in self.changeable:
            item = self.layout.fields[name]
            ones[name] = item.mask if isinstance(item, Bits) else (1 << 8 * item.size_bytes) - 1
        return bytes(self.layout.pack(**ones))


MODE_PAGES: tuple[ModePage, ...] = (
    ModePage(0x08, 0, CACHING, {"wce": 1, "maximum_prefetch": 0xFFFF, "maximum_prefetch_ceiling": 0xFFFF}, ("wce",)),
    ModePage(0x0A, 0, CONTROL, {"gltsd": 1, "queue_algorithm_modifier": 1}, ("d_sense", "swp", "tas")),
    ModePage(0x1C, 0, INFORMATIONAL_EXCEPTIONS, {"dexcpt": 1}),
)


class ModePages:
    """The mode parameters of one unit, shared by all nexuses (nothing is kept per nexus, nothing is saved yet)."""

    def __init__(self, rows: Sequence[ModePage] = MODE_PAGES) -> None:
        self.rows = {row.key: row for row in sorted(rows, key=lambda row: row.key)}
        self._saved: dict[tuple[int, int], bytes] = {}  # put() by the front; outlasts a reset
        self._current: dict[tuple[int, int], bytes] = {}
        self.reset()

    def reset(self) -> None:
        """What a reset does: back to the saved values, or the default ones where nothing is saved."""
        self._current = {key: self._saved.get(key) or row.default_bytes() for key, row in self.rows.items()}

    def put(self, page_code: int, name: str, value: int, subpage_code: int = 0) -> None:
        """Set one value from the front's side (LIO's own switches), whether an initiator may change it or not."""
        key = (page_code, subpage_code)
        layout = self.rows[key].layout
        fields = layout.unpack(self._current[key]).as_dict()
        fields[name] = value
        self._saved[key] = self._current[key] = bytes(layout.pack(**fields))

    def value(self, page_code: int, name: str, subpage_code: int = 0) -> int:
        """One current value, for example value(0x08, "wce")."""
        key = (page_code, subpage_code)
        return int(getattr(self.rows[key].layout.unpack(self._current[key]), name))

    def select(self, page_code: int, subpage_code: int) -> Iterator[ModePage]:
        """The rows that MODE SENSE's page and subpage codes ask for, in ascending order; none is an unknown page."""
        for (page, subpage), row in self.rows.items():
            if page_code == ALL_PAGES:
                if subpage == 0 or subpage_code == ALL_SUBPAGES:
                    yield row
            elif page == page_code and subpage_code in (subpage, ALL_SUBPAGES):
                yield row

    def bytes_of(self, row: ModePage, control: int) -> bytes:
        """One page as MODE SENSE returns it."""
        if control == PageControl.CHANGEABLE:
            return row.changeable_bytes()
        if control == PageControl.DEFAULT:
            return row.default_bytes()
        return self._current[row.key]

    def change(self, data: bytes, base: int) -> bool:
        """Take over the pages of a MODE SELECT list; base is their offset in the list. True if a value changed.

        All or nothing: every page is judged before the first is taken.  Raises InvalidFieldInParameterList,
        ParameterListLengthError.
        """
        taken: dict[tuple[int, int], bytes] = {}
        at = 0
        while at < len(data):
            row, page = self._page_at(data, at, base)
            taken[row.key] = page
            at += len(page)
        before = dict(self._current)
        self._current.update(taken)
        return self._current != before

    def _page_at(self, data: bytes, at: int, base: int) -> tuple[ModePage, bytes]:
        if len(data) - at < PAGE_0_HEADER.size_bytes:
            raise ParameterListLengthError()
        header, subpage = PAGE_0_HEADER.unpack(data, at), 0
        size_bytes = PAGE_0_HEADER.size_bytes + header.page_length
        if header.spf:
            if len(data) - at < SUB_PAGE_HEADER.size_bytes:
                raise ParameterListLengthError()
            header = SUB_PAGE_HEADER.unpack(data, at)
            subpage, size_bytes = header.subpage_code, SUB_PAGE_HEADER.size_bytes + header.page_length
        row = self.rows.get((header.page_code, subpage))
        if row is None or (header.spf and not subpage):
            raise InvalidFieldInParameterList("page_code", layout=PAGE_0_HEADER, base=base + at)
        if size_bytes != row.layout.size_bytes:
            raise InvalidFieldInParameterList("page_length", layout=row.layout, base=base + at)
        page = data[at : at + size_bytes]
        if len(page) < size_bytes:
            raise ParameterListLengthError()
        return row, self._judged(row, page, base + at)

    def _judged(self, row: ModePage, page: bytes, base: int) -> bytes:
        """The page as it will be kept: PS is reserved in MODE SELECT, and only changeable bits may differ."""
        current, mask = self._current[row.key], row.changeable_bytes()
        head = PAGE_0_HEADER.size_bytes if not row.subpage_code else SUB_PAGE_HEADER.size_bytes
        for index in range(head, len(page)):
            wrong = (page[index] ^ current[index]) & ~mask[index]
            if wrong:
                raise InvalidFieldInParameterList((index, wrong.bit_length() - 1), base=base)
        return current[:head] + page[head:]

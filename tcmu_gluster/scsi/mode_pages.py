"""Mode pages: their layouts, what may be changed, and the values that a unit holds.  Source: SPC-4 7.5, SBC-4 6.5.

A page is a layout and a row in MODE_PAGES. MODE SENSE and MODE SELECT (spc.py) only walk through them. Values are
shared by all nexuses; each page has its default, its current and, once somebody saved it, its saved values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Optional

from tcmu_gluster.scsi.persistence import DamagedRecord
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


def sub_page(name: str, page_code: int, subpage_code: int, size_bytes: int, fields: Sequence[Any]) -> Layout:
    """A page in sub_page format."""
    head = (
        Bit("ps", 0, 7), Bit("spf", 0, 6, value=1), Bits("page_code", 0, high=5, low=0, value=page_code),
        Const("subpage_code", 1, 1, subpage_code), Const("page_length", 2, 2, size_bytes - 4),
    )  # fmt: skip
    return Layout(name, size_bytes, (*head, *fields))


PAGE_0_HEADER = Layout("page_0 mode page header", 2, (
    Bit("ps", 0, 7), Bit("spf", 0, 6), Bits("page_code", 0, high=5, low=0), Int("page_length", 1, 1),
))  # fmt: skip
SUB_PAGE_HEADER = Layout("sub_page mode page header", 4, (
    Bit("ps", 0, 7), Bit("spf", 0, 6), Bits("page_code", 0, high=5, low=0), Int("subpage_code", 1, 1),
    Int("page_length", 2, 2),
))  # fmt: skip

READ_WRITE_ERROR_RECOVERY = page_0("Read-Write Error Recovery", 0x01, 12, (
    Bit("awre", 2, 7), Bit("arre", 2, 6), Bit("tb", 2, 5), Bit("rc", 2, 4), Bit("eer", 2, 3), Bit("per", 2, 2),
    Bit("dte", 2, 1), Bit("dcr", 2, 0),
    Int("read_retry_count", 3, 1),
    Bit("lbpere", 7, 7),
    Int("write_retry_count", 8, 1),
    Int("recovery_time_limit", 10, 2),
))  # fmt: skip

DISCONNECT_RECONNECT = page_0("Disconnect-Reconnect", 0x02, 16, (
    Int("buffer_full_ratio", 2, 1), Int("buffer_empty_ratio", 3, 1),
    Int("bus_inactivity_limit", 4, 2), Int("disconnect_time_limit", 6, 2), Int("connect_time_limit", 8, 2),
    Int("maximum_burst_size", 10, 2),
    Bit("emdp", 12, 7), Bits("fair_arbitration", 12, high=6, low=4), Bit("dimm", 12, 3),
    Bits("dtdc", 12, high=2, low=0),
    Int("first_burst_size", 14, 2),
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

CONTROL_EXTENSION = sub_page("Control Extension", 0x0A, 0x01, 32, (
    Bit("tcmos", 4, 2), Bit("scsip", 4, 1), Bit("ialuae", 4, 0),
    Bits("initial_command_priority", 5, high=3, low=0),
    Int("maximum_sense_data_length", 6, 1),
))  # fmt: skip

POWER_CONDITION = page_0("Power Condition", 0x1A, 40, (
    Bits("pm_bg_precedence", 2, high=7, low=6), Bit("standby_y", 2, 0),
    Bit("idle_c", 3, 3), Bit("idle_b", 3, 2), Bit("idle_a", 3, 1), Bit("standby_z", 3, 0),
    Int("idle_a_condition_timer", 4, 4), Int("standby_z_condition_timer", 8, 4), Int("idle_b_condition_timer", 12, 4),
    Int("idle_c_condition_timer", 16, 4), Int("standby_y_condition_timer", 20, 4),
    Bits("ccf_idle", 39, high=7, low=6), Bits("ccf_standby", 39, high=5, low=4), Bits("ccf_stopped", 39, high=3, low=2),
))  # fmt: skip

INFORMATIONAL_EXCEPTIONS = page_0("Informational Exceptions Control", 0x1C, 12, (
    Bit("perf", 2, 7), Bit("ebf", 2, 5), Bit("ewasc", 2, 4), Bit("dexcpt", 2, 3), Bit("test", 2, 2),
    Bit("ebackerr", 2, 1), Bit("logerr", 2, 0),
    Bits("mrie", 3, high=3, low=0),
    Int("interval_timer", 4, 4), Int("report_count", 8, 4),
))  # fmt: skip


def _threshold_descriptor(resource: str, offset: int) -> tuple[Any, ...]:
    return (
        Bit(f"{resource}_enabled", offset, 7),
        Bits(f"{resource}_threshold_type", offset, high=5, low=3),
        Bits(f"{resource}_threshold_arming", offset, high=2, low=0),
        Int(f"{resource}_threshold_resource", offset + 1, 1),
        Int(f"{resource}_threshold_count", offset + 4, 4),
    )


# Two threshold descriptors: what is available falls, what is used grows. Counts are in threshold sets (VPD page B2h).
LOGICAL_BLOCK_PROVISIONING = sub_page("Logical Block Provisioning", 0x1C, 0x02, 32, (
    Bit("situa", 4, 0),
    *_threshold_descriptor("available", 16),
    *_threshold_descriptor("used", 24),
))  # fmt: skip
DECREASING, INCREASING = 0b000, 0b001  # THRESHOLD ARMING
AVAILABLE_RESOURCES, USED_RESOURCES = 0x01, 0x02  # THRESHOLD RESOURCE, and the parameter codes of log page 0Ch


@dataclass(frozen=True)
class ModePage:
    """A row: the layout, what holds until somebody changes it, and which fields MODE SELECT may change.

    thin: whether only thin provisioned units have the row (True), only the others (False), or all (None).
    """

    page_code: int
    subpage_code: int
    layout: Layout
    source: str
    defaults: dict[str, int] = field(default_factory=dict)
    changeable: tuple[str, ...] = ()
    thin: Optional[bool] = None

    @property
    def key(self) -> tuple[int, int]:
        return self.page_code, self.subpage_code

    @property
    def name(self) -> str:
        """How the page is called in the record beside the disk: "08", "0a.01"."""
        return f"{self.page_code:02x}" + (f".{self.subpage_code:02x}" if self.subpage_code else "")

    @property
    def header_bytes(self) -> int:
        return SUB_PAGE_HEADER.size_bytes if self.subpage_code else PAGE_0_HEADER.size_bytes

    def pack(self, **values: int) -> bytes:
        """The page with these values. PS: what can be changed can be saved."""
        return bytes(self.layout.pack(ps=bool(self.changeable), **values))

    def default_bytes(self) -> bytes:
        """The page with its default values."""
        return self.pack(**self.defaults)

    def changeable_bytes(self) -> bytes:
        """The page with every bit set that may be changed."""
        ones = {}
        for name in self.changeable:
            item = self.layout.fields[name]
            ones[name] = item.mask if isinstance(item, Bits) else (1 << 8 * item.size_bytes) - 1
        return self.pack(**ones)

    def with_changeable(self, page: bytes, values: bytes) -> bytes:
        """page, with the bits that may be changed taken from values."""
        mask = bytes(self.header_bytes) + self.changeable_bytes()[self.header_bytes :]
        return bytes(old & ~bits | new & bits for old, new, bits in zip(page, values, mask))


MODE_PAGES: tuple[ModePage, ...] = (
    ModePage(0x01, 0x00, READ_WRITE_ERROR_RECOVERY, "SBC-4 6.5.10", thin=False),
    ModePage(0x01, 0x00, READ_WRITE_ERROR_RECOVERY, "SBC-4 6.5.10", {"lbpere": 1}, ("lbpere",), thin=True),
    ModePage(0x02, 0x00, DISCONNECT_RECONNECT, "SPC-4 7.5.10"),
    ModePage(0x08, 0x00, CACHING, "SBC-4 6.5.6",
             {"wce": 1, "maximum_prefetch": 0xFFFF, "maximum_prefetch_ceiling": 0xFFFF}, ("wce",)),
    ModePage(0x0A, 0x00, CONTROL, "SPC-4 7.5.8",
             {"gltsd": 1, "queue_algorithm_modifier": 1}, ("d_sense", "swp", "tas")),
    ModePage(0x0A, 0x01, CONTROL_EXTENSION, "SPC-4 7.5.9", {"tcmos": 1, "scsip": 1, "ialuae": 1}),
    ModePage(0x1A, 0x00, POWER_CONDITION, "SPC-4 7.5.13"),
    ModePage(0x1C, 0x00, INFORMATIONAL_EXCEPTIONS, "SBC-4 6.5.8", {"dexcpt": 1}),
    ModePage(0x1C, 0x02, LOGICAL_BLOCK_PROVISIONING, "SBC-4 6.5.9",
             {"available_threshold_arming": DECREASING, "available_threshold_resource": AVAILABLE_RESOURCES,
              "used_threshold_arming": INCREASING, "used_threshold_resource": USED_RESOURCES},
             ("situa", "available_enabled", "available_threshold_count", "used_enabled", "used_threshold_count"),
             thin=True),
)  # fmt: skip


def rows_for(thin: bool) -> tuple[ModePage, ...]:
    """The pages that a unit has, thin provisioned or not, in ascending order."""
    rows = (row for row in MODE_PAGES if row.thin in (None, thin))
    return tuple(sorted(rows, key=lambda row: row.key))


Key = tuple[int, int]
Pages = dict[Key, bytes]


class ModePages:
    """The mode parameters of one unit."""

    def __init__(self, rows: Sequence[ModePage] = rows_for(True)) -> None:
        self.rows: dict[Key, ModePage] = {}
        self._default: Pages = {}
        self._current: Pages = {}
        self._saved: Pages = {}
        self._unknown: dict[str, str] = {}  # saved pages that this unit hasn't (now); kept with the others
        self.use(rows)

    def use(self, rows: Sequence[ModePage]) -> None:
        """Have these pages from now on; what was changed or saved stays where it still fits."""
        self.rows = {row.key: row for row in rows}
        for values in (self._default, self._current, self._saved):
            for key in values:
                if key in self.rows:
                    values[key] = self.rows[key].with_changeable(self.rows[key].default_bytes(), values[key])
        for key, row in self.rows.items():
            self._current.setdefault(key, self._default.setdefault(key, row.default_bytes()))

    def reset(self) -> None:
        """What a reset does: back to the saved values, or the default ones where nothing is saved."""
        self._current = {**self._default, **self._saved}

    def forget_saved(self) -> None:
        """Nothing is saved any more, and the default values hold."""
        self._saved, self._unknown = {}, {}
        self.reset()

    def put(self, page_code: int, name: str, value: int, subpage_code: int = 0) -> None:
        """Set one value from the front's side (LIO's own switches): it is the default from now on, and saved or not."""
        key = (page_code, subpage_code)
        layout = self.rows[key].layout
        for pages in (self._default, self._current, self._saved):
            if key in pages:
                pages[key] = bytes(layout.pack(**{**layout.unpack(pages[key]).as_dict(), name: value}))

    def value(self, page_code: int, name: str, subpage_code: int = 0) -> int:
        """One current value, for example value(0x08, "wce")."""
        key = (page_code, subpage_code)
        return int(getattr(self.rows[key].layout.unpack(self._current[key]), name))

    def has(self, page_code: int, subpage_code: int = 0) -> bool:
        """Whether the unit has the page."""
        return (page_code, subpage_code) in self.rows

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
            return self._default[row.key]
        if control == PageControl.SAVED:
            return self._saved.get(row.key, self._default[row.key])
        return self._current[row.key]

    # -- changing ------------------------------------------------------------------------------------------------

    def change(self, data: bytes, base: int) -> bool:
        """judge() and take() in one step."""
        return self.take(self.judge(data, base))

    def judge(self, data: bytes, base: int) -> Pages:
        """The pages of a MODE SELECT list, as they would be taken; base is their offset in the list.

        All or nothing: every page is judged before the first is taken.  Raises InvalidFieldInParameterList,
        ParameterListLengthError.
        """
        taken: Pages = {}
        at = 0
        while at < len(data):
            row, page = self._page_at(data, at, base)
            taken[row.key] = page
            at += len(page)
        return taken

    def take(self, pages: Pages, *, saved: bool = False) -> bool:
        """What judge() gave holds from now on, and with saved all current values are the saved ones too.

        True if a current value changed.
        """
        before = dict(self._current)
        self._current.update(pages)
        if saved:
            self._saved = {key: page for key, page in self._current.items() if self._can_be_saved(key)}
        return self._current != before

    def to_save(self, pages: Pages) -> dict[str, str]:
        """What the record beside the disk has to hold if pages are taken and everything is saved (SPC-4 6.11, SP)."""
        after = {**self._current, **pages}
        known = {row.name: after[key].hex() for key, row in self.rows.items() if self._can_be_saved(key)}
        return {**self._unknown, **known}

    def restore(self, section: Any) -> None:
        """The saved values from the record beside the disk, which a new start brings back. Raises DamagedRecord."""
        if section is None:
            return
        if not isinstance(section, dict):
            raise DamagedRecord("its mode pages are no table")
        rows = {row.name: row for row in self.rows.values()}
        saved: Pages = {}
        for name, text in section.items():
            try:
                page = bytes.fromhex(text)
            except (TypeError, ValueError) as error:
                raise DamagedRecord(f"its mode page {name} is no hexadecimal text") from error
            row = rows.get(name)
            if row is None:
                self._unknown[name] = text
                continue
            if len(page) != row.layout.size_bytes:
                raise DamagedRecord(f"its mode page {name} has {len(page)} bytes, not {row.layout.size_bytes}")
            saved[row.key] = row.with_changeable(self._default[row.key], page)
        self._saved = saved
        self.reset()

    def _can_be_saved(self, key: Key) -> bool:
        return key in self.rows and bool(self.rows[key].changeable)

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
        head = row.header_bytes
        for index in range(head, len(page)):
            wrong = (page[index] ^ current[index]) & ~mask[index]
            if wrong:
                raise InvalidFieldInParameterList((index, wrong.bit_length() - 1), base=base)
        return current[:head] + page[head:]

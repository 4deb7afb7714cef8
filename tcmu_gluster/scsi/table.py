"""The one command table. A new command is a layout (cdb.py), a handler (spc.py, sbc.py, ...), a row here and a test.

`CommandTable` is what one unit answers: the rows whose feature the unit has. What is not in it ends with INVALID
COMMAND OPERATION CODE, and REPORT SUPPORTED OPERATION CODES prints it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, IntFlag
from typing import Any, Optional, Union

from tcmu_gluster.scsi import (
    alua,
    atomic,
    cdb,
    copy_results,
    diagnostics,
    extended_copy,
    format_unit,
    log_pages,
    maintenance,
    medium,
    provisioning,
    sanitize,
    sbc,
    spc,
    token_copy,
)  # fmt: skip
from tcmu_gluster.scsi import persistent_reserve as reserve
from tcmu_gluster.scsi.overlap import ATOMIC, COPIES, EXCLUSIVE, FREE, READS, WRITES, Overlap
from tcmu_gluster.wire.layout import Layout


class Data(Enum):
    """Which way parameter data or blocks go."""

    NONE = "none"
    IN = "in"
    OUT = "out"


class Gate(IntFlag):
    """What LogicalUnit looks at before the handler, or doesn't."""

    NONE = 0
    ATTENTION = 1
    """A pending unit attention does not stop it."""
    MEDIUM = 2
    """Needs a unit that is ready."""
    MODIFIES = 4
    """Refused if the unit is write protected."""
    SHARED = 8
    """Allowed while another nexus holds a Write Exclusive reservation."""
    OPEN = 16
    """Allowed whatever persistent reservation another nexus holds."""
    SPC_2 = 32
    """Allowed while another nexus holds the unit by RESERVE."""
    BUSY = 64
    """Allowed while the medium is sanitized, and after that or a format failed: it needs neither medium nor peace."""
    DECIDES = 128
    """Begins such an operation: its handler decides what may follow what."""


class Feature(IntFlag):
    """What a unit must have for a row to be in its table."""

    NONE = 0
    THIN = 1
    REMOVABLE = 2
    ATOMIC_WRITES = 1 << 2
    """The backend's writes are whole or not there at all, up to some length."""
    RESERVATIONS = 1 << 4
    """The unit keeps them, not who is in front of it (LIO does)."""
    PORTS = 1 << 5
    """The unit knows its target ports and their groups."""
    SETS_GROUPS = 1 << 6
    """Initiators may set the groups' states."""
    TOKENS = 1 << 7
    """It knows its initiators, and tokens can be made: then they may name copies by 32 bits, too."""
    CLOCK = 1 << 8
    """Somebody tells the unit the time."""


Handler = Callable[[Any, Any], Any]
Blocks = Callable[[Any], Optional[tuple[int, int]]]
"""The blocks that a command names in its parameter list; None if it can't be read."""
WHOLE_UNIT = (0, 1 << 65)
DAY = 24 * 3600
"""What is recommended to wait (seconds) for what is done to all of a medium."""


class Entry:
    """A row. Everything the way of a command needs is worked out when the row is made."""

    __slots__ = (  # noqa: RUF023 (the columns, then what is worked out from them)
        "operation_code", "service_action", "layout", "handler", "data", "gates", "overlap", "needs",
        "name", "usage", "nominal_seconds", "recommended_seconds", "length_name", "no_length",
        "control", "is_free", "is_plain", "modifies", "named_blocks", "record", "unpack_raw",
    )  # fmt: skip

    def __init__(
        self,
        operation_code: int,
        service_action: Optional[int],
        layout: Layout,
        handler: Handler,
        data: Data,
        gates: Gate,
        overlap: Overlap,
        needs: Feature = Feature.NONE,
        *,
        recommended_seconds: int = 30,
        blocks: Optional[Blocks] = None,
    ) -> None:
        self.name, self.operation_code, self.service_action = layout.name, operation_code, service_action
        self.layout = layout
        self.handler, self.data, self.gates, self.overlap, self.needs = handler, data, gates, overlap, needs
        self.named_blocks = blocks
        self.nominal_seconds, self.recommended_seconds = 1, recommended_seconds
        self.modifies = bool(gates & Gate.MODIFIES)
        self.is_free, self.is_plain = overlap == FREE, overlap in (READS, WRITES)
        self.control = layout.size_bytes - 1
        self.record, self.unpack_raw = layout.record, layout.unpack_raw
        self.no_length = cdb.LENGTH_0_OF_6_BYTES if layout.size_bytes == 6 else 0
        if layout in cdb.ZERO_IS_TO_THE_END:
            self.no_length = WHOLE_UNIT[1]
        self.length_name = next((field for field in cdb.LENGTH_FIELDS if field in layout.fields), "")
        usage = bytearray(layout.usage())
        if service_action is not None:  # the code itself stands where the mask of its field would
            usage[1] += service_action - 0x1F
        self.usage = bytes(usage)

    def extent(self, fields: Any) -> tuple[int, int]:
        """The blocks that a command names, as (first, end): all of the unit unless its CDB says which."""
        if not self.length_name:
            return WHOLE_UNIT
        lba: int = fields.logical_block_address
        return lba, lba + (getattr(fields, self.length_name) or self.no_length)

    def blocks_of(self, command: Any) -> tuple[int, int]:
        """extent(), also where not the CDB but the parameter list says it."""
        named = self.named_blocks(command) if self.named_blocks is not None else None
        return self.extent(command.fields) if named is None else named

    def alone_on_its_blocks(self) -> Entry:
        """The row of a command that modifies, as if nothing else might touch its blocks meanwhile."""
        if not self.modifies or self.overlap != WRITES:
            return self
        row = copy.copy(self)
        row.overlap, row.is_plain = ATOMIC, False
        return row

    def beside_everybody(self) -> Entry:
        """The row of a command that has begun and, from here on, holds nobody up."""
        row = copy.copy(self)
        row.overlap, row.is_plain, row.is_free = FREE, False, True
        return row

    def __repr__(self) -> str:
        return f"Entry({self.name})"


NONE, IN, OUT = Data
ATTENTION, MEDIUM, SHARED, OPEN, SPC_2 = Gate.ATTENTION, Gate.MEDIUM, Gate.SHARED, Gate.OPEN, Gate.SPC_2
ALWAYS = ATTENTION | OPEN | SPC_2
JUDGED = OPEN | SPC_2  # the reservation commands themselves: their handlers decide
RESERVATIONS, PORTS, SETS_GROUPS = Feature.RESERVATIONS, Feature.PORTS, Feature.SETS_GROUPS
THIN, CLOCK, TOKENS = Feature.THIN, Feature.CLOCK, Feature.TOKENS
READ_GATES = MEDIUM | SHARED
WRITE_GATES = MEDIUM | Gate.MODIFIES
BUSY = Gate.BUSY
CAPACITY = MEDIUM | JUDGED | BUSY
WHOLE_MEDIUM = WRITE_GATES | Gate.DECIDES

COMMANDS: tuple[Entry, ...] = (
    # operation code, service action, layout, handler, data, gates, overlap, feature
    Entry(0x00, None, cdb.TEST_UNIT_READY,      spc.test_unit_ready,         NONE, MEDIUM | OPEN,    FREE),
    Entry(0x03, None, cdb.REQUEST_SENSE,        spc.request_sense,           IN,   ALWAYS,           FREE),
    Entry(0x04, None, cdb.FORMAT_UNIT,          format_unit.format_unit,     OUT,  WHOLE_MEDIUM,     EXCLUSIVE,
          recommended_seconds=DAY),
    Entry(0x08, None, cdb.READ_6,               sbc.read_6,                  IN,   READ_GATES,       READS),
    Entry(0x0A, None, cdb.WRITE_6,              sbc.write_6,                 OUT,  WRITE_GATES,      WRITES),
    Entry(0x12, None, cdb.INQUIRY,              spc.inquiry,                 IN,   ALWAYS,           FREE),
    Entry(0x15, None, cdb.MODE_SELECT_6,        spc.mode_select_6,           OUT,  Gate.NONE,        EXCLUSIVE),
    Entry(0x16, None, cdb.RESERVE_6,  reserve.reserve_spc_2, NONE, JUDGED, FREE, RESERVATIONS),
    Entry(0x17, None, cdb.RELEASE_6,  reserve.release_spc_2, NONE, JUDGED, FREE, RESERVATIONS),
    Entry(0x1A, None, cdb.MODE_SENSE_6,         spc.mode_sense_6,            IN,   SHARED,           FREE),
    Entry(0x1B, None, cdb.START_STOP_UNIT,      medium.start_stop_unit,      NONE, Gate.NONE,        READS),
    Entry(0x1C, None, cdb.RECEIVE_DIAGNOSTIC_RESULTS, diagnostics.receive_diagnostic_results, IN, SHARED, FREE),
    Entry(0x1D, None, cdb.SEND_DIAGNOSTIC,      diagnostics.send_diagnostic, OUT,  MEDIUM,           READS),
    Entry(0x1E, None, cdb.PREVENT_ALLOW_MEDIUM_REMOVAL,
          medium.prevent_allow_medium_removal, NONE, Gate.NONE, FREE, Feature.REMOVABLE),
    Entry(0x25, None, cdb.READ_CAPACITY_10,     sbc.read_capacity_10,        IN,   CAPACITY,         FREE),
    Entry(0x28, None, cdb.READ_10,              sbc.read,                    IN,   READ_GATES,       READS),
    Entry(0x2A, None, cdb.WRITE_10,             sbc.write,                   OUT,  WRITE_GATES,      WRITES),
    Entry(0x2E, None, cdb.WRITE_AND_VERIFY_10,  sbc.write_and_verify,        OUT,  WRITE_GATES,      ATOMIC),
    Entry(0x2F, None, cdb.VERIFY_10,            sbc.verify,                  OUT,  READ_GATES,       READS),
    Entry(0x34, None, cdb.PRE_FETCH_10,         sbc.pre_fetch,               NONE, READ_GATES,       FREE),
    Entry(0x35, None, cdb.SYNCHRONIZE_CACHE_10, sbc.synchronize_cache,       NONE, MEDIUM,           READS),
    Entry(0x37, None, cdb.READ_DEFECT_DATA_10,  medium.read_defect_data_10,  IN,   READ_GATES,       FREE),
    Entry(0x3B, None, cdb.WRITE_BUFFER,         diagnostics.write_buffer,    OUT,  Gate.NONE,        FREE),
    Entry(0x3C, None, cdb.READ_BUFFER,          diagnostics.read_buffer,     IN,   SHARED,           FREE),
    Entry(0x41, None, cdb.WRITE_SAME_10,        provisioning.write_same,     OUT,  WRITE_GATES,      WRITES),
    Entry(0x42, None, cdb.UNMAP,                provisioning.unmap,          OUT,  WRITE_GATES,      WRITES,    THIN,
          blocks=provisioning.unmap_blocks),
    Entry(0x48, 0x01, cdb.SANITIZE_OVERWRITE,   sanitize.overwrite,          OUT,  WHOLE_MEDIUM,     EXCLUSIVE,
          recommended_seconds=DAY),
    Entry(0x48, 0x02, cdb.SANITIZE_BLOCK_ERASE, sanitize.block_erase,        NONE, WHOLE_MEDIUM,     EXCLUSIVE, THIN,
          recommended_seconds=DAY),
    Entry(0x48, 0x1F, cdb.SANITIZE_EXIT_FAILURE_MODE,
          sanitize.exit_failure_mode, NONE, WHOLE_MEDIUM, EXCLUSIVE),
    Entry(0x4C, None, cdb.LOG_SELECT,           log_pages.log_select,        OUT,  Gate.NONE,        FREE),
    Entry(0x4D, None, cdb.LOG_SENSE,            log_pages.log_sense,         IN,   OPEN,             FREE),
    Entry(0x55, None, cdb.MODE_SELECT_10,       spc.mode_select_10,          OUT,  Gate.NONE,        EXCLUSIVE),
    Entry(0x56, None, cdb.RESERVE_10, reserve.reserve_spc_2, NONE, JUDGED, FREE, RESERVATIONS),
    Entry(0x57, None, cdb.RELEASE_10, reserve.release_spc_2, NONE, JUDGED, FREE, RESERVATIONS),
    Entry(0x5A, None, cdb.MODE_SENSE_10,        spc.mode_sense_10,           IN,   SHARED,           FREE),
    Entry(0x5E, 0x00, cdb.READ_KEYS,           reserve.read_keys,           IN,  JUDGED, FREE, RESERVATIONS),
    Entry(0x5E, 0x01, cdb.READ_RESERVATION,    reserve.read_reservation,    IN,  JUDGED, FREE, RESERVATIONS),
    Entry(0x5E, 0x02, cdb.REPORT_CAPABILITIES, reserve.report_capabilities, IN,  JUDGED, FREE, RESERVATIONS),
    Entry(0x5E, 0x03, cdb.READ_FULL_STATUS,    reserve.read_full_status,    IN,  JUDGED, FREE, RESERVATIONS),
    Entry(0x5F, 0x00, cdb.REGISTER,            reserve.register,            OUT, JUDGED, FREE, RESERVATIONS),
    Entry(0x5F, 0x01, cdb.RESERVE,             reserve.reserve,             OUT, JUDGED, FREE, RESERVATIONS),
    Entry(0x5F, 0x02, cdb.RELEASE,             reserve.release,             OUT, JUDGED, FREE, RESERVATIONS),
    Entry(0x5F, 0x03, cdb.CLEAR,               reserve.clear,               OUT, JUDGED, FREE, RESERVATIONS),
    Entry(0x5F, 0x04, cdb.PREEMPT,             reserve.preempt,             OUT, JUDGED, FREE, RESERVATIONS),
    Entry(0x5F, 0x05, cdb.PREEMPT_AND_ABORT,   reserve.preempt_and_abort,   OUT, JUDGED, FREE, RESERVATIONS),
    Entry(0x5F, 0x06, cdb.REGISTER_AND_IGNORE_EXISTING_KEY,
          reserve.register_and_ignore_existing_key, OUT, JUDGED, FREE, RESERVATIONS),
    Entry(0x5F, 0x07, cdb.REGISTER_AND_MOVE,   reserve.register_and_move,   OUT, JUDGED, FREE, RESERVATIONS),
    Entry(0x83, 0x00, cdb.EXTENDED_COPY_LID1, extended_copy.extended_copy_lid1, OUT, Gate.NONE, COPIES),
    Entry(0x83, 0x01, cdb.EXTENDED_COPY_LID4, extended_copy.extended_copy_lid4, OUT, Gate.NONE, COPIES, TOKENS),
    Entry(0x83, 0x10, cdb.POPULATE_TOKEN,     token_copy.populate_token,        OUT, READ_GATES, ATOMIC, TOKENS,
          blocks=token_copy.populate_blocks),
    Entry(0x83, 0x11, cdb.WRITE_USING_TOKEN,  token_copy.write_using_token,     OUT, WRITE_GATES, COPIES, TOKENS),
    Entry(0x83, 0x1C, cdb.COPY_OPERATION_ABORT, extended_copy.copy_operation_abort, NONE, Gate.NONE, FREE, TOKENS),
    Entry(0x84, 0x00, cdb.RECEIVE_COPY_STATUS_LID1, copy_results.status_lid1,   IN,  OPEN,       FREE),
    Entry(0x84, 0x01, cdb.RECEIVE_COPY_DATA_LID1,   copy_results.data_lid1,     IN,  OPEN,       FREE),
    Entry(0x84, 0x03, cdb.RECEIVE_COPY_OPERATING_PARAMETERS,
          copy_results.operating_parameters, IN, OPEN, FREE),
    Entry(0x84, 0x04, cdb.RECEIVE_COPY_FAILURE_DETAILS_LID1,
          copy_results.failure_details_lid1, IN, OPEN, FREE),
    Entry(0x84, 0x05, cdb.RECEIVE_COPY_STATUS_LID4, copy_results.status_lid4,   IN,  OPEN,       FREE, TOKENS),
    Entry(0x84, 0x06, cdb.RECEIVE_COPY_DATA_LID4,   copy_results.data_lid4,     IN,  OPEN,       FREE, TOKENS),
    Entry(0x84, 0x07, cdb.RECEIVE_ROD_TOKEN_INFORMATION,
          token_copy.receive_rod_token_information, IN, OPEN, FREE, TOKENS),
    Entry(0x84, 0x08, cdb.REPORT_ALL_ROD_TOKENS, token_copy.report_all_rod_tokens, IN, OPEN, FREE, TOKENS),
    Entry(0x88, None, cdb.READ_16,              sbc.read,                    IN,   READ_GATES,       READS),
    Entry(0x89, None, cdb.COMPARE_AND_WRITE,    sbc.compare_and_write,       OUT,  WRITE_GATES,      ATOMIC),
    Entry(0x8A, None, cdb.WRITE_16,             sbc.write,                   OUT,  WRITE_GATES,      WRITES),
    Entry(0x8B, None, cdb.ORWRITE_16,           atomic.orwrite,              OUT,  WRITE_GATES,      ATOMIC),
    Entry(0x8E, None, cdb.WRITE_AND_VERIFY_16,  sbc.write_and_verify,        OUT,  WRITE_GATES,      ATOMIC),
    Entry(0x8F, None, cdb.VERIFY_16,            sbc.verify,                  OUT,  READ_GATES,       READS),
    Entry(0x90, None, cdb.PRE_FETCH_16,         sbc.pre_fetch,               NONE, READ_GATES,       FREE),
    Entry(0x91, None, cdb.SYNCHRONIZE_CACHE_16, sbc.synchronize_cache,       NONE, MEDIUM,           READS),
    Entry(0x93, None, cdb.WRITE_SAME_16,        provisioning.write_same,     OUT,  WRITE_GATES,      WRITES),
    Entry(0x9C, None, cdb.WRITE_ATOMIC_16,      atomic.write_atomic,         OUT,  WRITE_GATES,      ATOMIC,
          Feature.ATOMIC_WRITES),
    Entry(0x9E, 0x10, cdb.READ_CAPACITY_16,     sbc.read_capacity_16,        IN,   CAPACITY,         FREE),
    Entry(0x9E, 0x12, cdb.GET_LBA_STATUS,       provisioning.get_lba_status, IN,   READ_GATES,       READS),
    Entry(0xA0, None, cdb.REPORT_LUNS,          spc.report_luns,             IN,   ALWAYS,           FREE),
    Entry(0xA3, 0x05, cdb.REPORT_IDENTIFYING_INFORMATION,
          maintenance.report_identifying_information, IN, OPEN, FREE),
    Entry(0xA3, 0x0A, cdb.REPORT_TARGET_PORT_GROUPS, alua.report_target_port_groups, IN, OPEN, FREE, PORTS),
    Entry(0xA3, 0x0C, cdb.REPORT_SUPPORTED_OPERATION_CODES,
          spc.report_supported_operation_codes, IN, SHARED | BUSY, FREE),
    Entry(0xA3, 0x0D, cdb.REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS,
          maintenance.report_supported_task_management_functions, IN, SHARED | BUSY, FREE),
    Entry(0xA3, 0x0F, cdb.REPORT_TIMESTAMP,     maintenance.report_timestamp, IN,  OPEN,             FREE,      CLOCK),
    Entry(0xA4, 0x06, cdb.SET_IDENTIFYING_INFORMATION,
          maintenance.set_identifying_information, OUT, Gate.NONE, FREE),
    Entry(0xA4, 0x0A, cdb.SET_TARGET_PORT_GROUPS, alua.set_target_port_groups, OUT, Gate.NONE, FREE, SETS_GROUPS),
    Entry(0xA4, 0x0F, cdb.SET_TIMESTAMP,        maintenance.set_timestamp,   OUT,  Gate.NONE,        FREE,      CLOCK),
    Entry(0xA8, None, cdb.READ_12,              sbc.read,                    IN,   READ_GATES,       READS),
    Entry(0xAA, None, cdb.WRITE_12,             sbc.write,                   OUT,  WRITE_GATES,      WRITES),
    Entry(0xAE, None, cdb.WRITE_AND_VERIFY_12,  sbc.write_and_verify,        OUT,  WRITE_GATES,      ATOMIC),
    Entry(0xAF, None, cdb.VERIFY_12,            sbc.verify,                  OUT,  READ_GATES,       READS),
    Entry(0xB7, None, cdb.READ_DEFECT_DATA_12,  medium.read_defect_data_12,  IN,   READ_GATES,       FREE),
)  # fmt: skip

ServiceActions = dict[int, Entry]
Slot = Union[Entry, ServiceActions, None]


class CommandTable:
    """The rows that one unit answers, found by operation code in one step."""

    __slots__ = ("rows", "slots")

    def __init__(self, rows: Iterable[Entry] = COMMANDS, features: Feature = Feature.NONE) -> None:
        self.rows = tuple(row for row in rows if row.needs & features == row.needs)
        self.slots: list[Slot] = [None] * 256
        for row in self.rows:
            slot = self.slots[row.operation_code]
            if row.service_action is None:
                if slot is not None:
                    raise ValueError(f"{row.name}: operation code {row.operation_code:02X}h has two rows")
                self.slots[row.operation_code] = row
                continue
            if not isinstance(slot, dict):
                slot = self.slots[row.operation_code] = {}
            slot[row.service_action] = row

    def find(self, operation_code: int, service_action: Optional[int] = None) -> Optional[Entry]:
        """The row of an operation code (and service action), or None."""
        slot = self.slots[operation_code]
        if isinstance(slot, dict):
            return None if service_action is None else slot.get(service_action)
        return slot

    def service_actions(self, operation_code: int) -> bool:
        """Whether an operation code has service actions here."""
        return isinstance(self.slots[operation_code], dict)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.rows)

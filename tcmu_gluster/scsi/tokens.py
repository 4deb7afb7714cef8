"""ROD tokens: 512 bytes that name the data of some blocks as it was at one moment (point in time, change vulnerable).

Nothing is copied when a token is made. The first write to one of its blocks revokes it, so whoever uses it later gets
the data of that moment, or an error and never something else. Whoever has a token may use it: it holds 512 random bits.

    live ── use ──▶ live       inactivity or lifetime over: EXPIRED   a write to its blocks: REVOKED
                               DEL_TKN: DELETED                       unit gone, or no room for more: CANCELLED

Source: SPC-4 5.17.6 (ROD tokens, their format and lifetime), SBC-4 4.28 (block devices).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional

from tcmu_gluster.scsi.command import Nexus
from tcmu_gluster.scsi.copy_descriptors import IDENTIFICATION, IDENTIFICATION_CSCD
from tcmu_gluster.scsi.designation import (
    BINARY,
    ISCSI,
    NAA,
    SCSI_NAME_STRING,
    TARGET_DEVICE,
    UTF_8,
    designator,
    name_string,
)
from tcmu_gluster.scsi.rod_token import (
    ASKABLE_TYPES,
    CHANGE_VULNERABLE,
    DEFAULT_INACTIVITY_SECONDS,
    LIFETIME_SECONDS,
    MANAGEMENT_TOKEN_BYTES,
    ROD_TOKEN,
    ROD_TOKEN_LENGTH,
    SECRET_BYTES,
    TARGET_DESCRIPTOR_BYTES,
    Ranges,
)
from tcmu_gluster.scsi.sbc import capacity
from tcmu_gluster.scsi.sense import Asc, IllegalRequest

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit
    from tcmu_gluster.scsi.maintenance import Clock

Secret = Callable[[int], bytes]
"""So many random bytes that nobody can guess."""
MAXIMUM_TOKENS, MAXIMUM_TOKENS_EACH = 1024, 256
"""Of the process, and of one initiator."""
REMEMBERED_DEAD = 4096
"""Of how many dead tokens we can still say why they are dead."""


class Token:
    """One token that lives. changed_by: the copy whose own write revoked it, which may go on using it."""

    __slots__ = (
        "block_size_bytes", "changed_by", "data", "expires_at", "identifier", "idle_at", "inactivity_seconds", "nexus",
        "ranges", "size_bytes", "trouble", "unit", "users",
    )  # fmt: skip

    def __init__(self, unit: LogicalUnit, nexus: Nexus, ranges: Ranges, data: bytes) -> None:
        self.unit, self.nexus, self.ranges, self.data = unit, nexus, ranges, data
        self.block_size_bytes = unit.block_size_bytes
        self.size_bytes = sum(blocks for _, blocks in ranges) * self.block_size_bytes
        self.identifier = bytes(ROD_TOKEN.unpack(data).copy_manager_rod_token_identifier)
        self.inactivity_seconds = DEFAULT_INACTIVITY_SECONDS
        self.idle_at = self.expires_at = 0.0
        self.trouble: Optional[Asc] = None
        self.changed_by: Any = None
        self.users = 0
        """Copies that use it now: meanwhile it doesn't become inactive."""

    def touches(self, first: int, end: int) -> bool:
        """Whether one of its blocks lies in [first, end)."""
        return any(lba < end and first < lba + blocks for lba, blocks in self.ranges)

    def check(self, copy: Any) -> None:
        """Raises IllegalRequest if the data may not be what it was, for that copy."""
        if self.trouble is not None and not (self.trouble is Asc.TOKEN_REVOKED and self.changed_by is copy):
            raise IllegalRequest(self.trouble)


class Tokens:
    """All tokens of one process."""

    def __init__(self, clock: Clock, secret: Secret) -> None:
        self._clock, self._secret = clock, secret
        self._live: dict[bytes, Token] = {}
        self._dead: OrderedDict[bytes, Asc] = OrderedDict()

    def create(self, unit: LogicalUnit, nexus: Nexus, ranges: Ranges, inactivity_seconds: int) -> Token:
        """A token of these blocks as they are now. Raises IllegalRequest if there are too many."""
        self.sweep()
        own = sum(token.nexus.initiator_name == nexus.initiator_name for token in self._live.values())
        if own >= MAXIMUM_TOKENS_EACH or len(self._live) >= MAXIMUM_TOKENS:
            raise IllegalRequest(Asc.INSUFFICIENT_RESOURCES_TO_CREATE_ROD_TOKEN)
        naa = unit.identity.naa
        data = ROD_TOKEN.pack(
            rod_type=CHANGE_VULNERABLE, rod_token_length=ROD_TOKEN_LENGTH,
            copy_manager_rod_token_identifier=self._secret(8),
            creator_logical_unit_descriptor=IDENTIFICATION_CSCD.pack(
                descriptor_type_code=IDENTIFICATION, code_set=BINARY, designator_type=NAA,
                designator_length=len(naa), designator=naa, disk_block_length=unit.block_size_bytes,
            ),
            number_of_bytes_represented=sum(blocks for _, blocks in ranges) * unit.block_size_bytes,
            device_type_specific_data=bytes(capacity(unit))[8:], target_device_descriptor=_made_by(unit, nexus),
            extended_rod_token_data=self._secret(SECRET_BYTES),
        )  # fmt: skip
        token, now = Token(unit, nexus, ranges, bytes(data)), self._clock()
        token.inactivity_seconds = inactivity_seconds or DEFAULT_INACTIVITY_SECONDS
        token.idle_at, token.expires_at = now + token.inactivity_seconds, now + LIFETIME_SECONDS
        self._live[token.identifier] = token
        unit.promised = (*unit.promised, token)
        unit.look_again()
        return token

    def find(self, data: bytes) -> Token:
        """The token of these 512 bytes. Raises IllegalRequest with what is wrong with it."""
        self.sweep()
        fields = ROD_TOKEN.unpack(data)
        if fields.rod_token_length != ROD_TOKEN_LENGTH:
            raise IllegalRequest(Asc.INVALID_TOKEN_LENGTH)
        identifier = bytes(fields.copy_manager_rod_token_identifier)
        token = self._live.get(identifier)
        if token is not None:
            if token.data != data:
                raise IllegalRequest(Asc.TOKEN_CORRUPT)
            return token
        if fields.rod_type not in ASKABLE_TYPES:
            raise IllegalRequest(Asc.TOKEN_TYPE_UNSUPPORTED)
        raise IllegalRequest(self._dead.get(identifier, Asc.TOKEN_UNKNOWN))

    def hold(self, token: Token) -> None:
        """A copy begins to use it."""
        token.users += 1

    def release(self, token: Token) -> None:
        """That copy is over: the time without use begins anew."""
        token.users -= 1
        token.idle_at = self._clock() + token.inactivity_seconds

    def end(self, token: Token, trouble: Asc) -> None:
        """From now on it is worth nothing."""
        if self._live.pop(token.identifier, None) is None:
            return
        token.trouble = trouble
        self._dead[token.identifier] = trouble
        while len(self._dead) > REMEMBERED_DEAD:
            self._dead.popitem(last=False)
        token.unit.promised = tuple(other for other in token.unit.promised if other is not token)
        token.unit.look_again()

    def blocks_change(self, unit: LogicalUnit, first: int, end: int, by: Any = None) -> None:
        """Blocks of a unit are about to change: their tokens are revoked. by: the copy that writes."""
        self.sweep()
        for token in unit.promised:
            if token.touches(first, end):
                token.changed_by = by
                self.end(token, Asc.TOKEN_REVOKED)

    def unit_gone(self, unit: LogicalUnit) -> None:
        """A unit is taken away."""
        for token in unit.promised:
            self.end(token, Asc.TOKEN_CANCELLED)

    def sweep(self) -> None:
        """What lived or was idle for too long lives no more."""
        now = self._clock()
        for token in tuple(self._live.values()):
            if now >= token.expires_at or (now >= token.idle_at and not token.users):
                self.end(token, Asc.TOKEN_EXPIRED)


def management_token(token: Token) -> bytes:
    """Header and body of a token: who has these bytes knows the token, and cannot use it.  Source: SPC-4 5.17.6.4."""
    return token.data[:MANAGEMENT_TOKEN_BYTES]


def _made_by(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """The designation descriptor of the target that makes a token; the unit's NAA where the name has no room."""
    named = designator(UTF_8, SCSI_NAME_STRING, name_string(nexus.target_name), TARGET_DEVICE, ISCSI)
    if nexus.target_name and len(named) <= TARGET_DESCRIPTOR_BYTES:
        return named
    return designator(BINARY, NAA, unit.identity.naa, TARGET_DEVICE)

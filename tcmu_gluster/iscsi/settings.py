"""What an engine may be told: sizes, limits and times. All times are seconds, all sizes bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """One record for all connections of a portal. The defaults suit a LAN and 128 commands a session."""

    max_recv_data_segment_bytes: int = 1 << 20
    max_burst_bytes: int = (1 << 24) - 512
    first_burst_bytes: int = 256 << 10
    max_outstanding_r2t: int = 4
    initial_r2t: bool = False
    immediate_data: bool = True
    header_digests: tuple[str, ...] = ("None", "CRC32C")
    data_digests: tuple[str, ...] = ("None", "CRC32C")
    """Digests this target takes; the initiator's order of preference decides. Without "None" there must be one."""
    max_connections: int = 8
    """Connections of one session."""
    error_recovery_level: int = 2
    """The highest that is agreed to. What it costs is paid by those who ask for it."""
    default_time2wait: int = 2
    default_time2retain: int = 20
    """How long the tasks of a lost connection may be reassigned (ErrorRecoveryLevel 2), after default_time2wait."""
    kept_bytes: int = 16 << 20
    """Data-In that a connection keeps for retransmission (ErrorRecoveryLevel 1 and 2)."""

    window: int = 128
    """Commands a session may have outstanding."""
    immediate_commands: int = 16
    """Immediate task management and SCSI commands a connection may have outstanding."""
    max_transfer_bytes: int = 16 << 20
    """Largest Data-Out of one command; more is answered with CHECK CONDITION before memory is taken."""
    connection_buffer_bytes: int = 64 << 20
    """How much of the pool one connection may have. One command that is larger is still served, alone."""
    address_buffer_bytes: int = 128 << 20
    """The same, all connections of one address together."""
    receive_buffer_bytes: int = 256 << 10
    output_limit_bytes: int = 4 << 20
    """Answers to pings, texts and refused PDUs that may wait before no more of them are taken in."""
    landing_bytes: int = 16 << 10
    """A data segment whose missing rest is at least this long is received straight into its command's memory."""

    login_seconds: float = 15.0
    ping_seconds: float = 10.0
    """A connection that was silent so long is asked whether it lives, and is dead when silent for as long again."""
    data_seconds: float = 30.0
    """A connection that owes Data-Out and sends none for so long is closed."""
    recovery_seconds: float = 3.0
    """From ErrorRecoveryLevel 1 on: after so long what is missing of it is asked for again."""
    closing_seconds: float = 5.0
    """How long the last PDUs may take to leave, and an initiator to obey a logout request."""
    slow_reader_seconds: float = 30.0
    slow_reader_bytes: int = 128 << 10
    """A connection whose socket takes less than this in slow_reader_seconds while answers wait is closed."""
    slow_sender_seconds: float = 60.0
    slow_sender_bytes: int = 64 << 10
    """One that sends less than this in slow_sender_seconds, while the rest of a PDU, Data-Out or text is due, too."""


DEFAULTS = Settings()

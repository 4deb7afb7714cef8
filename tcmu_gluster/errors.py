"""The roots of every exception of ours. Branches live beside the numbers they carry.

    TcmuGlusterError
    ├── ConfigError                     a sentence for a person: what, why, what next
    ├── OperationError                  a refused operation of the control socket (control/)
    ├── ScsiError                       a SCSI status that ends a command (scsi/sense.py)
    │   └── CheckCondition              the same with sense data: one class an additional sense code
    ├── ProtocolError                   what an iSCSI peer did wrong and what RFC 7143 answers (iscsi/)
    │   ├── LoginError                  status class and detail of the Login Response
    │   └── RejectPdu                   reason of the Reject PDU
    ├── DamagedRecord                   the record beside a disk can't be trusted (scsi/persistence.py)
    └── RingError                       the TCMU ring holds what the kernel never writes (tcmu/)

Backends raise plain OSError: they know bytes, offsets and errno.
"""


class TcmuGlusterError(Exception):
    """Root of everything this project raises on purpose."""


class ConfigError(TcmuGlusterError):
    """Something a person wrote or asked for can't be done; str() is the one sentence to print."""


class OperationError(TcmuGlusterError):
    """An operation was refused; str() is the one sentence to print."""


class ScsiError(TcmuGlusterError):
    """Ends a SCSI command with a status other than GOOD."""


class ProtocolError(TcmuGlusterError):
    """An iSCSI peer broke RFC 7143."""


class RingError(TcmuGlusterError):
    """The TCMU ring can't be trusted any more."""

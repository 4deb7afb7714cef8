"""One daemon a state file: the file has one writer, and so have the rings of its disks."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from tcmu_gluster.errors import ConfigError


def lock_state(state_file: Path) -> int:
    """A descriptor that holds the state file's lock: it has one writer.

    Raises ConfigError if there is one already, FileNotFoundError if the folder isn't made yet.
    """
    path = state_file.with_name(f"{state_file.name}.lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(
            f"the daemon can't write beside its state file ({path}: {error.strerror}); let it, or choose another with "
            "--state-file"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ConfigError(
            f"another daemon already keeps {state_file}; stop it first, or name another state file"
        ) from None
    return descriptor

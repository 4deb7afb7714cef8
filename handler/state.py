"""The daemon's memory on disk, and its only writer.

saveconfig.json is in rtslib's schema (see configuration.py). A file of ours per disk, found by its serial, holds what
LIO's schema has no word for (the whole URI, options), because targetcli's own save drops what it doesn't know.
Every write: temporary file, fsync, rename, fsync of the directory. A crash leaves the old file or the new one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tcmu_gluster.errors import ConfigError

log = logging.getLogger(__name__)

KEPT_BACKUPS = 10
LONGEST_STATE_BYTES = 64 << 20
_BACKUP = re.compile(r"saveconfig-([0-9]{1,18})\.json", re.ASCII)
SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}", re.ASCII)


def write_whole(path: Path, text: str) -> None:
    """Replace path by a file (mode 0600) that holds text, or change nothing. Raises OSError that names path."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Names in this directory survive a power cut from here on."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in path. Raises FileNotFoundError, or ConfigError with the sentence why it can't be used."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(LONGEST_STATE_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from None
    if len(data) > LONGEST_STATE_BYTES:
        raise ConfigError(f"{path} is larger than a saved configuration can be")
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} holds no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds no JSON object")
    return value


def as_text(value: dict[str, Any]) -> str:
    """JSON as rtslib writes it: sorted, indented by two, a newline at the end."""
    return json.dumps(value, sort_keys=True, indent=2) + "\n"


class StateFile:
    """saveconfig.json with its backups."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._backups = path.parent / "backup"

    def load(self) -> dict[str, Any]:
        """What was saved last; {} if there is nothing yet.

        A file that was spoiled from outside gives the newest backup that can be read, with a warning in the log.
        Raises ConfigError if there is a file and neither it nor any backup can be used.
        """
        try:
            return read_object(self.path)
        except FileNotFoundError:
            return {}
        except ConfigError as spoiled:
            for backup in reversed(self.backups()):
                try:
                    value = read_object(backup)
                except (ConfigError, OSError):
                    continue
                log.warning("%s; using the backup %s", spoiled, backup)
                return value
            raise ConfigError(
                f"{spoiled}, and there is no backup of it in {self._backups}; put a good copy back, or move it away to "
                "begin with nothing"
            ) from None

    def save(self, config: dict[str, Any]) -> None:
        """Make config the saved state; the file before it becomes a backup. Raises OSError, then nothing changed."""
        self._backups.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = as_text(config)
        numbers = [_number(backup) for backup in self.backups()]
        backup = self._backups / f"saveconfig-{(max(numbers) if numbers else 0) + 1:08}.json"
        with contextlib.suppress(FileNotFoundError):  # the first time there is nothing to keep
            os.link(self.path, backup)
        try:
            write_whole(self.path, text)
        except BaseException:
            backup.unlink(missing_ok=True)
            raise
        for old in self.backups()[:-KEPT_BACKUPS]:
            old.unlink(missing_ok=True)

    def backups(self) -> list[Path]:
        """Backups that exist, oldest first."""
        if not self._backups.is_dir():
            return []
        return sorted((path for path in self._backups.iterdir() if _BACKUP.fullmatch(path.name)), key=_number)


def _number(backup: Path) -> int:
    match = _BACKUP.fullmatch(backup.name)
    return int(match[1]) if match else 0


class DiskFiles:
    """A JSON object a disk, by serial, in the directory `disks` beside saveconfig.json."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _path(self, serial: str) -> Path:
        if not SERIAL.fullmatch(serial):
            raise ConfigError(f"{serial[:60]!r} is not a serial number")
        return self._directory / f"{serial}.json"

    def write(self, serial: str, record: dict[str, Any]) -> None:
        """Keep record for this disk. Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self._path(serial), as_text(record))

    def read(self, serial: str) -> dict[str, Any]:
        """The record, or {} if there is none that can be used."""
        try:
            return read_object(self._path(serial))
        except FileNotFoundError:
            return {}
        except ConfigError as error:
            log.warning("%s", error)
            return {}

    def delete(self, serial: str) -> None:
        """Forget the record; nothing happens if there is none."""
        self._path(serial).unlink(missing_ok=True)

    def all(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(serial, record) of every disk whose file can be used."""
        for path in sorted(self._directory.glob("*.json")) if self._directory.is_dir() else ():
            if SERIAL.fullmatch(path.stem):
                record = self.read(path.stem)
                if record:
                    yield path.stem, record

    def find_id(self, state_id: str) -> dict[str, Any]:
        """The record of the disk whose config string holds only our id (config/cfgstring.py), or {}."""
        for serial, record in self.all():
            if state_id_of(serial) == state_id:
                return record
        return {}


def state_id_of(serial: str) -> str:
    """The short id that stands in a config string for what doesn't fit: the first 16 hexadecimal digits."""
    return "".join(character for character in serial.lower() if character in "0123456789abcdef")[:16].ljust(8, "0")

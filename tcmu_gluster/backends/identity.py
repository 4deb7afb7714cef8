"""Names for data that is a file or a block device of this machine: what its disk is recognised by everywhere."""

from __future__ import annotations

import logging
import os
import uuid
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

ATTRIBUTE: Final = "user.tcmu-gluster.uuid"
SYSFS: Final = Path("/sys/dev/block")
DEVICE_NAMES: Final = ("dm/uuid", "wwid", "device/wwid", "serial", "device/serial")


def of_file(path: str, descriptor: int, read_only: bool) -> str:
    """The UUID kept with the file in an extended attribute, made when there is none yet.

    Where that is impossible (file system without user attributes, read-only) it is the device and inode number, which
    another file may get after this one was deleted: that is warned about.
    """
    try:
        return f"file:{uuid.UUID(os.getxattr(descriptor, ATTRIBUTE).decode('ascii'))}"
    except (OSError, ValueError):
        pass  # none yet, or not ours
    if not read_only:
        fresh = uuid.uuid4()
        try:
            os.setxattr(descriptor, ATTRIBUTE, str(fresh).encode("ascii"))
        except OSError as error:
            log.debug("%s: no extended attribute: %s", path, error)
        else:
            return f"file:{fresh}"
    status = os.fstat(descriptor)
    log.warning("%s: its identity can't be kept with it; inode %d stands in, which may be reused", path, status.st_ino)
    return f"inode:{status.st_dev:x}:{status.st_ino:x}"


def of_device(path: str, descriptor: int, sysfs: Path = SYSFS) -> str:
    """What the kernel knows a block device by (device-mapper UUID, WWID, serial), and the partition's number."""
    number = os.fstat(descriptor).st_rdev
    folder = sysfs / f"{os.major(number)}:{os.minor(number)}"
    partition = _text(folder / "partition")
    whole = folder.resolve().parent if partition else folder
    for name in DEVICE_NAMES:
        found = _text(whole / name)
        if found:
            return f"block:{found}" + (f":{partition}" if partition else "")
    log.warning("%s: the kernel knows no serial of it; its device number stands in, which may change", path)
    return f"device:{os.major(number)}:{os.minor(number)}"


def device_limit(descriptor: int, name: str, sysfs: Path = SYSFS) -> int:
    """A number of the device's request queue, such as discard_granularity; 0 if there is none."""
    number = os.fstat(descriptor).st_rdev
    folder = (sysfs / f"{os.major(number)}:{os.minor(number)}").resolve()
    for place in (folder, folder.parent):
        text = _text(place / "queue" / name)
        if text.isdigit():
            return int(text)
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

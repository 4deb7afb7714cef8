"""What a backend remembers of a flush that failed.

A failed fsync has used up its error: the data is gone from the cache, and the next fsync would report success for what
was never stored. So an error that means lost data is kept and told to every later flush, for as long as the backing is
open. An error that only says that nobody could be reached (quorum, network) loses nothing: the next flush asks again.
"""

from __future__ import annotations

import errno
import os
from typing import Final

MEANS_LOST_DATA: Final = frozenset((errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENXIO, errno.ENODEV))


class LostWrites:
    """The first error of a flush that means lost data, if there was one."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0

    def note_flush(self, error: OSError) -> OSError:
        """A flush failed: remember it if data is lost; returns the error."""
        if not self.number and error.errno in MEANS_LOST_DATA:
            self.number = error.errno or errno.EIO
        return error

    def note_durable_write(self, error: OSError) -> OSError:
        """A write with its own fsync failed: that fsync may have used up the error of an earlier, acknowledged write.

        No space is told by the write itself, before anything was acknowledged for it, so it isn't remembered.
        """
        return self.note_flush(error) if error.errno == errno.EIO else error

    def error(self) -> OSError | None:
        """What a flush has to answer without asking the storage."""
        if not self.number:
            return None
        return OSError(self.number, f"an earlier flush failed, data was lost: {os.strerror(self.number)}")

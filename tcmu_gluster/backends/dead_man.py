"""The kernel ends this process if it is stopped for too long: a timer that has to be wound up again and again.

A process that was stopped beyond its lease and goes on finds that out before it starts or answers anything itself. But
what it had handed to libgfapi lies in that library's threads, which would send it now, late, into a disk that
another gateway serves. Only the end of the process prevents that, and SIGKILL also reaches one that is stopped.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import time
from typing import Any, Final, Optional

log = logging.getLogger(__name__)

_SIGEV_SIGNAL: Final = 0  # signal.h


class _Event(ctypes.Structure):
    # struct sigevent of 64-bit Linux: 64 bytes, of which SIGEV_SIGNAL uses these.
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("number", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_byte * 48),
    )


class _Span(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    # struct itimerspec
    _fields_ = (("interval", _Span), ("value", _Span))


def _library() -> Any:
    library = ctypes.CDLL(None, use_errno=True)
    if hasattr(library, "timer_create"):
        return library
    return ctypes.CDLL("librt.so.1", use_errno=True)  # glibc before 2.34


class DeadMan:
    """A timer of the clock that goes on while the host sleeps. Without wind() in time the process is killed."""

    def __init__(self) -> None:
        self._library: Any = None
        self._timer = ctypes.c_void_p()
        self._process = 0

    def wind(self, seconds: Optional[float]) -> bool:
        """From now on there are so many seconds; None: for ever. False where the system has no such timer."""
        if seconds is None and self._library is None:
            return True
        try:
            if self._library is None or self._process != os.getpid():  # a child process has no timers of its parent
                self._create()
            whole, part = divmod(seconds or 0.0, 1.0)
            setting = _Setting(_Span(0, 0), _Span(int(whole), int(part * 1e9)))
            self._check(self._library.timer_settime(self._timer, 0, ctypes.byref(setting), None))
        except (OSError, AttributeError) as error:
            log.debug("no timer that would end a stopped process: %s", error)
            return False
        return True

    def _create(self) -> None:
        library = _library()
        event = _Event(None, int(signal.SIGKILL), _SIGEV_SIGNAL)
        self._check(library.timer_create(time.CLOCK_BOOTTIME, ctypes.byref(event), ctypes.byref(self._timer)))
        self._library, self._process = library, os.getpid()

    @staticmethod
    def _check(result: int) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "timer")

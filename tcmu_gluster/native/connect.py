"""Connecting to a Gluster volume within a bounded time, and the sentence for every way in which that can fail.

glfs_init may wait for ever and tells little, so servers are first tried with a plain socket, and glfs_init then runs in
a thread of its own. When its time is over that thread stays behind (libgfapi can't be interrupted), and the sentence
says so. What a failed attempt made (five threads, three descriptors) is ended by glfs_fini, which takes ten seconds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Optional, TypeVar

from tcmu_gluster.errors import ConfigError
from tcmu_gluster.native.symbols import Gfapi

DEFAULT_LIMIT_SECONDS: Final = 15.0
SERVER_LIMIT_SECONDS: Final = 3.0
GLUSTERD_PORT: Final = 24007
LOG_ERRORS: Final = 4
"""GF_LOG_ERROR of Gluster's logging.h; 7 is INFO, 8 DEBUG, 9 TRACE."""
LOG_WARNINGS: Final = 5

PASS_THROUGH: Final = ("pass-through", "true")
XLATOR_OPTIONS: Final[Sequence[tuple[str, str, str]]] = (
    # Two gateways may serve one file at once, and a gateway may be killed at any time, so nothing may be cached or held
    # back in this process: a write that was acknowledged is at the bricks, a read comes from them. Each of these
    # translators then hands calls through, whatever the volume's options say. (It is faster as well: a disk's host
    # has caches of its own.)
    ("*-write-behind", *PASS_THROUGH),
    ("*-io-cache", *PASS_THROUGH),
    ("*-quick-read", *PASS_THROUGH),
    ("*-read-ahead", *PASS_THROUGH),
    ("*-open-behind", *PASS_THROUGH),
    # A size that another connection of this process or another gateway has changed is seen at once; so is a lease.
    ("*-md-cache", *PASS_THROUGH),
    ("*-nl-cache", *PASS_THROUGH),
    # A hand-over to another thread and back for each call, which ours are not in need of: they are asynchronous anyway.
    ("*-io-threads", *PASS_THROUGH),
    # Threads that wait for what bricks answer. With the 8 of the group gluster-block each answer wakes another of them;
    # all they do for us is one copy, and what they serve is a single thread too, the loop. 1 is the smallest number,
    # and what Gluster starts with.
    ("*-client-*", "event-threads", "1"),
    # Replication notes "this brick missed writes" up to a second (the default) after it acknowledged them. A brick that
    # comes back meanwhile passes as whole, and old data is read from it: script/reliability returning-brick shows it.
    ("*-replicate-*", "post-op-delay-secs", "0"),
)
"""What our side of a volume is told, whatever the volume's own options say: (translator's name, key, value)."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Server:
    """A volfile server: glusterd by TCP (host, port), or by a Unix socket (host is its path)."""

    host: str
    port: int = GLUSTERD_PORT
    transport: str = "tcp"

    def __str__(self) -> str:
        if self.transport == "unix":
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NoAnswer(TimeoutError):
    """A call of within() that still runs."""


def _nothing() -> None:
    pass


def within(seconds: float, call: Callable[[], Answer], abandoned: Callable[[], object] = _nothing) -> Answer:
    """Run call in a thread and hand on what it returns or raises; NoAnswer (and a leaked thread) after seconds.

    abandoned() is called there when the call comes back although nobody waits for it any more.
    """
    box: list[Any] = []
    undecided = [True]  # whoever takes this out decides whether it came back in time

    def decides() -> bool:
        with contextlib.suppress(IndexError):
            return undecided.pop()
        return False

    def run() -> None:
        try:
            box.append((call(), None))
        except BaseException as error:  # handed to the caller below
            box.append((None, error))
        if not decides():
            abandoned()

    thread = threading.Thread(target=run, name="gluster-connect", daemon=True)
    thread.start()
    thread.join(seconds)
    if decides():
        raise NoAnswer(errno.ETIMEDOUT, f"no answer within {seconds:.0f} s")
    answer, error = box[0]
    if error is not None:
        raise error
    return answer  # type: ignore[no-any-return]


def why_unreachable(server: Server, limit_seconds: float = SERVER_LIMIT_SECONDS) -> str | None:
    """Try glusterd's port: None when something listens, else the reason in words."""
    try:
        if server.transport == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(limit_seconds)
                probe.connect(server.host)
        else:
            # Names are resolved without a limit of their own, hence the thread.
            within(
                limit_seconds, lambda: socket.create_connection((server.host, server.port), limit_seconds / 2).close()
            )
    except socket.gaierror as error:
        return f"{server}: no such host ({error.strerror})"
    except TimeoutError:
        return f"{server}: no answer within {limit_seconds:.0f} s (firewall? machine down?)"
    except ConnectionRefusedError:
        return f"{server}: connection refused (is glusterd running there?)"
    except OSError as error:
        return f"{server}: {error.strerror or error}"
    return None


def connect(
    gfapi: Gfapi,
    servers: Sequence[Server],
    volume: str,
    *,
    log_path: str = os.devnull,
    log_level: int = LOG_ERRORS,
    limit_seconds: float = DEFAULT_LIMIT_SECONDS,
    options: Sequence[tuple[str, str, str]] = XLATOR_OPTIONS,
    volfile: str = "",
) -> Any:
    """The glfs_t of a volume whose bricks answer. Raises ConfigError; never takes much longer than limit_seconds.

    With a volfile nobody is asked for one, now or later: the connection does not follow the volume's changes.
    """
    deadline = time.monotonic() + limit_seconds
    if not volfile:
        servers = _living_first(servers, volume, deadline)
    fs = gfapi.glfs_new(volume.encode())
    for xlator, key, value in options:
        gfapi.glfs_set_xlator_option(fs, xlator.encode(), key.encode(), value.encode())
    with contextlib.ExitStack() as files:
        if volfile:
            text = files.enter_context(tempfile.NamedTemporaryFile("w", prefix="gluster-", suffix=".vol"))
            text.write(volfile)
            text.flush()
            gfapi.glfs_set_volfile(fs, os.fsencode(text.name))
        else:
            for server in servers:
                port = 0 if server.transport == "unix" else server.port
                gfapi.glfs_set_volfile_server(fs, server.transport.encode(), os.fsencode(server.host), port)
        # While connecting, Gluster's log goes to a file that lives as long as this: it holds the reason of a failure.
        log = files.enter_context(tempfile.NamedTemporaryFile(prefix="gluster-connect-", suffix=".log"))
        gfapi.glfs_set_logging(fs, os.fsencode(log.name), max(log_level, LOG_WARNINGS))
        failure: Optional[OSError] = None
        end = partial(_end, gfapi, fs)
        try:
            within(max(1.0, deadline - time.monotonic()), lambda: _start(gfapi, fs), abandoned=end)
        except OSError as error:
            failure = error
        gfapi.glfs_set_logging(fs, os.fsencode(log_path), log_level)
        if failure is not None:
            if not isinstance(failure, NoAnswer):  # else it ends when it comes back
                threading.Thread(target=end, name="gluster-end", daemon=True).start()
            raise ConfigError(_sentence(failure, servers[0], volume, log.name)) from failure
    return fs


def _end(gfapi: Gfapi, fs: Any) -> None:
    """Of an attempt that failed. Nobody can do anything about what it says."""
    with contextlib.suppress(OSError):
        gfapi.glfs_fini(fs)


def _living_first(servers: Sequence[Server], volume: str, deadline: float) -> Sequence[Server]:
    """libgfapi asks in order: it starts with one that lives. Raises ConfigError when none does."""
    reasons: list[str] = []
    for index, server in enumerate(servers):
        reason = why_unreachable(server, max(0.5, min(SERVER_LIMIT_SECONDS, deadline - time.monotonic())))
        if reason is None:
            return [*servers[index:], *servers[:index]]
        reasons.append(reason)
    raise ConfigError(
        f"no server of volume {volume} can be reached: {'; '.join(reasons) or 'none was named'}; "
        "check the name and the port, and that glusterd runs"
    )


def _start(gfapi: Gfapi, fs: Any) -> None:
    gfapi.glfs_init(fs)
    # A volume can be initialised while no brick answers; only a request finds out.
    gfapi.glfs_access(fs, b"/", os.F_OK)


def _sentence(error: OSError, server: Server, volume: str, log: str) -> str:
    lines = _messages(log)
    because = f" (Gluster's log says: {lines[-1]})" if lines else ""
    if isinstance(error, TimeoutError):
        return (
            f"volume {volume} on {server} did not answer in time{because}; see gluster volume status {volume}. "
            "libgfapi can't be interrupted, so one of its threads stays behind in this process"
        )
    if error.errno == errno.ENOENT:
        return f"{server} has no volume named {volume}; see gluster volume list there"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"{server} does not let this machine use volume {volume}; see its options auth.allow, auth.reject and "
            "server.allow-insecure"
        )
    if error.errno in (errno.EIO, errno.ENOTCONN):
        look = f"see gluster volume status {volume}"
        if any("quorum is not met" in line or "no read subvols" in line for line in lines):
            return f"volume {volume} has no quorum: too few of its bricks are up{because}; {look}"
        return (
            f"the bricks of volume {volume} don't answer: it isn't started, or all its bricks are down{because}; "
            f"{look}, and start it with gluster volume start {volume}"
        )
    return f"volume {volume} on {server} can't be used: {os.strerror(error.errno or errno.EIO)}{because}"


_LOG_LINE = re.compile(r"^\[[^\]]*\] [ECW] \[.*?\] \S+: (.*?)(?: \[\])?$")


def _messages(path: str) -> list[str]:
    """The warnings and errors in a log of Gluster's, without their prefixes, each cut to 200 characters."""
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            lines = log.read(1 << 20).splitlines()
    except OSError:
        return []
    return [match[1].strip()[:200] for match in map(_LOG_LINE.match, lines) if match]

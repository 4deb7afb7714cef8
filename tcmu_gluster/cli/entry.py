"""Where the installed commands begin: before their code is loaded, which takes long enough for a Ctrl-C."""

from __future__ import annotations

import importlib
import signal


def command() -> int:
    """tcmu-gluster."""
    return _run("tcmu_gluster.cli.main")


def tgtadm() -> int:
    """tcmu-gluster-tgtadm."""
    return _run("tcmu_gluster.cli.tgtadm")


def shell() -> int:
    """targetcli-gluster."""
    return _run("targetcli_ext.shell")


def _run(module: str) -> int:
    """Load a command and run it. Until it is loaded, Ctrl-C ends it without a word: there is nothing to take back."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else whoever started it ignores it
    if heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    main = importlib.import_module(module).main
    if heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return int(main())

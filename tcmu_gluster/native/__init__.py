"""The C shim, if it was built: shim.lib holds its functions, shim.ffi the types. See build.py.

Without it (no compiler, a source checkout nobody built) shim is None, and so is every function a part exports by name;
memory: and file: disks and the iSCSI engine need nothing of it. require_shim() says so in a sentence.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from tcmu_gluster.errors import ConfigError


def _load() -> ModuleType | None:
    try:
        return importlib.import_module("tcmu_gluster.native._shim")
    except ImportError:
        return None


shim = _load()


def function(name: str) -> Any:
    """One C function, or None when the shim (or that part of it) isn't built."""
    return None if shim is None else getattr(shim.lib, name, None)


def require_shim() -> Any:
    """The shim's module. Raises ConfigError when it isn't built."""
    if shim is None:
        raise ConfigError(
            "the C shim of tcmu-gluster isn't built, so Gluster volumes and the LIO ring can't be used; "
            "install a C compiler and run: python -m tcmu_gluster.native.build"
        )
    return shim

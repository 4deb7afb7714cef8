"""The only code that writes LIO's configuration: a short-lived process, `python -m handler.lio_admin`.

It reads JSON objects from standard input, a line each, and answers each with one on standard output:

    {"do": "create", "name", "config", "size_bytes", "serial", "block_bytes", "cmd_time_out_seconds", "write_cache",
     "kept", "save"}
    {"do": "resize", "name", "size_bytes", "save"}     {"do": "delete", "name", "save"}     {"do": "list"}
    and what is in lio_targets.py and lio_saved.py; save: LIO's saved configuration follows
    -> {"changed": bool, ...}    or    {"error": "one sentence"}

The daemon never does this itself: a thread that waits in configfs can't even be killed, and it may wait for the
daemon's own answer. Everything is all or nothing: what was half made is taken away again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Optional, Protocol

from tcmu_gluster.errors import ConfigError, TcmuGlusterError

from . import lio_saved, lio_targets

CONTROL = "nl_reply_supported=-1"
"""Nobody waits for an answer about our devices: tcmu-runner, where it runs too, would veto them (tcmu_gluster/tcmu)."""
_IN_THE_WAY = "already exists in configFS"
"""rtslib takes a number that no backstore has. An empty HBA folder of that number, left by somebody who was killed half
way, is in the way of every new disk: rtslib 2.2 takes the kernel's hba_info in it for a backstore."""
OF_CREATION = frozenset({
    "cmd_time_out", "dev_config", "dev_size", "emulate_write_cache", "hw_block_size", "nl_reply_supported",
    "tmr_notification",
})  # fmt: skip
"""Attributes that create() decides, or that `config` and `size` say already."""


class Lio(Protocol):
    """LIO as this module needs it: rtslib, or a double."""

    def find(self, name: str) -> Optional[Any]:
        """The user backstore of that name (config, size, wwn, exported, set_attribute, delete), or None."""

    def create(
        self, name: str, config: str, size_bytes: int, serial: str, control: str, max_sectors: Optional[int] = None
    ) -> Any:
        """Make one; nothing is left of it if this raises."""

    def all(self) -> Iterator[Any]:
        """Every user backstore."""

    def make_reservation_directory(self) -> None:
        """<dbroot>/pr, without which the kernel fails every PERSISTENT RESERVE OUT; Debian's packages forget it."""

    @property
    def targets(self) -> lio_targets.Targets:
        """The targets that show them."""


def exception_of(rtslib: Any, name: str) -> type[Exception]:
    """rtslib's exception: its name got an "Error" at its end after 2.1, which is what Debian 12 has."""
    found: type[Exception] = getattr(rtslib, f"{name}Error", None) or getattr(rtslib, name)
    return found


class RtslibLio:
    """The real one."""

    def __init__(self) -> None:
        import rtslib_fb

        self._rtslib: Any = rtslib_fb
        self._absent = exception_of(rtslib_fb, "RTSLibNotInCFS")
        # rtslib wants its database directory before it is asked anything
        with contextlib.suppress(OSError):
            os.makedirs("/etc/target", exist_ok=True)
        self._root = rtslib_fb.RTSRoot()
        self.targets: lio_targets.Targets = lio_targets.RtslibTargets(rtslib_fb, self._root)

    def find(self, name: str) -> Optional[Any]:
        try:
            return RtslibObject(self._rtslib.UserBackedStorageObject(name), self._rtslib)
        except self._absent:
            return None

    def create(
        self, name: str, config: str, size_bytes: int, serial: str, control: str, max_sectors: Optional[int] = None
    ) -> Any:
        def make() -> Any:
            return self._rtslib.UserBackedStorageObject(
                name, config=config, size=size_bytes, wwn=serial, control=control, hw_max_sectors=max_sectors
            )

        try:
            made = make()
        except self._rtslib.RTSLibError as error:
            if _IN_THE_WAY not in str(error) or not remove_empty_hbas(Path(self._root.path) / "core"):
                raise
            made = make()
        return RtslibObject(made, self._rtslib)

    def all(self) -> Iterator[Any]:
        for storage_object in self._root.storage_objects:
            if storage_object.plugin == "user":
                yield RtslibObject(storage_object, self._rtslib)

    def make_reservation_directory(self) -> None:
        os.makedirs(Path(self._root.dbroot) / "pr", exist_ok=True)


def remove_empty_hbas(core: Path) -> list[str]:
    """The names of the TCMU HBA folders that held no backstore, and are gone. The kernel keeps those that hold one."""
    removed = []
    for folder in sorted(core.glob("user_*")):
        with contextlib.suppress(OSError):
            folder.rmdir()
            removed.append(folder.name)
    return removed


@lru_cache(maxsize=1)
def real_lio() -> Lio:
    """rtslib, loaded once: that takes longer than everything it is asked."""
    return RtslibLio()


class RtslibObject:
    """A user backstore of rtslib."""

    def __init__(self, storage_object: Any, rtslib: Any) -> None:
        self._object, self._rtslib = storage_object, rtslib
        self.name: str = storage_object.name
        self.hba = int(Path(storage_object.path).parent.name.rsplit("_", 1)[1])
        self.path = Path(storage_object.path)

    @property
    def config(self) -> str:
        return self._object.config or ""

    @property
    def size_bytes(self) -> int:
        return int(self._object.size)

    @property
    def serial(self) -> str:
        return str(self._object.wwn) if self._object.is_configured() else ""

    @property
    def exported(self) -> bool:
        return str(self._object.status) == "activated"

    def set_attribute(self, name: str, value: str) -> None:
        """Raises OSError; ENOENT where this kernel has no such attribute."""
        descriptor = os.open(self.path / "attrib" / name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)

    def add_alua_group(self, group: Mapping[str, Any]) -> None:
        """A target port group as rtslib dumps it; the kernel makes the default one by itself."""
        with contextlib.suppress(exception_of(self._rtslib, "RTSLibALUANotSupported")):
            self._rtslib.ALUATargetPortGroup.setup(self._object, dict(group), str)

    def delete(self) -> None:
        self._object.delete()


# -- what can be asked ------------------------------------------------------------------------------------------------


def create(lio: Lio, request: Mapping[str, Any]) -> dict[str, Any]:
    """Make a TCMU device. changed is False if it is there with the same config and size."""
    name, config, size_bytes = str(request["name"]), str(request["config"]), int(request["size_bytes"])
    present = lio.find(name)
    if present is not None:
        if (present.config, present.size_bytes) == (config, size_bytes):
            return {"changed": False, "hba": present.hba, "serial": present.serial}
        raise ConfigError(
            f"LIO already has a user backstore {name!r} ({present.config}, {present.size_bytes} bytes); "
            "choose another name or delete that one first"
        )
    lio.make_reservation_directory()
    kept = request.get("kept") or {}
    block_bytes, sectors = int(request.get("block_bytes") or 0), kept.get("hw_max_sectors")
    made = lio.create(
        name, config, size_bytes, str(request["serial"]), _control(kept, block_bytes), int(sectors) if sectors else None
    )
    try:
        _give_back(made, kept)
        _set_optional(made, "cmd_time_out", str(int(request.get("cmd_time_out_seconds", 25))))
        _set_optional(made, "tmr_notification", "1")
        # The kernel's own default is off; ours is on, as on the engine: what must be stable is flushed or has FUA.
        _set_optional(made, "emulate_write_cache", "0" if request.get("write_cache") is False else "1")
        _save(lio, request)
    except BaseException:
        made.delete()
        raise
    return {"changed": True, "hba": made.hba, "serial": made.serial}


def _control(kept: Mapping[str, Any], block_bytes: int) -> str:
    """What stands in `control`: ours, and what LIO had for this disk before it was moved to the engine."""
    words = [CONTROL, f"hw_block_size={block_bytes}"] if block_bytes else [CONTROL]
    known = {word.partition("=")[0] for word in (CONTROL, "hw_block_size=")}
    words += [word for word in str(kept.get("control") or "").split(",") if word.partition("=")[0] not in {*known, ""}]
    return ",".join(words)


def _give_back(made: Any, kept: Mapping[str, Any]) -> None:
    """Attributes and ALUA groups that LIO had for this disk. What this kernel refuses stays as it has it."""
    for attribute, value in (kept.get("attributes") or {}).items():
        if attribute not in OF_CREATION:
            with contextlib.suppress(OSError):
                made.set_attribute(str(attribute), str(value))
    for group in kept.get("alua_tpgs") or ():
        made.add_alua_group(group)


def _set_optional(made: Any, attribute: str, value: str) -> None:
    try:
        made.set_attribute(attribute, value)
    except OSError as error:
        if error.errno != errno.ENOENT:  # older kernels don't have them all
            raise


def resize(lio: Lio, request: Mapping[str, Any]) -> dict[str, Any]:
    """Tell LIO another size. The kernel asks the daemon with a RECONFIG event, which has to be listening."""
    present = _present(lio, str(request["name"]))
    size_bytes, before = int(request["size_bytes"]), present.size_bytes
    if before == size_bytes:
        return {"changed": False}
    present.set_attribute("dev_size", str(size_bytes))
    try:
        _save(lio, request)
    except BaseException:
        present.set_attribute("dev_size", str(before))
        raise
    return {"changed": True}


def delete(lio: Lio, request: Mapping[str, Any]) -> dict[str, Any]:
    """Take a device away. Refused while a target shows it."""
    present = lio.find(str(request["name"]))
    if present is None:
        _save(lio, request)
        return {"changed": False}
    if present.exported:
        raise ConfigError(f"a target of LIO still shows {present.name!r}; delete its LUNs first (targetcli ls)")
    with lio_saved.forgotten(lio, present.name) if request.get("save") else contextlib.nullcontext():
        present.delete()
    return {"changed": True}


def _save(lio: Lio, request: Mapping[str, Any]) -> None:
    if request.get("save"):
        lio_saved.remember(lio, {"names": [str(request["name"])], "wwns": []})


def list_(lio: Lio, request: Mapping[str, Any]) -> dict[str, Any]:
    """Every user backstore of ours and others."""
    return {
        "changed": False,
        "items": [
            {"name": one.name, "hba": one.hba, "config": one.config, "size_bytes": one.size_bytes, "serial": one.serial}
            for one in lio.all()
        ],
    }


def _present(lio: Lio, name: str) -> Any:
    present = lio.find(name)
    if present is None:
        raise ConfigError(f"LIO has no user backstore {name!r}")
    return present


VERBS = {"create": create, "resize": resize, "delete": delete, "list": list_, **lio_targets.VERBS, **lio_saved.VERBS}


def answer(request: Any, lio: Optional[Lio] = None) -> dict[str, Any]:
    """What one request gets: its result, or {"error"}. lio: a double; None stands for the real one."""
    try:
        if not isinstance(request, dict) or request.get("do") not in VERBS:
            raise ConfigError("the request is not understood")
        return VERBS[request["do"]](real_lio() if lio is None else lio, request)
    except TcmuGlusterError as error:
        return {"error": str(error)}
    except OSError as error:
        return {"error": f"LIO refused: {error.strerror or error}", "errno": error.errno}
    except ImportError as error:
        return {"error": f"the LIO front needs rtslib-fb, which is not installed ({error})"}
    except Exception as error:  # rtslib raises its own root for everything, with sentences of its own
        return {"error": f"LIO refused: {error}"}


def main() -> int:
    """Requests from standard input, a line each; the status is 1 if the last one was refused."""
    refused = False
    for line in sys.stdin:
        try:
            request = json.loads(line)
        except ValueError:
            request = None
        result = answer(request)
        print(json.dumps(result), flush=True)
        refused = "error" in result
    return int(refused)


if __name__ == "__main__":
    sys.exit(main())

"""backing-store and direct-store of targets.conf: one LUN each, with what it is called and how it behaves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Optional

from ..errors import ConfigError
from .apache import Option, Place
from .plan import Step
from .tgt_identity import identity
from .volumes import file_uri, gluster_uri, short_name

STORES = ("backing-store", "direct-store")
LARGEST_LUN = 255
IDENTITY = {
    "scsi_id": "scsi_id", "scsi_sn": "serial", "vendor_id": "vendor", "product_id": "product",
    "product_rev": "revision",
}  # fmt: skip
FROM_BACKING = frozenset({
    "removable", "sense_format", "online", "path", "mode_page", "params", "la_lba", "optimal_xfer_gran",
    "optimal_xfer_len", "thin_provisioning", "rotation_rate",
})  # fmt: skip
"""What our disks take from their backing, or don't have."""
OF_LUN = frozenset({*IDENTITY, *FROM_BACKING, "bs-type", "bsopts", "bsoflags", "block-size", "lbppbe", "write-cache",
                    "readonly", "device-type"})  # fmt: skip
KNOWN = frozenset({*OF_LUN, "lun", "allow-in-use"})
BLOCK_SHAPES = {
    ("512", ""): "512e", ("512", "3"): "512e", ("512", "0"): "512", ("4096", ""): "4096", ("4096", "0"): "4096",
}  # fmt: skip
"""(block-size, lbppbe) -> ours. tgtd says of blocks of 512 bytes that 8 are a physical one, unless told otherwise."""


@dataclass
class Store:
    """One LUN as it is written: the path, and the options of its block (none if it is a line)."""

    kind: str
    path: str
    place: Place
    options: list[Option] = field(default_factory=list)

    def value(self, name: str, defaults: Iterable[Option] = ()) -> str:
        """Its own value of an option, or the target's; '' for none."""
        values = [option.value for option in (*defaults, *self.options) if option.name == name]
        return values[-1] if values else ""

    def wanted_lun(self, notes: list[str]) -> Optional[int]:
        """The number that it asks for."""
        text = self.value("lun")
        if not text:
            return None
        number = whole_number(text, LARGEST_LUN)
        if number is None:
            notes.append(f"{self.place}: skipped lun {text[:20]}: it is a number from 1 to {LARGEST_LUN}")
        return number

    def is_glfs(self, defaults: Iterable[Option]) -> bool:
        """Whether the path is one on a volume."""
        return self.value("bs-type", defaults) == "glfs"

    def check(self, defaults: list[Option]) -> None:
        """Raises ConfigError for what is no disk of ours."""
        kind, device = self.value("bs-type", defaults), self.value("device-type", defaults)
        if kind not in ("", "rdwr", "aio", "glfs"):
            raise ConfigError(f"the backing store type {kind[:40]!r} is not known here; known are rdwr, aio and glfs")
        if device not in ("", "disk", "0"):
            raise ConfigError(f"it is a {device[:40]}, and only disks are served here")
        self.block_size(defaults)

    def block_size(self, defaults: Iterable[Option]) -> str:
        """512, 512e or 4096. Raises ConfigError."""
        size, exponent = self.value("block-size", defaults) or "512", self.value("lbppbe", defaults)
        if size not in ("512", "4096"):
            raise ConfigError("its block size is neither 512 nor 4096")
        if (size, exponent) not in BLOCK_SHAPES:
            raise ConfigError(
                f"physical blocks of 2 to the power of {exponent[:10]} blocks of {size} are not known here"
            )
        return BLOCK_SHAPES[size, exponent]

    def uri(self, defaults: list[Option]) -> str:
        """The backing. Raises ConfigError."""
        if self.is_glfs(defaults):
            volume, host, path = short_name(self.path, ":")
            return gluster_uri(volume, [host], path, _gluster_options(self.value("bsopts", defaults)))
        return file_uri(self.path)


def _gluster_options(bsopts: str) -> dict[str, str]:
    """bsopts of glfs as options of a backing URI: logfile, and loglevel as debug. Raises ConfigError."""
    names, options = {"logfile": "logfile", "loglevel": "debug"}, {}
    for word in filter(None, bsopts.replace(";", ",").split(",")):
        key, _, value = word.strip().partition("=")
        if key not in names or not value:
            raise ConfigError(f"glfs has no bsopts {key[:40]!r}; known are logfile and loglevel")
        options[names[key]] = value
    return options


def whole_number(text: str, largest: int) -> Optional[int]:
    """The number from 1 to largest that a text is, or None."""
    if text.isascii() and text.isdigit() and len(text) <= 9 and 0 < int(text) <= largest:
        return int(text)
    return None


def lun_step(
    iqn: str, tid: int, lun: int, store: Store, defaults: list[Option], serials: set[str], notes: list[str]
) -> Step:
    """The operation that shows it. serials: those of the disks so far. Raises ConfigError."""
    uri = store.uri(defaults)
    given = {ours: store.value(name, defaults) for name, ours in IDENTITY.items()}
    shown = identity(tid, lun, given, serials)
    if store.kind == "direct-store":  # tgt-admin asks the device itself for what isn't written
        asked = [ours for name, ours in IDENTITY.items() if name != "scsi_id" and not given[ours]]
        for key in (*asked, *(("unit_serial",) if "serial" in asked else ())):
            del shown[key]
        if asked:
            notes.append(f"{store.place}: {store.path} was shown with the {', '.join(asked)} of the device behind it; "
                         "write them into the file to keep them")  # fmt: skip
    args: dict[str, Any] = {"target": iqn, "lun": lun, "uri": uri, **shown}
    words = [f"show {uri} as LUN {lun}", f"SCSI ID {shown['scsi_id']!r}"]
    words += [f"serial {shown['serial']}"] if "serial" in shown else []
    if store.value("write-cache", defaults) == "off" or "sync" in store.value("bsoflags", defaults).split(":"):
        args["write_cache"] = "off"
        words.append("write cache off")
    if store.value("readonly", defaults).lower() not in ("", "0", "no", "off"):
        args["read_only"] = True
        words.append("read-only")
    args["block_size"] = store.block_size(defaults)
    for option in (*store.options, *defaults):
        if option.name in FROM_BACKING:
            note = f"{option.place}: skipped {option.name}: it follows from the backing here"
            notes += [note] if note not in notes else []
        elif option.name not in KNOWN:
            notes.append(f"{option.place}: skipped {option.name}: it is not understood")
    return Step("tgt.add", ", ".join(words), args)

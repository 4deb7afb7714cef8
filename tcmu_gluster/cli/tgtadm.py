"""tcmu-gluster-tgtadm: tgtadm's command line for our daemon. It may be linked as `tgtadm`.

Exit codes are tgtadm's: 0, 22 (refused), 107 (no daemon), 1 (no such mode or operation). docs/cookbook.md says what
differs from tgt, and why.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional
from urllib.parse import quote

from .. import __version__
from ..config.addresses import parse_access_rule
from ..config.names import validate_iscsi_name
from ..config.settings import load_settings
from ..config.uri import parse_backing
from ..control.client import ControlClient, DaemonUnreachable
from ..control.streams import hold_standard_streams, nobody_reads
from ..control.terminal import printable
from ..errors import ConfigError, TcmuGlusterError
from . import tgt_show
from .tgt_options import EINVAL, ENOTCONN, TgtError, TgtOptions, parse

Facts = Mapping[str, Any]
Handler = Callable[["Tgtadm", TgtOptions], str]

HELP = """\
tcmu-gluster-tgtadm: tgtadm's command line for tcmu-gluster

--lld iscsi --mode target --op new|delete|bind|unbind|update|show --tid <id> [-T <name>] [-I ALL|<address>] [-Q <name>]
--lld iscsi --mode logicalunit --op new|delete|update --tid <id> --lun <lun> -b <path|volume@host:file>
            [--bstype rdwr|aio|glfs] [--bsopts <options>] [--bsoflags sync|direct] [--params <param>=<value>,...]
--lld iscsi --mode account --op new|delete|bind|unbind|show --user <name> [--password <pass>] [--tid <id>] [--outgoing]
--lld iscsi --mode conn|session --op show|delete --tid <id> [--sid <id>] [--cid <id>]
--lld iscsi --mode portal --op new|delete|show [--param portal=<address>[:<port>]]
--lld iscsi --mode system --op show
"""

BSTYPES = ("", "rdwr", "aio", "glfs")
STATES = {"ready": "target.enable", "online": "target.enable", "offline": "target.disable"}
UNIT_PARAMS = {
    "vendor_id": "vendor", "product_id": "product", "product_rev": "revision", "scsi_sn": "serial",
    "scsi_id": "scsi_id",
}  # fmt: skip
IGNORED_PARAMS = ("online", "sense_format", "removable", "thin_provisioning", "lbppbe", "la_lba", "optimal_xfer_gran",
                  "optimal_xfer_len", "rotation_rate", "path", "no_lbppbe")  # fmt: skip
WRITE_CACHE_OFF = "8:0:18:0x10"
"""How tgt-admin's mode_page parameter begins for write-cache off: caching page (8), 18 bytes, WCE (bit 2) not set."""


class Tgtadm:
    """One command against the daemon."""

    def __init__(self, client: ControlClient) -> None:
        self._client = client

    def ask(self, op: str, **args: Any) -> dict[str, Any]:
        """One operation; its warnings go to standard error."""
        result = self._client.call(op, args)
        for warning in result.get("warnings", ()):
            _say(str(warning))
        return result

    def target(self, options: TgtOptions) -> Facts:
        """What tgt.show says about --tid. Raises TgtError."""
        tid = options.need("tid")
        for target in self.ask("tgt.show")["targets"]:
            if target["tid"] == tid:
                found: Facts = target
                return found
        raise TgtError("can't find the target")


def _say(text: str) -> None:
    print(f"tgtadm: {printable(text)}", file=sys.stderr)


# -- targets ----------------------------------------------------------------------------------------------------------


def new_target(adm: Tgtadm, options: TgtOptions) -> str:
    """A target; nobody may log in yet."""
    tid, name = options.need("tid"), options.text("targetname")
    if not name:
        raise TgtError("creating new target requires a name, use --targetname")
    iqn = validate_iscsi_name(name)
    if any(iqn == target["target"] or tid == target["tid"] for target in adm.ask("tgt.show")["targets"]):
        raise TgtError("this target already exists")
    adm.ask("target.create", target=iqn, tid=tid)
    return ""


def delete_target(adm: Tgtadm, options: TgtOptions) -> str:
    """The target with the LUNs that tgtadm made; --force although somebody is logged in."""
    target = adm.target(options)
    if target["sessions"] and "force" not in options.given:
        raise TgtError("this target is still active")
    for lun in target["luns"]:
        adm.ask("tgt.remove", target=target["target"], lun=lun["lun"])
    adm.ask("target.delete", target=target["target"])
    return ""


def show_target(adm: Tgtadm, options: TgtOptions) -> str:
    """Without --tid all about every target; with it, its parameters."""
    if options.number("tid") is not None:
        return tgt_show.parameters(adm.target(options))
    return tgt_show.targets(adm.ask("tgt.show"))


def update_target(adm: Tgtadm, options: TgtOptions) -> str:
    """state; what is negotiated is a setting of the daemon, the same for all targets."""
    target, name, value = adm.target(options), options.text("name"), options.text("value")
    if name == "state" and value in STATES:
        adm.ask(STATES[value], target=target["target"])
        return ""
    known = {key.lower(): shown for key, shown in target["parameters"].items()}
    if name.lower() not in known:
        raise TgtError("invalid request")
    if str(known[name.lower()]) != value:
        _say(f"{name} stays {known[name.lower()]}: initiators are offered the same by all targets")
    return ""


def bind_target(adm: Tgtadm, options: TgtOptions) -> str:
    """-I: an address, a network or ALL; -Q: an initiator's name. tgt wants both where both are given (see _narrow)."""
    target = adm.target(options)
    iqn, rules = target["target"], target["rules"]
    names = [rule for rule in rules if _is_name(rule)]
    for rule in _rules(options):
        if rule in rules:
            raise TgtError("this access control rule already exists")
        if rule == "all" and names:
            _say(f"{iqn} admits {', '.join(names)} alone, as ALL together with names means; nothing has changed")
        elif _is_name(rule):
            others = [other for other in rules if not _is_name(other) and other != "all"]
            if others:
                raise TgtError(_both(iqn))
            adm.ask("acl.allow", target=iqn, rule=rule)
            if "all" in rules:
                adm.ask("acl.deny", target=iqn, rule="all")
        elif names:
            raise TgtError(_both(iqn))
        else:
            adm.ask("acl.allow", target=iqn, rule=rule)
    return ""


def _both(iqn: str) -> str:
    return (f"{iqn} would admit an address or a name, and tgt means both; use addresses (-I) or names (-Q), not both "
            "for one target")  # fmt: skip


def unbind_target(adm: Tgtadm, options: TgtOptions) -> str:
    """Take a rule back."""
    target = adm.target(options)
    for rule in _rules(options):
        if rule not in target["rules"]:
            raise TgtError("this access control rule does not exist")
        adm.ask("acl.deny", target=target["target"], rule=rule)
    return ""


def _rules(options: TgtOptions) -> list[str]:
    rules = []
    if options.text("initiator-address"):
        address = options.text("initiator-address")
        rules.append("all" if address == "ALL" else str(parse_access_rule(address)))
    if options.text("initiator-name"):
        rules.append(validate_iscsi_name(options.text("initiator-name")))
    if not rules:
        raise TgtError("target bind requires initiator-address or initiator-name option")
    return rules


def _is_name(rule: str) -> bool:
    return rule.startswith(("iqn.", "eui.", "naa."))


# -- logical units ----------------------------------------------------------------------------------------------------


def new_unit(adm: Tgtadm, options: TgtOptions) -> str:
    """A file, a block device or (glfs) a file on a volume as a LUN."""
    target, lun = adm.target(options), options.need("lun")
    if options.text("device-type") not in ("", "disk"):
        raise TgtError(f"a device of type {options.text('device-type')} can't be served, only disks")
    if lun == 0 or any(lun == one["lun"] for one in target["luns"]):
        raise TgtError("this logical unit number already exists")
    settings = _unit_settings(options)
    if "sync" in options.text("bsoflags").split(":"):
        settings["write_cache"] = "off"
    if options.number("blocksize") is not None:
        settings["block_size"] = str(options.number("blocksize"))
    adm.ask("tgt.add", target=target["target"], lun=lun, uri=backing_of(options), **settings)
    return ""


def backing_of(options: TgtOptions) -> str:
    """The URI of -b, by --bstype; --bsopts of glfs are logfile and loglevel. Raises TgtError, ConfigError."""
    store, kind = options.text("backing-store"), options.text("bstype")
    if kind not in BSTYPES:
        raise TgtError(f"there is no backing store type {kind!r} here; known are rdwr, aio and glfs")
    if not store:
        raise TgtError("a logical unit needs a backing store, use --backing-store")
    if kind == "glfs":
        uri = str(parse_backing(store))
        return str(parse_backing(uri + _gluster_options(options.text("bsopts"), uri)))
    if not store.startswith("/") and ("@" in store or ":" in store):
        return str(parse_backing(store))
    return str(parse_backing("file://" + quote(os.path.abspath(store))))


def _gluster_options(bsopts: str, store: str) -> str:
    names = {"logfile": "logfile", "loglevel": "debug"}
    words = [word.partition("=") for word in bsopts.replace(";", ",").split(",") if word]
    unknown = [key for key, _, _ in words if key not in names]
    if unknown:
        raise TgtError(f"glfs has no option {unknown[0]!r}; known are logfile and loglevel")
    query = "&".join(f"{names[key]}={quote(value)}" for key, _, value in words)
    return f"{'&' if '?' in store else '?'}{query}" if query else ""


def _unit_settings(options: TgtOptions) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in options.params().items():
        if name in UNIT_PARAMS:
            settings[UNIT_PARAMS[name]] = value.strip('"')
        elif name == "readonly":
            settings["read_only"] = value not in ("", "0")
        elif name == "mode_page":
            if not value.startswith(WRITE_CACHE_OFF):
                raise TgtError("of mode pages only the caching page (8) of a disk can be given")
            settings["write_cache"] = "off"
        elif name in IGNORED_PARAMS:
            _say(f"{name} follows from the backing here; it stays as it is")
        else:
            raise TgtError("invalid request")
    return settings


def delete_unit(adm: Tgtadm, options: TgtOptions) -> str:
    """The LUN goes, the file stays."""
    target, lun = _unit(adm, options)
    adm.ask("tgt.remove", target=target["target"], lun=lun)
    return ""


def update_unit(adm: Tgtadm, options: TgtOptions) -> str:
    """-P vendor_id, product_id, product_rev, scsi_id, scsi_sn, readonly, mode_page (write cache)."""
    target, lun = _unit(adm, options)
    settings = _unit_settings(options)
    if settings:
        if "read_only" in settings:
            settings["read_only"] = "yes" if settings["read_only"] else "no"
        adm.ask("tgt.update", target=target["target"], lun=lun, **settings)
    return ""


def _unit(adm: Tgtadm, options: TgtOptions) -> tuple[Facts, int]:
    target, lun = adm.target(options), options.need("lun")
    if all(lun != one["lun"] for one in target["luns"]):
        raise TgtError("can't find the logical unit")
    return target, lun


# -- accounts ---------------------------------------------------------------------------------------------------------


def new_account(adm: Tgtadm, options: TgtOptions) -> str:
    """A user with a password."""
    user, password = options.text("user"), options.text("password")
    if not user:
        raise TgtError("'user' option is necessary")
    if not password:
        raise TgtError("'password' option is necessary")
    if user in adm.ask("tgt.show")["accounts"]:
        raise TgtError("this account already exists")
    adm.ask("tgt.account", user=user, password=password)
    return ""


def delete_account(adm: Tgtadm, options: TgtOptions) -> str:
    """Forget a user; targets don't ask for it any more."""
    _check_account(adm, options)
    adm.ask("tgt.account", user=options.text("user"), forget=True)
    return ""


def bind_account(adm: Tgtadm, options: TgtOptions) -> str:
    """The target's initiators prove to be that user; --outgoing: the target does."""
    target = adm.target(options)
    _check_account(adm, options)
    adm.ask("tgt.bind", target=target["target"], user=options.text("user"), outgoing="outgoing" in options.given)
    return ""


def unbind_account(adm: Tgtadm, options: TgtOptions) -> str:
    """No more."""
    target, user, outgoing = adm.target(options), options.text("user"), "outgoing" in options.given
    if user not in target["outgoing" if outgoing else "users"]:
        raise TgtError("can't find the account")
    adm.ask("tgt.bind", target=target["target"], user=user, outgoing=outgoing, undo=True)
    return ""


def _check_account(adm: Tgtadm, options: TgtOptions) -> None:
    if not options.text("user"):
        raise TgtError("'user' option is necessary")
    if options.text("user") not in adm.ask("tgt.show")["accounts"]:
        raise TgtError("can't find the account")


# -- the rest ---------------------------------------------------------------------------------------------------------


def delete_connection(adm: Tgtadm, options: TgtOptions) -> str:
    """End a session (its only connection)."""
    target, number = adm.target(options), options.need("sid")
    session = next((one for one in target["sessions"] if one["id"] == number), None)
    if session is None:
        raise TgtError("can't find the session")
    if options.number("cid") not in (None, *session["connections"]):
        raise TgtError("can't find the connection")
    adm.ask("session.close", id=number)
    return ""


def _portal(options: TgtOptions) -> str:
    portal = options.params().get("portal", "")
    if not portal:
        raise TgtError("portal new requires portal=<address>[:<port>] in --params")
    return portal


def new_portal(adm: Tgtadm, options: TgtOptions) -> str:
    """Every target listens there."""
    adm.ask("tgt.portal", portal=_portal(options))
    return ""


def delete_portal(adm: Tgtadm, options: TgtOptions) -> str:
    """No target does."""
    if not adm.ask("tgt.portal", portal=_portal(options), undo=True)["changed"]:
        raise TgtError("invalid request")
    return ""


def _refuse_system(adm: Tgtadm, options: TgtOptions) -> str:
    raise TgtError("the daemon is started and stopped with systemctl (tcmu-gluster.service), not from here")


HANDLERS: Mapping[tuple[str, str], Handler] = {
    ("target", "new"): new_target,
    ("target", "delete"): delete_target,
    ("target", "show"): show_target,
    ("target", "update"): update_target,
    ("target", "bind"): bind_target,
    ("target", "unbind"): unbind_target,
    ("logicalunit", "new"): new_unit,
    ("logicalunit", "delete"): delete_unit,
    ("logicalunit", "update"): update_unit,
    ("account", "new"): new_account,
    ("account", "delete"): delete_account,
    ("account", "bind"): bind_account,
    ("account", "unbind"): unbind_account,
    ("account", "show"): lambda adm, options: tgt_show.accounts(adm.ask("tgt.show")),
    ("conn", "show"): lambda adm, options: tgt_show.connections(adm.target(options)),
    ("conn", "delete"): delete_connection,
    ("session", "show"): lambda adm, options: tgt_show.connections(adm.target(options)),
    ("session", "delete"): delete_connection,
    ("portal", "new"): new_portal,
    ("portal", "delete"): delete_portal,
    ("portal", "show"): lambda adm, options: tgt_show.portals(adm.ask("tgt.show")),
    ("system", "show"): lambda adm, options: tgt_show.system(),
    ("system", "delete"): _refuse_system,
    ("system", "update"): _refuse_system,
}


def run(options: TgtOptions) -> str:
    """What is printed. Raises TgtError and what the client raises."""
    if options.mode == "help":
        return HELP
    if options.mode == "version":
        return f"{__version__}\n"
    handler = HANDLERS.get((options.mode, options.op))
    if handler is None:
        raise TgtError(f"operation {options.op} not supported in {options.mode} mode")
    if options.text("lld") not in ("", "iscsi"):
        raise TgtError("can't find the driver")
    with ControlClient(load_settings().settings.control_socket) as client:
        return handler(Tgtadm(client), options)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """One command line; returns the exit code."""
    hold_standard_streams()
    try:
        text = run(parse(sys.argv[1:] if argv is None else argv))
        sys.stdout.write(text)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        nobody_reads()
        return 1
    except TgtError as error:
        print(printable(str(error)) if error.bare else f"tgtadm: {printable(str(error))}", file=sys.stderr)
        if error.hint:
            print("Try `tgtadm --help' for more information.", file=sys.stderr)
        return error.code
    except DaemonUnreachable as error:
        _say(f"failed to send request hdr to tgt daemon, Transport endpoint is not connected: {error}")
        return ENOTCONN
    except (TcmuGlusterError, ConfigError, OSError) as error:
        _say(str(error))
        return EINVAL


if __name__ == "__main__":
    sys.exit(main())

"""save, restore, clear: the engine's configuration as a whole, in LIO's own format."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote

from tcmu_gluster.config.cfgstring import SUBTYPE, to_cfgstring
from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.control.operations import UsageError
from tcmu_gluster.errors import ConfigError, OperationError
from tcmu_gluster.foreign import saveconfig

from ..configuration import OF_TARGETS, OURS, PLUGIN, Configuration, Object, switched_on
from ..portal_group import asked_apart, is_enabled
from ..sameness import say_the_same
from ..schema import ACCESS, TARGET, wrong_in
from ..state import as_text, read_object, state_id_of, write_whole
from .context import Context, Report, counted, now, unsaved


async def save(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Write the state file again, or a copy of it elsewhere."""
    root = context.configuration.root
    if args["file"] is None:
        try:
            context.state.save(root)
        except OSError as error:
            raise unsaved(error) from error
        return now(f"the configuration is saved in {context.state.path}")
    try:
        await context.world.in_thread(_write_copy, Path(args["file"]), as_text(root))
    except OSError as error:
        raise OperationError(f"{args['file']} can't be written: {error.strerror}") from error
    return now(f"the configuration is saved in {args['file']}")


def _write_copy(path: Path, text: str) -> None:
    """A device or a pipe of that name stays what it is: a rename would put a file in its place."""
    if path.exists() and not path.is_file():
        raise OperationError(f"{path} is no regular file, and a copy would take its place; name another")
    write_whole(path, text)


async def clear(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Every target, disk and password of the engine goes; files stay, and so does what LIO serves."""
    if not args["confirm"]:
        raise UsageError(
            "this removes every target and disk of the engine (files stay); add --confirm if that is meant"
        )
    wanted = context.configuration.copy()
    counts = len(list(wanted.targets())), len(list(wanted.disks()))
    wanted.clear()
    changed = not say_the_same(wanted, context.configuration)
    if changed:
        await context.change(wanted)
    return now(
        f"removed: {counted(counts[0], 'target')} and {counted(counts[1], 'disk')}, and all passwords; "
        "the engine is empty",
        changed,
    )


async def restore(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Make the configuration what a file says. Existing things stay unless --clear-existing."""
    if args["file"] is None:
        root = context.state.load()
    else:
        try:
            root = await context.world.in_thread(read_object, Path(args["file"]))
        except FileNotFoundError:
            raise OperationError(f"there is no {args['file']}") from None
    if args["source"] == "engine" and OURS not in root:
        raise OperationError(f"{args['file'] or context.state.path} was not written by the engine: it has no {OURS} "
                             "part; leave --from out to take what is there")  # fmt: skip
    found, skipped = convert(taken_over(root, context.configuration))
    wanted = found if args["clear_existing"] or args["file"] is None else merged(context.configuration, found)
    _keep_sizes(wanted, context.configuration)
    changed = not say_the_same(wanted, context.configuration)
    if changed:
        await context.change(wanted)
    counts = f"{counted(len(list(wanted.targets())), 'target')} and {counted(len(list(wanted.disks())), 'disk')}"
    waiting = [disk.name for disk in context.engine.disks.values() if disk.unit is None]
    notes = [f"skipped: {sentence}" for sentence in skipped]
    notes += [f"disk {name} waits: {context.engine.disks[name].reason}" for name in waiting]
    return now(f"the engine has {counts}", changed, warnings=notes)


def _keep_sizes(wanted: Configuration, present: Configuration) -> None:
    """A disk that is open has the size of its data, whatever is said of it."""
    sizes = {disk.get("config"): disk["size"] for disk in present.disks() if "size" in disk}
    for disk in wanted.disks():
        if disk.get("config") in sizes:
            disk["size"] = sizes[disk["config"]]


def taken_over(root: Object, present: Configuration) -> Object:
    """The file with tcmu-runner's disks that `import` has made here before (same name, same backing) as ours."""
    entries = root.get("storage_objects")
    if not isinstance(entries, list):
        return root
    return {**root, "storage_objects": [_ours_of(entry, present) or entry for entry in entries]}


def _ours_of(entry: Any, present: Configuration) -> Optional[Object]:
    config = entry.get("config") if isinstance(entry, dict) else None
    if not isinstance(config, str) or not config.startswith(saveconfig.SUBTYPE):
        return None
    disk = present.find_disk(str(entry.get("name")))
    try:
        wanted = (
            to_cfgstring(parse_backing(saveconfig.backing_of(config)), state_id_of(str(disk["wwn"]))) if disk else ""
        )
    except ConfigError:
        return None
    return disk if disk and disk["config"] == wanted else None


def merged(present: Configuration, found: Configuration) -> Configuration:
    """What is there, and what the file adds. Raises OperationError where both speak of the same name differently."""
    wanted = present.copy()
    files = {str(disk.get("config")): disk["name"] for disk in present.disks()}
    for disk in found.disks():
        same = wanted.find_disk(disk["name"])
        if same is None:
            twin = files.get(str(disk.get("config")))
            if twin is not None:
                raise OperationError(f"the file of disk {disk['name']} is disk {twin} already; two disks on one file "
                                     "would overwrite each other: restore with --clear-existing")  # fmt: skip
            wanted.root["storage_objects"].append(disk)
        elif same.get("config") != disk.get("config"):
            raise OperationError(
                f"there is another disk {disk['name']} already; restore with --clear-existing, or rename one"
            )
    ours = wanted.root[OURS]
    for target in found.targets():
        iqn = target["wwn"]
        if wanted.find_target(iqn) is not None:
            continue
        wanted.root["targets"].append(target)
        for key in OF_TARGETS:  # without its private LUNs a target would show them to everybody
            if iqn in found.of_targets(key):
                ours[key] = {**wanted.of_targets(key), iqn: found.of_targets(key)[iqn]}
    wanted.number_targets()  # of two with one number the newcomer gets another
    if found.of_targets("accounts"):
        ours["accounts"] = {**found.of_targets("accounts"), **wanted.of_targets("accounts")}
    asks = found.fabric()
    if asks is not None and switched_on(asks.get("discovery_enable_auth")):
        place = wanted.make_fabric()
        if not switched_on(place.get("discovery_enable_auth")):
            place.update(asks)
    if found.common_portals():
        ours["portals"] = list(dict.fromkeys([*wanted.common_portals(), *found.common_portals()]))
    return wanted


def convert(root: Object) -> tuple[Configuration, list[str]]:
    """A configuration that the engine can serve, from a file of LIO's or ours, and what it had to leave out."""
    configuration = Configuration(root).copy()
    wrong = wrong_in(configuration.root[OURS], ACCESS, OURS)
    if wrong:  # who may see what stands there: leaving it out would open doors
        raise OperationError(f"the saved configuration is not in our form: {wrong}")
    skipped: list[str] = []
    kept: dict[str, Object] = {}
    paths: set[str] = set()  # LIO has a name once for each plugin, so a name alone may mean another disk
    for entry in configuration.root["storage_objects"]:
        try:
            disk = convert_disk(entry)
            if disk["name"] in kept:
                raise ConfigError("another disk has this name already")
        except (ConfigError, KeyError, OverflowError, TypeError, ValueError) as error:
            name = entry.get("name") if isinstance(entry, dict) else entry
            skipped.append(f"storage object {name!r}: {error if isinstance(error, ConfigError) else 'it is malformed'}")
            continue
        kept[disk["name"]] = disk
        paths.add(f"/backstores/{entry['plugin']}/{entry['name']}")
    configuration.root["storage_objects"] = list(kept.values())
    targets = []
    for target in configuration.root["targets"]:
        if isinstance(target, dict) and target.get("fabric") == "iscsi" and isinstance(target.get("wwn"), str):
            groups = target.get("tpgs") or []
            wrong = wrong_in(groups, TARGET["tpgs"], "tpgs") or _odd_password(target)
            if not groups:
                wrong = "it has no portal group"
            if wrong:
                skipped.append(f"target {target['wwn']}: {wrong}")
                continue
            targets.append(target)
            skipped += _drop_luns(target, paths)
        else:
            what = f"{target.get('fabric')} {target.get('wwn')}" if isinstance(target, dict) else repr(target)
            skipped.append(f"target {what}: the engine speaks iSCSI only")
    configuration.root["targets"] = targets
    return configuration, skipped


def _odd_password(target: Object) -> Optional[str]:
    """LIO can ask one initiator for a password where it asks the others for none: that door would stand open here."""
    for group in target.get("tpgs") or ():
        odd = asked_apart(group)
        if odd is not None and not switched_on(group.get("attributes", {}).get("authentication")):
            return f"{odd} alone is asked for a password; on the engine all or none are asked"
    return None


def _drop_luns(target: Object, paths: set[str]) -> list[str]:
    """Take LUNs of disks away that were left out; sentences about them."""
    sentences = []
    groups = target.get("tpgs") or []
    if len(groups) > 1:  # gluster-block makes one for each host, and enables only this host's
        groups = [next((group for group in groups if is_enabled(group)), groups[0])]
        sentences.append(f"{target['wwn']}: the engine has one portal group a target; of several it takes the first "
                         "that is enabled")  # fmt: skip
        target["tpgs"] = groups
    for group in groups:
        for lun in list(group.get("luns", ())):
            path = str(lun.get("storage_object", ""))
            if path not in paths:
                group["luns"].remove(lun)
                sentences.append(f"{target['wwn']} LUN {lun.get('index')}: its disk was left out")
            else:
                lun["storage_object"] = f"/backstores/{PLUGIN}/{path.rsplit('/', 1)[-1]}"
    return sentences


def convert_disk(entry: Object) -> Object:
    """A storage object as the engine keeps it. Raises ConfigError with the reason why it can't."""
    plugin, name = entry["plugin"], entry["name"]
    if not isinstance(name, str):
        raise TypeError("its name is no text")
    attributes = entry.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise TypeError("its attributes are no object")
    if plugin == PLUGIN:
        if not str(entry["config"]).startswith(f"{SUBTYPE}/"):
            raise ConfigError(f"its handler is {str(entry['config']).partition('/')[0]}, not ours")
        return entry
    if plugin in ("fileio", "block"):
        uri = f"file://{quote(str(entry['dev']))}"
    elif plugin == "ramdisk":
        uri = f"memory:{name}?size={int(entry['size'])}"
    else:
        raise ConfigError(f"the engine can't serve {plugin}")
    if entry.get("readonly"):
        raise ConfigError(f"it is read-only there; first: tcmu-gluster disk create {name} {uri} --read-only")
    serial = str(entry.get("wwn") or "")
    config = to_cfgstring(parse_backing(uri), state_id_of(serial))
    block_bytes = int(attributes.get("block_size") or 512)
    return {"name": name, "plugin": PLUGIN, "config": config, "wwn": serial, "size": int(entry.get("size") or 0),
            "attributes": {}, "alua_tpgs": [],
            **({"control": f"hw_block_size={block_bytes}"} if block_bytes != 512 else {})}  # fmt: skip

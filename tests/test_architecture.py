"""The house's plan, read from the code: who imports whom, which rooms touch no outside, which module has its tests.

Imports are read from the syntax tree, so a lazy one inside a function counts like one on top of the file.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tcmu_gluster", "handler", "targetcli_ext")
MODULE_LINES = 450

# Room -> what of ours it may import. A room is a folder of tcmu_gluster, or a top-level package. errors and config are
# everybody's. "a.b" allows that module alone, "a" the whole room.
ARROWS: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "config": frozenset(),
    "wire": frozenset(),
    "control": frozenset(),
    "native": frozenset(),
    "testing": frozenset(),
    "foreign": frozenset(),
    "scsi": frozenset({"wire", "backends.base"}),
    "iscsi": frozenset({"wire", "scsi.command", "native"}),
    "tcmu": frozenset({"wire", "scsi.command", "native"}),
    "backends": frozenset({"native"}),
    "cli": frozenset({"control", "foreign"}),
    "targetcli_ext": frozenset({"control"}),
    "handler": frozenset({"*"}),
}
EVERYBODYS = ("errors", "config")

# Arrows beyond the table: (importing module, imported module): why.
MORE_ARROWS: dict[tuple[str, str], str] = {}

# Third-party packages and the only places that may know them.
GUESTS: dict[str, tuple[str, ...]] = {
    "pyroute2": ("tcmu.netlink",),
    "rtslib_fb": ("handler.lio_admin", "targetcli_ext"),
    "configshell_fb": ("targetcli_ext",),
    "configshell": ("targetcli_ext",),
    "targetcli": ("targetcli_ext",),
    "dbus_fast": ("handler",),
    "crc32c": ("iscsi.digest",),
    "cffi": ("native", "tcmu.uio"),
}

# Sans-IO: no sockets, threads, clocks, files, logs, environment, randomness.
PURE = ("wire", "scsi", "iscsi", "tcmu.ring", "foreign")
OUTSIDE = frozenset(
    {
        "asyncio",
        "concurrent",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "queue",
        "random",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "urllib",
    }
)

# Modules without a test file of their own name: why.
NO_TEST_FILE: dict[str, str] = {
    "handler.__main__": "one call of the command",
}


class Module(NamedTuple):
    name: str  # "scsi.sbc", "handler.service"; the package itself is its room's name
    path: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.name.split(".")[0]


def short_name(dotted: str) -> str:
    """tcmu_gluster.scsi.sbc -> scsi.sbc; other packages of ours keep theirs."""
    return dotted[len("tcmu_gluster.") :] if dotted.startswith("tcmu_gluster.") else dotted


def say(complaints: list[str]) -> None:
    """Fail with every complaint on its own line."""
    assert not complaints, "\n" + "\n".join(complaints)


def load() -> list[Module]:
    modules = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = list(path.relative_to(ROOT).with_suffix("").parts)
            if parts[-1] == "__init__":
                parts.pop()
            modules.append(Module(short_name(".".join(parts)), path, ast.parse(path.read_text(), str(path))))
    return modules


MODULES = load()
NAMES = frozenset(module.name for module in MODULES)


def imports(module: Module) -> Iterator[tuple[str, int]]:
    """Dotted names that the module imports anywhere, with their lines; names taken from a package count as modules."""
    is_package = module.path.name == "__init__.py"
    own = ["tcmu_gluster", *module.name.split(".")] if module.path.is_relative_to(ROOT / "tcmu_gluster") else []
    own = own or module.name.split(".")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = own[: len(own) - node.level + (1 if is_package else 0)]
                base = ".".join([*up, base] if base else up)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield (inner if short_name(inner) in NAMES else base), node.lineno


def is_ours(dotted: str) -> bool:
    return dotted.split(".")[0] in PACKAGES


def within(name: str, places: tuple[str, ...] | frozenset[str]) -> bool:
    return any(name == place or name.startswith(place + ".") for place in places)


def wrong_arrows(module: Module) -> Iterator[str]:
    allowed = ARROWS.get(module.room)
    if allowed is None:
        if module.name != "tcmu_gluster":
            yield f"{module.path.relative_to(ROOT)}: room {module.room!r} is not in the table"
        return
    for dotted, line in imports(module):
        if not is_ours(dotted) or dotted == "tcmu_gluster" or "*" in allowed:
            continue
        target = short_name(dotted)
        if target.split(".")[0] == module.room or (within(target, EVERYBODYS) and module.room not in EVERYBODYS):
            continue
        if target == "errors" or within(target, allowed) or (module.name, target) in MORE_ARROWS:
            continue
        yield f"{module.path.relative_to(ROOT)}:{line}: {module.room} may not import {target}"


def test_imports_follow_the_arrows() -> None:
    say([complaint for module in MODULES for complaint in wrong_arrows(module)])


def test_every_extra_arrow_is_still_used() -> None:
    used = {(module.name, short_name(dotted)) for module in MODULES for dotted, _ in imports(module)}
    assert set(MORE_ARROWS) - used == set()


def test_other_peoples_packages_stay_in_their_rooms() -> None:
    complaints = []
    for module in MODULES:
        for dotted, line in imports(module):
            places = GUESTS.get(dotted.split(".")[0])
            if places is not None and not within(module.name, places):
                complaints.append(f"{module.path.relative_to(ROOT)}:{line}: {dotted} belongs in {', '.join(places)}")
    say(complaints)


@pytest.mark.parametrize("room", PURE)
def test_sans_io_rooms_touch_nothing_outside(room: str) -> None:
    complaints = []
    for module in MODULES:
        if not within(module.name, (room,)):
            continue
        for dotted, line in imports(module):
            if dotted.split(".")[0] in OUTSIDE:
                complaints.append(f"{module.path.relative_to(ROOT)}:{line}: imports {dotted}")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("open", "print"):
                complaints.append(f"{module.path.relative_to(ROOT)}:{node.lineno}: calls {node.func.id}()")
    say(complaints)


# Also in scripts and tests, which run as root on other people's machines. A file and what it uses: why.
UNSAFE_BUT_NEEDED: dict[tuple[str, str], str] = {
    (
        "tests/targetcli_ext/test_lio.py",
        "super().__init__ with shell",
    ): "configshell's argument: a ConfigShell, no command",
    ("tests/iscsi/test_chap.py", "pickle"): "proves that a secret refuses to be pickled",
}
UNSAFE_MODULES = frozenset({"pickle", "marshal", "shelve"})
UNSAFE_CALLS = frozenset(
    {"eval", "exec", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "yaml.load"}
    | {"asyncio.create_subprocess_shell"}
)


def unsafe(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """What evaluates text, unpickles or starts a shell, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in UNSAFE_CALLS:
                yield called, node.lineno
            for word in node.keywords:
                if word.arg == "shell" and not (isinstance(word.value, ast.Constant) and word.value.value is False):
                    yield f"{called} with shell", node.lineno
            continue
        else:
            continue
        for name in names:
            if name.split(".")[0] in UNSAFE_MODULES:
                yield name.split(".")[0], node.lineno
            elif name in UNSAFE_CALLS:
                yield name, node.lineno


def every_python_file() -> Iterator[Path]:
    for folder in (*PACKAGES, "script", "tests", "vagrant"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix == ".py" or (path.is_file() and is_python_script(path)):
                yield path


def is_python_script(path: Path) -> bool:
    return not path.suffix and path.read_bytes()[:64].split(b"\n")[0].endswith(b"python3")


def test_nothing_is_evaluated_pickled_or_given_to_a_shell() -> None:
    complaints, needed = [], set()
    for path in every_python_file():
        relative = str(path.relative_to(ROOT))
        for what, line in unsafe(ast.parse(path.read_text(), relative)):
            if (relative, what) in UNSAFE_BUT_NEEDED:
                needed.add((relative, what))
            else:
                complaints.append(f"{relative}:{line}: {what}")
    say(complaints)
    assert set(UNSAFE_BUT_NEEDED) - needed == set(), "an exception that nobody needs"


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from marshal import loads",
        "from os import system",
        "os.popen(line)",
        "subprocess.run(line, shell=True)",
        "subprocess.run(line, shell=flag)",
        "yaml.load(text)",
        "eval(text)",
    ],
)
def test_each_unsafe_way_is_noticed(text: str) -> None:
    assert len({line for _, line in unsafe(ast.parse(text))}) == 1


def test_modules_can_be_read_in_one_sitting() -> None:
    long = {str(m.path.relative_to(ROOT)): len(m.path.read_text().splitlines()) for m in MODULES}
    assert {path: lines for path, lines in long.items() if lines > MODULE_LINES} == {}


def has_code(module: Module) -> bool:
    """More than a docstring, imports, and names given to others."""
    return any(
        isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for node in ast.walk(module.tree)
    )


def test_file_of(module: Module) -> Path:
    relative = Path(*module.name.split("."))
    return ROOT / "tests" / relative.parent / f"test_{relative.name}.py"


# pytest would take the helper above for a test.
test_file_of.__test__ = False


def test_every_module_has_its_tests() -> None:
    missing = [
        f"{module.path.relative_to(ROOT)} wants {test_file_of(module).relative_to(ROOT)}"
        for module in MODULES
        if module.path.name != "__init__.py"
        and has_code(module)
        and module.name not in NO_TEST_FILE
        and not test_file_of(module).exists()
    ]
    say(missing)


def test_exceptions_from_the_mirror_are_still_needed() -> None:
    by_name = {module.name: module for module in MODULES}
    assert [name for name in NO_TEST_FILE if name in by_name and test_file_of(by_name[name]).exists()] == []


# Whole-system and whole-house tests are not a module's.
ROOMS_WITH_MIRROR = frozenset(ARROWS) - {"errors"}


def test_every_test_file_is_a_modules() -> None:
    """tests/scsi/test_sbc.py, a second file of the same module (test_sbc_unmap.py), or a room's test_properties.py."""
    strays = []
    for room in sorted(ROOMS_WITH_MIRROR):
        names = {module.name.split(".")[-1] for module in MODULES if module.room == room} | {room, "properties"}
        for path in sorted((ROOT / "tests" / room).rglob("test_*.py")):
            subject = path.stem[len("test_") :]
            if not any(subject == name or subject.startswith(name + "_") for name in names):
                strays.append(str(path.relative_to(ROOT)))
    say(strays)


COMMAND = re.compile(r"(?:^|[\s`])((?:\./)?(?:script/[\w.-]*\w|\.ci/run|tests/[\w/]+\.py|docs/[\w.-]+\.md))")


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_files_named_in_the_documents_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    named = set(COMMAND.findall(text))
    assert named, "names no script at all"
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_every_verb_in_the_readme_is_one_of_the_commands() -> None:
    from tcmu_gluster.cli.main import build_parser

    text = (ROOT / "README.md").read_text()
    parser = build_parser()
    verbs = {
        name
        for action in parser._actions
        if isinstance(getattr(action, "choices", None), dict)
        for name in action.choices or ()
    }
    used = set(re.findall(r"^\s*(?:sudo )?(?:\.venv/bin/)?tcmu-gluster (\w[\w-]*)", text, re.MULTILINE))
    assert used, "the README shows no command"
    assert used - verbs == set()

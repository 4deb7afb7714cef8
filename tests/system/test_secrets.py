"""No secret is shown, whoever asks, however it goes wrong: a daemon that logs all it can, and everything it says.

Secrets are set for every place that has one, initiators prove themselves (or fail to) with every algorithm, every
operation that shows something is asked for, and what is wrong about a secret is complained about. Then everything that
was said or written is searched.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tcmu_gluster.control.operations import OPERATIONS, Argument, Kind, Shape
from tests.doubles.initiator import COUNTER_CHALLENGE, Initiator
from tests.system.export import ROOT
from tests.system.served import Served, until

IQN, HOST, OWN = "iqn.2026-01.example:disk", "iqn.2026-01.example:host", "iqn.2026-01.example:own"
SECRETS = {
    name: f"{name}>?~{name}-Secret"  # base64 of it has + and /, hexadecimal has letters
    for name in ("one-way", "mutual", "own", "own-mutual", "finder", "finder-back", "account", "shell", "restored")
}
USERS = {name: f"user-{name}" for name in SECRETS}
WRONG = "somebody-Elses-Secret"


pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]


def forms(secret: str) -> set[bytes]:
    """A secret as it might be written, in lower case."""
    data = secret.encode()
    spelled = {secret, data.hex(), " ".join(f"{byte:02x}" for byte in data), secret.replace("?", "%3f")}
    found = {json.dumps(text)[1:-1].lower().encode() for text in spelled} | {text.lower().encode() for text in spelled}
    for skipped in range(3):  # where in a longer base64 text it stands
        text = base64.b64encode(bytes(skipped) + data).rstrip(b"=").lower()
        found.add(text[skipped + 1 : -1] if skipped else text[:-1])
    return found


def complaints(place: str, said: bytes, secrets: Iterable[str] = (*SECRETS.values(), WRONG)) -> list[str]:
    """Which secrets stand there."""
    low = said.lower()
    return [f"{secret} in {place}" for secret in secrets if any(form in low for form in forms(secret))]


def test_a_secret_is_found_in_every_form_that_is_looked_for() -> None:
    secret = SECRETS["own"]
    for said in (
        secret.encode(), secret.upper().encode(), secret.encode().hex().encode(), repr(secret.encode()).encode(),
        json.dumps({"password": secret}).encode(), base64.b64encode(secret.encode()),
        base64.b64encode(b"u:" + secret.encode()), base64.b64encode(b"x" + secret.encode() + b"more"),
    ):  # fmt: skip
        assert complaints("it", b"before " + said + b" after"), said
    assert not complaints("it", b"user-own has a password")


class Story:
    """A daemon at its most talkative, and everything that commands said."""

    def __init__(self, folder: Path, daemon: Served) -> None:
        self.folder, self.daemon = folder, daemon
        self.said: dict[str, bytes] = {}

    def file(self, name: str, text: str | bytes, mode: int = 0o600) -> str:
        path = self.folder / "typed" / name
        path.parent.mkdir(exist_ok=True)
        path.touch(0o600)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return str(path)

    def secret(self, name: str) -> str:
        """A file with it."""
        return self.file(name, SECRETS[name] + "\n")

    def run(self, *words: str, module: str = "tcmu_gluster.cli.main", stdin: str = "") -> int:
        """One command: its exit status."""
        command = [sys.executable, "-m", module, *words]
        environ = {**self.daemon.environ, "TARGETCLI_GLUSTER_HOME": str(self.folder / "home")}
        done = subprocess.run(
            command, input=stdin.encode(), capture_output=True, env=environ, cwd=ROOT, timeout=60, check=False
        )
        self.said[" ".join(words) + f" #{len(self.said)}"] = done.stdout + done.stderr
        return done.returncode

    def do(self, *words: str) -> None:
        """With --json, then once more (already so) with --debug."""
        assert self.run(*words, "--json") == 0, self.said.popitem()
        self.run(*words, "--debug")

    def ask(self, line: bytes) -> None:
        """Bytes for the control socket."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(self.daemon.settings["control_socket"])
            client.sendall(line + b"\n")
            self.said[f"control socket #{len(self.said)}"] = client.recv(1 << 20)

    def log_in(self, user: str, password: str, **options: object) -> Initiator:
        """An initiator's whole login."""
        host, port = self.daemon.portal.rsplit(":", 1)
        initiator = Initiator(IQN, chap=(user, password), mutual=True, **options)
        with socket.create_connection((host, int(port)), 30) as sock:
            initiator.login()
            while not initiator.full_feature:
                sock.sendall(initiator.take())
                data = sock.recv(1 << 16)
                if not data:
                    break
                initiator.feed(data)
        return initiator


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "run").mkdir()
    with Served(folder / "run", log_level="debug", login_delay_seconds="0") as daemon:
        story = Story(folder, daemon)
        configure(story)
        yield story


def configure(story: Story) -> None:
    """A secret in every place that has one."""
    story.do("disk", "create", "vm1", "memory:vm1?size=16M")
    story.do("target", "create", IQN)
    for rule in (HOST, OWN):
        story.do("acl", "allow", IQN, rule)
    story.do("lun", "map", IQN, "vm1")
    for place, one, two in (
        ((IQN,), "one-way", "mutual"),
        ((IQN, "--initiator", OWN), "own", "own-mutual"),
        (("--discovery",), "finder", "finder-back"),
    ):
        story.do(
            "chap", "set", *place, "--user", USERS[one], "--password-file", story.secret(one),
            "--mutual-user", USERS[two], "--mutual-password-file", story.secret(two),
        )  # fmt: skip


@pytest.mark.parametrize("algorithm", ["5", "6", "7", "8"])
def test_logins_of_every_algorithm(story: Story, algorithm: str) -> None:
    """RFC 7143 12.1.3: MD5, SHA-1, SHA-256, SHA3-256; good ones with a proof of the target, and wrong ones."""
    options = {"algorithms": algorithm}
    for name, initiator, discovery in (("one-way", HOST, False), ("own", OWN, False), ("finder", HOST, True)):
        more = {**options, "name": initiator, "discovery": discovery}
        good = story.log_in(USERS[name], SECRETS[name], **more)
        assert good.full_feature and good.agreed["CHAP_R"] and good.agreed["CHAP_A"] == algorithm
        for user, password in ((USERS[name], WRONG), ("nobody", SECRETS[name])):
            assert story.log_in(user, password, **more).login_status == 0x0201
    assert len(COUNTER_CHALLENGE) == 32


def example(argument: Argument) -> str:
    """A value for a required argument of an operation that shows something."""
    values = {Kind.TARGET: IQN, Kind.DISK: "vm1", Kind.NUMBER: "1", Kind.INITIATOR: HOST}
    return argument.choices[0] if argument.choices else values.get(argument.kind, "server")


@pytest.mark.parametrize("name", [name for name, row in OPERATIONS.items() if row.shape is not Shape.NOW])
def test_whatever_shows_something_is_asked_for(story: Story, name: str) -> None:
    """As it is typed, with and without --json: a new operation is in this test by itself."""
    words = [*name.split("."), *(example(argument) for argument in OPERATIONS[name].arguments if argument.required)]
    for flags in ([], ["--json"], ["--json", "--debug"]):
        story.run(*words, *flags)
    assert any(story.said[key] for key in story.said if key.startswith(" ".join(words)))


def test_the_shell_the_older_command_and_what_needs_no_daemon(story: Story) -> None:
    shell = "targetcli_ext.shell"
    tpg = f"/iscsi/{IQN}/tpg1"
    lines = [
        "ls", "/iscsi info", f"{tpg} info", f"{tpg} get auth", f"{tpg} get", f"{tpg}/acls/{OWN} get auth",
        f"{tpg}/acls/{OWN} info", "/iscsi get discovery_auth", "/iscsi info", "status", "saveconfig", "help",
        f"{tpg} set auth password={SECRETS['shell']}", f"{tpg} get auth password", f"{tpg} set auth password=short",
        f"{tpg} set auth nothing={SECRETS['shell']}", f"{tpg} set auth password={SECRETS['one-way']}",
    ]  # fmt: skip
    for line in lines:
        story.run(module=shell, stdin=line + "\n")
    assert any(b"user-one-way" in said for said in story.said.values())
    for words in (
        "--lld iscsi --mode target --op show", "--lld iscsi --mode account --op show", "--mode system --op show",
        f"--lld iscsi --mode account --op new --user {USERS['account']} --password {SECRETS['account']}",
        f"--lld iscsi --mode account --op new --user {USERS['account']} --password {SECRETS['account']}",
        f"--lld iscsi --mode account --op new --user u2 --passwor {SECRETS['account']}",
        "--lld iscsi --mode account --op show",
    ):  # fmt: skip
        typed = words.split()
        story.run(*typed, module="tcmu_gluster.cli.tgtadm")
        story.said[f"tgtadm #{len(story.said)}"] = story.said.pop(next(reversed(story.said)))
    for words in (
        "settings",
        "settings --json",
        "initiator-config",
        f"initiator-config {IQN} --json",
        "completion bash",
    ):
        story.run(*words.split())


def test_what_is_taken_over_from_tgt_is_told_without_secrets(story: Story) -> None:
    users = f"  incominguser {USERS['restored']} {SECRETS['restored']}\n  outgoinguser back {SECRETS['account']}\n"
    file = story.file("tgt.conf", f"<target {IQN}-tgt>\n{users}</target>\n")
    for flags in (["--dry-run"], ["--dry-run", "--json"], ["--json", "--debug"], []):
        assert story.run("import", file, *flags) == 0, story.said.popitem()
    assert b"ask for the password of user-restored" in story.said[next(key for key in story.said if "--dry-run" in key)]


def test_complaints_about_secrets_name_the_place_alone(story: Story) -> None:
    one = SECRETS["one-way"]
    user = ("chap", "set", IQN, "--user", "u", "--password-file")
    bad = {
        "short": one[:5], "long": one * 30, "empty first line": f"\n{one}", "nul": f"{one}\0{one}",
        "not text": b"\xff" + one.encode(), "huge": one * 1000,
    }  # fmt: skip
    for name, text in bad.items():
        for flags in (["--json"], ["--debug"]):
            story.run(*user, story.file(name, text), *flags)
    story.run(*user, story.file("open", one, 0o644), "--debug")
    story.run(*user, "-", "--json", stdin=f"{one * 30}\n")
    mutual = ("--mutual-user", "m", "--mutual-password-file")
    assert story.run(*user, story.secret("one-way"), *mutual, story.file("same", one), "--debug") == 2
    story.run("export", "memory:x", "--size", "1M", "--chap", f"u:{story.file('open', one, 0o644)}", "--debug")
    story.run("export", "memory:x", "--size", "1M", "--chap", f"u:{story.file('short', 'x')}", "--json", "--debug")

    for secret in ([one], {"x": one}, int.from_bytes(b"123456789012", "big"), None, True, f"{one}\0"):
        for op in ("chap.set", "chap.edit", "tgt.account"):
            args = {"target": IQN, "user": "u", "password": secret, "mutual_password": secret, "mutual_user": "m"}
            story.ask(json.dumps({"id": 1, "op": op, "args": args}).encode())
    story.ask(json.dumps({"id": 1, "op": "chap.nothing", "args": {"password": one}}).encode())
    story.ask(json.dumps({"id": 1, "op": "chap.set", "args": {"password": one, "pass": one}}).encode())
    story.ask(json.dumps({"id": 1, "op": "chap.set", "args": one}).encode())
    story.ask(b'{"id": 1, "op": "chap.set", "args": {"password": "' + one.encode())
    story.ask(b'{"id": 1, "op": "chap.set", "args": {"password": "' + one.encode() * 5000 + b'"}}')

    saved = json.loads(story.daemon.state.read_text())
    for wrong in ([SECRETS["restored"]], {"x": SECRETS["restored"]}, 3.5, SECRETS["restored"] * 30, "short"):
        for key in ("chap_password", "chap_mutual_password"):
            other = json.loads(json.dumps(saved))
            other["targets"][0]["tpgs"][0][key] = wrong
            story.run("restore", story.file("saved.json", json.dumps(other)), "--json", "--debug")
    story.run("restore", story.file("saved.json", json.dumps(saved)[:-20]), "--debug")
    tgt = f"<target {IQN}>\n  incominguser u {SECRETS['restored']} more\n  nonsense {SECRETS['restored']}\n</target>\n"
    story.run("import", story.file("targets.conf", tgt), "--json")
    story.run("import", story.file("targets.conf", tgt.replace(" more", "")), "--debug")
    story.run("restore", story.file("saved.json", json.dumps(saved)), "--json")


def test_what_is_typed_in_the_shell_at_a_terminal_is_not_kept(story: Story) -> None:
    """configshell keeps a history of the lines that were typed; those with a password are left out of it."""
    leader, follower = pty.openpty()
    home = story.folder / "home"
    environ = {**story.daemon.environ, "TARGETCLI_GLUSTER_HOME": str(home), "TERM": "dumb"}
    shell = subprocess.Popen(
        [sys.executable, "-m", "targetcli_ext.shell"], stdin=follower, stdout=follower, stderr=follower, env=environ,
        cwd=ROOT, close_fds=True,
    )  # fmt: skip
    os.close(follower)
    try:
        for place in (f"/iscsi/{IQN}/tpg1", "/nowhere"):
            os.write(leader, f"{place} set auth password={SECRETS['shell']}\n".encode())
        os.write(leader, b"/iscsi ls\nexit\n")
        with contextlib.suppress(OSError):  # EIO: nobody is at the other end any more
            while os.read(leader, 65536):
                pass
        shell.wait(60)
    finally:
        shell.kill()
        shell.wait()
        os.close(leader)
    history = (home / "history.txt").read_text()
    assert "/iscsi ls" in history and "password" not in history


def test_nothing_of_all_that_shows_a_secret(story: Story, request: pytest.FixtureRequest) -> None:
    """The last test of this file: everything that was said or written meanwhile."""
    pid = story.daemon._pid()
    found = [line for place, said in story.said.items() for line in complaints(place, said)]
    found += complaints("the daemon's log", story.daemon.log().encode())
    found += complaints("its arguments", Path(f"/proc/{pid}/cmdline").read_bytes())
    found += complaints("its environment", Path(f"/proc/{pid}/environ").read_bytes())
    if request.config.option.keyword or any("::" in one for one in request.config.args):
        pytest.skip("a part of this file was asked for, and this looks at what all of it has said: run the whole file")
    assert len(story.said) >= 100
    assert "CHAP password is wrong" in story.daemon.log() and "CHAP user name is wrong" in story.daemon.log()
    holders = 0
    for file in (path for path in story.folder.rglob("*") if path.is_file()):
        if file.parent.name == "typed":
            continue  # what we wrote ourselves
        if file == story.daemon.state or file.parent == story.daemon.state.parent / "backup":
            assert file.stat().st_mode & 0o777 == 0o600, "they hold secrets"
            holders += bool(complaints("", file.read_bytes()))
        else:
            found += complaints(str(file.relative_to(story.folder)), file.read_bytes())
    assert holders > 1, "it finds them where they are: else this test looks for the wrong thing"
    assert not found, "\n".join(sorted(set(found)))
    copy = story.folder / "copy.json"
    assert story.run("save", str(copy)) == 0
    assert copy.stat().st_mode & 0o777 == 0o600, "a copy holds them, and is for its owner alone"


def test_an_export_shows_none_either(tmp_path: Path) -> None:
    options = []
    for flag, name in (("--chap", "one-way"), ("--mutual-chap", "mutual"), ("--discovery-chap", "finder")):
        file = tmp_path / name
        file.touch(0o600)
        file.write_text(SECRETS[name])
        options += [flag, f"{USERS[name]}:{file}"]
    command = [sys.executable, "-m", "tcmu_gluster.cli.main", "export", "memory:x", "--size", "1M", "--json", "--debug",
               "--portal", "127.0.0.1:0", "--allow", "all", *options]  # fmt: skip
    log = tmp_path / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, cwd=ROOT, env={**os.environ, "TCMU_GLUSTER_LOG_LEVEL": "debug"}
        )
        try:
            until(lambda: b'"iqn"' in log.read_bytes(), "it is ready")
        finally:
            process.terminate()
            process.wait(30)
    assert not complaints("an export", log.read_bytes() + " ".join(command).encode())

"""export: what it says when it is ready, how it ends, and what it refuses."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from handler.export import _flush, _iqn_for
from tcmu_gluster.backends.memory import MemoryBackend
from tcmu_gluster.config.names import validate_iscsi_name
from tcmu_gluster.config.uri import parse_backing
from tests.doubles.backends import FaultyBackend

LIMIT_SECONDS = 60


def export(*arguments: str) -> subprocess.Popen[str]:
    """A child that hears SIGHUP also where the tests were started by nohup, which it respects otherwise."""
    command = ["env", "--default-signal=HUP", sys.executable, "-m", "tcmu_gluster.cli.main", "export", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ready_is_one_json_object_and_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    uri = f"file://{tmp_path}/disk"
    process = export(uri, "--size", "8M", "--portal", "127.0.0.1:0", "--allow", "all", "--json")
    ready = json.loads(process.stdout.readline())
    process.send_signal(number)
    code, out, err = finish(process)
    assert code == 0 and out == ""
    assert ready["uri"] == uri and ready["lun"] == 0 and ready["size_bytes"] == 8 << 20
    assert ready["portal"].startswith("127.0.0.1:") and not ready["portal"].endswith(":0")
    assert (tmp_path / "disk").stat().st_size == 8 << 20
    assert "--allow all" in err  # the warning


@pytest.mark.skipif(os.geteuid() != 0, reason="whoever is not root proves it with every other test")
def test_listening_and_serving_need_no_root() -> None:
    """As nobody, without groups and capabilities. (The usual port, 3260, is above 1023 as well.)"""
    command = [sys.executable, "-m", "tcmu_gluster.cli.main", "export", "memory:rootless?size=1M", "--json"]
    nobody = {"user": 65534, "group": 65534, "extra_groups": [], "env": {"PATH": os.defpath, "HOME": "/nonexistent"}}
    try:
        subprocess.run(
            [sys.executable, "-c", "import tcmu_gluster.cli.main"], check=True, capture_output=True, **nobody
        )
    except (PermissionError, subprocess.CalledProcessError) as error:
        pytest.skip(f"nobody may not read this checkout, so it can't be run as nobody: {error}")
    process = subprocess.Popen(
        [*command, "--portal", "127.0.0.1:0", "--allow", "127.0.0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, **nobody,
    )  # fmt: skip
    line = process.stdout.readline()
    host, port = json.loads(line)["portal"].rsplit(":", 1)
    with socket.create_connection((host, int(port)), LIMIT_SECONDS):
        status = Path(f"/proc/{process.pid}/status").read_text()
    process.terminate()
    assert finish(process)[0] == 0
    assert "Uid:\t65534\t65534\t65534\t65534" in status and "CapEff:\t0000000000000000" in status


def test_the_text_tells_what_to_type_next() -> None:
    iqn = "iqn.2026-01.example:w"
    process = export("memory:words?size=1M", "--portal", "127.0.0.1:0", "--allow", "127.0.0.0/8", "--iqn", iqn)
    first, *rest = (process.stdout.readline() for _ in range(5))
    out = "".join(rest)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 0 and err == ""
    assert first.startswith("serving memory:words?size=1M (1M) as iqn.2026-01.example:w LUN 0 on 127.0.0.1:")
    assert "iscsiadm -m discovery -t sendtargets -p 127.0.0.1:" in out
    assert "iscsiadm -m node -T iqn.2026-01.example:w -p 127.0.0.1:" in out


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (("memory:x?size=1M",), 2, "--allow"),
        (("memory:x", "--allow", "all"), 1, "needs a size"),
        (("file:///no/such/folder/disk", "--allow", "all"), 1, "/no/such/folder"),
        (("memory:x?size=1M", "--allow", "all", "--portal", "192.0.2.1:0"), 1, "not an address of this machine"),
        (("memory:x?size=1M", "--allow", "all", "--iqn", "iqn.20013-10.com.redhat"), 2, "2013-10"),
        (("memory:x?size=1M", "--allow", "all", "--lun", "99999"), 2, "--lun"),
        (("file:///no/such/folder/disk", "--allow", "all", "--size", "1M"), 1, "folder does not exist"),
        (("memory:x", "--allow", "all", "--size", "0"), 2, "whole number of blocks of 512 bytes, at least one"),
        (("memory:x?size=1000", "--allow", "all"), 2, "whole number of blocks of 512 bytes, at least one"),
        (("memory:x?size=1M", "--allow", "all", "--size", "2M"), 2, "has 1M, and --size says 2M"),
        (
            ("memory:x", "--allow", "all", "--size", "6K", "--block-size", "4096"),
            2,
            "choose a multiple, such as 1M",
        ),
        (("memory:x?size=2K", "--allow", "all", "--block-size", "4096"), 2, "whole number of blocks of 4096 bytes"),
    ],
)
def test_what_can_not_be_done_is_one_sentence_and_an_exit_status(arguments, code, words):
    status, out, err = finish(export(*arguments))
    assert status == code and out == ""
    assert words in err and "Traceback" not in err
    assert err.count("\n") == 1


def test_a_size_that_the_disk_does_not_have_is_said(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    process = export(f"file://{tmp_path}/disk", "--size", "2M", "--portal", "127.0.0.1:0", "--allow", "127.0.0.1")
    first = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert code == 0 and "(1M)" in first
    assert "is there already and has 1M (1048576 bytes)" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--allow", "10.0.0.1/24"), "10.0.0.1/24 is read as the network 10.0.0.0/24"),
        (("--allow", "10.0.0.0/24", "--allow", "iqn.2001-04.com.example", "--allow", "all"),
         "keep nobody out: 10.0.0.0/24, iqn.2001-04.com.example"),
    ],
)  # fmt: skip
def test_rules_that_do_something_else_than_one_might_think_are_said(arguments, words):
    process = export("memory:rules?size=1M", "--portal", "127.0.0.1:0", *arguments)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert code == 0 and words in err


def test_bytes_behind_the_last_whole_block_are_said(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(700))
    process = export(f"file://{tmp_path}/disk", "--portal", "127.0.0.1:0", "--allow", "127.0.0.1")
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert code == 0 and "the last 188 can't be reached" in err and err.count("\n") == 1


def test_a_hangup_that_is_ignored_ends_nothing() -> None:
    line = f"trap '' HUP; exec {sys.executable} -m tcmu_gluster.cli.main export memory:x?size=1M --allow 127.0.0.1"
    process = subprocess.Popen(
        ["sh", "-c", f"{line} --portal 127.0.0.1:0 --json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert json.loads(process.stdout.readline())["ready"]
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert finish(process) == (0, "", "")


def test_a_signal_while_the_disk_is_being_opened_serves_nothing() -> None:
    script = (
        "import os, signal, handler.export as export\n"
        "real = export.open_backing\n"
        "def slow(*args, **more):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return real(*args, **more)\n"
        "export.open_backing = slow\n"
        "from tcmu_gluster.cli.main import main\n"
        "raise SystemExit(main(['export', 'memory:x?size=1M', '--allow', '127.0.0.1', '--portal', '127.0.0.1:0']))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=LIMIT_SECONDS)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "")


@pytest.mark.parametrize(
    "uri", ["gluster://server/vol/dir/Disk 3", "file:///srv/disk_1.img", "memory:a.b", f"file:///{'x' * 250}"]
)
def test_the_made_up_name_is_valid_and_the_same_each_time(uri):
    name = _iqn_for(parse_backing(uri))
    assert validate_iscsi_name(name) == name == _iqn_for(parse_backing(uri))


def test_names_that_differ_in_letters_beyond_ascii_differ() -> None:
    names = {_iqn_for(parse_backing(f"file:///srv/{name}")) for name in ("данные", "диск", "disk", "дi", "ди")}
    assert len(names) == 5 and all(validate_iscsi_name(name) == name for name in names)


@pytest.mark.parametrize("later", [False, True])
def test_the_exit_status_tells_when_the_last_flush_failed(later):
    backend = FaultyBackend(MemoryBackend("export-flush", 1 << 20))
    backend.fail("flush", errno.EIO, later=later)

    async def story() -> int:
        loop = asyncio.get_running_loop()
        loop.call_soon(backend.run)
        return await _flush(backend, loop)

    assert asyncio.run(story()) == 1
    backend.close()

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tcmu_gluster.config.addresses import Portal
from tcmu_gluster.config.settings import Settings, load_settings, settings_file
from tcmu_gluster.errors import ConfigError


def origin_of(loaded: object, name: str) -> str:
    return next(item.origin for item in loaded.origins if item.name == name)


def test_defaults_of_root_and_of_a_user(tmp_path: Path) -> None:
    none = tmp_path / "none.toml"
    root = load_settings(environ={}, file=none, user_id=0).settings
    assert root.state_file == Path("/etc/tcmu-gluster/saveconfig.json")
    assert root.control_socket == Path("/run/tcmu-gluster/control.sock")
    user = load_settings(environ={"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/7"}, file=none, user_id=7).settings
    assert user.state_file == Path("/home/u/.local/state/tcmu-gluster/saveconfig.json")
    assert user.control_socket == Path("/run/user/7/tcmu-gluster/control.sock")
    assert settings_file({}, 0) == Path("/etc/tcmu-gluster/tcmu-gluster.toml")
    assert settings_file({"XDG_CONFIG_HOME": "/c"}, 7) == Path("/c/tcmu-gluster/tcmu-gluster.toml")


def test_each_place_wins_over_the_ones_before_it(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(
        'log_level = "warning"\nretry_seconds = 3\nportals = ["127.0.0.1", "[::1]:3261"]\ndrain_seconds = 9\n'
    )
    environ = {"TCMU_GLUSTER_RETRY_SECONDS": "4", "TCMU_GLUSTER_DRAIN_SECONDS": "8"}
    loaded = load_settings({"drain_seconds": "7", "log_level": None}, environ, file, 0)
    settings = loaded.settings
    assert (settings.log_level, settings.retry_seconds, settings.drain_seconds) == ("warning", 4, 7)
    assert settings.portals == (Portal("127.0.0.1"), Portal("::1", 3261))
    assert origin_of(loaded, "log_level") == str(file)
    assert origin_of(loaded, "retry_seconds") == "TCMU_GLUSTER_RETRY_SECONDS"
    assert origin_of(loaded, "drain_seconds") == "--drain-seconds"
    assert origin_of(loaded, "configfs") == "default"


@pytest.mark.parametrize(
    "text",
    [
        "retry_seconds = 'x'",
        "retry_seconds = true",
        "unknown = 1",
        "not toml",
        "lio = 'maybe'",
        "log_level = 'loud'",
        "state_file = ''",
        "portals = ['host']",
        "retry_seconds = 0",
        "command_limit_seconds = 25",
        "gluster_ping_timeout_seconds = 42",
        "lio_cmd_time_out_seconds = 30",
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        load_settings({}, {}, file, 0)


def test_a_slip_is_told_what_was_meant(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("lease_second = 5")
    with pytest.raises(ConfigError, match="did you mean 'lease_seconds'"):
        load_settings({}, {}, file, 0)
    with pytest.raises(
        ConfigError, match=r"no setting TCMU_GLUSTER_LEASE_SECOND; did you mean TCMU_GLUSTER_LEASE_SECONDS"
    ):
        load_settings({}, {"TCMU_GLUSTER_LEASE_SECOND": "5"}, tmp_path / "none", 0)


def test_variables_that_are_no_settings_are_left_alone(tmp_path: Path) -> None:
    names = ("SETTINGS", "LIBGFAPI", "REQUIRE_SHIM", "MACHINES", "EMULATE", "BOX", "NAMESPACE")
    environ = {f"TCMU_GLUSTER_{name}": str(tmp_path / "none") for name in names}
    assert load_settings({}, environ, None, 0).settings == load_settings({}, {}, tmp_path / "none", 0).settings


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_bytes(b"\xff\xfe\0")
    with pytest.raises(ConfigError, match="not TOML"):
        load_settings({}, {}, file, 0)


def test_every_setting_has_help_and_an_origin(tmp_path: Path) -> None:
    loaded = load_settings({}, {}, tmp_path / "none", 0)
    assert all(item.help and item.origin == "default" for item in loaded.origins)


def test_the_bounds_in_the_documentation_are_the_defaults() -> None:
    """docs/security.md, the table with settings: | what | `name`, `name` | value, value |."""
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    section = text.split("\n## What a hostile peer can cost\n")[1].split("\nThey are set in")[0]
    documented: dict[str, int] = {}
    for row in section.splitlines()[3:]:
        _, names, values = row.strip("| ").split(" | ")
        settings = re.findall(r"`(\w+)`", names)
        numbers = [int(value.replace(",", "").removesuffix(" s")) for value in values.split(", ")]
        assert settings and len(settings) == len(numbers), row
        documented.update(zip(settings, numbers))
    assert len(documented) > 20
    assert documented == {name: getattr(Settings(), name) for name in documented}

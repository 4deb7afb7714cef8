from __future__ import annotations

import pytest

from tcmu_gluster.errors import ConfigError
from tcmu_gluster.foreign.volumes import file_uri, gluster_uri, short_name


def test_a_file_on_a_volume() -> None:
    assert gluster_uri("vol", ["host"], "disk3") == "gluster://host/vol/disk3"
    assert gluster_uri("vol", ["a", "2001:db8::1"], "block-store/x") == "gluster://a,[2001:db8::1]/vol/block-store/x"
    assert gluster_uri("vol", ["h"], "a", {"debug": "4", "logfile": "/var/log/a b"}) == (
        "gluster://h/vol/a?debug=4&logfile=/var/log/a%20b"
    )


@pytest.mark.parametrize("path", ["a%41b", "a?b=c", "a#b", "a b", "a+b", "a\udcffb"])
def test_what_others_dont_encode_stays_part_of_the_name(path: str) -> None:
    uri = gluster_uri("vol", ["host"], path)
    assert uri.startswith("gluster://host/vol/") and " " not in uri and "?" not in uri and "#" not in uri
    assert gluster_uri("vol", ["host"], "aAb") != uri


@pytest.mark.parametrize(
    ("volume", "hosts", "path"),
    [
        ("a/b", ["host"], "disk"),  # would be volume a, file b/disk
        ("a%2Fb", ["host"], "disk"),
        ("%61", ["host"], "disk"),  # would be volume a
        ("a?debug=1", ["host"], "disk"),
        ("", ["host"], "disk"),
        ("a", ["host/b"], "disk"),
        ("a", ["host,other"], "disk"),
        ("a", ["host:24008"], "disk"),
        ("a", [], "disk"),
        ("a", ["host"], "../b/disk"),
        ("a", ["host"], ""),
        ("a", ["host"], "folder/"),
    ],
)
def test_what_would_name_another_file_is_refused(volume: str, hosts: list[str], path: str) -> None:
    with pytest.raises(ConfigError):
        gluster_uri(volume, hosts, path)


def test_a_file_of_this_machine() -> None:
    assert file_uri("/srv/disk 3") == "file:///srv/disk%203"
    assert file_uri("/srv/50%25?x#y") == "file:///srv/50%2525%3Fx%23y"
    for path in ("srv/disk", "/srv/../disk", "/srv/"):
        with pytest.raises(ConfigError):
            file_uri(path)


def test_short_names_are_taken_apart_as_their_programs_do() -> None:
    assert short_name("vol@host:dir/disk3", ":") == ("vol", "host", "dir/disk3")
    assert short_name("vol@host/dir/disk:3", "/") == ("vol", "host", "dir/disk:3")
    assert short_name("vol@2001:db8::1/disk", "/") == ("vol", "2001:db8::1", "disk")
    for text in ("vol", "vol@host", "@host/x", "vol@/x", "vol@host/", "vol@host:x"):
        with pytest.raises(ConfigError, match="volume@host/file"):
            short_name(text, "/")

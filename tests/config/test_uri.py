from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.config.uri import Backing, parse_backing, size_to_make
from tcmu_gluster.errors import ConfigError

# The forms of QEMU's block-drivers documentation ("GlusterFS disk images").
QEMU = {
    "gluster://1.2.3.4/testvol/a.img": Backing("gluster", "tcp", (("1.2.3.4", None),), "testvol", "/a.img"),
    "gluster+tcp://1.2.3.4/testvol/a.img": Backing("gluster", "tcp", (("1.2.3.4", None),), "testvol", "/a.img"),
    "gluster+tcp://1.2.3.4:24007/testvol/dir/a.img": Backing(
        "gluster", "tcp", (("1.2.3.4", 24007),), "testvol", "/dir/a.img"
    ),
    "gluster+tcp://[1:2:3:4:5:6:7:8]/testvol/dir/a.img": Backing(
        "gluster", "tcp", (("1:2:3:4:5:6:7:8", None),), "testvol", "/dir/a.img"
    ),
    "gluster+tcp://[1:2:3:4:5:6:7:8]:24007/testvol/dir/a.img": Backing(
        "gluster", "tcp", (("1:2:3:4:5:6:7:8", 24007),), "testvol", "/dir/a.img"
    ),
    "gluster+tcp://server.domain.com:24007/testvol/dir/a.img": Backing(
        "gluster", "tcp", (("server.domain.com", 24007),), "testvol", "/dir/a.img"
    ),
    "gluster+unix:///testvol/dir/a.img?socket=/tmp/glusterd.socket": Backing(
        "gluster", "unix", (), "testvol", "/dir/a.img", "", {"socket": "/tmp/glusterd.socket"}
    ),
    "gluster+rdma://1.2.3.4:24007/testvol/a.img": Backing(
        "gluster", "rdma", (("1.2.3.4", 24007),), "testvol", "/a.img"
    ),
}


@pytest.mark.parametrize("text", QEMU)
def test_qemus_forms(text: str) -> None:
    assert parse_backing(text) == QEMU[text]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("gluster+tcp://h/v/a", "gluster://h/v/a"),
        ("GLUSTER://h/v/a", "gluster://h/v/a"),
        ("gluster:///v/a", "gluster://localhost/v/a"),
        ("gluster://h1,h2:24008,[::1]:24007/v/a//b/./c", "gluster://h1,h2:24008,[::1]:24007/v/a/b/c"),
        ("gluster://h/v/a%20b%3fc", "gluster://h/v/a%20b%3Fc"),
        ("gluster://h/v/a?debug=4&logfile=/tmp/l", "gluster://h/v/a?debug=4&logfile=/tmp/l"),
        ("gserver@127.0.0.1:disk3", "gluster://127.0.0.1/gserver/disk3"),
        ("gserver@127.0.0.1:/dir/disk3", "gluster://127.0.0.1/gserver/dir/disk3"),
        ("gserver@127.0.0.1/disk3", "gluster://127.0.0.1/gserver/disk3"),
        ("vol@h1+h2/dir/file", "gluster://h1,h2/vol/dir/file"),
        ("vol@[::1]:file", "gluster://[::1]/vol/file"),
        ("file:///mnt/disk3", "file:///mnt/disk3"),
        ("file:/mnt/disk3", "file:///mnt/disk3"),
        ("file://localhost/mnt/a b", "file:///mnt/a%20b"),
        ("memory:scratch?size=64M", "memory:scratch?size=64M"),
        ("memory:scratch", "memory:scratch"),
    ],
)
def test_canonical_form(text: str, canonical: str) -> None:
    assert str(parse_backing(text)) == canonical
    assert parse_backing(canonical) == parse_backing(text)


def test_several_servers_are_kept_in_order() -> None:
    assert parse_backing("gluster://a,b:1,[::1]/v/f").hosts == (("a", None), ("b", 1), ("::1", None))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "missing"),
        ("disk3", "not a backing URI"),
        ("/mnt/disk3", "file:///mnt/disk3"),
        ("http://x/y", "unknown scheme"),
        ("gluster+ftp://h/v/f", "unknown transport"),
        ("gluster:h/v/f", "'//'"),
        ("gluster://h", "does not name a file"),
        ("gluster://h/v", "does not name a file"),
        ("gluster://h/v/", "does not name a file"),
        ("gluster://h/v/dir/", "does not name a file"),
        ("gluster://h/v/../f", "'..'"),
        ("gluster://h/v/%2e%2e/f", "'..'"),
        ("gluster://h/v/a%00b", "control"),
        ("gluster://h:99999/v/f", "port"),
        ("gluster://h:/v/f", "port"),
        ("gluster://h,,g/v/f", "server"),
        ("gluster://::1/v/f", "brackets|server"),
        ("gluster://h/v v/f", "volume name"),
        ("gluster://h/v/f?size=1", "unknown option"),
        ("gluster://h/v/f?debug=x", "debug"),
        ("gluster://h/v/f?debug=1&debug=2", "one value"),
        ("gluster://h/v/f?socket=/x", "gluster\\+unix"),
        ("gluster+unix:///v/f", "socket"),
        ("gluster+unix://h/v/f?socket=/x", "names a server"),
        ("gluster://h/v/f#x", "%23"),
        ("vol@host", "does not name a file"),
        ("vol@:file", "does not name a file"),
        ("file://server/x", "this machine"),
        ("file:x", "whole path"),
        ("memory:", "name"),
        ("memory:a b", "name"),
        ("memory:x?size=many", "size"),
        ("gluster://h/v/a\nb", "control"),
    ],
)
def test_refusals_say_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        parse_backing(text)
    assert "\n" not in str(refused.value)


PATHS = st.lists(
    st.text(
        st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="/\x7f"), min_size=1, max_size=12
    ).filter(lambda part: part not in (".", "..")),
    min_size=1,
    max_size=4,
).map(lambda parts: "/" + "/".join(parts))
HOSTS = st.lists(
    st.tuples(
        st.sampled_from(["server", "10.0.0.1", "::1", "fe80::2", "a-b.example.com"]), st.none() | st.integers(0, 65535)
    ),
    min_size=1,
    max_size=3,
).map(tuple)
OPTIONS = st.dictionaries(st.sampled_from(["logfile"]), PATHS)
BACKINGS = st.one_of(
    st.builds(lambda h, p, o: Backing("gluster", "tcp", h, "vol-1_x", p, "", o), HOSTS, PATHS, OPTIONS),
    st.builds(
        lambda p, o: Backing("gluster", "unix", (), "vol", p, "", {"socket": "/run/g.socket", **o}), PATHS, OPTIONS
    ),
    st.builds(lambda p: Backing("file", path=p), PATHS),
    st.builds(
        lambda n: Backing("memory", name=n, options={"size": "64M"}),
        st.from_regex(r"[a-z0-9._-]{1,20}", fullmatch=True),
    ),
)


@given(BACKINGS)
def test_every_backing_survives_the_round_trip(backing: Backing) -> None:
    assert parse_backing(str(backing)) == backing


@given(st.text(max_size=60) | st.text(alphabet="gluster+:/@[]?&=%.,0v", max_size=40))
def test_any_text_is_a_backing_or_one_sentence(text: str) -> None:
    try:
        backing = parse_backing(text)
    except ConfigError as error:
        assert "\n" not in str(error)
        return
    assert parse_backing(str(backing)) == backing


def test_backings_can_be_keys() -> None:
    assert len({parse_backing("file:///a"), parse_backing("file:/a"), parse_backing("file:///b")}) == 2


def test_a_path_that_is_not_utf_8_survives_the_round_trip() -> None:
    """File names are bytes; %C1 is one that no text has."""
    backing = parse_backing("file:///dev/%C1x")
    assert backing.path == "/dev/\udcc1x" and str(backing) == "file:///dev/%C1x"
    assert parse_backing(str(backing)) == backing


def test_a_size_is_said_in_one_place() -> None:
    named, bare = parse_backing("memory:m?size=1M"), parse_backing("memory:m")
    assert (named.size_bytes, bare.size_bytes, parse_backing("file:///m").size_bytes) == (1 << 20, None, None)
    assert size_to_make(named, None) == size_to_make(named, 1 << 20) == size_to_make(bare, 1 << 20) == 1 << 20
    assert size_to_make(bare, None) is None
    with pytest.raises(ConfigError, match="has 1M, and --size says 2M"):
        size_to_make(named, 2 << 20)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.config.cfgstring import LONGEST_CONFIG, StateId, parse_cfgstring, to_cfgstring
from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.errors import ConfigError

ID = "0123456789abcdef"


@pytest.mark.parametrize(
    ("uri", "config"),
    [
        ("gluster://server/vol/vm1", "gluster/vol@server/vm1"),
        ("gluster://a,b/vol/dir/vm1", "gluster/vol@a+b/dir/vm1"),
        ("gluster://[::1]:24007/vol/vm1", "gluster/vol@[%3A%3A1]%3A24007/vm1"),
        ("gluster://s/vol/a%20b", "gluster/vol@s/a%20b"),
        ("gluster://s/vol/a:b,c%3Fd", "gluster/vol@s/a%3Ab%2Cc%3Fd"),
        ("file:///mnt/x", "gluster/file/mnt/x"),
        ("memory:m?size=64M", "gluster/memory/m?size=64M"),
        ("gluster+unix:///v/f?socket=/run/s", f"gluster/id/{ID}"),
        ("gluster://s/v/" + "x" * 250, f"gluster/id/{ID}"),
    ],
)
def test_config_strings(uri: str, config: str) -> None:
    backing = parse_backing(uri)
    assert to_cfgstring(backing, ID) == config
    assert parse_cfgstring(config) == (StateId(ID) if "/id/" in config else backing)


@given(
    st.text(
        st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="\x7f/"), min_size=1, max_size=40
    ).filter(lambda name: name not in (".", "..")),
    st.sampled_from(["gluster://h,[::1]:7/vol/", "file:///"]),
)
def test_every_path_fits_lios_rules_and_comes_back(name: str, prefix: str) -> None:
    from urllib.parse import quote

    backing = parse_backing(prefix + quote(name, safe=""))
    config = to_cfgstring(backing, ID)
    assert len(config.encode()) <= LONGEST_CONFIG
    assert not set(config) & set(":, \t\n") and config.isascii()
    assert parse_cfgstring(config) in (backing, StateId(ID))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gluster/",
        "vol",
        "vol/x",
        "vol@",
        "vol@/x",
        "vol@h",
        "vol@h/",
        "@h/x",
        "id/",
        "id/zz",
        "id/../../x",
        "vol@h/../x",
        "memory/",
        "file/",
        "vol@h%2Fx/y",
        "vol@h/a%0Ab",
        "vol@h/" + "x" * 300,
        "vol@h/x?nonsense=1",
    ],
)
def test_malformed_config_strings_get_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_cfgstring(text)
    assert "\n" not in str(refused.value)


@given(st.text(max_size=80) | st.text(alphabet="volidmery@/+%3A[]?=", max_size=40))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        parse_cfgstring(text)
    except ConfigError as error:
        assert "\n" not in str(error)


def test_a_backing_that_needs_an_id_and_has_none_is_refused() -> None:
    with pytest.raises(ConfigError):
        to_cfgstring(parse_backing("gluster+unix:///v/f?socket=/run/s"), "")


def test_a_path_that_is_not_utf_8_fits_into_a_config_string() -> None:
    backing = parse_backing("gluster://h/v/%C1x?logfile=/%C2")
    assert parse_cfgstring(to_cfgstring(backing, ID)) == backing

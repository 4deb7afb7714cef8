"""Config strings as LIO hands them over: whose, what, and every malformed kind with its errno."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.config.cfgstring import StateId
from tcmu_gluster.config.uri import Backing
from tcmu_gluster.tcmu.cfgstring import ConfigRefused, is_ours, parse_config


@pytest.mark.parametrize(
    ("config", "uri"),
    [
        ("gluster/vol@server/vm1", "gluster://server/vol/vm1"),
        ("gluster/vol@server/vm1\n", "gluster://server/vol/vm1"),  # echo's newline stays in the uio name
        ("gluster/vol@a+b/dir/vm1.img", "gluster://a,b/vol/dir/vm1.img"),
        ("gluster/vol@server:dir/vm1", "gluster://server/vol/dir/vm1"),  # tgt's form
        ("gluster/file/srv/disk", "file:///srv/disk"),
        ("gluster/memory/trial?size=64M", "memory:trial?size=64M"),
    ],
)
def test_a_config_names_a_backing(config: str, uri: str) -> None:
    parsed = parse_config(config)
    assert isinstance(parsed, Backing) and str(parsed) == uri


def test_what_does_not_fit_is_an_id_of_our_state() -> None:
    assert parse_config("gluster/id/0123abcd") == StateId("0123abcd")


@pytest.mark.parametrize("config", ["qcow//x", "gluster2/v@h/p", "glusterx", "Gluster/v@h/p", "", "\n", "/gluster/x"])
def test_other_subtypes_are_not_ours(config: str) -> None:
    assert not is_ours(config)
    with pytest.raises(ConfigRefused, match="is not one of gluster's") as caught:
        parse_config(config)
    assert caught.value.errno == errno.ENODEV


@pytest.mark.parametrize(
    ("config", "errno_"),
    [
        ("gluster", errno.EINVAL),
        ("gluster/", errno.EINVAL),
        ("gluster/vol", errno.EINVAL),
        ("gluster/vol@", errno.EINVAL),
        ("gluster/vol@host", errno.EINVAL),
        ("gluster/vol@host/", errno.EINVAL),
        ("gluster/@host/p", errno.EINVAL),
        ("gluster/vol@/p", errno.EINVAL),
        ("gluster/v@h/../etc/passwd", errno.EINVAL),
        ("gluster/v@h:/", errno.EINVAL),
        ("gluster/id/", errno.EINVAL),
        ("gluster/id/xyz", errno.EINVAL),
        ("gluster/id/0123abcd/more", errno.EINVAL),
        ("gluster/v@h/a b", errno.EINVAL),
        ("gluster/v@h/a,b", errno.EINVAL),
        ("gluster/v@h/a\tb", errno.EINVAL),
        ("gluster/v@h/a\nb", errno.EINVAL),
        ("gluster/v@h/%00", errno.EINVAL),
        ("gluster/v@h/" + "x" * 244, errno.ENAMETOOLONG),
        ("gluster/v@h/" + "ü" * 130, errno.ENAMETOOLONG),
    ],
)
def test_malformed_configs_are_refused_in_one_sentence(config: str, errno_: int) -> None:
    with pytest.raises(ConfigRefused) as caught:
        parse_config(config)
    assert caught.value.errno == errno_
    sentence = str(caught.value)
    assert sentence and "\n" not in sentence


@given(st.text(max_size=260))
def test_no_config_can_raise_anything_else(text: str) -> None:
    for config in (text, f"gluster/{text}", f"gluster/vol@{text}", f"gluster/id/{text}"):
        try:
            parse_config(config)
        except ConfigRefused as refused:
            assert refused.errno > 0 and str(refused)

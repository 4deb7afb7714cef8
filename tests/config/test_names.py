from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.config.names import LONGEST_ISCSI_NAME, default_iqn, validate_disk_name, validate_iscsi_name
from tcmu_gluster.errors import ConfigError


@pytest.mark.parametrize(
    "name",
    [
        # RFC 7143 4.2.7.4 to 4.2.7.6
        "iqn.2001-04.com.example:storage:diskarrays-sn-a8675309",
        "iqn.2001-04.com.example",
        "iqn.2001-04.com.example:storage.tape1.sys1.xyz",
        "eui.02004567a425678d",
        "naa.52004567ba64678d",
        "naa.62004567ba64678d0123456789abcdef",
        "iqn.1994-05.com.redhat:cf75c8d4274d",
        "iqn.2013-10.com.redhat",
    ],
)
def test_names_of_the_standard_are_taken_as_they_are(name: str) -> None:
    assert validate_iscsi_name(name) == name


def test_upper_case_becomes_lower_case() -> None:
    assert validate_iscsi_name("EUI.02004567A425678D") == "eui.02004567a425678d"
    assert validate_iscsi_name("iqn.2001-04.com.Example:Disk") == "iqn.2001-04.com.example:disk"


def test_the_old_pages_year_of_five_digits_is_refused_with_what_was_meant() -> None:
    with pytest.raises(ConfigError) as refused:
        validate_iscsi_name("iqn.20013-10.com.redhat")
    sentence = str(refused.value)
    assert "yyyy-mm" in sentence and "'20013-10'" in sentence
    assert "did you mean 'iqn.2013-10.com.redhat'?" in sentence


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("iqn.2013-1.com.redhat", "iqn.2013-01.com.redhat"),
        ("iqn.2013-13.com.redhat", None),
        ("iqn.13-10.com.redhat", None),
        ("iqn.com.redhat:x", None),
        ("iqn.", None),
        ("iqn.2013-10.", None),
        ("iqn.2013-10.com..x", None),
        ("iqn.2013-10.com_x", None),
        ("iqn.2013-10.com.x:a b", None),
        ("iqn.2013-10.com.x:a,b", None),
        ("iqn.2013-10.com.x:" + "a" * LONGEST_ISCSI_NAME, None),
        ("eui.123", None),
        ("naa.62004567ba64678d0", None),
        ("disk1", None),
        ("", None),
    ],
)
def test_malformed_names_are_refused(name: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as refused:
        validate_iscsi_name(name)
    assert ("did you mean" in str(refused.value)) == (hint is not None)
    assert hint is None or f"'{hint}'" in str(refused.value)


@given(st.text(max_size=40).map(lambda text: "iqn.2013-10.com.x:" + text) | st.text(max_size=60))
def test_any_text_is_refused_or_normal_and_stays_normal(text: str) -> None:
    try:
        name = validate_iscsi_name(text)
    except ConfigError as error:
        assert "\n" not in str(error)
        return
    assert validate_iscsi_name(name) == name
    assert " " not in name and len(name.encode()) <= LONGEST_ISCSI_NAME


def test_disk_names_fit_into_configfs() -> None:
    assert validate_disk_name("vm-1.root_2") == "vm-1.root_2"
    for bad in ("", ".x", "-x", "a/b", "a b", "a\n", "ü", "x" * 65, ".."):
        with pytest.raises(ConfigError):
            validate_disk_name(bad)


def test_a_default_name_is_a_valid_name() -> None:
    assert default_iqn("Host_A.example.com", "vm 1") == "iqn.2003-01.org.linux-iscsi.host-a:vm-1"
    assert default_iqn("", "x").startswith("iqn.2003-01.org.linux-iscsi.host:")

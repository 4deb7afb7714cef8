"""Names: iSCSI names (RFC 7143 4.2.7, RFC 3722), disk names, and what was probably meant when one is wrong."""

from __future__ import annotations

import re
import unicodedata

from ..errors import ConfigError

LONGEST_ISCSI_NAME = 223
"""Bytes of UTF-8 (RFC 7143 4.2.7.1)."""

_IQN = re.compile(r"iqn\.(?P<date>[^.]*)\.(?P<rest>.+)", re.DOTALL)
_DATE = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])", re.ASCII)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.ASCII)
_EUI = re.compile(r"eui\.[0-9a-f]{16}", re.ASCII)
_NAA = re.compile(r"naa\.([0-9a-f]{16}|[0-9a-f]{32})", re.ASCII)
_DISK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_ALIAS_YEARS = range(1995, 2100)


def validate_iscsi_name(text: str) -> str:
    """The name in its normal form (lower case, NFKC). Raises ConfigError: what is wrong, what was probably meant.

    Forms: iqn.yyyy-mm.reversed.domain[:anything], eui. and 16 hex digits, naa. and 16 or 32 hex digits.
    """
    name = unicodedata.normalize("NFKC", text.strip()).lower()
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST_ISCSI_NAME:
        raise ConfigError(f"an iSCSI name holds at most {LONGEST_ISCSI_NAME} bytes; this one starts with {name[:40]!r}")
    for prefix, form, sentence in (
        ("eui.", _EUI, "16 hexadecimal digits follow 'eui.'"),
        ("naa.", _NAA, "16 or 32 hexadecimal digits follow 'naa.'"),
    ):
        if name.startswith(prefix):
            if not form.fullmatch(name):
                raise ConfigError(f"{text!r} is not an iSCSI name: {sentence}")
            return name
    if not name.startswith("iqn."):
        raise ConfigError(f"{text!r} is not an iSCSI name: it starts with 'iqn.', 'eui.' or 'naa.', "
                          "as in iqn.2013-10.com.example:disk1")  # fmt: skip
    _check_iqn(name, text)
    return name


def _check_iqn(name: str, text: str) -> None:
    match = _IQN.fullmatch(name)
    if match is None:
        raise ConfigError(f"{text!r} is not an iSCSI name: the form is iqn.yyyy-mm.reversed.domain[:anything]")
    date, rest = match["date"], match["rest"]
    if not _DATE.fullmatch(date):
        meant = _nearest_date(date)
        hint = f"; did you mean 'iqn.{meant}.{rest}'?" if meant else ""
        raise ConfigError(f"{text!r} is not an iSCSI name: after 'iqn.' comes the year in four digits and the month in "
                          f"two (yyyy-mm, when you owned the domain), not {date!r}{hint}")  # fmt: skip
    domain, _, suffix = rest.partition(":")
    labels = domain.split(".")
    bad = next((label for label in labels if not _LABEL.fullmatch(label)), None)
    if bad is not None:
        raise ConfigError(f"{text!r} is not an iSCSI name: {bad!r} is no part of a domain name (written backwards, as "
                          "in com.example); what is yours to choose comes after a colon")  # fmt: skip
    for character in suffix:
        # RFC 3722: no blanks, no controls, no ASCII punctuation but '-', '.', ':'. People use '_' too; LIO takes it.
        if not (character in "-.:_" or character.isalnum()):
            raise ConfigError(f"{text!r} is not an iSCSI name: {character!r} may not be in it "
                              "(letters, digits, '-', '.', ':')")  # fmt: skip


def _nearest_date(date: str) -> str:
    """The date that was probably meant: one digit too many (a doubled one first), a month without its zero, or ''."""
    year, dash, month = date.partition("-")
    if not (year.isdigit() and dash and month.isdigit() and year.isascii() and month.isascii() and len(month) <= 2):
        return ""
    years = [year]
    if len(year) == 5:
        doubled = [i for i in range(1, 5) if year[i] == year[i - 1]]
        years = [year[:i] + year[i + 1 :] for i in [*doubled, *range(4, -1, -1)]]
    for candidate in years:
        if len(candidate) == 4 and int(candidate) in _ALIAS_YEARS and 1 <= int(month) <= 12:
            return f"{candidate}-{int(month):02}"
    return ""


def validate_disk_name(text: str) -> str:
    """A disk's name: 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first (it becomes a configfs directory)."""
    if not _DISK.fullmatch(text):
        raise ConfigError(f"{text!r} is not a disk name: use 1 to 64 letters, digits, '.', '_' and '-', starting with "
                          "a letter or digit")  # fmt: skip
    return text


def default_iqn(host: str, suffix: str) -> str:
    """A target name made as rtslib makes its own: for whoever doesn't want to choose one."""
    label = re.sub(r"[^a-z0-9-]+", "-", host.split(".")[0].lower()).strip("-") or "host"
    return validate_iscsi_name(f"iqn.2003-01.org.linux-iscsi.{label}:{re.sub(r'[^a-z0-9.:-]+', '-', suffix.lower())}")

from __future__ import annotations

import pytest

from tcmu_gluster.cli.tgt_options import EINVAL, UNKNOWN_WORD, TgtError, parse


@pytest.mark.parametrize(
    "line",
    [
        "--lld iscsi --op new --mode logicalunit --tid 1 --lun 2 -b /x --bstype glfs --bsopts logfile=/l",
        "-L iscsi -o new -m lu -t 1 -l 2 -b /x -E glfs -S logfile=/l",
        "--lld=iscsi --op=new --mode=logicalunit --tid=0x1 --lun=2 --backing-store=/x --bst glfs --bsop logfile=/l",
        "-m logicalunit -o new -Liscsi -t1 -l2 -b/x -Eglfs -Slogfile=/l",
    ],
)
def test_every_way_to_type_it_is_understood(line: str) -> None:
    options = parse(line.split())
    assert (options.mode, options.op, options.need("tid"), options.number("lun")) == ("logicalunit", "new", 1, 2)
    assert (options.text("backing-store"), options.text("bstype"), options.text("bsopts")) == (
        "/x", "glfs", "logfile=/l",
    )  # fmt: skip


def test_flags_take_no_value() -> None:
    options = parse(["-o", "delete", "-m", "target", "-t", "1", "-F"])
    assert "force" in options.given
    assert "outgoing" in parse(["-O", "-m", "account", "-o", "bind", "-t", "1", "-u", "joe"]).given


def test_params_are_pairs() -> None:
    options = parse(["-o", "update", "-m", "logicalunit", "-P", "vendor_id=A,product_id=B C,,readonly"])
    assert options.params() == {"vendor_id": "A", "product_id": "B C", "readonly": ""}


@pytest.mark.parametrize(
    ("line", "sentence", "code"),
    [
        ("", "specify the operation type", EINVAL),
        ("--op show", "specify the mode", EINVAL),
        ("--op foo --mode target", "unknown operation: foo", UNKNOWN_WORD),
        ("--op new --mode foo", "unknown mode: foo", UNKNOWN_WORD),
        ("--op new --mode target --tid 0", "'tid' cannot be 0", EINVAL),
        ("--op new --mode target --tid -1", "-t argument value '-1' invalid", EINVAL),
        ("--op new --mode lu --lun one", "-l argument value 'one' invalid", EINVAL),
        ("--wrong", "unrecognized option '--wrong'", EINVAL),
        ("--op show --mode target extra", "unrecognized option 'extra'", EINVAL),
        ("--op", "option '--op' requires an argument", EINVAL),
    ],
)
def test_what_is_wrong_is_said_as_tgtadm_says_it(line: str, sentence: str, code: int) -> None:
    with pytest.raises(TgtError) as caught:
        parse(line.split())
    assert (str(caught.value), caught.value.code) == (sentence, code)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(TgtError, match="'lun' option is necessary"):
        parse(["--op", "new", "--mode", "lu", "--tid", "1"]).need("lun")

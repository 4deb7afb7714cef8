"""The form as Perl's Config::General(3pm) describes it, with what tgt-admin switches on (include, folders, globs)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tcmu_gluster.errors import ConfigError
from tcmu_gluster.foreign.apache import Block, parse


def no_files(pattern: str) -> Iterator[tuple[str, str]]:
    yield from ()


def root(text: str) -> Block:
    return parse("t.conf", text, no_files)[0]


def options(block: Block) -> list[tuple[str, str]]:
    return [(option.name, option.value) for option in block.options]


def test_options_in_all_their_forms() -> None:
    text = """
    # a comment
    one value with blanks   # another
    two = "quoted "
    three="x"
    bare
    four a\\#b
    five = "say \\"hi\\""
    six begins \\
        and goes on
    /* not
    this */
    seven 7
    """
    assert options(root(text)) == [
        ("one", "value with blanks"), ("two", "quoted "), ("three", "x"), ("bare", ""), ("four", "a#b"),
        ("five", 'say "hi"'), ("six", "begins and goes on"), ("seven", "7"),
    ]  # fmt: skip


def test_blocks_nest_and_know_their_lines() -> None:
    found = root('<target iqn.x>\n  <backing-store "/srv/a b">\n    lun 3\n  </backing-store>\n  a b\n</target>\n')
    target = found.blocks[0]
    assert (target.name, target.argument, str(target.place)) == ("target", "iqn.x", "t.conf:1")
    store = target.blocks[0]
    assert (store.argument, options(store), str(store.options[0].place)) == ("/srv/a b", [("lun", "3")], "t.conf:3")
    assert options(target) == [("a", "b")]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<target x>\n", "t.conf:1: <target> is never closed"),
        ("</target>\n", "t.conf:1: </target> closes nothing"),
        ("<a>\n<b>\n</a>\n", "t.conf:3: </a> closes nothing"),
        ("<a\n", "t.conf:1: a block begins with"),
    ],
)
def test_a_broken_form_is_said_with_its_line(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        root(text)


def test_includes_are_read_in_their_place_by_name() -> None:
    files = {"conf.d/b.conf": "b 2\n", "conf.d/a.conf": "a 1\n<t>\n</t>\n"}

    def include(pattern: str) -> Iterator[tuple[str, str]]:
        assert pattern == "conf.d/*.conf"
        yield from files.items()

    found, notes = parse("t.conf", 'first 0\ninclude "conf.d/*.conf"\nlast 3\n', include)
    assert options(found) == [("first", "0"), ("a", "1"), ("b", "2"), ("last", "3")]
    assert str(found.options[1].place) == "conf.d/a.conf:1"
    assert notes == []


def test_a_block_ends_in_the_file_in_which_it_begins() -> None:
    with pytest.raises(ConfigError, match="never closed"):
        parse("t.conf", "include x\n</target>\n", lambda pattern: [("x", "<target a>\n")])


def test_files_that_include_each_other_end() -> None:
    with pytest.raises(ConfigError, match="16 deep"):
        parse("t.conf", "include t.conf\n", lambda pattern: [("t.conf", "include t.conf\n")])


def test_a_missing_file_is_a_note_and_an_empty_glob_is_not() -> None:
    assert parse("t.conf", "include x.conf\ninclude conf.d/*.conf\n", no_files)[1] == [
        "t.conf:1: there is no x.conf to include"
    ]


def test_a_text_of_several_lines_is_left_out_whole() -> None:
    found, notes = parse("t.conf", "a <<EOF\n<target x>\nEOF\nb 1\n", no_files)
    assert options(found) == [("b", "1")] and not found.blocks
    assert "several lines" in notes[0]


def test_a_value_is_not_shown() -> None:
    assert "secret" not in repr(root("incominguser joe secretsecret1\n"))

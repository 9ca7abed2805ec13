"""Java's properties text: the rules one by one, and a round trip over anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog.errors import UsageError
from fastlog.properties import parse_properties


def pairs(text):
    return [(key, value) for key, value, _ in parse_properties(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b", [("a", "b")]),
        ("a:b", [("a", "b")]),
        ("a b", [("a", "b")]),
        ("  a \t=\f b c  ", [("a", "b c  ")]),
        ("a==b", [("a", "=b")]),
        ("a = : b", [("a", ": b")]),
        ("a", [("a", "")]),
        ("=b", [("", "b")]),
        (r"a\ b\=c\:d=e", [("a b=c:d", "e")]),
        ("#a=b\n !c=d\n\n\t\ne=#f", [("e", "#f")]),
        ("a=b\\\n   c\\\n#d\ne=f", [("a", "bc#d"), ("e", "f")]),
        ("#a\\\nb=c", [("b", "c")]),
        ("a=b\\\\\nc=d", [("a", "b\\"), ("c", "d")]),
        ("a=b\\", [("a", "b")]),
        ("a=\\\n\nb=c", [("a", ""), ("b", "c")]),
        ("a=1\r\nb=2\rc=3", [("a", "1"), ("b", "2"), ("c", "3")]),
        (r"a=\t\n\r\f\q\u00e4\\", [("a", "\t\n\r\fqä\\")]),
        ("a=1\na=2", [("a", "1"), ("a", "2")]),
        ("pfad=/größe", [("pfad", "/größe")]),
        ("", []),
    ],
)
def test_rules(text, expected):
    assert pairs(text) == expected


def test_lines_are_counted_where_a_property_begins():
    assert [line for _, _, line in parse_properties("#\na=\\\nb\n\nc=d")] == [2, 5]


@pytest.mark.parametrize("text", [r"a=\u12", r"a=\u12g4", r"a=\u", "a=\\u١٢٣٤"])
def test_a_broken_unicode_escape_names_its_line(text):
    with pytest.raises(UsageError, match=r"^f:2: \\u wants four hexadecimal digits"):
        parse_properties("\n" + text, "f")


def escaped(text):
    return "".join(
        f"\\u{unit:04x}" if not 32 < unit < 127 else "\\" + chr(unit) if chr(unit) in "\\=:#!" else chr(unit)
        for unit in map(ord, text)
    )


TEXT = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]))


@given(st.lists(st.tuples(TEXT.filter(bool), TEXT)))
def test_what_is_written_with_escapes_is_read_back(expected):
    assert pairs("\n".join(f"{escaped(key)} = {escaped(value)}" for key, value in expected)) == expected


@given(st.text(alphabet="ab=: \t\\\n\r#!u0"))
def test_any_text_is_read_or_refused(text):
    try:
        parse_properties(text)
    except UsageError as error:
        assert str(error).count("\n") == 0

"""Times as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog.env.wall_time import format_wall_ms, parse_wall_ms


@pytest.mark.parametrize(
    ("text", "wall_ms"),
    [
        ("0", 0),
        ("1700000000000", 1_700_000_000_000),
        ("1970-01-02T00:00:00Z", 86_400_000),
        ("1970-01-01T01:00:00.001+01:00", 1),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_parsing(text, wall_ms):
    assert parse_wall_ms(text) == wall_ms


@pytest.mark.parametrize("text", ["", "yesterday", "-1", "1e3", "12:00"])
def test_what_is_no_time(text):
    with pytest.raises(ValueError, match=r".*"):
        parse_wall_ms(text)


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_round_trip(wall_ms):
    assert parse_wall_ms(format_wall_ms(wall_ms)) == wall_ms


def test_past_the_calendar():
    assert format_wall_ms(1 << 62) == str(1 << 62)

"""Wall time as people write it, to and from milliseconds since the Unix epoch.

Here, and not where it is used, since time zones are a matter of the machine: a time without one is local time.
"""

from __future__ import annotations

import datetime

_UTC = datetime.UTC
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=_UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)


def parse_wall_ms(text: str) -> int:
    """Return the milliseconds of an ISO 8601 date or time, or of a plain number of them; ValueError when it is neither."""
    if text.isascii() and text.isdigit():
        return int(text)
    moment = datetime.datetime.fromisoformat(text)
    return (moment.astimezone(_UTC) - _EPOCH) // _MILLISECOND


def format_wall_ms(wall_ms: int) -> str:
    """Return a time in UTC as ISO 8601 with milliseconds; the plain number where the calendar ends (years 1 to 9999)."""
    try:
        moment = _EPOCH + wall_ms * _MILLISECOND
    except OverflowError:
        return str(wall_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

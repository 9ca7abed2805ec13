from fastlog.storage.log_config import LogConfig
from fastlog.storage.retention import SegmentFacts, expired_count

NOW = 1_000_000


def count(segments, *, start=0, high_watermark=1 << 40, **options):
    total = sum(segment.size_bytes for segment in segments)
    return expired_count(segments, total, LogConfig(**options), NOW, start, high_watermark)


SEGMENTS = [SegmentFacts(10, 100, NOW - 500), SegmentFacts(20, 100, NOW - 400), SegmentFacts(30, 100, NOW - 100)]


def test_by_age():
    assert count(SEGMENTS, retention_ms=-1) == 0
    assert count(SEGMENTS, retention_ms=500) == 0
    assert count(SEGMENTS, retention_ms=499) == 1
    assert count(SEGMENTS, retention_ms=399) == 2
    assert count(SEGMENTS, retention_ms=0) == 3


def test_a_younger_segment_keeps_all_behind_it():
    assert count([SegmentFacts(10, 100, NOW + 10_000), *SEGMENTS], retention_ms=1) == 0


def test_by_size_what_remains_is_not_less_than_the_limit():
    assert count(SEGMENTS, retention_ms=-1, retention_bytes=-1) == 0
    assert count(SEGMENTS, retention_ms=-1, retention_bytes=201) == 0
    assert count(SEGMENTS, retention_ms=-1, retention_bytes=200) == 1
    assert count(SEGMENTS, retention_ms=-1, retention_bytes=100) == 2
    assert count(SEGMENTS, retention_ms=-1, retention_bytes=0) == 3


def test_below_the_log_start():
    assert count(SEGMENTS, start=19, retention_ms=-1) == 1
    assert count(SEGMENTS, start=20, retention_ms=-1) == 2


def test_never_above_the_high_watermark_and_never_an_empty_segment():
    assert count(SEGMENTS, high_watermark=19, retention_ms=0) == 1
    assert count([*SEGMENTS, SegmentFacts(30, 0, 0)], retention_ms=0) == 3


def test_segments_are_looked_at_no_further_than_needed():
    def facts():
        yield SEGMENTS[0]
        raise AssertionError("the first one stays, so the second does not matter")

    assert expired_count(facts(), 300, LogConfig(retention_ms=1000), NOW, 0, 100) == 0


def test_without_a_cleanup_policy_only_what_lies_below_the_log_start_goes():
    assert count(SEGMENTS, cleanup_policy="", retention_ms=0, retention_bytes=0) == 0
    assert count(SEGMENTS, cleanup_policy="", start=20, retention_ms=0) == 2

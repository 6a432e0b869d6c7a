"""A moment as people write it."""

import pytest

from shipper.moments import duration_ns, moment_ns, rfc3339

_NOW_NS = 1_763_974_800_123_456_789


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("2025-11-24T09:00:00.123456789Z", _NOW_NS),
        ("2025-11-24T10:00:00.123456789+01:00", _NOW_NS),
        ("2025-11-24T09:00:00.5", _NOW_NS - 123_456_789 + 500_000_000),
        ("2025-11-24", 1_763_942_400_000_000_000),
        ("90s", _NOW_NS - 90 * 10**9),
        ("250ms", _NOW_NS - 250 * 10**6),
        ("2d", _NOW_NS - 172_800 * 10**9),
        ("15m", _NOW_NS - 900 * 10**9),
        ("2025-11-24 09:00:00", _NOW_NS - 123_456_789),
    ],
)
def test_a_moment_is_read_to_the_nanosecond(text: str, expected_ns: int) -> None:
    assert moment_ns(text, _NOW_NS) == expected_ns
    assert moment_ns(rfc3339(expected_ns), _NOW_NS) == expected_ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1",
        "5 m",
        "-5m",
        "1969-12-31",
        "2300-01-01",
        "yesterday",
        "1w",
        "h",
        "2025-13-01",
        "99999999999s",
        "2025-11-24T25:00:00Z",
        "٣s",
    ],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        moment_ns(text, _NOW_NS)
    with pytest.raises(ValueError, match="is no duration"):
        duration_ns(text or "x")

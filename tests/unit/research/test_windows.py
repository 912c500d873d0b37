"""Windows of a walk forward."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backtester.errors import UsageError
from backtester.research.windows import cut_windows, duration_text, parse_duration

HOUR = 3_600_000
DAY = 24 * HOUR
START = 1_704_067_200_000  # 2024-01-01


def cut(days: float, train: int, test: int, *, anchored: bool = False, bar: int = HOUR) -> list[tuple[float, ...]]:
    """Return the edges of each window in days after the start."""
    windows = cut_windows((START, START + round(days * DAY)), train * DAY, test * DAY, bar, anchored=anchored)
    return [tuple((t - START) / DAY for t in (w.train_start, w.train_end, w.test_start, w.test_end)) for w in windows]


def test_rolling_windows_move_by_a_test() -> None:
    assert cut(100, 60, 20) == [(0, 60, 60, 80), (20, 80, 80, 100)]


def test_anchored_windows_grow() -> None:
    assert cut(100, 60, 20, anchored=True) == [(0, 60, 60, 80), (0, 80, 80, 100)]


def test_tests_follow_each_other_without_a_hole() -> None:
    windows = cut(365, 90, 7)
    assert [a[3] for a in windows[:-1]] == [b[2] for b in windows[1:]]
    assert all(w[1] == w[2] for w in windows)
    assert windows[-1][3] == 90 + 39 * 7  # the rest of 2 days fills no test


def test_the_least_span_has_one_window() -> None:
    assert cut(80, 60, 20) == [(0, 60, 60, 80)]


def test_a_test_may_be_longer_than_its_training() -> None:
    assert cut(50, 10, 30) == [(0, 10, 10, 40)]


def test_a_span_that_is_too_short_says_how_long_it_must_be() -> None:
    with pytest.raises(UsageError, match=r"is 79d long, and one window needs 80d \(60d to train, 20d to test\)"):
        cut(79, 60, 20)


def test_windows_are_whole_bars() -> None:
    with pytest.raises(UsageError, match=r"--test 12h is no whole number of bars of 1d"):
        cut_windows((START, START + 100 * DAY), 60 * DAY, 12 * HOUR, DAY, anchored=False)


@pytest.mark.parametrize(
    ("text", "length"), [("180d", 180 * DAY), ("4w", 28 * DAY), ("12h", 12 * HOUR), (" 30 D ", 30 * DAY)]
)
def test_durations(text: str, length: int) -> None:
    assert parse_duration(text, "--train") == length
    assert parse_duration(duration_text(length), "--train") == length


def test_a_timedelta_is_a_duration() -> None:
    assert parse_duration(timedelta(days=30, hours=12), "train") == 30 * DAY + 12 * HOUR
    for given in (timedelta(0), timedelta(days=-1), timedelta(microseconds=5), 30):
        with pytest.raises(UsageError, match="no length of time"):
            parse_duration(given, "train")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "words"),
    [("6M", "Months differ"), ("30", "no length"), ("0d", "is empty"), ("-3d", "no length"), ("1.5d", "no length")],
)
def test_other_durations_are_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_duration(text, "--train")

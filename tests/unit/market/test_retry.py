"""Pauses between requests: they grow, are spread, obey the server, and end."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest

from backtester.market.retry import RetryPolicy, is_transient, retry_after_seconds

NOW = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("seed", range(20))
def test_pauses_double_up_to_the_cap_and_keep_half_of_it(seed: int) -> None:
    policy = RetryPolicy(attempts=99, first_delay=0.5, cap=4.0)
    random = Random(seed)
    for attempt, whole in enumerate((0.5, 1.0, 2.0, 4.0, 4.0, 4.0), start=1):
        pause = policy.delay(attempt, None, random)
        assert pause is not None
        assert whole / 2 <= pause <= whole
    assert RetryPolicy(attempts=10**6).delay(5000, None, random) is not None  # no overflow


def test_clients_that_failed_together_come_back_apart() -> None:
    assert len({RetryPolicy().delay(3, 2.0, Random(seed)) for seed in range(50)}) == 50


def test_the_last_attempt_is_the_last() -> None:
    policy = RetryPolicy(attempts=3)
    assert [policy.delay(k, None, Random(1)) is None for k in (1, 2, 3, 4)] == [False, False, True, True]


def test_the_server_is_obeyed_and_given_up_when_it_asks_for_too_much() -> None:
    policy = RetryPolicy(first_delay=0.5, cap=4.0, patience=60.0)
    pause = policy.delay(1, 20.0, Random(1))
    assert pause is not None
    assert 20.0 < pause <= 20.5
    assert policy.delay(1, 61.0, Random(1)) is None
    assert policy.delay(1, 0.0, Random(1)) == policy.delay(1, None, Random(1))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("-3", 0.0),
        ("Wed, 01 Jan 2025 00:00:30 GMT", 30.0),
        ("Tue, 31 Dec 2024 23:00:00 GMT", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds


def test_which_answers_may_get_better() -> None:
    assert [s for s in (200, 206, 301, 400, 403, 404, 408, 418, 425, 429, 500, 502, 503, 504) if is_transient(s)] == [
        *(408, 418, 425, 429, 500, 502, 503, 504)
    ]

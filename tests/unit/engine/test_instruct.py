"""From columns of decisions to targets, ladders and settings, row by row."""

from __future__ import annotations

import time

import numpy as np
import polars as pl
import pytest

from backtester.domain.enums import SettingField
from backtester.engine.instruct import instructions_of
from backtester.engine.signal_clock import SignalClock
from backtester.errors import DataError

HOUR = 3_600_000
MINUTE = 60_000
A, B = "A/USDT:USDT", "B/USDT:USDT"
TWO = SignalClock((A, B), HOUR * np.arange(6), HOUR, HOUR)
ONE = SignalClock((A,), HOUR * np.arange(6), HOUR, HOUR)
NONE = None


def frame(*symbols: str, **columns: list) -> pl.DataFrame:
    """Rows of consecutive hours, a block a symbol."""
    bars = len(next(iter(columns.values()))) // len(symbols)
    return pl.DataFrame(
        {
            "open_time": pl.Series([HOUR * t for _ in symbols for t in range(bars)]).cast(pl.Datetime("ms", "UTC")),
            "symbol": [symbol for symbol in symbols for _ in range(bars)],
            **{name: pl.Series(values, strict=False) for name, values in columns.items()},
        }
    )


def targets(decided: pl.DataFrame, clock: SignalClock, *, only_changes: bool = False) -> list[tuple]:
    rows = instructions_of(decided, clock, only_changes=only_changes).targets
    return list(zip(rows.bar.tolist(), rows.symbol.tolist(), rows.side.tolist(), rows.target.tolist(), strict=True))


def settings(decided: pl.DataFrame, clock: SignalClock) -> list[tuple]:
    rows = instructions_of(decided, clock).settings
    names = [SettingField(code).name.lower() for code in rows.setting]
    return list(
        zip(rows.bar.tolist(), rows.symbol.tolist(), names, rows.rung.tolist(), rows.value.tolist(), strict=True)
    )


def test_targets_by_bar_then_symbol() -> None:
    decided = frame(A, B, target=[NONE, 1.0, 1.0, -0.5, 0.25, NONE, NONE, 0.0])
    assert targets(decided, TWO) == [(0, 1, 0, 0.25), (1, 0, 0, 1.0), (2, 0, 0, 1.0), (3, 0, 0, -0.5), (3, 1, 0, 0.0)]
    only = targets(decided, TWO, only_changes=True)
    assert only == [(0, 1, 0, 0.25), (1, 0, 0, 1.0), (3, 0, 0, -0.5), (3, 1, 0, 0.0)]


def test_a_target_known_again_after_nulls_is_no_change() -> None:
    decided = frame(A, B, target=[1.0, NONE, 1.0, 1.0, NONE, 2.0])
    assert targets(decided, TWO, only_changes=True) == [(0, 0, 0, 1.0), (0, 1, 0, 1.0), (2, 1, 0, 2.0)]


def test_legs_have_rows_of_their_own() -> None:
    decided = frame(A, target_long=[1.0, 1.0, 0.0], target_short=[-0.5, NONE, -0.25])
    found = targets(decided, ONE, only_changes=True)
    assert found == [(0, 0, -1, -0.5), (0, 0, 1, 1.0), (2, 0, -1, -0.25), (2, 0, 1, 0.0)]


def test_what_leaves_the_universe_is_closed_once() -> None:
    member = [False, True, True, False, False, True]
    decided = frame(A, target=[1.0] * 6, universe=member, limit_price=[9.0] * 6)
    assert targets(decided, ONE) == [(1, 0, 0, 1.0), (2, 0, 0, 1.0), (3, 0, 0, 0.0), (5, 0, 0, 1.0)]
    assert targets(decided, ONE, only_changes=True) == [(1, 0, 0, 1.0), (3, 0, 0, 0.0), (5, 0, 0, 1.0)]
    found = instructions_of(decided, ONE)
    assert found.targets.rungs.tolist() == [1, 1, 0, 1]  # the close is a market order
    assert found.targets.first_rung.tolist() == [0, 1, 2, 2]
    assert found.ladder.price.tolist() == [9.0, 9.0, 9.0]


def test_membership_does_not_pass_from_one_symbol_to_the_next() -> None:
    decided = frame(A, B, target=[1.0, 1.0, 1.0, 1.0], universe=[True, True, False, False])
    assert targets(decided, TWO) == [(0, 0, 0, 1.0), (1, 0, 0, 1.0)]


def test_rungs_belong_to_the_target_of_their_row() -> None:
    decided = frame(
        A,
        target=[1.0, NONE, 2.0, 3.0],
        limit_price=[100.0, 99.0, NONE, NONE],
        limit_share=[0.5, 0.5, NONE, NONE],
        limit_price_2=[90.0, 89.0, 80.0, NONE],
        limit_share_2=[0.25, 0.5, 1.0, NONE],
    )
    found = instructions_of(decided, ONE)
    assert found.targets.bar.tolist() == [0, 2, 3]
    assert found.targets.first_rung.tolist() == [0, 2, 3]
    assert found.targets.rungs.tolist() == [2, 1, 0]
    assert found.ladder.price.tolist() == [100.0, 90.0, 80.0]
    assert found.ladder.share.tolist() == [0.5, 0.25, 1.0]


def test_one_limit_takes_the_whole() -> None:
    found = instructions_of(frame(A, target=[1.0], limit_price=[100.0]), ONE)
    assert (found.ladder.price.tolist(), found.ladder.share.tolist()) == ([100.0], [1.0])


def test_a_limit_of_zero_is_a_market_order() -> None:
    found = instructions_of(frame(A, target=[1.0, 2.0], limit_price=[0.0, 5.0]), ONE)
    assert found.targets.rungs.tolist() == [0, 1]
    assert found.ladder.price.tolist() == [5.0]


def test_a_market_target_needs_no_rungs() -> None:
    found = instructions_of(frame(A, target=[1.0]), ONE)
    assert found.targets.rungs.size == found.targets.first_rung.size == found.ladder.price.size == 0


@pytest.mark.parametrize(
    ("shares", "problem"),
    [([0.75, 0.5], "shares add up to 1.25"), ([NONE, 0.5], "a limit_price has no limit_share")],
)
def test_shares_beyond_the_whole_are_refused(shares: list, problem: str) -> None:
    decided = frame(
        A,
        target=[NONE, 1.0],
        limit_price=[1.0, 1.0],
        limit_share=[NONE, shares[0]],
        limit_price_2=[1.0, 1.0],
        limit_share_2=[NONE, shares[1]],
    )
    with pytest.raises(DataError, match=rf"{A}: of the limit orders {problem} at 1970-01-01 01:00 UTC"):
        instructions_of(decided, ONE)


def test_settings_stand_where_they_change() -> None:
    decided = frame(
        A,
        B,
        target=[1.0, NONE, NONE, 1.0, NONE, NONE],
        stop_loss=[0.1, 0.1, 0.2, NONE, 0.2, NONE],
        take_profit=[NONE] * 6,
        take_profit_2=[NONE, NONE, NONE, 0.5, 0.5, 0.0],
        active=[True, False, False, NONE, True, True],
        hold_bars=[4.0, NONE, 4.0, NONE, NONE, NONE],
    )
    assert settings(decided, TWO) == [
        (0, 0, "stop_loss", 0, 0.1),
        (0, 0, "hold_bars", 0, 4.0),
        (0, 0, "active", 0, 1.0),
        (0, 1, "take_profit", 1, 0.5),
        (1, 0, "active", 0, 0.0),
        (1, 1, "stop_loss", 0, 0.2),
        (1, 1, "active", 0, 1.0),
        (2, 0, "stop_loss", 0, 0.2),
        (2, 1, "take_profit", 1, 0.0),
    ]


def test_decisions_stand_on_the_last_replayed_bar_of_their_signal_bar() -> None:
    minutes = np.arange(0, 3 * HOUR, 15 * MINUTE)
    clock = SignalClock((A,), minutes, 15 * MINUTE, HOUR)
    decided = frame(A, target=[1.0, 2.0, 3.0], stop_loss=[NONE, 0.1, NONE])
    found = instructions_of(decided, clock)
    assert found.targets.bar.tolist() == [3, 7, 11]
    assert found.settings.bar.tolist() == [7]
    assert found.signal_ms == HOUR
    assert instructions_of(decided, ONE).signal_ms is None


def test_a_signal_bar_of_which_nothing_is_replayed_is_named() -> None:
    minutes = np.delete(np.arange(0, 3 * HOUR, 15 * MINUTE), [4, 5, 6, 7])
    clock = SignalClock((A,), minutes, 15 * MINUTE, HOUR)
    assert clock.opens().tolist() == [0, 2 * HOUR]
    with pytest.raises(DataError, match=r"bar of 1h in which no bar of 15m is replayed, at 1970-01-01 01:00 UTC"):
        instructions_of(frame(A, target=[1.0, 1.0, 1.0]), clock)
    partly = SignalClock((A,), np.delete(np.arange(0, 3 * HOUR, 15 * MINUTE), [6, 7]), 15 * MINUTE, HOUR)
    assert instructions_of(frame(A, target=[1.0, 2.0, 3.0]), partly).targets.bar.tolist() == [3, 5, 9]


def test_signal_bars_are_whole_and_on_their_own_grid() -> None:
    clock = SignalClock((A,), 10 * MINUTE + np.arange(0, 3 * HOUR, 5 * MINUTE), 5 * MINUTE, HOUR)
    assert clock.opens().tolist() == [HOUR, 2 * HOUR]
    assert clock.last_bars(clock.opens(), np.zeros(2, np.int64)).tolist() == [21, 33]  # 01:55 and 02:55


def test_bars_before_a_symbol_joins_are_not_replayed() -> None:
    clock = SignalClock((A, B), HOUR * np.arange(4), HOUR, HOUR, 0, np.array([0, 2]), np.array([3, 2]))
    opened, symbol = HOUR * np.tile(np.arange(4), 2), np.repeat([0, 1], 4)
    assert clock.is_replayed(opened, symbol).tolist() == [True] * 4 + [False, False, True, False]


def test_a_large_run_takes_seconds() -> None:
    symbols, bars = 50, 105_120
    names = tuple(f"S{i:02}/USDT:USDT" for i in range(symbols))
    wanted = np.tile(np.sin(np.arange(bars)), symbols)
    decided = pl.DataFrame(
        {
            "open_time": pl.Series(np.tile(np.arange(bars) * HOUR, symbols)).cast(pl.Datetime("ms", "UTC")),
            "symbol": pl.Series(np.repeat(np.array(names), bars)),
            "target": wanted,
            "stop_loss": np.full(symbols * bars, 0.1),
        }
    )
    clock = SignalClock(names, HOUR * np.arange(bars), HOUR, HOUR)
    before = time.process_time()  # not by the clock on the wall: the machine may be shared
    found = instructions_of(decided, clock)
    assert time.process_time() - before < 15
    assert found.targets.bar.size == symbols * bars
    assert (np.diff(found.targets.bar * symbols + found.targets.symbol) == 1).all()
    assert found.targets.target[: symbols + 1].tolist() == [0.0] * symbols + [np.sin(1)]
    assert found.settings.bar.tolist() == [0] * symbols

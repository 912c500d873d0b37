"""Signals made elsewhere: which bar a row belongs to, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtester.engine.signal_clock import SignalClock
from backtester.engine.signal_file import LeftOut, read_signals
from backtester.errors import DataError, UnknownNameError, UsageError

HOUR = 3_600_000
START = 1_735_689_600_000  # 2025-01-01
CLOCK = SignalClock(("B/USDT:USDT", "A/USDT:USDT"), START + HOUR * np.arange(5), HOUR, HOUR)
ONE = SignalClock(("A/USDT:USDT",), CLOCK.open_time, HOUR, HOUR)


def at(hour: float) -> datetime:
    return datetime.fromtimestamp((START + hour * HOUR) / 1000, UTC)


def parquet(folder: Path, **columns: object) -> Path:
    path = folder / "signals.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return path


def csv(folder: Path, text: str) -> Path:
    path = folder / "signals.csv"
    path.write_text(text, encoding="utf-8")
    return path


def hours(frame: pl.DataFrame) -> list[int]:
    return ((frame["open_time"].dt.epoch("ms") - START) // HOUR).to_list()


def test_open_time_names_the_bar(tmp_path: Path) -> None:
    path = parquet(
        tmp_path,
        open_time=[at(3), at(0), at(1), at(9)],
        symbol=["A/USDT:USDT", "A/USDT:USDT", "B/USDT:USDT", "A/USDT:USDT"],
        target=[0.5, 1.0, -1.0, 1.0],
    )
    frame, outside = read_signals(path, CLOCK)
    assert frame["symbol"].to_list() == ["B/USDT:USDT", "A/USDT:USDT", "A/USDT:USDT"]
    assert hours(frame) == [1, 0, 3]
    assert frame["target"].to_list() == [-1.0, 1.0, 0.5]
    assert outside == LeftOut(1)
    (text,) = outside.texts(CLOCK)
    assert text.startswith("Not used: 1 row of the signals outside the run (2025-01-01 00:00 UTC")


def test_decision_time_takes_the_last_bar_closed_by_then(tmp_path: Path) -> None:
    path = parquet(
        tmp_path,
        decision_time=[at(0.5), at(1), at(1.5), at(2.2), at(5), at(6)],
        target=[9.0, 0.1, 0.2, 0.3, 0.4, 9.0],
    )
    frame, outside = read_signals(path, ONE)
    assert hours(frame) == [0, 1, 4]
    assert frame["target"].to_list() == [0.2, 0.3, 0.4]
    assert outside == LeftOut(2)


@pytest.mark.parametrize(
    "text",
    [
        "open_time,target\n2025-01-01T01:00:00Z,1\n2025-01-01 02:00,\n",
        "open_time,target\n2025-01-01T02:00:00+01:00,1\n",
        f"open_time,target\n{START + HOUR},1\n",
    ],
)
def test_times_of_a_csv(tmp_path: Path, text: str) -> None:
    frame, _ = read_signals(csv(tmp_path, text), ONE)
    assert hours(frame) == [1]


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"open_time": [at(0)], "target": [float("nan")]}, DataError, "NaN at 2025-01-01 00:00 UTC"),
        ({"open_time": [at(1)], "target": [float("inf")]}, DataError, "infinite at 2025-01-01 01:00 UTC"),
        ({"open_time": [at(0.25)], "target": [1.0]}, DataError, "no bar's open at 2025-01-01 00:15 UTC"),
        ({"open_time": [at(0), at(0)], "target": [1.0, 2.0]}, DataError, "two rows at 2025-01-01 00:00 UTC"),
        ({"open_time": [at(0)]}, DataError, "no column target"),
        ({"time": [at(0)], "target": [1.0]}, DataError, "no open_time and no decision_time"),
        ({"open_time": [at(0)], "decision_time": [at(0)], "target": [1.0]}, DataError, "both"),
        ({"open_time": [at(0)], "target": ["long"]}, DataError, "not numbers"),
        (
            {"open_time": [at(0)], "target": [1.0], "stop_loss": [9.0]},
            DataError,
            "stop_loss of A/USDT:USDT must be at least 0 and below 1",
        ),
        ({"open_time": [at(0)], "target": [1.0], "size": [9.0]}, UnknownNameError, "Unknown column 'size'"),
        ({"open_time": ["soon"], "target": [1.0]}, DataError, "row 1 has no time"),
        ({"open_time": [at(0)], "symbol": ["A/USDT"], "target": [1.0]}, UnknownNameError, "Did you mean 'A/USDT:USDT'"),
    ],
)
def test_what_is_refused(tmp_path: Path, columns: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_signals(parquet(tmp_path, **columns), ONE)


def test_a_gap_has_no_bar(tmp_path: Path) -> None:
    clock = SignalClock(ONE.symbols, np.delete(ONE.open_time, 2), HOUR, HOUR)
    with pytest.raises(DataError, match="there is no bar at 2025-01-01 02:00 UTC"):
        read_signals(parquet(tmp_path, open_time=[at(2)], target=[1.0]), clock)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no file"):
        read_signals(tmp_path / "none.parquet", ONE)
    with pytest.raises(UsageError, match=r"neither a \.parquet nor a \.csv"):
        read_signals(tmp_path / "signals.xlsx", ONE)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match="cannot be read"):
        read_signals(broken, ONE)
    with pytest.raises(DataError, match="several symbols"):
        read_signals(parquet(tmp_path, open_time=[at(0)], target=[1.0]), CLOCK)


def test_all_columns_of_decisions_are_read(tmp_path: Path) -> None:
    text = (
        "decision_time,symbol,target,stop_loss,limit_price,limit_share,limit_price_2,limit_share_2,active,universe\n"
        "2025-01-01T01:10,A/USDT:USDT,1,0.1,100,0.5,90,0.5,true,1\n"
        "2025-01-01T02:00,B/USDT:USDT,,0.2,,,,,false,\n"
        "2025-01-01T02:30,B/USDT:USDT,,,,,,,,\n"
    )
    frame, outside = read_signals(csv(tmp_path, text), CLOCK)
    assert outside == LeftOut()
    assert frame.columns == ["open_time", *text.splitlines()[0].split(",")[1:]]
    assert hours(frame) == [1, 0]
    assert frame["symbol"].to_list() == ["B/USDT:USDT", "A/USDT:USDT"]
    assert frame["stop_loss"].to_list() == [0.2, 0.1]
    assert frame["limit_price_2"].to_list() == [None, 90.0]
    assert frame["active"].to_list() == [False, True]
    assert frame["universe"].to_list() == [True, True]
    assert frame["target"].to_list() == [None, 1.0]


def test_signals_stand_on_signal_bars_over_finer_ones(tmp_path: Path) -> None:
    quarter = HOUR // 4
    clock = SignalClock(ONE.symbols, START + quarter * np.arange(12), quarter, HOUR)
    frame, _ = read_signals(parquet(tmp_path, decision_time=[at(1.5), at(2.25)], target=[1.0, 2.0]), clock)
    assert hours(frame) == [0, 1]
    frame, outside = read_signals(parquet(tmp_path, open_time=[at(1), at(3)], target=[1.0, 2.0]), clock)
    assert (hours(frame), outside) == ([1], LeftOut(1))
    with pytest.raises(DataError, match="no bar's open at 2025-01-01 00:15 UTC"):
        read_signals(parquet(tmp_path, open_time=[at(0.25)], target=[1.0]), clock)


def test_rows_before_the_first_and_after_the_last_bar_of_a_symbol_are_named(tmp_path: Path) -> None:
    clock = SignalClock(ONE.symbols, ONE.open_time, HOUR, HOUR, START, np.array([2]), np.array([3]))
    path = parquet(tmp_path, open_time=[at(hour) for hour in range(5)], target=[1.0, 2.0, 3.0, 4.0, 5.0])
    frame, outside = read_signals(path, clock)
    assert (hours(frame), outside) == ([2, 3], LeftOut(0, ((ONE.symbols[0], 2, 1),)))
    assert outside.texts(clock) == [
        "Not used: 2 rows of the signals for A/USDT:USDT before its first bar (2025-01-01 02:00 UTC).",
        "Not used: 1 row of the signals for A/USDT:USDT after its last bar (2025-01-01 03:00 UTC).",
    ]


def test_an_empty_membership_keeps_the_last_one(tmp_path: Path) -> None:
    text = "open_time,target,universe\n" + "".join(
        f"2025-01-01T0{hour}:00,{target},{member}\n"
        for hour, target, member in [(0, 1, ""), (1, 1, "false"), (2, 2, ""), (3, 2, "true"), (4, 3, "")]
    )
    frame, _ = read_signals(csv(tmp_path, text), ONE)
    assert frame["universe"].to_list() == [True, False, False, True, True]

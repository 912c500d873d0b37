"""Groups of round trips, by hand."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from backtester.analytics import trade_groups
from backtester.analytics.trades import SCHEMA
from tests.unit.report import sample

HOUR = sample.HOUR


def trips(*rows: tuple[str, str, float, float | None]) -> pl.DataFrame:
    """Trips of side, exit reason, net result and hours held (None: still open), a day apart."""
    records = []
    for number, (side, reason, net, hours) in enumerate(rows):
        entry = sample.START + number * 24 * HOUR
        end = None if hours is None else entry + round(hours * HOUR)
        records.append(
            {"symbol": "A", "position_side": side, "entry_time": entry, "exit_time": end, "exit_reason": reason}
            | {"net_pnl": net, "mae": -0.02, "mfe": 0.01 * (number + 1)}
        )
    times = {"entry_time": pl.Int64, "exit_time": pl.Int64}
    frame = pl.DataFrame(records, schema_overrides=times)
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in SCHEMA.items() if name not in frame.columns]
    return frame.with_columns(*missing).select(SCHEMA.names()).cast(SCHEMA)


def test_sides_and_exits_have_figures_of_their_own() -> None:
    told = trade_groups.by_exit(
        trips(
            ("long", "target", 10.0, 1),
            ("long", "target", -4.0, 3),
            ("short", "stop", -1.0, 2),
            ("long", "open", 9, None),
        )
    )
    assert told.select("position_side", "exit_reason", "trades").rows() == [("long", "target", 2), ("short", "stop", 1)]
    first, second = told.to_dicts()
    assert (first["hit_rate"], first["profit_factor"], first["average"], first["total"]) == (0.5, 2.5, 3.0, 6.0)
    assert first["held"] == timedelta(hours=2)
    assert first["mfe"] == pytest.approx(0.015)
    assert (second["hit_rate"], second["profit_factor"]) == (0.0, 0.0)


def test_without_a_loss_there_is_no_profit_factor() -> None:
    assert trade_groups.by_exit(trips(("long", "target", 10.0, 1)))["profit_factor"].to_list() == [None]


def test_holding_times_fall_into_stretches() -> None:
    labels, gains, losses = trade_groups.by_holding(
        trips(("long", "x", 1.0, 0.9), ("long", "x", -1.0, 1.0), ("long", "x", 2.0, 30.0), ("long", "x", 5.0, None))
    )
    assert labels == ("15\u201360 min", "1\u20134 h", "4\u201312 h", "12\u201324 h", "1\u20133 d")
    assert gains.tolist() == [1, 0, 0, 0, 1]
    assert losses.tolist() == [0, 1, 0, 0, 0]


def test_streaks_are_runs_by_time_of_exit() -> None:
    found = trade_groups.streaks(trips(*(("long", "x", net, 1) for net in (1.0, 2.0, -1.0, -2.0, 0.0, 3.0, -9.0))))
    assert (found.longest_gain, found.longest_loss, found.loss_amount) == (2, 3, -9.0)
    assert found.expected_loss == pytest.approx(np.log(7 * 3 / 7) / -np.log(4 / 7))


@pytest.mark.parametrize("rows", [(), (("long", "open", 1.0, None),)])
def test_nothing_closed_is_nothing_told(rows: tuple) -> None:
    frame = trips(*rows) if rows else pl.DataFrame(schema=SCHEMA)
    assert trade_groups.by_exit(frame).is_empty()
    assert trade_groups.by_holding(frame)[0] == ()
    assert trade_groups.streaks(frame) == trade_groups.Streaks(0, 0, 0.0, None)


def test_one_kind_alone_has_no_expected_streak() -> None:
    assert trade_groups.streaks(trips(("long", "x", 1.0, 1))).expected_loss is None

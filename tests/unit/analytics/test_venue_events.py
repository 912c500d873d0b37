"""What the venue took from a run, by hand-made records."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from backtester.analytics.venue_events import has_venue_events, struck_events, venue_details, with_venue_details
from backtester.engine.run_file import build_config
from tests.unit.report.sample import one_trade

TIME = pl.Datetime("ms", "UTC")
START = 1_704_067_200_000


def struck(*, inverse: bool = False):
    """Return a run whose short of 2 was closed at 95 with the mark at 90, and which then paid a shared loss."""
    base = one_trade()
    symbol = base.symbols[0]
    mark, price = 90.0, 95.0
    lost = 2 * (1 / mark - 1 / price) if inverse else 2 * (price - mark)
    first = base.fills.head(1)
    fill = first.with_columns(
        pl.Series("time", [START + 5_000]).cast(TIME),
        pl.lit("auto_deleverage").alias("reason"),
        pl.lit(symbol).alias("symbol"),
        pl.lit("short").alias("position_side"),
        pl.lit("buy").alias("side"),
        pl.lit(2.0).alias("quantity"),
        pl.lit(price).alias("price"),
        pl.lit(190.0).alias("notional"),
        pl.lit(20.0).alias("realized_pnl"),
        pl.lit(lost).alias("slippage_paid"),
    )
    entry = base.ledger.head(1).with_columns(
        pl.Series("time", [START + 9_000]).cast(TIME),
        pl.lit("socialized_loss").alias("kind"),
        pl.lit(None, pl.String).alias("symbol"),
        pl.lit(-7.5).alias("amount"),
    )
    tree = base.config.model_dump(exclude_none=True)
    tree["venue_events"] = {"clawback": [{"time": "2024-01-01", "rate": 0.1}]}
    if inverse:
        tree["instruments"] = {**tree.get("instruments", {}), symbol: {"kind": "inverse"}}
    clearing = pl.DataFrame(
        {
            "open_time": pl.Series([START, START + 4_000, START + 5_000]).cast(TIME),
            "symbol": [symbol] * 3,
            "light": [3, 1, 5],
            "fund_worth": [100.0, 50.0, -10.0],
        }
    )
    unstruck = pl.DataFrame({"open_time": base.equity["open_time"], "equity": base.equity["equity"] + 40.0})
    return replace(
        base,
        config=build_config(tree),
        fills=pl.concat([base.fills, fill]),
        ledger=pl.concat([base.ledger, entry]),
        clearing=clearing,
        unstruck=unstruck,
        manifest={"clearing": {"rounds": 3}},
    )


@pytest.mark.parametrize("inverse", [False, True])
def test_events_carry_mark_loss_and_light(inverse: bool) -> None:
    run = struck(inverse=inverse)
    deleveraged, shared = struck_events(run).to_dicts()
    assert (deleveraged["kind"], deleveraged["position_side"], deleveraged["quantity"]) == (
        "auto_deleverage",
        "short",
        2.0,
    )
    assert deleveraged["mark_price"] == pytest.approx(90.0)
    assert deleveraged["profit_lost"] == pytest.approx(2 * (1 / 90 - 1 / 95) if inverse else 10.0)
    assert deleveraged["light"] == 5, "that of its own moment"
    assert (shared["kind"], shared["symbol"], shared["profit_lost"]) == ("socialized_loss", None, 7.5)


def test_details_add_up() -> None:
    told = venue_details(struck())
    assert told["deleveragings"] == 1
    assert told["deleveraged_notional"] == 190.0
    assert told["lost_to_price"] == 10.0
    assert told["clawed_back"] == 7.5
    assert told["total_lost"] == 17.5
    assert told["final_equity_without"] - told["final_equity"] == pytest.approx(40.0)  # type: ignore[operator]
    assert told["first_in_queue"] == pytest.approx(1 / 3)
    assert told["fund_low"] == -10.0
    assert told["rounds"] == 3


def test_a_run_without_events_has_nothing_to_tell() -> None:
    run = one_trade()
    assert not has_venue_events(run)
    assert venue_details(run) == {}
    assert with_venue_details(run) is run
    assert struck_events(run).is_empty()

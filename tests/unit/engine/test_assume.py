"""One run under other assumptions, on a handful of bars worked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import backtester
from backtester import MarginTier, Strategy
from backtester.analytics.assumptions import METRICS
from backtester.domain.enums import TierForm
from backtester.domain.margin_tiers import TierTable
from backtester.engine.assembly import Inputs
from backtester.engine.assume import assumptions
from backtester.engine.instructions import OwnFills, Transfers
from backtester.engine.run import execute_kept
from backtester.engine.run_file import build_config, merge
from backtester.errors import UsageError
from backtester.market.schema import TIME
from backtester.market.store import DatasetKey, Store

SYMBOL = "ASSET/USDT:USDT"
HOUR = 3_600_000
START = 1_704_067_200_000
TIERS = (
    MarginTier(notional_cap=1500.0, maintenance_margin_rate=0.005, max_leverage=50.0),
    MarginTier(notional_floor=1500.0, maintenance_margin_rate=0.02, max_leverage=20.0),
)


class Hold(Strategy):
    """Long once the size of the account from the first bar on."""

    def target(self) -> pl.Expr:
        return pl.lit(1.0)


def write_store(
    folder: Path,
    opens: list[float],
    *,
    mark_low: dict[int, float] | None = None,
    volume: float | None = None,
    reach: dict[int, tuple[float, float]] | None = None,
) -> Store:
    """Bars that open and close at one price each, some with a low and a high; the mark is the trade, but for some lows.

    ``reach`` are lows and highs by bar, ``mark_low`` lows of the mark alone.
    """
    store = Store(folder)
    lows = [(mark_low or {}).get(bar, price) for bar, price in enumerate(opens)]
    times = pl.Series([START + bar * HOUR for bar in range(len(opens))], dtype=pl.Int64).cast(TIME)
    reached = [(reach or {}).get(bar, (price, price)) for bar, price in enumerate(opens)]
    low, high = ([pair[side] for pair in reached] for side in (0, 1))
    lows = [min(pair) for pair in zip(lows, low, strict=True)]
    trade = pl.DataFrame({"open_time": times, "open": opens, "high": high, "low": low, "close": opens})
    with_volume = trade.with_columns(pl.lit(volume, pl.Float64).alias("volume"))
    store.write(DatasetKey("generic", SYMBOL, "trade", "1h"), with_volume, source="test")
    mark = trade.with_columns(pl.Series("low", lows))
    store.write(DatasetKey("generic", SYMBOL, "mark", "1h"), mark, source="test")
    return store


def settings(**over: dict) -> dict:
    """A run without fees, funding and slippage, 1,000 USDT at leverage 5."""
    tree = {
        "account": {"balance": 1000.0, "leverage": 5.0},
        "fees": {"taker": 0.0, "maker": 0.0},
        "funding": {"source": "none"},
        "data": {"venue": "generic", "symbols": [SYMBOL], "timeframe": "1h"},
    }
    return merge(tree, over)


def assumed(store: Store, **over: dict) -> dict[str, dict]:
    """Rows of the table of assumptions by name."""
    result = backtester.run(Hold(), data=store, tiers=TIERS, settings=settings(**over), out=None, assume=True)
    return {row["assumption"]: row for row in result.assumptions.to_dicts()}


def test_time_of_fills(tmp_path: Path) -> None:
    """Decided at the close at 100; opens at 101 and 102; ends at 104."""
    rows = assumed(write_store(tmp_path, [100.0, 101.0, 102.0, 104.0]))
    assert rows["base"]["final_equity"] == pytest.approx(1000 + 1000 / 101 * 3)
    assert rows["fill_close"]["final_equity"] == pytest.approx(1000 + 1000 / 100 * 4)
    assert rows["latency"]["final_equity"] == pytest.approx(1000 + 1000 / 102 * 2)
    assert rows["latency"]["final_equity_difference"] == pytest.approx(1000 / 102 * 2 - 1000 / 101 * 3)
    assert rows["latency"]["total_return_difference"] == pytest.approx((1000 / 102 * 2 - 1000 / 101 * 3) / 1000)
    assert rows["base"]["total_return_difference"] == 0.0
    assert {"base", *(a.name for a in assumptions(build_config({})))} == set(rows)


def test_fills_at_the_close_have_no_latency(tmp_path: Path) -> None:
    rows = assumed(write_store(tmp_path, [100.0, 101.0, 102.0, 104.0]), execution={"fill": "close"})
    assert rows["fill_next_open"]["final_equity"] == pytest.approx(1000 + 1000 / 101 * 3)
    assert rows["latency"]["reason"] == "Fills at the close have no latency."
    assert [rows["latency"][metric] for metric in METRICS] == [None] * len(METRICS)


def test_a_spike_of_the_mark_alone(tmp_path: Path) -> None:
    """The mark of bar 2 falls to 10 while trades stay at 100: 4 times the account is gone, else nothing."""

    class Large(Hold):
        def target(self) -> pl.Expr:
            return pl.lit(4.0)

    store = write_store(tmp_path, [100.0] * 5, mark_low={2: 10.0})
    result = backtester.run(Large(), data=store, tiers=TIERS, settings=settings(), out=None, assume=True)
    rows = {row["assumption"]: row for row in result.assumptions.to_dicts()}
    assert (rows["base"]["liquidations"], rows["base"]["final_equity"]) == (1, 0.0)
    assert (rows["mark_trade"]["liquidations"], rows["mark_trade"]["final_equity"]) == (0, 1000.0)
    assert rows["mark_trade"]["liquidations_difference"] == -1
    assert rows["no_fees"]["liquidations"] == 1


def test_stop_and_target_in_one_bar(tmp_path: Path) -> None:
    """10 units at 100; bar 2 falls to 94 and rises to 106: stopped at 95 (-50), or sold at 105 (+50)."""

    class Bracket(Hold):
        def stop_loss(self) -> pl.Expr:
            return pl.lit(0.05)

        def take_profit(self) -> pl.Expr:
            return pl.lit(0.05)

    store = write_store(tmp_path, [100.0] * 5, reach={2: (94.0, 106.0)})
    result = backtester.run(Bracket(), data=store, tiers=TIERS, settings=settings(), out=None, assume=True)
    rows = {row["assumption"]: row for row in result.assumptions.to_dicts()}
    assert rows["base"]["final_equity"] == pytest.approx(950.0)
    assert rows["target_first"]["final_equity"] == pytest.approx(1050.0)
    optimistic = settings(execution={"intrabar": "favorable"})
    other = backtester.run(Bracket(), data=store, tiers=TIERS, settings=optimistic, out=None, assume=True)
    assert other.summary["final_equity"] == pytest.approx(1050.0)
    assert "favorable_path" in [notice.code for notice in other.notices]
    again = {row["assumption"]: row for row in other.assumptions.to_dicts()}
    assert again["stop_first"]["final_equity"] == pytest.approx(950.0)
    assert again["target_first"]["reason"] == "The run assumes this itself."


def test_capacity(tmp_path: Path) -> None:
    """Two returns of 10 %, then 1,000 (100,000) at 121 take 1/10,000 (1/100) of the volume: 0.1 % (1 %)."""

    class Late(Hold):
        def target(self) -> pl.Expr:
            return pl.when(pl.col("open_time").dt.hour() >= 2).then(1.0)

    store = write_store(tmp_path, [100.0, 110.0, 121.0, 121.0, 121.0], volume=10_000 * 1000 / 121)
    result = backtester.run(Late(), data=store, tiers=TIERS, settings=settings(), out=None, assume=True)
    rows = {row["assumption"]: row for row in result.assumptions.to_dicts()}
    assert rows["base"]["final_equity"] == pytest.approx(1000.0)
    assert rows["impact"]["final_equity"] == pytest.approx(999.0)
    assert rows["impact_100"]["final_equity"] == pytest.approx(99_000.0)
    assert rows["impact_100"]["total_return_difference"] == pytest.approx(-0.01)


def test_costs(tmp_path: Path) -> None:
    """10 units at 100: 0.1 % of slippage costs 1, the fee of 0.1 % on 1001 (1002) is 1.001 (1.002)."""
    store = write_store(tmp_path, [100.0] * 4)
    costs = {"fees": {"taker": 0.001, "maker": 0.001}, "execution": {"slippage_bps": 10.0}}
    rows = assumed(store, **costs)
    assert rows["base"]["final_equity"] == pytest.approx(1000 - 1 - 1.001)
    assert rows["double_slippage"]["text"] == "twice the slippage"
    assert rows["double_slippage"]["final_equity"] == pytest.approx(1000 - 2 - 1.002)
    assert rows["no_fees"]["final_equity"] == pytest.approx(1000 - 1)
    bare = assumed(store)
    assert bare["double_slippage"]["text"] == "slippage of 1 bp instead of none"
    assert bare["double_slippage"]["final_equity"] == pytest.approx(1000 - 0.1)


def test_funding(tmp_path: Path) -> None:
    """10 units at 100 pay 0.1 % at 08:00 and 16:00: 1 each."""
    store = write_store(tmp_path, [100.0] * 20)
    rows = assumed(store, funding={"source": "constant", "rate": 0.001})
    assert rows["base"]["final_equity"] == pytest.approx(998.0)
    assert rows["no_funding"]["final_equity_difference"] == pytest.approx(2.0)
    assert assumed(store)["no_funding"]["reason"] == "The run has no funding itself."


def test_without_volumes_there_is_no_impact(tmp_path: Path) -> None:
    rows = assumed(write_store(tmp_path / "a", [100.0] * 4))
    assert "volume" in rows["impact_10"]["reason"]
    rows = assumed(write_store(tmp_path / "b", [100.0] * 4, volume=1e6))
    assert rows["impact_10"]["reason"] is None
    assert rows["impact_10"]["final_equity"] == pytest.approx(10_000.0)


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    store = write_store(tmp_path, [100.0] * 4, volume=1e6)
    more = {
        "sizing": {"unit": "notional"},
        "transfers": [{"time": "2024-01-01T02:00", "amount": 50.0}],
        "tiers": {"*": [tier.model_dump() for tier in TIERS]},
        "execution": {"latency_bars": 1, "latency_ms": 500},
    }
    _, run = execute_kept(build_config(merge(settings(), more)), store, strategy=Hold())
    return Inputs(run.panel, run.resolved, run.decisions, run.instructions)


def changed(inputs: Inputs, name: str) -> Inputs:
    config = inputs.resolved.config
    return next(a for a in assumptions(config) if a.name == name).change(inputs)


def test_what_is_changed_and_nothing_else(inputs: Inputs) -> None:
    config = inputs.resolved.config
    execution = config.execution
    expected = {
        "target_first": {"execution": execution.model_copy(update={"intrabar": "favorable"})},
        "fill_close": {"execution": execution.model_copy(update={"fill": "close", "latency_bars": 0, "latency_ms": 0})},
        "latency": {"execution": execution.model_copy(update={"latency_bars": 2})},
        "double_slippage": {"execution": execution.model_copy(update={"slippage_bps": 1.0})},
        "flat_tiers": {},
    }
    for name, update in expected.items():
        other = changed(inputs, name)
        assert other.resolved.config == config.model_copy(update=update), name
        assert other.decisions is inputs.decisions
        assert other.panel is inputs.panel


def test_the_first_bracket_serves_every_size(inputs: Inputs) -> None:
    (table,) = changed(inputs, "flat_tiers").resolved.tiers[SYMBOL]
    assert table.form is TierForm.FLAT
    assert [(t.notional_floor, t.notional_cap, t.maintenance_margin_rate, t.max_leverage) for t in table.tiers] == [
        (0.0, float("inf"), 0.005, 50.0)
    ]
    one = TierTable(symbol=SYMBOL, tiers=(MarginTier(maintenance_margin_rate=0.01, max_leverage=9.0),))
    bare = Inputs(
        inputs.panel,
        type(inputs.resolved)(**{**vars(inputs.resolved), "tiers": {SYMBOL: (one,)}}),
        inputs.decisions,
        inputs.instructions,
    )
    with pytest.raises(UsageError, match="one bracket only"):
        changed(bare, "flat_tiers")


def test_a_larger_account_has_larger_targets_and_transfers(inputs: Inputs) -> None:
    told = inputs.instructions
    moved = type(told)(targets=told.targets, transfers=Transfers(np.array([START]), np.array([50.0])))
    other = changed(Inputs(inputs.panel, inputs.resolved, inputs.decisions, moved), "impact_100")
    config = other.resolved.config
    assert (config.account.balance, config.costs.slippage, config.transfers[0].amount) == (100_000.0, "impact", 5000.0)
    assert other.instructions.targets.target.tolist() == [100.0]  # repetitions are left out: they change nothing
    assert other.instructions.transfers.amount.tolist() == [5000.0]


def test_given_trades_keep_time_and_price(inputs: Inputs) -> None:
    one = {"time": [START], "symbol": [0], "side": [0], "quantity": [1.0], "price": [100.0], "fee": [0.5]}
    own = OwnFills(**{name: np.array(values) for name, values in one.items()}, is_maker=np.array([0]))
    told = type(inputs.instructions)(own_fills=own)
    given = Inputs(inputs.panel, inputs.resolved, inputs.decisions, told)
    for name in ("fill_close", "latency", "double_slippage", "impact", "impact_10"):
        with pytest.raises(UsageError, match="given trades keep"):
            changed(given, name)
    assert changed(given, "no_fees").instructions.own_fills.fee.tolist() == [0.0]
    assert own.fee.tolist() == [0.5]

"""Decisions on long bars, replayed on finer ones; settings that do not go together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

import backtester
from backtester import MarginTier, Strategy
from backtester.domain.config import RunConfig
from backtester.engine.detail import detail_notices, with_detail
from backtester.engine.run_checks import refuse_clashes, setting_notices
from backtester.errors import ConfigError, DataError
from backtester.market.panel import load_panel
from backtester.market.store import DatasetKey, Store

A, B = "A/USDT:USDT", "B/USDT:USDT"
START, QUARTER, HOUR = 1_735_689_600_000, 900_000, 3_600_000  # 2025-01-01
TIERS = (MarginTier(maintenance_margin_rate=0.01, max_leverage=50),)
FREE = {"fees": {"taker": 0.0}, "funding": {"source": "none"}, "data": {"mark": "trade"}}


def quarters(first: int, count: int, **columns: list[float]) -> pl.DataFrame:
    """Bars of 15 minutes at 100 from quarter number ``first`` on; the given columns replace others."""
    flat = dict.fromkeys(("open", "high", "low", "close"), [100.0] * count)
    times = pl.Series(START + QUARTER * np.arange(first, first + count)).cast(pl.Datetime("ms", "UTC"))
    return pl.DataFrame({"open_time": times, **flat, "volume": [1.0] * count, **columns})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A: twelve quarters that rise by one each; B: the last eight of them."""
    made = Store(tmp_path)
    price = [100.0 + k for k in range(12)]
    rising = quarters(0, 12, open=price, low=price, high=[p + 1 for p in price], close=[p + 1 for p in price])
    made.write(DatasetKey("generic", A, "trade", "15m"), rising, source="test")
    made.write(DatasetKey("generic", B, "trade", "15m"), quarters(4, 8), source="test")
    return made


def config(**data: object) -> RunConfig:
    return RunConfig.model_validate({"data": {"venue": "generic", "symbols": (A,), "timeframe": "1h", **data}})


class Once(Strategy):
    """Long from the first decision on."""

    def target(self) -> pl.Expr:
        return pl.lit(1.0)


def run(store: Store, strategy: Strategy | None = None, **options: object) -> backtester.Result:
    given = {"venue": "generic", "symbols": [A], "timeframe": "1h", "leverage": 20.0, "balance": 1000.0, **options}
    settings = given.pop("settings", FREE)
    return backtester.run(strategy or Once(), data=store, tiers=TIERS, settings=settings, out=None, **given)


def test_a_decision_fills_at_the_first_finer_bar_after_its_close(store: Store) -> None:
    result = run(store, detail="15m")
    assert result.equity.height == 12
    assert result.timeframe_ms == QUARTER
    # Decided at 01:00, when the fourth quarter ends; the fifth opens at 104.
    assert result.fills["time"].cast(pl.Int64).to_list() == [START + HOUR]
    assert result.fills["price"].to_list() == [104.0]
    assert result.fills["quantity"][0] == pytest.approx(1000 / 104)
    assert result.equity["equity"][3:6].to_list() == pytest.approx([1000, 1000 + 1000 / 104, 1000 + 2000 / 104])
    assert result.targets["open_time"].cast(pl.Int64).to_list() == [START, START + HOUR, START + 2 * HOUR]
    assert result.manifest["decision_bar"] == "1h"
    assert result.manifest["replay_bar"] == "15m"
    assert result.config.data.detail == "15m"
    plain = run(store)
    assert plain.equity.height == 3
    assert plain.fills.select("time", "price").equals(result.fills.select("time", "price"))
    assert plain.equity["equity"].to_list() == pytest.approx(result.equity["equity"].gather_every(4, 3).to_list())
    assert {n.code for n in result.notices} - {n.code for n in plain.notices} == {"detail"}


def test_finer_bars_that_are_the_same_are_no_detail(store: Store) -> None:
    assert with_detail(config(detail="1h"), store).data.detail is None
    assert with_detail(config(), store).data.detail is None
    assert with_detail(config(detail="15m"), store).data.detail == "15m"


def test_finer_bars_must_divide_and_be_stored(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"data\.detail = 25m does not divide data\.timeframe = 1h"):
        with_detail(config(detail="25m"), store)
    with pytest.raises(ConfigError, match="does not divide"):
        with_detail(config(detail="4h"), store)
    with pytest.raises(
        DataError, match=r"A/USDT:USDT trade 5m: no bars from which the finer ones come \(stored: 15m\)"
    ):
        with_detail(config(detail="5m"), store)


def test_nothing_is_decided_for_a_symbol_before_its_finer_bars_begin(store: Store) -> None:
    hours = pl.Series(START + HOUR * np.arange(3)).cast(pl.Datetime("ms", "UTC"))
    flat = {name: [100.0] * 3 for name in ("open", "high", "low", "close", "volume")}
    store.write(DatasetKey("generic", B, "trade", "1h"), pl.DataFrame({"open_time": hours, **flat}), source="test")
    result = run(store, symbols=[A, B], detail="15m", start="2025-01-01")
    decided = result.targets.filter(pl.col("symbol") == B)["open_time"].cast(pl.Int64).to_list()
    assert decided == [START + HOUR, START + 2 * HOUR]
    own = result.fills.filter(pl.col("symbol") == B)
    assert own["time"].cast(pl.Int64).to_list() == [START + 2 * HOUR]


def test_bars_of_decisions_that_end_early_are_told(store: Store) -> None:
    hours = pl.Series([START]).cast(pl.Datetime("ms", "UTC"))
    flat = {name: [100.0] for name in ("open", "high", "low", "close", "volume")}
    store.write(DatasetKey("generic", A, "trade", "1h"), pl.DataFrame({"open_time": hours, **flat}), source="test")
    panel = load_panel(store, "generic", [A], "15m", mark="trade", funding=False)
    told = {n.code: n.text for n in detail_notices(config(detail="15m"), store, panel)}
    assert told["decisions_end"] == f"{A}: the bars of 1h end at 2025-01-01 01:00 UTC: nothing is decided after that."
    assert detail_notices(config(), store, panel) == []


def resolved(**sections: object) -> SimpleNamespace:
    return SimpleNamespace(config=RunConfig.model_validate(sections))


def decisions(*columns: str) -> SimpleNamespace:
    targets = pl.DataFrame({name: [1.0] for name in columns})
    return SimpleNamespace(name="mine", targets=targets, loop=None, bars=None)


@pytest.mark.parametrize(
    ("sections", "columns", "message"),
    [
        ({}, ("target_long",), "mine decides target_long, but a contract holds one position in one-way mode"),
        (
            {"universe": {"top_volume": 3}},
            ("target",),
            "The section universe bounds the targets of a strategy, and mine",
        ),
        ({"sizing": {"unit": "risk"}}, ("target", "take_profit"), "mine decides none"),
    ],
)
def test_settings_that_clash(sections: dict, columns: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        refuse_clashes(resolved(**sections), decisions(*columns))


def test_settings_that_go_together() -> None:
    refuse_clashes(resolved(account={"position_mode": "hedge"}), decisions("target_long", "target_short"))
    refuse_clashes(resolved(sizing={"unit": "risk"}), decisions("target", "trailing_stop"))


def test_a_bound_by_volumes_that_are_unknown_is_told(store: Store) -> None:
    panel = load_panel(store, "generic", [A], "15m", mark="trade", funding=False)
    bare = replace(panel, volume=np.full(panel.trade.close.shape, np.nan))
    told = [n.code for n in setting_notices(resolved(execution={"volume_share": 0.1}), bare)]
    assert told == ["volume_share_unbounded"]
    assert setting_notices(resolved(execution={"volume_share": 0.1}), replace(panel, volume=None)) != []
    assert setting_notices(resolved(execution={"volume_share": 0.1}), panel) == []


def test_a_latency_below_a_bar_is_told(store: Store) -> None:
    panel = load_panel(store, "generic", [A], "15m", mark="trade", funding=False)
    (notice,) = setting_notices(resolved(execution={"latency_ms": 500}), panel)
    assert notice.code == "latency_below_bar"
    assert "500 ms is shorter than a replayed bar (15m)" in notice.text
    assert setting_notices(resolved(execution={"latency_ms": QUARTER}), panel) == []

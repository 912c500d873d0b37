"""Bundled loops in the replay itself: their orders fill, and compiled and plain functions give the same account."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from backtester.domain.config import RunConfig
from backtester.engine.instructions import Instructions
from backtester.engine.prepare import prepare
from backtester.engine.replay import Loop, ReplayRecords, replay
from backtester.kernel.loop import LoopContext, empty_context
from backtester.strategy import Strategy, loop, registry
from backtester.strategy.dry_run import loop_bars_of
from tests.reference.adapter import _panel, _terms
from tests.reference.case import Case, Contract, Ohlc, Tier, Tiers

START, HOUR = 1_735_689_600_000, 3_600_000
SYMBOL = "C0/USDT:USDT"


def around(closes: np.ndarray) -> list[tuple[float, float, float, float]]:
    """Bars that open at the close before, and reach three thousandths beyond both."""
    opens = np.concatenate(([closes[0]], closes[:-1]))
    highs, lows = np.maximum(opens, closes) * 1.003, np.minimum(opens, closes) * 0.997
    return list(zip(opens.tolist(), highs.tolist(), lows.tolist(), closes.tolist(), strict=True))


def replayed(strategy: Strategy, bars: list[tuple[float, float, float, float]], **how: bool) -> ReplayRecords:
    """Replay a loop on one linear contract: balance 10,000, leverage 10, no fees."""
    ohlc = Ohlc(*map(tuple, zip(*bars, strict=True)))
    tiers = (Tiers((Tier(0.0, 1e12, 0.005, 20.0),)),)
    contract = Contract(trade=ohlc, mark=ohlc, tables=tiers, leverage=10.0)
    times = tuple(START + HOUR * place for place in range(len(bars)))
    case = Case(contracts=(contract,), open_time=times, bar_ms=HOUR, targets=())
    config = RunConfig.model_validate({"account": {"balance": 10_000.0}})
    calls = np.arange(len(bars), dtype=np.int64)
    prepared = prepare(_panel(case), [_terms(case, 0, contract)], config, Instructions(calls=calls))
    context = context_of(strategy, times, ohlc)
    if how.get("is_plain"):
        told = Loop(context, python=loop.python_on_bar(strategy))
    else:
        told = Loop(context, compiled=loop.compiled_on_bar(strategy))
    records = replay(prepared, loop=told)
    assert loop.failed_bar(context) is None
    return records


def context_of(strategy: Strategy, times: tuple[int, ...], ohlc: Ohlc) -> LoopContext:
    frame = pl.DataFrame(
        {
            "open_time": pl.Series(times).cast(pl.Datetime("ms", "UTC")),
            "symbol": [SYMBOL] * len(times),
            "open": ohlc.open,
            "high": ohlc.high,
            "low": ohlc.low,
            "close": ohlc.close,
        }
    )
    bars = loop_bars_of(strategy, frame)
    return empty_context()._replace(
        bars=np.stack(list(bars.series.values())),
        indicators=bars.indicators,
        legs=np.zeros((1, 3, 2)),
        params=loop.loop_params(strategy),
        state=loop.loop_state(strategy, 1),
    )


RISE_AND_FALL = np.concatenate([100 + 3 * np.sin(np.arange(200) / 6), 100 - np.arange(1, 61)])
SWING = 100 + 3 * np.sin(np.arange(300) / 9)


@pytest.mark.parametrize(("name", "closes"), [("martingale", RISE_AND_FALL), ("grid", SWING), ("market_maker", SWING)])
def test_compiled_and_plain_loops_give_the_same_account(name, closes) -> None:
    strategy = registry.find(name)()
    compiled, plain = (replayed(strategy, around(closes), is_plain=is_plain) for is_plain in (False, True))
    assert compiled.fills.size > 20
    for part in ("fills", "orders", "ledger", "positions", "equity", "wallet"):
        assert getattr(compiled, part).tobytes() == getattr(plain, part).tobytes(), part


def test_martingale_gains_until_it_is_liquidated() -> None:
    records = replayed(registry.find("martingale")(), around(RISE_AND_FALL))
    assert records.equity[199] > 10_000.0
    assert records.liquidations.size == 1
    assert records.equity[-1] == pytest.approx(0.0, abs=1e-6)


def test_a_swing_over_one_spacing_earns_it_on_one_unit() -> None:
    # a tenth of 10,000 at 100 is a unit of 10. The second bar reaches 98.5: bought at 99. The third reaches 100.5:
    # sold at 100, while 99 is the level that is left empty. 10 units earn 1 each.
    bars = [
        (100.0, 100.0, 100.0, 100.0),
        (100.0, 100.0, 98.5, 99.2),
        (99.2, 100.5, 99.0, 100.2),
        (100.2, 100.2, 100.2, 100.2),
    ]
    records = replayed(registry.find("grid")(levels=3, spacing=0.01, stake=0.1), bars)
    assert records.fills["price"].tolist() == [99.0, 100.0]
    assert records.fills["quantity"].tolist() == [10.0, 10.0]
    assert records.equity[-1] == pytest.approx(10_010.0, abs=1e-9)


def test_the_inventory_of_the_market_maker_has_a_limit() -> None:
    closes = 100 * np.exp(-0.004 * np.arange(1, 61))
    opens = np.concatenate(([100.0], closes[:-1]))
    bars = list(zip(opens.tolist(), opens.tolist(), closes.tolist(), closes.tolist(), strict=True))
    # each bar falls through the bid, 0.2 % below the close or a little more, and none reaches an offer
    records = replayed(registry.find("market_maker")(stake=0.2, limit=0.5), bars)
    held, place = records.positions["position_quantity"], records.positions["bar"]
    assert held[0] == pytest.approx(0.2 * 10_000.0 / closes[0])
    worth = held * closes[place] / records.equity[place]
    assert worth.max() > 0.45
    assert worth.max() < 0.505, "a size is that of the close, its worth that of the fall after it"

"""Bundled loops in the replay itself: their orders fill, and compiled and plain functions give the same account."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from backtester.domain.config import RunConfig
from backtester.domain.enums import OrderStatus, RejectReason
from backtester.engine.instructions import Instructions
from backtester.engine.prepare import prepare
from backtester.engine.replay import Loop, ReplayRecords, replay
from backtester.kernel.loop import LoopContext, empty_context
from backtester.strategy import Param, Strategy, loop, registry
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


def replayed(strategy: Strategy, bars: list[tuple[float, float, float, float]], **how) -> ReplayRecords:
    """Replay a loop on one linear contract: balance 10,000, leverage 10, no fees."""
    ohlc = Ohlc(*map(tuple, zip(*bars, strict=True)))
    tiers = (Tiers((Tier(0.0, 1e12, 0.005, 20.0),)),)
    contract = Contract(trade=ohlc, mark=ohlc, tables=tiers, leverage=10.0)
    times = tuple(START + HOUR * place for place in range(len(bars)))
    case = Case(contracts=(contract,), open_time=times, bar_ms=HOUR, targets=())
    config = RunConfig.model_validate({"account": {"balance": 10_000.0, "position_mode": how.get("mode", "one_way")}})
    calls = np.arange(len(bars), dtype=np.int64)
    prepared = prepare(_panel(case), [_terms(case, 0, contract)], config, Instructions(calls=calls))
    context = context_of(strategy, times, ohlc)
    if how.get("is_plain"):
        told = Loop(context, python=loop.python_on_bar(strategy))
    else:
        told = Loop(context, compiled=loop.compiled_on_bar(strategy))
    records = replay(prepared, loop=told)
    assert loop.failed_bar(context) is None
    how.get("seen", []).append(context)
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


class Patient(Strategy):
    """Rests a bid far below, asks for much else, and cancels the bid at the 20th bar."""

    @staticmethod
    def on_bar(ctx, params):
        bar = loop.bar_number(ctx)
        if bar == 0:
            ctx.state[0, 0] = loop.submit_limit(ctx, 0, 3.0, 50.0)
        elif bar < 20:
            for _ in range(1000):
                loop.cancel(ctx, -1)
            ctx.state[0, 1] += loop.remaining(ctx, int(ctx.state[0, 0]))
        elif bar == 20:
            loop.cancel(ctx, int(ctx.state[0, 0]))
        elif bar == 21:
            ctx.state[0, 2] = loop.submit_market(ctx, 0, 1.0)
        else:
            ctx.state[0, 3] = loop.remaining(ctx, int(ctx.state[0, 0])) + loop.remaining(ctx, int(ctx.state[0, 2]))

    def state(self, symbols):
        return np.zeros((symbols, 4))


def test_an_order_is_known_however_much_was_asked_for_since() -> None:
    # 19,000 requests go by while it rests, more than the 16,384 rows that are kept; its own row is passed over once,
    # so the market order has the number 1 + 19,000 + 1 + 1.
    still = [(100.0, 100.0, 100.0, 100.0)] * 24
    contexts = []
    for is_plain in (False, True):
        records = replayed(Patient(), still, is_plain=is_plain, seen=contexts)
        assert records.counts["requests_lost"] == 0
        assert records.orders["request"].tolist() == [0, 19_003]
        bid, bought = records.orders
        assert (bid["status"], bid["reason"]) == (OrderStatus.CANCELLED, RejectReason.REQUESTED)
        assert bid["end_time"] == START + 21 * HOUR
        assert bought["status"] == OrderStatus.FILLED
        assert records.fills["price"].tolist() == [100.0]
    for context in contexts:
        assert context.state[0].tolist() == [0.0, 19 * 3.0, 19_003.0, 0.0]


class Halves(Strategy):
    """Buys 10 and takes half of it at 5 %, the rest at 10 %, or sets the short leg alone."""

    side: int = Param(0)

    @staticmethod
    def on_bar(ctx, params):
        if loop.bar_number(ctx) == 0:
            side = int(params.side)
            loop.set_exit(ctx, 0, loop.SettingField.TAKE_PROFIT, 0.05, 0, side)
            loop.set_exit(ctx, 0, loop.SettingField.TAKE_PROFIT_SHARE, 0.5, 0, side)
            loop.set_exit(ctx, 0, loop.SettingField.TAKE_PROFIT, 0.10, 1, side)
            loop.submit_market(ctx, 0, 10.0)


CLIMB = [
    (100.0, 100.0, 100.0, 100.0),
    (100.0, 100.0, 100.0, 100.0),
    (100.0, 106.0, 100.0, 106.0),
    (106.0, 112.0, 106.0, 112.0),
]


@pytest.mark.parametrize("mode", ["one_way", "hedge"])
def test_a_loop_sets_partial_exits(mode) -> None:
    records = replayed(Halves(), CLIMB, mode=mode)
    assert records.fills["price"].tolist() == pytest.approx([100.0, 105.0, 110.0])
    assert records.fills["quantity"].tolist() == pytest.approx([10.0, 5.0, 5.0])
    assert records.equity[-1] == pytest.approx(10_000.0 + 5 * 5.0 + 5 * 10.0)


def test_exits_of_one_leg_leave_the_other_alone() -> None:
    assert replayed(Halves(side=1), CLIMB, mode="hedge").fills.size == 3
    assert replayed(Halves(side=-1), CLIMB, mode="hedge").fills.size == 1  # the long leg has none
    assert replayed(Halves(side=-1), CLIMB).fills.size == 3  # one position, whatever leg is named


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

"""The summary of a run from its records, and from a tally of it, as both sides of a comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from backtester.analytics import complete
from backtester.analytics.tallies import TallyTerms, tally_metrics
from backtester.domain.config import RunConfig
from backtester.domain.enums import Takeover
from backtester.engine import frames
from backtester.engine.prepare import Prepared
from backtester.engine.replay import ReplayRecords, replay
from backtester.engine.result import Result
from backtester.engine.segments import SharedMarket, block_arrays, day_bars, tally_run
from backtester.research.rows import LEFT_OUT
from tests.reference.adapter import prepared_case
from tests.reference.case import Case

SYMBOL = "A/USDT:USDT"
SAME = 1e-9  # relative; of amounts that cancel out, relative to the balance


def tallied(case: Case) -> dict[str, Any]:
    """Return the metrics of a run that was counted."""
    prepared = prepared_case(case)
    blocks, starts = block_arrays(prepared)
    shared = SharedMarket(blocks, starts, day_bars(prepared.market.open_time), np.empty(0, np.int64))
    at_market = bool(prepared.setup.rules[0]["takeover"] == Takeover.MARKET)
    terms = TallyTerms(prepared.balance, prepared.market.open_time, at_market)
    return tally_metrics(tally_run(prepared, shared), terms).row(0, named=True)


def recorded(case: Case) -> dict[str, Any]:
    """Return the metrics of the same run from its records."""
    prepared = prepared_case(case)
    result = complete(_result(case, prepared, replay(prepared)))
    return {key: value for key, value in result.summary.items() if key not in LEFT_OUT}


def _result(case: Case, prepared: Prepared, records: ReplayRecords) -> Result:
    open_time = prepared.market.open_time
    config = RunConfig.model_validate(
        {
            "data": {"symbols": [SYMBOL]},
            "account": {"balance": prepared.balance},
            "liquidation": {"takeover": case.settings.takeover},
            "instruments": {SYMBOL: {"kind": case.contracts[0].kind}},
        }
    )
    equity = pl.DataFrame(
        {
            "open_time": frames.times(open_time[:-1]),
            "close_time": frames.times(open_time[1:]),
            "equity": records.equity,
            "wallet_balance": records.wallet,
            "margin_ratio": records.margin_ratio,
            "gross_exposure": pl.Series(records.gross_exposure).fill_nan(None),
            "net_exposure": pl.Series(records.net_exposure).fill_nan(None),
        }
    )
    return Result(
        run_id="",
        config=config,
        symbols=(SYMBOL,),
        timeframe_ms=case.bar_ms,
        settle="USDT",
        synthetic=True,
        equity=equity,
        fills=frames.fills_frame(records.fills, (SYMBOL,)),
        funding=frames.funding_frame(records.funding, (SYMBOL,)),
        liquidations=frames.liquidations_frame(records.liquidations, (SYMBOL,)),
        ledger=frames.ledger_frame(records.ledger, (SYMBOL,), "USDT"),
        positions=frames.positions_frame(records.positions, (SYMBOL,), hedged=False),
        orders=frames.orders_frame(records.orders, (SYMBOL,)),
        targets=pl.DataFrame(),
        bars=_bars(case, prepared),
        counts=records.counts,
    )


def _bars(case: Case, prepared: Prepared) -> pl.DataFrame:
    market = prepared.market
    is_inverse = prepared.setup.instruments[0]["sign"] < 0

    def prices(values: np.ndarray) -> np.ndarray:
        return -1.0 / values[0] if is_inverse else values[0]

    return pl.DataFrame(
        {
            "open_time": frames.times(market.open_time[:-1]),
            "symbol": [SYMBOL] * prepared.bars,
            "open": prices(market.trade_open),
            "high": prices(market.trade_high),
            "low": prices(market.trade_low),
            "close": prices(market.trade_close),
            "mark_close": prices(market.mark_close),
        }
    )


def differences(case: Case) -> list[tuple[str, Any, Any]]:
    """Return the metrics that the two ways disagree on."""
    whole, counted = recorded(case), tallied(case)
    # profit of trips can be many times the balance, and cancel out
    scale = max(case.settings.balance, abs(whole["average_win"] or 0.0), abs(whole["average_loss"] or 0.0))
    found = []
    for key in dict.fromkeys([*whole, *counted]):
        missing = 0 if key.startswith("orders_") else None
        a, b = whole.get(key, missing), counted.get(key, missing)
        if a == b:
            continue
        if isinstance(a, int | float) and isinstance(b, int | float):
            room = SAME * max(abs(a), abs(b), scale if key in MONEY else 1.0)
            if abs(a - b) <= room:
                continue
        found.append((key, a, b))
    return found


MONEY = frozenset(
    {
        "final_equity",
        "net_profit",
        "price",
        "slippage",
        "fees",
        "funding",
        "liquidation",
        "funding_received",
        "funding_paid",
        "insurance_flow",
        "average_trade",
        "average_win",
        "average_loss",
    }
)

"""Small results by hand: a few bars, the records that a test needs, everything else empty."""

from __future__ import annotations

from typing import Any

import polars as pl

from backtester.analytics.trades import SCHEMA as TRADES
from backtester.domain.config import RunConfig
from backtester.engine.result import Result
from tests.unit.report.sample import (
    EQUITY,
    FILLS,
    FUNDING,
    HOUR,
    LEDGER,
    LIQUIDATIONS,
    ORDERS,
    POSITIONS,
    START,
    TIME,
    frame,
)

A, B = "A/USDT:USDT", "B/USDT:USDT"


def at(hours: float, early_ms: int = 0) -> int:
    """A moment so many hours after the first open [ms]."""
    return START + round(hours * HOUR) - early_ms


def bars(symbol: str, marks: list[float]) -> pl.DataFrame:
    """Hourly bars that run from close to close without wicks; the mark is the traded price."""
    opens = [marks[0], *marks[:-1]]
    prices = {
        "open": opens,
        "high": [max(pair) for pair in zip(opens, marks, strict=True)],
        "low": [min(pair) for pair in zip(opens, marks, strict=True)],
        "close": marks,
    }
    return pl.DataFrame(
        {"open_time": [at(i) for i in range(len(marks))], "symbol": [symbol] * len(marks), **prices, "volume": 1.0}
        | {f"mark_{name}": values for name, values in prices.items()}
    ).with_columns(pl.lit(None, pl.Float64).alias("index_close"), pl.col("open_time").cast(TIME))


def result(
    marks: dict[str, list[float]],
    *,
    equity: list[float] | None = None,
    gross: list[float] | None = None,
    config: dict[str, Any] | None = None,
    **records: list[tuple[Any, ...]],
) -> Result:
    """A run with the given records; equity is 1,000 throughout unless it is given."""
    count = len(next(iter(marks.values())))
    values = equity or [1000.0] * count
    exposure = gross or [0.0] * count
    rows = [
        (at(i), at(i + 1), values[i], values[i], values[i], 0.0, 0.0, exposure[i], exposure[i], 0.0)
        for i in range(count)
    ]
    stated = {
        "data": {"symbols": tuple(marks), "timeframe": "1h"},
        "instruments": {name: {"kind": "linear"} for name in marks},
        "strategy": {"name": "hand"},
    }
    names = {
        "fills": FILLS,
        "funding": FUNDING,
        "liquidations": LIQUIDATIONS,
        "ledger": LEDGER,
        "positions": POSITIONS,
        "orders": ORDERS,
    }
    return Result(
        run_id="hand",
        config=RunConfig.model_validate({**stated, **(config or {})}),
        symbols=tuple(marks),
        timeframe_ms=HOUR,
        settle="USDT",
        synthetic=True,
        equity=frame(EQUITY, rows),
        bars=pl.concat(bars(name, closes) for name, closes in marks.items()).sort("open_time", maintain_order=True),
        targets=pl.DataFrame(schema={"open_time": TIME, "symbol": pl.String, "target": pl.Float64}),
        trades=pl.DataFrame(records.pop("trades", []), schema=TRADES, orient="row"),
        strategy_name="hand",
        **{name: frame(columns, records.get(name, [])) for name, columns in names.items()},
    )


def trip(symbol: str, side: str, entry: int, leave: int | None, reason: str, net: float = 0.0) -> tuple[Any, ...]:
    """A round trip of which only position, times, reason and net result matter."""
    return (symbol, side, entry, leave, 100.0, None, 1.0, net, 0.0, 0.0, 0.0, 0.0, reason, 0.0, net)

"""What ``signals`` returned: its rows and columns checked against the bars."""

from __future__ import annotations

import polars as pl

from backtester.errors import StrategyError, format_time
from backtester.strategy.base import Strategy
from backtester.strategy.columns import COLUMNS, KEYS, LEGS, as_column
from backtester.strategy.declared import Declared
from backtester.strategy.fault import blaming, method_place
from backtester.strategy.rows import epoch_ms


def signal_columns(strategy: Strategy, frame: pl.DataFrame, expressions: dict[str, Declared]) -> dict[str, pl.Series]:
    """Return the deciding columns that ``signals`` returned, by name."""
    with blaming(type(strategy), "signals"):
        returned: object = strategy.signals(frame)
        if not isinstance(returned, pl.DataFrame):
            raise TypeError(f"signals() must return a polars DataFrame, got {type(returned).__name__}")
    _check_signal_rows(strategy, frame, returned)
    names = [name for name in COLUMNS if name in returned.columns]
    with blaming(type(strategy), "signals"):
        for name in names:
            if name in expressions:
                raise ValueError(f"{name!r} is returned here and by {expressions[name].method}(): keep one of the two")
        return {name: as_column(returned[name], name) for name in names}


def _check_signal_rows(strategy: Strategy, frame: pl.DataFrame, returned: pl.DataFrame) -> None:
    place = method_place(type(strategy), "signals")
    legs = [name for name in LEGS if name in returned.columns]
    targets = LEGS if legs else ("target",)
    missing = [name for name in (*KEYS, *targets) if name not in returned.columns]
    if missing:
        problem = f"without the column {missing[0]!r}"
    elif legs and "target" in returned.columns:
        problem = f"with both 'target' and {legs[0]!r}: keep the net position or the legs"
    elif returned.height != frame.height:
        problem = f"with {returned.height} rows for {frame.height} bars: give one per bar, null where nothing changes"
    else:
        problem = _order_problem(frame, returned)
    if problem:
        raise StrategyError(f"Strategy {strategy.name!r} returned signals {problem}.", place)


def _order_problem(frame: pl.DataFrame, returned: pl.DataFrame) -> str:
    for name in KEYS:
        if returned[name].dtype != frame[name].dtype:
            return f"with {name!r} of type {returned[name].dtype} instead of {frame[name].dtype}"
        differs = returned[name].ne_missing(frame[name])
        if differs.any():
            row = int(differs.arg_max() or 0)
            bar = f"{frame['symbol'][row]} {format_time(epoch_ms(frame, row))}"
            return f"in another order: row {row} should be the bar {bar}; keep the order of the bars"
    return ""

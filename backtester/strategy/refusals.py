"""Decisions that cannot be traded and series that are not there: what is told about them."""

from __future__ import annotations

import numpy as np
import polars as pl

from backtester.errors import StrategyError, format_time, nearest_names
from backtester.strategy.base import Strategy
from backtester.strategy.columns import KEYS, TARGETS, first_fault, ladder_fault
from backtester.strategy.declared import declared_decisions, declared_indicators, strategy_columns
from backtester.strategy.fault import method_place
from backtester.strategy.indicators import split_ref
from backtester.strategy.rows import epoch_ms, symbol_rows

SPOT = ("premium", "index_close")  # either tells the distance to spot: a strategy may read both and take what is there
# Columns that come from a series of their own: all null for a symbol means that the series is not there.
OPTIONAL_SERIES = {
    "index_close": "an index series",
    "premium": "a premium or an index series",
    "predicted_funding_rate": "a premium or an index series",
    "mark_close": "a mark series",
    "volume": "volumes",
}


def refuse_untradable(strategy: Strategy, frame: pl.DataFrame, decided: dict[str, pl.Series]) -> None:
    """Refuse numbers that are not finite or out of range, naming the first of the first such column."""
    for values in decided.values():
        fault = first_fault(values)
        if fault is not None:
            raise _untradable(strategy, frame, values, *fault)
    ladder = ladder_fault(decided)
    if ladder is not None:
        total = "the shares of limit_price() are missing, or come to more than 1,"
        where, count = _first_place(frame, ladder)
        place = method_place(type(strategy), "limit_price")
        raise StrategyError(f"Strategy {strategy.name!r}: {total} for {where} ({count} such bars).", place)


def _untradable(
    strategy: Strategy, frame: pl.DataFrame, values: pl.Series, wrong: pl.Series, allowed: str
) -> StrategyError:
    where, count = _first_place(frame, wrong)
    value = (
        frame.select(KEYS[0]).with_columns(values).filter(wrong).sort("open_time", maintain_order=True)[values.name][0]
    )
    if allowed:
        what = f"of {value:g}"
        hint = f"It must be {allowed}; null (None) keeps what is in force."
    else:
        what = "that is NaN (not a number)" if np.isnan(value) else "that is infinite"
        hint = "A division by zero? Use null (None) for no decision, for instance with fill_nan(None)."
    method = next(
        (item.method for name, item in declared_decisions(strategy).items() if name == values.name), "signals"
    )
    return StrategyError(
        f"Strategy {strategy.name!r} wants a {values.name} {what} for {where} ({count} such bars).",
        f"{hint}\n{method_place(type(strategy), method)}",
    )


def _first_place(frame: pl.DataFrame, wrong: pl.Series) -> tuple[str, int]:
    """Return symbol and time of the earliest marked bar, and how many are marked."""
    rows = frame.select(*KEYS).filter(wrong).sort("open_time", maintain_order=True)
    return f"{rows['symbol'][0]} at {format_time(epoch_ms(rows, 0))}", rows.height


def refuse_silence(strategy: Strategy, bars: pl.DataFrame, decided: pl.DataFrame) -> None:
    """Refuse a strategy that reads a series without any value: one to spot, or one without which it never decides."""
    read = strategy_columns(strategy, declared_indicators(strategy))
    needed = [name for name in OPTIONAL_SERIES if name in read]
    targets = [name for name in TARGETS if name in decided.columns]
    for symbol, start, stop in symbol_rows(bars) if needed else ():
        if "universe" in decided.columns and not decided["universe"][start:stop].any():
            continue
        expected = [name for name in needed if name == "volume" or not is_spot(symbol)]
        empty = [name for name in expected if name not in bars.columns or _is_empty(bars[name][start:stop])]
        spot = [name for name in SPOT if name in expected]
        is_blind = bool(spot) and all(name in empty for name in spot)
        is_silent = bool(targets) and all(_is_empty(decided[name][start:stop]) for name in targets)
        if empty and (is_blind or is_silent):
            name = spot[0] if is_blind else empty[0]
            raise StrategyError(
                f"Strategy {strategy.name!r} reads {name!r}, which has no value for {symbol}.",
                f"Import {OPTIONAL_SERIES[name]} of {symbol}, or leave the symbol out.",
            )


def is_spot(symbol: str) -> bool:
    """Return whether a symbol names a spot pair: ``BTC/USDT``, without the currency that a contract settles in."""
    return ":" not in symbol


def _is_empty(values: pl.Series) -> bool:
    return values.null_count() == values.len()


def missing_column(strategy: Strategy, name: str, method: str, bars: pl.DataFrame, symbols: set[str]) -> StrategyError:
    """Return what to tell about a column that is read and not there."""
    place = method_place(type(strategy), method, name)
    pair = split_ref(name)
    if pair:
        problem = f"reads {pair[1]!r} of {pair[0]}, which is not among the data"
        hint = f"Name it as a reference ([data] reference), or trade it too; here are: {', '.join(sorted(symbols))}."
    elif name in OPTIONAL_SERIES:
        problem = f"reads {name!r}, which these data do not have"
        hint = f"Import {OPTIONAL_SERIES[name]} for these symbols, or choose a strategy that needs none."
    else:
        problem = f"reads {name!r}, which is neither a column of the bars nor one of its indicators"
        known = [*bars.columns, *declared_indicators(strategy)]
        near = nearest_names(name, known)
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"There are: {', '.join(known)}."
    return StrategyError(f"Strategy {strategy.name!r} {problem}.", f"{hint}\n{place}")

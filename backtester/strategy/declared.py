"""What a strategy's methods return, checked: names to indicators, columns to expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from backtester.strategy.columns import COLUMNS, METHODS, MOST_RUNGS, SHARES, Exit, Rung, numbered
from backtester.strategy.fault import blaming
from backtester.strategy.indicators import Indicator

if TYPE_CHECKING:
    from backtester.strategy.base import Strategy


_EXAMPLES = {
    Exit: "write [Exit(0.05, share=0.5), Exit(0.10)], from backtester.strategy import Exit",
    Rung: "write [Rung(price, 0.5), Rung(price * 0.99, 0.5)], from backtester.strategy import Rung",
}


class Declared(NamedTuple):
    """The expression of a column, and the method that returned it."""

    method: str
    expr: pl.Expr


def declared_indicators(strategy: Strategy) -> dict[str, Indicator | pl.Expr]:
    """Return ``strategy.indicators()``, checked: names to indicators or expressions.

    Raises
    ------
    StrategyError
        With the strategy's own line when it raises or returns something else.
    """
    with blaming(type(strategy), "indicators"):
        declared: object = strategy.indicators()
        if not isinstance(declared, dict):
            raise TypeError(f"indicators() must return a dict of names, got {type(declared).__name__}")
        for name, item in declared.items():
            if not isinstance(name, str) or not isinstance(item, Indicator | pl.Expr):
                what = type(item).__name__
                raise TypeError(f"indicators() must map names to indicators or expressions, got {name!r}: {what}")
    return dict(declared)


def declared_decisions(strategy: Strategy) -> dict[str, Declared]:
    """Return the expression of every column that the strategy's methods decide, in the order of ``COLUMNS``.

    Raises
    ------
    StrategyError
        With the strategy's own line when a method raises or returns something else.
    """
    found: dict[str, Declared] = {}
    for method in METHODS:
        if method not in type(strategy).overrides:
            continue
        with blaming(type(strategy), method):
            columns = _columns_of(method, getattr(strategy, method)())
            for name, expr in columns.items():
                if name in found:
                    raise ValueError(f"{method}() and {found[name].method}() both state shares: use one of the two")
                found[name] = Declared(method, expr)
    return {name: found[name] for name in COLUMNS if name in found}


def _columns_of(method: str, returned: object) -> dict[str, pl.Expr]:
    """Return the columns that a method's result stands for."""
    if returned is None and method != "target":
        return {}
    if isinstance(returned, list | tuple) and method in SHARES:
        return _rungs(method, returned)
    return {method: _as_expression(method, returned)}


def _rungs(method: str, returned: Sequence[object]) -> dict[str, pl.Expr]:
    wanted = Rung if method == "limit_price" else Exit
    if len(returned) > MOST_RUNGS:
        raise ValueError(f"{method}() returned {len(returned)} of {wanted.__name__}: {MOST_RUNGS} at most")
    columns: dict[str, pl.Expr] = {}
    for place, item in enumerate(returned):
        if not isinstance(item, wanted):
            got = type(item).__name__
            raise TypeError(f"{method}() must return a list of {wanted.__name__}, got {got} in it: {_EXAMPLES[wanted]}")
        level = item.price if isinstance(item, Rung) else item.level
        columns[numbered(method, place)] = _as_expression(method, level)
        columns[numbered(SHARES[method], place)] = _as_expression(method, item.share)
    return columns


def _as_expression(method: str, value: object) -> pl.Expr:
    if isinstance(value, pl.Expr):
        return value
    if isinstance(value, bool | int | float):
        return pl.lit(value)
    if isinstance(value, Indicator):
        raise TypeError(f"{method}() returned an indicator: name it in indicators() and write pl.col(name)")
    if isinstance(value, Exit | Rung):
        raise TypeError(f"{method}() returned {type(value).__name__}(…): put it into a list")
    raise TypeError(f"{method}() must return a polars expression, got {type(value).__name__}")


def strategy_columns(strategy: Strategy, declared: dict[str, Indicator | pl.Expr]) -> dict[str, str]:
    """Return the columns of the bars that a strategy reads, each with the method that reads it."""
    needed = dict.fromkeys(strategy.reads, "signals")
    for item in declared.values():
        names = item.columns if isinstance(item, Indicator) else item.meta.root_names()
        needed.update(dict.fromkeys(sorted(names), "indicators"))
    for decision in declared_decisions(strategy).values():
        names = decision.expr.meta.root_names()
        needed.update({name: decision.method for name in names if name not in declared and name not in needed})
    return needed

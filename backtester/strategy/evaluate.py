"""From bars to targets: indicators per symbol, each distinct one once, then the target, checked."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.errors import DataError, StrategyError, format_time, nearest_names
from backtester.strategy.base import (
    TARGET_ONLY,
    UNSUPPORTED,
    Strategy,
    declared_indicators,
    declared_target,
    overrides_signals,
)
from backtester.strategy.fault import blaming, method_place
from backtester.strategy.indicators import Indicator, split_ref

KEYS = ("open_time", "symbol")
ACROSS = ".over("  # how an expression shows that it looks across rows by a key
SPOT = ("premium", "index_close")  # either tells the distance to spot: a strategy may read both and take what is there
# Columns that come from a series of their own: all null for a symbol means that the series is not there.
OPTIONAL_SERIES = {
    "index_close": "an index series",
    "premium": "a premium or an index series",
    "predicted_funding_rate": "a premium or an index series",
    "mark_close": "a mark series",
    "volume": "volumes",
}


class Rows(NamedTuple):
    """Where a symbol's rows stand: ``bars[start:stop]``."""

    symbol: str
    start: int
    stop: int


def evaluate(strategy: Strategy, bars: pl.DataFrame) -> pl.DataFrame:
    """Return the targets of a strategy.

    Parameters
    ----------
    strategy : Strategy
        The rule with its parameters.
    bars : polars.DataFrame
        Sorted by symbol, then ``open_time``: the columns a strategy can read, float64 with null for missing.

    Returns
    -------
    polars.DataFrame
        ``open_time, symbol, target`` (float64, null keeps what is there): one row per bar, in the same order.

    Raises
    ------
    StrategyError
        When the strategy raises (its own line), reads what is not there, or returns what cannot be traded.
    """
    targets = Evaluator(bars).targets(strategy)
    _refuse_silence(strategy, bars, targets)
    return targets


class Evaluator:
    """Bars of one run or sweep, and every indicator computed on them so far.

    Parameters
    ----------
    bars : polars.DataFrame
        As in ``evaluate``.
    is_tried : bool
        The same strategies have been evaluated on other bars: what depends on the expression alone is not tried again.
    """

    def __init__(self, bars: pl.DataFrame, *, is_tried: bool = False) -> None:
        self.is_tried = is_tried
        self.rows = symbol_rows(bars)
        self.bars = bars
        self._arrays: dict[str, NDArray[np.float64]] = {}
        self._computed: dict[Indicator, NDArray[np.float64]] = {}

    def targets(self, strategy: Strategy) -> pl.DataFrame:
        """Return ``open_time, symbol, target`` of a strategy, as ``evaluate`` does."""
        return self.columns(strategy).select(*KEYS, "target")

    def columns(self, strategy: Strategy) -> pl.DataFrame:
        """Return ``open_time, symbol``, every indicator of a strategy by its name, and ``target``."""
        declared = declared_indicators(strategy)
        frame = self._with_indicators(strategy, declared)
        if overrides_signals(strategy):
            target = _signal_target(strategy, frame)
        else:
            target = self._after_warmup(self._target(strategy, frame), frame, declared)
        _refuse_untradable(strategy, frame, target)
        return frame.select(*KEYS, *declared).with_columns(target)

    def _with_indicators(self, strategy: Strategy, declared: dict[str, Indicator | pl.Expr]) -> pl.DataFrame:
        for name in ("target", *self.bars.columns):
            if name in declared:
                raise StrategyError(
                    f"Strategy {strategy.name!r} names an indicator {name!r}, which is a column's name already.",
                    method_place(type(strategy), "indicators", name),
                )
        needed = strategy_columns(strategy, declared)
        frame = self._with_references(strategy, needed)
        columns = []
        for name, item in declared.items():
            with blaming(type(strategy), "indicators"):
                if isinstance(item, Indicator):
                    values = self._indicator(item, frame)
                    columns.append(pl.Series(name, values, pl.Float64, nan_to_null=True))
                else:
                    columns.append(self._expression(item, frame, name))
        return frame.with_columns(columns)

    def _with_references(self, strategy: Strategy, needed: dict[str, str]) -> pl.DataFrame:
        """Return the bars with every column that is read, or say which is not there.

        A reference to a symbol that is among the bars is looked up there, at the same bar.
        """
        frame = self.bars
        symbols = {rows.symbol for rows in self.rows}
        for name, method in needed.items():
            if name in frame.columns:
                continue
            pair = split_ref(name)
            if name in SPOT and any(other in needed and other in frame.columns for other in SPOT):
                frame = frame.with_columns(pl.lit(None, pl.Float64).alias(name))
            elif pair and pair[0] in symbols and pair[1] in self.bars.columns:
                other = self.bars.filter(pl.col("symbol") == pair[0]).select("open_time", pl.col(pair[1]).alias(name))
                frame = frame.join(other, on="open_time", how="left", maintain_order="left")
            else:
                raise _missing_column(strategy, name, method, self.bars, symbols)
        return frame

    def _indicator(self, item: Indicator, frame: pl.DataFrame) -> NDArray[np.float64]:
        known = self._computed.get(item)
        if known is not None:
            return known
        inputs = [self._input(source, frame) for source in item.inputs]
        values = np.empty(frame.height)
        for _, start, stop in self.rows:
            values[start:stop] = item.compute(*(array[start:stop] for array in inputs))
        self._computed[item] = values
        return values

    def _input(self, source: str | pl.Expr | Indicator, frame: pl.DataFrame) -> NDArray[np.float64]:
        if isinstance(source, Indicator):
            return self._indicator(source, frame)
        if isinstance(source, pl.Expr):
            return _float_array(self._expression(source, frame, "input"))
        if source not in self._arrays:
            self._arrays[source] = _float_array(frame[source])
        return self._arrays[source]

    def _expression(self, expr: pl.Expr, frame: pl.DataFrame, name: str) -> pl.Series:
        """Return an expression evaluated for each symbol alone."""
        if ACROSS in str(expr):
            raise ValueError("indicators are computed for each symbol alone: .over() belongs into target()")
        return self._by_symbol(expr, frame, name)

    def _by_symbol(self, expr: pl.Expr, frame: pl.DataFrame, name: str) -> pl.Series:
        parts = []
        for symbol, start, stop in self.rows:
            try:
                parts.append(frame.slice(start, stop - start).with_columns(expr.alias(name)).get_column(name))
            except pl.exceptions.ShapeError as error:
                bars = stop - start
                raise ValueError(f"it does not give one value for each of the {bars} bars of {symbol}") from error
        if not parts:
            return pl.Series(name, [], pl.Float64)
        return pl.concat([part.to_frame() for part in parts], how="vertical_relaxed").to_series()

    def _after_warmup(
        self, target: pl.Series, frame: pl.DataFrame, declared: dict[str, Indicator | pl.Expr]
    ) -> pl.Series:
        """Return the target with no decision where one of the symbol's indicators has not had its first value.

        A comparison with null is null, which ``when(…).otherwise(…)`` takes for false: without this rule, a trend
        follower would go short on the first bar for want of an average.
        """
        names = [name for name, item in declared.items() if isinstance(item, Indicator)]
        ready = np.ones(frame.height, dtype=bool)
        for name in names:
            known = frame[name].is_not_null().to_numpy()
            for _, start, stop in self.rows:
                first = int(known[start:stop].argmax()) if known[start:stop].any() else stop - start
                ready[start : start + first] = False
        return target if ready.all() else target.set(pl.Series(~ready), None)

    def _target(self, strategy: Strategy, frame: pl.DataFrame) -> pl.Series:
        expr = declared_target(strategy)
        with blaming(type(strategy), "target"):
            if ACROSS in str(expr) and len(self.rows) > 1:
                return _as_float(_across(expr, frame, is_tried=self.is_tried))
            return _as_float(self._by_symbol(expr, frame, "target"))


def symbol_rows(bars: pl.DataFrame) -> tuple[Rows, ...]:
    """Return where each symbol's rows stand.

    Raises
    ------
    DataError
        When ``open_time`` or ``symbol`` is missing, a symbol's rows are apart, or times do not rise.
    """
    for name in KEYS:
        if name not in bars.columns:
            raise DataError("bars", f"there is no column {name!r}", hint=f"Columns: {', '.join(bars.columns)}.")
    runs = bars.select(pl.col("symbol").rle()).unnest("symbol")
    names = runs["value"].to_list()
    if len(set(names)) != len(names):
        raise DataError("bars", "the rows of one symbol do not stand together", hint="Sort them by symbol, open_time.")
    stops = np.cumsum(runs["len"].to_numpy())
    rows = tuple(
        Rows(name, int(stop - length), int(stop)) for name, length, stop in zip(names, runs["len"], stops, strict=True)
    )
    times = bars["open_time"].dt.epoch("ms").to_numpy()
    rises = times[1:] > times[:-1]
    rises[stops[:-1] - 1] = True  # where the next symbol begins
    if not rises.all():
        row = int(rises.argmin()) + 1
        hint = "Sort the bars and drop duplicates."
        raise DataError(f"bars of {bars['symbol'][row]}", "open_time does not rise", int(times[row]), hint)
    return rows


def strategy_columns(strategy: Strategy, declared: dict[str, Indicator | pl.Expr]) -> dict[str, str]:
    """Return the columns of the bars that a strategy reads, each with the method that reads it."""
    needed = dict.fromkeys(strategy.reads, "signals")
    for item in declared.values():
        names = item.columns if isinstance(item, Indicator) else item.meta.root_names()
        needed.update(dict.fromkeys(sorted(names), "indicators"))
    if not overrides_signals(strategy):
        names = declared_target(strategy).meta.root_names()
        needed.update({name: "target" for name in names if name not in declared and name not in needed})
    return needed


def epoch_ms(bars: pl.DataFrame, row: int) -> int:
    """Return the ``open_time`` of a row in ms since 1970."""
    return int(bars["open_time"].slice(row, 1).dt.epoch("ms").item())


def _float_array(values: pl.Series) -> NDArray[np.float64]:
    return np.ascontiguousarray(values.cast(pl.Float64).to_numpy(), dtype=np.float64)


def _across(expr: pl.Expr, frame: pl.DataFrame, *, is_tried: bool) -> pl.Series:
    """Return a target that looks across symbols, refusing one whose value depends on how the rows are stacked.

    ``shift``, ``rolling_mean`` and the like, outside ``.over("symbol")``, would run from one symbol's last bar into the
    next symbol's first: seen by evaluating once more with the rows in order of time.
    """
    name = "target"
    values = frame.with_columns(expr.alias(name)).get_column(name)
    if is_tried:
        return values
    numbered = frame.with_row_index("__row").sort("open_time", maintain_order=True)
    restacked = numbered.with_columns(expr.alias(name)).sort("__row").get_column(name)
    if not _same(values, restacked):
        raise ValueError(
            "it looks back along rows of several symbols (shift, rolling, forward_fill …) beside .over(): "
            'move that part into indicators(), or add .over("symbol") to it'
        )
    return values


def _same(first: pl.Series, second: pl.Series) -> bool:
    if first.dtype.is_float():
        # sums over a group may round differently in another order of rows
        a, b = first.to_numpy(), second.to_numpy()
        return bool(np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True))
    return first.equals(second)


def _as_float(values: pl.Series) -> pl.Series:
    if values.dtype == pl.Null or values.dtype.is_numeric():
        return values.cast(pl.Float64).alias("target")
    hint = ": add .cast(pl.Float64)" if values.dtype == pl.Boolean else ""
    raise TypeError(f"the target must be a number (a signed fraction of equity), got {values.dtype}{hint}")


def _signal_target(strategy: Strategy, frame: pl.DataFrame) -> pl.Series:
    with blaming(type(strategy), "signals"):
        returned: object = strategy.signals(frame)
        if not isinstance(returned, pl.DataFrame):
            raise TypeError(f"signals() must return a polars DataFrame, got {type(returned).__name__}")
    _check_signal_rows(strategy, frame, returned)
    with blaming(type(strategy), "signals"):
        return _as_float(returned["target"])


def _check_signal_rows(strategy: Strategy, frame: pl.DataFrame, returned: pl.DataFrame) -> None:
    place = method_place(type(strategy), "signals")
    problem = ""
    missing = [name for name in (*KEYS, "target") if name not in returned.columns]
    unsupported = [name for name in UNSUPPORTED if name in returned.columns]
    if missing:
        problem = f"without the column {missing[0]!r}"
    elif unsupported:
        problem = f"with {unsupported[0]!r}, but {TARGET_ONLY}"
    elif returned.height != frame.height:
        problem = f"with {returned.height} rows for {frame.height} bars: give one per bar, null where nothing changes"
    else:
        for name in KEYS:
            if returned[name].dtype != frame[name].dtype:
                problem = f"with {name!r} of type {returned[name].dtype} instead of {frame[name].dtype}"
                break
            differs = returned[name].ne_missing(frame[name])
            if differs.any():
                row = int(differs.arg_max() or 0)
                bar = f"{frame['symbol'][row]} {format_time(epoch_ms(frame, row))}"
                problem = f"in another order: row {row} should be the bar {bar}; keep the order of the bars"
                break
    if problem:
        raise StrategyError(f"Strategy {strategy.name!r} returned signals {problem}.", place)


def _refuse_untradable(strategy: Strategy, frame: pl.DataFrame, target: pl.Series) -> None:
    bad = ~(target.is_finite().fill_null(value=True))
    if not bad.any():
        return
    rows = frame.select(*KEYS).with_columns(target).filter(bad).sort("open_time", maintain_order=True)
    value = rows["target"][0]
    what = "NaN (not a number)" if value != value else "infinite"  # noqa: PLR0124 - NaN alone differs from itself
    method = "signals" if overrides_signals(strategy) else "target"
    raise StrategyError(
        f"Strategy {strategy.name!r} wants a target that is {what} for {rows['symbol'][0]} at "
        f"{format_time(epoch_ms(rows, 0))} ({rows.height} such bars).",
        f"A division by zero? Use null (None) for no decision, for instance with fill_nan(None).\n"
        f"{method_place(type(strategy), method)}",
    )


def _refuse_silence(strategy: Strategy, bars: pl.DataFrame, targets: pl.DataFrame) -> None:
    """Refuse a strategy that reads a series without any value: one to spot, or one without which it never decides."""
    read = strategy_columns(strategy, declared_indicators(strategy))
    needed = [name for name in OPTIONAL_SERIES if name in read]
    for symbol, start, stop in symbol_rows(bars) if needed else ():
        empty = [name for name in needed if name not in bars.columns or _is_empty(bars[name][start:stop])]
        spot = [name for name in SPOT if name in needed]
        is_blind = bool(spot) and all(name in empty for name in spot)
        if empty and (is_blind or _is_empty(targets["target"][start:stop])):
            name = spot[0] if is_blind else empty[0]
            raise StrategyError(
                f"Strategy {strategy.name!r} reads {name!r}, which has no value for {symbol}.",
                f"Import {OPTIONAL_SERIES[name]} of {symbol}, or leave the symbol out.",
            )


def _is_empty(values: pl.Series) -> bool:
    return values.null_count() == values.len()


def _missing_column(strategy: Strategy, name: str, method: str, bars: pl.DataFrame, symbols: set[str]) -> StrategyError:
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

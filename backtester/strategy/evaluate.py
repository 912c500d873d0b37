"""From bars to decisions: indicators per symbol, each distinct one once, then targets and settings, checked."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.errors import StrategyError
from backtester.strategy.base import Strategy
from backtester.strategy.coarse import bar_length, coarse_bars, known_at_close, timeframe_text
from backtester.strategy.columns import COLUMNS, KEYS, LEGS, TARGETS, as_column
from backtester.strategy.declared import Declared, declared_decisions, declared_indicators, strategy_columns
from backtester.strategy.fault import blaming, method_place
from backtester.strategy.indicators import Indicator, split_ref
from backtester.strategy.refusals import SPOT, missing_column, refuse_silence, refuse_untradable
from backtester.strategy.returned import signal_columns
from backtester.strategy.rows import symbol_rows

ACROSS = ".over("  # how an expression shows that it looks across rows by a key


def evaluate(strategy: Strategy, bars: pl.DataFrame, members: pl.Series | None = None) -> pl.DataFrame:
    """Return what a strategy decides.

    Parameters
    ----------
    strategy : Strategy
        The rule with its parameters.
    bars : polars.DataFrame
        Sorted by symbol, then ``open_time``: the columns a strategy can read, float64 with null for missing.
    members : polars.Series, optional
        Boolean, one per bar: whether the run's own universe lets the symbol be held; null is no. It is joined with the
        strategy's ``universe``.

    Returns
    -------
    polars.DataFrame
        ``open_time, symbol`` and, in the order of ``COLUMNS``, those that the strategy decides: ``target`` (or
        ``target_long, target_short``; none with ``on_bar``), then the settings. float64, null keeps what is there;
        ``active`` and ``universe`` boolean. One row per bar, in the same order. Where ``universe`` is false the target
        is null.

    Raises
    ------
    StrategyError
        When the strategy raises (its own line), reads what is not there, or returns what cannot be traded.
    """
    decided = Evaluator(bars).decisions(strategy, members)
    refuse_silence(strategy, bars, decided)
    return decided


class Evaluator:
    """Bars of one run or sweep, and every indicator computed on them so far.

    Parameters
    ----------
    bars : polars.DataFrame
        As in ``evaluate``.
    is_tried : bool
        The same strategies have been evaluated on other bars: what depends on the expression alone is not tried again.
    bar_ms : int, optional
        Length of the bars; None: the least distance of two.
    """

    def __init__(self, bars: pl.DataFrame, *, is_tried: bool = False, bar_ms: int | None = None) -> None:
        self.is_tried = is_tried
        self.rows = symbol_rows(bars)
        self.bars = bars
        self.bar_ms = bar_ms or bar_length(bars)
        opened = bars["open_time"].dt.epoch("ms") if bars.height else None
        self._numbers = [
            int(opened[rows.start]) // (self.bar_ms or 1) if opened is not None else 0 for rows in self.rows
        ]
        self._arrays: dict[str, NDArray[np.float64]] = {}
        self._computed: dict[Indicator, NDArray[np.float64]] = {}

    def decisions(self, strategy: Strategy, members: pl.Series | None = None) -> pl.DataFrame:
        """Return what a strategy decides, as ``evaluate`` does."""
        columns = self.columns(strategy, members)
        return columns.select(*KEYS, *(name for name in COLUMNS if name in columns.columns))

    def columns(self, strategy: Strategy, members: pl.Series | None = None) -> pl.DataFrame:
        """Return ``open_time, symbol``, every indicator of a strategy by its name, and what it decides."""
        declared = declared_indicators(strategy)
        frame = self._with_indicators(strategy, declared)
        decided = self._decided(strategy, frame, members)
        if "signals" not in strategy.overrides:
            self._keep_silent_before_indicators(decided, frame, declared)
        refuse_untradable(strategy, frame, decided)
        return frame.select(*KEYS, *declared).with_columns(decided[name] for name in COLUMNS if name in decided)

    def _decided(self, strategy: Strategy, frame: pl.DataFrame, members: pl.Series | None) -> dict[str, pl.Series]:
        """Return the columns that the strategy decides, by name."""
        expressions = declared_decisions(strategy)
        universe = expressions.pop("universe", None)
        if universe is not None:
            own = self._decision("universe", universe, strategy, frame, members)
            members = own if members is None else own & members
        decided = signal_columns(strategy, frame, expressions) if "signals" in strategy.overrides else {}
        if "universe" in decided:
            members = decided["universe"] if members is None else decided["universe"] & members
        members = None if members is None else members.fill_null(value=False).alias("universe")
        for name, item in expressions.items():
            decided[name] = self._decision(name, item, strategy, frame, members)
        if strategy.overrides.intersection(LEGS):
            for name in LEGS:
                decided.setdefault(name, pl.Series(name, [None] * frame.height, pl.Float64))
        if members is not None:
            decided["universe"] = members
            for name in decided.keys() & set(TARGETS):
                decided[name] = decided[name].set(~members, None)
        return decided

    def _with_indicators(self, strategy: Strategy, declared: dict[str, Indicator | pl.Expr]) -> pl.DataFrame:
        for name in (*COLUMNS, *self.bars.columns):
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
        frame, symbols = self.bars, self._symbols
        for name, method in needed.items():
            has_other_spot = any(other in needed and other in frame.columns for other in SPOT)
            found = self._with_column(name, frame, allow_spot=has_other_spot)
            if found is None:
                raise missing_column(strategy, name, method, self.bars, symbols)
            frame = found
        return frame

    @property
    def _symbols(self) -> set[str]:
        return {rows.symbol for rows in self.rows}

    def _with_column(self, name: str, frame: pl.DataFrame, *, allow_spot: bool) -> pl.DataFrame | None:
        """Return the frame with a column that is read, looked up or empty; None where there is none."""
        if name in frame.columns:
            return frame
        pair = split_ref(name)
        if name in SPOT and allow_spot:
            return frame.with_columns(pl.lit(None, pl.Float64).alias(name))
        if pair and pair[0] in self._symbols and pair[1] in self.bars.columns:
            other = self.bars.filter(pl.col("symbol") == pair[0]).select("open_time", pl.col(pair[1]).alias(name))
            return frame.join(other, on="open_time", how="left", maintain_order="left")
        return None

    def values(self, item: Indicator) -> NDArray[np.float64]:
        """Return an indicator of all bars, computed once.

        Parameters
        ----------
        item : Indicator
            What is wanted.

        Returns
        -------
        ndarray of float64, shape (bars,)
            In the order of the bars, NaN where the indicator is null. Kept and given again: not to be written to.

        Raises
        ------
        StrategyError
            When it reads what is not there. ``premium`` and ``index_close``, of which a strategy may find one alone,
            are empty instead.
        ValueError
            When the bars do not allow it: a timeframe that is no multiple of theirs, an expression across symbols.
        """
        known = self._computed.get(item)
        if known is not None:
            return known
        frame = self.bars
        for name in sorted(item.columns):
            found = self._with_column(name, frame, allow_spot=True)
            if found is None:
                hint = f"There are: {', '.join(self.bars.columns)}."
                raise StrategyError(f"An indicator reads {name!r}, which is not among the data.", hint)
            frame = found
        return self._indicator(item, frame)

    def values_into(self, item: Indicator, out: NDArray[np.float64]) -> None:
        """Write an indicator of all bars into an array, without keeping it; as ``values`` otherwise.

        Parameters
        ----------
        item : Indicator
            What is wanted.
        out : ndarray of float64, shape (bars,)
            Written.
        """
        plain = not item.timeframe_ms and all(isinstance(source, str) for source in item.inputs)
        if item in self._computed or not plain or any(source not in self.bars.columns for source in item.inputs):
            out[:] = self.values(item)
            return
        inputs = [self._input(source, self.bars) for source in item.inputs]
        self._compute_into(item, out, inputs)

    def _compute_into(self, item: Indicator, out: NDArray[np.float64], inputs: list[NDArray[np.float64]]) -> None:
        """Write an indicator symbol by symbol, its sums in blocks that begin at bars of the calendar."""
        for (_, start, stop), number in zip(self.rows, self._numbers, strict=True):
            item.compute_into(out[start:stop], *(array[start:stop] for array in inputs), number=number)

    def column(self, name: str) -> NDArray[np.float64]:
        """Return a column of the bars as floats, NaN where it is null; not to be written to."""
        return self._input(name, self.bars)

    def _indicator(self, item: Indicator, frame: pl.DataFrame) -> NDArray[np.float64]:
        known = self._computed.get(item)
        if known is not None:
            return known
        if item.timeframe_ms:
            values = self._coarse_indicator(item, frame)
            self._computed[item] = values
            return values
        inputs = [self._input(source, frame) for source in item.inputs]
        values = np.empty(frame.height)
        self._compute_into(item, values, inputs)
        self._computed[item] = values
        return values

    def _coarse_indicator(self, item: Indicator, frame: pl.DataFrame) -> NDArray[np.float64]:
        """Return an indicator of coarser bars, at each bar the value of the last one that has closed."""
        values = np.full(frame.height, np.nan)
        if self.bar_ms is None:
            return values  # a single bar: nothing coarser has closed that began with it
        if item.timeframe_ms % self.bar_ms:
            coarse, fine = timeframe_text(item.timeframe_ms), timeframe_text(self.bar_ms)
            raise ValueError(f"at(): {coarse} is no multiple of the bars' length, {fine}")
        bars = coarse_bars(frame, sorted(item.columns - set(KEYS)), item.timeframe_ms)
        inner = Evaluator(bars, is_tried=self.is_tried, bar_ms=item.timeframe_ms)
        computed = inner._input(item.inputs[0], bars)
        opened = bars["open_time"].dt.epoch("ms").to_numpy()
        closed = frame["open_time"].dt.epoch("ms").to_numpy() + self.bar_ms
        places = {rows.symbol: rows for rows in inner.rows}
        for symbol, start, stop in self.rows:
            if symbol in places:
                _, first, end = places[symbol]
                values[start:stop] = known_at_close(
                    computed[first:end], opened[first:end], item.timeframe_ms, closed[start:stop]
                )
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
        if expr.meta.is_literal():
            return frame.with_columns(expr.alias(name)).get_column(name)
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

    def _keep_silent_before_indicators(
        self, decided: dict[str, pl.Series], frame: pl.DataFrame, declared: dict[str, Indicator | pl.Expr]
    ) -> None:
        """Take back the targets of bars where one of the symbol's indicators has not had its first value.

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
        if not ready.all():
            for name in decided.keys() & set(TARGETS):
                decided[name] = decided[name].set(pl.Series(~ready), None)

    def _decision(
        self, name: str, item: Declared, strategy: Strategy, frame: pl.DataFrame, members: pl.Series | None
    ) -> pl.Series:
        """Return a column that an expression decides; across symbols it sees those that may be held."""
        with blaming(type(strategy), item.method):
            if ACROSS not in str(item.expr):
                return as_column(self._by_symbol(item.expr, frame, name), name)
            if members is None or members.all():
                return as_column(self._across(item.expr, frame, name), name)
            rows = np.flatnonzero(members.fill_null(value=False).to_numpy())
            seen = as_column(self._across(item.expr, frame[rows], name), name)
            column = pl.Series(name, [None] * frame.height, seen.dtype)
            return column.scatter(rows, seen)

    def _across(self, expr: pl.Expr, frame: pl.DataFrame, name: str) -> pl.Series:
        """Return an expression that looks across symbols, refusing one whose value depends on how rows are stacked.

        ``shift``, ``rolling_mean`` and the like, outside ``.over("symbol")``, would run from one symbol's last bar into
        the next symbol's first: seen by evaluating once more with the rows in order of time.
        """
        values = frame.with_columns(expr.alias(name)).get_column(name)
        if self.is_tried or len(self.rows) == 1:
            return values
        numbered = frame.with_row_index("__row").sort("open_time", maintain_order=True)
        restacked = numbered.with_columns(expr.alias(name)).sort("__row").get_column(name)
        if not _same(values, restacked):
            raise ValueError(
                "it looks back along rows of several symbols (shift, rolling, forward_fill …) beside .over(): "
                'move that part into indicators(), or add .over("symbol") to it'
            )
        return values


def _float_array(values: pl.Series) -> NDArray[np.float64]:
    if values.dtype.is_temporal():
        values = values.dt.epoch("ms")
    return np.ascontiguousarray(values.cast(pl.Float64).to_numpy(), dtype=np.float64)


def _same(first: pl.Series, second: pl.Series) -> bool:
    if first.dtype.is_float():
        # sums over a group may round differently in another order of rows
        a, b = first.to_numpy(), second.to_numpy()
        return bool(np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True))
    return first.equals(second)

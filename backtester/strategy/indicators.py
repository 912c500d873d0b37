"""Indicators: what is computed of a symbol's history, as values that can be compared, hashed and computed once.

An indicator looks back only. Its value is a finite number or null, never NaN: null until its window is full, null
while a window holds a missing input, and null where it is not defined (a z-score of a constant window).
Recursive ones (``ema``, ``rsi``, ``atr``, ``adx``, ``supertrend``) skip a missing or infinite input, give null there
and go on from the state before it.

Where several share a part, the part is an indicator of its own and they are computed of it: the two sides of a channel,
or ``macd`` with other lengths, cost one pass more, not a whole computation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.strategy.coarse import parse_timeframe, session_anchor

SETTLED = 1e-9  # a recursion has forgotten its start when this share of it is left


@dataclass(frozen=True)
class _Function:
    """How an indicator is computed, and how many bars before one can change its value.

    ``fill`` is given the array that it fills, one array per input, the length unless that is 0, and the options.
    """

    fill: Callable[..., object]
    lookback: Callable[[Indicator, int | None], int]


class _ExprKey:
    """A polars expression as a value: equal when ``Expr.meta.eq`` says so."""

    __slots__ = ("expr", "text")

    def __init__(self, expr: pl.Expr) -> None:
        self.expr = expr
        self.text = str(expr)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ExprKey) and self.text == other.text and self.expr.meta.eq(other.expr)

    def __hash__(self) -> int:
        return hash(self.text)


@dataclass(frozen=True, eq=False)
class Indicator:
    """A function of a symbol's history: comparable and hashable by function, input and parameters.

    Built by ``sma``, ``ema`` and the others; returned by ``Strategy.indicators`` under the name of its column.

    Attributes
    ----------
    function : str
        Name of the function.
    inputs : tuple
        Column names, polars expressions or indicators.
    length : int
        Bars of the window, or of the lag; 0 for functions that take none.
    timeframe_ms : int
        Length of the coarser bars that ``at`` computes its input on; 0 for all others.
    options : tuple of float
        Further numbers, in the order in which the function takes them.
    """

    function: str
    inputs: tuple[str | pl.Expr | Indicator, ...]
    length: int
    timeframe_ms: int = 0
    options: tuple[float, ...] = ()
    _key: tuple[Any, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        inputs = tuple(_plain_column(item) for item in self.inputs)
        object.__setattr__(self, "inputs", inputs)
        keys = tuple(_ExprKey(item) if isinstance(item, pl.Expr) else item for item in inputs)
        object.__setattr__(self, "_key", (self.function, keys, self.length, self.timeframe_ms, self.options))

    def __repr__(self) -> str:
        options = f", options={self.options}" if self.options else ""
        return (
            f"Indicator(function={self.function!r}, inputs={self.inputs!r}, length={self.length}, "
            f"timeframe_ms={self.timeframe_ms}{options})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Indicator) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"an indicator has no {name!r}: give it a name in indicators() and write pl.col(name).{name} in target(), "
            "or use it as the input of another indicator"
        )

    @property
    def columns(self) -> frozenset[str]:
        """The bars' columns that are read."""
        names: set[str] = set()
        for item in self.inputs:
            if isinstance(item, str):
                names.add(item)
            else:
                names |= item.columns if isinstance(item, Indicator) else set(item.meta.root_names())
        return frozenset(names)

    @property
    def lookback(self) -> int:
        """Bars before one that can change its value (for recursions: by more than a 1e-9th of their start).

        With ``at`` inside it depends on the bars' length: ask ``lookback_at``.
        """
        return self.lookback_at(None)

    def lookback_at(self, bar_ms: int | None) -> int:
        """Return the bars before one that can change its value, for bars of a length.

        Parameters
        ----------
        bar_ms : int or None
            Length of the bars [ms]; None: unknown, which does as long as no ``at`` and no session takes part.

        Raises
        ------
        ValueError
            Without a length where ``at`` or a session takes part.
        """
        own = self.timeframe_ms or bar_ms
        inner = max((item.lookback_at(own) for item in self.inputs if isinstance(item, Indicator)), default=0)
        if not self.timeframe_ms:
            return inner + _FUNCTIONS[self.function].lookback(self, own)
        if not bar_ms:
            raise ValueError("at() looks back a number of bars that depends on their length")
        ratio = self.timeframe_ms // bar_ms
        return inner * ratio + 2 * (ratio - 1)  # the last closed bar may have closed ratio - 1 bars ago

    def compute(self, *arrays: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values of one symbol.

        Parameters
        ----------
        *arrays : ndarray of float64
            One per input, NaN where missing, in time order.

        Returns
        -------
        ndarray of float64
            NaN where there is no value.
        """
        out = np.empty(arrays[0].size)
        self.compute_into(out, *arrays)
        return out

    def compute_into(self, out: NDArray[np.float64], *arrays: NDArray[np.float64], number: int = 0) -> None:
        """Write the values of one symbol, as ``compute`` returns them.

        Parameters
        ----------
        out : ndarray of float64
            Contiguous, as long as each of the inputs and none of them; filled.
        *arrays : ndarray of float64
            One per input, contiguous.
        number : int
            Number of the first bar, counted from any moment that stays: sums are made in blocks of a window's length,
            which then begin at the same bars wherever the arrays do, so that not even the last digit depends on that.
        """
        ahead = number % self.length if self.function in _SUMMED and self.length else 0
        if ahead and self.length <= out.size:
            missing = np.full(ahead, np.nan)
            longer = np.empty(ahead + out.size)
            self.compute_into(longer, *(np.concatenate((missing, array)) for array in arrays))
            out[:] = longer[ahead:]
            return
        if self.length > out.size:  # no window is full, and none as long is set up
            out.fill(np.nan)
            return
        numbers = (self.length, *self.options) if self.length else self.options
        _FUNCTIONS[self.function].fill(out, *arrays, *numbers)
        _call("rolling", "drop_infinite", out)


def _plain_column(item: str | pl.Expr | Indicator) -> str | pl.Expr | Indicator:
    if isinstance(item, pl.Expr):
        return item.meta.output_name() if item.meta.is_column() else item
    if isinstance(item, str | Indicator):
        return item
    raise TypeError(
        f"an indicator's input is a column's name, a polars expression or an indicator, got {type(item).__name__}"
    )


def _compiled(module: str, name: str) -> Callable[..., object]:
    return partial(_call, module, name)


def _call(module: str, name: str, *arguments: object) -> None:
    """Call a compiled function, imported on first use: listing strategies then needs no compiler."""
    getattr(_module(module), name)(*arguments)


@cache
def _module(name: str) -> ModuleType:
    return import_module(f"backtester.strategy.{name}")


def _subtract(out: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]) -> None:
    np.subtract(first, second, out=out)


def _window(item: Indicator, _bar_ms: int | None) -> int:
    return item.length - 1


def _whole(item: Indicator, _bar_ms: int | None) -> int:
    return item.length


def _none(_item: Indicator, _bar_ms: int | None) -> int:
    return 0


def _settling(weight: Callable[[int], float]) -> Callable[[Indicator, int | None], int]:
    """Return the lookback of a recursion: the bars after which its start counts less than ``SETTLED``."""

    def lookback(item: Indicator, _bar_ms: int | None) -> int:
        share = weight(item.length)
        return item.length if share >= 1 else item.length + math.ceil(math.log(SETTLED) / math.log1p(-share))

    return lookback


def _session(item: Indicator, bar_ms: int | None) -> int:
    if not bar_ms:
        raise ValueError("session_vwap() looks back a number of bars that depends on their length")
    return max(math.ceil(item.options[0] / bar_ms) - 1, 0)


_WILDER = _settling(lambda length: 1 / length)
_FUNCTIONS: Mapping[str, _Function] = {
    "sma": _Function(_compiled("rolling", "mean"), _window),
    "wma": _Function(_compiled("rolling", "weighted_mean"), _window),
    "ema": _Function(_compiled("recursive", "ema"), _settling(lambda length: 2 / (length + 1))),
    "rolling_sum": _Function(_compiled("rolling", "total"), _window),
    "rolling_std": _Function(_compiled("rolling", "std"), _window),
    "rolling_min": _Function(_compiled("rolling", "minimum"), _window),
    "rolling_max": _Function(_compiled("rolling", "maximum"), _window),
    "rolling_quantile": _Function(_compiled("quantile", "quantile"), _window),
    "zscore": _Function(_compiled("rolling", "zscore"), _window),
    "rsi": _Function(_compiled("recursive", "rsi"), _WILDER),
    "atr": _Function(_compiled("recursive", "atr"), _WILDER),
    "plus_di": _Function(_compiled("recursive", "plus_di"), _none),  # settles while its average true range does
    "minus_di": _Function(_compiled("recursive", "minus_di"), _none),  # settles while its average true range does
    "adx": _Function(_compiled("recursive", "adx"), _WILDER),
    "supertrend": _Function(_compiled("recursive", "supertrend"), _none),
    "supertrend_side": _Function(_compiled("recursive", "supertrend_side"), _none),
    "band": _Function(_compiled("rolling", "band"), _none),
    "difference": _Function(_subtract, _none),
    "vwap": _Function(_compiled("rolling", "volume_weighted"), _window),
    "session_vwap": _Function(_compiled("recursive", "session_vwap"), _session),
    "lag": _Function(_compiled("rolling", "lag"), _whole),
    "roc": _Function(_compiled("rolling", "roc"), _whole),
    "rolling_corr": _Function(_compiled("rolling", "correlation"), _window),
    "rolling_beta": _Function(_compiled("rolling", "beta"), _window),
}

_SUMMED = frozenset({"sma", "wma", "rolling_sum", "rolling_std", "zscore", "vwap", "rolling_corr", "rolling_beta"})
"""Functions whose last digit depends on where the blocks of their sums begin."""

Input = str | pl.Expr | Indicator


def _indicator(
    function: str, inputs: tuple[Input, ...], length: int, least: int = 1, options: tuple[float, ...] = ()
) -> Indicator:
    return Indicator(function, inputs, _bars(function, length, least), options=options)


def _bars(function: str, length: int, least: int = 1) -> int:
    if isinstance(length, bool) or not isinstance(length, int | np.integer):
        raise TypeError(f"{function}: length must be a whole number of bars, got {length!r}")
    if length < least:
        raise ValueError(f"{function}: length must be at least {least}, got {length}")
    return int(length)


def _number(function: str, name: str, value: float, least: float, most: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{function}: {name} must be a number, got {value!r}")
    if not (math.isfinite(value) and least <= value <= most):
        allowed = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise ValueError(f"{function}: {name} must be {allowed}, got {value}")
    return float(value)


def sma(column: Input, length: int) -> Indicator:
    """Return the simple mean of the last ``length`` bars; null before the window is full.

    Parameters
    ----------
    column : str, polars.Expr or Indicator
        What is averaged.
    length : int
        Bars of the window, this one included.

    Returns
    -------
    Indicator
        To be named in ``Strategy.indicators``.
    """
    return _indicator("sma", (column,), length)


def ema(column: Input, length: int) -> Indicator:
    """Return the exponential mean with weight 2 / (length + 1), begun at the first value; null for its first bars."""
    return _indicator("ema", (column,), length)


def wma(column: Input, length: int) -> Indicator:
    """Return the mean of the last ``length`` bars with weights from 1, the oldest, to ``length``, this bar."""
    return _indicator("wma", (column,), length)


def rolling_sum(column: Input, length: int) -> Indicator:
    """Return the sum of the last ``length`` bars."""
    return _indicator("rolling_sum", (column,), length)


def rolling_std(column: Input, length: int) -> Indicator:
    """Return the sample standard deviation (ddof 1) of the last ``length`` bars."""
    return _indicator("rolling_std", (column,), length, least=2)


def rolling_min(column: Input, length: int) -> Indicator:
    """Return the smallest of the last ``length`` bars."""
    return _indicator("rolling_min", (column,), length)


def rolling_max(column: Input, length: int) -> Indicator:
    """Return the largest of the last ``length`` bars."""
    return _indicator("rolling_max", (column,), length)


def rolling_quantile(column: Input, length: int, quantile: float) -> Indicator:
    """Return a quantile of the last ``length`` bars, between two of them by linear interpolation.

    Parameters
    ----------
    column : str, polars.Expr or Indicator
        What is ranked.
    length : int
        Bars of the window, this one included.
    quantile : float
        From 0, the smallest, to 1, the largest.
    """
    share = _number("rolling_quantile", "quantile", quantile, 0.0, 1.0)
    return _indicator("rolling_quantile", (column,), length, options=(share,))


def rolling_median(column: Input, length: int) -> Indicator:
    """Return the median of the last ``length`` bars."""
    return rolling_quantile(column, length, 0.5)


def zscore(column: Input, length: int) -> Indicator:
    """Return the distance from the mean of the last ``length`` bars in their sample standard deviations."""
    return _indicator("zscore", (column,), length, least=2)


def rsi(column: Input, length: int = 14) -> Indicator:
    """Return Wilder's relative strength index, 0 to 100: seeded by plain means, null for ``length`` bars."""
    return _indicator("rsi", (column,), length)


def atr(length: int = 14) -> Indicator:
    """Return Wilder's average true range of high, low and close: seeded by a plain mean, null for ``length`` bars."""
    return _indicator("atr", ("high", "low", "close"), length)


def plus_di(length: int = 14) -> Indicator:
    """Return Wilder's positive directional index, 0 to 100, of high, low and close.

    It is the smoothed movement upwards in average true ranges, both seeded by a plain mean; null for ``length`` bars,
    0 where nothing moved.
    """
    return _indicator("plus_di", ("high", "low", "close", atr(length)), length)


def minus_di(length: int = 14) -> Indicator:
    """Return Wilder's negative directional index: as ``plus_di``, of the movement downwards."""
    return _indicator("minus_di", ("high", "low", "close", atr(length)), length)


def adx(length: int = 14) -> Indicator:
    """Return Wilder's average directional index, 0 to 100: how much of the movement goes one way.

    It smooths 100 |plus - minus| / (plus + minus) of the two directional indices, seeded by a plain mean of its own;
    null for ``2 · length - 1`` bars. Bars where neither side moved count as 0.
    """
    return _indicator("adx", (plus_di(length), minus_di(length)), length)


def macd(column: Input, fast: int = 12, slow: int = 26) -> Indicator:
    """Return ``ema(column, fast)`` less ``ema(column, slow)``, each begun at the first value."""
    lengths = _bars("macd", fast), _bars("macd", slow)
    return Indicator("difference", (ema(column, lengths[0]), ema(column, lengths[1])), 0)


def macd_signal(column: Input, fast: int = 12, slow: int = 26, signal: int = 9) -> Indicator:
    """Return the ``ema`` of ``macd`` over ``signal`` bars, begun at its first value."""
    return ema(macd(column, fast, slow), _bars("macd_signal", signal))


def macd_histogram(column: Input, fast: int = 12, slow: int = 26, signal: int = 9) -> Indicator:
    """Return ``macd`` less ``macd_signal``."""
    return Indicator("difference", (macd(column, fast, slow), macd_signal(column, fast, slow, signal)), 0)


def _band(middle: Indicator, spread: Indicator, factor: float) -> Indicator:
    return Indicator("band", (middle, spread), 0, options=(factor,))


def _bollinger(name: str, column: Input, length: int, width: float, side: float) -> Indicator:
    bars = _bars(name, length, least=2)
    factor = _number(name, "width", width, 0.0) * math.sqrt((bars - 1) / bars)  # to the deviation with ddof 0
    return _band(sma(column, bars), rolling_std(column, bars), side * factor)


def bollinger_high(column: Input, length: int = 20, width: float = 2.0) -> Indicator:
    """Return the mean of the last ``length`` bars plus ``width`` of their standard deviations.

    Parameters
    ----------
    column : str, polars.Expr or Indicator
        Mostly ``"close"``.
    length : int
        Bars of the window, this one included.
    width : float
        In deviations of the population (ddof 0), as Bollinger's bands are defined; at least 0. The middle between
        the bands is ``sma(column, length)``.
    """
    return _bollinger("bollinger_high", column, length, width, 1.0)


def bollinger_low(column: Input, length: int = 20, width: float = 2.0) -> Indicator:
    """Return the mean of the last ``length`` bars less ``width`` of their standard deviations (ddof 0)."""
    return _bollinger("bollinger_low", column, length, width, -1.0)


def _keltner(name: str, length: int, multiple: float, atr_length: int | None, side: float) -> Indicator:
    bars = _bars(name, length)
    ranges = atr(bars if atr_length is None else _bars(name, atr_length))
    return _band(ema("close", bars), ranges, side * _number(name, "multiple", multiple, 0.0))


def keltner_high(length: int = 20, multiple: float = 2.0, atr_length: int | None = None) -> Indicator:
    """Return the exponential mean of the close plus ``multiple`` average true ranges.

    Parameters
    ----------
    length : int
        Bars of ``ema("close", length)``, the middle between the lines.
    multiple : float
        Distance in ``atr(atr_length)``; at least 0.
    atr_length : int, optional
        Bars of the average true range; None: ``length``.
    """
    return _keltner("keltner_high", length, multiple, atr_length, 1.0)


def keltner_low(length: int = 20, multiple: float = 2.0, atr_length: int | None = None) -> Indicator:
    """Return the exponential mean of the close less ``multiple`` average true ranges; see ``keltner_high``."""
    return _keltner("keltner_low", length, multiple, atr_length, -1.0)


def _supertrend(name: str, length: int, multiple: float) -> Indicator:
    ranges = atr(_bars(name, length))
    return Indicator(name, ("high", "low", "close", ranges), 0, options=(_number(name, "multiple", multiple, 0.0),))


def supertrend(length: int = 10, multiple: float = 3.0) -> Indicator:
    """Return the line on which the trend ends: below the close in a rising trend, above it in a falling one.

    The lines stand ``multiple`` times ``atr(length)`` above and below the middle of high and low. The upper one falls
    only, until a close above it; the lower one rises only, until a close below it. The trend turns up when a bar
    closes above the upper line and down when one closes below the lower; it is taken for falling at the first value.

    Parameters
    ----------
    length : int
        Bars of the average true range.
    multiple : float
        At least 0.

    Notes
    -----
    The lines remember as long as no close crosses them, which no number of bars bounds. ``lookback`` counts what the
    average true range needs to settle; on random walks the lines had settled before it.
    """
    return _supertrend("supertrend", length, multiple)


def supertrend_side(length: int = 10, multiple: float = 3.0) -> Indicator:
    """Return 1 in a rising trend and -1 in a falling one; see ``supertrend``."""
    return _supertrend("supertrend_side", length, multiple)


def vwap(length: int) -> Indicator:
    """Return the mean of (high + low + close) / 3 over the last ``length`` bars, weighted by volume.

    Null where nothing was traded in the window.
    """
    return _indicator("vwap", ("high", "low", "close", "volume"), length)


def session_vwap(timeframe: str = "1d") -> Indicator:
    """Return the mean of (high + low + close) / 3 since the session began, weighted by volume.

    Parameters
    ----------
    timeframe : str
        Length of a session: sessions begin at multiples of it, UTC (weeks on Mondays).

    Returns
    -------
    Indicator
        Null before the session's first trade, and in the first session unless the bars begin with it.
    """
    session = parse_timeframe(timeframe)
    inputs = ("open_time", "high", "low", "close", "volume")
    return Indicator("session_vwap", inputs, 0, options=(float(session), float(session_anchor(session))))


def donchian_high(length: int) -> Indicator:
    """Return the highest high of the last ``length`` bars, this one included (``lag`` it to leave this one out)."""
    return _indicator("rolling_max", ("high",), length)


def donchian_low(length: int) -> Indicator:
    """Return the lowest low of the last ``length`` bars, this one included (``lag`` it to leave this one out)."""
    return _indicator("rolling_min", ("low",), length)


def lag(column: Input, bars: int = 1) -> Indicator:
    """Return the value ``bars`` bars before."""
    return _indicator("lag", (column,), bars)


def roc(column: Input, length: int = 1) -> Indicator:
    """Return the relative change over ``length`` bars, as a fraction."""
    return _indicator("roc", (column,), length)


def returns(column: Input = "close") -> Indicator:
    """Return the relative change from the bar before, as a fraction."""
    return _indicator("roc", (column,), 1)


def rolling_corr(first: Input, second: Input, length: int) -> Indicator:
    """Return Pearson's correlation of two inputs over the last ``length`` bars."""
    return _indicator("rolling_corr", (first, second), length, least=2)


def rolling_beta(dependent: Input, explaining: Input, length: int) -> Indicator:
    """Return the least-squares slope of ``dependent`` on ``explaining`` over the last ``length`` bars."""
    return _indicator("rolling_beta", (dependent, explaining), length, least=2)


def at(timeframe: str, column: Input) -> Indicator:
    """Return an indicator, or a column, computed on bars of a coarser timeframe that have closed.

    Parameters
    ----------
    timeframe : str
        A multiple of the bars' own: ``"4h"``. The coarser bars are made of the bars themselves and open at multiples
        of it, UTC (weeks on Mondays).
    column : str, polars.Expr or Indicator
        What is computed there.

    Returns
    -------
    Indicator
        At each bar the value of the last coarser bar that closed by this bar's close; null before the first. It can
        be the input of another indicator, which then counts bars of its own.

    Examples
    --------
    >>> from backtester.strategy import at, ema
    >>> at("4h", ema("close", 50)) == at("240m", ema("close", 50))
    True
    """
    return Indicator("at", (column,), 0, parse_timeframe(timeframe))


def ref(symbol: str, column: str) -> pl.Expr:
    """Return a column of another symbol, at the same bar: read, never traded.

    Parameters
    ----------
    symbol : str
        As stored, ``"BTC/USDT:USDT"``.
    column : str
        ``open``, ``high``, ``low``, ``close``, ``volume``, ``mark_close``, ``funding_rate`` …

    Returns
    -------
    polars.Expr
        Null at bars that the other symbol does not have.
    """
    return pl.col(f"{REF_PREFIX}{symbol}:{column}")


REF_PREFIX = "ref:"


def split_ref(name: str) -> tuple[str, str] | None:
    """Return symbol and column of a reference column's name; None for any other name."""
    if not name.startswith(REF_PREFIX):
        return None
    symbol, _, column = name.removeprefix(REF_PREFIX).rpartition(":")
    return symbol, column

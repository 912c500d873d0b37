"""Indicators: what is computed of a symbol's history, as values that can be compared, hashed and computed once.

An indicator looks back only. Its value is a finite number or null, never NaN: null until its window is full, null
while a window holds a missing input, and null where it is not defined (a z-score of a constant window).
Recursive ones (``ema``, ``rsi``, ``atr``) skip a missing input, give null there and go on from the state before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.strategy.coarse import parse_timeframe

SETTLED = 1e-9  # a recursion has forgotten its start when this share of it is left


@dataclass(frozen=True)
class _Function:
    """How an indicator is computed, and how many bars before one can change its value."""

    compute: Callable[..., NDArray[np.float64]]
    lookback: Callable[[int], int]


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
        Bars of the window, or of the lag.
    timeframe_ms : int
        Length of the coarser bars that ``at`` computes its input on; 0 for all others.
    """

    function: str
    inputs: tuple[str | pl.Expr | Indicator, ...]
    length: int
    timeframe_ms: int = 0
    _key: tuple[Any, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        inputs = tuple(_plain_column(item) for item in self.inputs)
        object.__setattr__(self, "inputs", inputs)
        keys = tuple(_ExprKey(item) if isinstance(item, pl.Expr) else item for item in inputs)
        object.__setattr__(self, "_key", (self.function, keys, self.length, self.timeframe_ms))

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
            Length of the bars [ms]; None: unknown, which does as long as no ``at`` takes part.

        Raises
        ------
        ValueError
            Without a length where ``at`` takes part.
        """
        own = self.timeframe_ms or bar_ms
        inner = max((item.lookback_at(own) for item in self.inputs if isinstance(item, Indicator)), default=0)
        if not self.timeframe_ms:
            return inner + _FUNCTIONS[self.function].lookback(self.length)
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
        values = _FUNCTIONS[self.function].compute(*arrays, self.length)
        values[~np.isfinite(values)] = np.nan
        return values


def _plain_column(item: str | pl.Expr | Indicator) -> str | pl.Expr | Indicator:
    if isinstance(item, pl.Expr):
        return item.meta.output_name() if item.meta.is_column() else item
    if isinstance(item, str | Indicator):
        return item
    raise TypeError(
        f"an indicator's input is a column's name, a polars expression or an indicator, got {type(item).__name__}"
    )


def _compiled(name: str) -> Callable[..., NDArray[np.float64]]:
    """Return the compiled function, imported on first use: listing strategies then needs no compiler."""

    def compute(*arguments: Any) -> NDArray[np.float64]:
        from backtester.strategy import rolling  # noqa: PLC0415 - see above

        values: NDArray[np.float64] = getattr(rolling, name)(*arguments)
        return values

    return compute


def _window(length: int) -> int:
    return length - 1


def _settling(weight: Callable[[int], float]) -> Callable[[int], int]:
    """Return the lookback of a recursion: the bars after which its start counts less than ``SETTLED``."""

    def lookback(length: int) -> int:
        share = weight(length)
        return length if share >= 1 else length + math.ceil(math.log(SETTLED) / math.log1p(-share))

    return lookback


_WILDER = _settling(lambda length: 1 / length)
_FUNCTIONS: Mapping[str, _Function] = {
    "sma": _Function(_compiled("mean"), _window),
    "ema": _Function(_compiled("ema"), _settling(lambda length: 2 / (length + 1))),
    "rolling_std": _Function(_compiled("std"), _window),
    "rolling_min": _Function(_compiled("minimum"), _window),
    "rolling_max": _Function(_compiled("maximum"), _window),
    "zscore": _Function(_compiled("zscore"), _window),
    "rsi": _Function(_compiled("rsi"), _WILDER),
    "atr": _Function(_compiled("atr"), _WILDER),
    "lag": _Function(_compiled("lag"), lambda length: length),
    "roc": _Function(_compiled("roc"), lambda length: length),
    "rolling_corr": _Function(_compiled("correlation"), _window),
    "rolling_beta": _Function(_compiled("beta"), _window),
}

Input = str | pl.Expr | Indicator


def _indicator(function: str, inputs: tuple[Input, ...], length: int, least: int = 1) -> Indicator:
    if isinstance(length, bool) or not isinstance(length, int | np.integer):
        raise TypeError(f"{function}: length must be a whole number of bars, got {length!r}")
    if length < least:
        raise ValueError(f"{function}: length must be at least {least}, got {length}")
    return Indicator(function, inputs, int(length))


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


def rolling_std(column: Input, length: int) -> Indicator:
    """Return the sample standard deviation (ddof 1) of the last ``length`` bars."""
    return _indicator("rolling_std", (column,), length, least=2)


def rolling_min(column: Input, length: int) -> Indicator:
    """Return the smallest of the last ``length`` bars."""
    return _indicator("rolling_min", (column,), length)


def rolling_max(column: Input, length: int) -> Indicator:
    """Return the largest of the last ``length`` bars."""
    return _indicator("rolling_max", (column,), length)


def zscore(column: Input, length: int) -> Indicator:
    """Return the distance from the mean of the last ``length`` bars in their sample standard deviations."""
    return _indicator("zscore", (column,), length, least=2)


def rsi(column: Input, length: int = 14) -> Indicator:
    """Return Wilder's relative strength index, 0 to 100: seeded by plain means, null for ``length`` bars."""
    return _indicator("rsi", (column,), length)


def atr(length: int = 14) -> Indicator:
    """Return Wilder's average true range of high, low and close: seeded by a plain mean, null for ``length`` bars."""
    return _indicator("atr", ("high", "low", "close"), length)


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

"""An ``on_bar`` function called bar by bar with an account that is given, and what it asks for.

Nothing is filled here. It serves tests of a strategy, and the check that it reads the past alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.domain.enums import OrderKind, RequestKind, SettingField, label
from backtester.errors import StrategyError, format_time
from backtester.kernel._jit import njit
from backtester.kernel.loop import (
    BAR,
    DECISION_BAR,
    DONE,
    DUE_BAR,
    EQUITY,
    FREE,
    LEG_ENTRY,
    LEG_QUANTITY,
    LOST,
    REQUESTED,
    TIME,
    WALLET,
    LoopContext,
    empty_context,
)
from backtester.kernel.state import REQUEST
from backtester.strategy.base import Strategy
from backtester.strategy.compiled import compiled_on_bar, failed_bar, loop_params, loop_state, python_on_bar
from backtester.strategy.declared import declared_indicators
from backtester.strategy.evaluate import Evaluator

Floats = NDArray[np.float64]
RING = 1024  # requests that one bar may make
FIRST_LOG = 4096
SERIES = {
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "volume": "volume",
    "mark": "mark_close",
    "index_close": "index_close",
}


class Script(NamedTuple):
    """What the account shows at each bar's close of a dry run.

    Attributes
    ----------
    quantity, entry_price : array of float64
        Shape (S, N): signed size [base units] and average entry of each contract; NaN where flat.
    opposite : array of float64
        Shape (S, N): signed size of the other leg, at the same entry; 0 where one leg alone is held.
    equity, wallet, available : array of float64
        Shape (S,): equity, wallet balance and available margin [settlement currency].
    is_over : array of int64
        Shape (S,): 1 where all orders asked for before are over.
    """

    quantity: Floats
    entry_price: Floats
    opposite: Floats
    equity: Floats
    wallet: Floats
    available: Floats
    is_over: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LoopBars:
    """Bars as an ``on_bar`` function reads them.

    Attributes
    ----------
    symbols : tuple of str
        Contracts by their numbers.
    open_time : array of int64
        Opens of all bars, rising [ms since 1970].
    bar_ms : int
        Length of a bar [ms].
    series : dict of str to array of float64
        By the context's field, shape (N, S), NaN where a contract has no bar.
    indicators : array of float64
        Shape (K, N, S), in the order of ``indicators()``, NaN where there is no value.
    """

    symbols: tuple[str, ...]
    open_time: NDArray[np.int64]
    bar_ms: int
    series: dict[str, Floats]
    indicators: Floats


def requests_of(
    strategy: Strategy,
    bars: pl.DataFrame,
    *,
    held: Mapping[str, float | Sequence[float]] | None = None,
    entry_price: Mapping[str, float | Sequence[float]] | None = None,
    equity: float = 10_000.0,
    is_compiled: bool = True,
) -> pl.DataFrame:
    """Return what an ``on_bar`` strategy asks for, bar by bar, of an account that never fills anything.

    Parameters
    ----------
    strategy : Strategy
        With ``on_bar``.
    bars : polars.DataFrame
        As ``evaluate`` takes them.
    held, entry_price : dict of str to float or sequence of float, optional
        Signed size and average entry of a symbol, one for all bars or one per bar; flat where it is left out.
    equity : float
        Equity, wallet balance and available margin at every bar [settlement currency].
    is_compiled : bool
        Whether the compiled function is called, or the plain one.

    Returns
    -------
    polars.DataFrame
        A row per request: ``open_time`` of the bar at whose close it was made, ``number``, ``ask`` (submit, amend,
        cancel, cancel_all, close, set), ``symbol`` (null: all), ``kind`` of the order, ``quantity``, ``limit``,
        ``trigger``, ``distance``, ``fraction``, ``reduce_only``, ``post_only``, ``good_for``, ``group``, ``side``,
        ``request`` that is meant, ``setting``, its ``rung`` and ``value``. Null where a request has no such figure.

    Raises
    ------
    StrategyError
        When the function cannot be compiled, or raises.
    """
    loop_bars = loop_bars_of(strategy, bars)
    shape = (loop_bars.open_time.size, len(loop_bars.symbols))
    quantity, entry = np.zeros(shape), np.full(shape, np.nan)
    for place, symbol in enumerate(loop_bars.symbols):
        quantity[:, place] = np.asarray((held or {}).get(symbol, 0.0), np.float64)
        entry[:, place] = np.asarray((entry_price or {}).get(symbol, np.nan), np.float64)
    level = np.full(shape[0], equity)
    script = Script(quantity, entry, np.zeros_like(quantity), level, level, level, np.zeros(shape[0], np.int64))
    return request_frame(dry_run(strategy, loop_bars, script, is_compiled=is_compiled), loop_bars)


def loop_bars_of(
    strategy: Strategy,
    bars: pl.DataFrame,
    symbols: Sequence[str] | None = None,
    evaluated: pl.DataFrame | None = None,
    bar_ms: int | None = None,
) -> LoopBars:
    """Return bars and indicators as arrays.

    Parameters
    ----------
    strategy : Strategy
        With its indicators.
    bars : polars.DataFrame
        As ``evaluate`` takes them.
    symbols : sequence of str, optional
        Contracts by their numbers; None: in the order of the bars.
    evaluated : polars.DataFrame, optional
        What ``Evaluator.columns`` returned for these bars; None: it is asked.
    bar_ms : int, optional
        Length of the bars; None: the least distance of two.
    """
    evaluator = Evaluator(bars, bar_ms=bar_ms)
    evaluated = evaluator.columns(strategy) if evaluated is None else evaluated
    names = tuple(symbols) if symbols is not None else tuple(rows.symbol for rows in evaluator.rows)
    times = bars["open_time"].dt.epoch("ms").to_numpy()
    clock: NDArray[np.int64] = np.unique(times)
    place = np.searchsorted(clock, times)
    numbers = {symbol: number for number, symbol in enumerate(names)}
    row = np.array([numbers[symbol] for symbol in bars["symbol"].unique(maintain_order=True)], np.int64)
    row = row[bars["symbol"].rle_id().to_numpy()]
    shape = (len(names), clock.size)

    def spread(values: pl.Series | None) -> Floats:
        array = np.full(shape, np.nan)
        if values is not None:
            array[row, place] = values.cast(pl.Float64).to_numpy()
        return array

    series = {field: spread(bars.get_column(name, default=None)) for field, name in SERIES.items()}
    indicators = [spread(evaluated[name]) for name in declared_indicators(strategy)]
    stacked = np.stack(indicators) if indicators else np.zeros((0, *shape))
    return LoopBars(names, clock, evaluator.bar_ms or 0, series, stacked)


def dry_run(strategy: Strategy, bars: LoopBars, script: Script, *, is_compiled: bool = True) -> NDArray[np.void]:
    """Return the requests (rows of ``kernel.state.REQUEST``) of an ``on_bar`` function on a scripted account.

    Raises
    ------
    StrategyError
        When the function cannot be compiled, raises, or asks for more than a bar's requests.
    """
    function: Any = compiled_on_bar(strategy) if is_compiled else python_on_bar(strategy)
    drive = _drive if is_compiled else getattr(_drive, "py_func", _drive)
    log = np.zeros(FIRST_LOG, REQUEST)
    while True:
        ctx = _context(strategy, bars)
        count = drive(function, ctx, bars.open_time + bars.bar_ms, script, log)
        bar = failed_bar(ctx)
        if bar is not None:
            raise _raised(strategy, bars, script, bar)
        if ctx.clock[LOST] > 0:
            raise StrategyError(f"on_bar() of strategy {strategy.name!r} makes more than {RING} requests in a bar.")
        if count <= log.size:
            return log[:count]
        log = np.zeros(count, REQUEST)


def _raised(strategy: Strategy, bars: LoopBars, script: Script, bar: int) -> StrategyError:
    """Return the error of a compiled function that raised: the plain one is asked for its line."""
    try:
        dry_run(strategy, bars, script, is_compiled=False)
    except StrategyError as error:
        return error
    when = format_time(int(bars.open_time[bar]))
    return StrategyError(f"on_bar() of strategy {strategy.name!r} raised at the close of the bar of {when}.")


def _context(strategy: Strategy, bars: LoopBars) -> LoopContext:
    symbols = len(bars.symbols)
    empty = empty_context()
    return LoopContext(
        clock=empty.clock,
        bars=np.stack([bars.series[name] for name in SERIES]),
        indicators=bars.indicators,
        account=empty.account,
        legs=np.zeros((symbols, 3, 2)),
        backing=empty.backing,
        most_leverage=np.full(symbols, np.inf),
        params=loop_params(strategy),
        state=loop_state(strategy, symbols),
        requests=np.zeros(RING, REQUEST),
    )


@njit
def _drive(
    function: Any, ctx: LoopContext, close_times: NDArray[np.int64], script: Script, log: NDArray[np.void]
) -> int:
    """Call the function at each bar's close and log what it asks for; return how much that was."""
    count = 0
    for bar in range(close_times.size):
        ctx.clock[BAR] = bar
        ctx.clock[TIME] = close_times[bar]
        ctx.clock[DECISION_BAR] = bar
        ctx.clock[DUE_BAR] = bar + 1
        ctx.clock[DONE] = ctx.clock[REQUESTED]
        _show_account(ctx, script, bar)
        first = ctx.clock[REQUESTED]
        function(ctx)
        for number in range(first, ctx.clock[REQUESTED]):
            if count < log.size:
                log[count] = ctx.requests[number % ctx.requests.size]
            count += 1
    return count


@njit
def _show_account(ctx: LoopContext, script: Script, bar: int) -> None:
    ctx.account[EQUITY] = script.equity[bar]
    ctx.account[WALLET] = script.wallet[bar]
    ctx.account[FREE] = script.available[bar]
    for i in range(script.quantity.shape[1]):
        size, other, entry = script.quantity[bar, i], script.opposite[bar, i], script.entry_price[bar, i]
        for leg in range(3):  # net, long, short
            held = size + other
            if leg > 0:
                held = max(size, other, 0.0) if leg == 1 else min(size, other, 0.0)
            is_known = held != 0.0 and (leg > 0 or other == 0.0)
            ctx.legs[i, leg, LEG_QUANTITY] = held
            ctx.legs[i, leg, LEG_ENTRY] = entry if is_known else np.nan
    if script.is_over[bar]:
        for row in range(ctx.requests.size):
            ctx.requests[row]["left"] = 0.0


_SUBMITTED = ("quantity", "limit", "trigger", "distance", "fraction")
_COUNTED = ("reduce_only", "post_only", "good_for", "group", "side")


_KINDS = np.array([label(kind) for kind in OrderKind])
_ASKS = np.array([label(kind) for kind in RequestKind])
_SETTINGS = np.array([label(field) for field in SettingField])


def request_frame(requests: NDArray[np.void], bars: LoopBars) -> pl.DataFrame:
    """Return requests with names in place of codes, as ``requests_of`` does."""
    ask = requests["ask"]
    is_submit, is_set = ask == RequestKind.SUBMIT, ask == RequestKind.SET
    has_prices = is_submit | (ask == RequestKind.AMEND)
    means_one = (ask == RequestKind.AMEND) | (ask == RequestKind.CANCEL)
    symbols = np.array([*bars.symbols, ""])[requests["symbol"]]  # -1: all
    columns: dict[str, pl.Series] = {
        "open_time": pl.Series(bars.open_time[requests["decision_bar"]]).cast(pl.Datetime("ms", "UTC")),
        "number": pl.Series(requests["number"], dtype=pl.Int64),
        "ask": pl.Series(_ASKS[ask], dtype=pl.String),
        "symbol": _where(requests["symbol"] >= 0, symbols, pl.String),
        "kind": _where(is_submit, _KINDS[requests["kind"]], pl.String),
    }
    for name in _SUBMITTED:
        shown = has_prices if name in {"quantity", "limit", "trigger"} else is_submit
        columns[name] = _where(shown, requests[name], pl.Float64)
    for name in _COUNTED:
        columns[name] = _where(is_submit | (is_set & (name == "side")), requests[name], pl.Int64)
    columns["request"] = _where(means_one, requests["request"], pl.Int64)
    columns["setting"] = _where(is_set, _SETTINGS[np.where(is_set, requests["setting"], 0)], pl.String)
    columns["rung"] = _where(is_set, requests["rung"], pl.Int64)
    columns["value"] = _where(is_set, requests["value"], pl.Float64)
    return pl.DataFrame(columns)


def _where(shown: NDArray[np.bool_], values: NDArray[Any], dtype: type[pl.DataType]) -> pl.Series:
    column = pl.Series(values, dtype=dtype)
    if dtype == pl.Float64:
        column = column.fill_nan(None)
    return column.set(pl.Series(~shown), None)

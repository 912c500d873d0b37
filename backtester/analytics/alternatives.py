"""What else the account could have done: hold the same contracts, or trade the same without funding or costs.

None of these is a replay. The holder buys at the first open and never trades again. The paths without funding and
without costs are the run's own equity with what the ledger booked for them taken out: the same fills at the same sizes,
so that profit saved is never traded with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from backtester.analytics import drawdown, returns
from backtester.analytics.clock import bar_sums, by_symbol, milliseconds
from backtester.analytics.exposure import ENGINE_REASONS
from backtester.analytics.value import FloatArray, IntArray, inverse_symbols, to_value
from backtester.engine.result import Result, SummaryValue

FUNDING_KNOWN = 0.95
"""Share of a contract's settlements that must be known for the holder to pay funding."""


@dataclass(frozen=True, eq=False)
class Held:
    """Equity of the holder.

    Attributes
    ----------
    equity : ndarray of float64, shape (bars,)
        At the run's bar closes [settlement currency]; 0 from the close at which nothing is left.
    funding : float or None
        Funding in it [settlement currency, signed to the account]; None where too few settlements are known.
    known : float
        Share of the settlements that are known, the least of any contract.
    """

    equity: FloatArray
    funding: float | None
    known: float


def buy_and_hold(result: Result) -> dict[str, SummaryValue]:
    """Return the figures of holding the run's contracts, see `hold`; empty without a bar."""
    if result.equity.is_empty() or result.bars.is_empty():
        return {}
    held = hold(result)
    told: dict[str, SummaryValue] = dict(path_figures(result, held.equity))
    return told | {
        "funding": held.funding,
        "funding_settlements_known": held.known,
        "contracts": len(result.symbols),
    }


def without_funding(result: Result) -> dict[str, SummaryValue]:
    """Return the figures of the run's equity with funding taken out; empty without a bar."""
    if result.equity.is_empty():
        return {}
    return dict(path_figures(result, less(result, funding_booked(result)), result.ledger))


def without_costs(result: Result) -> dict[str, SummaryValue]:
    """Return the figures of the run's equity with trading fees and slippage taken out; empty without a bar."""
    if result.equity.is_empty():
        return {}
    return dict(path_figures(result, less(result, costs_booked(result)), result.ledger))


def path_figures(result: Result, equity: FloatArray, ledger: pl.DataFrame | None = None) -> dict[str, float | None]:
    """Return return, risk and drawdown of an equity at the run's bar closes, defined as those of the summary.

    Parameters
    ----------
    result : Result
        The run whose clock and initial balance count.
    equity : ndarray of float64, shape (bars,)
        Equity at bar closes [settlement currency].
    ledger : polars.DataFrame, optional
        Whose transfers are no returns; None: nothing was transferred.
    """
    balance = result.config.account.balance
    frame = result.equity.select("open_time", "close_time").with_columns(pl.Series("equity", equity))
    grown = frame if ledger is None else returns.time_weighted(frame, ledger, balance)
    changes = returns.daily_returns(grown, balance)["return"].to_numpy()
    total = returns.total_return(balance, float(grown["equity"][-1]))
    annual = returns.annual_return(total, len(changes))
    below = drawdown.underwater(grown["equity"].to_numpy(), balance)
    return {
        "final_equity": float(equity[-1]),
        "total_return": total,
        "annual_return": annual,
        "volatility": returns.volatility(changes),
        "sharpe": returns.sharpe(changes),
        "max_drawdown": float(below.min()),
    }


def hold(result: Result) -> Held:
    """Return the equity of holding the run's contracts from their first open, bought in equal parts of the balance.

    A contract that is listed later is bought with its part then; none is sold, so the weights drift. No leverage, no
    fees. Positions are valued at the mark; funding is paid on the mark before it, where at least `FUNDING_KNOWN` of the
    settlements of each contract are known, else price alone counts. An inverse contract is held with a notional of the
    coins that it cost.

    Parameters
    ----------
    result : Result
        A run with at least one bar.
    """
    share = result.config.account.balance / max(1, len(result.symbols))
    inverse = inverse_symbols(result.config)
    equity = np.full(result.equity.height, result.config.account.balance)
    paid, known = np.zeros(result.equity.height), 1.0
    opens = milliseconds(result.equity["open_time"])
    used = [c for c in ("open_time", "open", "mark_close", "funding_rate") if c in result.bars.columns]
    for symbol, bars in by_symbol(result.bars, used).items():
        if symbol not in result.symbols:
            continue
        first, mark = float(bars["open"][0]), bars["mark_close"].fill_null(strategy="forward").to_numpy()
        listed = milliseconds(bars["open_time"])
        entry = float(to_value(np.array([first]), inverse=symbol in inverse)[0])
        quantity = share / abs(entry)
        row = np.searchsorted(listed, opens, side="right") - 1
        value = to_value(mark, inverse=symbol in inverse)
        equity += np.where(row >= 0, quantity * (value[np.maximum(row, 0)] - entry), 0.0)
        time, rate, share_known = _settled(result, symbol, bars)
        known = float(min(known, share_known))
        after = time > listed[0]  # what settles at the first open finds nothing held yet
        time, rate = time[after], rate[after]
        at = np.abs(value[np.maximum(np.searchsorted(listed, time, side="right") - 2, 0)])  # the mark before it
        paid += bar_sums(opens, time, quantity * at * rate)
    pays = known >= FUNDING_KNOWN and result.config.funding.source != "none"
    if pays:
        equity -= np.cumsum(paid)
    lost = np.flatnonzero(equity <= 0)
    if len(lost):
        equity[lost[0] :] = 0.0
    return Held(equity, -float(paid.sum()) + 0.0 if pays else None, known)


def less(result: Result, booked: FloatArray) -> FloatArray:
    """Return the run's equity without what was booked in each bar, summed so far."""
    equity: FloatArray = result.equity["equity"].cast(pl.Float64).to_numpy() - np.cumsum(booked)
    return equity


def funding_booked(result: Result) -> FloatArray:
    """Return the funding booked in each bar."""
    return _booked(result, result.ledger.filter(pl.col("kind") == "funding"), "amount")


def costs_booked(result: Result) -> FloatArray:
    """Return trading fees and slippage of own fills in each bar, both <= 0 as a rule."""
    own = result.fills.filter(~pl.col("reason").is_in(ENGINE_REASONS))
    fees = _booked(result, result.ledger.filter(pl.col("kind") == "trading_fee"), "amount")
    return fees - _booked(result, own, "slippage_paid")


def _booked(result: Result, entries: pl.DataFrame, column: str) -> FloatArray:
    """Return the sums of a column by bar."""
    opens = milliseconds(result.equity["open_time"])
    return bar_sums(opens, milliseconds(entries["time"]), entries[column].cast(pl.Float64).fill_null(0.0).to_numpy())


def _settled(result: Result, symbol: str, bars: pl.DataFrame) -> tuple[IntArray, FloatArray, float]:
    """Return time and rate of a contract's settlements, and the share of all of them that these are.

    Bars that carry rates know every one. Else those count at which the run held a position; how many there are is
    judged by the usual time between two.
    """
    if "funding_rate" in bars.columns:
        known = bars.filter(pl.col("funding_rate").is_not_null())
        return milliseconds(known["open_time"]), known["funding_rate"].to_numpy(), 1.0
    own = result.funding.filter(pl.col("symbol") == symbol).unique("time", keep="first", maintain_order=True)
    time, rate = milliseconds(own["time"]), own["funding_rate"].to_numpy()
    if len(time) < 2:
        return time, rate, 0.0
    expected = (milliseconds(bars["open_time"])[[0, -1]] @ np.array([-1, 1])) // float(np.median(np.diff(time)))
    return time, rate, min(1.0, len(time) / expected) if expected > 0 else 1.0

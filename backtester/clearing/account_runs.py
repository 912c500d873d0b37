"""A population of runs of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from backtester.clearing.population import Population
from backtester.errors import AccountError, UsageError

if TYPE_CHECKING:
    from backtester.engine.result import Result


def from_runs(results: Sequence[Result], at: int | None = None) -> Population:
    """Return runs of one's own as accounts, as they stood at a moment; the outside market holds the other side.

    Parameters
    ----------
    results : sequence of Result
        Runs in one settlement currency.
    at : int, optional
        Moment [ms since 1970, UTC]; None: the end of the first run.

    Raises
    ------
    UsageError
        There is no run.
    AccountError
        The runs settle in several currencies, or none held a position then.
    """
    if not results:
        raise UsageError("No run is given.")
    currencies = {result.settle for result in results}
    if len(currencies) > 1:
        raise AccountError(f"The runs settle in several currencies: {', '.join(sorted(currencies))}.")
    moment = results[0].end if at is None else at
    symbols = tuple(dict.fromkeys(symbol for result in results for symbol in result.symbols))
    rows: list[tuple[int, int, float, float, float]] = []
    wallet: list[float] = []
    isolated: list[bool] = []
    leverage: list[float] = []
    labels: list[str] = []
    for result in results:
        held, balance = _held_at(result, moment)
        if balance <= 0:
            continue
        a = len(wallet)
        is_isolated = result.config.account.margin_mode == "isolated"
        for symbol, quantity, entry, margin in held:
            rows.append((a, symbols.index(symbol), quantity, entry, margin if is_isolated else 0.0))
        wallet.append(balance)
        isolated.append(is_isolated)
        leverage.append(float(result.config.account.leverage or 1.0))
        labels.append(result.run_id)
    if not rows:
        raise AccountError("No run held a position at that moment.", "Choose another moment.")
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Population(
        symbols=symbols,
        wallet=np.array(wallet),
        isolated=np.array(isolated),
        leverage=np.array(leverage),
        account=columns[0].astype(np.int64),
        contract=columns[1].astype(np.int64),
        quantity=columns[2].astype(np.float64),
        entry_price=columns[3].astype(np.float64),
        margin=columns[4].astype(np.float64),
        outside=-np.bincount(columns[1], columns[2], len(symbols)).astype(np.float64),
        labels=tuple(labels),
        notes=(f"{len(labels)} runs as accounts; the outside market holds the other side.",),
    )


def _held_at(result: Result, moment: int) -> tuple[list[tuple[str, float, float, float]], float]:
    """Return the open positions of a run at a moment, and its wallet balance."""
    import polars as pl  # noqa: PLC0415 - heavy

    before = result.positions.filter(pl.col("time").cast(pl.Int64) <= moment)
    last = before.group_by("symbol", maintain_order=True).last()
    held = [
        (str(row["symbol"]), float(row["position_quantity"]), float(row["entry_price"]), float(row["margin"] or 0.0))
        for row in last.iter_rows(named=True)
        if row["position_quantity"]
    ]
    closed = result.equity.filter(pl.col("close_time").cast(pl.Int64) <= moment)
    frame = closed if len(closed) else result.equity.head(1)
    return held, float(frame["wallet_balance"][-1])

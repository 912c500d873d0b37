"""What must be told of the venue's own doing: deleveragings and clawbacks that struck, and those that did less."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from backtester.domain.enums import FillReason, LedgerKind, label
from backtester.engine.result import Notice, listed
from backtester.errors import format_time

MINUTE_MS = 60_000


def venue_notices(counts: Mapping[str, int], fills: pl.DataFrame, ledger: pl.DataFrame, settle: str) -> list[Notice]:
    """Return what the venue did to the account.

    Parameters
    ----------
    counts : mapping of str to int
        As `ReplayRecords` has them.
    fills, ledger : polars.DataFrame
        Records of the run.
    settle : str
        Settlement currency.
    """
    return [*_struck(fills, settle), *_clawed(ledger, settle), *_less(counts)]


def _struck(fills: pl.DataFrame, settle: str) -> list[Notice]:
    """Tell of deleveragings."""
    taken = fills.filter(pl.col("reason") == label(FillReason.AUTO_DELEVERAGE))
    if not taken.height:
        return []
    what = listed(taken["symbol"].unique(maintain_order=True).to_list())
    lost = float(taken["slippage_paid"].sum())
    price = f", {abs(lost):,.2f} {settle} {'worse' if lost > 0 else 'better'} than at the mark" if lost else ""
    text = f"The venue deleveraged {what} {_times(taken.height)}, first at {_moment(taken)}{price}."
    return [Notice("auto_deleveraged", "warning", text)]


def _clawed(ledger: pl.DataFrame, settle: str) -> list[Notice]:
    """Tell of clawbacks."""
    paid = ledger.filter(pl.col("kind") == label(LedgerKind.SOCIALIZED_LOSS))
    if not paid.height:
        return []
    amount = -float(paid["amount"].sum())
    text = f"The venue took {amount:,.2f} {settle} of the profit for shared losses, first at {_moment(paid)}."
    return [Notice("profit_clawed_back", "warning", text)]


def _less(counts: Mapping[str, int]) -> list[Notice]:
    """Tell of events that did less than they said."""
    found = []
    if number := counts.get("deleverages_idle", 0):
        found.append(Notice("deleverages_idle", "assumption", f"{_deleveragings(number)} found no position to close."))
    if number := counts.get("deleverages_cut", 0):
        text = f"{_deleveragings(number)} closed less than asked: below one lot, or more than the balance bore there."
        found.append(Notice("deleverages_cut", "warning", text))
    if number := counts.get("clawbacks_cut", 0):
        what = "clawback was" if number == 1 else "clawbacks were"
        text = f"{number} {what} cut to the account's profit of the period, or to its equity."
        found.append(Notice("clawbacks_cut", "assumption", text))
    return found


def _deleveragings(count: int) -> str:
    return f"{count} deleveraging{'' if count == 1 else 's'}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _moment(rows: pl.DataFrame) -> str:
    return format_time(int(rows["time"].dt.epoch("ms")[0]) // MINUTE_MS * MINUTE_MS)  # inside a bar: its last ms

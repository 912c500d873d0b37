"""Funding received and paid by a real account, as an exchange or ccxt lists it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from backtester.engine.account_file import (
    ROW,
    SYMBOL_NAMES,
    TIME_NAMES,
    bad_value,
    find_column,
    numbers,
    plain,
    read_raw,
    refuse_all_unknown,
    times,
    unified_names,
)
from backtester.engine.result import Notice
from backtester.errors import DataError
from backtester.market.intervals import snap_to_minute

HINT = "Columns: time (UTC or ms), symbol, funding_payment (positive: received)."

_AMOUNT = ("fundingpayment", "income", "fundingfee", "funding", "fundingamount", "balchg", "amount", "pnl")
_CHARGES = ("execfee",)  # Bybit's executions: positive is paid
_KINDS = ("incometype", "exectype", "type")
_OKX_FUNDING = "8"


@dataclass(frozen=True, eq=False)
class FundingTable:
    """Settlements of a file.

    Attributes
    ----------
    name : str
        What the file is called in messages.
    frame : polars.DataFrame
        ``time`` (snapped to the minute), ``symbol``, ``funding_payment`` (signed, to us), one row a settlement and
        contract, sorted.
    notices : tuple of Notice
        What was left out.
    """

    name: str
    frame: pl.DataFrame
    notices: tuple[Notice, ...] = ()


def read_funding(path: Path, symbols: Sequence[str]) -> FundingTable:
    """Read the funding of a real account.

    Parameters
    ----------
    path : Path
        ``.csv``, ``.parquet`` or ``.json`` with the columns of ``HINT``, or with the names that Binance (income),
        Bybit, OKX (bills) and ccxt give them. Rows of another kind are left out where a column tells the kind.
    symbols : sequence of str
        Contracts that may be meant.

    Raises
    ------
    UsageError
        There is no such file, or it is of another kind.
    DataError
        A column is missing, or a value cannot be true: its row and column are named.
    UnknownNameError
        No contract of the file is known.
    """
    name = f"funding {path}"
    raw = _funding_alone(read_raw(path, name, HINT))
    time, symbol = find_column(raw, TIME_NAMES), find_column(raw, SYMBOL_NAMES)
    charge = find_column(raw, _CHARGES)
    amount = charge or find_column(raw, _AMOUNT)
    if time is None or symbol is None or amount is None:
        lacking = {"time": time, "symbol": symbol, "funding_payment": amount}
        missing = ", ".join(ours for ours, theirs in lacking.items() if theirs is None)
        raise DataError(
            name, f"no column for {missing} (the file has {', '.join(c for c in raw.columns if c != ROW)})", hint=HINT
        )
    paid, _ = numbers(raw, amount, name)
    empty = paid.is_null().arg_true()
    if len(empty):
        raise bad_value(name, raw, amount, int(empty[0]), "is no amount")
    spelled = raw[symbol].cast(pl.String).str.strip_chars().fill_null("")
    found = unified_names(spelled.unique(maintain_order=True).to_list(), symbols, name)
    refuse_all_unknown(found, symbols, name)
    frame = pl.DataFrame(
        {
            "time": times(raw, time, name),
            "symbol": spelled.replace_strict(found, return_dtype=pl.String),
            "funding_payment": -paid if charge else paid,
        }
    )
    known = frame.drop_nulls("symbol").with_columns(snap_to_minute(pl.col("time")).alias("time"))
    summed = known.group_by("time", "symbol").agg(pl.col("funding_payment").sum()).sort("time", "symbol")
    return FundingTable(name, summed, _unknown(name, frame, [text for text, one in found.items() if one is None]))


def _funding_alone(raw: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that are settlements, where a column tells which are."""
    kind = find_column(raw, _KINDS)
    if kind is None:
        return raw
    words = [plain(str(value or "")) for value in raw[kind].to_list()]
    is_funding = pl.Series(["funding" in word or word == _OKX_FUNDING for word in words], dtype=pl.Boolean)
    return raw.filter(is_funding) if is_funding.any() else raw


def _unknown(name: str, frame: pl.DataFrame, unknown: Sequence[str]) -> tuple[Notice, ...]:
    """Tell settlements of other contracts."""
    if not unknown:
        return ()
    count = frame["symbol"].null_count()
    text = (
        f"Left out: {count:,} settlement{'' if count == 1 else 's'} of {name} in "
        f"{', '.join(unknown[:5])}{', …' if len(unknown) > 5 else ''}, not among the contracts of the run."
    )
    return (Notice("funding_unknown", "warning", text),)

"""The table of round trips."""

from __future__ import annotations

from typing import Any

import polars as pl

from backtester.engine.result import Result
from backtester.report import numbers
from backtester.report.key_figures import money_decimals
from backtester.report.section import Section
from backtester.report.table import Column, Focus, build, milliseconds

LIMIT = 20_000


def trade_section(result: Result) -> Section:
    """Return the round trips as a table to sort and page through."""
    frame = result.trades.with_columns((pl.col("exit_time") - pl.col("entry_time")).alias("held"))
    table = build("trades", "Round trips", frame, columns(result), LIMIT, focus=_on_price(result))
    cut = f"The first {LIMIT:,} of {table.total:,}; trades.parquet has all." if table.total > LIMIT else ""
    return Section(
        id="trades",
        title="Trades",
        short="Trades",
        lead="From flat to flat, or to a flip. P&L is price profit alone, Net is after fees, funding and liquidation.",
        template="plots.html.j2",
        tables=(table,) if frame.height else (),
        context={"empty": "No trade was opened.", "table_note": cut},
    )


def _on_price(result: Result) -> Focus:
    """Return where a round trip stands: from its entry to its exit on the price of its symbol."""
    plots = {symbol: f"price-{number}" for number, symbol in enumerate(result.symbols)}
    end = result.end

    def focus(row: dict[str, Any]) -> tuple[str, int, int] | None:
        plot = plots.get(row["symbol"])
        if plot is None:
            return None
        stop = end if row["exit_time"] is None else milliseconds(row["exit_time"])
        return plot, milliseconds(row["entry_time"]), stop

    return focus


def columns(result: Result) -> list[Column]:
    """Return the columns of the table; amounts are in the settlement currency."""
    digits = money_decimals(result)

    def money(key: str, label: str, *, signed: bool = False) -> Column:
        return Column(key, label, lambda r: numbers.decimal(r[key], digits, signed=True), is_signed=signed)

    return [
        Column(
            "symbol", "Position", lambda r: (r["symbol"], r["position_side"]), is_number=False, also="position_side"
        ),
        Column(
            "entry_time",
            "Entry",
            lambda r: (numbers.moment(r["entry_time"]), numbers.price(r["entry_price"])),
            also="entry_price",
        ),
        Column("exit_time", "Exit", _exit, also="exit_price"),
        Column("held", "Held, end", _held, also="exit_reason"),
        Column("quantity", "Size", lambda r: numbers.quantity(r["quantity"])),
        money("pnl", "P&L"),
        money("fees", "Fees"),
        money("funding", "Funding"),
        money("net_pnl", "Net", signed=True),
        Column("mae", "MAE, MFE", lambda r: (numbers.percent(r["mae"], 1), numbers.percent(r["mfe"], 1)), also="mfe"),
    ]


def _exit(row: dict[str, Any]) -> tuple[str, str]:
    """Return time and price of the exit; an open trip may have sold a part already."""
    if row["exit_time"] is None:
        return ("still open", numbers.price(row["exit_price"]) if row["exit_price"] else "")
    return (numbers.moment(row["exit_time"]), numbers.price(row["exit_price"]))


def _held(row: dict[str, Any]) -> tuple[str, str]:
    """Return the holding time and why it ended."""
    held = numbers.NONE if row["held"] is None else numbers.duration(row["held"].total_seconds() * 1000)
    return held, row["exit_reason"].replace("_", " ")

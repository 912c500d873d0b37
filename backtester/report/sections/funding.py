"""Funding: rates against the position, paid and received by contract and month."""

from __future__ import annotations

from typing import Any

import polars as pl

from backtester.analytics.funding_review import funding_by_month, funding_by_symbol, funding_grid
from backtester.analytics.value import inverse_symbols
from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.block import Block, block_section
from backtester.report.key_figures import money_decimals, money_plain
from backtester.report.section import Plot, Section
from backtester.report.table import Column, build, milliseconds

RATE_SYMBOLS = 8
"""Contracts whose rates are drawn: those with the largest amounts."""
GRID_ROWS = 16
_LIMIT = 1000


def funding_section(result: Result) -> Section:
    """Return funding received and paid."""
    blocks: tuple[Block, ...] = ()
    if result.funding.height:
        by_symbol = funding_by_symbol(result)
        blocks = (_total_block(result), _rate_block(result, by_symbol), _month_block(result, by_symbol))
    return block_section(
        blocks,
        id="funding",
        title="Funding",
        short="Funding",
        lead="What longs and shorts exchanged: above zero the account received, below it paid; at a positive rate "
        "longs pay shorts.",
        empty="No position was held at a settlement.",
    )


def _total_block(result: Result) -> Block:
    """Return the amounts over time, and what part of the profit they are."""
    summary = result.summary
    received, paid = (money_plain(result, summary[key]) for key in ("funding_received", "funding_paid"))
    figure = figures.funding_figure(result.funding, result.settle)
    net = float(summary["funding"] or 0.0)
    return Block(
        "funding-total",
        plots=(Plot("funding", f"Funding received ({received}) and paid ({paid}) over time.", figure),),
        facts=(
            ("funding_received", "Received", received),
            ("funding_paid", "Paid", paid),
            (
                "funding",
                "Net",
                numbers.decimal(net, money_decimals(result), signed=True, unit=f"\u00a0{result.settle}"),
            ),
            ("funding_share", *_share(net, float(summary["net_profit"] or 0.0))),
            ("settlements", "Settlements with a position", numbers.count(float(summary["settlements"] or 0))),
        ),
    )


def _share(net: float, profit: float) -> tuple[str, str]:
    """Return what part of the profit, or of the loss, funding is: positive where it went the same way."""
    if not profit:
        return "Share of the profit", numbers.NONE
    name = "Share of the net profit" if profit > 0 else "Share of the net loss"
    return name, numbers.percent(net / profit, 1)


def _rate_block(result: Result, by_symbol: pl.DataFrame) -> Block:
    """Return settled rates against the position, one figure a contract, and the rates met by each."""
    inverse = inverse_symbols(result.config)
    chosen = by_symbol["symbol"].to_list()[:RATE_SYMBOLS]
    plots = []
    for number, symbol in enumerate(chosen):
        own = result.funding.filter(pl.col("symbol") == symbol)
        name = numbers.shorten(symbol)
        plots.append(
            Plot(
                f"funding-rate-{number}",
                f"Settled funding rates of {name} against the position held.",
                figures.funding_rate_figure(own, "contracts" if symbol in inverse else "position"),
                choice=name if len(chosen) > 1 else "",
            )
        )
    hidden = by_symbol.height - len(chosen)
    return Block(
        "funding-rates",
        title="Rates against the position",
        lead="Each bar is a settlement that a position met: blue where the account received, orange where it paid; "
        "below, the position at that moment (long above zero).",
        plots=tuple(plots),
        tables=(build("funding-symbols", "Funding by contract", by_symbol, _symbol_columns(result), page_size=10),),
        note=(f"Drawn are the {len(chosen)} contracts with the largest amounts; the table has all. " if hidden else "")
        + "Rates are means over settlements with a position; a year is the mean times the settlements of 365 days, "
        "without compounding.",
    )


def _symbol_columns(result: Result) -> list[Column]:
    digits = money_decimals(result)
    return [
        Column("symbol", "Symbol", lambda r: r["symbol"], is_number=False),
        Column("settlements", "Settlements", lambda r: numbers.count(r["settlements"])),
        Column("received", "Received", lambda r: numbers.decimal(r["received"], digits)),
        Column("paid", "Paid", lambda r: numbers.decimal(r["paid"], digits)),
        Column("net", "Net", lambda r: numbers.decimal(r["net"], digits, signed=True), is_signed=True),
        Column(
            "rate_long",
            "Mean rate long",
            lambda r: (numbers.percent(r["rate_long"], 4), _annual(r["annual_long"])),
            also="annual_long",
        ),
        Column(
            "rate_short",
            "Mean rate short",
            lambda r: (numbers.percent(r["rate_short"], 4), _annual(r["annual_short"])),
            also="annual_short",
        ),
    ]


def _annual(rate: float | None) -> str:
    return "" if rate is None else f"{numbers.percent(rate, 1)} a year"


def _month_focus(row: dict[str, Any]) -> tuple[str, int, int]:
    """Return the month in the figure of amounts."""
    first = milliseconds(row["month"])
    return "funding", first, first + 31 * 86_400_000


def _month_block(result: Result, by_symbol: pl.DataFrame) -> Block:
    """Return amounts by month, and by contract and month where there are several of both."""
    months, digits = funding_by_month(result.funding), money_decimals(result)
    plots: tuple[Plot, ...] = ()
    if by_symbol.height > 1 and months.height > 1:
        rows = by_symbol["symbol"].to_list()
        rows = rows[:GRID_ROWS] if len(rows) > GRID_ROWS + 1 else rows
        figure = figures.funding_grid_figure(funding_grid(result.funding), rows, result.settle, digits)
        plots = (Plot("funding-months", "Net funding of each contract and month.", figure),)
    columns = [
        Column("month", "Month", lambda r: r["month"].strftime("%Y-%m"), is_number=False),
        Column("settlements", "Settlements", lambda r: numbers.count(r["settlements"])),
        Column("received", "Received", lambda r: numbers.decimal(r["received"], digits)),
        Column("paid", "Paid", lambda r: numbers.decimal(r["paid"], digits)),
        Column("net", "Net", lambda r: numbers.decimal(r["net"], digits, signed=True), is_signed=True),
    ]
    return Block(
        "funding-by-month",
        title="By month",
        lead=f"Calendar months (UTC), amounts in {result.settle}; blue cells received, orange ones paid."
        if plots
        else f"Calendar months (UTC), amounts in {result.settle}.",
        plots=plots,
        tables=(
            build("funding-months", "Funding by month", months, columns, _LIMIT, page_size=12, focus=_month_focus),
        ),
    )

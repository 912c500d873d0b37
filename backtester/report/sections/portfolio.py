"""What each contract of a portfolio brought, and how the contracts move together."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from backtester.analytics import attribution, contributions
from backtester.analytics.value import FloatArray
from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.key_figures import money_decimals
from backtester.report.part import Part, parts_section
from backtester.report.section import Plot, Section
from backtester.report.table import Column, build

TOP = 15
"""Contracts shown one by one; the others are summed."""
_LENGTH = 22


def portfolio_section(result: Result) -> Section | None:
    """Return contribution and correlation of contracts, None where there is only one."""
    if len(result.symbols) < 2:
        return None
    parts = attribution.attribute_symbols(result).filter(pl.col("symbol").is_not_null())
    parts = parts.sort(pl.col("total").abs(), descending=True, maintain_order=True)
    traded = [symbol for symbol, total in parts.select("symbol", "total").iter_rows() if total]
    return parts_section(
        "portfolio",
        "Contracts of the portfolio",
        "Portfolio",
        "Which contracts made the result, and whether they are many bets or one.",
        [_contribution(result, parts, traded), _correlation(result, traded)],
    )


def _contribution(result: Result, parts: pl.DataFrame, traded: list[str]) -> Part:
    """Return the contributions as bars, the largest one by one, and all of them in a table."""
    if not traded:
        return Part("Contribution", empty="Nothing was traded.")
    digits = money_decimals(result)
    totals = dict(parts.select("symbol", "total").iter_rows())
    shown = sorted(traded[:TOP], key=lambda s: -totals[s])
    names, amounts = [numbers.shorten(s, _LENGTH) for s in shown], [totals[s] for s in shown]
    rest = traded[TOP:]
    if rest:
        names.append(f"{len(rest)} others")
        amounts.append(sum(totals[s] for s in rest))
    plot = Plot(
        "contribution",
        f"Bars of the profit or loss of {len(names)} contracts or groups of them.",
        figures.contribution_figure(names, amounts, result.settle, digits),
    )

    def money(key: str, label: str, *, signed: bool = False) -> Column:
        return Column(key, label, lambda r: numbers.decimal(r[key], digits, signed=True), is_signed=signed)

    counts = result.trades.group_by("symbol").agg(pl.len().cast(pl.Int64).alias("trades"))
    frame = parts.join(counts, on="symbol", how="left", maintain_order="left").with_columns(
        pl.col("trades").fill_null(0)
    )
    columns = [
        Column("symbol", "Contract", lambda r: r["symbol"], is_number=False),
        money("total", "Total", signed=True),
        money("price", "Price"),
        money("funding", "Funding"),
        money("fees", "Fees"),
        money("slippage", "Slippage"),
        money("liquidation", "Liquidation"),
        Column("trades", "Trips", lambda r: numbers.count(r["trades"])),
    ]
    gross = sum(abs(v) for v in totals.values())
    share = abs(totals[traded[0]]) / gross if gross else 0.0
    note = (
        f"Profit of each contract after its costs [{result.settle}]. The largest, "
        f"{numbers.shorten(traded[0], _LENGTH)}, is {numbers.percent(share, 0, signed=False)} of all gains and "
        "losses taken together."
    )
    return Part(
        "Contribution",
        note,
        plots=(plot,),
        tables=(build("contributions", "Contracts", frame, columns, page_size=15),),
    )


def _correlation(result: Result, traded: list[str]) -> Part:
    """Return correlations of what the contracts brought day by day."""
    symbols, brought = contributions.daily_contributions(result)
    number = {symbol: i for i, symbol in enumerate(symbols)}
    shown, rest = traded[:TOP], traded[TOP:]
    rows = [brought[number[s]] for s in shown] + ([_sum(brought, rest, number)] if rest else [])
    names = [numbers.shorten(s, _LENGTH) for s in shown] + ([f"{len(rest)} others"] if rest else [])
    title = "Correlation of daily contributions"
    matrix = contributions.correlation(np.array(rows)) if len(rows) > 1 else np.full((1, 1), np.nan)
    off = matrix[~np.eye(len(matrix), dtype=bool)]
    if not np.isfinite(off).any():
        return Part(title, empty="It takes two contracts that moved on three days at least.")
    mean = float(np.nanmean(off))
    worth: Any = len(rows) / (1 + (len(rows) - 1) * mean) if mean > 0 else len(rows)
    note = (
        f"Of what positions brought, not of prices: two longs in like markets move together, a long and a short apart. "
        f"The mean is {numbers.decimal(mean, signed=True)}, so that these {len(rows)} spread risk like about "
        f"{numbers.decimal(worth, 1)} independent ones of equal size."
    )
    plot = Plot(
        "correlation",
        f"Correlation of {len(rows)} contracts, on average {mean:.2f}.",
        figures.correlation_figure(names, matrix),
    )
    return Part(title, note, plots=(plot,))


def _sum(brought: FloatArray, symbols: list[str], number: dict[str, int]) -> FloatArray:
    """Return the contributions of several contracts together."""
    out: FloatArray = brought[[number[s] for s in symbols]].sum(axis=0)
    return out

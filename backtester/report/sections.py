"""The sections of a run's page, in order: one function each, result in, section out."""

from __future__ import annotations

from typing import Any

import polars as pl

from backtester.analytics import attribution, drawdown, returns, risk
from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.key_figures import groups, money_decimals, money_plain
from backtester.report.provenance import configuration_section
from backtester.report.section import Plot, Section
from backtester.report.table import Column, build
from backtester.report.trade_table import trade_section

LABELS = {
    "price": "Price",
    "slippage": "Slippage",
    "fees": "Trading fees",
    "funding": "Funding",
    "liquidation": "Liquidation",
    "auto_deleverage": "Auto-deleveraging",
    "socialized_loss": "Socialised loss",
    "transfer": "Transfers",
}
ALWAYS = ("price", "funding", "fees", "slippage", "liquidation")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def key_section(result: Result) -> Section:
    """Return every metric, by subject."""
    return Section(
        id="figures",
        title="Key figures",
        short="Key figures",
        lead="Returns are of calendar days (UTC), years have 365 days; trades run from flat to flat, after all costs.",
        template="figures.html.j2",
        context={"groups": groups(result)},
    )


def equity_section(result: Result) -> Section:
    """Return equity with drawdown, and the deepest drawdowns."""
    balance = result.config.account.balance
    grown = returns.time_weighted(result.equity, result.ledger, balance)
    worst = drawdown.worst(grown, balance, 5)
    columns = [
        Column("depth", "Depth", lambda r: numbers.percent(r["depth"]), is_signed=True),
        Column("peak_time", "Peak", lambda r: numbers.moment(r["peak_time"])),
        Column("trough_time", "Lowest", lambda r: numbers.moment(r["trough_time"])),
        Column(
            "recovery_time",
            "Recovered",
            lambda r: numbers.moment(r["recovery_time"]) if r["recovery_time"] else "not yet",
        ),
        Column("length", "Length", lambda r: numbers.duration(r["length"].total_seconds() * 1000)),
    ]
    plots = [
        Plot(
            "equity",
            f"Line of equity in {result.settle} at bar closes, with the drawdown from its peak below it.",
            figures.equity_figure(result.equity, grown, balance, result.settle),
        )
    ]
    return Section(
        id="equity",
        title="Equity and drawdown",
        short="Equity",
        lead="Wallet plus unrealised profit at each bar close; below, how far that is under its highest close so far.",
        template="plots.html.j2",
        plots=tuple(plots) if result.equity.height else (),
        tables=(build("drawdowns", "Deepest drawdowns", worst, columns),) if worst.height else (),
        context={"empty": "No bar was replayed.", "table_note": "The deepest drawdowns, measured at bar closes."},
    )


def price_section(result: Result) -> Section:
    """Return price with entries, exits and liquidations, one figure a symbol."""
    plots = []
    for number, symbol in enumerate(result.symbols):
        own = pl.col("symbol") == symbol
        bars = result.bars.filter(own)
        if bars.height:
            figure = figures.price_figure(bars, result.trades.filter(own), result.liquidations.filter(own))
            name = numbers.shorten(symbol)
            label = f"Price of {name} with entries, exits and liquidations."
            plots.append(Plot(f"price-{number}", label, figure, choice=name if len(result.symbols) > 1 else ""))
    shown = figures.price.MARKERS
    busiest = max((result.trades["symbol"] == s).sum() for s in result.symbols) if result.symbols else 0
    note = f"Of {busiest:,} round trips, the largest of each stretch of time are marked." if busiest > shown else ""
    return Section(
        id="price",
        title="Price and trades",
        short="Price",
        lead="Traded price with the mark beside it: triangles open a trade in its direction (or flip it), "
        "rings close it, crosses are liquidations.",
        template="plots.html.j2",
        plots=tuple(plots),
        context={"empty": "No bar was replayed.", "choice_label": "Symbol", "note": note},
    )


def margin_section(result: Result) -> Section:
    """Return exposure, margin ratio and distance to liquidation."""
    hedged = result.config.account.position_mode == "hedge"
    distance = risk.liquidation_distance(result.positions, result.bars, result.timeframe_ms, hedged=hedged)
    held = bool(risk.time_at_risk(result.equity))
    plot = Plot(
        "margin",
        "Exposure as a multiple of equity, margin ratio, and distance of the mark to the liquidation price.",
        figures.margin_figure(result.equity, distance),
    )
    cross = len(result.symbols) > 1 and result.config.account.margin_mode == "cross"
    note = (
        "Under cross margin the distance is to the price last recorded with the other marks unmoved." if cross else ""
    )
    return Section(
        id="margin",
        title="Exposure and margin",
        short="Margin",
        lead="At a margin ratio of 100\u00a0% the venue liquidates; the distance is how far the mark is from that.",
        template="plots.html.j2",
        plots=(plot,) if held else (),
        context={"empty": "No position was held at a bar close.", "note": note if held else ""},
    )


def attribution_section(result: Result) -> Section:
    """Return the split of the profit."""
    parts = {name: float(result.summary[name] or 0.0) for name in attribution.PARTS}
    shown = [name for name in (*ALWAYS, *attribution.PARTS[5:]) if name in ALWAYS or parts[name]]
    labelled = [(LABELS[name], parts[name]) for name in shown]
    digits = money_decimals(result)
    rows = [(name, LABELS[name], numbers.decimal(parts[name], digits, signed=True), parts[name]) for name in shown]
    total = float(result.summary["net_profit"] or 0.0)
    rows.append(("net_profit", "Total", numbers.decimal(total, digits, signed=True), total))
    plot = Plot(
        "waterfall",
        "Waterfall of the profit: " + "; ".join(f"{label} {text}" for _, label, text, _ in rows) + ".",
        figures.waterfall_figure(labelled, result.settle, digits),
    )
    moved = any(parts.values())
    return Section(
        id="attribution",
        title="Where the profit came from",
        short="Profit split",
        lead="Each cause on its own, adding up to the change of equity; price is the profit before all costs.",
        template="attribution.html.j2",
        plots=(plot,) if moved else (),
        context={"rows": rows, "settle": result.settle, "empty": "Nothing was traded, so nothing was earned or lost."},
    )


def funding_section(result: Result) -> Section:
    """Return funding received and paid."""
    received, paid = (money_plain(result, result.summary[k]) for k in ("funding_received", "funding_paid"))
    plots: tuple[Plot, ...] = ()
    if result.funding.height:
        figure = figures.funding_figure(result.funding, result.settle)
        plots = (Plot("funding", f"Funding received ({received}) and paid ({paid}) over time.", figure),)
    facts = [
        ("funding_received", "Received", received),
        ("funding_paid", "Paid", paid),
        ("settlements", "Settlements with a position", numbers.count(float(result.summary["settlements"] or 0))),
    ]
    return Section(
        id="funding",
        title="Funding",
        short="Funding",
        lead="What longs and shorts exchanged: above zero the account received, below it paid.",
        template="plots.html.j2",
        plots=plots,
        context={"empty": "No position was held at a settlement.", "facts": facts if plots else []},
    )


def months_section(result: Result) -> Section:
    """Return monthly returns, a row a year."""
    balance = result.config.account.balance
    daily = returns.daily_returns(returns.time_weighted(result.equity, result.ledger, balance), balance)
    monthly = returns.monthly_returns(daily)
    yearly = daily.group_by(pl.col("day").dt.year().cast(pl.Int64).alias("year"), maintain_order=True).agg(
        ((pl.col("return") + 1).product() - 1).alias("return")
    )
    cells = {(y, m): r for y, m, r in monthly.select("year", "month", "return").iter_rows()}
    scale = max((abs(r) for r in cells.values()), default=0.0) or 1.0
    years = [
        {
            "year": year,
            "cells": [_month_cell(cells.get((year, m)), scale) for m in range(1, 13)],
            "total": _month_cell(total, scale),
        }
        for year, total in yearly.iter_rows()
    ]
    return Section(
        id="months",
        title="Monthly returns",
        short="Months",
        lead="Compounded returns of calendar months (UTC); the first and the last may be partial.",
        template="months.html.j2",
        context={"years": years, "months": MONTHS, "empty": "No day was completed."},
    )


def _month_cell(value: float | None, scale: float) -> dict[str, object]:
    """Return text, direction and strength (percent of the strongest month) of one cell."""
    if value is None:
        return {"text": "", "tone": "none", "strength": 0}
    strength = min(100, round(100 * abs(value) / scale))
    tone = "gain" if value > 0 else "loss" if value < 0 else "none"
    digits = 1 if abs(value) < 10 else 0
    return {"text": numbers.percent(value, digits), "tone": tone, "strength": strength}


def liquidation_section(result: Result) -> Section:
    """Return the story of each liquidation."""
    digits = money_decimals(result)

    def money(label: str, first: str, second: str = "") -> Column:
        def text(row: dict[str, Any]) -> tuple[str, str]:
            return numbers.decimal(row[first], digits), numbers.decimal(row[second], digits) if second else ""

        return Column(first, label, text)

    def prices(label: str, first: str, second: str) -> Column:
        return Column(first, label, lambda r: (numbers.price(r[first]), numbers.price(r[second])))

    columns = [
        Column("symbol", "Position", _position, is_number=False),
        Column("time", "Time, kind", _time_and_kind, is_number=False),
        Column("tier", "Tier", lambda r: str(r["tier"] + 1)),
        money("Balance, requirement", "margin_balance", "requirement"),
        prices("Entry, bankruptcy", "entry_price", "bankruptcy_price"),
        prices("Trigger, executed", "trigger_price", "execution_price"),
        money("Lost, fee in it", "margin_lost", "liquidation_fee"),
        money("To the fund", "insurance_flow"),
    ]
    frame = result.liquidations
    return Section(
        id="liquidations",
        title="Liquidations",
        short="Liquidations",
        lead="Why each one happened: at the trigger the margin balance fell to the requirement; then who paid whom.",
        template="plots.html.j2",
        tables=(build("liquidations", "Liquidations", frame, columns, 2000, page_size=15),) if frame.height else (),
        context={"empty": "No position was liquidated."},
    )


def _position(row: dict[str, Any]) -> tuple[str, str]:
    """Return symbol, side and size of what the engine closed."""
    return row["symbol"], f"{row['position_side']} {numbers.quantity(row['quantity'])}"


def _time_and_kind(row: dict[str, Any]) -> tuple[str, str]:
    """Return when it happened and what the engine did."""
    return numbers.moment(row["time"]), row["kind"] + (", disputed" if row["disputed"] else "")


SECTIONS = (
    key_section,
    equity_section,
    price_section,
    margin_section,
    attribution_section,
    funding_section,
    months_section,
    liquidation_section,
    trade_section,
    configuration_section,
)

"""Where the profit came from."""

from __future__ import annotations

from typing import Any

import polars as pl

from backtester.analytics import attribution
from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.key_figures import money_decimals
from backtester.report.section import Plot, Section
from backtester.report.table import Column, Table, build

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
WHOLE_ACCOUNT = "(whole account)"


def attribution_section(result: Result) -> Section:
    """Return the split of the profit, and of each contract's where there are several."""
    parts = {name: float(result.summary[name] or 0.0) for name in attribution.PARTS}
    shown = [name for name in (*ALWAYS, *attribution.PARTS[5:]) if name in ALWAYS or parts[name]]
    labelled = [(LABELS[name], parts[name]) for name in shown]
    digits = money_decimals(result)
    rows = _rows(result, parts, shown)
    plot = Plot(
        "waterfall",
        "Waterfall of the profit: " + "; ".join(f"{label} {text}" for _, label, text, _ in rows) + ".",
        figures.waterfall_figure(labelled, result.settle, digits),
    )
    moved = any(parts.values())
    table = _symbol_table(result, shown) if moved and len(result.symbols) > 1 else None
    return Section(
        id="attribution",
        title="Where the profit came from",
        short="Profit split",
        lead="Each cause on its own, adding up to the change of equity; price is the profit before all costs.",
        template="attribution.html.j2",
        plots=(plot,) if moved else (),
        tables=(table,) if table is not None else (),
        context={
            "rows": rows,
            "settle": result.settle,
            "empty": "Nothing was traded, so nothing was earned or lost.",
            "by_symbol": table,
        },
    )


def _rows(result: Result, parts: dict[str, float], shown: list[str]) -> list[tuple[str, str, str, float]]:
    """Return key, label, text and amount of each part, ending in their sum."""
    digits = money_decimals(result)

    def row(key: str, label: str, amount: float) -> tuple[str, str, str, float]:
        return key, label, numbers.decimal(amount, digits, signed=True), amount

    net = float(result.summary["net_profit"] or 0.0)
    earned = [row(name, LABELS[name], parts[name]) for name in shown if name != "transfer"]
    if "transfer" not in shown:
        return [*earned, row("net_profit", "Total", net)]
    return [
        *earned,
        row("net_profit", "Net profit", net),
        row("transfer", LABELS["transfer"], parts["transfer"]),
        row("change", "Change of equity", net + parts["transfer"]),
    ]


def symbol_frame(result: Result) -> pl.DataFrame:
    """Return the parts of each contract, the largest total in either direction first.

    What belongs to no contract stands under `WHOLE_ACCOUNT`.
    """
    frame = attribution.attribute_symbols(result).with_columns(pl.col("symbol").fill_null(WHOLE_ACCOUNT))
    return frame.sort(pl.col("total").abs(), descending=True, maintain_order=True)


def _symbol_table(result: Result, shown: list[str]) -> Table:
    digits = money_decimals(result)

    def money(key: str, label: str, *, signed: bool = False) -> Column:
        def text(row: dict[str, Any]) -> str:
            return numbers.decimal(row[key], digits, signed=True)

        return Column(key, label, text, is_signed=signed)

    columns = [
        Column("symbol", "Symbol", lambda r: r["symbol"], is_number=False),
        *(money(name, LABELS[name]) for name in shown),
        money("total", "Net", signed=True),
    ]
    return build("attribution", "Parts of the profit by contract", symbol_frame(result), columns, page_size=10)

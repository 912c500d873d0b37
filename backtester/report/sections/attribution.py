"""Where the profit came from."""

from __future__ import annotations

from backtester.analytics import attribution
from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.key_figures import money_decimals
from backtester.report.section import Plot, Section

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

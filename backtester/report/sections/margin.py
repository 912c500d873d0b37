"""Exposure, margin ratio and distance to liquidation."""

from __future__ import annotations

from backtester.analytics import risk
from backtester.engine.result import Result
from backtester.report import figures
from backtester.report.section import Plot, Section


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

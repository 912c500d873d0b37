"""Equity with its drawdown."""

from __future__ import annotations

from typing import Any

from backtester.analytics import drawdown, returns
from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.section import Plot, Section
from backtester.report.table import Column, build, milliseconds

WORST = 10


def equity_section(result: Result) -> Section:
    """Return equity with drawdown, and the deepest drawdowns."""
    balance = result.config.account.balance
    grown = returns.time_weighted(result.equity, result.ledger, balance)
    worst = drawdown.worst(grown, balance, WORST)
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
    end = result.end

    def focus(row: dict[str, Any]) -> tuple[str, int, int]:
        peak, recovery = row["peak_time"], row["recovery_time"]
        return "equity", milliseconds(peak), milliseconds(recovery) if recovery is not None else end

    return Section(
        id="equity",
        title="Equity and drawdown",
        short="Equity",
        lead="Wallet plus unrealised profit at each bar close; below, how far that is under its highest close so far.",
        template="plots.html.j2",
        plots=tuple(plots) if result.equity.height else (),
        tables=(build("drawdowns", "Deepest drawdowns", worst, columns, focus=focus),) if worst.height else (),
        context={
            "empty": "No bar was replayed.",
            "table_note": "The deepest drawdowns, ten at most, measured at bar closes.",
        },
    )

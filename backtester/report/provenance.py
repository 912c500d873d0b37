"""Where a run comes from: configuration, data spans, hashes, and the command that reproduces it."""

from __future__ import annotations

import math
import shlex
from decimal import Decimal
from typing import Any

import polars as pl

from backtester.engine.result import Result
from backtester.report import numbers
from backtester.report.section import Section
from backtester.report.table import Column, Table, build

SECTION_TITLES = {
    "data": "Data",
    "account": "Account",
    "fees": "Fees",
    "execution": "Execution",
    "funding": "Funding",
    "liquidation": "Liquidation",
    "strategy": "Strategy",
    "instruments": "Instruments",
    "tiers": "Margin tiers",
    "report": "Report",
}


def configuration_section(result: Result) -> Section:
    """Return configuration, spans and the reproducing command."""
    settings = [
        (SECTION_TITLES.get(name, name.capitalize()), rows)
        for name, value in result.config.model_dump(mode="python").items()
        if (rows := _tier_rows(value) if name == "tiers" else setting_rows(value))
    ]
    return Section(
        id="configuration",
        title="Configuration and data",
        short="Configuration",
        lead="Everything that determines this run, resolved: nothing is left to defaults. All times are UTC.",
        template="configuration.html.j2",
        tables=(spans(result),) if result.bars.height else (),
        context={"settings": settings, "command": command(result), "manifest": setting_rows(result.manifest)},
    )


def command(result: Result) -> str:
    """Return the command line that repeats the run: the recorded one, else one that reads the resolved file."""
    recorded = result.manifest.get("command")
    if isinstance(recorded, str) and recorded:
        return recorded
    return f"backtester run --config {shlex.quote(f'reports/{result.run_id}/config.toml')}"


def spans(result: Result) -> Table:
    """Return first and last bar, number of bars and settlements of each symbol."""
    end = pl.col("open_time").max() + pl.duration(milliseconds=result.timeframe_ms)
    frame = result.bars.group_by("symbol", maintain_order=True).agg(
        pl.col("open_time").min().alias("first"), end.alias("last"), pl.len().alias("bars")
    )
    settled = result.funding.group_by("symbol").agg(pl.len().alias("settlements"))
    frame = frame.join(settled, on="symbol", how="left", maintain_order="left").fill_null(0)
    columns = [
        Column("symbol", "Symbol", lambda r: r["symbol"], is_number=False),
        Column("first", "From", lambda r: numbers.moment(r["first"])),
        Column("last", "To", lambda r: numbers.moment(r["last"])),
        Column("bars", f"Bars ({numbers.timeframe(result.timeframe_ms)})", lambda r: numbers.count(r["bars"])),
        Column("settlements", "Settlements while held", lambda r: numbers.count(r["settlements"])),
    ]
    return build("spans", "Replayed spans", frame, columns)


def setting_rows(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return nested settings as dotted keys with their text."""
    if not isinstance(value, dict):
        return [(prefix, _text(value))]
    rows: list[tuple[str, str]] = []
    for key, inner in value.items():
        name = f"{prefix} \u203a {key}" if prefix else str(key)
        rows += setting_rows(inner, name) if isinstance(inner, dict) else [(name, _text(inner))]
    return rows


def _tier_rows(tables: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a line for each bracket."""
    rows = []
    for symbol, brackets in tables.items():
        for number, tier in enumerate(brackets, 1):
            low, high = (numbers.quantity(tier[k]) for k in ("notional_floor", "notional_cap"))
            rate = numbers.percent(tier["maintenance_margin_rate"], 3, signed=False)
            bound = f"from {low}" if high == numbers.NONE else f"{low} to {high}"
            most = numbers.quantity(tier["max_leverage"])
            rows.append((f"{symbol} \u203a {number}", f"{bound}: {rate}, at most {most}{numbers.TIMES}"))
    return rows


def _text(value: Any) -> str:
    """Return one setting as the run file would read."""
    if value is None:
        return numbers.NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _plain(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(v) for v in value) or "none"
    return str(value)


_LEAST = 1e-12


def _plain(value: float) -> str:
    """Return a number with ten significant digits, without an exponent: ``0.00000001`` is a tick."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    if 0 < abs(value) < _LEAST:
        return "below 0.000000000001"
    return format(Decimal(f"{value:.10g}"), "f")

"""Margin ratio, effective leverage, distance to liquidation and the close calls."""

from __future__ import annotations

import math
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from backtester.analytics import closeness, risk
from backtester.analytics.held import HeldAtCloses, held_at_closes, is_isolated
from backtester.analytics.holdings import account_leverage, largest
from backtester.analytics.value import FloatArray
from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.block import Block, block_section
from backtester.report.figures.series import HELD_NOTE, is_cut
from backtester.report.focus import Place, price_focus
from backtester.report.key_figures import money_decimals
from backtester.report.section import Plot, Section
from backtester.report.table import Column, build

LIMIT = 500
_MINUTE_MS = 60_000
_NEAR = f"{closeness.NEAR:.0%}".replace("%", "\u00a0%")


def margin_section(result: Result) -> Section:
    """Return margin ratio, effective leverage, distance to liquidation and the close calls."""
    common: dict[str, Any] = {
        "id": "margin",
        "title": "Margin and distance to liquidation",
        "short": "Margin",
        "lead": "At a margin ratio of 100\u00a0% the venue liquidates; leverage is notional over margin balance; the "
        "distance is how far the mark may still move against the position, in percent and in average true ranges.",
    }
    if not risk.time_at_risk(result.equity):
        return block_section((), empty="No position was held at a bar close.", **common)
    held = held_at_closes(result)
    found = closeness.approaches(held)
    closes = result.equity["close_time"].cast(pl.Int64).to_numpy()
    distance, ranges = closeness.nearest(found, closes)
    calls = closeness.close_calls(found, result.trades)
    leverage = _leverage(result, held)
    course = Block(
        "margin-course",
        plots=(
            Plot(
                "margin",
                "Margin ratio with the line of liquidation at 100 %, effective leverage, and distance of the mark to "
                "the liquidation price in percent and in average true ranges.",
                figures.margin_figure(result.equity, leverage, distance, ranges),
            ),
        ),
        facts=_facts(result, leverage, ranges),
        note=_note(result),
    )
    return block_section((course, _call_block(result, calls)), **common)


def _leverage(result: Result, held: list[HeldAtCloses]) -> FloatArray:
    """Return effective leverage at closes: of the account, or of the most levered isolated position above it."""
    leverage = account_leverage(result.equity)
    closes = result.equity["close_time"].cast(pl.Int64).to_numpy()
    for one in held:
        if one.is_isolated:
            own = one.leverage
            known = np.isfinite(own)
            at = one.places(closes)
            leverage[at] = np.fmax(leverage[at], np.where(known, own, np.nan))
    return leverage


def _facts(result: Result, leverage: FloatArray, ranges: FloatArray) -> tuple[tuple[str, str, str], ...]:
    """Return the extremes that stand above the figure."""
    nearest = result.summary["closest_liquidation_distance"]
    known = ranges[np.isfinite(ranges)]
    highest = largest(leverage)
    return (
        (
            "worst_margin_ratio",
            "Worst margin ratio",
            numbers.percent(_float(result.summary["worst_margin_ratio"]), signed=False),
        ),
        ("largest_leverage", "Largest leverage", numbers.decimal(highest, unit=numbers.TIMES)),
        ("closest_liquidation_distance", "Nearest to liquidation", numbers.percent(_float(nearest), signed=False)),
        ("closest_liquidation_ranges", "In ATRs", numbers.decimal(float(known.min()) if known.size else None, 1)),
    )


def _note(result: Result) -> str:
    """Return what must be known to read the figure."""
    parts = [
        f"All at bar closes; inside a bar the mark came nearer. ATR: Wilder's mean of {closeness.ATR_LENGTH} replayed "
        "bars of traded prices. Distances beyond twice the mark and 100 ATRs are cut off; where no price liquidates "
        "the line has a hole."
    ]
    if any(is_isolated(result, symbol) for symbol in result.symbols):
        parts.append("Leverage is that of the most levered isolated position, or of the account where that is higher.")
    if len(result.symbols) > 1 and result.config.account.margin_mode == "cross":
        parts.append(
            "Under cross margin the distance is to the price last recorded with the other marks unmoved; the nearest "
            "position is drawn."
        )
    if is_cut(result.equity):
        parts.append(HELD_NOTE)
    return " ".join(parts)


def _call_block(result: Result, calls: pl.DataFrame) -> Block:
    """Return the table of close calls, the nearest first."""
    cut = f" The nearest {LIMIT:,} of {calls.height:,} are listed." if calls.height > LIMIT else ""
    table = build(
        "close-calls",
        "Close calls, the nearest first",
        calls,
        columns(result),
        LIMIT,
        page_size=10,
        focus=partial(call_focus, result),
    )
    return Block(
        "margin-calls",
        title="Close calls",
        lead=f"Closes at which a position was less than {_NEAR} or {closeness.NEAR_RANGES:g} ATRs from liquidation: "
        "the nearest of each holding, and another where it came near again after a day farther off.",
        tables=(table,) if calls.height else (),
        empty=f"No position came within {_NEAR} or {closeness.NEAR_RANGES:g} ATRs of liquidation at a bar close.",
        note=cut.strip(),
    )


def columns(result: Result) -> list[Column]:
    """Return the columns of the close calls."""
    digits = money_decimals(result)

    def after(row: dict[str, Any]) -> tuple[str, str]:
        return _after(row, digits, result.settle)

    return [
        Column("symbol", "Position", _position, is_number=False, also="position_side"),
        Column("close_time", "Nearest at", lambda r: (numbers.moment(r["close_time"]), _lasted(r)), also="closes"),
        Column("mark_close", "Mark", lambda r: numbers.price(r["mark_close"])),
        Column("liquidation_price", "Liquidation price", lambda r: numbers.price(r["liquidation_price"])),
        Column("distance", "Distance", lambda r: numbers.percent(r["distance"], signed=False)),
        Column("ranges", "In ATRs", lambda r: numbers.decimal(r["ranges"], 1)),
        Column("end_time", "What happened", after, is_number=False, also="end_reason"),
        Column("day_move", "Mark a day later", lambda r: (numbers.percent(r["day_move"]), _favour(r["day_move"]))),
    ]


def call_focus(result: Result, row: dict[str, Any]) -> Place | None:
    """Return where the price chart shows a close call, from when it came near to when the holding ended soon after."""
    nearest = _ms(row["close_time"])
    end = _ms(row["end_time"]) if row["end_time"] is not None else nearest
    last = min(max(end, nearest), nearest + closeness.SEPARATE_MS)
    return price_focus(result, row["symbol"], max(_ms(row["from_time"]), nearest - closeness.SEPARATE_MS), last)


def _position(row: dict[str, Any]) -> tuple[str, str]:
    size = abs(row["position_quantity"])
    return row["symbol"], f"{row['position_side']} {numbers.quantity(size)}"


def _lasted(row: dict[str, Any]) -> str:
    """Return for how many closes it was near."""
    return "at one close" if row["closes"] == 1 else f"near at {row['closes']:,} closes"


def _after(row: dict[str, Any], digits: int, settle: str) -> tuple[str, str]:
    """Return how the holding ended, how long after, and with what result."""
    if row["end_time"] is None:
        return "still held at the end", ""
    reason = str(row["end_reason"] or "").replace("_", " ")
    waited = (row["end_time"] - row["close_time"]).total_seconds() * 1000
    later = f"{numbers.duration(waited)} later" if waited >= _MINUTE_MS else "at once"
    word = "liquidated" if reason.startswith("liquidation") else f"closed ({reason})"
    return f"{word} {later}", f"net {numbers.decimal(row['net_pnl'], digits, signed=True)} {settle}"


def _favour(move: float | None) -> str:
    if move is None or not math.isfinite(move) or not move:
        return ""
    return "in its favour" if move > 0 else "against it"


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None

"""What the venue did to the account: positions it deleveraged, profit it took for shared losses."""

from __future__ import annotations

from typing import Any

from backtester.analytics.venue_events import has_venue_events, struck_events, venue_details
from backtester.engine.result import Result
from backtester.report import numbers
from backtester.report.figures.venue_events import light_figure, spared_figure
from backtester.report.key_figures import money_decimals
from backtester.report.section import Plot, Section
from backtester.report.table import Column, build

MOST_ROWS = 2_000


def venue_event_section(result: Result) -> Section | None:
    """Return what the venue took from the account; None where a run neither states events nor clears a market."""
    if not has_venue_events(result):
        return None
    events = struck_events(result)
    plots = []
    if result.clearing.height:
        label = "The account's light in the deleveraging queue, 1 first, and the worth of the insurance fund."
        plots.append(Plot("venue_light", label, light_figure(result.clearing, events, result.settle)))
    if result.unstruck.height and events.height:
        label = "Equity as it went, and of the same run without the venue's events."
        plots.append(Plot("venue_equity", label, spared_figure(result.equity, result.unstruck, result.settle)))
    digits = money_decimals(result)
    columns = [
        Column("time", "Time, kind", _time_and_kind, is_number=False),
        Column("symbol", "Position", _position, is_number=False),
        Column("price", "Price, mark", lambda r: (numbers.price(r["price"]), numbers.price(r["mark_price"]))),
        Column("light", "Light", lambda r: numbers.count(r["light"])),
        Column("profit_lost", "Profit lost", lambda r: numbers.decimal(r["profit_lost"], digits)),
    ]
    if not result.clearing.height:
        columns = [column for column in columns if column.key != "light"]
    table = build("venue_events", "Deleveragings and shared losses", events, columns, MOST_ROWS, page_size=15)
    return Section(
        id="venue-events",
        title="Auto-deleveraging and shared losses",
        short="Deleveraging",
        lead="What the venue took from an account that did nothing: its fund was used up, and winners paid.",
        template="plots.html.j2",
        plots=tuple(plots),
        tables=(table,) if events.height else (),
        context={
            "empty": "The venue did nothing to this account.",
            "facts": _facts(result) if events.height else [],
            "note": _note(result, struck=bool(events.height)),
        },
    )


def _facts(result: Result) -> list[tuple[str, str, str]]:
    """Return key, name and text of what the venue took."""
    told, digits = venue_details(result), money_decimals(result)

    def money(key: str) -> str:
        value = told[key]
        assert isinstance(value, (int, float))
        return numbers.decimal(value, digits, unit=f"\u00a0{result.settle}")

    with_events, without = told["final_equity"], told["final_equity_without"]
    assert isinstance(with_events, float)
    assert isinstance(without, float)
    cost = numbers.decimal(with_events - without, digits, signed=True, unit=f"\u00a0{result.settle}")
    return [
        ("deleveragings", "Deleveragings", numbers.count(float(told["deleveragings"] or 0))),
        ("deleveraged_notional", "Notional closed", money("deleveraged_notional")),
        ("lost_to_price", "Lost to their prices", money("lost_to_price")),
        ("clawed_back", "Clawed back", money("clawed_back")),
        ("total_lost", "Profit lost", money("total_lost")),
        ("final_equity_effect", "Effect on final equity", cost),
    ]


def _note(result: Result, *, struck: bool) -> str:
    """Return how the figures are read."""
    parts = []
    if result.clearing.height:
        parts.append(
            "Lights count the fifths of the queue of positions against the liquidated side: 1 is closed first; no "
            "line, no position."
        )
        if not struck:
            parts.append("The venue did nothing to this account.")
    if struck:
        parts.append(
            "Profit lost is against the mark of its moment; the effect on final equity counts what the positions that "
            "were gone would have won or lost later."
        )
    return " ".join(parts)


def _time_and_kind(row: dict[str, Any]) -> tuple[str, str]:
    kinds = {"auto_deleverage": "deleveraged", "socialized_loss": "shared loss"}
    return numbers.moment(row["time"]), kinds[row["kind"]]


def _position(row: dict[str, Any]) -> tuple[str, str]:
    """Return symbol, side and size of what was closed; shared losses strike the whole account."""
    if row["symbol"] is None:
        return "whole account", ""
    return row["symbol"], f"{row['position_side']} {numbers.quantity(row['quantity'])}"

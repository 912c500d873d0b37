"""The story of each liquidation."""

from __future__ import annotations

from typing import Any

from backtester.engine.result import Result
from backtester.report import numbers
from backtester.report.key_figures import money_decimals
from backtester.report.section import Section
from backtester.report.table import Column, build


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

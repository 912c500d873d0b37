"""The section of a page that shows the run under other assumptions."""

from __future__ import annotations

from typing import Any

from backtester.analytics.assumptions import rests_on
from backtester.engine.result import Result
from backtester.report import numbers
from backtester.report.section import Section
from backtester.report.table import Column, build


def assumptions_section(result: Result) -> Section | None:
    """Return the figures of the run under each assumption that was tried, None where none was."""
    table = result.assumptions
    if table.is_empty():
        return None
    balance = result.config.account.balance

    def percent(key: str, label: str) -> Column:
        def text(row: dict[str, Any]) -> tuple[str, str]:
            return numbers.percent(row[key]), _change(numbers.percent(row[f"{key}_difference"]), row)

        return Column(key, label, text)

    def figure(key: str, label: str, digits: int) -> Column:
        def text(row: dict[str, Any]) -> tuple[str, str]:
            change = numbers.decimal(row[f"{key}_difference"], digits, signed=True)
            return numbers.decimal(row[key], digits), _change(change, row)

        return Column(key, label, text)

    columns = [
        Column("text", "Assumption", lambda r: (r["text"], r["reason"] or r.get("note") or ""), is_number=False),
        percent("total_return", "Total return"),
        percent("annual_return", "Annual return"),
        figure("sharpe", "Sharpe", 2),
        percent("max_drawdown", "Drawdown"),
        figure("liquidations", "Liquidations", 0),
        figure("final_equity", "Final equity", 0 if balance >= 1_000 else numbers.money_digits(balance)),
    ]
    return Section(
        id="assumptions",
        title="Other assumptions",
        short="Assumptions",
        lead="The same decisions replayed with one thing changed; under each figure is its difference to the run "
        "(of a larger balance: that of its part for one balance).",
        template="plots.html.j2",
        tables=(build("assumptions", "The run under other assumptions", table, columns),),
        context={"empty": "", "table_note": rests_on(table)},
    )


def _change(text: str, row: dict[str, Any]) -> str:
    """Return the text of a difference, nothing for the run itself."""
    return "" if row["assumption"] == "base" else text

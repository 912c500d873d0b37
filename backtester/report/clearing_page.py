"""The page of a cleared market."""

from __future__ import annotations

from pathlib import Path

from backtester.clearing.study import ClearingStudy
from backtester.report import numbers
from backtester.report.clearing_compared import coin_section, compare_section
from backtester.report.clearing_sections import (
    books_section,
    deleveraging_section,
    engine_section,
    fund_section,
    liquidation_section,
    outcome_section,
    settings_section,
    survivor_section,
)
from backtester.report.clearing_text import count_of, large
from backtester.report.html_file import write_html
from backtester.report.key_figures import Tile
from backtester.report.page import page_html


def write_clearing_page(study: ClearingStudy, path: Path | str) -> Path:
    """Write the page of a clearing; it appears whole or not at all."""
    return write_html(Path(path), render_clearing_page(study))


def render_clearing_page(study: ClearingStudy) -> str:
    """Return the page of a clearing as HTML; its figures are those of the first case but where it compares."""
    case = study.cases[0]
    sections = [
        outcome_section(case),
        fund_section(case),
        liquidation_section(case),
        deleveraging_section(case),
        survivor_section(case),
        engine_section(case),
        compare_section(study),
        coin_section(study),
        books_section(study),
        settings_section(study),
    ]
    return page_html(
        title=f"{numbers.shorten(', '.join(case.market.symbols), 120)}: clearing",
        brand="Clearing",
        run=_facts(study),
        synthetic=study.synthetic,
        notices=study.notices,
        headline=_headline(study),
        sections=[section for section in sections if section is not None],
    )


def _facts(study: ClearingStudy) -> list[tuple[str, str]]:
    case = study.cases[0]
    start, end = study.span
    rules = numbers.shorten(case.name, 60)
    others = len(study.cases) - 1
    return [
        ("Market", study.venue),
        ("Rules", rules + (f" and {others} more" if others else "")),
        ("Accounts", f"{numbers.count(case.population.accounts)}, {study.file.model.replace('_', ' ')}"),
        ("Bars", f"{numbers.timeframe(case.market.bar_ms)}, {numbers.count(len(case.market.open_time))}"),
        ("Span (UTC)", f"{numbers.moment(start)} to {numbers.moment(end)}"),
        ("Run", numbers.shorten(study.run_id)),
    ]


def _headline(study: ClearingStudy) -> list[Tile]:
    case = study.cases[0]
    s, settle = case.result.summary, case.result.settle
    accounts = int(s["accounts"] or 0)
    taken, struck = int(s["liquidated_accounts"] or 0), int(s["deleveraged_accounts"] or 0)
    return [
        Tile(
            "liquidated_accounts", "Liquidated accounts", numbers.count(taken), count_of(taken, accounts), -bool(taken)
        ),
        Tile("liquidated_notional", f"Liquidated ({settle})", large(s["liquidated_notional"]), "notional at the mark"),
        Tile(
            "deleveraged_accounts",
            "Deleveraged accounts",
            numbers.count(struck),
            count_of(struck, accounts),
            -bool(struck),
        ),
        Tile(
            "profit_lost",
            f"Profit lost ({settle})",
            large(s["profit_lost"]),
            f"of {large(s['deleveraged_notional'])} deleveraged",
        ),
        Tile(
            "fund_low",
            f"Fund at its lowest ({settle})",
            large(s["fund_low"]),
            f"from {large(s['fund_start'])}, in the end {large(s['fund_end'])}",
        ),
        Tile(
            "conservation_error",
            "Error of the books",
            f"{study.summary['conservation_error']:.1e}".replace("-", numbers.MINUS),
            "largest, as a share of the wallets",
        ),
    ]

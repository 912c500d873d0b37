"""The section on deleveraging and shared losses."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from backtester.report.sections.venue_events import venue_event_section
from tests.unit.analytics.test_venue_events import struck
from tests.unit.report.sample import one_trade


def test_events_are_listed_with_what_they_took() -> None:
    section = venue_event_section(struck())
    assert section is not None
    assert section.title == "Auto-deleveraging and shared losses"
    (table,) = section.tables
    assert table.rows[0] == [
        ("2024-01-01 00:00", "deleveraged"),
        (struck().symbols[0], "short 2"),
        ("95.000", "90.000"),
        "5",
        "10.00",
    ]
    assert table.rows[1][0] == ("2024-01-01 00:00", "shared loss")
    assert table.rows[1][1] == ("whole account", "")
    facts = {key: text for key, _, text in section.context["facts"]}
    assert facts["total_lost"] == "17.50\u00a0USDT"
    assert facts["final_equity_effect"] == "\u221240.00\u00a0USDT"
    assert [plot.name for plot in section.plots] == ["venue_light", "venue_equity"]


def test_without_a_population_there_are_no_lights() -> None:
    section = venue_event_section(replace(struck(), clearing=pl.DataFrame()))
    assert section is not None
    assert [column.key for column in section.tables[0].columns] == ["time", "symbol", "price", "profit_lost"]
    assert [plot.name for plot in section.plots] == ["venue_equity"]


def test_a_run_without_events_has_no_section() -> None:
    assert venue_event_section(one_trade()) is None


def test_a_cleared_market_that_did_nothing_says_so() -> None:
    run = struck()
    quiet = replace(run, fills=run.fills.head(-1), ledger=run.ledger.head(-1), unstruck=pl.DataFrame())
    section = venue_event_section(quiet)
    assert section is not None
    assert section.tables == ()
    assert "The venue did nothing to this account." in section.context["note"]

"""Sections of returns, trades, portfolio and uncertainty: figures of the page against the details, and empty states."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from backtester import analytics
from backtester.analytics.details import with_details
from backtester.engine.result import Result
from backtester.report import numbers
from backtester.report.figures.returns import calendar_figure, histogram
from backtester.report.html_file import environment
from backtester.report.section import Section
from backtester.report.sections.key_figures import key_section
from backtester.report.sections.months import months_section
from backtester.report.sections.portfolio import portfolio_section
from backtester.report.sections.regimes import regimes_section
from backtester.report.sections.returns import returns_section
from backtester.report.sections.trades import trade_section
from backtester.report.sections.uncertainty import uncertainty_section
from tests.unit.report import sample

EDGES = (sample.flat, sample.one_trade, sample.one_day, sample.liquidated)
ALL = (
    key_section,
    months_section,
    returns_section,
    regimes_section,
    trade_section,
    portfolio_section,
    uncertainty_section,
)


def html(section: Section | None) -> str:
    """A section as text, its data left out."""
    if section is None:
        return ""
    rendered = environment().get_template(section.template).render(section=section, **section.context)
    plain = re.sub(r"<script.*?</script>", "", rendered, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", plain)).replace("&#39;", "'")


def metric(section: Section, key: str) -> str:
    rendered = environment().get_template(section.template).render(section=section, **section.context)
    found = re.search(rf'data-metric="{re.escape(key)}">([^<]*)<', rendered)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def run() -> Result:
    return with_details(analytics.complete(sample.make(3, 24 * 120)))


def test_the_comparison_shows_the_details(run: Result) -> None:
    section = key_section(run)
    assert metric(section, "total_return") == numbers.percent(run.summary["total_return"])  # type: ignore[arg-type]
    for subject in ("buy_and_hold", "without_funding", "without_costs"):
        told = run.details[subject]
        assert metric(section, f"{subject}.total_return") == numbers.percent(told["total_return"])  # type: ignore[arg-type]
        assert metric(section, f"{subject}.sharpe") == numbers.decimal(told["sharpe"])  # type: ignore[arg-type]
        assert metric(section, f"{subject}.final_equity") == numbers.decimal(told["final_equity"])  # type: ignore[arg-type]
    ends = [trace.y[-1] for trace in section.plots[0].figure.data]
    told_ends = [run.summary["final_equity"], *(run.details[s]["final_equity"] for s in list(run.details)[:3])]
    assert ends == pytest.approx([end / 10_000 - 1 for end in told_ends])  # type: ignore[operator]


def test_how_the_holder_pays_is_said(run: Result) -> None:
    assert "not every settlement is known" in html(key_section(run))
    settled = run.bars.with_columns(pl.lit(None, pl.Float64).alias("funding_rate"))
    assert "with its funding (0.00" in html(key_section(replace(run, bars=settled, details={})))


def test_the_interval_shows_the_details(run: Result) -> None:
    section, told = uncertainty_section(run), run.details["uncertainty"]
    assert metric(section, "uncertainty.samples") == "2,000"
    rows = {row[0]: row[1:] for row in section.tables[0].rows}
    assert rows["Sharpe ratio"][1:] == [numbers.decimal(told[f"sharpe_{x}"]) for x in ("low", "median", "high")]  # type: ignore[arg-type]
    assert rows["Annual return"][0] == numbers.percent(run.summary["annual_return"])  # type: ignore[arg-type]


def test_too_few_days_are_said() -> None:
    page = html(uncertainty_section(analytics.complete(sample.one_trade())))
    assert "Too few days: the run has 20, and an interval needs at least 60." in page


def test_a_run_that_never_moves_has_no_uncertainty() -> None:
    assert "never moved" in html(uncertainty_section(analytics.complete(sample.flat(24 * 70))))


@pytest.mark.parametrize("make", EDGES)
def test_edges_have_texts_without_raw_numbers(make) -> None:
    run = analytics.complete(make())
    for section in ALL:
        text = html(section(run))
        assert not re.search(r"\b(nan|None|inf|NaT)\b|\d\.\d{9,}|\b1 (days|trips)\b", text), text


def test_empty_states_say_why() -> None:
    flat = analytics.complete(sample.flat())
    assert "No trade was opened." in html(trade_section(flat))
    assert "Equity never moved." in html(regimes_section(flat))
    assert "Regimes need 40 days; the run has 3." in html(regimes_section(flat))
    assert "Equity never moved." in html(returns_section(flat))
    assert "No day lost anything." in html(returns_section(flat))
    assert portfolio_section(flat) is None
    opened = analytics.complete(sample.one_day())
    assert "No trade was closed yet." in html(trade_section(opened))
    assert len(trade_section(opened).tables) == 1


def test_nothing_replayed_has_texts_too(run: Result) -> None:
    empty = replace(analytics.complete(sample.flat()), equity=run.equity.clear(), bars=run.bars.clear(), details={})
    for section in ALL:
        assert "nan" not in html(section(empty))


def test_fifty_contracts_stay_readable() -> None:
    count = 50
    names = tuple(f"C{i}/USDT:USDT" for i in range(count))
    run = analytics.complete(sample.make(2, 24 * 20))
    ledger = pl.concat(
        run.ledger.filter(pl.col("symbol") == run.symbols[0]).with_columns(
            pl.lit(name).alias("symbol"), pl.col("amount") * (i + 1)
        )
        for i, name in enumerate(names)
    )
    wide = replace(run, symbols=names, ledger=ledger, positions=run.positions.clear(), fills=run.fills.clear())
    section = portfolio_section(wide)
    assert section is not None
    contribution, correlation = (plot.figure for plot in section.plots)
    assert len(contribution.data[0].x) == 16
    assert contribution.layout.yaxis.ticktext[-1] == "35 others"
    assert len(correlation.data[0].z) == 16
    assert section.tables[0].total == count
    assert sum(contribution.data[0].x) == pytest.approx(ledger["amount"].sum())


def test_the_calendar_has_each_day_at_its_place() -> None:
    days = pl.date_range(pl.date(2023, 12, 31), pl.date(2024, 2, 1), eager=True)
    daily = pl.DataFrame({"day": days, "return": np.arange(len(days)) / 100})
    figure = calendar_figure(daily)
    grid = figure.data[0].z
    assert grid[6][52] == 0.0  # Sunday 2023-12-31, the 53rd week from the Sunday on which 2023 began
    assert grid[8][0] == 0.01  # Monday 2024-01-01
    assert grid[8 + 3][4] == 0.32  # Thursday 2024-02-01
    assert figure.data[0].customdata[8 + 3][4] == "Thu 2024-02-01"
    assert sum(cell is not None for row in grid for cell in row) == len(days)


def test_no_bar_of_a_histogram_holds_both_signs() -> None:
    values = np.random.default_rng(1).normal(0.3, 1.0, 500)
    counts, edges = histogram(values, 20)
    assert counts.sum() == 500
    assert np.abs(edges).min() == 0.0
    assert histogram(np.full(5, 0.1), 20)[0].sum() == 5


def test_a_trip_leads_to_its_price(run: Result) -> None:
    table = next(t for t in trade_section(run).tables if t.name == "trades")
    first = run.trades.row(0, named=True)
    number = run.symbols.index(first["symbol"])
    start, end = (round(first[key].timestamp() * 1000) for key in ("entry_time", "exit_time"))
    assert table.focus[0] == f"price-{number}:{start}:{end}"
    assert all(table.focus)


def test_what_a_liquidation_took_stands_beside_the_net_result() -> None:
    run = analytics.complete(sample.liquidated())
    took = run.trades["liquidation"].to_list()
    assert any(took)
    text = html(trade_section(run))
    assert "Funding, liquidation" in text
    assert numbers.decimal(min(took), 2, signed=True) in text
    assert "Funding, liquidation" not in html(trade_section(analytics.complete(sample.one_trade())))

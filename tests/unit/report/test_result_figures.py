"""Figures of a run for notebooks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import plotly.graph_objects as go
import pytest

import backtester
from backtester import analytics
from backtester.analytics import returns
from backtester.engine.result import Result
from backtester.errors import UnknownNameError
from backtester.report import theme
from backtester.report.result_figures import themed
from tests.unit.report import sample

NAMES = ("equity", "price", "margin", "funding", "attribution", "returns")


@pytest.fixture(scope="module")
def result() -> Result:
    return analytics.complete(sample.make(2, 24 * 40))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("background", ["light", "dark"])
def test_each_is_a_figure_of_its_theme(result: Result, name: str, background: str) -> None:
    figure = getattr(result.figures, name)(theme=background)
    assert isinstance(figure, go.Figure)
    assert figure.data
    layout = figure.layout.template.layout
    assert layout.paper_bgcolor == theme.SURFACES[background]["panel"]
    assert layout.font.color == theme.SURFACES[background]["text"]
    assert figure.to_json()


@pytest.mark.parametrize("name", NAMES)
def test_a_run_without_anything_says_so(name: str) -> None:
    empty = analytics.complete(sample.flat())
    figure = getattr(empty.figures, name)()
    assert isinstance(figure, go.Figure)
    if name in {"margin", "funding", "attribution"}:
        assert not figure.data
        assert figure.layout.annotations[0].text.endswith(".")


def test_months_are_bars_of_their_returns(result: Result) -> None:
    (bars,) = result.figures.returns().data
    monthly = returns.monthly_returns(returns.daily_returns(result.equity, result.config.account.balance))
    assert list(bars.x) == [f"{y}-{m:02d}" for y, m in monthly.select("year", "month").iter_rows()]
    assert list(bars.y) == pytest.approx(monthly["return"].to_list())


def test_the_waterfall_adds_up(result: Result) -> None:
    (bars,) = result.figures.attribution().data
    parts = [x for x, kind in zip(bars.x, bars.measure, strict=True) if kind == "relative"]
    assert sum(parts) == pytest.approx(result.summary["net_profit"])


def test_a_symbol_is_named_by_its_beginning(result: Result) -> None:
    first, second = result.symbols
    figures = [result.figures.price(name) for name in (None, first, second[:3])]
    marks = [next(trace for trace in figure.data if trace.name == "Mark").y[0] for figure in figures]
    opens = [result.bars.filter(symbol=name)["mark_close"][0] for name in (first, first, second)]
    assert marks == pytest.approx(opens, rel=0.05)
    with pytest.raises(UnknownNameError, match="Unknown symbol 'XRP'"):
        result.figures.price("XRP")
    with pytest.raises(UnknownNameError, match="Unknown theme 'drak'"):
        result.figures.equity("drak")


def test_every_figure_of_a_section_is_there(result: Result) -> None:
    found = result.figures.section("margin", theme="dark")
    assert list(found) == ["margin"]
    with pytest.raises(UnknownNameError, match="Did you mean 'margin'"):
        result.figures.section("margins")


def test_colours_of_values_follow_the_theme() -> None:
    figure = go.Figure(go.Heatmap(z=[[1, 2]], meta={"scale": "sequential"}))
    dark = [list(one) for one in themed(figure, "dark").data[0].colorscale]
    assert dark == [[at, colour] for at, colour in theme.SCALES["dark"]["sequential"]]


def test_a_result_is_saved_exported_and_read_back(result: Result, tmp_path: Path) -> None:
    with_source = replace(result, strategy_source="# made by hand\n")
    saved = with_source.save(tmp_path / "reports")
    assert saved.run_dir is not None
    assert (saved.run_dir / "report.html").is_file()
    assert (tmp_path / "reports" / "index.html").is_file()
    again = backtester.load_result(saved.run_dir)
    assert again.trades.equals(result.trades)
    assert [path.name for path in again.export(tmp_path, tables=["trades"])] == ["trades.csv"]
    assert repr(again.figures).startswith("<figures of ")

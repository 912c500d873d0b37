"""Figures of a run for notebooks: ``result.figures.equity()``."""

from __future__ import annotations

from typing import Any, Literal

import plotly.graph_objects as go
import polars as pl

from backtester.analytics import attribution, returns, risk
from backtester.engine.result import Result
from backtester.errors import UnknownNameError
from backtester.report import figures, theme
from backtester.report.figures.monthly import monthly_figure
from backtester.report.key_figures import money_decimals
from backtester.report.sections.margin import margin_section

ThemeName = Literal["light", "dark"]


class ResultFigures:
    """Plotly figures of a run, as its page has them.

    Each method takes ``theme``, ``"light"`` or ``"dark"``, and returns a figure of its own, which may be changed. Where
    a run has nothing to show the figure says so.

    Parameters
    ----------
    result : Result
        An analysed run.

    Examples
    --------
    >>> result.figures.equity()  # doctest: +SKIP
    >>> result.figures.price("BTC/USDT:USDT", theme="dark").update_layout(height=700)  # doctest: +SKIP
    """

    def __init__(self, result: Result) -> None:
        self._result = result

    def __repr__(self) -> str:
        return f"<figures of {self._result.run_id}: equity, price, margin, funding, attribution, returns, section>"

    def equity(self, theme: ThemeName = "light") -> go.Figure:
        """Return equity at bar closes [settlement currency] with its drawdown."""
        result, balance = self._result, self._result.config.account.balance
        if result.equity.is_empty():
            return nothing("No bar was replayed.", theme)
        grown = returns.time_weighted(result.equity, result.ledger, balance)
        return themed(figures.equity_figure(result.equity, grown, balance, result.settle), theme)

    def price(self, symbol: str | None = None, theme: ThemeName = "light") -> go.Figure:
        """Return a contract's traded price and mark with entries, exits and liquidations.

        Parameters
        ----------
        symbol : str, optional
            The contract, or the beginning of its name; the first of the run unless named.
        theme : {"light", "dark"}
            The background.

        Raises
        ------
        UnknownNameError
            The run has no such contract.
        """
        result = self._result
        own = pl.col("symbol") == self._symbol(symbol)
        bars = result.bars.filter(own)
        if bars.is_empty():
            return nothing("No bar was replayed.", theme)
        return themed(figures.price_figure(bars, result.trades.filter(own), result.liquidations.filter(own)), theme)

    def margin(self, theme: ThemeName = "light") -> go.Figure:
        """Return margin ratio, effective leverage and distance to liquidation [fraction of the mark, and in ATRs]."""
        result = self._result
        if not risk.time_at_risk(result.equity):
            return nothing("No position was held at a bar's close.", theme)
        return themed(next(plot.figure for plot in margin_section(result).plots if plot.name == "margin"), theme)

    def funding(self, theme: ThemeName = "light") -> go.Figure:
        """Return funding received and paid over time, with its running total [settlement currency]."""
        if self._result.funding.is_empty():
            return nothing("No position was held at a settlement.", theme)
        return themed(figures.funding_figure(self._result.funding, self._result.settle), theme)

    def attribution(self, theme: ThemeName = "light") -> go.Figure:
        """Return the waterfall of what the profit consists of [settlement currency]."""
        summary = self._result.summary
        parts = [(name.replace("_", " ").capitalize(), float(summary.get(name) or 0.0)) for name in attribution.PARTS]
        moved = [part for part in parts if part[1]]
        if not moved:
            return nothing("Nothing was earned or lost.", theme)
        return themed(figures.waterfall_figure(moved, self._result.settle, money_decimals(self._result)), theme)

    def returns(self, theme: ThemeName = "light") -> go.Figure:
        """Return the compounded return of each calendar month (UTC) [fraction]."""
        result, balance = self._result, self._result.config.account.balance
        daily = returns.daily_returns(returns.time_weighted(result.equity, result.ledger, balance), balance)
        monthly = returns.monthly_returns(daily)
        if monthly.is_empty():
            return nothing("No day was completed.", theme)
        return themed(monthly_figure(monthly), theme)

    def section(self, name: str, theme: ThemeName = "light") -> dict[str, go.Figure]:
        """Return the figures of a section of the page by their names on it.

        Parameters
        ----------
        name : str
            The section, as the address of the page shows it behind ``#``.
        theme : {"light", "dark"}
            The background.

        Raises
        ------
        UnknownNameError
            The page has no such section.
        """
        from backtester.report.sections import each_section  # noqa: PLC0415 - it reads every section's module

        passed: list[str] = []
        for section in each_section(self._result):
            if section.id == name:
                return {plot.name: themed(plot.figure, theme) for plot in section.plots}
            passed.append(section.id)
        raise UnknownNameError("section", name, passed)

    def _symbol(self, symbol: str | None) -> str:
        known = self._result.symbols
        if symbol is None and known:
            return known[0]
        found = [name for name in known if name == symbol] or [n for n in known if symbol and n.startswith(symbol)]
        if len(found) != 1:
            raise UnknownNameError("symbol", str(symbol), known, f"in {self._result.run_id}")
        return found[0]


def themed(figure: go.Figure, name: ThemeName) -> go.Figure:
    """Return a figure in the colours of a theme, on its background.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        Changed and returned.
    name : {"light", "dark"}
        The theme.

    Raises
    ------
    UnknownNameError
        There is no such theme.
    """
    if name not in theme.SURFACES:
        raise UnknownNameError("theme", name, theme.SURFACES)
    template = theme.template(name)
    template["layout"]["paper_bgcolor"] = theme.SURFACES[name]["panel"]
    figure.update_layout(template=template)
    for trace in figure.data:
        _colour_by_value(trace, theme.SCALES[name])
    return figure


def nothing(text: str, name: ThemeName) -> go.Figure:
    """Return a figure that says why there is none."""
    figure = go.Figure()
    figure.update_layout(**theme.layout(220))
    note: dict[str, Any] = {"text": text, "showarrow": False, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5}
    figure.update_layout(annotations=[note], xaxis={"visible": False}, yaxis={"visible": False})
    return themed(figure, name)


def _colour_by_value(trace: Any, scales: dict[str, list[tuple[float, str]]]) -> None:
    """Give a trace whose colours stand for values the scale of the theme; on a page its script does so."""
    told = trace.meta if isinstance(trace.meta, dict) else {}
    if told.get("scale") in scales and "at" not in told:
        trace.colorscale = scales[told["scale"]]

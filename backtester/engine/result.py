"""What a run hands back: frames by name, notices, and how a notebook shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import polars as pl

from backtester.domain.config import RunConfig
from backtester.errors import format_time

Severity = Literal["assumption", "warning", "error"]
SummaryValue = float | int | str | None

FRAMES = ("equity", "fills", "funding", "liquidations", "ledger", "positions", "orders", "targets", "trades")

SHOWN_NAMES = 3
"""Names of a longer list that a sentence shows."""

# What a notebook and the terminal show of a summary, in this order: key, label, how the value is written.
KEY_FIGURES: tuple[tuple[str, str, Literal["percent", "ratio", "money", "count"]], ...] = (
    ("total_return", "Total return", "percent"),
    ("annual_return", "Annual return", "percent"),
    ("volatility", "Volatility (annual)", "percent"),
    ("sharpe", "Sharpe ratio", "ratio"),
    ("sortino", "Sortino ratio", "ratio"),
    ("calmar", "Calmar ratio", "ratio"),
    ("max_drawdown", "Largest drawdown", "percent"),
    ("trades", "Round trips", "count"),
    ("hit_rate", "Hit rate", "percent"),
    ("profit_factor", "Profit factor", "ratio"),
    ("funding", "Funding", "money"),
    ("fees", "Trading fees", "money"),
    ("slippage", "Slippage", "money"),
    ("liquidations", "Liquidations", "count"),
    ("worst_margin_ratio", "Worst margin ratio", "percent"),
    ("time_at_risk", "Time at risk", "percent"),
)


@dataclass(frozen=True)
class Notice:
    """Something that the reader of a run must know.

    Attributes
    ----------
    code : str
        Stable snake_case name, for programs.
    severity : {"assumption", "warning", "error"}
        Assumptions were chosen, warnings happened.
    text : str
        One or two sentences for people.
    """

    code: str
    severity: Severity
    text: str


@dataclass(frozen=True, eq=False)
class Result:
    """A finished run.

    Attributes
    ----------
    run_id : str
        Name of the run and of its folder.
    config : RunConfig
        The resolved configuration: nothing is left to defaults.
    symbols : tuple of str
        Contracts in the configured order.
    timeframe_ms : int
        Length of a replayed bar [ms].
    settle : str
        Settlement currency, ``"USDT"``.
    synthetic : bool
        Whether the market was made up.
    equity, fills, funding, liquidations, ledger, positions, orders, targets : polars.DataFrame
        The records, with the columns and units of the run folder's files.
    trades : polars.DataFrame
        Round trips; empty until the analysis has run.
    assumptions : polars.DataFrame
        The same run under other assumptions, one row each; empty where none was tried.
    clearing : polars.DataFrame
        The account's place in a cleared market over time: ``open_time, symbol, light`` (1: first in the queue, null
        where nothing is held; of a bar that deleveraged it the one with which it was)``, fund_worth``; empty where no
        market was cleared.
    unstruck : polars.DataFrame
        ``open_time, equity`` of the same run without the venue's events; empty where there were none.
    bars : polars.DataFrame
        Replayed bars, one row a bar and listed symbol: ``open_time, symbol, open, high, low, close, volume, mark_open,
        mark_high, mark_low, mark_close, index_close, funding_rate`` (what settled in the bar, held or not).
    counts : dict of str to int
        How often something happened that a record does not show: ``disputed_bars``, ``bars_waited`` …
    notices : tuple of Notice
        Warnings and assumptions, the gravest first.
    summary : dict
        Metrics by snake_case key; empty until the analysis has run.
    details : dict of dict
        What a page says beyond the metrics, by subject: plain numbers and texts by snake_case key. Empty until the run
        is saved or its page is made.
    manifest : dict
        Hashes, versions, seed and times.
    strategy_name, strategy_source : str
        The strategy and its source text.
    run_dir : Path or None
        The run's folder once it is written.
    """

    run_id: str
    config: RunConfig
    symbols: tuple[str, ...]
    timeframe_ms: int
    settle: str
    synthetic: bool
    equity: pl.DataFrame
    fills: pl.DataFrame
    funding: pl.DataFrame
    liquidations: pl.DataFrame
    ledger: pl.DataFrame
    positions: pl.DataFrame
    orders: pl.DataFrame
    targets: pl.DataFrame
    bars: pl.DataFrame
    trades: pl.DataFrame = field(default_factory=pl.DataFrame)
    assumptions: pl.DataFrame = field(default_factory=pl.DataFrame)
    clearing: pl.DataFrame = field(default_factory=pl.DataFrame)
    unstruck: pl.DataFrame = field(default_factory=pl.DataFrame)
    counts: dict[str, int] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    summary: dict[str, SummaryValue] = field(default_factory=dict)
    details: dict[str, dict[str, SummaryValue]] = field(default_factory=dict)
    manifest: dict[str, object] = field(default_factory=dict)
    strategy_name: str = ""
    strategy_source: str = ""
    run_dir: Path | None = None

    @property
    def start(self) -> int:
        """Open of the first replayed bar [ms since 1970, UTC]."""
        return _edge(self.equity, "open_time", 0)

    @property
    def end(self) -> int:
        """Close of the last replayed bar [ms since 1970, UTC]."""
        return _edge(self.equity, "close_time", -1)

    @property
    def figures(self) -> Any:
        """Plotly figures for notebooks (a `backtester.ResultFigures`): ``result.figures.equity()`` and others."""
        return _public("ResultFigures")(self)

    def save(self, out: Path | str = "reports") -> Result:
        """Write the run's folder and its page below ``out`` and return the run with ``run_dir``.

        Raises
        ------
        StoreError
            The disk is full or the folder may not be written.
        """
        saved: Result = _public("save")(self, out)
        return saved

    def export(
        self,
        to: Path | str,
        format: Literal["csv", "xlsx", "parquet"] = "csv",  # noqa: A002 - what the option is called
        tables: Sequence[str] | None = None,
        *,
        overwrite: bool = False,
    ) -> list[Path]:
        """Write the run's tables for other programs; see `backtester.engine.export.export_tables`."""
        from backtester.engine.export import export_tables  # noqa: PLC0415 - it reads this module

        return export_tables(self, to, format, tables, overwrite=overwrite)

    @property
    def title(self) -> str:
        """Strategy, symbols and span in one line."""
        return f"{self.strategy_name} on {listed(self.symbols)}, {format_time(self.start)} to {format_time(self.end)}"

    def __repr__(self) -> str:
        total = self.summary.get("total_return")
        shown = f", total return {total:+.2%}" if isinstance(total, float) else ""
        return f"<Result {self.run_id}: {self.title}{shown}>"

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows."""
        head = f"<p><b>{escape(self.title)}</b></p>"
        notes = "".join(f"<li>{escape(n.severity)}: {escape(n.text)}</li>" for n in self.notices)
        rows = "".join(
            f"<tr><td>{escape(label)}</td><td style='text-align:right'>{escape(text)}</td></tr>"
            for label, text in key_figures(self.summary, self.settle)
        )
        page = f"<p>{escape(str(self.run_dir / 'report.html'))}</p>" if self.run_dir is not None else ""
        return f"<div>{head}<ul>{notes}</ul><table>{rows}</table>{page}</div>"


def _public(name: str) -> Any:
    """Return a public name of the package, loaded when it is used: the engine knows no layer above it."""
    return getattr(import_module("backtester"), name)


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them: of many the first three and how many more there are."""
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more


def key_figures(summary: Mapping[str, SummaryValue], settle: str) -> list[tuple[str, str]]:
    """Return label and text of each key figure that a summary holds.

    Parameters
    ----------
    summary : mapping
        Metrics by snake_case key.
    settle : str
        Settlement currency, shown behind amounts.

    Returns
    -------
    list of tuple of str
        In the order of a page; a metric that is not defined shows as a dash.
    """
    return [(label, figure_text(summary[key], style, settle)) for key, label, style in KEY_FIGURES if key in summary]


def figure_text(value: SummaryValue, style: str, settle: str) -> str:
    """Return a figure as people read it.

    Parameters
    ----------
    value : float, int, str or None
        The figure; None is one that is not defined.
    style : {"percent", "ratio", "money", "count"}
        How it is written.
    settle : str
        Settlement currency, shown behind amounts.
    """
    if value is None or isinstance(value, str):
        return value or "-"
    if style == "percent":
        return f"{unsigned_zero(f'{100 * value:.2f}')}%"
    text = unsigned_zero(f"{value:,.0f}" if style == "count" else f"{value:,.2f}")
    return f"{text} {settle}" if style == "money" else text


def signed_text(value: float, digits: int) -> str:
    """Return a difference with its sign; one that rounds to zero has none."""
    return unsigned_zero(f"{value:+,.{digits}f}")


def unsigned_zero(text: str) -> str:
    """Return the text of a number without a sign where it reads as zero."""
    return text if any(digit in text for digit in "123456789") else text.lstrip("+-")


def _edge(frame: pl.DataFrame, column: str, row: int) -> int:
    """Return a time of a frame's first or last row in ms, 0 where the frame is empty."""
    if frame.is_empty():
        return 0
    return int(frame[column].cast(pl.Int64)[row])

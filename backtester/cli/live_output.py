"""How a comparison with live trades is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from backtester.analytics.live import LiveComparison

# Figure, label, how it is written.
_TOTALS = (
    ("matched", "Orders on both sides", "count"),
    ("only_simulated", "Simulated only", "count"),
    ("only_live", "Live only", "count"),
    ("slippage_bps", "Slippage, mean (bps)", "ratio"),
    ("median_slippage_bps", "Slippage, median (bps)", "ratio"),
    ("slippage_cost", "Slippage", "money"),
    ("fee_difference", "Fees", "money"),
    ("funding_difference", "Funding", "money"),
    ("cost", "All three", "money"),
)


def print_live(found: LiveComparison, title: str, live: Path, settle: str, rows: int) -> None:
    """Print what was found and its tables.

    Parameters
    ----------
    found : LiveComparison
        The comparison.
    title : str
        Of the run.
    live : Path
        The file of the trades.
    settle : str
        Settlement currency.
    rows : int
        Rows of each table.
    """
    from backtester.cli.output import say

    for notice in found.notices:
        say(f"{notice.severity.capitalize()}: {notice.text}")
    typer.echo(f"{title}, against {live.name}; positive differences are worse for the account")
    _print(found, settle, rows)


def live_json(found: LiveComparison, run_id: str) -> dict[str, Any]:
    """Return a comparison as JSON has it."""
    frames = ("matched", "only_simulated", "only_live", "funding")
    return {
        "run": run_id,
        "totals": found.totals,
        **{name: _records(getattr(found, name)) for name in frames},
        "notices": [notice.text for notice in found.notices],
    }


def _records(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return rows with times as ISO text."""
    from polars import selectors

    return frame.with_columns(selectors.datetime().dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")).to_dicts()


def _print(found: LiveComparison, settle: str, rows: int) -> None:
    """Print the tables: the costliest orders first, then what stands alone, funding, totals."""
    from backtester.cli.output import print_table
    from backtester.engine.result import figure_text

    _print_matched(found.matched, rows)
    for name, frame in (("Simulated only", found.only_simulated), ("Live only", found.only_live)):
        _print_alone(frame, name, rows)
    _print_funding(found.funding, rows)
    totals = [(label, figure_text(found.totals[key], style, settle)) for key, label, style in _TOTALS]
    print_table(("", ""), totals, "Live against simulated", right=(1,))


def _print_matched(frame: pl.DataFrame, rows: int) -> None:
    from backtester.cli.output import print_table
    from backtester.engine.result import signed_text

    if frame.is_empty() or not rows:
        return
    worst = frame.sort(frame["slippage_cost"].abs(), descending=True) if frame.height > rows else frame
    cells = [
        [
            row["symbol"],
            row["side"],
            _moment(row["time_live"]),
            f"{row['delay']:+,.1f}",
            f"{row['quantity_live']:g} / {row['quantity_simulated']:g}",
            f"{row['price_live']:g} / {row['price_simulated']:g}",
            signed_text(row["slippage_bps"], 2),
            signed_text(row["slippage_cost"], 2),
            "-" if row["fee_difference"] is None else signed_text(row["fee_difference"], 2),
        ]
        for row in worst.head(rows).iter_rows(named=True)
    ]
    headings = (
        "symbol", "side", "live time", "delay (s)", "quantity live / sim.", "price live / sim.", "bps", "cost",
        "fee diff.",
    )  # fmt: skip
    title = "Orders on both sides" + (f", the {rows} costliest of {frame.height}" if frame.height > rows else "")
    print_table(headings, cells, title, right=(3, 4, 5, 6, 7, 8), whole=(0, 2))


def _print_alone(frame: pl.DataFrame, name: str, rows: int) -> None:
    from backtester.cli.output import print_table

    if frame.is_empty() or not rows:
        return
    cells = [
        [
            row["symbol"],
            row["side"],
            _moment(row["time"]),
            f"{row['quantity']:g}",
            f"{row['price']:g}",
            row["order_id"] or "-",
        ]
        for row in frame.head(rows).iter_rows(named=True)
    ]
    title = name + (f", the first {rows} of {frame.height}" if frame.height > rows else "")
    print_table(("symbol", "side", "time", "quantity", "price", "order"), cells, title, right=(3, 4), whole=(0, 2))


def _print_funding(frame: pl.DataFrame, rows: int) -> None:
    from backtester.cli.output import print_table
    from backtester.engine.result import signed_text

    if frame.is_empty() or not rows:
        return
    largest = frame.sort(frame["funding_difference"].abs(), descending=True) if frame.height > rows else frame
    cells = [
        [
            row["symbol"],
            _moment(row["time"]),
            *("-" if row[key] is None else signed_text(row[key], 4) for key in ("funding_live", "funding_simulated")),
            signed_text(row["funding_difference"], 4),
        ]
        for row in largest.head(rows).iter_rows(named=True)
    ]
    title = "Funding received" + (f", the {rows} largest differences of {frame.height}" if frame.height > rows else "")
    print_table(("symbol", "settlement", "live", "simulated", "difference"), cells, title, right=(2, 3, 4))


def _moment(time: Any) -> str:
    """Return a time to the second."""
    return f"{time:%Y-%m-%d %H:%M:%S}"

"""``index.html`` of a folder of runs: every run and search with its figures, to be searched, sorted and compared."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from backtester.engine.result import Notice
from backtester.errors import BacktesterError, StoreError
from backtester.market.atomic import writer_lock
from backtester.report import numbers
from backtester.report.html_file import environment, write_html
from backtester.report.shelf import SHELF_FOLDER, Row, Shelf, read_shelf

INDEX_FILE = "index.html"
_LOCK_SECONDS = 20.0
_MARK = b'name="generator" content="backtester shelf"'
_DEFAULT_OUT = Path("reports")
_WIDTH, _HEIGHT, _EDGE = 132.0, 34.0, 2.0
_SHOWN_SYMBOLS = 3
_KINDS = {
    "run": "Run",
    "sweep": "Sweep",
    "optimize": "Optimisation",
    "walk-forward": "Walk forward",
    "clearing": "Clearing",
}

Cell = tuple[str, str, float | None, int]
"""Metric, text, value to sort by, and sign where colour helps."""


@dataclass(frozen=True)
class Spark:
    """An equity as the path of a small drawing, the height of the balance at the start, and what it shows in words."""

    path: str
    base: float
    tone: str
    label: str


@dataclass(frozen=True)
class Line:
    """A row as its line on the page shows it; every text is escaped by the template."""

    row: Row
    kind: str
    link: str
    created: str
    name: str
    strategy: str
    symbols: str
    more_symbols: str
    span: tuple[str, str]
    cells: Sequence[Cell]
    spark: Spark | None
    words: str


def refreshed_shelf(out: Path | str) -> Notice | None:
    """Write the list of a folder of runs again after one came to it.

    Returns
    -------
    Notice or None
        What to tell where it could not be written: a run does not fail for it.
    """
    try:
        write_shelf(Path(out))
    except Exception as error:  # noqa: BLE001 - whatever happens here, the run is done
        is_ours = isinstance(error, BacktesterError)
        why = str(error).replace("\n", " ") if is_ours else f"{type(error).__name__}: {error}."
        text = f"The list of runs was not renewed. {why} Then `backtester reports index` writes it."
        return Notice("shelf_not_renewed", "warning", text)
    return None


def write_shelf(out: Path) -> Path:
    """Write ``index.html`` of a folder of runs, whose folders are only read.

    Runs that end at once wait for each other, so that the last list has all of them.

    Parameters
    ----------
    out : Path
        Folder of all runs.

    Returns
    -------
    Path
        The page; it appears whole or not at all.

    Raises
    ------
    StoreError
        The folder cannot be written, or another process keeps its list.
    """
    folder = out / SHELF_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The list of runs in {out} cannot be written: {error.strerror or error}.",
            "May the folder be written, and is there room?",
        ) from error
    _refuse_foreign(out / INDEX_FILE)
    with writer_lock(folder, f"The list of runs in {out}", _LOCK_SECONDS):
        shelf = read_shelf(out)
        page = write_html(out / INDEX_FILE, render_shelf(shelf))
        shelf.keep()
    return page


def _refuse_foreign(page: Path) -> None:
    """Refuse to write over a page that somebody else put there."""
    try:
        with page.open("rb") as file:
            is_ours = _MARK in file.read(4_096)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"{page} cannot be read: {error.strerror or error}.", "Move it away.") from error
    if not is_ours:
        raise StoreError(
            f"{page} is no list of runs, so it is not written over.",
            "Move it away, or choose another folder with --out.",
        )


def render_shelf(shelf: Shelf) -> str:
    """Return the list as HTML."""
    runs = [line_of(row) for row in shelf.runs]
    searches = [line_of(row) for row in shelf.searches]
    known = [*shelf.runs, *shelf.searches]
    return (
        environment()
        .get_template("shelf.html.j2")
        .render(
            runs=runs,
            searches=searches,
            unreadable=[line_of(row) for row in shelf.unreadable],
            strategies=sorted({numbers.shorten(row.strategy, 60) for row in known if row.strategy}),
            tags=sorted({tag for row in known for tag in row.tags}),
            compare=_compare_command(shelf.out),
            out=_out_option(shelf.out),
        )
    )


def line_of(row: Row) -> Line:
    """Return a row as the page shows it."""
    symbols = [part.strip() for part in row.symbols.split(",") if part.strip()]
    shown = ", ".join(numbers.shorten(s.partition("/")[0], 24) for s in symbols[:_SHOWN_SYMBOLS])
    more = f"and {len(symbols) - _SHOWN_SYMBOLS} more" if len(symbols) > _SHOWN_SYMBOLS else ""
    words = (row.name, row.strategy, row.venue, row.symbols, row.timeframe, *row.tags, _KINDS[row.kind], *row.facts)
    return Line(
        row=row,
        kind=_KINDS[row.kind],
        link=f"./{quote(row.name)}/report.html" if row.has_page else "",
        created=row.created[:16].replace("T", " "),
        name=numbers.shorten(row.name),
        strategy=numbers.shorten(row.strategy, 60),
        symbols=shown or numbers.NONE,
        more_symbols=more,
        span=(row.start[:10], row.end[:10]),
        cells=_cells(row),
        spark=_spark(row),
        words=numbers.shorten(" ".join(words).lower(), 2_000),
    )


def _cells(row: Row) -> Sequence[Cell]:
    """Return the key figures of a row."""
    f = row.figures
    total, drawdown, sharpe = f.get("total_return"), f.get("max_drawdown"), f.get("sharpe")
    trades, lost = f.get("trades"), f.get("liquidations")
    return (
        ("total_return", numbers.percent(total), total, 0 if not total else 1 if total > 0 else -1),
        ("sharpe", numbers.decimal(sharpe), sharpe, 0),
        ("max_drawdown", numbers.percent(drawdown), drawdown, 0),
        ("trades", numbers.count(trades), trades, 0),
        ("liquidations", numbers.count(lost), lost, -1 if lost else 0),
    )


def _spark(row: Row) -> Spark | None:
    """Return the small drawing of an equity; None without one."""
    values = row.spark
    if len(values) < 2:
        return None
    equity = [y for _, y in values]
    low, high = min(*equity, 1.0), max(*equity, 1.0)
    if high - low < 1e-9:
        low, high = low - 1.0, high + 1.0
    size = high - low

    def height(value: float) -> float:
        return round(_EDGE + (high - value) / size * (_HEIGHT - 2 * _EDGE), 1)

    points = [f"{_EDGE + x * (_WIDTH - 2 * _EDGE):.1f} {height(y):g}" for x, y in values]
    change = equity[-1] - 1.0
    within = f"between {numbers.percent(low - 1)} and {numbers.percent(high - 1)}"
    tone = "gain" if change > 0 else "loss" if change < 0 else ""
    return Spark(f"M{'L'.join(points)}", height(1.0), tone, f"Equity: {numbers.percent(change)} at the end, {within}")


def _compare_command(out: Path) -> str:
    return f"backtester compare{{}}{_out_option(out)}"


def _out_option(out: Path) -> str:
    """Return the option that names the folder of runs; nothing for the one that commands take anyway."""
    if out == _DEFAULT_OUT:
        return ""
    return f" --out {shlex.quote(os.path.abspath(out))}"  # noqa: PTH100 - links are kept as they were written

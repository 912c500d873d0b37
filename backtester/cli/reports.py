"""``backtester reports``: list, open and rebuild reports; tag, prune, export and reproduce runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtester.cli.options import DEFAULT_OUT, AssetsOption, JsonOption, OutOption, QuietOption
from backtester.cli.reports_export import export_run, reproduce_run
from backtester.cli.reports_upkeep import prune_runs, tag_run
from backtester.cli.run_argument import RunArgument, run_folder

if TYPE_CHECKING:
    from backtester.report.shelf import Row

__all__ = ["app", "run_folder"]

app = typer.Typer(
    help="List, open, rebuild, tag, prune, export and reproduce runs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

_COINS = 3
_COLUMNS = (
    ("total_return", "return", "percent"),
    ("sharpe", "Sharpe", "ratio"),
    ("max_drawdown", "drawdown", "percent"),
)


class Kind(StrEnum):
    """What is listed."""

    RUN = "run"
    SWEEP = "sweep"
    OPTIMIZE = "optimize"
    WALK_FORWARD = "walk-forward"
    CLEARING = "clearing"
    ALL = "all"


class Sorting(StrEnum):
    """By what a list is sorted."""

    DATE = "date"
    STRATEGY = "strategy"
    RETURN = "return"
    SHARPE = "sharpe"
    DRAWDOWN = "drawdown"
    TRADES = "trades"
    LIQUIDATIONS = "liquidations"


_METRIC_OF = {Sorting.RETURN: "total_return", Sorting.DRAWDOWN: "max_drawdown"}


@app.command("list")
def list_runs(
    *,
    strategy: Annotated[str | None, typer.Option("--strategy", metavar="NAME", help="Only of this strategy.")] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="TAG", help="Only with this tag (repeatable: with all of them)."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Only those made since: 2026-01-31, or 7d ago.")
    ] = None,
    kind: Annotated[Kind, typer.Option("--kind", help="What is listed.")] = Kind.RUN,
    sort: Annotated[
        Sorting, typer.Option("--sort", help="By date the newest stand last, by a figure the best first.")
    ] = Sorting.DATE,
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    out: OutOption = DEFAULT_OUT,
    as_json: JsonOption = False,
) -> None:
    """List the runs, the newest last; broken ones with the reason."""
    from backtester.cli.output import print_json, print_table
    from backtester.cli.reports_upkeep import moment_of
    from backtester.engine.result import figure_text
    from backtester.report.shelf import read_shelf
    from backtester.report.shelf_upkeep import made_at

    shelf = read_shelf(out)
    earliest = None if since is None else moment_of(since, "--since")
    rows = [
        row
        for row in shelf.rows
        if kind in {Kind.ALL, row.kind}
        and (strategy is None or row.strategy == strategy)
        and set(tag or ()) <= set(row.tags)
        and (earliest is None or made_at(shelf, row) >= earliest)
    ]
    rows = _sorted(rows, sort, reverse=reverse)
    if as_json:
        print_json([_json_row(row, out) for row in rows])
        return
    if not rows:
        some = "No run of that kind is" if shelf.rows else "There is no run"
        way = "Leave filters out to see all." if shelf.rows else "Make one with `backtester run STRATEGY`."
        typer.echo(f"{some} in {out}{'' if shelf.rows else ' yet'}. {way}")
        return
    has_tags = any(row.tags for row in rows)
    cells = [
        [row.name, _about(row)]
        + [figure_text(row.figures.get(key), style, row.settle) for key, _, style in _COLUMNS]
        + ([", ".join(row.tags)] if has_tags else [])
        for row in rows
    ]
    headings = ("run", "coins", *(label for _, label, _ in _COLUMNS), *(("tags",) if has_tags else ()))
    print_table(headings, cells, right=(2, 3, 4), whole=(0, 1))
    for row in rows:
        if row.reason:
            typer.echo(f"{row.name}: {row.reason}")


def _sorted(rows: list[Row], sort: Sorting, *, reverse: bool) -> list[Row]:
    """Return rows in an order; those without the figure stand last."""
    if sort is Sorting.DATE:
        return rows if reverse else rows[::-1]
    if sort is Sorting.STRATEGY:
        return sorted(rows, key=lambda row: (row.strategy, row.name), reverse=reverse)
    metric = _METRIC_OF.get(sort, str(sort))
    known = [row for row in rows if row.figures.get(metric) is not None]
    is_less_better = sort is Sorting.LIQUIDATIONS
    known.sort(key=lambda row: row.figures[metric] or 0.0, reverse=is_less_better == reverse)
    return [*known, *(row for row in rows if row not in known)]


def _json_row(row: Row, out: Path) -> dict[str, Any]:
    """Return a row as JSON has it."""
    market = ("venue", "symbols", "timeframe", "start", "end", "settle")
    return {
        "run": row.name,
        "path": str(out / row.name),
        **{key: getattr(row, key) or None for key in ("kind", "state", "reason", "created", "strategy", *market)},
        "synthetic": row.synthetic,
        "tags": row.tags,
        "facts": row.facts,
        **row.figures,
    }


def _about(row: Row) -> str:
    """Return the short names of the first contracts: there is no room for more beside the name of a run."""
    bases = [symbol.strip().partition("/")[0] for symbol in row.symbols.split(",") if symbol.strip()]
    more = f" +{len(bases) - _COINS}" if len(bases) > _COINS else ""
    coins = " ".join(base[:12] for base in bases[:_COINS]) + more
    return coins if row.state == "whole" else f"{coins} ({row.state})" if coins else row.state


@app.command("open")
def open_report(
    run: RunArgument = None,
    *,
    shelf: Annotated[bool, typer.Option("--shelf", help="Open the list of all runs instead.")] = False,
    out: OutOption = DEFAULT_OUT,
) -> None:
    """Open a report, or the list of all runs, in the browser."""
    from backtester.engine.folder import REPORT_FILE
    from backtester.errors import UsageError
    from backtester.report.shelf_page import write_shelf

    if shelf:
        if run is not None:
            raise UsageError("--shelf opens the list of all runs, and a run is named.", "Leave one of the two out.")
        page = write_shelf(out)
    else:
        page = run_folder(run, out) / REPORT_FILE
    if not page.is_file():
        raise UsageError(f"There is no page {page}.", f"Write it with `backtester reports build {page.parent.name}`.")
    typer.echo(f"{'List' if shelf else 'Report'}: {page.resolve()}")
    typer.launch(page.resolve().as_uri())


@app.command("build")
def build_report(
    run: RunArgument = None,
    out: OutOption = DEFAULT_OUT,
    assets: AssetsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write a run's page again, from its folder alone."""
    from backtester.engine.folder import REPORT_FILE, load_result
    from backtester.errors import UsageError
    from backtester.report.page import write_page

    if assets not in {None, "inline", "shared"}:
        raise UsageError(f"--assets {assets} is unknown.", "Give inline or shared.")
    folder = run_folder(run, out)
    page = write_page(load_result(folder), folder / REPORT_FILE, assets)  # type: ignore[arg-type]  # checked above
    if folder.parent.resolve() == out.resolve():
        renew_shelf(out)
    if not quiet:
        typer.echo(f"Report: {page.resolve()}")


@app.command("index")
def build_index(out: OutOption = DEFAULT_OUT, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Write the list of all runs, index.html, again."""
    from backtester.cli.output import print_json
    from backtester.report.shelf import read_shelf
    from backtester.report.shelf_page import write_shelf

    page = write_shelf(out)
    if as_json:
        shelf = read_shelf(out)
        counts = {"runs": shelf.runs, "searches": shelf.searches, "not_whole": shelf.unreadable}
        print_json({"page": str(page.resolve()), **{name: len(rows) for name, rows in counts.items()}})
    elif not quiet:
        typer.echo(f"List: {page.resolve()}")


@app.command("schema")
def print_schema() -> None:
    """Print the JSON schema of summary.json."""
    from backtester.report.summary_schema import schema_text

    typer.echo(schema_text(), nl=False)


def renew_shelf(out: Path) -> None:
    """Write the list of runs again after a change; say where that fails."""
    from backtester.cli.output import say
    from backtester.report.shelf_page import refreshed_shelf

    problem = refreshed_shelf(out)
    if problem is not None:
        say(f"{problem.severity.capitalize()}: {problem.text}")


app.command("tag")(tag_run)
app.command("prune")(prune_runs)
app.command("export")(export_run)
app.command("reproduce")(reproduce_run)

"""``backtester compare``: stored runs beside each other, sweeps, or a run beside what an account really traded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backtester.cli.options import DEFAULT_OUT, JsonOption, OutOption, QuietOption

app = typer.Typer(add_completion=False, rich_markup_mode=None)

RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN...", help="Runs or sweeps: names, beginnings of names or folders; with --live one run, the newest."
    ),
]
ToOption = Annotated[
    Path | None, typer.Option("--to", metavar="FILE", help="The page; default: compare-HASH.html beside the runs.")
]
OpenOption = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]
LiveOption = Annotated[
    Path | None, typer.Option("--live", metavar="FILE", help="Executed trades (.csv, .parquet or .json).")
]
LiveFundingOption = Annotated[
    Path | None, typer.Option("--live-funding", metavar="FILE", help="Funding of the real account (same formats).")
]
WithinOption = Annotated[
    str, typer.Option("--within", metavar="5m", help="Largest distance in time of two orders that are the same.")
]
RowsOption = Annotated[
    int, typer.Option("--rows", metavar="N", min=0, help="Rows of each table of --live; JSON has all.")
]


@app.command()
def compare(
    runs: RunsArgument = None,
    *,
    to: ToOption = None,
    open_page: OpenOption = False,
    live: LiveOption = None,
    live_funding: LiveFundingOption = None,
    within: WithinOption = "5m",
    rows: RowsOption = 20,
    out: OutOption = DEFAULT_OUT,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare runs: one page with equity, metrics, settings, correlation and costs of all of them.

    The first run is what the others are measured against. Of one sweep the page is written anew, of several their best
    sets and spreads are set beside each other. With --live one run is compared with the trades of a real account:
    slippage, fees and funding; positive is worse for the account.
    """
    from backtester.errors import UsageError

    if live is not None or live_funding is not None:
        if to is not None or open_page:
            raise UsageError("A comparison with live trades has no page: leave --to and --open out.")
        printed = None if quiet else rows
        _compare_live(runs, (live, live_funding), within, out, rows=printed, as_json=as_json)
        return
    page = _compare_stored(runs or [], to, out, as_json=as_json, quiet=quiet)
    if open_page:
        typer.launch(page.resolve().as_uri())


def _compare_stored(names: list[str], to: Path | None, out: Path, *, as_json: bool, quiet: bool) -> Path:
    """Compare what is stored, and return where the page is."""
    from backtester.cli import compare_output
    from backtester.cli.output import say
    from backtester.cli.run_argument import NEWEST, run_folder
    from backtester.comparing import compare_folders, find_folders, page_path
    from backtester.errors import UsageError

    if not names:
        raise UsageError(
            "Nothing to compare is given.",
            "Name at least two runs (`backtester reports list` shows them), or give trades of an account: --live FILE.",
        )
    if to is not None and to.is_dir():
        raise UsageError(f"--to names the folder {to}, and the page is one file.", f"Give {to / 'compare.html'}.")
    kind, folders = find_folders([str(run_folder(name, out)) if name == NEWEST else name for name in names], out)
    if kind == "sweep":
        return compare_output.compare_sweeps(folders, to, out, as_json=as_json, quiet=quiet)
    if len(folders) == 1:
        raise UsageError(
            f"One run is given ({folders[0].name}), and a comparison takes at least two.",
            "Name another run, or give trades of an account: --live FILE.",
        )
    found = compare_folders(folders)
    page = found.save(to or page_path(folders, out))
    if as_json:
        compare_output.print_comparison_json(found, page)
        return page
    if quiet:
        typer.echo(str(page))
        return page
    for notice in found.notices:
        say(f"{notice.severity.capitalize()}: {notice.text}")
    compare_output.print_comparison(found)
    typer.echo(f"Report: {page.resolve()}")
    return page


def _compare_live(
    runs: list[str] | None,
    files: tuple[Path | None, Path | None],
    within: str,
    out: Path,
    *,
    rows: int | None,
    as_json: bool,
) -> None:
    """Compare a run with live trades; without ``rows`` nothing is printed."""
    from backtester.analytics.live import compare_live
    from backtester.cli.live_output import live_json, print_live
    from backtester.cli.output import print_json
    from backtester.cli.reports import run_folder
    from backtester.engine.fill_file import read_fills
    from backtester.engine.folder import load_result
    from backtester.engine.funding_file import read_funding
    from backtester.errors import UsageError
    from backtester.market.schema import timeframe_ms

    live, live_funding = files
    if live is None:
        raise UsageError("--live-funding goes with trades of the account.", "Give them: --live FILE.")
    if runs is not None and len(runs) > 1:
        raise UsageError(f"{len(runs)} runs are given, and live trades are compared with one.", "Name one run.")
    reach = timeframe_ms(within)
    result = load_result(run_folder(runs[0] if runs else None, out))
    settlements = None if live_funding is None else read_funding(live_funding, result.symbols)
    found = compare_live(result, read_fills(live), settlements, within_ms=reach)
    if not runs and not found.totals["matched"]:
        raise UsageError(
            f"No order of {live} is one of the newest run, {result.run_id} ({result.title}).",
            "Name the run that is meant (`backtester reports list` shows them), or widen --within.",
        )
    if as_json:
        print_json(live_json(found, result.run_id))
    elif rows is not None:
        print_live(found, result.title, live, result.settle, rows)

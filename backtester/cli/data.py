"""``backtester data``: import, list, check, show and verify market data; make the synthetic market."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from backtester.cli.data_fetch import BaseUrlOption, PauseOption, fetch_data, route
from backtester.cli.data_upkeep import compact_data, delete_data
from backtester.cli.options import (
    DEFAULT_STORE,
    EndOption,
    JsonOption,
    QuietOption,
    StartOption,
    StoreOption,
    SymbolsOption,
    split_list,
)
from backtester.cli.selection import SeriesFilter, TimeframeFilter, VenueFilter, selected

if TYPE_CHECKING:
    from backtester.market.quality import Check
    from backtester.market.schema import DatasetKey
    from backtester.market.store import Store

app = typer.Typer(
    help="Fetch, import, check and list market data; make the synthetic market.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


app.command("fetch")(fetch_data)


class Format(StrEnum):
    """What an imported file is."""

    FREQTRADE = "freqtrade"
    CSV = "csv"
    PARQUET = "parquet"
    CCXT_TIERS = "ccxt-tiers"
    BINANCE_ARCHIVE = "binance-archive"
    BYBIT_ARCHIVE = "bybit-archive"
    OKX_ARCHIVE = "okx-archive"
    CCXT_MARKETS = "ccxt-markets"
    BINANCE_INFO = "binance-info"


@app.command("import")
def import_data(
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="A file or a folder; for archives also the address of one (https://…)."),
    ],
    *,
    file_format: Annotated[
        Format | None, typer.Option("--format", help="What is there; default: told from the names, and said.")
    ] = None,
    venue: Annotated[
        str, typer.Option("--venue", metavar="NAME", help="Whose data it is: the name of the rule pack, e.g. binance.")
    ],
    symbols: SymbolsOption = None,
    series: Annotated[
        list[str] | None,
        typer.Option(
            "--series", metavar="NAME", help="trade, mark, index, premium or funding; a filter but for tables."
        ),
    ] = None,
    timeframe: Annotated[
        list[str] | None,
        typer.Option("--timeframe", metavar="1h", help="Length of the bars; a filter but for tables (repeatable)."),
    ] = None,
    start: StartOption = None,
    end: EndOption = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--columns", metavar="OURS=THEIRS", help="Name a column of a table, e.g. open_time=stamp."),
    ] = None,
    valid_from: Annotated[
        str | None,
        typer.Option(
            "--valid-from",
            metavar="DATE",
            help="From when tiers or contracts hold (or 'always'), if no file name says so.",
        ),
    ] = None,
    drop_bad: Annotated[
        bool, typer.Option("--drop-bad", help="Leave impossible rows out instead of refusing their file.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Forget what is stored of these series instead of merging by time.")
    ] = False,
    store_dir: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Bring a file, a folder of files, or the archive of an exchange into the store.

    Rows are merged by time and new ones win, so the same import twice changes nothing; of an archive, files that bring
    nothing new are not read. A file that cannot be true is refused, with the first bad time and the way on, and does
    not keep the others out.
    """
    from backtester.cli.data_import import ImportRequest, bring_in_request, column_map
    from backtester.cli.import_output import print_imports
    from backtester.engine.run_file import parse_time
    from backtester.market.intake import check_venue
    from backtester.market.sources.guess import guess_format
    from backtester.market.store import Store

    store = Store(store_dir)
    venue = check_venue(venue, store)
    guessed = guess_format(path, venue) if file_format is None else None
    request = ImportRequest(
        path=path,
        file_format=guessed or str(file_format),
        venue=venue,
        symbols=split_list(symbols),
        series=split_list(series),
        timeframes=split_list(timeframe),
        columns=column_map(columns),
        valid_from=valid_from,
        start=None if start is None else parse_time(start, "--start"),
        end=None if end is None else parse_time(end, "--end"),
        drop_bad=drop_bad,
        replace=replace,
        quiet=quiet or as_json,
    )
    done, notes = bring_in_request(store, request)
    if guessed is not None:
        notes = (f"taken as --format {guessed}, by its names", *notes)
    if print_imports(store, done, notes, as_json=as_json, quiet=quiet):
        raise typer.Exit(1)


@app.command("list")
def list_data(
    *,
    venue: VenueFilter = None,
    symbols: SymbolsOption = None,
    series: SeriesFilter = None,
    timeframe: TimeframeFilter = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show symbols that have no more than margin tiers one by one too.")
    ] = False,
    store_dir: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """List what is stored: span, size, age since the last write and lag behind now."""
    from backtester.cli.list_output import print_list
    from backtester.market.store import Store

    store = Store(store_dir)
    keys = selected(store, venue, symbols, series, timeframe, must_exist=False)
    print_list(store, keys, everything=everything or bool(symbols or series), as_json=as_json)


@app.command("check")
def check_data(
    *,
    venue: VenueFilter = None,
    symbols: SymbolsOption = None,
    series: SeriesFilter = None,
    timeframe: TimeframeFilter = None,
    divergence: Annotated[
        float, typer.Option("--divergence", min=0, help="Report trades further from the mark than this fraction.")
    ] = 0.02,
    repair_found: Annotated[
        bool,
        typer.Option(
            "--repair", help="Fetch missing windows again, compute missing marks; say what was done, then check."
        ),
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Repair from what is stored alone; say what would have to be fetched.")
    ] = False,
    base_url: BaseUrlOption = None,
    pause_ms: PauseOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show every finding, those for information and repeated ones too.")
    ] = False,
    store_dir: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Prove that the stored data is complete, or say what is wrong; the exit code is 1 when an error remains."""
    from backtester.cli.check_output import print_check
    from backtester.errors import UsageError
    from backtester.market.quality.repair import repair
    from backtester.market.store import Store

    store = Store(store_dir)
    keys = selected(store, venue, symbols, series, timeframe)
    found = _checked(store, keys, divergence, quiet=quiet)
    repairs = None
    if offline and not repair_found:
        raise UsageError("--offline goes with --repair.", "A check alone asks nobody.")
    if repair_found and offline:
        repairs = repair(store, found.findings, refetch=None)
    elif repair_found:
        from backtester.market.fetch import Refetcher

        with Refetcher(store, route(base_url, pause_ms)) as refetch:
            repairs = repair(store, found.findings, refetch)
    if repairs:
        found = _checked(store, keys, divergence, quiet=quiet)
    print_check(store, keys, found, repairs, everything=everything, as_json=as_json, quiet=quiet)
    if any(f.severity == "error" for f in found.findings):
        raise typer.Exit(1)


def _checked(store: Store, keys: list[DatasetKey], divergence: float, *, quiet: bool) -> Check:
    """Return what a check shows, with a line of progress on a terminal."""
    from rich.console import Console

    from backtester.market.quality import check

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return check(store, keys, divergence=divergence)
    with console.status("Checking …") as status:
        return check(store, keys, divergence=divergence, progress=lambda k: status.update(f"Checking {k} …"))


@app.command("show")
def show_data(
    *,
    venue: VenueFilter = None,
    symbols: SymbolsOption = None,
    series: SeriesFilter = None,
    timeframe: TimeframeFilter = None,
    start: StartOption = None,
    end: EndOption = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many rows of each end of the range.")] = 5,
    store_dir: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show one dataset: where it came from, and its first and last rows."""
    from backtester.cli.list_output import print_dataset
    from backtester.engine.run_file import parse_time
    from backtester.errors import UsageError
    from backtester.market.store import Store

    store = Store(store_dir)
    keys = selected(store, venue, symbols, series, timeframe, exact=True)
    if len(keys) > 1:
        shown = "; ".join(str(k) for k in keys[:6]) + ("; …" if len(keys) > 6 else "")
        raise UsageError(
            f"{len(keys)} datasets fit, and one is shown.",
            f"Narrow with --venue, --symbol, --series and --timeframe. They are: {shown}.",
        )
    first = None if start is None else parse_time(start, "--start")
    last = None if end is None else parse_time(end, "--end")
    print_dataset(store, keys[0], first, last, rows, as_json=as_json)


@app.command("verify")
def verify_data(
    *,
    venue: VenueFilter = None,
    symbols: SymbolsOption = None,
    series: SeriesFilter = None,
    timeframe: TimeframeFilter = None,
    store_dir: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare every file with its checksum; the exit code is 1 when one differs."""
    from backtester.cli.output import print_json, say
    from backtester.market.store import Store

    store = Store(store_dir)
    keys = selected(store, venue, symbols, series, timeframe)
    problems = {key: found for key in keys if (found := store.damaged(key))}
    strangers = [str(path) for key in keys for path in store.strangers(key)]
    if as_json:
        damaged = [{"dataset": str(k), "problems": p} for k, p in problems.items()]
        print_json({"store": str(store.root), "datasets": len(keys), "damaged": damaged, "other_files": strangers})
    if strangers and not quiet:
        say(f"Note: files of another program, left alone: {', '.join(strangers)}.")
    for found in problems.values():
        for text in found:
            say(f"Error: {text}")
    if problems:
        raise typer.Exit(1)
    if not (as_json or quiet):
        typer.echo(
            f"All files of {len(keys)} dataset{'s' * (len(keys) != 1)} in {store.root} are as their manifests say."
        )


app.command("compact")(compact_data)
app.command("delete")(delete_data)


@app.command("demo")
def demo_data(
    seed: Annotated[int, typer.Option("--seed", help="Decides everything that is random.")] = 7,
    store_dir: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make the synthetic market: three made-up perpetuals, two years, 5m and 1h, funding and margin tiers."""
    from backtester.cli.list_output import print_list
    from backtester.cli.output import say
    from backtester.market.store import Store
    from backtester.market.synthetic import VENUE, write_demo

    store = Store(store_dir)
    write_demo(store, seed=seed, progress=None if quiet else say)
    keys = store.keys(VENUE)
    if as_json or not quiet:
        print_list(store, keys, everything=True, as_json=as_json)
    if not (as_json or quiet):
        typer.echo(
            f"The synthetic market is in {store.root}. It is made up: no result on it says anything about a real one."
        )

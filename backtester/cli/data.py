"""``backtester data``: import, list, check, show and verify market data; make the synthetic market."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backtester.market.intake import Imported, Intake, Refusal
    from backtester.market.schema import DatasetKey
    from backtester.market.store import Store

app = typer.Typer(
    help="Import, check and list market data; make the synthetic market.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


class Format(StrEnum):
    """What an imported file is."""

    FREQTRADE = "freqtrade"
    CSV = "csv"
    PARQUET = "parquet"
    CCXT_TIERS = "ccxt-tiers"
    CCXT_MARKETS = "ccxt-markets"
    BINANCE_INFO = "binance-info"


_TERMS = (Format.CCXT_TIERS, Format.CCXT_MARKETS, Format.BINANCE_INFO)
"""Formats of margin tiers and contracts, which hold from a date on."""


VenueFilter = Annotated[str | None, typer.Option("--venue", metavar="NAME", help="Only this venue.")]
SeriesFilter = Annotated[
    list[str] | None,
    typer.Option("--series", metavar="NAME", help="Only trade, mark, index, premium, funding, tiers or instrument."),
]
TimeframeFilter = Annotated[str | None, typer.Option("--timeframe", metavar="1h", help="Only bars of this length.")]


@app.command("import")
def import_data(
    path: Annotated[Path, typer.Argument(help="A file, or a folder of freqtrade files, tier files or contract files.")],
    *,
    file_format: Annotated[Format, typer.Option("--format", help="What the file is.")],
    venue: Annotated[
        str, typer.Option("--venue", metavar="NAME", help="Whose data it is: the name of the rule pack, e.g. binance.")
    ],
    symbols: SymbolsOption = None,
    series: Annotated[
        list[str] | None,
        typer.Option(
            "--series", metavar="NAME", help="trade, mark, index, premium or funding; a filter for freqtrade."
        ),
    ] = None,
    timeframe: Annotated[
        list[str] | None,
        typer.Option("--timeframe", metavar="1h", help="Length of the bars; a filter for freqtrade (repeatable)."),
    ] = None,
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
    """Bring a file, or a folder of files, into the store.

    Rows are merged by time and new ones win, so the same import twice changes nothing. A file that cannot be true is
    refused, with the first bad time and the way on, and does not keep the others out.
    """
    from backtester.cli.data_output import print_imports
    from backtester.market.intake import bring_in, check_venue
    from backtester.market.store import Store

    venue = check_venue(venue)
    store = Store(store_dir)
    names, wanted_series = split_list(symbols), split_list(series)
    bars = split_list(timeframe)
    notes: tuple[str, ...] = ()
    intakes: Iterable[Intake | Refusal]
    if file_format is Format.FREQTRADE:
        _refuse_option(columns, "--columns", file_format)
        from backtester.market.sources.freqtrade import find_files, read_files

        intakes = read_files(find_files(path, names, bars, wanted_series), venue, drop_bad=drop_bad)
    elif file_format in _TERMS:
        for value, option in ((columns, "--columns"), (series, "--series"), (timeframe, "--timeframe")):
            _refuse_option(value, option, file_format)
        intakes, notes = _terms(path, venue, file_format, names, valid_from)
    else:
        table = _table(
            path,
            venue,
            file_format=file_format,
            symbols=names,
            series=wanted_series,
            bars=bars,
            columns=_column_map(columns),
            drop_bad=drop_bad,
        )
        intakes = [table]
    if file_format not in _TERMS:
        _refuse_option(valid_from, "--valid-from", file_format)
    done = _watched(bring_in(store, intakes, replace=replace), quiet=quiet)
    refused = print_imports(store, done, notes, as_json=as_json, quiet=quiet)
    if refused:
        raise typer.Exit(1)


def _terms(
    path: Path, venue: str, file_format: Format, symbols: tuple[str, ...], valid_from: str | None
) -> tuple[Iterable[Intake | Refusal], tuple[str, ...]]:
    """Return margin tiers or contracts by date, and what was left out."""
    from backtester.market.sources.binance_info import read_info
    from backtester.market.sources.ccxt_json import read_markets, read_tiers

    if file_format is Format.CCXT_TIERS:
        return read_tiers(path, venue, symbols, valid_from)
    read = read_markets if file_format is Format.CCXT_MARKETS else read_info
    return read(path, venue, symbols, valid_from)


def _refuse_option(value: object, option: str, file_format: Format) -> None:
    from backtester.errors import UsageError

    if value:
        raise UsageError(f"{option} means nothing with --format {file_format.value}.", "Leave it out.")


def _table(
    path: Path,
    venue: str,
    *,
    file_format: Format,
    symbols: tuple[str, ...],
    series: tuple[str, ...],
    bars: tuple[str, ...],
    columns: dict[str, str],
    drop_bad: bool,
) -> Intake:
    from backtester.errors import UsageError
    from backtester.market.intake import check_symbol
    from backtester.market.sources.table import read_table

    for values, option in ((symbols, "--symbol"), (series, "--series"), (bars, "--timeframe")):
        if len(values) > 1:
            raise UsageError(f"A table is one series of one symbol: {len(values)} values of {option} are too many.")
    if not symbols:
        raise UsageError(
            "A table does not say whose prices it holds.", "Give --symbol, for example --symbol BTC/USDT:USDT."
        )
    return read_table(
        path,
        venue,
        check_symbol(symbols[0]),
        kind=file_format.value,
        series=series[0] if series else None,
        timeframe=bars[0] if bars else None,
        columns=columns,
        drop_bad=drop_bad,
    )


def _column_map(columns: list[str] | None) -> dict[str, str]:
    from backtester.errors import UsageError

    out = {}
    for entry in columns or ():
        ours, sign, theirs = entry.partition("=")
        if not (ours and sign and theirs):
            raise UsageError(
                f"--columns {entry!r} names no pair.", "Write OURS=THEIRS, for example --columns open_time=stamp."
            )
        out[ours.strip()] = theirs.strip()
    return out


def _watched(done: Iterable[Imported | Refusal], *, quiet: bool) -> list[Imported | Refusal]:
    """Return what comes in, with a line of progress on a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    out = []
    if quiet or not console.is_terminal:
        return list(done)
    with console.status("Importing …") as status:
        for item in done:
            out.append(item)
            name = item.intake.key if hasattr(item, "intake") else item.name
            status.update(f"Importing … {len(out)} series, last {name}")
    return out


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
    """List what is stored: rows, span, size."""
    from backtester.cli.data_output import print_list
    from backtester.market.store import Store

    store = Store(store_dir)
    keys = _selected(store, venue, symbols, series, timeframe, must_exist=False)
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
    everything: Annotated[
        bool, typer.Option("--all", help="Show every finding, those for information and repeated ones too.")
    ] = False,
    store_dir: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what is wrong with the stored data; the exit code is 1 when an error remains."""
    from rich.console import Console

    from backtester.cli.data_output import print_findings
    from backtester.market.quality import check
    from backtester.market.store import Store

    store = Store(store_dir)
    keys = _selected(store, venue, symbols, series, timeframe)
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        findings = check(store, keys, divergence=divergence)
    else:
        with console.status("Checking …") as status:
            findings = check(store, keys, divergence=divergence, progress=lambda k: status.update(f"Checking {k} …"))
    print_findings(store, keys, findings, everything=everything, as_json=as_json, quiet=quiet)
    if any(f.severity == "error" for f in findings):
        raise typer.Exit(1)


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
    from backtester.cli.data_output import print_dataset
    from backtester.engine.run_file import parse_time
    from backtester.errors import UsageError
    from backtester.market.store import Store

    store = Store(store_dir)
    keys = _selected(store, venue, symbols, series, timeframe)
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
    keys = _selected(store, venue, symbols, series, timeframe)
    problems = {key: found for key in keys if (found := store.damaged(key))}
    if as_json:
        damaged = [{"dataset": str(k), "problems": p} for k, p in problems.items()]
        print_json({"store": str(store.root), "datasets": len(keys), "damaged": damaged})
    for found in problems.values():
        for text in found:
            say(f"Error: {text}")
    if problems:
        raise typer.Exit(1)
    if not (as_json or quiet):
        typer.echo(
            f"All files of {len(keys)} dataset{'s' * (len(keys) != 1)} in {store.root} are as their manifests say."
        )


@app.command("demo")
def demo_data(
    seed: Annotated[int, typer.Option("--seed", help="Decides everything that is random.")] = 7,
    store_dir: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make the synthetic market: three made-up perpetuals, two years, 5m and 1h, funding and margin tiers."""
    from backtester.cli.data_output import print_list
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


def _selected(
    store: Store,
    venue: str | None,
    symbols: list[str] | None,
    series: list[str] | None,
    timeframe: str | None,
    *,
    must_exist: bool = True,
) -> list[DatasetKey]:
    """Return the datasets that pass the filters; a filter that nothing can pass is an error with the nearest name."""
    from backtester.errors import DataError, UnknownNameError, UsageError
    from backtester.market.quality import select
    from backtester.market.schema import SERIES_NAMES, timeframe_ms, timeframe_name

    names, wanted = split_list(symbols), split_list(series)
    for name in wanted:
        if name not in SERIES_NAMES:
            raise UnknownNameError("series", name, SERIES_NAMES)
    if timeframe is not None:
        timeframe = timeframe_name(timeframe_ms(timeframe))
    keys = select(store, venue, names, wanted, timeframe)
    if keys:
        return keys
    known = store.keys()
    if not known:
        if not must_exist:
            return []
        raise DataError(
            f"the store {store.root}",
            "there is no data yet",
            hint="`backtester data demo` makes a synthetic market; `backtester data import` brings in your own files; "
            "--store DIR names another store.",
        )
    if venue is not None and venue not in (venues := store.venues()):
        raise UnknownNameError("venue", venue, venues, f"in the store {store.root}")
    here = [k for k in known if venue is None or k.venue == venue]
    there = {k.symbol for k in here}
    for name in names:
        if name not in there:
            # tier tables come for hundreds of symbols: those with bars, and of the same base, are likelier meant
            likely = {k.symbol for k in here if k.series not in ("tiers", "instrument")} or there
            same_base = {s for s in likely if s.startswith(f"{name.upper()}/")}
            raise UnknownNameError("symbol", name, same_base or likely, f"in the store {store.root}")
    raise UsageError("Nothing stored passes these filters.", "`backtester data list` shows what is there.")

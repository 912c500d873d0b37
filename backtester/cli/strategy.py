"""``backtester strategy``: list what is found, write a new one, check that one reads the past alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from backtester.cli.options import (
    DEFAULT_STORE,
    EndOption,
    JsonOption,
    QuietOption,
    StartOption,
    StoreOption,
    StrategiesOption,
    SymbolsOption,
    TimeframeOption,
    VenueOption,
)

if TYPE_CHECKING:
    import polars as pl

    from backtester.market.schema import DatasetKey
    from backtester.market.store import Store
    from backtester.strategy import Strategy
    from backtester.strategy.causality import CausalityReport
    from backtester.strategy.registry import Entry

app = typer.Typer(
    help="List, write and check strategies.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

MOST_SYMBOLS = 4
DEMO_DAYS = 210
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the strategy.")]
ParamOption = Annotated[
    list[str] | None, typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter (repeatable): -p fast=24.")
]


@app.command("list")
def list_strategies(strategies: StrategiesOption = None, as_json: JsonOption = False) -> None:
    """List the strategies that are found, with their parameters; broken and shadowed ones too.

    The kind says how one decides: by expressions, by signals(), or by a loop, on_bar().
    """
    from backtester.cli.output import print_json, print_table
    from backtester.strategy import registry

    entries = registry.listing(strategies or ())
    if as_json:
        print_json([_entry_content(entry) for entry in entries])
        return
    rows = [(entry.name, entry.kind, _place(entry), _parameters(entry), _about(entry)) for entry in entries]
    print_table(("name", "kind", "from", "parameters", "what it does"), rows)


@app.command("new")
def new_strategy(
    name: NameArgument,
    *,
    is_loop: Annotated[
        bool, typer.Option("--loop", help="Decide bar by bar in on_bar(), which asks for orders.")
    ] = False,
    strategies: StrategiesOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a working strategy and its test into ./strategies (or the folder of --strategies)."""
    from backtester.cli.output import print_json, say
    from backtester.strategy import registry
    from backtester.strategy.scaffold import write_strategy

    known = [path for path in strategies or () if path.is_dir()]
    taken = [entry for entry in registry.listing(known) if entry.name == name and entry.strategy is not None]
    module, test = write_strategy(name, strategies[0] if strategies else registry.LOCAL_FOLDER, is_loop=is_loop)
    if taken and not quiet:
        say(f"Note: there is a strategy {name!r} of {taken[0].origin} too; the first place found has it.")
    if as_json:
        print_json({"name": name, "strategy": str(module), "test": str(test)})
    elif not quiet:
        typer.echo(f"Wrote {module} and its test {test}.")
        typer.echo(f"Next: backtester strategy check {name}, then backtester run {name}.")
        typer.echo(f"Its test: python -m pytest {test} (needs: pip install pytest).")


@app.command("check")
def check_strategy(
    name: NameArgument,
    *,
    param: ParamOption = None,
    strategies: StrategiesOption = None,
    every_bar: Annotated[bool, typer.Option("--every-bar", help="Cut the history at every bar.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the 200 random cuts.")] = 7,
    bars: Annotated[int, typer.Option("--bars", min=20, help="Bars to try it on, without --start.")] = 5_000,
    store: StoreOption = DEFAULT_STORE,
    venue: VenueOption = None,
    symbols: SymbolsOption = None,
    timeframe: TimeframeOption = None,
    start: StartOption = None,
    end: EndOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Try whether a strategy reads the past alone: cut histories must not change what it said about the bars left.

    Without stored data it is tried on a made-up market.
    """
    from backtester.cli.output import print_json, say
    from backtester.strategy import evaluate, registry
    from backtester.strategy.causality import check
    from backtester.strategy.params import parse_assignments

    entry, notes = registry.lookup(name, strategies or ())
    assert entry.strategy is not None
    strategy = entry.strategy(**parse_assignments(param or ()))
    if not quiet:
        for note in notes:
            say(f"Note: {note}")
    wanted = _Wanted(venue, symbols, timeframe, start, end, bars)
    history, about = _history(store, wanted, strategy)
    evaluate(strategy, history)
    report = check(strategy, history, every_bar=every_bar, seed=seed)
    if as_json:
        print_json(_report_content(report, strategy, about))
    elif not quiet:
        _print_report(report, strategy, about)
    if not report.is_causal:
        for finding in report.findings if quiet or as_json else ():
            say(finding.text)
        raise typer.Exit(1)


class _Wanted(NamedTuple):
    """The data that the options of ``check`` name."""

    venue: str | None
    symbols: list[str] | None
    timeframe: str | None
    start: str | None
    end: str | None
    bars: int


def _history(folder: Path, wanted: _Wanted, strategy: Strategy) -> tuple[pl.DataFrame, str]:
    """Return the bars to try a strategy on, and what they are."""
    from tempfile import TemporaryDirectory

    from backtester.market.store import Store

    if folder.is_dir() and (Store(folder).venues() or wanted.venue):
        return _stored_history(Store(folder), wanted, strategy)
    if wanted.venue not in {None, "synthetic"}:
        from backtester.errors import UsageError

        raise UsageError(f"There is no store in {folder}.", "Name it with --store, or leave --venue out.")
    with TemporaryDirectory() as place:
        made_up = Store(Path(place))
        _write_made_up(made_up)
        history, about = _stored_history(made_up, wanted, strategy)
    return history, f"{about} (made up: no data are stored in {folder})"


def _write_made_up(store: Store) -> None:
    from backtester.market.intervals import HOUR_MS
    from backtester.market.schema import EVENT, DatasetKey
    from backtester.market.series import aggregate
    from backtester.market.synthetic import BAR_MS, SOURCE, START, VENUE, simulate

    for listing in simulate(start=START, end=START + DEMO_DAYS * 24 * HOUR_MS):
        symbol = listing.contract.symbol
        for series, fine in listing.bars():
            store.write(DatasetKey(VENUE, symbol, series, "1h"), aggregate(fine, BAR_MS, HOUR_MS), source=SOURCE)
        store.write(DatasetKey(VENUE, symbol, "funding", EVENT), listing.funding, source=SOURCE)


def _stored_history(store: Store, wanted: _Wanted, strategy: Strategy) -> tuple[pl.DataFrame, str]:
    from backtester.cli.options import split_list
    from backtester.engine.run_file import parse_time
    from backtester.errors import StrategyError, format_time
    from backtester.market.frame import signal_bars
    from backtester.market.schema import timeframe_ms
    from backtester.market.series import check_symbols, default_symbols

    venues = store.venues()
    venue = wanted.venue or ("synthetic" if "synthetic" in venues else venues[0])
    check_symbols(store, venue, ())
    named = split_list(wanted.symbols)
    symbols = named or tuple(default_symbols(store.symbols(venue))[:MOST_SYMBOLS])
    if not symbols:
        raise StrategyError(f"There are no traded bars of {venue} to try the strategy on.", "Import some first.")
    timeframe = wanted.timeframe or _coarsest(store, venue, symbols)
    end = parse_time(wanted.end, "--end") if wanted.end else None
    start = parse_time(wanted.start, "--start") if wanted.start else None
    if start is None:
        spans = [(store.span(key), timeframe_ms(key.timeframe)) for key in _trade_keys(store, venue, symbols)]
        ends = [span[1] + length for span, length in spans if span]
        start = min([*ends, *([end] if end else [])]) - wanted.bars * timeframe_ms(timeframe)
    history = signal_bars(store, venue, symbols, timeframe, start, end, reference=strategy.references)
    if history.is_empty():
        raise StrategyError("There are no bars to try the strategy on.", "Choose another span.")
    times = history["open_time"].dt.epoch("ms")
    first, last = times.min(), times.max()
    span = f"{format_time(first)} to {format_time(last)}" if isinstance(first, int) and isinstance(last, int) else ""
    return history, f"{venue} {', '.join(symbols)} {timeframe}, {span}"


def _trade_keys(store: Store, venue: str, symbols: tuple[str, ...]) -> list[DatasetKey]:
    return [key for symbol in symbols for key in store.keys(venue, symbol, "trade")]


def _coarsest(store: Store, venue: str, symbols: tuple[str, ...]) -> str:
    from backtester.errors import UnknownNameError
    from backtester.market.schema import timeframe_ms

    for symbol in symbols:
        if not store.keys(venue, symbol, "trade"):
            raise UnknownNameError("symbol", symbol, store.symbols(venue), f"of {venue}")
    return max((key.timeframe for key in _trade_keys(store, venue, symbols)), key=timeframe_ms)


def _print_report(report: CausalityReport, strategy: Strategy, about: str) -> None:
    from backtester.strategy.base import kind_of

    typer.echo(f"{strategy!r} on {about}")
    typer.echo(f"{report.bars} bars, {report.cuts} histories cut short, {report.starts} later starts.")
    for finding in report.findings:
        typer.echo(f"{finding.severity.upper()}: {finding.text}")
    if not report.is_causal:
        typer.echo("FAILED: its results on history are worthless.")
        return
    typer.echo("PASSED: what it says about a bar never changes with the bars after it.")
    if kind_of(type(strategy)) == "loop":
        typer.echo("Its requests were compared on an account whose positions are drawn at random.")
    if not any(finding.kind == "start" for finding in report.findings):
        needs = f"; {report.warmup_column!r} needs them" if report.warmup_column else ""
        typer.echo(f"Warm-up: after {report.warmup} bars a later start no longer shows{needs}.")


def _report_content(report: CausalityReport, strategy: Strategy, about: str) -> dict[str, object]:
    return {
        "strategy": report.strategy,
        "params": strategy.model_dump(),
        "data": about,
        "passed": report.is_causal,
        "symbols": list(report.symbols),
        "bars": report.bars,
        "cuts": report.cuts,
        "later_starts": report.starts,
        "warmup": report.warmup,
        "warmup_column": report.warmup_column or None,
        "findings": [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "column": finding.column,
                "symbol": finding.symbol,
                "open_time": finding.bar,
                "text": finding.text,
            }
            for finding in report.findings
        ],
    }


def _entry_content(entry: Entry) -> dict[str, object]:
    from backtester.strategy.params import param_infos

    params = [] if entry.strategy is None else [vars(info) for info in param_infos(entry.strategy)]
    return {
        "name": entry.name,
        "kind": entry.kind or None,
        "origin": entry.origin,
        "path": str(entry.path) if entry.path else None,
        "summary": entry.summary,
        "params": params,
        "broken": entry.broken or None,
        "shadowed_by": entry.shadowed_by or None,
    }


def _place(entry: Entry) -> str:
    """Return the folder, and the file where the name does not tell it."""
    is_told = entry.path is None or entry.path.stem == entry.name or entry.origin == "bundled"
    return entry.origin if is_told or entry.path is None else f"{entry.origin}/{entry.path.name}"


def _parameters(entry: Entry) -> str:
    from backtester.strategy.params import param_infos

    if entry.strategy is None:
        return ""
    return " ".join(f"{info.name}={info.default!r}" for info in param_infos(entry.strategy))


def _about(entry: Entry) -> str:
    if entry.broken:
        return f"BROKEN: {entry.broken}"
    if entry.shadowed_by:
        return f"not used: shadowed by the one of {entry.shadowed_by}"
    return entry.summary

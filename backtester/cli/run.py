"""``backtester run``: one run from options, a run file or both."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtester.cli.options import (
    DEFAULT_OUT,
    DEFAULT_STORE,
    AssetsOption,
    EndOption,
    JsonOption,
    OutOption,
    StartOption,
    StoreOption,
    StrategiesOption,
    SymbolsOption,
    TimeframeOption,
    VenueOption,
    split_list,
)

if TYPE_CHECKING:
    from backtester.engine.result import Result

# Keys of [strategy] that say what is run, and what to call each.
_SOURCES = {"name": "a strategy", "signals": "a file of signals", "fills": "a file of trades"}

app = typer.Typer(add_completion=False, rich_markup_mode=None)

StrategyArgument = Annotated[
    str | None, typer.Argument(metavar="STRATEGY", help="Name of a strategy; see `backtester strategy list`.")
]
ParamOption = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="NAME=VALUE", help="Parameter of the strategy (repeatable)."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any key of the run file: execution.slippage_bps=2 (repeatable)."),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Run file (TOML); options override it.")
]
SignalsOption = Annotated[
    Path | None, typer.Option("--signals", metavar="FILE", help="Decisions made elsewhere (.parquet or .csv).")
]
FillsOption = Annotated[
    Path | None,
    typer.Option("--fills", metavar="FILE", help="Executed trades to settle instead (.csv, .parquet or .json)."),
]
DeleverageOption = Annotated[
    Path | None,
    typer.Option(
        "--deleverage", metavar="FILE", help="Positions that the venue closes, to stress a run (.csv, .parquet, .json)."
    ),
]
ClawbackOption = Annotated[
    Path | None,
    typer.Option("--clawback", metavar="FILE", help="Shares of the profit that the venue takes (same kinds of file)."),
]
ClearingOption = Annotated[
    Path | None,
    typer.Option(
        "--clearing", metavar="FILE", help="A market of many accounts (TOML) whose clearing strikes this one too."
    ),
]
MarginModeOption = Annotated[str | None, typer.Option("--margin-mode", metavar="MODE", help="cross or isolated.")]
PositionModeOption = Annotated[
    str | None,
    typer.Option("--position-mode", metavar="MODE", help="one_way: one net position a contract; hedge: two legs."),
]
DetailOption = Annotated[
    str | None,
    typer.Option(
        "--detail", metavar="5m", help="Finer bar, dividing the timeframe, on which orders and margin are replayed."
    ),
]
LeverageOption = Annotated[float | None, typer.Option("--leverage", metavar="X", help="Leverage of every contract.")]
BalanceOption = Annotated[float | None, typer.Option("--balance", metavar="AMOUNT", help="Initial wallet balance.")]
AssumeOption = Annotated[
    bool, typer.Option("--assume", help="Replay the run under other assumptions too and show what it rests on.")
]
QuietRunOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print the path of the report alone; errors are still said.")
]
OpenHoldoutOption = Annotated[
    bool, typer.Option("--open-holdout", help="Look at bars that a sweep has sealed; the opening is recorded.")
]
NoReportOption = Annotated[bool, typer.Option("--no-report", help="Write the run's folder without the page.")]


@app.command()
def run(
    strategy: StrategyArgument = None,
    *,
    venue: VenueOption = None,
    symbols: SymbolsOption = None,
    timeframe: TimeframeOption = None,
    detail: DetailOption = None,
    start: StartOption = None,
    end: EndOption = None,
    leverage: LeverageOption = None,
    margin_mode: MarginModeOption = None,
    position_mode: PositionModeOption = None,
    balance: BalanceOption = None,
    param: ParamOption = None,
    config: ConfigOption = None,
    setting: SetOption = None,
    signals: SignalsOption = None,
    fills: FillsOption = None,
    deleverage: DeleverageOption = None,
    clawback: ClawbackOption = None,
    clearing: ClearingOption = None,
    strategies: StrategiesOption = None,
    store: StoreOption = DEFAULT_STORE,
    out: OutOption = DEFAULT_OUT,
    assume: AssumeOption = False,
    open_holdout: OpenHoldoutOption = False,
    no_report: NoReportOption = False,
    assets: AssetsOption = None,
    as_json: JsonOption = False,
    quiet: QuietRunOption = False,
) -> None:
    """Run a strategy over stored market data and write its report.

    Without symbols or timeframe all of the venue's symbols are run at the coarsest stored timeframe; without a span the
    longest that all needed series cover. What was chosen is said.

    Orders, costs, sizing and limits have keys of their own (docs/runs.md): --set execution.limit_bars=4, --set
    costs.slippage=impact, --set sizing.unit=risk, --set limits.gross=3.

    --deleverage takes positions away as the venue does when its fund is empty: a file with time, symbol, fraction and,
    where it is not the mark, price. --clearing finds out when it would: the account is one of thousands in a market
    whose insurance fund, deleveraging and shared losses are simulated (docs/clearing.md).
    """
    from backtester import api
    from backtester.cli.output import say
    from backtester.engine.run_file import build_config
    from backtester.errors import UsageError

    options: dict[str, dict[str, Any]] = {
        "data": {
            "venue": venue,
            "symbols": split_list(symbols) or None,
            "timeframe": timeframe,
            "detail": detail,
            "start": start,
            "end": end,
        },
        "account": {
            "leverage": leverage,
            "margin_mode": margin_mode,
            "position_mode": position_mode,
            "balance": balance,
        },
        "strategy": {
            "name": strategy,
            "signals": None if signals is None else str(signals),
            "fills": None if fills is None else str(fills),
        },
        "venue_events": {
            "deleverage_file": None if deleverage is None else str(deleverage),
            "clawback_file": None if clawback is None else str(clawback),
        },
        "clearing": {} if clearing is None else _clearing_tree(clearing),
        "report": {"enabled": False if no_report else None, "assets": assets},
    }
    if symbols and not options["data"]["symbols"]:
        raise UsageError("--symbols names no contract.", "Leave it out to run all of the venue.")
    tree, unused = _tree(config, setting or [], options, param or [])
    if unused and not quiet:
        say(f"Note: {unused}")
    with _progress(quiet=quiet) as progress:
        result = api.run(
            build_config(tree),
            data=store,
            out=out,
            strategies=strategies or [],
            progress=progress,
            assume=assume,
            open_holdout=open_holdout,
        )
    _print(result, as_json=as_json, quiet=quiet)


def _tree(
    config: Path | None, settings: list[str], options: dict[str, dict[str, Any]], params: list[str]
) -> tuple[dict[str, Any], str]:
    """Put the configuration together: the run file, then --set, then the options, then the parameters.

    The second value tells what of the run file is not used.
    """
    from backtester.engine.run_file import build_config, merge, parse_setting, read_tree
    from backtester.errors import UsageError
    from backtester.strategy.params import parse_assignments

    tree = read_tree(config) if config is not None else {}
    given = {section: {k: v for k, v in keys.items() if v is not None} for section, keys in options.items()}
    unused = _one_source(tree, given["strategy"])
    _one_list(tree, given.get("venue_events", {}))
    for setting in settings:
        tree = merge(tree, parse_setting(setting))
    build_config(tree)  # a wrong value is refused even where an option replaces it
    tree = merge(tree, {section: keys for section, keys in given.items() if keys})
    chosen = [key for key in _SOURCES if tree.get("strategy", {}).get(key) is not None]
    if len(chosen) > 1:
        both = " and ".join(_SOURCES[key] for key in chosen[:2])
        raise UsageError(f"{both[0].upper()}{both[1:]} are both given.", "Give one of the two.")
    if params:
        if chosen and chosen != ["name"]:
            raise UsageError(f"--param goes with a strategy, not with --{chosen[0]}.")
        tree = merge(tree, {"strategy": {"params": parse_assignments(params)}})
    return tree, unused


def _one_source(tree: dict[str, Any], given: dict[str, Any]) -> str:
    """Let a strategy, signals or fills on the command line replace what the run file names; refuse two at once.

    Returns what of the run file is not used, in words; empty where all of it is.
    """
    from backtester.errors import UsageError

    options = [_SOURCES[key] if key == "name" else f"--{key}" for key in _SOURCES if key in given]
    if len(options) > 1:
        both = " and ".join(options[:2])
        raise UsageError(f"{both[0].upper()}{both[1:]} are both given.", "Give one of the two.")
    named = tree.get("strategy")
    if not given or not isinstance(named, dict):
        return ""
    kept = "name" in given and given["name"] == named.get("name", given["name"])
    dropped = {"signals", "fills"} if kept else {*_SOURCES, "params"}
    chosen = next((f"--{key} {given[key]}" for key in ("signals", "fills") if key in given), "")
    chosen = chosen or f"the strategy {given['name']}"
    tree["strategy"] = {key: value for key, value in named.items() if key not in dropped}
    unused = [f"strategy.{key}" for key in (*_SOURCES, "params") if key in dropped and named.get(key)]
    return f"{chosen} is run: {', '.join(unused)} of the run file not used." if unused else ""


def _one_list(tree: dict[str, Any], given: dict[str, Any]) -> None:
    """Let a file of the venue's events on the command line replace the rows of the run file."""
    events = tree.get("venue_events")
    if given and isinstance(events, dict):
        replaced = {key.removesuffix("_file") for key in given}
        tree["venue_events"] = {key: value for key, value in events.items() if key not in replaced}


def _clearing_tree(path: Path) -> dict[str, Any]:
    """Return the section ``clearing`` of a file that holds it, or nothing but its keys."""
    from backtester.engine.run_file import read_tree

    tree = read_tree(path)
    inner = tree.get("clearing", tree)
    return dict(inner) if isinstance(inner, dict) else {"clearing": inner}


def say_if_cold() -> None:
    """Say that the replay of many sets is compiled first, where it is."""
    from backtester.cli.output import say
    from backtester.kernel._jit import is_cold
    from backtester.kernel.sweep import replay_sets

    if is_cold(replay_sets):
        say("Compiling the replay of many sets (once; the next sweeps start at once) …")


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str, float | None], None]]:
    """Show what is being done on stderr: a moving line on a terminal, else one line a phase."""
    from backtester.cli.output import say

    if quiet:
        yield lambda _phase, _done: None
        return
    if not sys.stderr.isatty():
        seen: set[str] = set()

        def tell(phase: str, _done: float | None) -> None:
            if phase not in seen:
                seen.add(phase)
                say(f"{phase} …")

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("Starting", total=None)

        def show(phase: str, done: float | None) -> None:
            bars.update(task, description=phase, total=None if done is None else 1.0, completed=done or 0.0)

        yield show


def _assumptions(result: Result) -> dict[str, Any]:
    """Return what the summary says of other assumptions, where they were tried."""
    if result.assumptions.is_empty():
        return {}
    from backtester.cli.assume_output import assumptions_json

    return {"assumptions": assumptions_json(result.assumptions)}


def _print(result: Result, *, as_json: bool, quiet: bool) -> None:
    """Print the summary, as a table or as JSON, and where the report is."""
    from backtester.cli.output import print_json, print_table, say
    from backtester.engine.folder import REPORT_FILE, summary_content
    from backtester.engine.result import key_figures

    run_dir = result.run_dir
    assert run_dir is not None  # the command always writes
    if as_json:
        print_json({**summary_content(result), **_assumptions(result), "run_dir": str(run_dir)})
        return
    page = run_dir / REPORT_FILE
    if quiet:
        typer.echo(str(page.resolve() if page.is_file() else run_dir.resolve()))
        return
    for notice in result.notices:
        say(f"{notice.severity.capitalize()}: {notice.text}")
    typer.echo(result.title)
    print_table(("", ""), key_figures(result.summary, result.settle), right=(1,))
    if result.assumptions.height:
        from backtester.cli.assume_output import print_assumptions

        print_assumptions(result)
    typer.echo(f"Report: {page.resolve()}" if page.is_file() else f"Run: {run_dir.resolve()}")

"""``backtester sweep``: many sets of parameters and settings on one market."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtester.cli.options import (
    DEFAULT_OUT,
    DEFAULT_STORE,
    EndOption,
    JsonOption,
    OutOption,
    StartOption,
    StrategiesOption,
    SymbolsOption,
    TimeframeOption,
    VenueOption,
    split_list,
)
from backtester.cli.run import (
    BalanceOption,
    ConfigOption,
    DetailOption,
    LeverageOption,
    MarginModeOption,
    NoReportOption,
    ParamOption,
    PositionModeOption,
    QuietRunOption,
    SetOption,
    StrategyArgument,
)

if TYPE_CHECKING:
    from backtester.research.sweep import SweepProgress
    from backtester.research.sweep_request import SweepRequest
    from backtester.sweep_result import SweepResult

app = typer.Typer(add_completion=False, rich_markup_mode=None)

GridOption = Annotated[
    list[str] | None,
    typer.Option(
        "--grid",
        "-g",
        metavar="NAME=VALUES",
        help="An axis (repeatable): 5:200:5 (first:last:step), log:50:2000:40, lin:0:1:11 (first:last:count) or 1,3,5.",
    ),
]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="SQL", help='Condition on a set: "slow > 2*fast and account.leverage < 5".'),
]
SampleOption = Annotated[
    int | None, typer.Option("--sample", metavar="N", min=1, help="Draw N different sets instead of trying all.")
]
MethodOption = Annotated[
    str | None, typer.Option("--method", metavar="NAME", help="How they are drawn: random (default) or sobol.")
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", metavar="N", min=0, help="Seed of the sample and of --exact-check; default 0.")
]
MemoryOption = Annotated[
    str, typer.Option("--memory", metavar="SIZE", help="Memory that indicators may take at a time: 500MB, 2GB.")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", metavar="N", min=1, help="Threads or processes; default: one a core.")
]
ExecutorOption = Annotated[
    str, typer.Option("--executor", metavar="NAME", help="local (threads), processes, or ray (a cluster).")
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="Ray cluster to join; default: one on this machine."),
]
ResumeOption = Annotated[
    str | None,
    typer.Option(
        "--resume", metavar="SWEEP", help="Go on with an interrupted sweep: its name, the beginning, or folder."
    ),
]
ExactOption = Annotated[
    int,
    typer.Option(
        "--exact-check", metavar="N", min=0, help="Replay N random sets in full and compare every metric to 1e-9."
    ),
]
SortOption = Annotated[
    str | None,
    typer.Option(
        "--sort",
        metavar="METRIC",
        help="Metric that ranks the sets; default sharpe. Of volatility, liquidations, time_at_risk and the like less "
        "is better, of all others more (costs and drawdowns are negative).",
    ),
]
TopOption = Annotated[int, typer.Option("--top", metavar="K", min=1, help="Sets that the table shows.")]
ReplayOption = Annotated[
    bool, typer.Option("--replay", help="Replay those sets in full, each into a folder and page of its own.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Start a sweep of more than a million sets.")]
HoldoutOption = Annotated[
    str | None,
    typer.Option(
        "--holdout",
        metavar="A..[B]",
        help="Seal the bars from A (to B): this sweep ends before them, later ones may not reach them: 2025-07-01..",
    ),
]
SweepStoreOption = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", help="Folder of the market data.", show_default="data")
]

_LINES_EVERY = 5.0  # seconds between two lines of progress
_SIZE = re.compile(r"([\d.]+)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@app.command()
def sweep(
    strategy: StrategyArgument = None,
    *,
    grid: GridOption = None,
    where: WhereOption = None,
    sample: SampleOption = None,
    method: MethodOption = None,
    seed: SeedOption = None,
    venue: VenueOption = None,
    symbols: SymbolsOption = None,
    timeframe: TimeframeOption = None,
    detail: DetailOption = None,
    start: StartOption = None,
    end: EndOption = None,
    holdout: HoldoutOption = None,
    leverage: LeverageOption = None,
    margin_mode: MarginModeOption = None,
    position_mode: PositionModeOption = None,
    balance: BalanceOption = None,
    param: ParamOption = None,
    config: ConfigOption = None,
    setting: SetOption = None,
    sort: SortOption = None,
    top: TopOption = 10,
    replay: ReplayOption = False,
    exact_check: ExactOption = 0,
    resume: ResumeOption = None,
    memory: MemoryOption = "1GiB",
    workers: WorkersOption = None,
    executor: ExecutorOption = "local",
    address: AddressOption = None,
    yes: YesOption = False,
    strategies: StrategiesOption = None,
    store: SweepStoreOption = None,
    out: OutOption = DEFAULT_OUT,
    no_report: NoReportOption = False,
    as_json: JsonOption = False,
    quiet: QuietRunOption = False,
) -> None:
    """Try many parameters and settings of a strategy, with everything settled as in a run.

    A bare name varies a parameter of the strategy, a dotted one a key of the run file:

    backtester sweep trend -g fast=5:200:5 -g slow=log:50:2000:40 -g account.leverage=1,3 --where "slow > 2*fast"

    Each set becomes a row of sets.parquet with all metrics of a run. Ctrl-C keeps what is done, and --resume goes on.
    --config takes a run file, or the sweep.toml of a sweep to repeat it; options override it.
    """
    from backtester.cli.output import say
    from backtester.sweeping import SweepInterrupted, make_sweep

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
        "strategy": {"name": strategy},
        "report": {"enabled": False if no_report else None},
    }
    resumed = None if resume is None else sweep_folder(resume, out)
    request = _request(
        grid or [],
        {"where": where, "sample": sample, "method": method, "seed": seed, "holdout": holdout},
        config=config,
        settings=setting or [],
        options=options,
        params=param or [],
        resumed=resumed,
        folders=(store, strategies),
        rest={
            "out": out,
            "memory": parse_memory(memory),
            "workers": workers or 0,
            "executor": executor,
            "address": address,
            "exact": exact_check,
            "asked": yes,
            **({} if sort is None else {"metric": sort}),
        },
    )
    try:
        with _progress(quiet=quiet) as tell:
            result = make_sweep(request, tell)
    except SweepInterrupted as stop:
        if stop.folder is not None:
            say(f"{stop.done:,} of {stop.total:,} sets are done and kept in {stop.folder}.")
            say(f"Go on with: backtester sweep --resume {stop.folder}")
        raise
    runs = [result.replay(number, write=True) for number in result.top(top)["set"]] if replay else []
    _print(result, top, [run.run_dir for run in runs if run.run_dir], as_json=as_json, quiet=quiet)


def _wanted(grid: list[str], given: dict[str, Any], section: dict[str, Any]) -> dict[str, Any]:
    """Return what is said of the sets: by the command line, else by the file of a sweep."""
    from backtester.errors import UsageError
    from backtester.research.axes import parse_axis

    axes: dict[str, Any] = {}
    for text in grid:
        name, values = parse_axis(text)
        if name in axes:
            raise UsageError(f"The axis {name} is given twice: {axes[name]} and {values}.", "Give it once.")
        axes[name] = values
    said = {key: value for key, value in given.items() if value is not None}
    return {**section, **said, "grid": {**section.get("grid", {}), **axes}}


def _request(
    grid: list[str],
    given: dict[str, Any],
    *,
    config: Path | None,
    settings: list[str],
    options: dict[str, dict[str, Any]],
    params: list[str],
    resumed: Path | None,
    folders: tuple[Path | None, list[Path] | None],
    rest: dict[str, Any],
) -> SweepRequest:
    """Put the sweep together: the file of a sweep or a run, then the options."""
    from backtester.cli.output import say
    from backtester.cli.run import _tree
    from backtester.engine.run_file import build_config, read_whole_tree
    from backtester.errors import UsageError
    from backtester.market.store import Store
    from backtester.research.axes import refuse_unswept
    from backtester.research.plan import SWEEP_FILE, read_section, sample_of
    from backtester.research.sweep_folder import SweepFolder
    from backtester.research.sweep_request import SweepRequest

    if resumed is not None and config is not None:
        raise UsageError("--config and --resume are both given.", "A sweep that goes on has its own sweep.toml.")
    stored, kept = folders
    if resumed is not None:
        config = resumed / SWEEP_FILE
        told = SweepFolder.opened(resumed).manifest().get("folders", {})
        begun, asked = read_whole_tree(config).get("strategy", {}).get("name"), options["strategy"]["name"]
        if asked is not None and asked != begun:
            raise UsageError(
                f"{resumed} is the folder of another sweep: of the strategy {begun!r}, not of {asked!r}.",
                "Leave the strategy out to go on with it, or --resume to start a sweep.",
            )
        stored = stored or (Path(told["--store"]) if "--store" in told else None)
        kept = kept or [Path(folder) for folder in told.get("--strategies", ())]
    tree, unused = _tree(config, settings, options, params)
    if unused:
        say(f"Note: {unused}")
    wanted = _wanted(grid, given, {} if config is None else read_section(config))
    store = Store(stored or DEFAULT_STORE)
    store.recover()
    refuse_unswept(wanted["grid"])
    fixed = {text.partition("=")[0].strip() for text in (*params, *settings)}
    fixed |= {
        f"{section}.{key}" for section, keys in options.items() for key, value in keys.items() if value is not None
    }
    clash = next((name for name in wanted["grid"] if name in fixed), None)
    if clash is not None:
        raise UsageError(f"{clash} has one value by an option and several on an axis.", "Give one of the two.")
    return SweepRequest(
        config=build_config(tree),
        grid=wanted["grid"],
        store=store,
        where=wanted.get("where"),
        sample=sample_of(wanted.get("sample"), wanted.get("method"), wanted.get("seed")),
        seed=wanted.get("seed") or 0,
        holdout=wanted.get("holdout"),
        resume=resumed,
        folders=kept or [],
        options=[
            *([("--store", stored)] if stored not in (None, DEFAULT_STORE) else []),
            *(("--strategies", folder) for folder in kept or []),
        ],
        **rest,
    )


def sweep_folder(name: str, out: Path) -> Path:
    """Return the folder of a sweep by name, by the beginning of its name, or by path."""
    from backtester.errors import UnknownNameError, UsageError
    from backtester.research.plan import SWEEP_FILE

    if Path(name).is_dir():
        return Path(name)
    known = sorted(folder.parent for folder in out.glob(f"*/{SWEEP_FILE}"))
    if (out / name).is_dir():
        return out / name
    found = [folder for folder in known if folder.name.startswith(name)]
    if len(found) > 1:
        raise UsageError(f"{len(found)} sweeps begin with {name!r}.", f"Among them: {found[0].name}, {found[1].name}.")
    if not found:
        raise UnknownNameError("sweep", name, [folder.name for folder in known], f"in {out}")
    return found[0]


def parse_memory(text: str) -> int:
    """Return the bytes of a size such as ``500MB`` (millions) or ``2GiB`` (powers of 1,024)."""
    from backtester.errors import UsageError

    found = _SIZE.fullmatch(text.strip())
    try:
        size = float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].lower()] if found else 0.0
    except ValueError:
        size = 0.0
    if size < 1:
        raise UsageError(f"--memory {text!r} is not a size.", "Example: --memory 500MB, or --memory 2GB.")
    return int(size)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[SweepProgress], None]]:
    """Show how far the sweep is on stderr: a moving bar on a terminal, else a line now and then."""
    from backtester.cli.output import say
    from backtester.cli.run import say_if_cold

    if quiet:
        yield lambda _progress: None
        return
    say_if_cold()
    if not sys.stderr.isatty():
        last = [time.monotonic()]

        def tell(progress: SweepProgress) -> None:
            now = time.monotonic()
            if now - last[0] >= _LINES_EVERY or progress.done == progress.total:
                last[0] = now
                say(progress_text(progress))

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("Evaluating the first sets", total=None)

        def show(progress: SweepProgress) -> None:
            bars.update(task, description=progress_text(progress), total=progress.total, completed=progress.done)

        yield show


def progress_text(progress: SweepProgress) -> str:
    """Return how far a sweep is in one line: sets, rate, time left."""
    from backtester.research.sweep import duration_text, rate_text

    parts = [f"{progress.done:,} of {progress.total:,} sets"]
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if progress.rate:
        parts.append(f"{rate_text(progress.rate)} sets/s")
    left = progress.seconds_left
    if left:
        parts.append(f"{duration_text(left)} left")
    return ", ".join(parts)


def _print(result: SweepResult, top: int, runs: list[Path], *, as_json: bool, quiet: bool) -> None:
    """Print the best sets, as a table or as JSON, and where everything is."""
    from backtester.cli.output import print_json, say
    from backtester.engine.folder import REPORT_FILE
    from backtester.research.ranking import lost_text
    from backtester.sweep_result import counts_text

    folder = result.run_dir
    assert folder is not None  # the command always writes
    best = int(result.best()["set"])
    if as_json:
        print_json(_json(result, top, runs))
        return
    page = folder / REPORT_FILE
    if quiet:
        typer.echo(str(page.resolve() if page.is_file() else folder.resolve()))
        return
    for notice in result.notices:
        say(f"{notice.severity.capitalize()}: {notice.text}")
    manifest = result.manifest
    typer.echo(result.title)
    _print_sets(result, top)
    typer.echo(f"Sets by path: {counts_text(manifest)}")
    if manifest["failed"]:
        say(
            f"Warning: {manifest['failed']:,} sets failed, and their rows say why. The first: {manifest['first_error']}"
        )
    lost = lost_text(result.rows)
    if lost:
        say(f"Warning: {lost}")
    if manifest.get("exact_check"):
        typer.echo(check_text(manifest["exact_check"]))
    typer.echo(f"The best set again: {result.command(best)}")
    for run in runs:
        typer.echo(f"Replayed: {(run / REPORT_FILE if (run / REPORT_FILE).is_file() else run).resolve()}")
    typer.echo(f"Report: {page.resolve()}" if page.is_file() else f"Sweep: {folder.resolve()}")


def check_text(found: dict[str, Any]) -> str:
    """Return what the replay of some sets came to, in one sentence."""
    number = len(found["sets"])
    where = f" ({found['largest_at']})" if found["largest_at"] else ""
    return (
        f"Exact check: {number:,} {'set' if number == 1 else 'sets'} replayed in full, {found['metrics']:,} figures "
        f"agree; largest difference {found['largest_difference']:.1e}{where}."
    )


def _print_sets(result: SweepResult, top: int) -> None:
    """Print the best sets with what is varied and their key figures."""
    from backtester.cli.output import print_table
    from backtester.engine.result import KEY_FIGURES, figure_text
    from backtester.sweep_result import SHOWN_METRICS, metric_order

    rows = result.top(top)
    styles: dict[str, str] = {key: style for key, _, style in KEY_FIGURES}
    labels = {key: label for key, label, _ in KEY_FIGURES}
    metrics = [name for name in dict.fromkeys((result.metric, *SHOWN_METRICS)) if name in rows.columns]
    settle = result.job.base.resolved.settle

    def cell(name: str, value: Any) -> str:
        if name in styles:
            return figure_text(value, styles[name], settle)
        return f"{value:,.6g}" if isinstance(value, float) else "-" if value is None else str(value)

    cells = [
        [
            str(row["set"]),
            *(value_text(row[name]) for name in result.axes),
            *(cell(name, row[name]) for name in metrics),
        ]
        for row in rows.iter_rows(named=True)
    ]
    headings = ("set", *result.axes, *(labels.get(name, name) for name in metrics))
    shown = f"The {rows.height:,} best of" if result.manifest["done"] > rows.height else "All"
    title = f"{shown} {result.manifest['done']:,} sets by {metric_order(result.metric)}"
    print_table(headings, cells, title, right=tuple(range(len(headings))))


def value_text(value: Any) -> str:
    """Return a value of an axis as it would be typed."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _json(result: SweepResult, top: int, runs: list[Path]) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    from dataclasses import asdict

    manifest = result.manifest
    kept = ("sweep", "sets", "done", "failed", "first_error", "paths", "seconds", "exact_check")
    rows = result.top(top).to_dicts()
    return {
        **{key: manifest.get(key) for key in kept},
        "metric": result.metric,
        "axes": result.axes,
        "best": rows,
        "command": result.command(int(rows[0]["set"])),
        "replayed": [str(run) for run in runs],
        "notices": [asdict(notice) for notice in result.notices],
        "run_dir": str(result.run_dir),
    }

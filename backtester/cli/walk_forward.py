"""``backtester walk-forward``: choose parameters on one span, run them on the next, go on with what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtester.cli.options import (
    DEFAULT_OUT,
    DEFAULT_STORE,
    EndOption,
    JsonOption,
    OutOption,
    QuietOption,
    StartOption,
    StoreOption,
    StrategiesOption,
    SymbolsOption,
    TimeframeOption,
    VenueOption,
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
    SetOption,
    StrategyArgument,
)
from backtester.cli.search_options import (
    INTERRUPTED,
    BatchOption,
    ConstraintOption,
    GridOption,
    ObjectiveOption,
    SeedOption,
    given_options,
    search_config,
)

if TYPE_CHECKING:
    from backtester.research.walk_result import WalkForwardResult

app = typer.Typer(add_completion=False, rich_markup_mode=None)

TrainOption = Annotated[str, typer.Option("--train", metavar="180d", help="Length of training: 12h, 180d, 26w.")]
TestOption = Annotated[str, typer.Option("--test", metavar="30d", help="Length of each test.")]
AnchoredOption = Annotated[bool, typer.Option("--anchored", help="Train from the start of the span in every window.")]
WhereOption = Annotated[
    str | None, typer.Option("--where", metavar="SQL", help='Filter of the grid: "slow > 2 * fast".')
]
OptimizerOption = Annotated[
    str,
    typer.Option("--optimizer", metavar="NAME", help="grid: every set; tpe, cmaes, random or sobol: so many --trials."),
]
WindowTrialsOption = Annotated[
    int | None, typer.Option("--trials", metavar="N", min=1, help="Trials of a sampler in each window (default: 50).")
]

# Figure of the stitched account, label, how it is written.
_FIGURES = (
    ("total_return", "Total return", "percent"),
    ("annual_return", "Annual return", "percent"),
    ("sharpe", "Sharpe ratio", "ratio"),
    ("sortino", "Sortino ratio", "ratio"),
    ("max_drawdown", "Largest drawdown", "percent"),
    ("trades", "Round trips", "count"),
    ("fees", "Trading fees", "money"),
    ("funding", "Funding", "money"),
    ("liquidations", "Liquidations", "count"),
    ("profitable_windows", "Windows with a profit", "percent"),
    ("efficiency", "Efficiency (daily return, test over training)", "percent"),
    ("rank_correlation", "Rank correlation, training and test", "ratio"),
)


@app.command("walk-forward")
def walk_forward(
    strategy: StrategyArgument = None,
    *,
    grid: GridOption = None,
    train: TrainOption = "180d",
    test: TestOption = "30d",
    anchored: AnchoredOption = False,
    objective: ObjectiveOption = None,
    constraint: ConstraintOption = None,
    where: WhereOption = None,
    optimizer: OptimizerOption = "grid",
    trials: WindowTrialsOption = None,
    batch: BatchOption = None,
    seed: SeedOption = None,
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
    strategies: StrategiesOption = None,
    store: StoreOption = DEFAULT_STORE,
    out: OutOption = DEFAULT_OUT,
    no_report: NoReportOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Choose parameters on one span, run them on the next, and go on with the equity that is left.

    Every test is warmed up on the bars before it, and begins flat. Ctrl-C keeps the windows that are done.
    """
    from backtester.cli.search_progress import search_progress
    from backtester.errors import UsageError
    from backtester.walking import walk_forward as walk

    options = given_options(
        venue=venue, symbols=symbols, timeframe=timeframe, detail=detail, start=start, end=end, leverage=leverage,
        margin_mode=margin_mode, position_mode=position_mode, balance=balance,
    )  # fmt: skip
    if not grid:
        raise UsageError("No parameter to choose is given.", "Example: -g fast=5:60:5 -g slow=80:400:20.")
    whole = search_config(strategy, config, setting or [], param or [], options)
    with search_progress(quiet=quiet) as progress:
        result = walk(
            whole,
            grid,
            train=train,
            test=test,
            anchored=anchored,
            objective="sharpe" if objective is None else objective,
            constraints=constraint or [],
            where=where,
            optimizer=optimizer,
            trials=trials,
            batch=batch,
            seed=seed,
            data=store,
            out=out,
            strategies=strategies or [],
            report=not no_report,
            progress=progress,
        )
    _print(result, as_json=as_json, quiet=quiet)
    if result.interrupted:
        raise typer.Exit(INTERRUPTED)


def result_json(result: WalkForwardResult) -> dict[str, Any]:
    """Return a walk forward as JSON has it: figures, windows and how steady the choices were."""
    from polars import selectors

    windows = result.windows.with_columns(selectors.datetime().dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    names = result.plan.names
    rows = [
        {
            **{key: value for key, value in row.items() if key not in names},
            "params": {name: row[name] for name in names},
        }
        for row in windows.iter_rows(named=True)
    ]
    return {
        "run": result.run_id,
        "run_dir": None if result.run_dir is None else str(result.run_dir),
        "interrupted": result.interrupted,
        "settings": result.settings,
        "summary": result.summary,
        "windows": rows,
        "stability": result.stability.to_dicts(),
        "notices": [notice.text for notice in result.notices],
    }


def _print(result: WalkForwardResult, *, as_json: bool, quiet: bool) -> None:
    """Print the windows and the figures of the stitched account, and where the page is."""
    from backtester.cli.output import print_json, print_table, say
    from backtester.engine.folder import REPORT_FILE
    from backtester.engine.result import figure_text

    if as_json:
        print_json(result_json(result))
        return
    assert result.run_dir is not None  # the command always writes
    page = result.run_dir / REPORT_FILE
    place = page if page.is_file() else result.run_dir
    if quiet:
        typer.echo(str(place.resolve()))
        return
    for notice in result.notices:
        say(f"{notice.severity.capitalize()}: {notice.text}")
    planned = len(result.plan.windows)
    typer.echo(
        f"{result.strategy_name}: {result.windows.height} of {planned} windows, best {result.plan.objective.metric}"
    )
    if result.windows.height:
        headings, rows = _table(result)
        print_table(headings, rows, "Windows", right=range(2, len(headings)), whole=(0, 1))
        figures = [
            (label, figure_text(result.summary[key], style, result.settle))
            for key, label, style in _FIGURES
            if key in result.summary
        ]
        print_table(("", ""), figures, "Out of sample, stitched", right=(1,))
    typer.echo(f"{'Report' if page.is_file() else 'Folder'}: {place.resolve()}")


def _table(result: WalkForwardResult) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of the table of windows."""
    from backtester.cli.search_options import cell, figure_cell

    metric = result.plan.objective.metric
    columns = [name for name in (f"train_{metric}", f"test_{metric}", "test_total_return") if name in result.windows]
    columns = list(dict.fromkeys(columns))
    labels = [name.replace("_", " ") for name in columns]
    headings = ["window", "test from", *result.plan.names, *labels, "equity"]
    rows = [
        [
            str(row["window"]),
            f"{row['test_start']:%Y-%m-%d %H:%M}",
            *(cell(row[name]) for name in result.plan.names),
            *(figure_cell(name.partition("_")[2], row[name], result.settle) for name in columns),
            f"{row['final_balance']:,.2f}",
        ]
        for row in result.windows.iter_rows(named=True)
    ]
    return headings, rows

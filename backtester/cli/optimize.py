"""``backtester optimize``: look for the parameters with which a metric is best."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
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
    figure_cell,
    given_options,
    run_options_given,
    search_config,
)

if TYPE_CHECKING:
    from backtester.research.optimize_result import OptimizeResult

app = typer.Typer(add_completion=False, rich_markup_mode=None)

ROWS = 10

TrialsOption = Annotated[int | None, typer.Option("--trials", metavar="N", min=1, help="Trials in all (default: 100).")]
SamplerOption = Annotated[
    str | None,
    typer.Option(
        "--sampler",
        metavar="NAME",
        help="tpe, cmaes, nsga2, random or sobol (default: tpe; nsga2 for several objectives).",
    ),
]
WindowsOption = Annotated[
    int | None,
    typer.Option("--windows", metavar="K", min=1, help="Time windows whose values are told one after the other."),
]
PruneOption = Annotated[bool, typer.Option("--prune", help="Give up sets that fall behind the median in the windows.")]
ResumeOption = Annotated[
    str | None,
    typer.Option("--resume", metavar="RUN", help="Go on with a study: its name, the beginning of one, or its folder."),
]


@app.command()
def optimize(
    strategy: StrategyArgument = None,
    *,
    grid: GridOption = None,
    objective: ObjectiveOption = None,
    trials: TrialsOption = None,
    constraint: ConstraintOption = None,
    sampler: SamplerOption = None,
    batch: BatchOption = None,
    windows: WindowsOption = None,
    prune: PruneOption = False,
    seed: SeedOption = None,
    resume: ResumeOption = None,
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
    """Look for the parameters with which a metric is best (Optuna).

    Several objectives are separated by commas: --objective sharpe,max_drawdown looks for the sets that no other beats
    in both. Ctrl-C keeps what is done; --resume goes on.
    """
    from backtester.cli.search_progress import search_progress
    from backtester.errors import UsageError
    from backtester.optimizing import optimize as search

    options = given_options(
        venue=venue, symbols=symbols, timeframe=timeframe, detail=detail, start=start, end=end, leverage=leverage,
        margin_mode=margin_mode, position_mode=position_mode, balance=balance,
    )  # fmt: skip
    source: Any = strategy
    if resume is None:
        source = search_config(strategy, config, setting or [], param or [], options)
    elif run_options_given(config, setting, param, options):
        raise UsageError("A study that is resumed has its run from its own folder.", "Leave the run's options out.")
    with search_progress(quiet=quiet) as progress:
        result = search(
            source,
            grid or None,
            objective=objective,
            trials=trials,
            constraints=constraint or [],
            sampler=sampler,
            batch=batch,
            windows=windows,
            prune=prune,
            seed=seed,
            resume=resume,
            data=store,
            out=out,
            strategies=strategies or [],
            report=not no_report,
            progress=progress,
        )
    folders = [("--store", store, DEFAULT_STORE), ("--out", out, DEFAULT_OUT)]
    places = [("--strategies", folder) for folder in strategies or []]
    again = [(name, value) for name, value, default in folders if value != default]
    _print(result, [*again, *places], as_json=as_json, quiet=quiet)
    if result.interrupted:
        raise typer.Exit(INTERRUPTED)


def result_json(result: OptimizeResult) -> dict[str, Any]:
    """Return an optimisation as JSON has it: the trials that count, best first, and what became of all."""
    metrics = [one.metric for one in result.plan.objectives]
    states = result.trials["state"].value_counts().iter_rows()
    return {
        "run": result.run_id,
        "run_dir": None if result.run_dir is None else str(result.run_dir),
        "interrupted": result.interrupted,
        "trials": result.trials.height,
        "states": {str(state): number for state, number in states},
        "seed": result.plan.seed,
        "sampler": result.plan.sampler,
        "objectives": [one.spelled for one in result.plan.objectives],
        "constraints": [one.text for one in result.plan.constraints],
        "best": [
            {
                "trial": row["trial"],
                "params": {name: row[name] for name in result.plan.names},
                "values": {name: row[name] for name in metrics},
                "metrics": {key: value for key, value in row.items() if key in _metric_names(result)},
            }
            for row in result.ranking.head(100).iter_rows(named=True)
        ],
        "importance": result.importance.to_dicts(),
        "command": result.command or None,
        "notices": [notice.text for notice in result.notices],
    }


def _metric_names(result: OptimizeResult) -> set[str]:
    from backtester.research.trials import COLUMNS

    left = {*COLUMNS, *result.plan.names}
    return {name for name in result.trials.columns if name not in left and not name.startswith("window_")}


def _print(result: OptimizeResult, again: Sequence[tuple[str, Path]], *, as_json: bool, quiet: bool) -> None:
    """Print what was found, as tables or as JSON, and where the page is."""
    from backtester.cli.output import print_json, print_table, say
    from backtester.engine.folder import REPORT_FILE

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
    states = ", ".join(f"{number:,} {state}" for state, number in result.trials["state"].value_counts().iter_rows())
    typer.echo(f"{result.strategy_name}: {result.trials.height:,} trials ({states or 'none'}), seed {result.plan.seed}")
    ranking = result.ranking
    if ranking.is_empty():
        typer.echo("No set counts: none has a value and keeps the constraints.")
    else:
        title = "Pareto front" if len(result.plan.objectives) > 1 else "Best sets"
        more = f", {ROWS} of {ranking.height:,}" if ranking.height > ROWS else ""
        headings, rows = _table(result)
        print_table(headings, rows, title + more, right=range(len(headings)))
    if result.command:
        typer.echo(f"Best set in full: {result.command}")
    if result.interrupted:
        given = [part for name, value in again for part in (name, str(value))]
        typer.echo(f"Go on: {shlex.join(['backtester', 'optimize', '--resume', result.run_id, *given])}")
    typer.echo(f"{'Report' if page.is_file() else 'Folder'}: {place.resolve()}")


def _table(result: OptimizeResult) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of the table of the best sets."""
    objectives = [one.metric for one in result.plan.objectives]
    beside = [name for name in ("total_return", "max_drawdown", "trades") if name in result.trials.columns]
    shown = list(dict.fromkeys(("trial", *result.plan.names, *objectives, *beside)))
    rows = [
        [figure_cell(name, row[name], result.settle) for name in shown]
        for row in result.ranking.head(ROWS).iter_rows(named=True)
    ]
    return shown, rows

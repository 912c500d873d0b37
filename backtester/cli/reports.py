"""``backtester reports``: list the runs, open a report, rebuild one from the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtester.cli.options import DEFAULT_OUT, AssetsOption, JsonOption, OutOption, QuietOption

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(
    help="List, open and rebuild reports of runs.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

RunArgument = Annotated[
    str | None, typer.Argument(metavar="RUN", help="Name of a run, the beginning of one, or its folder; the newest.")
]

_COLUMNS = (
    ("total_return", "return", "percent"),
    ("sharpe", "Sharpe", "ratio"),
    ("max_drawdown", "drawdown", "percent"),
)


@app.command("list")
def list_runs(out: OutOption = DEFAULT_OUT, as_json: JsonOption = False) -> None:
    """List the finished runs, the newest last."""
    import json

    from backtester.cli.output import print_json, print_table
    from backtester.engine.folder import run_folders
    from backtester.engine.result import figure_text

    rows: list[dict[str, Any]] = []
    for folder in run_folders(out):
        try:
            summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            summary = {}
        rows.append({"run": folder.name, "path": str(folder), **summary})
    if as_json:
        kept = ("run", "path", "strategy", "symbols", "start", "end", *(key for key, _, _ in _COLUMNS))
        print_json([{key: row.get(key) for key in kept} for row in rows])
        return
    if not rows:
        typer.echo(f"There is no run in {out} yet. Make one with `backtester run STRATEGY`.")
        return
    cells = [
        [row["run"], _bases(str(row.get("symbols", "broken")))]
        + [figure_text(row.get(key), style, str(row.get("settle", ""))) for key, _, style in _COLUMNS]
        for row in rows
    ]
    print_table(("run", "coins", *(label for _, label, _ in _COLUMNS)), cells, right=(2, 3, 4))


def _bases(symbols: str) -> str:
    """Return the short names of contracts: there is no room for more beside the name of a run."""
    return " ".join(symbol.strip().partition("/")[0] for symbol in symbols.split(","))


@app.command("open")
def open_report(run: RunArgument = None, out: OutOption = DEFAULT_OUT) -> None:
    """Open a report in the browser."""
    from backtester.engine.folder import REPORT_FILE
    from backtester.errors import UsageError

    page = run_folder(run, out) / REPORT_FILE
    if not page.is_file():
        raise UsageError(f"There is no page {page}.", f"Write it with `backtester reports build {page.parent.name}`.")
    typer.echo(f"Report: {page.resolve()}")
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
    if not quiet:
        typer.echo(f"Report: {page.resolve()}")


def run_folder(run: str | None, out: Path) -> Path:
    """Return the folder of a run by name, by the beginning of its name, or by path; the newest without either."""
    from backtester.engine.folder import run_folders
    from backtester.errors import UnknownNameError, UsageError

    folders: Sequence[Path] = run_folders(out)
    if run is None:
        if not folders:
            raise UsageError(f"There is no run in {out}.", "Make one with `backtester run STRATEGY`.")
        return folders[-1]
    if (Path(run) / "manifest.json").is_file():
        return Path(run)
    found = [folder for folder in folders if folder.name == run] or [f for f in folders if f.name.startswith(run)]
    if len(found) > 1:
        raise UsageError(f"{len(found)} runs begin with {run!r}.", f"Among them: {found[0].name}, {found[1].name}.")
    if not found:
        raise UnknownNameError("run", run, [folder.name for folder in folders], f"in {out}")
    return found[0]

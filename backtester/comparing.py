"""Compare stored runs from Python and find what a comparison names: the twin of the command ``backtester compare``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

from backtester.analytics.comparison import MOST_RUNS, Comparison
from backtester.engine.folder import CLEARING_FILE, PARTIAL_PREFIX, SEARCH_FILES, load_result, run_folders
from backtester.engine.result import Result, figure_text
from backtester.errors import StoreError, UnknownNameError, UsageError

DEFAULT_OUT = Path("reports")
Kind = Literal["run", "sweep"]

_SWEEP_FILE = "sweep.toml"
_OTHER_SEARCHES = {
    "optimize.toml": "an optimisation",
    "walk_forward.toml": "a walk forward",
    CLEARING_FILE: "a clearing",
}
_SHOWN = (
    ("total_return", "Total return", "percent"),
    ("sharpe", "Sharpe ratio", "ratio"),
    ("max_drawdown", "Largest drawdown", "percent"),
    ("trades", "Trades", "count"),
    ("liquidations", "Liquidations", "count"),
)


@dataclass(frozen=True, eq=False, repr=False)
class CompareResult(Comparison):
    """Runs beside each other, as frames; `save` writes their page. See `backtester.analytics.comparison.Comparison`."""

    def save(self, path: Path | str) -> Path:
        """Write the page of the comparison; it appears whole or not at all.

        Parameters
        ----------
        path : Path or str
            The HTML file; its folder is made.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        StoreError
            The file cannot be written.
        """
        from backtester.report.compare_page import write_compare_page  # noqa: PLC0415 - plotly takes a while to import

        return write_compare_page(self, path)

    def __repr__(self) -> str:
        return f"<CompareResult of {len(self.names)} runs: {', '.join(label[:40] for label in self.labels.values())}>"

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows."""
        rows = {row["metric"]: row for row in self.metrics.iter_rows(named=True)}
        head = "".join(f"<th>{escape(label[:60])}</th>" for label in self.labels.values())
        lines = []
        for key, label, style in _SHOWN:
            if key in rows:
                texts = (figure_text(rows[key][name], style, "") for name in self.names)
                cells = "".join(f"<td style='text-align:right'>{escape(text)}</td>" for text in texts)
                lines.append(f"<tr><th style='text-align:left'>{label}</th>{cells}</tr>")
        notes = "".join(f"<li>{escape(n.severity)}: {escape(n.text)}</li>" for n in self.notices)
        return f"<div><ul>{notes}</ul><table><tr><th></th>{head}</tr>{''.join(lines)}</table></div>"


def compare(runs: Iterable[Result | Path | str], *, out: Path | str = DEFAULT_OUT) -> CompareResult:
    """Compare runs.

    Parameters
    ----------
    runs : iterable of Result, Path or str
        Two to fifty: results, folders, names of runs or the beginnings of names. The first is what the others are
        measured against.
    out : Path or str
        Folder of the runs, in which names are looked up.

    Returns
    -------
    CompareResult
        Frames with a column for each run; ``save(path)`` writes the page.

    Raises
    ------
    UsageError
        Fewer than two runs or too many, one of them twice, an unknown name, or the folder of a search.
    StoreError
        A run's folder is damaged or not finished.

    Examples
    --------
    >>> import backtester
    >>> found = backtester.compare(["20250101-080000-trend", "20250101-090000-trend"])  # doctest: +SKIP
    >>> found.correlation  # doctest: +SKIP
    >>> found.save("compare.html")  # doctest: +SKIP
    """
    if isinstance(runs, str | Path | Result):
        raise UsageError("One run is given, and a comparison takes at least two.", "Give a list of runs.")
    given = list(runs)
    check_count(len(given))
    found = [one if isinstance(one, Result) else _found_run(str(one), Path(out)) for one in given]
    folders = [one for one in found if isinstance(one, Path)]
    refuse_twice(folders)
    return CompareResult.of(_loaded(found))


def compare_folders(folders: Sequence[Path]) -> CompareResult:
    """Return the comparison of the runs in folders that `find_folders` has found."""
    check_count(len(folders))
    refuse_twice(folders)
    return CompareResult.of(_loaded(folders))


def check_count(count: int) -> None:
    """Refuse a number of runs that cannot be compared."""
    if count > MOST_RUNS:
        raise UsageError(f"{count} runs are given; a comparison takes 2 to {MOST_RUNS}.", "Name fewer.")
    if count < 2:
        what = "One run is" if count else "No run is"
        raise UsageError(f"{what} given, and a comparison takes at least two.", "`backtester reports list` shows them.")


def refuse_twice(folders: Sequence[Path]) -> None:
    """Refuse a folder that is named twice."""
    seen: set[Path] = set()
    for folder in folders:
        whole = folder.resolve()
        if whole in seen:
            raise UsageError(f"The run {folder.name} is given twice.", "Name each run once.")
        seen.add(whole)


def find_folders(names: Sequence[str], out: Path) -> tuple[Kind, list[Path]]:
    """Return what names stand for: all of them runs, or all of them sweeps.

    Parameters
    ----------
    names : sequence of str
        Folders, names, or beginnings of names.
    out : Path
        Folder of the runs.

    Raises
    ------
    UsageError
        A name is unknown or not clear, runs and sweeps are mixed, or a folder is that of another search.
    StoreError
        A folder is not finished.
    """
    folders = [find_folder(name, out) for name in names]
    kinds = [kind_of(folder) for folder in folders]
    if len(set(kinds)) > 1:
        run, sweep = (folders[kinds.index(kind)].name for kind in ("run", "sweep"))
        raise UsageError(
            f"{run} is a run and {sweep} is a sweep: the two are not compared with each other.",
            "Write sets of the sweep as runs (`backtester sweep ... --top 3 --replay`) and compare those.",
        )
    return (kinds[0] if kinds else "run"), folders


def find_folder(name: str, out: Path) -> Path:
    """Return the folder of a run or a search by its path, its name or the beginning of its name."""
    if "\0" in name or len(name) > 4_000:
        raise UnknownNameError("run", name[:80], [], f"in {out}")
    path = Path(name)
    try:
        if name and path.is_dir():
            return path
        known = [*run_folders(out), *_search_folders(out)]
    except OSError as error:
        raise UsageError(
            f"{name[:80]!r} is no name of a run: {error.strerror}.", "See `backtester reports list`."
        ) from error
    found = [one for one in known if one.name == name] or [one for one in known if name and one.name.startswith(name)]
    if len(found) > 1:
        shown = ", ".join(sorted(one.name for one in found)[:3])
        raise UsageError(f"{len(found)} runs begin with {name!r}.", f"Among them: {shown}.")
    if not found:
        raise UnknownNameError("run", name[:80], [one.name for one in known], f"in {out}")
    return found[0]


def kind_of(folder: Path) -> Kind:
    """Return whether a folder holds a run or a sweep.

    Raises
    ------
    UsageError
        It holds neither.
    StoreError
        It is still being written, or was left half-written.
    """
    if folder.name.startswith(PARTIAL_PREFIX):
        raise StoreError(f"{folder} is not finished: a run is being written there, or was broken off.", "Wait for it.")
    if (folder / _SWEEP_FILE).is_file():
        return "sweep"
    for file, what in _OTHER_SEARCHES.items():
        if (folder / file).is_file():
            raise UsageError(
                f"{folder.name} is the folder of {what}, which is not compared.",
                f"Its page is {folder / 'report.html'}; compare takes runs, or sweeps.",
            )
    if not (folder / "manifest.json").is_file():
        raise UsageError(f"{folder} holds no run: manifest.json is missing in it.", "See `backtester reports list`.")
    return "run"


def page_path(folders: Sequence[Path], out: Path) -> Path:
    """Return where the page of a comparison goes if nothing else is said: a file beside the folders of the runs.

    A file is never taken for a run, and the same runs in the same order have the same page.
    """
    digest = hashlib.sha256("\n".join(folder.resolve().name for folder in folders).encode()).hexdigest()
    return out / f"compare-{digest[:10]}.html"


def _found_run(name: str, out: Path) -> Path:
    folder = find_folder(name, out)
    if kind_of(folder) == "sweep":
        raise UsageError(
            f"{folder.name} is a sweep, not a run.",
            "`backtester compare` takes sweeps too; `replay(number, write=True)` of a sweep makes a run of a set.",
        )
    return folder


def _search_folders(out: Path) -> Iterator[Path]:
    """Return the folders of sweeps and other searches."""
    if out.is_dir():
        for folder in sorted(out.iterdir()):
            if not folder.name.startswith(PARTIAL_PREFIX) and any((folder / file).is_file() for file in SEARCH_FILES):
                yield folder


def _loaded(runs: Iterable[Result | Path]) -> Iterator[Result]:
    """Read runs one after the other, so that only one is held at a time."""
    for one in runs:
        result = load_result(one) if isinstance(one, Path) else one
        if not result.summary:
            raise UsageError(
                f"The run {result.run_id} has no summary.", "Compare results of `backtester.run` or stored runs."
            )
        yield result

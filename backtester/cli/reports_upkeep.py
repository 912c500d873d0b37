"""``backtester reports tag`` and ``backtester reports prune``: what is kept of a folder of runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from backtester.cli.options import DEFAULT_OUT, JsonOption, OutOption, QuietOption
from backtester.cli.run_argument import NamedRunArgument, any_folder

if TYPE_CHECKING:
    from backtester.report.shelf import Row
    from backtester.report.shelf_upkeep import Pruning

_SHOWN = 20


def tag_run(
    run: NamedRunArgument,
    tags: Annotated[list[str] | None, typer.Argument(metavar="TAG", help="Words to add.")] = None,
    *,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="TAG", help="A word to take away (repeatable).")
    ] = None,
    out: OutOption = DEFAULT_OUT,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Add words to a run or a search, or take them away; without any, show those that it has.

    They lie in tags.json beside the run's other files, which stay as they are.
    """
    from backtester.cli.output import print_json
    from backtester.cli.reports import renew_shelf
    from backtester.engine.tags import change_tags, read_tags

    folder = any_folder(run, out)
    if tags or remove:
        found = change_tags(folder, tags or (), remove or ())
        if folder.parent.resolve() == out.resolve():
            renew_shelf(out)
    else:
        found = read_tags(folder)
    if as_json:
        print_json({"run": folder.name, "tags": list(found)})
    elif not quiet:
        typer.echo(f"{folder.name}: {', '.join(found) or 'no tags'}")


def prune_runs(
    *,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="30d", help="Runs made before: an age, or a time.")
    ] = None,
    keep: Annotated[int | None, typer.Option("--keep", metavar="N", min=0, help="All but the newest N runs.")] = None,
    untagged: Annotated[bool, typer.Option("--untagged", help="Runs without a tag.")] = False,
    broken: Annotated[
        bool, typer.Option("--broken", help="Broken runs, and half-written ones that no process writes any more.")
    ] = False,
    searches: Annotated[
        bool, typer.Option("--searches", help="Finished sweeps, optimisations and walks as well as runs.")
    ] = False,
    tagged: Annotated[bool, typer.Option("--tagged", help="Tagged runs are not spared.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be deleted, and delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    out: OutOption = DEFAULT_OUT,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Delete runs: those that meet all of --older-than, --keep and --untagged that are given, and broken ones.

    It shows what is to go and asks. Tagged runs are spared unless --tagged is given.
    """
    from backtester.cli.output import print_json
    from backtester.cli.reports import renew_shelf
    from backtester.errors import UsageError
    from backtester.report.shelf import read_shelf
    from backtester.report.shelf_upkeep import Pruning, condemned, holds_other_files, remove

    before = None if older_than is None else moment_of(older_than, "--older-than")
    wish = Pruning(before, keep, untagged, broken, searches, tagged)
    _refuse_vague(wish)
    if as_json and not (yes or dry_run):
        raise UsageError("With --json nothing is asked.", "Add --yes to delete, or --dry-run to look.")
    doomed, spared = condemned(read_shelf(out), wish)
    strange = [row for row in doomed if row.state == "broken" and holds_other_files(out / row.name)]
    doomed = [row for row in doomed if row not in strange]
    if not as_json and not quiet:
        _show(doomed, spared, strange)
    if doomed and not dry_run and not yes:
        if not sys.stdin.isatty():
            raise UsageError("Nobody can be asked here.", "Add --yes to delete, or --dry-run to look.")
        typer.confirm(f"Delete {_folders(len(doomed))} in {out}?", abort=True, err=True)
    gone = [] if dry_run else remove(out, [row.name for row in doomed])
    if gone:
        renew_shelf(out)
    if as_json:
        names = {"chosen": [row.name for row in doomed], "deleted": gone, "spared": [row.name for row in spared]}
        names["not_of_runs"] = [row.name for row in strange]
        print_json({"dry_run": dry_run, **names})
    elif not quiet:
        typer.echo(_outcome(len(doomed), len(gone), dry_run=dry_run))


def _outcome(doomed: int, gone: int, *, dry_run: bool) -> str:
    if not doomed:
        return "There is nothing to delete."
    return f"{_folders(doomed)} would be deleted." if dry_run else f"{_folders(gone)} deleted."


def _refuse_vague(wish: Pruning) -> None:
    """Refuse what names nothing, or opposite things."""
    from backtester.errors import UsageError

    if wish.is_empty:
        raise UsageError(
            "Nothing says what is to be deleted.", "Give --older-than 30d, --keep 20, --untagged or --broken."
        )
    if wish.untagged and wish.tagged_too:
        raise UsageError("--untagged and --tagged ask for opposite things.", "Leave one of the two out.")


def _show(doomed: list[Row], spared: list[Row], strange: list[Row]) -> None:
    """Say what is to go, what is spared, and what has files that no run writes."""
    from backtester.cli.output import say

    if doomed:
        say("To be deleted:")
    for row in doomed[:_SHOWN]:
        say(f"  {row.name}  {row.reason if row.state == 'broken' else ', '.join(row.tags)}".rstrip())
    if len(doomed) > _SHOWN:
        say(f"  and {len(doomed) - _SHOWN} more")
    if spared:
        say(f"Spared for tags: {_folders(len(spared))}; --tagged deletes them too.")
    for row in strange[:_SHOWN]:
        say(f"  {row.name} stays: it holds files that no run writes. Delete it by hand if it may go.")


def _folders(count: int) -> str:
    return f"{count:,} folder{'' if count == 1 else 's'}"


def moment_of(text: str, option: str) -> int:
    """Return a time that an option names [ms since 1970]: ``2026-01-31``, or how long ago, ``30d``."""
    import time

    from backtester.engine.run_file import parse_time
    from backtester.errors import UsageError
    from backtester.research.windows import parse_duration

    try:
        return parse_time(text, option)
    except UsageError:
        try:
            return round(time.time() * 1000) - parse_duration(text, option)
        except UsageError as error:
            raise UsageError(
                f"{option} {text!r} is neither a time nor an age.", "Write 2026-01-31 (UTC), or an age: 30d, 12h, 2w."
            ) from error

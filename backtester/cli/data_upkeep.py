"""``backtester data compact`` and ``backtester data delete``: the files of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backtester.cli.options import DEFAULT_STORE, JsonOption, QuietOption, StoreOption, SymbolsOption
from backtester.cli.selection import SeriesFilter, TimeframeFilter, VenueFilter, selected

if TYPE_CHECKING:
    from backtester.market.schema import DatasetKey
    from backtester.market.store import Store


def compact_data(
    *,
    venue: VenueFilter = None,
    symbols: SymbolsOption = None,
    series: SeriesFilter = None,
    timeframe: TimeframeFilter = None,
    store_dir: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tidy the store: bring in what interrupted downloads left, rewrite loose files, remove leftovers.

    No value changes.
    """
    from backtester.cli.datasets import size_text
    from backtester.cli.output import print_json, say
    from backtester.errors import StoreError
    from backtester.market.quality.finding import counted
    from backtester.market.store import Store

    store = Store(store_dir)
    keys = selected(store, venue, symbols, series, timeframe)
    before = _bytes(store, keys)
    rewritten, damaged = 0, []
    for key in keys:
        try:
            rewritten += store.compact(key)
        except StoreError as e:
            damaged.append(f"{e}")
    after = _bytes(store, keys)
    if as_json:
        print_json(
            {
                "store": str(store.root),
                "datasets": len(keys),
                "files_rewritten": rewritten,
                "damaged": damaged,
                "bytes_before": before,
                "bytes_after": after,
            }
        )
    elif not quiet:
        typer.echo(
            f"{counted(len(keys), 'dataset')} in {store.root} looked through, {counted(rewritten, 'file')} rewritten: "
            f"{size_text(before)} before, {size_text(after)} now."
        )
    for text in damaged:
        say(f"Error: {text}")
    if damaged:
        raise typer.Exit(1)


def _bytes(store: Store, keys: list[DatasetKey]) -> int:
    return sum(path.stat().st_size for key in keys for path in store.folder(key).iterdir())


def delete_data(
    *,
    venue: VenueFilter = None,
    symbols: SymbolsOption = None,
    series: SeriesFilter = None,
    timeframe: TimeframeFilter = None,
    everything: Annotated[bool, typer.Option("--all", help="Delete the whole store's data.")] = False,
    damaged: Annotated[
        bool, typer.Option("--damaged", help="Delete damaged files alone; a fetch or import brings their rows again.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store_dir: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Delete datasets, or damaged files alone.

    What is to go is shown, and a question asked, unless --yes is given. Damaged files, which hold nothing that could be
    used, go without a question.
    """
    from backtester.errors import UsageError
    from backtester.market.store import Store

    store = Store(store_dir)
    if not (venue or symbols or series or timeframe or everything or damaged):
        raise UsageError(
            "Nothing says what to delete.", "Narrow with --venue, --symbols, --series, --timeframe, or give --all."
        )
    keys = selected(store, venue, symbols, series, timeframe, exact=True)
    if damaged:
        _drop_damaged(store, keys, as_json=as_json, quiet=quiet)
        return
    _delete(store, keys, ask=not yes, as_json=as_json, quiet=quiet)


def _delete(store: Store, keys: list[DatasetKey], *, ask: bool, as_json: bool, quiet: bool) -> None:
    from backtester.cli.datasets import size_text
    from backtester.cli.output import print_json, say
    from backtester.errors import UsageError
    from backtester.market.quality.finding import counted

    size = _bytes(store, keys)
    shown = "; ".join(str(key) for key in keys[:8]) + ("; …" if len(keys) > 8 else "")
    what = f"{counted(len(keys), 'dataset')} ({size_text(size)}) in {store.root}"
    if ask:
        say(f"To delete: {what}: {shown}.")
        if as_json or quiet:
            raise UsageError("--json and --quiet ask no question.", "Give --yes to delete.")
        try:
            agreed = typer.confirm("Delete them?", err=True)
        except typer.Abort:
            raise UsageError("Nobody answers.", "Give --yes to delete without a question.") from None
        if not agreed:
            say("Nothing is deleted.")
            return
    for key in keys:
        store.delete(key)
    if as_json:
        print_json({"store": str(store.root), "deleted": [str(key) for key in keys], "bytes": size})
    elif not quiet:
        typer.echo(f"Deleted {what}.")


def _drop_damaged(store: Store, keys: list[DatasetKey], *, as_json: bool, quiet: bool) -> None:
    from backtester.cli.output import print_json, say
    from backtester.errors import StoreError
    from backtester.market.quality.finding import counted

    dropped, left = [], []
    for key in keys:
        try:
            dropped += [(key, name) for name in store.drop_damaged(key)]
        except StoreError as e:  # of a damaged manifest the files are not known
            left.append(str(e))
    for text in left:
        say(f"Error: {text}")
    if as_json:
        files = [{"dataset": str(k), "file": n} for k, n in dropped]
        print_json({"store": str(store.root), "dropped": files, "left": left})
    elif not quiet:
        for key, name in dropped:
            typer.echo(f"Dropped {name} of {key}.")
        if dropped:
            typer.echo(
                f"{counted(len(dropped), 'damaged file')} dropped from {store.root}; "
                "`backtester data fetch`, or the same import again, brings their rows back."
            )
        elif not left:
            typer.echo(f"No file in {store.root} is damaged.")
    if left:
        raise typer.Exit(1)

"""What ``backtester data import`` prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import typer

from backtester.cli.datasets import print_write_table, report_json
from backtester.cli.output import print_json, say
from backtester.market.intake import Imported, Refusal
from backtester.market.quality.finding import counted
from backtester.market.store import Store


def print_imports(
    store: Store, done: Sequence[Imported | Refusal], notes: Iterable[str], *, as_json: bool, quiet: bool
) -> int:
    """Print what an import did and return how many files were refused."""
    imported = [d for d in done if isinstance(d, Imported)]
    refused = [d for d in done if isinstance(d, Refusal)]
    said = [*notes, *(f"{i.intake.key}: {note}" for i in imported for note in i.intake.notes)]
    if as_json:
        print_json(
            {
                "store": str(store.root),
                "imported": [_imported_json(i) for i in imported],
                "refused": [{"file": r.name, "error": r.error.message, "hint": r.error.hint} for r in refused],
                "notes": said,
            }
        )
    if not quiet:
        for note in said:
            say(f"Note: {note}.")
    for refusal in refused:
        say(f"Refused: {refusal.error}")
    if not (as_json or quiet):
        print_write_table([item.report for item in imported])
        end = "`backtester data check` says whether they can be trusted."
        if refused:
            end = f"{counted(len(refused), 'file')} refused, see above."
        typer.echo(f"{len(imported):,} series imported into {store.root}. {end}")
    return len(refused)


def _imported_json(item: Imported) -> dict[str, Any]:
    return {**report_json(item.report), "source": item.intake.source, "notes": list(item.intake.notes)}

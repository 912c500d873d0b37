"""Options that mean the same in every command."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STORE = Path("data")
DEFAULT_OUT = Path("reports")
_SPELLINGS = {"instruments": "instrument", "tier": "tiers", "trades": "trade"}

StoreOption = Annotated[Path, typer.Option("--store", metavar="DIR", help="Folder of the market data.")]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the runs and their reports.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no tables; errors are still said.")]
AssetsOption = Annotated[
    str | None,
    typer.Option(
        "--assets",
        metavar="WHERE",
        help="Where the library that draws stands: inline, in the page, or shared, once for all runs in DIR/assets.",
    ),
]
VenueOption = Annotated[
    str | None,
    typer.Option(
        "--venue",
        metavar="NAME",
        help="Venue of the data and of the rules; default: the only one stored, else synthetic.",
    ),
]
SymbolsOption = Annotated[
    list[str] | None,
    typer.Option("--symbols", "--symbol", metavar="A,B", help="Contracts, separated by commas or given repeatedly."),
]
TimeframeOption = Annotated[
    str | None, typer.Option("--timeframe", metavar="1h", help="Bar of decisions, and of the replay.")
]
StartOption = Annotated[
    str | None, typer.Option("--start", metavar="TIME", help="First time, UTC: 2025-01-31 or 2025-01-31T08:00.")
]
EndOption = Annotated[str | None, typer.Option("--end", metavar="TIME", help="End, UTC, itself excluded.")]
StrategiesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--strategies", metavar="DIR", help="Another folder of strategies (repeatable); ./strategies is always read."
    ),
]


def series_names(values: Iterable[str] | None) -> tuple[str, ...]:
    """Return the series that the command line names, as the store spells them."""
    return tuple(_SPELLINGS.get(name, name) for name in split_list(values))


def split_list(values: Iterable[str] | None) -> tuple[str, ...]:
    """Return the parts of values that were given separated by commas, repeatedly or both; empty parts are left out.

    Parameters
    ----------
    values : iterable of str or None
        What the command line holds.
    """
    return tuple(part.strip() for value in values or () for part in value.split(",") if part.strip())

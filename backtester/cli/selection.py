"""Filters that choose among stored datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backtester.cli.options import series_names, split_list

if TYPE_CHECKING:
    from backtester.market.schema import DatasetKey
    from backtester.market.store import Store

VenueFilter = Annotated[str | None, typer.Option("--venue", metavar="NAME", help="Only this venue.")]
SeriesFilter = Annotated[
    list[str] | None,
    typer.Option("--series", metavar="A,B", help="Only trade, mark, index, premium, funding, tiers or instruments."),
]
TimeframeFilter = Annotated[
    str | None,
    typer.Option("--timeframe", metavar="1h", help="Only bars of this length (and what has none: funding, terms)."),
]


def selected(
    store: Store,
    venue: str | None,
    symbols: list[str] | None,
    series: list[str] | None,
    timeframe: str | None,
    *,
    must_exist: bool = True,
    exact: bool = False,
) -> list[DatasetKey]:
    """Return the datasets that pass the filters; a filter that nothing can pass is an error with the nearest name.

    A timeframe lets funding and terms through, which have none, unless it is meant exactly.
    """
    from backtester.errors import DataError, UnknownNameError, UsageError
    from backtester.market.quality import select
    from backtester.market.schema import SERIES_NAMES, timeframe_ms, timeframe_name

    store.recover()
    names = split_list(symbols)
    wanted = series_names(series)
    for name in wanted:
        if name not in SERIES_NAMES:
            raise UnknownNameError("series", name, SERIES_NAMES)
    if timeframe is not None:
        timeframe = timeframe_name(timeframe_ms(timeframe))
    keys = select(store, venue, names, wanted, timeframe)
    if exact and timeframe is not None:
        keys = [key for key in keys if key.timeframe == timeframe]
    if keys:
        return keys
    known = store.keys()
    if not known:
        if not must_exist:
            return []
        raise DataError(
            f"the store {store.root}",
            "there is no data yet",
            hint="`backtester data demo` makes a synthetic market; `backtester data fetch` asks an exchange; "
            "`backtester data import` brings in your own files; "
            "--store DIR names another store.",
        )
    if venue is not None and venue not in (venues := store.venues()):
        raise UnknownNameError("venue", venue, venues, f"in the store {store.root}")
    here = [k for k in known if venue is None or k.venue == venue]
    there = {k.symbol for k in here}
    for name in names:
        if name not in there:
            # tier tables come for hundreds of symbols: those with bars, and of the same base, are likelier meant
            likely = {k.symbol for k in here if k.series not in ("tiers", "instrument")} or there
            same_base = {s for s in likely if s.startswith(f"{name.upper()}/")}
            raise UnknownNameError("symbol", name, same_base or likely, f"in the store {store.root}")
    raise UsageError("Nothing stored passes these filters.", "`backtester data list` shows what is there.")

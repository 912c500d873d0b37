"""Bars from the store at the timeframe that is asked for: read as stored, or built from the finest stored one."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from backtester.domain.instrument import is_spot_name
from backtester.domain.venues import pack_names
from backtester.errors import DataError, UnknownNameError
from backtester.market.bar_columns import BarColumns, scanned
from backtester.market.schema import EVENT, DatasetKey, timeframe_ms, timeframe_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from backtester.market.parts import PartSource
    from backtester.market.store import Store

SYNTHETIC_VENUE = "synthetic"
"""Name of the made-up market."""
WEEK_MS = 7 * 86_400_000
MONDAY_MS = 4 * 86_400_000  # 1970-01-05: weekly bars open on Mondays


@dataclass(frozen=True)
class BarSource:
    """Where the bars of one series come from.

    Attributes
    ----------
    key : DatasetKey
        The stored dataset.
    stored_ms : int
        Its timeframe [ms].
    step_ms : int
        Timeframe of the bars that it yields [ms]; larger than ``stored_ms`` where they are built.
    first : int
        Open of the first bar that it yields [ms].
    end : int
        End of the last one [ms], excluded.
    """

    key: DatasetKey
    stored_ms: int
    step_ms: int
    first: int
    end: int

    @property
    def is_built(self) -> bool:
        """Whether the bars are aggregated from finer ones."""
        return self.stored_ms != self.step_ms

    @property
    def name(self) -> str:
        """Venue, symbol, series and stored timeframe, as errors name it."""
        return str(self.key)

    def read(self, store: Store, start: int, end: int) -> pl.DataFrame:
        """Return the whole bars that open in ``[start, end)``; both lie on the grid of ``step_ms``."""
        frame = store.read(self.key, *self._cuts(start, end))
        return aggregate(frame, self.stored_ms, self.step_ms) if self.is_built else frame

    @contextmanager
    def columns(self, store: Store, start: int, end: int) -> Iterator[BarColumns]:
        """Open what `read` returns as columns that are read one by one, block by block.

        Raises
        ------
        StoreError
            On leaving: another process replaced a file meanwhile, so that the blocks may be of two versions.
        """
        if self.is_built:
            yield BarColumns([self.read(store, start, end).lazy()])
            return
        parts = self.files(store, start, end)
        try:
            yield BarColumns([scanned(part) for part in parts], *self._cuts(start, end))
        finally:
            store.confirm(self.key, parts)

    def files(self, store: Store, start: int, end: int) -> list[PartSource]:
        """Return the files that `read` reads, compared with their checksums."""
        return store.sources(self.key, *self._cuts(start, end))

    def _cuts(self, start: int, end: int) -> tuple[int | None, int | None]:
        """Return the bounds that cut something: looking for one costs time, and filtering as much as reading."""
        return start if start > self.first else None, end if end < self.end else None


def check_symbols(store: Store, venue: str, symbols: Iterable[str]) -> None:
    """Refuse a venue or a symbol that the store does not hold, with the nearest names and the way to get it.

    Raises
    ------
    DataError
        The venue is known, and nothing of it is stored.
    UnknownNameError
        Neither the store nor a rule pack knows the venue, or the store does not know the symbol there.
    """
    venues = store.venues("trade")
    if venue not in venues and venue in pack_names():
        raise DataError(
            f"{venue} trade", f"the store {store.root} holds no bars of this venue", hint=way_to(venue, venues)
        )
    if venue not in venues:
        raise UnknownNameError("venue", venue, venues, "in the store", held_venues(venues))
    known = store.symbols(venue)
    for symbol in symbols:
        if symbol not in known:
            raise UnknownNameError(
                "symbol", symbol, known, f"in the store's venue {venue!r}", _symbol_hint(store, venue, symbol)
            )


def _symbol_hint(store: Store, venue: str, symbol: str) -> str:
    """Return the way to a symbol that a venue's store lacks; empty where the nearest names say more.

    Nobody is sent from a real market to the made-up one.
    """
    if venue == SYNTHETIC_VENUE:
        return ""
    others = [name for name in store.venues("trade") if name not in {venue, SYNTHETIC_VENUE}]
    elsewhere = [name for name in others if symbol in store.symbols(name)]
    fetch = f"`backtester data fetch --venue {venue} --symbols {symbol} --start 2024-01-01`"
    contract = next((name for name in store.symbols(venue) if name.partition(":")[0] == symbol), None)
    if contract is not None and is_spot_name(symbol):
        return f"It holds the contract {contract}; the spot pair is a series of its own: {fetch}, or import it."
    if elsewhere:
        return f"{elsewhere[0]} has it: use --venue {elsewhere[0]}, or bring it in with {fetch}."
    if symbol in store.symbols(SYNTHETIC_VENUE):
        return f"Bring it in with {fetch} or import it."
    return ""


def way_to(venue: str, venues: Sequence[str]) -> str:
    """Return the way on where nothing of a venue is stored: how to bring it in, and which venues are there.

    Parameters
    ----------
    venue : str
        The venue that was asked for.
    venues : sequence of str
        Those with traded bars.
    """
    if venue == SYNTHETIC_VENUE:
        return f"Make it with `backtester data demo`. {held_venues(venues)}"
    held = f" The store holds: {', '.join(venues)}." if venues else ""
    fetch = f"`backtester data fetch --venue {venue} --symbols BTC/USDT:USDT --start 2024-01-01`"
    return f"Bring it in with {fetch} or `backtester data import --venue {venue}`.{held}"


def default_symbols(known: Sequence[str]) -> list[str]:
    """Return what a run takes that names no symbols: the contracts; spot pairs where there is nothing else."""
    return [symbol for symbol in known if not is_spot_name(symbol)] or list(known)


def held_venues(venues: Sequence[str]) -> str:
    """Return the way on where a venue has no bars: those that have some."""
    if venues:
        return f"The store holds: {', '.join(venues)}; use --venue {venues[0]}."
    return "Bring data in with `backtester data fetch` or `import`, or make a market with `backtester data demo`."


def stored_timeframes(store: Store, venue: str, symbol: str, series: str) -> list[int]:
    """Return the stored timeframes of a series that hold rows [ms], finest first."""
    keys = store.keys(venue=venue, symbol=symbol, series=series)
    return sorted(timeframe_ms(k.timeframe) for k in keys if k.timeframe != EVENT and store.span(k) is not None)


def bar_source(store: Store, venue: str, symbol: str, series: str, step_ms: int) -> BarSource | None:
    """Return where bars of ``step_ms`` come from: the stored ones, else the finest stored that divide them."""
    stored = stored_timeframes(store, venue, symbol, series)
    fitting = [step_ms] if step_ms in stored else [ms for ms in stored if step_ms % ms == 0]
    if not fitting:
        return None
    key = DatasetKey(venue, symbol, series, timeframe_name(fitting[0]))
    span = store.span(key)
    if span is None:
        return None
    first, end = span[0], span[1] + fitting[0]
    if fitting[0] != step_ms:
        first = -((anchor(step_ms) - first) // step_ms) * step_ms + anchor(step_ms)
        end = (end - anchor(step_ms)) // step_ms * step_ms + anchor(step_ms)
        if end <= first:
            return None
    return BarSource(key, fitting[0], step_ms, first, end)


def trade_source(store: Store, venue: str, symbol: str, step_ms: int) -> BarSource:
    """Return the source of the traded bars, which every run needs."""
    found = bar_source(store, venue, symbol, "trade", step_ms)
    if found is not None:
        return found
    name = timeframe_name(step_ms)
    stored = [timeframe_name(ms) for ms in stored_timeframes(store, venue, symbol, "trade")]
    series = f"{venue} {symbol} trade {name}"
    if not stored:
        raise DataError(series, "there are no traded bars", hint="Import or fetch the trade series first.")
    raise DataError(
        series,
        f"not stored, and no stored timeframe ({', '.join(stored)}) divides it",
        hint=f"Use --timeframe {stored[0]}, or import finer bars.",
    )


def delisting(store: Store, venue: str, symbol: str) -> int | None:
    """Return the end of trading that the newest stored terms that know it state [ms]; None: unknown, or not yet."""
    return next((t.delisted for t in reversed(store.instruments(venue, symbol)) if t.delisted is not None), None)


def ceil_to(time: int, grid_ms: int, phase: int = 0) -> int:
    """Return the first grid point at or after ``time``; ``phase`` is any grid point."""
    return phase - (phase - time) // grid_ms * grid_ms


def floor_to(time: int, grid_ms: int, phase: int = 0) -> int:
    """Return the last grid point at or before ``time``; ``phase`` is any grid point."""
    return phase + (time - phase) // grid_ms * grid_ms


def anchor(step_ms: int) -> int:
    """Return a moment at which bars of this length open: Mondays for whole weeks, else 1970."""
    return MONDAY_MS if step_ms % WEEK_MS == 0 else 0


def aggregate(frame: pl.DataFrame, stored_ms: int, step_ms: int) -> pl.DataFrame:
    """Build longer bars from shorter ones; incomplete ones are left out.

    Parameters
    ----------
    frame : DataFrame
        Bars with ``open_time``, sorted; ``volume`` where there is one.
    stored_ms, step_ms : int
        Their length and the wanted one, a multiple [ms].

    Returns
    -------
    DataFrame
        The same columns.
    """
    time = pl.col("open_time").cast(pl.Int64)
    bucket = (time - anchor(step_ms)).floordiv(step_ms) * step_ms + anchor(step_ms)
    values = [
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
    ]
    if "volume" in frame.columns:
        known = pl.col("volume").count() > 0  # the sum of nothing would be 0, which means that nothing traded
        values.append(pl.when(known).then(pl.col("volume").sum()).alias("volume"))
    built = (
        frame.group_by(bucket.alias("bucket"), maintain_order=True)
        .agg(*values, pl.len().alias("count"))
        .filter(pl.col("count") == step_ms // stored_ms)
    )
    dtype = frame.schema["open_time"]
    return built.select(pl.col("bucket").cast(dtype).alias("open_time"), pl.exclude("bucket", "count"))


def built_notes(sources: Iterable[BarSource]) -> list[str]:
    """Return one sentence for each series and timeframe that is built from finer bars."""
    notes = {
        f"The {timeframe_name(s.step_ms)} bars of the {s.key.series} series are built from the stored "
        f"{s.key.timeframe} bars, whole ones only."
        for s in sources
        if s.is_built
    }
    return sorted(notes)

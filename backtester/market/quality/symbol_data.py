"""The stored series of one symbol as a check reads them: each once, and a damaged companion as if it were absent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtester.errors import StoreError
from backtester.market.quality.bars import Sums, unequal_sums
from backtester.market.schema import DatasetKey, timeframe_ms
from backtester.market.series import aggregate

if TYPE_CHECKING:
    import polars as pl

    from backtester.market.store import Store


class SymbolData:
    """Everything that is stored of one symbol.

    Parameters
    ----------
    store : Store
        Where it is stored.
    venue, symbol : str
        Whose it is.

    Attributes
    ----------
    store : Store
        The same.
    keys : list of DatasetKey
        The datasets.
    """

    def __init__(self, store: Store, venue: str, symbol: str) -> None:
        self.store = store
        self.keys = store.keys(venue, symbol)
        self._frames: dict[DatasetKey, pl.DataFrame] = {}
        self._sums: dict[tuple[DatasetKey, DatasetKey], Sums | None] = {}

    def read(self, key: DatasetKey) -> pl.DataFrame:
        """Return the rows of a dataset.

        Raises
        ------
        StoreError
            It is damaged.
        """
        if key not in self._frames:
            self._frames[key] = self.store.read(key)
        return self._frames[key]

    def of(self, series: str) -> list[DatasetKey]:
        """Return the datasets of a series, the finest first."""
        found = [k for k in self.keys if k.series == series]
        return found if len(found) < 2 else sorted(found, key=lambda k: timeframe_ms(k.timeframe))

    def span(self, key: DatasetKey) -> tuple[int, int] | None:
        """Return the first time and, for bars, the end of the last one, else the last time [ms]; None: unknown."""
        try:
            span = self.store.span(key)
        except StoreError:
            return None
        if span is None or key.schema.time != "open_time":
            return span
        return span[0], span[1] + timeframe_ms(key.timeframe)

    def trade_span(self) -> tuple[int, int] | None:
        """Return the span of all traded bars, whatever their timeframe [ms], end excluded."""
        spans = [span for key in self.of("trade") if (span := self.span(key)) is not None]
        return (min(s for s, _ in spans), max(e for _, e in spans)) if spans else None

    def first_trade_step(self) -> int:
        """Return the length of the traded bars that begin first, the shortest of several [ms]; 0 without any."""
        firsts = [(s[0], timeframe_ms(key.timeframe)) for key in self.of("trade") if (s := self.span(key)) is not None]
        return min(firsts)[1] if firsts else 0

    def last_trade_step(self) -> int:
        """Return the length of the traded bars that end last, the shortest of several [ms]; 0 without any."""
        lasts = [(-s[1], timeframe_ms(key.timeframe)) for key in self.of("trade") if (s := self.span(key)) is not None]
        return min(lasts)[1] if lasts else 0

    def last_trade(self) -> int | None:
        """Return the end of the last traded bar that has volume, or of which it is unknown [ms]."""
        ends = []
        for key in self.of("trade"):
            frame = self._companion(key)
            if frame is None or frame.is_empty():
                continue
            traded = frame["open_time"].filter(frame["volume"].fill_null(1.0) > 0)
            if len(traded):
                ends.append(int(traded.dt.epoch("ms")[-1]) + timeframe_ms(key.timeframe))
        return max(ends, default=None)

    def bars(self, series: str, step: int) -> pl.DataFrame | None:
        """Return bars of a length [ms], stored or built from the finest that divide it; None where there are none."""
        fitting = [k for k in self.of(series) if step % timeframe_ms(k.timeframe) == 0]
        stored = [k for k in fitting if timeframe_ms(k.timeframe) == step]
        if not fitting:
            return None
        key = (stored or fitting)[0]
        frame = self._companion(key)
        return frame if frame is None or stored else aggregate(frame, timeframe_ms(key.timeframe), step)

    def sums(self, coarse: DatasetKey, fine: DatasetKey) -> Sums | None:
        """Return how bars differ from the finer ones that fill them; None where one of the two is damaged."""
        if (coarse, fine) not in self._sums:
            mine, other = self._companion(coarse), self._companion(fine)
            found = None
            if mine is not None and other is not None:
                found = unequal_sums(mine, timeframe_ms(coarse.timeframe), other, timeframe_ms(fine.timeframe))
            self._sums[coarse, fine] = found
        return self._sums[coarse, fine]

    def _companion(self, key: DatasetKey) -> pl.DataFrame | None:
        """Return the rows of a dataset, None where it is damaged, which is a finding of its own."""
        try:
            return self.read(key)
        except StoreError:
            return None

"""What a run trades on: targets by a strategy or from a file, on the bars of the panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from backtester.domain.config import RunConfig
from backtester.engine.frames import times
from backtester.engine.result import Notice
from backtester.engine.signal_file import Clock, outside_text, read_signals
from backtester.errors import StrategyError, UsageError
from backtester.market.frame import signal_bars
from backtester.market.panel import Panel
from backtester.market.schema import timeframe_ms, timeframe_name
from backtester.market.series import bar_source, stored_timeframes
from backtester.market.store import DatasetKey, Store
from backtester.strategy import Strategy, evaluate, registry


@dataclass(frozen=True, eq=False)
class Decisions:
    """Targets and where they come from.

    Attributes
    ----------
    targets : polars.DataFrame
        ``open_time, symbol, target``: every row that decides something, by symbol and time.
    bars : polars.DataFrame or None
        What the strategy read, from the first replayed bar on; None for a file.
    name : str
        Name of the strategy, or of the file.
    source : str
        Source text of the strategy.
    params : dict
        Every parameter; empty for a file.
    references : tuple of str
        Symbols that were read and not traded.
    notices : tuple of Notice
        What the reader must know.
    """

    targets: pl.DataFrame
    bars: pl.DataFrame | None
    name: str
    source: str
    params: dict[str, object]
    references: tuple[str, ...]
    notices: tuple[Notice, ...] = ()


def find_strategy(config: RunConfig, folders: Sequence[Path]) -> tuple[Strategy, tuple[Notice, ...]]:
    """Return the strategy that a configuration names, with its parameters, and what to tell about the choice.

    Parameters
    ----------
    config : RunConfig
        With ``strategy.name``.
    folders : sequence of Path
        Where strategies are looked for before the bundled ones.
    """
    if config.strategy.name is None:
        raise UsageError(
            "Neither a strategy nor a file of signals or trades is named.",
            "Example: backtester run trend. `backtester strategy list` shows what there is.",
        )
    entry, notes = registry.lookup(config.strategy.name, folders)
    assert entry.strategy is not None
    strategy = entry.strategy(**config.strategy.params)
    return strategy, tuple(Notice("strategy_choice", "warning", note) for note in notes)


def decide(strategy: Strategy, config: RunConfig, store: Store, panel: Panel) -> Decisions:
    """Return the targets of a strategy on the bars of a panel.

    Bars before the panel serve as warm-up where they are stored: as many as the class states, else as measured.
    """
    references = tuple(dict.fromkeys((*config.data.reference, *strategy.references)))
    stated = strategy.warmup or 0
    bars = _bars(config, store, panel, references, stated)
    if strategy.warmup is None and _has_earlier_bars(store, panel):
        measured = strategy.warmup_bars(bars)
        if measured:
            bars = _bars(config, store, panel, references, measured)
    decided = evaluate(strategy, bars)
    replayed = pl.Series(_replayed(bars, panel))
    return Decisions(
        targets=decided.filter(replayed).drop_nulls("target"),
        bars=bars.filter(replayed),
        name=strategy.name,
        source=registry.source_of(type(strategy)),
        params=strategy.model_dump(),
        references=references,
    )


def read_decisions(path: Path, panel: Panel) -> Decisions:
    """Return the targets of a file on the bars of a panel."""
    clock = Clock(panel.symbols, panel.open_time, panel.timeframe_ms)
    targets, outside = read_signals(path, clock)
    notices = (Notice("signals_outside", "warning", outside_text(outside, clock)),) if outside else ()
    if targets.is_empty():
        raise UsageError(f"{path} has no target inside the run.", outside_text(outside, clock))
    source = f"# Targets were read from the file {path.name}.\n"
    return Decisions(targets, None, path.stem, source, {}, (), notices)


def _bars(config: RunConfig, store: Store, panel: Panel, references: Sequence[str], warmup: int) -> pl.DataFrame:
    """Return what the strategy reads."""
    bars = signal_bars(
        store,
        panel.venue,
        panel.symbols,
        timeframe_name(panel.timeframe_ms),
        panel.start,
        panel.end,
        warmup_bars=warmup,
        reference=references,
        features=config.data.features,
        mark=config.data.mark,
    )
    if bars.is_empty():
        raise StrategyError("There are no bars to decide on.", "Choose another span.")
    return bars


def _has_earlier_bars(store: Store, panel: Panel) -> bool:
    """Return whether traded bars before the replay are stored."""
    for symbol in panel.symbols:
        for key in store.keys(panel.venue, symbol, "trade"):
            span = store.span(key)
            if span is not None and span[0] < panel.start:
                return True
    return False


def _replayed(bars: pl.DataFrame, panel: Panel) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which rows stand on a replayed bar; warm-up rows and rows in a hole do not."""
    opened = bars["open_time"].dt.epoch("ms").to_numpy()
    place = np.searchsorted(panel.open_time, opened).clip(max=panel.open_time.size - 1)
    return np.asarray(panel.open_time[place] == opened)


def bars_frame(panel: Panel, decisions: Decisions) -> pl.DataFrame:
    """Return the replayed bars, long: one row a bar and listed symbol.

    Marks of a series coarser than the trades are those that the replay values: traded price times mark over trade at
    the mark bar's open.
    """
    frames = []
    factor = _coarse_factor(panel)
    for i, symbol in enumerate(panel.symbols):
        trade = {name: getattr(panel.trade, name)[i] for name in ("open", "high", "low", "close")}
        if factor is None:
            mark = {f"mark_{name}": getattr(panel.mark, name)[i] for name in trade}
        else:
            mark = {f"mark_{name}": values * factor[i] for name, values in trade.items()}
        listed = ~np.isnan(trade["open"])
        columns = {**trade, "volume": _row(panel, i), **mark, "index_close": _index(panel, i)}
        frame = pl.DataFrame({"open_time": times(panel.open_time[listed])}).with_columns(
            pl.lit(symbol).alias("symbol"),
            *(pl.Series(name, values[listed]).fill_nan(None) for name, values in columns.items()),
        )
        frames.append(frame)
    bars = pl.concat(frames)
    if panel.index is None and decisions.bars is not None and decisions.bars["index_close"].count():
        seen = decisions.bars.select("open_time", "symbol", pl.col("index_close").alias("seen"))
        bars = bars.join(seen, on=("open_time", "symbol"), how="left", maintain_order="left")
        bars = bars.with_columns(pl.col("seen").alias("index_close")).drop("seen")
    return bars


def _coarse_factor(panel: Panel) -> np.ndarray[tuple[int, int], np.dtype[np.float64]] | None:
    """Return mark over trade at the mark bar's open for every bar, None where both stand on one grid."""
    if panel.mark_timeframe_ms == panel.timeframe_ms:
        return None
    place = np.searchsorted(panel.mark_open_time, panel.open_time, side="right") - 1
    first = np.searchsorted(panel.open_time, panel.mark_open_time[place])
    factor: np.ndarray[tuple[int, int], np.dtype[np.float64]] = panel.mark.open[:, place] / panel.trade.open[:, first]
    return factor


def _row(panel: Panel, i: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return a symbol's volumes, NaN where it has none."""
    return np.full(panel.open_time.size, np.nan) if panel.volume is None else panel.volume[i]


def _index(panel: Panel, i: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return a symbol's index closes, NaN where it has none."""
    return np.full(panel.open_time.size, np.nan) if panel.index is None else panel.index.close[i]


def dataset_keys(store: Store, panel: Panel, references: Sequence[str]) -> list[DatasetKey]:
    """Return the stored datasets that the run reads or may read, of the symbols that were traded or read."""
    found: dict[DatasetKey, None] = {}
    for symbol in dict.fromkeys((*panel.symbols, *references)):
        found |= dict.fromkeys(key for key in store.keys(panel.venue, symbol) if _is_read(store, panel, key))
    return list(found)


def _is_read(store: Store, panel: Panel, key: DatasetKey) -> bool:
    """Return whether bars of the run's timeframes come from a dataset; what has no timeframe is always read."""
    if key.timeframe == "event":
        return True
    stored = stored_timeframes(store, key.venue, key.symbol, key.series)
    steps = {panel.timeframe_ms, *((panel.mark_timeframe_ms,) if key.series == "mark" else ())}
    sources = [bar_source(store, key.venue, key.symbol, key.series, step) for step in steps]
    used = {source.stored_ms for source in sources if source is not None}
    return timeframe_ms(key.timeframe) in (used or stored)  # a series that is only coarser may be read too

"""What a run trades on: decisions of a strategy or from a file, on the bars of a panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.domain.config import RunConfig
from backtester.engine.decision_columns import decision_columns, refuse_untradable
from backtester.engine.decision_notices import idle_settings, unreachable_targets
from backtester.engine.frames import TIME, times
from backtester.engine.instruct import instructions_of
from backtester.engine.instructions import Instructions
from backtester.engine.loop_inputs import LoopStrategy, loop_series
from backtester.engine.resolve import ResolvedRun
from backtester.engine.result import Notice
from backtester.engine.signal_clock import SignalClock, clock_of
from backtester.engine.signal_file import read_signals
from backtester.engine.sizing import scaled_targets, sizing_warmup
from backtester.engine.universe import has_universe, universe_members, universe_warmup
from backtester.errors import StrategyError, UsageError
from backtester.market.frame import signal_bars
from backtester.market.panel import Panel
from backtester.market.schema import timeframe_ms
from backtester.market.series import bar_source, stored_timeframes, trade_source
from backtester.market.store import DatasetKey, Store
from backtester.strategy import Strategy, registry
from backtester.strategy.base import kind_of
from backtester.strategy.columns import LEGS
from backtester.strategy.evaluate import Evaluator
from backtester.strategy.refusals import refuse_silence

_TOLD = 3  # sentences on rows that are not used, in an error


@dataclass(frozen=True, eq=False)
class Decisions:
    """What was decided and where it comes from.

    Attributes
    ----------
    targets : polars.DataFrame
        ``open_time, symbol`` and the columns that are decided (``target``, ``stop_loss`` …): every row that decides
        something, by symbol and time; ``open_time`` is that of the signal bar.
    bars : polars.DataFrame or None
        ``open_time, symbol, index_close`` as the strategy read them, from the first replayed bar on; None for a file.
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
    loop : LoopStrategy or None
        The strategy where it decides by ``on_bar``; then ``targets`` is empty.
    """

    targets: pl.DataFrame
    bars: pl.DataFrame | None
    name: str
    source: str
    params: dict[str, object]
    references: tuple[str, ...]
    notices: tuple[Notice, ...] = ()
    loop: LoopStrategy | None = None


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


def find_class(config: RunConfig, folders: Sequence[Path]) -> type[Strategy]:
    """Return the class of the strategy that a configuration names, whatever its parameters."""
    if config.strategy.name is None:
        raise UsageError("No strategy is named.", "`backtester strategy list` shows what there is.")
    return registry.find(config.strategy.name, folders)


def decide(
    strategy: Strategy, resolved: ResolvedRun, store: Store, panel: Panel, shared: Evaluator | None = None
) -> Decisions:
    """Return what a strategy decides on the signal bars of a panel.

    Bars before the panel serve as warm-up where they are stored: as many as the class states, else as measured, and as
    the sizing and the universe of the run need.

    Parameters
    ----------
    strategy : Strategy
        The rule with its parameters.
    resolved : ResolvedRun
        The run.
    store : Store
        Where the bars are stored.
    panel : Panel
        The bars that are replayed.
    shared : Evaluator, optional
        Bars with enough of a warm-up, and the indicators computed on them so far, which several strategies share.
    """
    config = resolved.config
    references = references_of(config, strategy)
    bars = _warm_bars(strategy, config, store, panel, references) if shared is None else shared.bars
    evaluator = Evaluator(bars) if shared is None else shared
    clock = signal_clock(config, store, panel)
    members = universe_members(config, bars, resolved.instruments) if has_universe(config.universe) else None
    replayed = pl.Series(_replayed(bars, clock))
    series = None
    if kind_of(type(strategy)) == "loop":
        columns = evaluator.columns(strategy)
        series = loop_series(bars, columns, list(strategy.indicators()), clock, panel.traded_symbols)
        decided = pl.DataFrame(schema={"open_time": TIME, "symbol": pl.String, "target": pl.Float64})
    else:
        said = evaluator.decisions(strategy, members)
        refuse_silence(strategy, bars, said)
        decided = scaled_targets(config, bars, said).filter(replayed)
        legs = [column for column in decision_columns(decided.columns) if column.base in LEGS]
        refuse_untradable(decided, legs, f"strategy {strategy.name}", "open_time")
    return Decisions(
        targets=_deciding(decided),
        bars=bars.select("open_time", "symbol", "index_close").filter(replayed),
        name=strategy.name,
        source=registry.source_of(type(strategy)),
        params=strategy.model_dump(),
        references=references,
        notices=unreachable_targets(decided) if series is None else idle_settings(config),
        loop=None if series is None else LoopStrategy(strategy, series, _most_leverage(resolved, panel)),
    )


def references_of(config: RunConfig, strategy: Strategy) -> tuple[str, ...]:
    """Return the symbols that a run reads and does not trade."""
    return tuple(dict.fromkeys((*config.data.reference, *strategy.references)))


def shared_bars(references: Sequence[str], config: RunConfig, store: Store, panel: Panel, warmup: int) -> pl.DataFrame:
    """Return the bars that strategies read, with bars before the panel where they are stored.

    Parameters
    ----------
    references : sequence of str
        Symbols that they read and do not trade, beside those of the configuration.
    config : RunConfig
        Resolved; its sizing and universe may ask for more bars.
    store, panel
        The market.
    warmup : int
        Bars before the panel that the strategies need.
    """
    least = max(sizing_warmup(config), universe_warmup(config), warmup)
    return _bars(config, store, panel, tuple(dict.fromkeys((*config.data.reference, *references))), least)


def _most_leverage(resolved: ResolvedRun, panel: Panel) -> NDArray[np.float64]:
    """Return the largest leverage that any tiers of the run allow each traded contract."""
    return np.array([max(table.max_leverage for table in resolved.tiers[name]) for name in panel.traded_symbols])


def _warm_bars(
    strategy: Strategy, config: RunConfig, store: Store, panel: Panel, references: Sequence[str]
) -> pl.DataFrame:
    """Return what the strategy reads, with the bars before the run that it, the sizing and the universe need."""
    least = max(sizing_warmup(config), universe_warmup(config))
    bars = _bars(config, store, panel, references, max(strategy.warmup or 0, least))
    if strategy.warmup is not None or not _has_earlier_bars(store, panel):
        return bars
    measured = strategy.warmup_bars(bars)
    if measured <= least:
        return bars
    del bars  # of many symbols two copies would be the largest thing in memory
    return _bars(config, store, panel, references, measured)


def read_decisions(path: Path, config: RunConfig, store: Store, panel: Panel) -> Decisions:
    """Return the decisions of a file on the signal bars of a panel."""
    clock = signal_clock(config, store, panel)
    targets, left = read_signals(path, clock)
    if sizing_warmup(config):
        bars = _bars(config, store, panel, (), sizing_warmup(config))
        targets = _deciding(scaled_targets(config, bars, targets))
    told = left.texts(clock)
    notices = tuple(Notice("signals_outside", "warning", text) for text in told) + unreachable_targets(targets)
    if targets.is_empty():
        raise UsageError(f"{path} decides nothing inside the run.", "\n".join(told[:_TOLD]))
    source = f"# Decisions were read from the file {path.name}.\n"
    return Decisions(targets, None, path.stem, source, {}, (), notices)


def signal_clock(config: RunConfig, store: Store, panel: Panel) -> SignalClock:
    """Return the bars of decisions over those of a panel."""
    signal_ms = timeframe_ms(str(config.data.timeframe))
    phase = trade_source(store, panel.venue, config.data.symbols[0], signal_ms).first
    return clock_of(panel, signal_ms, phase)


def instructions_for(decisions: Decisions, config: RunConfig, store: Store, panel: Panel) -> Instructions:
    """Return what decisions tell the replay of a panel."""
    clock = signal_clock(config, store, panel)
    told = instructions_of(decisions.targets, clock, only_changes=config.execution.rebalance == "on_change")
    return told if decisions.loop is None else replace(told, calls=decisions.loop.series.last_bar)


def _deciding(decided: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that decide something."""
    names = [column.name for column in decision_columns(decided.columns)]
    return decided.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in names))


def _bars(config: RunConfig, store: Store, panel: Panel, references: Sequence[str], warmup: int) -> pl.DataFrame:
    """Return what the strategy reads."""
    bars = signal_bars(
        store,
        panel.venue,
        config.data.symbols,
        str(config.data.timeframe),
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
    for symbol in panel.traded_symbols:
        for key in store.keys(panel.venue, symbol, "trade"):
            span = store.span(key)
            if span is not None and span[0] < panel.start:
                return True
    return False


def _replayed(bars: pl.DataFrame, clock: SignalClock) -> NDArray[np.bool_]:
    """Return which rows are decided on: not those of the warm-up, in a hole, or before their symbol joins."""
    places = {name: i for i, name in enumerate(clock.symbols)}
    symbol = bars["symbol"].replace_strict(places, return_dtype=pl.Int64).to_numpy()
    return clock.is_replayed(bars["open_time"].dt.epoch("ms").to_numpy(), symbol)


def bars_frame(
    panel: Panel, decisions: Decisions, signal_ms: int | None, funding_rate: NDArray[np.float64]
) -> pl.DataFrame:
    """Return the replayed bars, long: one row a bar and listed symbol.

    ``funding_rate``, of shape (symbols, bars), is what settled in each bar, held or not; NaN where nothing did.

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
        columns["funding_rate"] = funding_rate[i]
        frame = pl.DataFrame({"open_time": times(panel.open_time[listed])}).with_columns(
            pl.lit(symbol).alias("symbol"),
            *(pl.Series(name, values[listed]).fill_nan(None) for name, values in columns.items()),
        )
        frames.append(frame)
    bars = pl.concat(frames)
    if panel.index is None and decisions.bars is not None and decisions.bars["index_close"].count():
        seen = decisions.bars.select("open_time", "symbol", pl.col("index_close").alias("seen"))
        if signal_ms is not None:
            seen = seen.with_columns(_last_opens(panel, seen["open_time"], signal_ms))
        bars = bars.join(seen, on=("open_time", "symbol"), how="left", maintain_order="left")
        bars = bars.with_columns(pl.col("seen").alias("index_close")).drop("seen")
    return bars


def _last_opens(panel: Panel, opened: pl.Series, signal_ms: int) -> pl.Series:
    """Return the open of the last replayed bar inside each signal bar: both close together."""
    place = np.searchsorted(panel.open_time, opened.dt.epoch("ms").to_numpy() + signal_ms, side="left") - 1
    return times(panel.open_time[np.maximum(place, 0)]).alias("open_time")


def _coarse_factor(panel: Panel) -> NDArray[np.float64] | None:
    """Return mark over trade at the mark bar's open for every bar, None where both stand on one grid."""
    if panel.mark_timeframe_ms == panel.timeframe_ms:
        return None
    place = np.searchsorted(panel.mark_open_time, panel.open_time, side="right") - 1
    first = np.searchsorted(panel.open_time, panel.mark_open_time[place])
    factor: NDArray[np.float64] = panel.mark.open[:, place] / panel.trade.open[:, first]
    return factor


def _row(panel: Panel, i: int) -> NDArray[np.float64]:
    """Return a symbol's volumes, NaN where it has none."""
    return np.full(panel.open_time.size, np.nan) if panel.volume is None else panel.volume[i]


def _index(panel: Panel, i: int) -> NDArray[np.float64]:
    """Return a symbol's index closes, NaN where it has none."""
    return np.full(panel.open_time.size, np.nan) if panel.index is None else panel.index.close[i]


def dataset_keys(store: Store, panel: Panel, signal_ms: int, references: Sequence[str]) -> list[DatasetKey]:
    """Return the stored datasets that the run reads or may read, of the symbols that were traded or read."""
    found: dict[DatasetKey, None] = {}
    for symbol in dict.fromkeys((*panel.symbols, *references)):
        keys = store.keys(panel.venue, symbol)
        found |= dict.fromkeys(key for key in keys if _is_read(store, panel, signal_ms, key))
    return list(found)


def _is_read(store: Store, panel: Panel, signal_ms: int, key: DatasetKey) -> bool:
    """Return whether bars of the run's timeframes come from a dataset; what has no timeframe is always read."""
    if key.timeframe == "event":
        return True
    stored = stored_timeframes(store, key.venue, key.symbol, key.series)
    steps = {panel.timeframe_ms, signal_ms, *((panel.mark_timeframe_ms,) if key.series == "mark" else ())}
    sources = [bar_source(store, key.venue, key.symbol, key.series, step) for step in steps]
    used = {source.stored_ms for source in sources if source is not None}
    return timeframe_ms(key.timeframe) in (used or stored)  # a series that is only coarser may be read too

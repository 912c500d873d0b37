"""One run: resolve, load, decide, replay, check."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
import polars as pl

from backtester.domain.config import RunConfig
from backtester.domain.enums import ContractKind, MarginMode
from backtester.engine import frames
from backtester.engine.decisions import Decisions, bars_frame, dataset_keys, decide, find_strategy, read_decisions
from backtester.engine.identities import Books, check_identities
from backtester.engine.instructions import Instructions, TargetRows
from backtester.engine.manifest import Phases, combined_hash, file_sha256, sha256, timestamp, versions
from backtester.engine.notices import collect_notices, data_notices, stop_notices
from backtester.engine.own_fills import AccountTerms, read_own_fills, symbols_of
from backtester.engine.prepare import ContractTerms, Prepared, prepare
from backtester.engine.prepare import TargetRows as KernelTargets
from backtester.engine.replay import ReplayRecords
from backtester.engine.replay import replay as replay_prepared
from backtester.engine.resolve import ResolvedRun, known_pack, resolve
from backtester.engine.result import Notice, Result
from backtester.engine.run_file import config_text, parse_time
from backtester.errors import DataError, InternalError, UsageError
from backtester.market.panel import Panel, load_panel
from backtester.market.schema import timeframe_ms, timeframe_name
from backtester.market.series import check_symbols, held_venues, trade_source
from backtester.market.store import Store
from backtester.strategy import Strategy

SYNTHETIC_VENUE = "synthetic"

Progress = Callable[[str, float | None], None]
"""Called with what is being done and, where it is known, how much of that is done [fraction]."""


def silent(phase: str, done: float | None = None) -> None:
    """Show no progress."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a replay is made from."""

    panel: Panel
    resolved: ResolvedRun
    decisions: Decisions
    instructions: Instructions


@dataclass(frozen=True, eq=False)
class Replayed(Inputs):
    """A run before its records become frames."""

    prepared: Prepared
    records: ReplayRecords


def execute(
    config: RunConfig,
    store: Store,
    *,
    strategy: Strategy | None = None,
    folders: Sequence[Path] = (),
    extra_notices: Sequence[Notice] = (),
    progress: Progress = silent,
) -> Result:
    """Run a configuration.

    Parameters
    ----------
    config : RunConfig
        As read; what is None is filled from the store and the venue's rules.
    store : Store
        Market data.
    strategy : Strategy, optional
        An instance to run instead of the one that the configuration names.
    folders : sequence of Path
        Where strategies are looked for before the bundled ones.
    extra_notices : sequence of Notice
        Told first among the assumptions.
    progress : callable
        Called with each phase.

    Returns
    -------
    Result
        With every record and without summary and trades, which the analysis fills in.

    Raises
    ------
    BacktesterError
        The data, the account or the strategy are refused; ``InternalError`` when an identity of the accounting fails.
    """
    result, _ = execute_kept(
        config, store, strategy=strategy, folders=folders, extra_notices=extra_notices, progress=progress
    )
    return result


def execute_kept(
    config: RunConfig,
    store: Store,
    *,
    strategy: Strategy | None = None,
    folders: Sequence[Path] = (),
    extra_notices: Sequence[Notice] = (),
    progress: Progress = silent,
) -> tuple[Result, Replayed]:
    """Run a configuration as `execute` does, and return what it was replayed from too, to replay it otherwise."""
    phases = Phases()
    _refuse_two_sources(config, strategy)
    chosen: tuple[Notice, ...] = ()
    if strategy is None and config.strategy.signals is None and config.strategy.fills is None:
        strategy, chosen = find_strategy(config, folders)
    progress("Loading the market data", None)
    with phases.timed("load"):
        config, told = with_timeframe(config, store)
        panel = _panel(config, store)
        resolved = resolve(config, store_lookup=store, start=panel.start, end=panel.end)
    progress("Deciding", None)
    with phases.timed("decide"):
        decisions, instructions = _decided(strategy, resolved, store, panel)
    with phases.timed("replay"):
        replayed = replay_inputs(Inputs(panel, resolved, decisions, instructions), progress)
    progress("Checking the books", None)
    with phases.timed("check"):
        deviations = check_books(replayed)
    with phases.timed("records"):
        result = _result(replayed, store, (*chosen, *told, *extra_notices))
    manifest = {**result.manifest, "identities": deviations, "seconds": phases.seconds}
    return replace(result, manifest=manifest), replayed


def _refuse_two_sources(config: RunConfig, strategy: Strategy | None) -> None:
    """Refuse trades beside anything else that would trade."""
    others = (strategy, config.strategy.name, config.strategy.signals)
    if config.strategy.fills is not None and any(other is not None for other in others):
        raise UsageError("A file of trades is given beside a strategy or signals.", "Give one of the two.")


def _decided(
    strategy: Strategy | None, resolved: ResolvedRun, store: Store, panel: Panel
) -> tuple[Decisions, Instructions]:
    """Return what is traded on and how the replay is told of it: by a strategy, a file of signals or one of trades."""
    config = resolved.config
    if strategy is None and config.strategy.fills is not None:
        terms = AccountTerms(resolved.instruments, resolved.settle, config.account.position_mode == "hedge")
        given, own_fills = read_own_fills(Path(config.strategy.fills), panel, terms)
        return given, Instructions(own_fills=own_fills)
    if strategy is not None:
        decisions = decide(strategy, config, store, panel)
    else:
        decisions = read_decisions(Path(str(config.strategy.signals)), panel)
    return decisions, Instructions(targets=_target_rows(decisions.targets, panel))


def replay_inputs(inputs: Inputs, progress: Progress = silent) -> Replayed:
    """Replay what a run is made from; the same inputs may be replayed again, changed in part."""
    resolved, told = inputs.resolved, inputs.instructions
    if told.own_fills.time.size:  # goes, with the next line, once `prepare` takes the instructions
        raise InternalError("This replay does not book trades that are given.")
    rows = KernelTargets(told.targets.bar, told.targets.symbol, told.targets.target)
    prepared = prepare(inputs.panel, _terms(resolved), resolved.config, rows)
    records = replay_prepared(prepared, lambda done, of: progress("Replaying", done / of))
    return Replayed(inputs.panel, resolved, inputs.decisions, told, prepared, records)


def other_result(base: Result, run: Replayed) -> Result:
    """Return the records of a run that was replayed otherwise, beside what it shares with the first one.

    Parameters
    ----------
    base : Result
        The run as it was configured.
    run : Replayed
        The same decisions under other assumptions.

    Returns
    -------
    Result
        For figures, not to be written: name, notices and manifest are those of ``base``.
    """
    empty = pl.DataFrame()
    return replace(
        base,
        config=run.resolved.config,
        counts=run.records.counts,
        trades=empty,
        assumptions=empty,
        summary={},
        **_record_frames(run),
    )


def with_timeframe(config: RunConfig, store: Store) -> tuple[RunConfig, tuple[Notice, ...]]:
    """Return the configuration with venue, symbols and timeframe, and what was chosen for what was left out.

    The venue is the only one stored, else the made-up one; the symbols are all of the venue that have traded bars; the
    timeframe is the coarsest stored for all of them.
    """
    data, told = config.data, []
    if "venue" not in data.model_fields_set:
        venue, text = _venue(store)
        data = data.model_copy(update={"venue": venue})
        told.append(Notice("venue_chosen", "assumption", text))
    venue = known_pack(data.venue, store)[0].name
    if not data.symbols and config.strategy.fills is not None:
        named = symbols_of(Path(config.strategy.fills), store.symbols(venue))
        data = data.model_copy(update={"symbols": named})
        text = f"No symbols were named: those of the trades ({', '.join(named)})."
        told.append(Notice("symbols_chosen", "assumption", text))
    if not data.symbols:
        data = data.model_copy(update={"symbols": tuple(store.symbols(venue))})
        if not data.symbols:
            raise DataError(
                f"{venue} trade",
                f"the store {store.root} holds no contract of this venue",
                hint=held_venues(store.venues("trade")),
            )
        text = f"No symbols were named: all {len(data.symbols)} of {venue} are traded ({', '.join(data.symbols)})."
        told.append(Notice("symbols_chosen", "assumption", text))
    if data.timeframe is None:
        check_symbols(store, venue, data.symbols)
        data = data.model_copy(update={"timeframe": _coarsest(store, venue, data.symbols)})
        text = f"No timeframe was named: {data.timeframe}, the coarsest that is stored."
        told.append(Notice("timeframe_chosen", "assumption", text))
    return config.model_copy(update={"data": data}), tuple(told)


def _venue(store: Store) -> tuple[str, str]:
    """Return the venue of a run that names none, and how it was chosen."""
    stored = store.venues("trade")
    if len(stored) > 1 and SYNTHETIC_VENUE not in stored:
        raise UsageError(f"No venue is named, and the store holds {len(stored)}.", held_venues(stored))
    venue = stored[0] if len(stored) == 1 else SYNTHETIC_VENUE
    others = ", ".join(name for name in stored if name != venue)
    reason = f"the made-up one; the store also holds {others}" if others else "the only one stored"
    return venue, f"No venue was named: {venue}, {reason if stored else 'the made-up one'}."


def _coarsest(store: Store, venue: str, symbols: Sequence[str]) -> str:
    """Return the coarsest timeframe at which the trades of all symbols are stored."""
    stored = [{key.timeframe for key in store.keys(venue, symbol, "trade")} for symbol in symbols]
    shared = set.intersection(*stored)
    if not shared:
        bare = [symbol for symbol, found in zip(symbols, stored, strict=True) if not found]
        problem = f"no traded bars of {bare[0]} are stored" if bare else "no timeframe is stored for all of the symbols"
        raise DataError(f"{venue} trade", problem, hint="See `backtester data list`, or name one with --timeframe.")
    return max(shared, key=timeframe_ms)


def _panel(config: RunConfig, store: Store) -> Panel:
    """Return the market data of a configuration whose symbols and timeframe are known."""
    data = config.data
    start = None if data.start is None else parse_time(data.start, "data.start")
    end = None if data.end is None else parse_time(data.end, "data.end")
    if start is not None and end is not None and end <= start:
        raise UsageError(
            f"The range is empty: it starts at {data.start} and ends at {data.end}.", "The end is excluded."
        )
    pack, _ = known_pack(data.venue, store)
    rules = pack.rules_at(np.inf if start is None else start)
    valued_at_index = (config.funding.price or rules.funding_price) == "index" and config.funding.source != "none"
    return load_panel(
        store,
        pack.name,
        data.symbols,
        str(data.timeframe),
        start,
        end,
        mark=data.mark,
        mark_timeframe=data.mark_timeframe,
        allow_gaps=data.allow_gaps,
        funding=config.funding.source == "history",
        index=valued_at_index,
    )


def _terms(resolved: ResolvedRun) -> list[ContractTerms]:
    """Return each contract with the account's settings on it."""
    config = resolved.config
    return [
        ContractTerms(
            instrument=resolved.instruments[symbol],
            tables=resolved.tiers[symbol],
            margin_mode=MarginMode[config.account.margin_mode.upper()],
            leverage=config.account.leverage,
            taker_fee=resolved.instruments[symbol].taker_fee or 0.0,
            slippage=config.execution.slippage_bps * 1e-4,
            close_fee=resolved.close_fees[symbol],
        )
        for symbol in resolved.symbols
    ]


def _target_rows(targets: pl.DataFrame, panel: Panel) -> TargetRows:
    """Return targets by bar, then symbol, as the kernel reads them."""
    symbol = targets["symbol"].replace_strict({name: i for i, name in enumerate(panel.symbols)}, return_dtype=pl.Int64)
    places = symbol.to_numpy()
    bar = np.searchsorted(panel.open_time, targets["open_time"].dt.epoch("ms").to_numpy()).astype(np.int64)
    order = np.lexsort((places, bar))
    return TargetRows(
        bar[order], places[order].astype(np.int64), targets["target"].to_numpy()[order].astype(np.float64)
    )


def check_books(run: Replayed) -> dict[str, float]:
    """Check the identities of the accounting and return the largest deviations."""
    records, market = run.records, run.prepared.market
    return check_identities(
        Books(
            initial_balance=run.resolved.config.account.balance,
            takeover_at_mark=run.resolved.config.liquidation.takeover == "bankruptcy",
            symbols=run.panel.symbols,
            inverse=[run.resolved.instruments[s].kind is ContractKind.INVERSE for s in run.panel.symbols],
            close_time=market.open_time[1:],
            mark_value=market.mark_close,
            equity=records.equity,
            wallet=records.wallet,
            fills=records.fills,
            funding=records.funding,
            liquidations=records.liquidations,
            ledger=records.ledger,
            positions=records.positions,
        )
    )


def _result(run: Replayed, store: Store, told: Sequence[Notice]) -> Result:
    """Return the records as frames, with what must be told and what the run was made of."""
    records, panel, decisions = run.records, run.panel, run.decisions
    config = _final_config(run)
    records_frames = _record_frames(run)
    moment = timestamp()
    datasets = dataset_keys(store, panel, decisions.references)
    hashes: dict[str, object] = {
        "config": sha256(config_text(_without_paths(config, run.resolved.venue))),
        "strategy": sha256(decisions.source),
        "data": {str(key): store.fingerprint(key) for key in datasets},
    }
    targets = decisions.targets
    for name, feature in config.data.features.items():
        hashes[f"feature {name}"] = file_sha256(Path(feature.path))
    if config.data.venue.endswith(".toml"):
        hashes["venue"] = file_sha256(Path(config.data.venue))
    if config.strategy.signals is not None:
        hashes["signals"] = sha256(targets.write_csv())
    if config.strategy.fills is not None:
        hashes["fills"] = file_sha256(Path(config.strategy.fills))
    digest = combined_hash(hashes)
    synthetic = run.resolved.venue == SYNTHETIC_VENUE
    equity = records_frames["equity"]
    sources = [trade_source(store, panel.venue, symbol, panel.timeframe_ms) for symbol in panel.symbols]
    data_notes = data_notices(panel.notes, (panel.start, panel.end), [(s.first, s.end) for s in sources])
    return Result(
        run_id=f"{moment:%Y%m%d-%H%M%S}-{_file_name(decisions.name)}-{digest[:8]}",
        config=config,
        symbols=panel.symbols,
        timeframe_ms=panel.timeframe_ms,
        settle=run.resolved.settle,
        synthetic=synthetic,
        **records_frames,
        targets=targets,
        bars=bars_frame(panel, decisions),
        counts=records.counts,
        notices=collect_notices(
            config,
            records.counts,
            records_frames["orders"],
            equity,
            [
                *stop_notices(config, records_frames["liquidations"], equity),
                *told,
                *data_notes,
                *run.resolved.notices,
                *decisions.notices,
            ],
            synthetic=synthetic,
        ),
        manifest={
            "created": moment.isoformat(),
            "hashes": {**hashes, "all": digest},
            "seed": None,
            "versions": versions(),
            "mark_resolution": timeframe_name(panel.mark_timeframe_ms),
        },
        strategy_name=decisions.name,
        strategy_source=decisions.source,
    )


class RecordFrames(TypedDict):
    """The records of a replay as frames, by the names that a result has for them."""

    equity: pl.DataFrame
    fills: pl.DataFrame
    funding: pl.DataFrame
    liquidations: pl.DataFrame
    ledger: pl.DataFrame
    positions: pl.DataFrame
    orders: pl.DataFrame


def _record_frames(run: Replayed) -> RecordFrames:
    """Return the records of a replay as frames, by the names that a result has for them."""
    records, symbols = run.records, run.panel.symbols
    return {
        "equity": _equity_frame(run),
        "fills": frames.fills_frame(records.fills, symbols),
        "funding": frames.funding_frame(records.funding, symbols),
        "liquidations": frames.liquidations_frame(records.liquidations, symbols),
        "ledger": frames.ledger_frame(records.ledger, symbols, run.resolved.settle),
        "positions": frames.positions_frame(records.positions, symbols),
        "orders": frames.orders_frame(records.orders, symbols),
    }


def _file_name(name: str) -> str:
    """Return a name as a folder can have it: a file of signals may be called anything."""
    return re.sub(r"[^\w.-]+", "-", name)[:60]


def _final_config(run: Replayed) -> RunConfig:
    """Return the resolved configuration with every parameter and the tiers that the run states itself."""
    config = run.resolved.config
    strategy = config.strategy
    if strategy.fills is not None:
        strategy = strategy.model_copy(update={"fills": _absolute(strategy.fills)})
    elif strategy.signals is None:
        strategy = strategy.model_copy(update={"name": run.decisions.name, "params": run.decisions.params})
    else:
        strategy = strategy.model_copy(update={"signals": _absolute(strategy.signals)})
    features = {
        name: feature.model_copy(update={"path": _absolute(feature.path)})
        for name, feature in config.data.features.items()
    }
    venue = _absolute(config.data.venue) if config.data.venue.endswith(".toml") else config.data.venue
    data = config.data.model_copy(update={"features": features, "venue": venue})
    return config.model_copy(update={"data": data, "strategy": strategy})


def _absolute(path: str) -> str:
    """Return a path that means the same file from any folder."""
    return str(Path(path).resolve())


def _without_paths(config: RunConfig, venue: str) -> RunConfig:
    """Return a configuration whose hash does not depend on where files lie: their content is hashed by itself."""
    features = {name: feature.model_copy(update={"path": name}) for name, feature in config.data.features.items()}
    data = config.data.model_copy(update={"features": features, "venue": venue})
    signals = None if config.strategy.signals is None else "signals"
    fills = None if config.strategy.fills is None else "fills"
    strategy = config.strategy.model_copy(update={"signals": signals, "fills": fills})
    return config.model_copy(update={"data": data, "strategy": strategy})


def _equity_frame(run: Replayed) -> pl.DataFrame:
    """Return what holds at each bar's close."""
    records, open_time = run.records, run.prepared.market.open_time
    return pl.DataFrame(
        {
            "open_time": frames.times(open_time[:-1]),
            "close_time": frames.times(open_time[1:]),
            "equity": records.equity,
            "wallet_balance": records.wallet,
            "margin_balance": records.equity,
            "maintenance_margin": records.maintenance,
            "margin_ratio": records.margin_ratio,
            "gross_exposure": pl.Series(records.gross_exposure).fill_nan(None),
            "net_exposure": pl.Series(records.net_exposure).fill_nan(None),
            "drawdown": records.drawdown,
        }
    )

"""A finished replay as a result: frames, what must be told, what the run was made of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.domain.config import RunConfig
from backtester.engine import frames
from backtester.engine.decisions import Decisions, bars_frame, dataset_keys
from backtester.engine.effect_notices import idle_notices
from backtester.engine.instructions import Instructions
from backtester.engine.manifest import combined_hash, file_sha256, sha256, timestamp, versions
from backtester.engine.notices import collect_notices, data_notices, stop_notices
from backtester.engine.prepare import Prepared
from backtester.engine.replay import ReplayRecords
from backtester.engine.resolve import ResolvedRun
from backtester.engine.result import Notice, Result
from backtester.engine.run_file import config_text
from backtester.engine.venue_notices import venue_notices
from backtester.market.panel import Panel
from backtester.market.schema import timeframe_ms, timeframe_name
from backtester.market.series import SYNTHETIC_VENUE, trade_source
from backtester.market.store import Store


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


class RecordFrames(TypedDict):
    """The records of a replay as frames, by the names that a result has for them."""

    equity: pl.DataFrame
    fills: pl.DataFrame
    funding: pl.DataFrame
    liquidations: pl.DataFrame
    ledger: pl.DataFrame
    positions: pl.DataFrame
    orders: pl.DataFrame


def record_frames(run: Replayed) -> RecordFrames:
    """Return the records of a replay as frames, by the names that a result has for them."""
    records, symbols = run.records, run.panel.symbols
    hedged = run.resolved.config.account.position_mode == "hedge"
    return {
        "equity": _equity_frame(run),
        "fills": frames.fills_frame(records.fills, symbols),
        "funding": frames.funding_frame(records.funding, symbols),
        "liquidations": frames.liquidations_frame(records.liquidations, symbols),
        "ledger": frames.ledger_frame(records.ledger, symbols, run.resolved.settle),
        "positions": frames.positions_frame(records.positions, symbols, hedged=hedged),
        "orders": frames.orders_frame(records.orders, symbols),
    }


def assembled(run: Replayed, store: Store, told: Sequence[Notice]) -> Result:
    """Return a replayed run as a result, without summary and trades.

    Parameters
    ----------
    run : Replayed
        The run.
    store : Store
        Whose fingerprints stand in the manifest.
    told : sequence of Notice
        What was chosen and assumed before the replay.
    """
    records, panel, decisions = run.records, run.panel, run.decisions
    config = _final_config(run)
    shown = record_frames(run)
    moment = timestamp()
    hashes = _hashes(run, config, store)
    digest = combined_hash(hashes)
    synthetic = run.resolved.venue == SYNTHETIC_VENUE
    sources = [trade_source(store, panel.venue, symbol, panel.timeframe_ms) for symbol in panel.traded_symbols]
    data_notes = data_notices(panel.notes, (panel.start, panel.end), [(s.first, s.end) for s in sources])
    notices = [
        *idle_notices(decisions, panel.traded_symbols, shown["orders"], shown["fills"]),
        *stop_notices(config, shown["liquidations"], shown["equity"]),
        *venue_notices(records.counts, shown["fills"], shown["ledger"], run.resolved.settle),
        *told,
        *data_notes,
        *run.resolved.notices,
        *decisions.notices,
    ]
    return Result(
        run_id=f"{moment:%Y%m%d-%H%M%S}-{_file_name(decisions.name)}-{digest[:8]}",
        config=config,
        symbols=panel.symbols,
        timeframe_ms=panel.timeframe_ms,
        settle=run.resolved.settle,
        synthetic=synthetic,
        **shown,
        targets=decisions.targets,
        bars=bars_frame(panel, decisions, run.instructions.signal_ms, _settled_rates(run)),
        counts=records.counts,
        notices=collect_notices(
            config,
            records.counts,
            shown["orders"],
            shown["equity"],
            notices,
            fills=shown["fills"],
            ledger=shown["ledger"],
            synthetic=synthetic,
        ),
        manifest={
            "created": moment.isoformat(),
            "hashes": {**hashes, "all": digest},
            "seed": None,
            "versions": versions(),
            "mark_resolution": timeframe_name(panel.mark_timeframe_ms),
            "decision_bar": str(config.data.timeframe),
            "replay_bar": timeframe_name(panel.timeframe_ms),
        },
        strategy_name=decisions.name,
        strategy_source=decisions.source,
    )


def _hashes(run: Replayed, config: RunConfig, store: Store) -> dict[str, object]:
    """Return the hash of everything that determines the run."""
    decisions = run.decisions
    read = (*decisions.references, *(row.symbol for row in run.resolved.collateral))
    datasets = dataset_keys(store, run.panel, timeframe_ms(str(config.data.timeframe)), read)
    hashes: dict[str, object] = {
        "config": sha256(config_text(_without_paths(config, run.resolved.venue))),
        "strategy": sha256(decisions.source),
        "data": {str(key): store.fingerprint(key) for key in datasets},
    }
    for name, feature in config.data.features.items():
        hashes[f"feature {name}"] = file_sha256(Path(feature.path))
    if config.clearing is not None and config.clearing.file is not None:
        hashes["clearing accounts"] = file_sha256(Path(config.clearing.file))
    if config.data.venue.endswith(".toml"):
        hashes["venue"] = file_sha256(Path(config.data.venue))
    if config.strategy.signals is not None:
        hashes["signals"] = sha256(decisions.targets.write_csv())
    if config.strategy.fills is not None:
        hashes["fills"] = file_sha256(Path(config.strategy.fills))
    return hashes


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
    clearing = config.clearing
    if clearing is not None and clearing.file is not None:
        clearing = clearing.model_copy(update={"file": _absolute(clearing.file)})
    return config.model_copy(update={"data": data, "strategy": strategy, "clearing": clearing})


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
    clearing = config.clearing
    if clearing is not None and clearing.file is not None:
        clearing = clearing.model_copy(update={"file": "accounts"})
    return config.model_copy(update={"data": data, "strategy": strategy, "clearing": clearing})


def _settled_rates(run: Replayed) -> NDArray[np.float64]:
    """Return the sum of the rates that settled in each bar, shape (symbols, bars); NaN where none did."""
    settled = run.prepared.schedule.settlements
    rates = np.full((len(run.panel.symbols), run.prepared.bars), np.nan)
    for i, slot in enumerate(run.prepared.setup.slots[:, 0]):
        own = settled[settled["symbol"] == slot]
        rates[i, own["bar"]] = 0.0
        np.add.at(rates[i], own["bar"], own["rate"])
    return rates


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

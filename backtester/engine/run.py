"""One run: resolve, load, decide, replay, check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.domain.config import RunConfig
from backtester.domain.enums import ContractKind
from backtester.engine.assembly import Inputs, Replayed, assembled, record_frames
from backtester.engine.collateral import CollateralRow
from backtester.engine.contract_terms import ContractTerms
from backtester.engine.decisions import Decisions, decide, find_strategy, instructions_for, read_decisions
from backtester.engine.detail import detail_notices, with_detail
from backtester.engine.effect_notices import effect_notices
from backtester.engine.frames import times
from backtester.engine.identities import Books, check_identities
from backtester.engine.instructions import Instructions, VenueEvents
from backtester.engine.loop_inputs import has_failed, unexplained_failure
from backtester.engine.manifest import Phases
from backtester.engine.own_fills import AccountTerms, read_own_fills, symbols_of
from backtester.engine.prepare import Prepared, prepare
from backtester.engine.replay import ReplayRecords, compiles_first
from backtester.engine.replay import replay as replay_prepared
from backtester.engine.resolve import ResolvedRun, collateral_of, known_pack, resolve
from backtester.engine.result import Notice, Result, listed
from backtester.engine.run_checks import refuse_clashes, setting_notices
from backtester.engine.run_file import parse_time
from backtester.engine.transfers import transfers_of
from backtester.engine.venue_events import refuse_clearing, venue_events_of, with_rows
from backtester.errors import DataError, UsageError
from backtester.market.panel import Panel, load_panel
from backtester.market.schema import timeframe_ms
from backtester.market.series import SYNTHETIC_VENUE, check_symbols, default_symbols, held_venues, way_to
from backtester.market.store import Store
from backtester.strategy import Strategy
from backtester.strategy.base import kind_of

Progress = Callable[[str, float | None], None]
"""Called with what is being done and, where it is known, how much of that is done [fraction]."""


def silent(phase: str, done: float | None = None) -> None:
    """Show no progress."""


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
    striker: Striker | None = None,
) -> tuple[Result, Replayed]:
    """Run a configuration as `execute` does, and return what it was replayed from too, to replay it otherwise.

    ``striker`` replays the run where the venue's events follow from the run itself; None: they are rows, or none.
    """
    phases = Phases()
    _refuse_two_sources(config, strategy)
    config = with_rows(config)
    chosen: tuple[Notice, ...] = ()
    if strategy is None and config.strategy.signals is None and config.strategy.fills is None:
        strategy, chosen = find_strategy(config, folders)
    progress("Loading the market data", None)
    with phases.timed("load"):
        loaded = load_run(config, store, watches_index=watches_index(strategy))
        resolved, panel = loaded.resolved, loaded.panel
    progress("Deciding", None)
    with phases.timed("decide"):
        decisions, instructions = _decided(strategy, resolved, store, panel)
        moved, outside = transfers_of(resolved.config, panel.open_time)
        if striker is None:
            refuse_clearing(resolved.config)
        events, beside = venue_events_of(resolved.config, panel, resolved.instruments)
        instructions = replace(instructions, transfers=moved, venue_events=events)
    refuse_clashes(resolved, decisions)
    with phases.timed("replay"):
        struck = (striker or strike_by_rows)(Inputs(panel, resolved, decisions, instructions), progress)
        replayed = struck.replayed
    progress("Checking the books", None)
    with phases.timed("check"):
        deviations = check_books(replayed)
    with phases.timed("records"):
        settings = (*effect_notices(loaded.config, resolved, decisions), *setting_notices(resolved, panel))
        finer = detail_notices(resolved.config, store, panel)
        told = (*chosen, *loaded.told, *extra_notices, *outside, *beside, *struck.told, *settings, *finer)
        result = assembled(replayed, store, told)
    manifest = {**result.manifest, **struck.manifest, "identities": deviations, "seconds": phases.seconds}
    return replace(result, manifest=manifest, clearing=struck.clearing, unstruck=_unstruck(struck)), replayed


@dataclass(frozen=True, eq=False)
class Loaded:
    """The market and the account's terms of a configuration, before anything is decided.

    Attributes
    ----------
    config : RunConfig
        With venue, symbols, timeframe and detail, the rest as it was given.
    panel : Panel
        The bars that are replayed.
    resolved : ResolvedRun
        The configuration with nothing left to defaults, and what the account trades.
    told : tuple of Notice
        What was chosen for what was left out.
    """

    config: RunConfig
    panel: Panel
    resolved: ResolvedRun
    told: tuple[Notice, ...] = ()


def load_run(config: RunConfig, store: Store, *, watches_index: bool = False, panel: Panel | None = None) -> Loaded:
    """Return the market data of a configuration and what the account's terms are there.

    Parameters
    ----------
    config : RunConfig
        As read; what is None is filled from the store and the venue's rules.
    store : Store
        Market data.
    watches_index : bool
        Ask for index bars: a loop that reads the index may give orders that watch it.
    panel : Panel, optional
        The market data, of a configuration that reads the same; None: loaded here.
    """
    config, told = with_timeframe(config, store)
    config = with_detail(config, store)
    collateral = collateral_of(config, store)
    if panel is None:
        panel = _panel(config, store, collateral, watches_index=watches_index)
    resolved = resolve(config, store_lookup=store, start=panel.start, end=panel.end, collateral=collateral)
    return Loaded(config, panel, resolved, told)


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
        decisions = decide(strategy, resolved, store, panel)
    else:
        decisions = read_decisions(Path(str(config.strategy.signals)), config, store, panel)
    return decisions, instructions_for(decisions, config, store, panel)


def replay_inputs(inputs: Inputs, progress: Progress = silent) -> Replayed:
    """Replay what a run is made from; the same inputs may be replayed again, changed in part."""
    resolved, told = inputs.resolved, inputs.instructions
    prepared = prepare(inputs.panel, contract_terms(resolved, inputs.panel), resolved.config, told)
    records = _replayed(inputs, prepared, progress)
    return Replayed(inputs.panel, resolved, inputs.decisions, told, prepared, records)


def _replayed(inputs: Inputs, prepared: Prepared, progress: Progress) -> ReplayRecords:
    """Replay; an ``on_bar`` function that raises as compiled code is called in Python, which tells where."""

    def tell(done: int, of: int) -> None:
        progress("Replaying", done / of)

    strategy, rows = inputs.decisions.loop, len(inputs.panel.symbols)
    if compiles_first(prepared, is_loop=strategy is not None):
        progress("Compiling the replay (once; the next runs start at once)", None)
    if strategy is None:
        return replay_prepared(prepared, tell)
    loop = strategy.loop(rows, compiled=inputs.resolved.config.strategy.compiled)
    records = replay_prepared(prepared, tell, loop)
    if has_failed(loop.context):
        again = prepare(
            inputs.panel,
            contract_terms(inputs.resolved, inputs.panel),
            inputs.resolved.config,
            inputs.instructions,
        )
        replay_prepared(again, tell, strategy.loop(rows, compiled=False))
        raise unexplained_failure(inputs.decisions.name)
    return records


@dataclass(frozen=True, eq=False)
class Struck:
    """A run with what the venue did to its account.

    Attributes
    ----------
    replayed : Replayed
        The run.
    without : array of float64, optional
        Equity at each close of the same run without the venue's events.
    clearing : polars.DataFrame
        As `Result` has it.
    told : tuple of Notice
        What must be told of the cleared market.
    manifest : dict
        What the run's manifest says of it.
    """

    replayed: Replayed
    without: NDArray[np.float64] | None = None
    clearing: pl.DataFrame = field(default_factory=pl.DataFrame)
    told: tuple[Notice, ...] = ()
    manifest: dict[str, object] = field(default_factory=dict)


Striker = Callable[[Inputs, Progress], Struck]


def strike_by_rows(inputs: Inputs, progress: Progress = silent) -> Struck:
    """Replay a run with the events of its rows, and a second time without where there are any."""
    replayed = replay_inputs(inputs, progress)
    if not inputs.instructions.venue_events.time.size:
        return Struck(replayed)
    spared = replace(inputs, instructions=replace(inputs.instructions, venue_events=VenueEvents()))
    return Struck(replayed, replay_inputs(spared).records.equity)


def _unstruck(struck: Struck) -> pl.DataFrame:
    """Return the equity without the venue's events as a frame, empty where there were none."""
    if struck.without is None:
        return pl.DataFrame()
    return pl.DataFrame({"open_time": times(struck.replayed.panel.open_time), "equity": struck.without})


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
        **record_frames(run),
    )


def with_timeframe(config: RunConfig, store: Store) -> tuple[RunConfig, tuple[Notice, ...]]:
    """Return the configuration with venue, symbols and timeframe, and what was chosen for what was left out.

    The venue is the only one stored, else the made-up one; the symbols are all contracts of the venue that have traded
    bars (spot pairs where there is no contract); the timeframe is the coarsest stored for all of them.
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
        text = f"No symbols were named: those of the trades ({listed(named)})."
        told.append(Notice("symbols_chosen", "assumption", text))
    if not data.symbols:
        data = data.model_copy(update={"symbols": tuple(default_symbols(store.symbols(venue)))})
        if not data.symbols:
            raise DataError(
                f"{venue} trade",
                f"the store {store.root} holds no contract of this venue",
                hint=way_to(venue, store.venues("trade")),
            )
        text = f"No symbols were named: all {len(data.symbols)} of {venue} are traded ({listed(data.symbols)})."
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


def watches_index(strategy: Strategy | None) -> bool:
    """Return whether a strategy is a loop that reads the index."""
    return strategy is not None and kind_of(type(strategy)) == "loop" and "index_close" in strategy.uses


def _panel(
    config: RunConfig, store: Store, collateral: Sequence[CollateralRow], *, watches_index: bool = False
) -> Panel:
    """Return the market data of a configuration whose symbols and timeframe are known.

    ``watches_index`` asks for index bars beside: a loop that reads the index may give orders that watch it.
    """
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
        data.detail or str(data.timeframe),
        start,
        end,
        mark=data.mark,
        mark_timeframe=data.mark_timeframe,
        allow_gaps=data.allow_gaps,
        funding=config.funding.source == "history",
        index=valued_at_index or config.execution.trigger == "index" or watches_index,
        hidden=[row.hidden_series for row in collateral if not row.is_traded],
    )


def contract_terms(resolved: ResolvedRun, panel: Panel) -> list[ContractTerms]:
    """Return each row of the panel with the account's settings on it."""
    ends = panel.last_bar.tolist() or [-1] * len(panel.symbols)
    return [
        ContractTerms(
            instrument=resolved.instruments[symbol],
            tables=resolved.tiers[symbol],
            margin_mode=resolved.margin_modes[symbol],
            leverage=resolved.leverages[symbol],
            taker_fee=resolved.instruments[symbol].taker_fee or 0.0,
            maker_fee=resolved.instruments[symbol].maker_fee or 0.0,
            slippage=resolved.config.execution.slippage_bps * 1e-4,
            close_fee=resolved.close_fees[symbol],
            haircut=resolved.haircuts.get(symbol),
            holding=resolved.holdings[symbol],
            last_bar=last if last >= 0 else None,
        )
        for symbol, last in zip(resolved.rows, ends, strict=True)
    ]


def check_books(run: Replayed) -> dict[str, float]:
    """Check the identities of the accounting and return the largest deviations."""
    records, market = run.records, run.prepared.market
    kinds = [run.resolved.instruments[symbol].kind for symbol in run.panel.symbols]
    is_hedged = run.resolved.config.account.position_mode == "hedge"
    return check_identities(
        Books(
            initial_balance=run.resolved.config.account.balance,
            takeover_at_mark=run.resolved.config.liquidation.takeover == "bankruptcy",
            symbols=run.panel.symbols,
            inverse=[kind is ContractKind.INVERSE for kind in kinds],
            close_time=market.open_time[1:],
            mark_value=market.mark_close,
            equity=records.equity,
            wallet=records.wallet,
            fills=records.fills,
            funding=records.funding,
            liquidations=records.liquidations,
            ledger=records.ledger,
            positions=records.positions,
            hedged=[is_hedged and kind is not ContractKind.SPOT for kind in kinds],
            holding=[run.resolved.holdings[symbol] for symbol in run.panel.symbols],
        )
    )

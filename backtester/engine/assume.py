"""One run under other assumptions: what it was replayed from, changed in one point at a time, replayed again.

Nothing is loaded and nothing is decided again: no assumption here changes what the strategy saw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backtester.domain.config import CostsConfig, ExecutionConfig, RunConfig
from backtester.domain.enums import TierForm, TierUnit
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.engine.assembly import Inputs, Replayed
from backtester.engine.resolve import ResolvedRun
from backtester.engine.result import Result
from backtester.engine.run import Progress, check_books, other_result, replay_inputs, silent
from backtester.errors import BacktesterError, InternalError, UsageError

LARGEST_SLIPPAGE_BPS = 5_000.0  # the replay cuts the sum of all slippage there
ABSOLUTE_UNITS = ("notional", "quantity")
"""Units of targets that do not grow with the account."""

Change = Callable[[Inputs], Inputs]


@dataclass(frozen=True)
class Assumption:
    """One point in which a run is changed.

    Attributes
    ----------
    name : str
        Stable snake_case name, for programs.
    text : str
        A few words for people.
    change : callable
        What the run is replayed from to what it is replayed from instead. It raises ``UsageError`` where the assumption
        means nothing for the run.
    """

    name: str
    text: str
    change: Change


@dataclass(frozen=True, eq=False)
class Tried:
    """What came of an assumption.

    Attributes
    ----------
    name, text : str
        Of the assumption.
    result : Result or None
        Records without figures; None where it could not be tried.
    reason : str
        Why not, in words; empty where it was tried.
    """

    name: str
    text: str
    result: Result | None
    reason: str = ""


def assumptions(config: RunConfig) -> tuple[Assumption, ...]:
    """Return the assumptions that are tried on a run, in the order in which they are shown.

    Parameters
    ----------
    config : RunConfig
        Of the run; what it does already is turned round, not tried twice.
    """
    execution = config.execution
    return (
        Assumption("mark_trade", "liquidation on the last price instead of the mark", _mark_is_trade),
        Assumption("stop_first", "inside a bar the stop comes first", _visiting("adverse")),
        Assumption("target_first", "inside a bar the target comes first", _visiting("favorable")),
        Assumption("no_funding", "no funding", _no_funding),
        Assumption("flat_tiers", "the first margin tier for every size", _flat_tiers),
        Assumption("no_fees", "no trading fees", _no_fees),
        Assumption("double_slippage", _slippage_text(config), _double_slippage),
        Assumption("fill_next_open", "fills at the next open", _filled_at("next_open"))
        if execution.fill == "close"
        else Assumption("fill_close", "fills at the close of the deciding bar", _filled_at("close")),
        Assumption("latency", "every decision one bar later", _later),
        Assumption("impact", "market impact", _impact(1)),
        Assumption("impact_10", "market impact, 10 times the balance", _impact(10)),
        Assumption("impact_100", "market impact, 100 times the balance", _impact(100)),
    )


def try_assumptions(run: Replayed, base: Result, progress: Progress = silent) -> Iterator[Tried]:
    """Replay a run under each assumption in turn.

    Parameters
    ----------
    run : Replayed
        The run, with what it was replayed from.
    base : Result
        The same run's result.
    progress : callable
        Called with each assumption and the fraction of all that is done.

    Yields
    ------
    Tried
        One for each assumption, in order.

    Raises
    ------
    InternalError
        An identity of the accounting fails in one of the replays.
    """
    inputs = Inputs(run.panel, run.resolved, run.decisions, run.instructions)
    todo = assumptions(run.resolved.config)
    for number, assumption in enumerate(todo):
        progress("Trying other assumptions", number / len(todo))
        yield _try(assumption, inputs, base)
    progress("Trying other assumptions", 1.0)


def _try(assumption: Assumption, inputs: Inputs, base: Result) -> Tried:
    """Replay under one assumption; what refuses it becomes its reason."""
    try:
        other = replay_inputs(assumption.change(inputs))
        check_books(other)
    except InternalError:
        raise
    except BacktesterError as error:
        return Tried(assumption.name, assumption.text, None, error.message)
    return Tried(assumption.name, assumption.text, other_result(base, other))


def _changed(inputs: Inputs, **sections: dict[str, Any]) -> Inputs:
    """Return inputs with keys of the configuration replaced, by section."""
    config = inputs.resolved.config
    updated = {name: getattr(config, name).model_copy(update=values) for name, values in sections.items()}
    return _resolved(inputs, config=config.model_copy(update=updated))


def _resolved(inputs: Inputs, **parts: Any) -> Inputs:
    """Return inputs with parts of the resolved run replaced."""
    resolved: ResolvedRun = replace(inputs.resolved, **parts)
    return replace(inputs, resolved=resolved)


def _mark_is_trade(inputs: Inputs) -> Inputs:
    """Judge margin on traded prices; the strategy has seen the marks that it saw."""
    panel = inputs.panel
    if panel.mark_is_trade:
        raise UsageError("The run judges margin on traded prices itself.")
    traded = replace(
        panel,
        mark=panel.trade,
        mark_open_time=panel.open_time,
        mark_timeframe_ms=panel.timeframe_ms,
        mark_is_trade=True,
    )
    return replace(_changed(inputs, data={"mark": "trade"}), panel=traded)


def _visiting(order: str) -> Change:
    """Return the change to another order in which bars visit their extremes."""

    def change(inputs: Inputs) -> Inputs:
        if inputs.resolved.config.execution.intrabar == order:
            raise UsageError("The run assumes this itself.")
        return _changed(inputs, execution={"intrabar": order})

    return change


def _no_funding(inputs: Inputs) -> Inputs:
    if inputs.resolved.config.funding.source == "none":
        raise UsageError("The run has no funding itself.")
    return _changed(inputs, funding={"source": "none"})


def _flat_tiers(inputs: Inputs) -> Inputs:
    """Let the first bracket of every table serve all sizes; tables still change at their dates."""
    if all(len(table.tiers) == 1 for tables in inputs.resolved.tiers.values() for table in tables):
        raise UsageError("Every tier table has one bracket only.")
    flat = {symbol: tuple(_flat(table) for table in tables) for symbol, tables in inputs.resolved.tiers.items()}
    return _resolved(inputs, tiers=flat)


def _flat(table: TierTable) -> TierTable:
    first = table.tiers[0]
    whole = MarginTier(
        notional_floor=0.0,
        notional_cap=math.inf,
        maintenance_margin_rate=first.maintenance_margin_rate,
        max_leverage=first.max_leverage,
    )
    update = {"tiers": (whole,), "form": TierForm.FLAT, "unit": TierUnit.NOTIONAL}
    return table.model_copy(update=update)


def _no_fees(inputs: Inputs) -> Inputs:
    """Charge no trading fee; the fee inside the liquidation test stays, since it is a rule of margin."""
    free = {"taker_fee": 0.0, "maker_fee": 0.0}
    instruments = {symbol: one.model_copy(update=free) for symbol, one in inputs.resolved.instruments.items()}
    told = inputs.instructions
    own = replace(told.own_fills, fee=np.zeros_like(told.own_fills.fee))
    without = _changed(inputs, fees={"taker": 0.0, "maker": 0.0, "tiers": ()})
    return replace(_resolved(without, instruments=instruments), instructions=replace(told, own_fills=own))


def has_slippage(execution: ExecutionConfig, costs: CostsConfig) -> bool:
    """Return whether a run's takers pay any slippage."""
    added = {
        "fixed": 0.0,
        "half_spread": costs.half_spread_bps,
        "volatility": costs.volatility_factor,
        "impact": costs.impact_factor,
    }
    return execution.slippage_bps > 0 or added[costs.slippage] > 0


def _slippage_text(config: RunConfig) -> str:
    return "twice the slippage" if has_slippage(config.execution, config.costs) else "slippage of 1 bp instead of none"


def _double_slippage(inputs: Inputs) -> Inputs:
    """Double every part of the slippage; a run without any pays one basis point."""
    _refuse_given_trades(inputs)
    execution, costs = inputs.resolved.config.execution, inputs.resolved.config.costs
    if not has_slippage(execution, costs):
        return _changed(inputs, execution={"slippage_bps": 1.0})
    doubled = {
        "half_spread_bps": min(2 * costs.half_spread_bps, LARGEST_SLIPPAGE_BPS),
        "volatility_factor": 2 * costs.volatility_factor,
        "impact_factor": 2 * costs.impact_factor,
    }
    fixed = {"slippage_bps": min(2 * execution.slippage_bps, LARGEST_SLIPPAGE_BPS)}
    return _changed(inputs, execution=fixed, costs=doubled)


def _filled_at(fill: str) -> Change:
    """Return the change to fills at the other moment; fills at the close know no latency."""

    def change(inputs: Inputs) -> Inputs:
        _refuse_given_trades(inputs)
        latency = {"latency_bars": 0, "latency_ms": 0} if fill == "close" else {}
        return _changed(inputs, execution={"fill": fill, **latency})

    return change


def _later(inputs: Inputs) -> Inputs:
    _refuse_given_trades(inputs)
    execution = inputs.resolved.config.execution
    if execution.fill == "close":
        raise UsageError("Fills at the close have no latency.")
    return _changed(inputs, execution={"latency_bars": execution.latency_bars + 1})


def _impact(times: int) -> Change:
    """Return the change to square-root impact with a multiple of the account; targets in amounts grow with it."""

    def change(inputs: Inputs) -> Inputs:
        _refuse_given_trades(inputs)
        config = inputs.resolved.config
        transfers = tuple(t.model_copy(update={"amount": t.amount * times}) for t in config.transfers)
        collateral = {
            asset: held.model_copy(update={"quantity": held.quantity * times})
            for asset, held in config.collateral.items()
        }
        grown = config.model_copy(update={"transfers": transfers, "collateral": collateral})
        larger = _changed(
            _resolved(inputs, config=grown, holdings={s: q * times for s, q in inputs.resolved.holdings.items()}),
            account={"balance": config.account.balance * times},
            costs={"slippage": "impact"},
        )
        return _scaled(larger, times)

    return change


def _scaled(inputs: Inputs, times: int) -> Inputs:
    """Return inputs whose amounts of money, and targets in amounts, are multiplied."""
    told = inputs.instructions
    transfers = replace(told.transfers, amount=told.transfers.amount * times)
    struck = replace(told.venue_events, amount=told.venue_events.amount * times)
    targets = told.targets
    if inputs.resolved.config.sizing.unit in ABSOLUTE_UNITS:
        targets = replace(targets, target=targets.target * times)
    return replace(inputs, instructions=replace(told, transfers=transfers, venue_events=struck, targets=targets))


def _refuse_given_trades(inputs: Inputs) -> None:
    """Refuse what changes orders where trades are given."""
    if inputs.instructions.own_fills.time.size:
        raise UsageError("The given trades keep their time, price and size.")

"""From a panel, contracts and instructions to what the kernel reads: the border at which its inputs are checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from backtester.domain import enums
from backtester.domain.config import RunConfig
from backtester.domain.enums import ContractKind, MarginMode, TierForm
from backtester.domain.margin_tiers import TierTable
from backtester.engine.contract_terms import ContractTerms
from backtester.engine.instructions import Instructions
from backtester.engine.market_arrays import market_arrays
from backtester.engine.schedule import Slot, schedule_of
from backtester.errors import AccountError, ConfigError, DataError
from backtester.kernel import state
from backtester.kernel.account import NO_BAR
from backtester.market.panel import Panel

DEBT_TOLERANCE = 1e-12  # of the initial balance: a margin that takes the whole wallet leaves a crumb of either sign
RING = 1 << 14  # requests of an on_bar function that can be under way
NEVER_CLOSED = -(1 << 60)
DAYS = 31  # as kernel.costs counts them
DAY_MS = 86_400_000


@dataclass(frozen=True, eq=False)
class Prepared:
    """The kernel's inputs and an account that has not traded yet."""

    setup: state.Setup
    market: state.Market
    schedule: state.Schedule
    book: state.Book
    balance: float

    @property
    def bars(self) -> int:
        """Number of bars."""
        return int(self.market.open_time.size - 1)


def prepare(panel: Panel, terms: Sequence[ContractTerms], config: RunConfig, instructions: Instructions) -> Prepared:
    """Return what the kernel replays.

    Parameters
    ----------
    panel : Panel
        Series on one clock, checked by ``load_panel``.
    terms : sequence of ContractTerms
        In the order of the panel's symbols.
    config : RunConfig
        Resolved: account, execution, costs, sizing, limits, funding and liquidation are read.
    instructions : Instructions
        Decisions on the panel's bars.

    Raises
    ------
    ConfigError
        Settings that exclude each other.
    AccountError
        A tier table leaves no margin: ``mmr + close_fee >= 1``.
    DataError
        A series that a setting needs is not there.
    """
    _check(panel, terms, config, instructions)
    signs = np.array([-1.0 if t.instrument.kind is ContractKind.INVERSE else 1.0 for t in terms])
    slots = slots_of(terms, config)
    signal_ms = instructions.signal_ms or panel.timeframe_ms
    tables, tiers, floors, starts, switches = _tier_tables(panel, terms, slots)
    schedule = schedule_of(panel, terms, slots, signs, config, instructions, switches)
    with_index = (
        config.execution.trigger == "index" or instructions.requests is not None or bool(instructions.calls.size)
    )
    market = market_arrays(panel, signs, with_index=with_index)
    widest = int((tables["stop"] - tables["start"]).max())
    per_bar = _most_per_bar(schedule.settlements["bar"]) + 2 * _most_per_bar(schedule.own_fills["bar"])
    per_bar += 2 * _most_per_bar(schedule.venue_events["bar"])
    rows = len(slots) * (16 + widest + config.execution.latency_bars) + per_bar + 16
    rules = _rules(config, rows, signal_ms, has_holdings=any(t.holding for t in terms))
    setup = state.Setup(
        rules,
        _instruments(panel, terms, slots, signs),
        tables,
        tiers,
        floors,
        _fee_tiers(config),
        _places(terms, slots),
    )
    book = _book(setup, slots, starts, config, int(panel.open_time[0]), instructions)
    return Prepared(setup, market, schedule, book, config.account.balance)


def slots_of(terms: Sequence[ContractTerms], config: RunConfig) -> tuple[Slot, ...]:
    """Return what holds one position each: contracts, or in hedge mode their legs, long first; spot has no legs."""
    is_hedged = config.account.position_mode == "hedge"
    slots = []
    for i, term in enumerate(terms):
        if is_hedged and not term.is_spot:
            slots += [Slot(i, 1), Slot(i, -1)]
        else:
            slots.append(Slot(i, 0))
    return tuple(slots)


def _check(panel: Panel, terms: Sequence[ContractTerms], config: RunConfig, instructions: Instructions) -> None:
    """Refuse settings that exclude each other, and settings without their series."""
    execution = config.execution
    at_close = execution.fill == "close"
    if at_close and (execution.latency_bars or execution.latency_ms):
        raise ConfigError(
            "execution.latency does not go with fill = 'close'.",
            "Set one of the two: a fill at the close has none.",
        )
    if at_close and (instructions.calls.size or instructions.requests is not None):
        raise ConfigError(
            "An on_bar strategy sees the close and trades after it: it does not go with fill = 'close'.",
            "Set execution.fill = 'next_open'.",
        )
    if execution.rebalance == "band" and config.sizing.unit not in ("weight", "volatility"):
        raise ConfigError(
            f"rebalance = 'band' compares exposures: it does not go with sizing.unit = '{config.sizing.unit}'.",
            "Set execution.rebalance = 'on_change', or sizing.unit = 'weight'.",
        )
    if config.account.position_mode == "hedge" and config.liquidation.hedge_tier == "gross":
        _check_gross(terms)
    if execution.trigger == "index" and panel.index is None:
        raise DataError(
            f"{panel.venue} {panel.symbols[0]} index",
            "stops are to watch the index, and there is no index series",
            hint="Import one, or set execution.trigger = 'mark'.",
        )
    if config.costs.slippage == "impact":
        for i, term in enumerate(terms):
            if panel.volume is None or bool(np.isnan(panel.volume[i]).all()):
                raise DataError(
                    f"{panel.venue} {term.instrument.symbol} trade",
                    "impact is a function of volume, and the bars have none",
                    hint="Set costs.slippage to another model.",
                )
    for i, term in enumerate(terms):
        if term.holding and not (panel.mark.open[i, 0] > 0.0):
            raise DataError(
                f"{panel.venue} {term.instrument.symbol}",
                "it is held from the start and has no price there",
                int(panel.open_time[0]),
                hint="Begin later, or leave it out of [collateral].",
            )


def _check_gross(terms: Sequence[ContractTerms]) -> None:
    """Refuse deductions where both legs choose the bracket of each: a small leg would require less than nothing."""
    for term in terms:
        if any(t.form is TierForm.PROGRESSIVE and len(t.tiers) > 1 for t in term.tables):
            raise ConfigError(
                f"liquidation.hedge_tier = 'gross' does not go with the progressive tier table of "
                f"{term.instrument.symbol}: its deductions belong to one position, not to each leg.",
                "Set liquidation.hedge_tier = 'leg', or use a flat table.",
            )


def _code(value: str, codes: type[IntEnum]) -> int:
    return int(codes[value.upper()])


def _bound(value: float | None) -> float:
    return math.inf if value is None else value


def _rules(config: RunConfig, rows: int, signal_ms: int, *, has_holdings: bool) -> NDArray[np.void]:
    execution, liquidation, limits, costs = config.execution, config.liquidation, config.limits, config.costs
    rules = np.zeros(1, state.RULES)
    unit = "weight" if config.sizing.unit == "volatility" else config.sizing.unit
    stop_limit = -1.0 if execution.stop_limit_bps is None else execution.stop_limit_bps * 1e-4
    values = {
        "band": execution.band,
        "debt": -DEBT_TOLERANCE * config.account.balance,
        "liquidation_fee": liquidation.fee or 0.0,
        "fill_at_close": int(execution.fill == "close"),
        "intrabar": _code(execution.intrabar, enums.Intrabar),
        "joint": _code(execution.joint, enums.JointPath),
        "rebalance": _code(execution.rebalance, enums.Rebalance),
        "reject": int(execution.insufficient_margin == "reject"),
        "paid_from": _code(config.funding.paid_from or "margin", enums.FundingSource),
        "takeover": _code(liquidation.takeover or "bankruptcy", enums.Takeover),
        "step": _code(liquidation.step or "none", enums.LiquidationStep),
        "step_tiers": 1 if liquidation.step_tiers is None else liquidation.step_tiers,
        "step_from_tier": (liquidation.step_from_tier or 2) - 1,
        "step_above_first": int(bool(liquidation.step_above_first)),
        "step_once": int(bool(liquidation.step_once)),
        "engine_trade": int(liquidation.engine_price == "trade"),
        "mmr_basis": _code(liquidation.mmr_basis or "mark", enums.MarginBasis),
        "close_fee_basis": _code(liquidation.close_fee_basis or "mark", enums.CloseFeeBasis),
        "stop_after": int(liquidation.then == "stop"),
        "rows_per_bar": rows,
        "sizing": _code(unit, enums.SizingUnit),
        "hedge_gross": int(liquidation.hedge_tier == "gross"),
        "signal_ms": signal_ms,
        "limit_bars": execution.limit_bars,
        "post_only": int(execution.post_only),
        "through_ticks": execution.through_ticks,
        "volume_share": _bound(execution.volume_share),
        "trigger": _code(execution.trigger, enums.TriggerPrice),
        "take_profit_limit": int(execution.take_profit == "limit"),
        "stop_limit": stop_limit,
        "gross_limit": _bound(limits.gross),
        "net_limit": _bound(limits.net),
        "symbol_limit": _bound(limits.per_symbol),
        "has_limits": int(any(v is not None for v in (limits.gross, limits.net, limits.per_symbol))),
        "drawdown_stop": limits.max_drawdown_stop or 0.0,
        "slippage_model": _code(costs.slippage, enums.SlippageModel),
        "half_spread": costs.half_spread_bps * 1e-4,
        "volatility_factor": costs.volatility_factor,
        "impact_factor": costs.impact_factor,
        "cost_window": costs.window,
        "has_holdings": int(has_holdings),
    }
    for key, value in values.items():
        rules[0][key] = value
    return rules


def _fee_tiers(config: RunConfig) -> NDArray[np.void]:
    tiers = sorted(config.fees.tiers, key=lambda t: t.volume)
    return np.array([(t.volume, t.taker, t.maker) for t in tiers], state.FEE_TIER)


def _fraction(*factors: float | None) -> tuple[float, float]:
    """Return a product as a fraction of whole numbers, which count steps exactly; (0, 1) where a factor is none."""
    product = Decimal(1)
    for factor in factors:
        if factor is None or factor == 0:
            return 0.0, 1.0
        product *= Decimal(repr(factor))
    numerator, denominator = product.as_integer_ratio()
    return float(numerator), float(denominator)


def _instruments(
    panel: Panel, terms: Sequence[ContractTerms], slots: Sequence[Slot], signs: NDArray[np.float64]
) -> NDArray[np.void]:
    rows = np.zeros(len(slots), state.INSTRUMENT)
    for k, slot in enumerate(slots):
        term = terms[slot.symbol]
        instrument = term.instrument
        numerator, denominator = _fraction(instrument.lot, instrument.contract_size)
        tick_num, tick_den = _fraction(instrument.tick)
        has_volume = panel.volume is not None and not bool(np.isnan(panel.volume[slot.symbol]).all())
        values = {
            "row": slot.symbol,
            "leg": slot.leg,
            "only_side": 1 if term.is_spot else slot.leg,
            "sibling": k + slot.leg if slot.leg else state.NONE,
            "is_spot": int(term.is_spot),
            "weight": 1.0 - term.haircut if term.is_spot and term.haircut is not None else 0.0,
            "holding": term.holding,
            "sign": signs[slot.symbol],
            "contract_size": instrument.contract_size,
            "step_num": numerator,
            "step_den": denominator,
            "tick_num": tick_num,
            "tick_den": tick_den,
            "min_quantity": instrument.min_quantity or 0.0,
            "min_notional": instrument.min_notional or 0.0,
            "leverage": 1.0 if term.is_spot else term.leverage,
            "taker_fee": term.taker_fee,
            "maker_fee": term.maker_fee,
            "slippage": term.slippage,
            "close_fee": 0.0 if term.is_spot else term.close_fee,
            "margin_mode": int(MarginMode.ISOLATED if term.is_spot else term.margin_mode),
            "has_volume": int(has_volume),
        }
        for key, value in values.items():
            rows[k][key] = value
    return rows


def _places(terms: Sequence[ContractTerms], slots: Sequence[Slot]) -> NDArray[np.int64]:
    """Return the slots of each contract's long (or only) and short leg."""
    places = np.zeros((len(terms), 2), np.int64)
    for k, slot in enumerate(slots):
        if slot.leg >= 0:
            places[slot.symbol, 0] = k
        if slot.leg <= 0:
            places[slot.symbol, 1] = k
    return places


def _tier_tables(
    panel: Panel, terms: Sequence[ContractTerms], slots: Sequence[Slot]
) -> tuple[NDArray[np.void], NDArray[np.void], NDArray[np.float64], list[int], NDArray[np.void]]:
    """Return all tables in one row of brackets, each slot's first table, and when another comes into force."""
    tables: list[tuple[int, int, int]] = []
    tiers: list[tuple[float, float, float, float, float]] = []
    floors: list[float] = []
    first: list[int] = []
    switches: list[tuple[int, int, int]] = []
    for k, slot in enumerate(slots):
        term = terms[slot.symbol]
        if not term.tables:
            raise DataError(f"{panel.venue} {term.instrument.symbol} tiers", "there is no margin tier table")
        by_date = sorted(term.tables, key=lambda t: -1 if t.valid_from is None else t.valid_from)
        first.append(len(tables))
        for n, table in enumerate(by_date):
            _check_rates(table, term.close_fee)
            start = len(tiers)
            for tier, deduction in zip(table.tiers, table.deductions(), strict=True):
                slope = tier.slope if table.form is TierForm.RAMP else 0.0
                row = (tier.maintenance_margin_rate, slope, deduction, tier.max_leverage, tier.notional_cap)
                tiers.append(row)
                floors.append(tier.notional_floor)
            if n:
                since = -1 if table.valid_from is None else table.valid_from
                bar = int(np.searchsorted(panel.open_time, since, side="left"))
                switches.append((bar, k, len(tables)))
            tables.append((start, len(tiers), int(table.unit)))
    switches = [s for s in switches if s[0] < panel.open_time.size]
    return (
        np.array(tables, state.TABLE),
        np.array(tiers, state.TIER),
        np.array(floors, np.float64),
        first,
        np.array(sorted(switches), state.SWITCH),
    )


def _check_rates(table: TierTable, close_fee: float) -> None:
    for tier in table.tiers:
        if tier.maintenance_margin_rate + close_fee >= 1:
            raise AccountError(
                f"{table.symbol}: maintenance rate {tier.maintenance_margin_rate:g} and closing fee {close_fee:g} "
                "leave no margin: their sum must be below 1."
            )


def _most_per_bar(bars: NDArray[np.int64]) -> int:
    return int(np.bincount(bars).max()) if bars.size else 0


def _book(  # noqa: PLR0917 - one value of each kind
    setup: state.Setup,
    slots: Sequence[Slot],
    tables: list[int],
    config: RunConfig,
    start: int,
    instructions: Instructions,
) -> state.Book:
    count = len(slots)
    positions = np.zeros(count, state.POSITION)
    instruments = setup.instruments
    for name in ("row", "weight"):
        positions[name] = instruments[name]
    positions["leverage"] = positions["held_leverage"] = instruments["leverage"]
    positions["engine_slippage"] = instruments["slippage"]
    if config.costs.slippage == "half_spread":
        positions["engine_slippage"] += config.costs.half_spread_bps * 1e-4
    positions["table"] = tables
    positions["tier_bound"] = state.NO_TIER_BOUND
    positions["in_force"] = np.nan
    positions["closed"] = NEVER_CLOSED
    for name in ("order", "exit_order", "trail_order", "first_order", "volume_bar"):
        positions[name] = state.NONE
    marks = np.zeros((state.MARKS, count), np.int64)
    marks[[state.WAKE, state.EXIT_BAR]] = NO_BAR
    rungs = np.zeros(count * state.RUNGS, state.RUNG)
    rungs["share"] = 1.0
    rungs["order"] = state.NONE
    requests = np.zeros(RING if instructions.calls.size else 1, state.REQUEST)
    requests["number"] = state.NONE
    asked = 0
    if instructions.requests is not None and instructions.requests.size:
        requests, asked = instructions.requests.copy(), instructions.requests.size
    resting = np.zeros(32 + 16 * count + asked, state.RESTING)
    chain_free(resting, 0)
    account = np.zeros(1, state.ACCOUNT)
    day = start // DAY_MS
    volumes = np.full(DAYS, config.fees.volume_30d / (DAYS - 1))
    volumes[day % DAYS] = 0.0
    values = {
        "free_wallet": config.account.balance,
        "peak": config.account.balance,
        "first_equity": config.account.balance,
        "period_equity": config.account.balance,
        "stopped_bar": state.NONE,
        "begun": state.NONE,
        "coarse_bar": state.NONE,
        "wake": NO_BAR,
        "requested": asked,
        "views": 1,
        "day": day,
        "fee_tier": max(int((setup.fee_tiers["volume"] <= config.fees.volume_30d).sum()) - 1, 0),
    }
    for key, value in values.items():
        account[0][key] = value
    return state.Book(
        account,
        positions,
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.zeros(1, np.int64),
        rungs,
        resting,
        requests,
        volumes,
        np.zeros(count, np.int64),
        _stale_lines(count),
        marks,
    )


def _stale_lines(count: int) -> NDArray[np.void]:
    lines = np.zeros(count, state.LINE)
    lines["is_stale"] = 1
    return lines


def chain_free(resting: NDArray[np.void], start: int) -> None:
    """Chain the rows from ``start`` on as free ones."""
    resting["slot"][start:] = state.NONE
    resting["next"][start:] = np.arange(start + 1, resting.size + 1)
    resting["next"][-1] = state.NONE

"""A market, a population and rules as the arrays that the kernel clears."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from backtester.clearing.guest import Guest, guest_events
from backtester.clearing.market import ClearingMarket
from backtester.clearing.population import Population
from backtester.clearing.rules import ClearingRules
from backtester.domain.enums import (
    CloseFeeBasis,
    ContractKind,
    FundingSource,
    LiquidationStep,
    MarginBasis,
    TierForm,
    TierUnit,
)
from backtester.errors import AccountError, UnknownNameError
from backtester.kernel.clearing_state import (
    ACCOUNT,
    ALONE,
    AT_BANKRUPTCY,
    AT_MARK,
    AT_PREVIOUS_MARK,
    BAR,
    CLAWBACK,
    CONTRACT,
    COUNTERS,
    DELEVERAGING,
    FUND,
    FUND_BAR,
    GUEST,
    JOINT,
    LIQUIDATION,
    POSITION,
    RANK_BINANCE,
    RANK_BITMEX,
    RANK_HYPERLIQUID,
    RANK_ROI,
    RULES,
    SCALE,
    SETTLEMENT,
    STATE,
    TIER,
    TOTALS,
    Books,
    Journal,
    Rows,
    World,
)

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
DAY_MS = 24 * HOUR_MS
RANKINGS = {"roi": RANK_ROI, "binance": RANK_BINANCE, "bitmex": RANK_BITMEX, "hyperliquid": RANK_HYPERLIQUID}
PRICES = {"bankruptcy": AT_BANKRUPTCY, "mark": AT_MARK, "previous_mark": AT_PREVIOUS_MARK}
LONGEST_MS = 10_000 * DAY_MS


@dataclass(frozen=True)
class Capacity:
    """Room for records; what finds none is counted, and the replay is done again with more.

    Attributes
    ----------
    liquidations, deleveragings, clawbacks : int
        Rows.
    """

    liquidations: int
    deleveragings: int
    clawbacks: int


def make_world(market: ClearingMarket, rules: ClearingRules, sizes: Rows, guest: Guest | None) -> World:
    """Return what stays as it is; ``sizes`` is the largest position of each contract."""
    contracts, tiers = _contracts(market, rules, sizes)
    return World(
        contracts=contracts,
        tiers=tiers,
        rules=_rules(rules, market.bar_ms),
        open_time=np.ascontiguousarray(market.open_time, dtype=np.int64),
        bar_ms=market.bar_ms,
        mark=_path(market, "mark_"),
        trade=_path(market, ""),
        volume=np.nan_to_num(np.ascontiguousarray(market.volume, dtype=np.float64)),
        settlements=_settlements(market),
        guest=guest_events(guest, market),
    )


def _path(market: ClearingMarket, kind: str) -> NDArray[np.float64]:
    names = ("open", "high", "low", "close")
    return np.ascontiguousarray([market.values(getattr(market, f"{kind}{name}")) for name in names])


def _contracts(market: ClearingMarket, rules: ClearingRules, sizes: Rows) -> tuple[Rows, Rows]:
    contracts = np.zeros(len(market.symbols), CONTRACT)
    parts = []
    start = 0
    for c, (instrument, table) in enumerate(zip(market.instruments, market.tiers, strict=True)):
        part = np.zeros(len(table.tiers), TIER)
        part["floor"] = [t.notional_floor for t in table.tiers]
        part["rate"] = [t.maintenance_margin_rate for t in table.tiers]
        part["slope"] = [t.slope for t in table.tiers] if table.form is TierForm.RAMP else 0.0
        part["deduction"] = table.deductions()
        parts.append(part)
        row = contracts[c]
        inverse = instrument.kind is ContractKind.INVERSE
        row["sign"] = -1.0 if inverse else 1.0
        row["contract_size"] = instrument.contract_size
        lot = Fraction(str(instrument.quantity_step)) if instrument.quantity_step else Fraction(0)
        row["step_num"], row["step_den"] = float(lot.numerator), float(lot.denominator)
        row["close_fee"] = rules.close_fee
        row["fund"] = c if rules.fund == "contract" else 0
        row["tier_start"], row["tier_stop"] = start, start + len(part)
        row["by_notional"] = int(table.unit is TierUnit.NOTIONAL)
        steepest = float((part["rate"] + part["slope"] * sizes[c] / instrument.contract_size).max()) + rules.close_fee
        if steepest >= 1.0:
            raise AccountError(
                f"{instrument.symbol}: maintenance rate and closing fee come to {steepest:g}, which must be below 1.",
                "Correct the margin table.",
            )
        row["largest_slope"] = steepest
        row["low_factor"] = 1.0 if inverse else 1.0 / (1.0 - steepest)
        row["high_factor"] = 1.0 / (1.0 - steepest) if inverse else 1.0
        moves = table.unit is TierUnit.NOTIONAL and rules.mmr_basis == "mark"  # the mark chooses the bracket
        row["jumps"] = int(len(part) > 1 and moves and table.form is not TierForm.PROGRESSIVE)
        start += len(part)
    return contracts, np.concatenate(parts)


def _rules(rules: ClearingRules, bar_ms: int) -> Rows:
    out = np.zeros(1, RULES)
    row = out[0]
    row["at_market"] = int(rules.takeover == "market")
    row["step"] = int(LiquidationStep[rules.step.upper()])
    for name in ("step_tiers", "step_from_tier", "step_above_first", "step_once", "liquidation_fee"):
        row[name] = getattr(rules, name)
    row["step_from_tier"] = rules.step_from_tier - 1  # tiers count from 1 in the rules, from 0 here
    row["mmr_basis"] = int(MarginBasis[rules.mmr_basis.upper()])
    row["paid_from"] = int(FundingSource[rules.funding_paid_from.upper()])
    row["close_fee_basis"] = int(CloseFeeBasis[rules.close_fee_basis.upper()])
    row["deleverages"] = int(rules.deleverages)
    row["shares_losses"] = int(rules.shares_losses)
    row["on_exhaustion"] = int(rules.exhausted)
    row["drawdown"] = rules.drawdown if rules.drawdown > 0.0 else np.inf
    row["drawdown_ms"] = int(rules.drawdown_hours * HOUR_MS)
    row["ranking"] = RANKINGS[rules.ranking]
    row["price"] = PRICES[rules.deleverage_price]
    row["bankruptcy_band"] = rules.bankruptcy_band if rules.bankruptcy_band > 0.0 else np.inf
    row["sharing_ms"] = int(rules.sharing_hours * HOUR_MS)
    row["sharing_offset_ms"] = int(rules.sharing_offset_hours * HOUR_MS)
    row["booking_ms"] = DAY_MS if rules.booking == "daily" else 0
    row["booking_offset_ms"] = int(rules.booking_hour * HOUR_MS)
    row["volume_share"] = rules.volume_share
    row["impact"] = rules.impact
    row["mark_share"] = rules.mark_share
    row["fading"] = 0.5 ** (bar_ms / MINUTE_MS / rules.impact_half_life_minutes)
    return out


def _settlements(market: ClearingMarket) -> Rows:
    """Return the settlements within the span by time, those at a bar's open before those inside it."""
    parts, times = [], []
    begin = int(market.open_time[0])
    end = begin + market.bar_ms * len(market.open_time)
    for c, schedule in enumerate(market.funding):
        time = (np.asarray(schedule.time, np.int64) + MINUTE_MS // 2) // MINUTE_MS * MINUTE_MS
        inside = (time >= begin) & (time < end)
        part = np.zeros(int(inside.sum()), SETTLEMENT)
        part["bar"], rest = np.divmod(time[inside] - begin, market.bar_ms)
        part["inside"] = rest != 0
        part["contract"] = c
        part["rate"] = np.asarray(schedule.rate)[inside]
        price = np.asarray(schedule.price, np.float64)[inside]
        part["value"] = price if market.signs[c] > 0 else -1.0 / price
        parts.append(part)
        times.append(time[inside])
    rows = np.concatenate(parts) if parts else np.zeros(0, SETTLEMENT)
    due = np.concatenate(times) if times else np.zeros(0, np.int64)
    return rows[np.lexsort((rows["contract"], due, rows["inside"], rows["bar"]))]


def make_books(market: ClearingMarket, population: Population, rules: ClearingRules, guest: Guest | None) -> Books:
    """Return the books before the first bar.

    Raises
    ------
    UnknownNameError
        The population holds a contract that the market does not have.
    """
    places = _places(market, population)
    count = len(market.symbols)
    order = np.lexsort((places[population.contract], population.account))
    extra = count if guest is not None else 0
    positions = np.zeros(population.positions + extra, POSITION)
    own = positions[: population.positions]
    own["account"] = population.account[order]
    own["contract"] = places[population.contract][order]
    own["quantity"] = population.quantity[order]
    inverse = market.signs[own["contract"]] < 0
    entry = population.entry_price[order]
    own["entry"] = np.where(inverse, -1.0 / entry, entry)
    own["entry"][own["quantity"] == 0.0] = 0.0
    own["margin"] = population.margin[order]
    accounts = _accounts(population, own, guest, count)
    several = (accounts["stop"] - accounts["first"] > 1) & (accounts["isolated"] == 0)
    if guest is not None:
        several[-1] = False
        positions["account"][population.positions :] = population.accounts
        positions["contract"][population.positions :] = np.arange(count)
        positions["kind"][population.positions :] = GUEST
    own["kind"] = np.where(several[own["account"]], JOINT, ALONE)
    joint = np.flatnonzero(several).astype(np.int32)
    accounts["joint"] = -1
    accounts["joint"][joint] = np.arange(len(joint))
    return _with_watch(market, population, rules, positions, accounts, joint=joint, places=places)


def _places(market: ClearingMarket, population: Population) -> NDArray[np.int64]:
    """Return the market's place of each contract of the population."""
    for symbol in population.symbols:
        if symbol not in market.symbols:
            raise UnknownNameError("symbol", symbol, market.symbols, "in the market")
    return np.array([market.symbols.index(symbol) for symbol in population.symbols], dtype=np.int64)


def _accounts(population: Population, own: Rows, guest: Guest | None, count: int) -> Rows:
    accounts = np.zeros(population.accounts + (guest is not None), ACCOUNT)
    mine = accounts[: population.accounts]
    margins = np.bincount(own["account"], own["margin"], population.accounts)
    mine["wallet"] = population.wallet - margins
    mine["leverage"] = population.leverage
    mine["isolated"] = population.isolated
    numbers = np.arange(population.accounts)
    mine["first"] = np.searchsorted(own["account"], numbers, side="left")
    mine["stop"] = np.searchsorted(own["account"], numbers, side="right")
    if guest is not None:
        accounts[-1]["wallet"] = guest.wallet
        accounts[-1]["leverage"] = guest.leverage
        accounts[-1]["first"] = len(own)
        accounts[-1]["stop"] = len(own) + count
    return accounts


def _with_watch(
    market: ClearingMarket,
    population: Population,
    rules: ClearingRules,
    positions: Rows,
    accounts: Rows,
    *,
    joint: NDArray[np.int32],
    places: NDArray[np.int64],
) -> Books:
    count, size = len(market.symbols), len(positions)
    alone = np.flatnonzero(positions["kind"] == ALONE)
    heap = alone[np.argsort(positions["contract"][alone], kind="stable")].astype(np.int32)
    start = np.zeros(count + 1, np.int64)
    start[1:] = np.cumsum(np.bincount(positions["contract"][alone], minlength=count))
    place = np.full(size, -1, np.int32)
    place[heap] = np.arange(len(heap))
    funds = np.zeros(count if rules.fund == "contract" else 1, FUND)
    first = market.values(market.mark_open[:, :1])[:, 0]
    state = np.zeros(count, STATE)
    outside = np.zeros(count)
    outside[places] = population.outside
    state["outside_quantity"] = outside
    state["outside_cash"] = -outside * first
    funds["balance"] = _fund_start(market, population, rules, places, len(funds))
    funds["start"] = funds["balance"]
    totals = np.zeros(TOTALS)
    totals[SCALE] = float(accounts["wallet"].sum() + positions["margin"].sum())
    return Books(
        positions=positions,
        accounts=accounts,
        state=state,
        funds=funds,
        totals=totals,
        counters=np.zeros(COUNTERS, np.int64),
        low_key=np.full(size, -np.inf),
        high_key=np.full(size, -np.inf),
        low_heap=heap,
        high_heap=heap.copy(),
        low_place=place,
        high_place=place.copy(),
        heap_start=start,
        pinned=np.zeros(size, np.int32),
        score=np.zeros(size),
        order=np.zeros(size, np.int32),
        joint_accounts=joint,
        joint_key=np.zeros(len(joint)),
        joint_heap=np.arange(len(joint), dtype=np.int32),
        joint_place=np.arange(len(joint), dtype=np.int32),
        joint_near=np.zeros(len(joint), np.int32),
        joint_at=np.zeros(len(joint)),
        peak_queue=np.zeros((len(funds), len(market.open_time) + 1), np.int64),
    )


def _fund_start(
    market: ClearingMarket, population: Population, rules: ClearingRules, places: NDArray[np.int64], funds: int
) -> NDArray[np.float64]:
    if rules.fund_start is not None:
        return np.full(funds, rules.fund_start)
    first = np.abs(market.values(market.mark_open[:, :1])[:, 0])
    longs = np.bincount(places[population.contract], np.maximum(population.quantity, 0.0), len(market.symbols))
    longs[places] += np.maximum(population.outside, 0.0)
    notional: NDArray[np.float64] = (longs * first * rules.fund_share).astype(np.float64)
    return notional if rules.fund == "contract" else np.array([notional.sum()])


def make_journal(world: World, books: Books, capacity: Capacity) -> Journal:
    """Return empty records."""
    count, bars = world.volume.shape
    return Journal(
        bars=np.zeros((count, bars), BAR),
        funds=np.zeros((len(books.funds), bars), FUND_BAR),
        liquidations=np.zeros(capacity.liquidations, LIQUIDATION),
        deleveragings=np.zeros(capacity.deleveragings, DELEVERAGING),
        clawbacks=np.zeros(capacity.clawbacks, CLAWBACK),
        lights=np.zeros((count, bars), np.int8),
        error=np.zeros(bars),
    )


def largest_sizes(market: ClearingMarket, population: Population) -> Rows:
    """Return the largest position of each contract of the market."""
    sizes = np.zeros(len(market.symbols))
    np.maximum.at(sizes, _places(market, population)[population.contract], np.abs(population.quantity))
    return sizes

"""The product's clearing replay of a neutral market, with its books opened after the last bar."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backtester.clearing.market import ClearingMarket, FundingSchedule
from backtester.clearing.population import Population
from backtester.clearing.prepare import Capacity, largest_sizes, make_books, make_journal, make_world
from backtester.clearing.rules import ClearingRules
from backtester.domain.enums import ContractKind, LiquidationKind, TierForm, TierUnit
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.kernel.clearing import clear_market
from backtester.kernel.clearing_state import CLAWBACKS, CLOSED, DELEVERAGINGS, LIQUIDATIONS
from tests.reference.case import Tiers
from tests.reference.clearing_case import Listing, Market, Venue

ENOUGH = 1e30  # of volume, where it is without limit: it leaves no impact either
SERIES = ("open", "high", "low", "close")


@dataclass
class Replayed:
    """What the product's replay left: figures by bar, the final books, and the events in the neutral form."""

    wallet: list[float] = field(default_factory=list)
    equity: list[float] = field(default_factory=list)
    size: list[list[float]] = field(default_factory=list)
    margin: list[list[float]] = field(default_factory=list)
    inventory: list[list[float]] = field(default_factory=list)
    fund: list[list[float]] = field(default_factory=list)
    waiting: list[list[float]] = field(default_factory=list)
    error: float = 0.0
    liquidations: list[dict[str, Any]] = field(default_factory=list)
    deleveragings: list[dict[str, Any]] = field(default_factory=list)
    shares: list[dict[str, Any]] = field(default_factory=list)


def symbol_of(i: int, listing: Listing) -> str:
    return f"C{i}/USD:C" if listing.inverse else f"C{i}/USDT:USDT"


def table_of(symbol: str, tiers: Tiers) -> TierTable:
    rows = tuple(
        MarginTier(
            notional_floor=float(t.floor),
            notional_cap=float(t.cap),
            maintenance_margin_rate=float(t.rate),
            max_leverage=float(t.max_leverage),
            maintenance_amount=t.amount,
            slope=float(t.slope),
        )
        for t in tiers.tiers
    )
    return TierTable(symbol=symbol, tiers=rows, form=TierForm[tiers.form.upper()], unit=TierUnit[tiers.unit.upper()])


def instrument_of(symbol: str, listing: Listing) -> Instrument:
    kind = ContractKind.INVERSE if listing.inverse else ContractKind.LINEAR
    return Instrument(
        symbol=symbol, kind=kind, settle="C" if listing.inverse else "USDT", contract_size=1.0, lot=listing.lot or None
    )


def market_of(case: Market) -> ClearingMarket:
    """Return the product's form of the series."""
    listings = case.listings
    symbols = tuple(symbol_of(i, c) for i, c in enumerate(listings))
    bars = len(case.open_time)
    volumes = [[ENOUGH] * bars if c.volume is None else c.volume for c in listings]
    prices = {name: np.array([getattr(c.trade or c.mark, name) for c in listings], float) for name in SERIES}
    marks = {f"mark_{name}": np.array([getattr(c.mark, name) for c in listings], float) for name in SERIES}
    funding = tuple(
        FundingSchedule(
            np.array([f.time for f in c.funding], np.int64),
            np.array([f.rate for f in c.funding], float),
            np.array([math.nan if f.mark_price is None else f.mark_price for f in c.funding], float),
        )
        for c in listings
    )
    return ClearingMarket(
        symbols=symbols,
        open_time=np.array(case.open_time, np.int64),
        bar_ms=case.bar_ms,
        volume=np.array(volumes, float),
        funding=funding,
        instruments=tuple(instrument_of(s, c) for s, c in zip(symbols, listings, strict=True)),
        tiers=tuple(table_of(s, c.table) for s, c in zip(symbols, listings, strict=True)),
        **prices,
        **marks,
    )


def population_of(case: Market) -> Population:
    """Return the product's form of the accounts; the outside market holds what they leave."""
    rows = [(a, h) for a, trader in enumerate(case.traders) for h in trader.held]
    isolated = [t.isolated for t in case.traders]
    net = np.zeros(len(case.listings))
    for _, h in rows:
        net[h.contract] += float(h.size)
    return Population(
        symbols=tuple(symbol_of(i, c) for i, c in enumerate(case.listings)),
        wallet=np.array([float(t.wallet) for t in case.traders]),
        isolated=np.array(isolated),
        leverage=np.array([float(t.leverage) for t in case.traders]),
        account=np.array([a for a, _ in rows], np.int64),
        contract=np.array([h.contract for _, h in rows], np.int64),
        quantity=np.array([float(h.size) for _, h in rows]),
        entry_price=np.array([float(h.entry) for _, h in rows]),
        margin=np.array([float(h.margin) if isolated[a] else 0.0 for a, h in rows]),
        outside=-net,
    )


def rules_of(venue: Venue) -> ClearingRules:
    """Return the product's form of the venue's rules."""
    return ClearingRules(
        takeover=venue.takeover,
        step=venue.step,
        step_tiers=venue.step_tiers,
        step_from_tier=venue.step_from_tier,
        step_above_first=venue.step_above_first,
        step_once=venue.step_once,
        liquidation_fee=float(venue.liquidation_fee),
        close_fee=float(venue.close_fee),
        close_fee_basis=venue.close_fee_basis,
        mmr_basis=venue.mmr_basis,
        funding_paid_from=venue.funding_paid_from,
        fund=venue.fund,
        fund_start=float(venue.fund_start),
        booking="at_once" if venue.booking_hour is None else "daily",
        booking_hour=0.0 if venue.booking_hour is None else float(venue.booking_hour),
        waterfall=tuple(venue.waterfall.split(", ")),
        exhausted=venue.exhausted,
        drawdown=venue.drawdown,
        drawdown_hours=venue.drawdown_hours,
        ranking=venue.ranking,
        deleverage_price=venue.deleverage_price,
        bankruptcy_band=venue.bankruptcy_band,
        sharing_hours=venue.sharing_hours,
        sharing_offset_hours=venue.sharing_offset_hours,
        volume_share=math.inf if venue.volume_share is None else venue.volume_share,
        impact=venue.impact,
        mark_share=venue.mark_share,
        impact_half_life_minutes=venue.half_life_minutes,
    )


def replay_product(case: Market) -> Replayed:
    """Clear a market with the product and read what it left."""
    market, population, rules = market_of(case), population_of(case), rules_of(case.venue)
    world = make_world(market, rules, largest_sizes(market, population), None)
    books = make_books(market, population, rules, None)
    journal = make_journal(world, books, Capacity(2000, 2000, 2000))
    outcome, bar = clear_market(world, books, journal, 0)
    assert outcome == CLOSED, f"the books do not close: outcome {outcome} after bar {bar}, {journal.error}"
    return read_back(case, market, books, journal)


def read_back(case: Market, market: ClearingMarket, books: Any, journal: Any) -> Replayed:
    """Return the final books and the records in the neutral form."""
    count, contracts = len(case.traders), range(len(case.listings))
    out = Replayed(error=float(np.max(journal.error)))
    size, margin = np.zeros((count, len(contracts))), np.zeros((count, len(contracts)))
    for row in books.positions:
        size[row["account"], row["contract"]] = row["quantity"]
        margin[row["account"], row["contract"]] = row["margin"]
    out.size, out.margin = size.tolist(), margin.tolist()
    out.wallet = (books.accounts["wallet"][:count] + margin.sum(axis=1)).tolist()
    equity = np.array(out.wallet)
    for row in books.positions:
        equity[row["account"]] += row["quantity"] * (books.state["mark"][row["contract"]] - row["entry"])
    out.equity = equity.tolist()
    out.inventory = journal.bars["inventory"].T.tolist()
    out.fund = journal.funds["balance"].T.tolist()
    out.waiting = journal.funds["pending"].T.tolist()
    out.liquidations = [
        {
            "bar": int(r["bar"]),
            "kind": "step" if r["kind"] == LiquidationKind.STEP else "takeover",
            "account": int(r["account"]),
            "contract": int(r["contract"]),
            "size": float(r["quantity"]),
            "trigger": price_of(case, r["contract"], r["mark"]),
            "bankruptcy_price": price_of(case, r["contract"], r["bankruptcy"]),
            "fee": float(r["fee"]),
            "deficit": float(r["deficit"]),
        }
        for r in journal.liquidations[: books.counters[LIQUIDATIONS]]
    ]
    out.deleveragings = [
        {
            "bar": int(r["bar"]),
            "account": int(r["account"]),
            "contract": int(r["contract"]),
            "size": float(r["quantity"]),
            "price": price_of(case, r["contract"], r["price"]),
            "mark": price_of(case, r["contract"], r["mark"]),
            "taken": -float(r["profit_lost"]),
        }
        for r in journal.deleveragings[: books.counters[DELEVERAGINGS]]
    ]
    out.shares = [
        {"bar": int(r["bar"]), "account": int(r["account"]), "amount": float(r["paid"]), "rate": float(r["rate"])}
        for r in journal.clawbacks[: books.counters[CLAWBACKS]]
    ]
    return out


def price_of(case: Market, contract: int, value: float) -> float:
    return float(-1.0 / value if case.listings[contract].inverse else value)

"""Random small populations for the clearing reference and the product.

Hypothesis draws numbers of accounts, bars and contracts and a seed; all else follows from the seed. Sizes are multiples
of 1/64, so that they sum to zero exactly; prices and wallets have many random digits, so that exact ties do not happen.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from tests.property.series import bars_from, near, path_of
from tests.reference.case import Ohlc, Settlement, Tier, Tiers
from tests.reference.clearing_case import Held, Listing, Market, Trader, Venue

HOUR = 3_600_000
FIRST = 1_700_006_400_000  # a midnight, UTC
GRAIN = 64


def with_crash(dice: random.Random, bars: Ohlc, at: int, depth: float, gap: bool) -> Ohlc:
    """Return the series fallen (or risen) by a part from a bar on: at once, or within the bar."""
    rows = []
    for k, row in enumerate(zip(bars.open, bars.high, bars.low, bars.close, strict=True)):
        o, h, low, c = row
        if k < at:
            rows.append(row)
        elif k > at or gap:
            rows.append((o * depth, h * depth, low * depth, c * depth))
        else:
            last = c * depth
            rows.append((o, max(h, last), min(low, last) * (1 - 0.1 * dice.random()), last))
    return bars_from(rows)


def table_of(dice: random.Random, top: float, *, flat: bool | None = None) -> Tiers:
    """Draw brackets whose floors lie where the largest positions come."""
    count = dice.choice([1, 1, 2, 3, 4])
    floors = [0.0, *sorted(top * dice.uniform(0.1, 1.0) for _ in range(count - 1))]
    rate, tiers = dice.uniform(0.004, 0.02), []
    for floor, cap in zip(floors, [*floors[1:], math.inf], strict=True):
        tiers.append(Tier(floor, cap, rate, 100.0))
        rate += dice.uniform(0.005, 0.03)
    is_flat = dice.random() < 0.4 if flat is None else flat
    return Tiers(tuple(tiers), form="flat" if is_flat else "progressive")


def venue_of(dice: random.Random, money: float) -> Venue:
    """Draw the rules of a venue; ``money`` is what a typical takeover moves."""
    ranking = dice.choice(["roi", "bitmex", "binance", "hyperliquid"])
    step, exhausted = dice.choice(["none", "none", "tier", "restore"]), dice.random() < 0.8
    return Venue(
        takeover=dice.choice(["bankruptcy", "bankruptcy", "market"]),
        step=step,
        step_tiers=dice.choice([0, 1, 2]),
        step_from_tier=dice.choice([2, 3]),
        step_above_first=dice.random() < 0.3,
        step_once=dice.random() < 0.5,
        liquidation_fee=dice.choice([0.0, dice.uniform(0.0, 0.02)]),
        close_fee=dice.choice([0.0, 0.0006]) if ranking != "binance" else 0.0,
        close_fee_basis=dice.choice(["mark", "mark", "bankruptcy"]),
        mmr_basis=dice.choice(["mark", "mark", "entry"]),
        funding_paid_from=dice.choice(["margin", "margin", "wallet_first", "capped"]),
        fund=dice.choice(["settlement", "contract"]),
        fund_start=dice.choice([0.0, money * dice.uniform(0.0, 2.0), money * 50]),
        booking_hour=dice.choice([None, None, 8.0]),
        waterfall=dice.choice(
            ["market, fund, deleverage"] * 4
            + ["market, fund", "market, fund, share", "market, fund, deleverage, share"]
        ),
        exhausted=exhausted,
        drawdown=dice.choice([0.0, 0.3]) if exhausted else 0.3,
        drawdown_hours=dice.choice([2.0, 8.0]),
        ranking=ranking,
        deleverage_price=dice.choice(["bankruptcy", "bankruptcy", "mark", "previous_mark"]),
        bankruptcy_band=dice.choice([0.0, 0.0, 0.05]),
        sharing_hours=dice.choice([4.0, 24.0]),
        sharing_offset_hours=dice.choice([0.0, 1.0]),
        volume_share=dice.choice([None, dice.uniform(0.02, 0.5), 0.0]),
        impact=dice.choice([0.0, dice.uniform(0.0, 0.3)]),
        mark_share=dice.choice([1.0, 1.0, 0.0, dice.random()]),
        half_life_minutes=dice.choice([10.0, 60.0, 600.0]),
    )


def market_of(accounts: int, bars: int, contracts: int, inverse: bool, seed: int) -> Market:
    """Return the market that a seed stands for."""
    dice = random.Random(seed)
    starts = [dice.uniform(20.0, 500.0) for _ in range(contracts)]
    listings = []
    for start in starts:
        mark = path_of(dice, bars, start, dice.choice([0.003, 0.01, 0.02]))
        for _ in range(dice.choice([0, 1, 1, 2])):
            depth = math.exp(dice.choice([-1, 1]) * dice.uniform(0.03, 0.35))
            mark = with_crash(dice, mark, dice.randrange(1, bars), depth, dice.random() < 0.3)
        trade = None if dice.random() < 0.5 else near(dice, mark, 0.001)
        funding = tuple(
            Settlement(
                FIRST + k * HOUR + dice.choice([0, 0, 30 * 60_000]),
                dice.gauss(0.0, 0.002),
                dice.choice([None, mark.open[k] * (1 + dice.gauss(0.0, 0.001))]),
            )
            for k in range(dice.choice([0, 1, 4]), bars, dice.choice([4, 8]))
        )
        listings.append((mark, trade, funding))
    worth = [1 / s if inverse else s for s in starts]
    scale = dice.uniform(5.0, 500.0)
    traders = traders_of(dice, accounts, starts, inverse, scale)
    most = [
        max((abs(h.size) for t in traders for h in t.held if h.contract == i), default=1.0) for i in range(contracts)
    ]
    full = []
    for i, (mark, trade, funding) in enumerate(listings):
        volume = None
        if dice.random() < 0.7:
            volume = tuple(0.0 if dice.random() < 0.1 else most[i] * dice.uniform(1.0, 12.0) for _ in range(bars))
        table = table_of(dice, most[i] * worth[i])
        lot = dice.choice([0.0, 1 / GRAIN])
        full.append(Listing(mark, table, inverse, trade, volume, funding, lot))
    money = max((abs(h.size) * worth[h.contract] for t in traders for h in t.held), default=1.0) * 0.05
    times = tuple(FIRST + k * HOUR for k in range(bars))
    venue = venue_of(dice, money)
    if venue.step == "restore":  # without a lot it closes a billionth again and again
        full = [replace(c, lot=1 / GRAIN) for c in full]
    return Market(tuple(full), tuple(traders), venue, times, HOUR)


def traders_of(dice: random.Random, accounts: int, starts: list[float], inverse: bool, scale: float) -> list[Trader]:
    """Draw accounts whose positions sum to zero: the last one of a contract takes what the others leave."""
    rows: list[list[Held]] = [[] for _ in range(accounts)]
    leverages = [math.exp(dice.uniform(math.log(1.5), math.log(40.0))) for _ in range(accounts)]
    isolated = [dice.random() < 0.5 for _ in range(accounts)]
    for i, start in enumerate(starts):
        unit = start if inverse else 1.0
        holders = [a for a in range(accounts) if len(starts) == 1 or dice.random() < 0.6]
        left = 0.0
        for place, a in enumerate(holders):
            size = dice.choice([-1, 1]) * math.ceil(scale * dice.uniform(0.05, 1.0) * unit * GRAIN) / GRAIN
            if place == len(holders) - 1:
                size = -left
            left += size
            if size != 0:
                entry = start * math.exp(dice.gauss(0.0, 0.02))
                margin = abs(size) * (1 / entry if inverse else entry) / leverages[a]
                rows[a].append(Held(i, size, entry, margin))
    found = []
    for a in range(accounts):
        margins = sum(h.margin for h in rows[a])
        spare = margins * dice.uniform(0.0, 0.5) if margins else scale * dice.uniform(0.1, 1.0)
        held = tuple(rows[a]) if isolated[a] else tuple(replace(h, margin=0.0) for h in rows[a])
        found.append(Trader(margins + spare, held, isolated[a], leverages[a]))
    return found


@st.composite
def markets(draw: st.DrawFn, *, inverse: bool | None = None, accounts: int = 12, bars: int = 12) -> Market:
    """Draw a market."""
    return market_of(
        draw(st.integers(2, accounts)),
        draw(st.integers(2, bars)),
        draw(st.integers(1, 3)),
        draw(st.booleans()) if inverse is None else inverse,
        draw(st.integers(0, 2**32 - 1)),
    )


def with_venue(market: Market, **changes: Any) -> Market:
    """Return the market under changed rules."""
    return replace(market, venue=replace(market.venue, **changes))


def without_limits(market: Market) -> Market:
    """Return the market where nothing is scarce, so that the order of failures does not matter."""
    plain = with_venue(market, volume_share=None, impact=0.0, fund_start=1e12, drawdown=0.0, waterfall="market, fund")
    return replace(plain, listings=tuple(replace(c, volume=None) for c in market.listings))

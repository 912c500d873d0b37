"""Random runs for the reference account and the kernel.

Hypothesis draws the number of bars and contracts and a seed; all else follows from the seed. Numbers are made so that
exact ties (a trigger met exactly, a notional exactly on a bracket's floor, an exposure exactly on the band) do not
happen by construction: prices and rates have many random digits, and floors that count contracts stand between two
quantity steps. Floats and exact fractions may decide an exact tie differently; the rules that make a tie on purpose (a
payment cut to the requirement, an order that takes all of the free wallet) say on which side it falls.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.property.features import drawn_groups, enriched
from tests.property.series import merged, near, path_of, round_to, scaled, without_head
from tests.reference.case import Case, Contract, Ohlc, Settings, Settlement, Target, Tier, Tiers

HOUR = 3_600_000
FIRST = 1_700_006_400_000  # a midnight, UTC

CI = settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
LONG = settings(CI, max_examples=5_000, derandomize=False, print_blob=True)


def tier_tables(
    dice: random.Random, balance: float, leverage: float, lot: float, price_worth: float
) -> tuple[Tiers, ...]:
    """Draw one or two tables; floors lie where positions of this balance and leverage come."""
    dates = [None] if dice.random() < 0.5 else [None, FIRST + dice.randint(2, 12) * HOUR]
    form = dice.choice(["progressive", "progressive", "flat", "ramp"])
    # Completed deductions are floor times rate: money only where floors are money.
    unit = {"ramp": "contracts", "progressive": "notional"}.get(form) or dice.choice(["notional", "contracts"])
    tables = []
    for valid_from in dates:
        count = dice.randint(1, 4)
        top = balance * min(leverage, 12.0) * dice.uniform(0.8, 2.0)
        floors = [0.0, *sorted(top * dice.uniform(0.1, 1.0) for _ in range(count - 1))]
        if unit == "contracts":
            floors = [contracts_floor(f / price_worth, lot) for f in floors]
            floors = sorted(set(floors))
        rate, tiers = dice.uniform(0.003, 0.03), []
        caps = [
            *floors[1:],
            math.inf if dice.random() < 0.7 else floors[-1] * 1.37 + top / (price_worth if unit == "contracts" else 1),
        ]
        if unit == "contracts" and not math.isinf(caps[-1]):
            caps[-1] = contracts_floor(caps[-1], lot)
        for k, (floor, cap) in enumerate(zip(floors, caps, strict=True)):
            slope = dice.uniform(0.0, 0.02) * price_worth / top if form == "ramp" else 0.0
            most = (
                leverage * dice.uniform(1.0, 2.0) if k < 2 or dice.random() < 0.6 else leverage * dice.uniform(0.4, 1.0)
            )
            tiers.append(Tier(floor, cap, rate, most, slope=slope))
            rate += dice.uniform(0.0, 0.03)
        tables.append(Tiers(tuple(tiers), valid_from, form, unit))
    return tuple(tables)


def step_tables(
    dice: random.Random, balance: float, leverage: float, lot: float, price_worth: float
) -> tuple[Tiers, ...]:
    """Return a table with several brackets near the positions' size, all below what the initial margin carries."""
    form, unit = dice.choice(["progressive", "flat", "flat"]), "notional"
    if form == "flat" and dice.random() < 0.25:
        unit = "contracts"
    count, top = dice.randint(2, 5), balance * leverage * dice.uniform(0.5, 1.2)
    floors = [0.0, *sorted(top * dice.uniform(0.15, 1.0) for _ in range(count - 1))]
    if unit == "contracts":
        floors = sorted({contracts_floor(f / price_worth, lot) for f in floors})
    rates = sorted(dice.uniform(0.05, 0.85) / leverage for _ in floors)
    caps = [*floors[1:], math.inf]
    tiers = [Tier(f, c, r, 2 * leverage) for f, c, r in zip(floors, caps, rates, strict=True)]
    return (Tiers(tuple(tiers), None, form, unit),)


def contracts_floor(contracts: float, lot: float) -> float:
    """Return a floor in contracts that no multiple of the lot meets."""
    if contracts == 0.0 or lot == 0.0:
        return contracts
    return (math.floor(contracts / lot) + 0.5) * lot


def rules(dice: random.Random, balance: float) -> Settings:
    """Draw the account's and the venue's rules."""

    def pick(*words: Any) -> Any:
        return dice.choice(words)

    fill = pick("next_open", "next_open", "next_open", "close")
    close_fee = pick(0.0, 0.0, 0.000537)
    return Settings(
        balance=balance,
        fill=fill,
        latency_bars=0 if fill == "close" else pick(0, 0, 0, 1, 2),
        intrabar=pick("adverse", "adverse", "color", "close"),
        joint=pick("common", "worst"),
        rebalance=pick("on_change", "every_bar", "band"),
        band=pick(0.0513, 0.4177),
        insufficient_margin=pick("clip", "clip", "reject"),
        funding_paid_from=pick("margin", "wallet_first", "capped"),
        funding_price=pick("mark", "mark", "index"),
        takeover=pick("bankruptcy", "market"),
        step=pick("none", "tier", "tier", "restore"),
        step_tiers=pick(0, 1, 2),
        step_from_tier=pick(2, 2, 3),
        step_above_first=pick(False, False, True),
        step_once=pick(False, True),
        liquidation_fee=pick(0.0, 0.00487, 0.0213),
        close_fee=close_fee,
        close_fee_basis=pick("mark", "bankruptcy"),
        mmr_basis=pick("mark", "mark", "entry"),
        engine_price=pick("mark", "trade"),
        then=pick("continue", "continue", "continue", "continue", "stop"),
    )


def stepping(dice: random.Random, account: Settings) -> Settings:
    """Return rules under which partial liquidations are frequent."""
    return replace(
        account,
        step=dice.choice(["tier", "tier", "tier", "restore"]),
        step_from_tier=2,
        step_above_first=False,
        step_once=dice.random() < 0.3,
        intrabar=dice.choice(["adverse", "adverse", "color"]),
        mmr_basis=dice.choice(["mark", "mark", "mark", "entry"]),
        then="continue",
    )


def settlements(dice: random.Random, end: int, mark: Ohlc) -> tuple[Settlement, ...]:
    """Draw a contract's funding records: an interval, perhaps another one later, rates of both signs."""
    hours = dice.choice([0, 1, 4, 8])
    if hours == 0:
        return ()
    found, time = [], FIRST + dice.choice([0, 1_800_000])
    size = dice.choice([0.0003, 0.004, 0.02])
    while time < end:
        price = dice.choice([p for p in mark.open if not math.isnan(p)]) if dice.random() < 0.3 else None
        found.append(Settlement(time, dice.gauss(0.2 * size, size), price))
        if dice.random() < 0.1:
            hours = dice.choice([1, 2, 4])
        time += hours * HOUR
    return tuple(found)


@st.composite
def cases(draw: st.DrawFn, *, inverse: bool | None = None, most_symbols: int = 3) -> Case:
    """Draw a whole run: one to three linear contracts, or one inverse contract."""
    bars, count, seed = draw(st.integers(5, 25)), draw(st.integers(1, most_symbols)), draw(st.integers(0, 2**63))
    return random_case(random.Random(f"{seed} {bars} {count}"), bars, count, inverse)


@st.composite
def rich_cases(
    draw: st.DrawFn, *, inverse: bool | None = None, most_symbols: int = 3, groups: Collection[str] | None = None
) -> Case:
    """Draw a run with the features of some groups, or of groups that are drawn too."""
    bars, count, seed = draw(st.integers(5, 25)), draw(st.integers(1, most_symbols)), draw(st.integers(0, 2**63))
    return random_case(random.Random(f"rich {seed} {bars} {count}"), bars, count, inverse, groups)


def random_case(
    dice: random.Random,
    bars: int,
    count: int,
    inverse: bool | None = None,
    groups: Collection[str] | None = (),
) -> Case:
    """Return a run whose rules and series come from the dice.

    ``groups`` names the features that it has (see ``tests.property.features``): none, targets at the market alone;
    None: the dice choose.
    """
    case = plain_case(dice, bars, count, inverse)
    return enriched(dice, case, drawn_groups(dice) if groups is None else groups)


def plain_case(dice: random.Random, bars: int, count: int, inverse: bool | None = None) -> Case:
    """Return a run of targets at the market."""
    is_inverse = dice.random() < 0.25 if inverse is None else inverse
    count = 1 if is_inverse else count
    bar_ms = dice.choice([1, 4, 8]) * HOUR
    times = [FIRST + k * bar_ms for k in range(bars)]
    if dice.randint(0, 9) == 0:
        hole = dice.randrange(1, bars)
        times = times[:hole] + [t + 3 * bar_ms for t in times[hole:]]
    coarse = 1 if times[-1] != FIRST + (bars - 1) * bar_ms else dice.choice([1, 1, 1, 2, 4])
    start = 20_000.0 if is_inverse else 100.0
    balance = 1.5 if is_inverse else 10_000.0
    account, in_steps = rules(dice, balance), dice.random() < 0.4
    if in_steps:
        account = stepping(dice, account)
    modes = dice.choice(["cross", "cross", "isolated", "mixed"])
    contracts, leverages = [], []
    base = path_of(dice, bars, start, dice.choice([0.06, 0.02, 0.12]))
    together = dice.random() < 0.4
    for i in range(count):
        trade = base if i == 0 else path_of(dice, bars, start * 3**i, dice.choice([0.03, 0.08]))
        if i > 0 and together:
            trade = near(dice, scaled(base, 3.0**i), 0.004)
        leverage = dice.choice([3.0, 5.0, 10.0] if in_steps else [10.0, 1.0, 3.0, 5.0, 25.0, 50.0])
        worth = 1 / start if is_inverse else start * 3**i
        size = dice.choice([1.0, 0.01, 100.0])
        lots = dice.choice([0, 7, 60, 900])
        lot = 0.0 if lots == 0 else round_to(balance * leverage / worth / size / lots)
        noise = dice.choice([0.0, 0.002, 0.02])
        mark = trade if noise == 0.0 and coarse == 1 else merged(trade, coarse, dice, noise or 0.001)
        late = dice.randint(0, bars // 2) if i > 0 and coarse == 1 and dice.random() < 0.5 else 0
        trade, mark = without_head(trade, late), without_head(mark, late) if coarse == 1 else mark
        volume = None
        if dice.randint(0, 4) == 3:
            volume = tuple(math.nan if k < late else dice.choice([0.0, 5.0, 7.0, 11.0]) for k in range(bars))
        contracts.append(
            Contract(
                trade=trade,
                mark=mark,
                tables=(step_tables if in_steps else tier_tables)(dice, balance, leverage, lot, worth * size),
                kind="inverse" if is_inverse else "linear",
                contract_size=size,
                lot=lot,
                min_quantity=dice.choice([0.0, 0.0, 2 * lot]),
                min_notional=dice.choice([0.0, 0.0, 0.07317 * balance]),
                margin_mode=dice.choice(["cross", "isolated"]) if modes == "mixed" else modes,
                leverage=leverage,
                taker_fee=dice.choice([0.0, 0.000613, 0.0021]),
                slippage=dice.choice([0.0, 0.000417, 0.0033]),
                volume=volume,
                index=without_head(near(dice, trade, 0.003), late) if account.funding_price == "index" else None,
                funding=settlements(dice, times[-1] + bar_ms, mark),
            )
        )
        leverages.append(leverage)
    return Case(
        contracts=tuple(contracts),
        open_time=tuple(times),
        bar_ms=bar_ms,
        targets=targets(dice, bars, leverages),
        settings=account,
        mark_bar_ms=None if coarse == 1 else coarse * bar_ms,
    )


def targets(dice: random.Random, bars: int, leverages: list[float]) -> tuple[Target, ...]:
    """Draw targets: some rows empty, some zero, some repeated, up to more than the leverage allows."""
    density = dice.choice([0.4, 0.15, 0.9])
    greed = dice.choice([0.9, 0.5, 1.1])
    found = []
    for i, leverage in enumerate(leverages):
        last = 0.0
        for bar in range(bars):
            if bar > 1 and dice.random() > density:
                continue
            word = dice.random()
            if word < 0.12:
                last = 0.0
            elif word < 0.8 or last == 0.0:
                last = dice.choice([-1, 1]) * dice.uniform(0.2, 1.0) * leverage * greed / math.sqrt(len(leverages))
            found.append(Target(bar, i, last))
    return tuple(found)


def with_settings(case: Case, **changes: object) -> Case:
    """Return the case under other rules."""
    return replace(case, settings=replace(case.settings, **changes))

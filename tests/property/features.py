"""Groups of rules that are added to a plain random run: brackets, ladders, requests, hedge mode, and so on.

Each group is a function from a case to a richer one. Prices, shares and rates have many random digits, so that exact
ties do not happen by accident.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from tests.property.series import merged, near, round_to
from tests.reference.case import (
    Amend,
    Cancel,
    Case,
    Clawback,
    Close,
    Contract,
    Deleverage,
    Ohlc,
    OwnFill,
    Request,
    Setting,
    Submit,
    Target,
    Tier,
    Tiers,
    Transfer,
)

Feature = Callable[[random.Random, Case], Case]


def enriched(dice: random.Random, case: Case, groups: Collection[str]) -> Case:
    """Return the case with the features of some groups."""
    if not groups:
        return case
    if case.settings.fill == "close" and "requests" in groups:
        case = with_rules(case, fill="next_open", latency_bars=dice.choice([0, 0, 1]))
    for name, feature in FEATURES.items():
        if name in groups:
            case = feature(dice, case)
    return case


def drawn_groups(dice: random.Random) -> tuple[str, ...]:
    """Draw which groups a run has."""
    found = {name for name in FEATURES if dice.random() < 0.3}
    return tuple(name for name in FEATURES if name in found)


def with_rules(case: Case, **changes: Any) -> Case:
    """Return the case under other rules."""
    return replace(case, settings=replace(case.settings, **changes))


def with_contracts(case: Case, change: Callable[[Contract], Contract]) -> Case:
    """Return the case with each contract changed."""
    return replace(case, contracts=tuple(change(c) for c in case.contracts))


def is_even(case: Case) -> bool:
    """Tell whether the bars follow each other without a gap."""
    return case.open_time[-1] - case.open_time[0] == (len(case.open_time) - 1) * case.bar_ms


def decision_bars(case: Case) -> list[int]:
    """Return the bars at whose close something can be decided."""
    n = case.signal_bars
    return [bar for bar in range(len(case.open_time)) if (bar + 1) % n == 0]


def close_of(case: Case, symbol: int, bar: int) -> float:
    """Return the traded close of a bar, or of the nearest one that there is."""
    closes = case.contracts[symbol].trade.close
    known = [(abs(k - bar), price) for k, price in enumerate(closes) if not math.isnan(price)]
    return min(known)[1]


def unit_worth(case: Case, symbol: int) -> float:
    price = close_of(case, symbol, 0)
    return 1 / price if case.contracts[symbol].kind == "inverse" else price


def usual_size(dice: random.Random, case: Case, symbol: int) -> float:
    """Draw a quantity that the account can carry."""
    leverage = min(case.contracts[symbol].leverage, 8.0)
    share = dice.uniform(0.05, 0.6) * leverage / len(case.contracts)
    return share * case.settings.balance / unit_worth(case, symbol)


def whole_lots(quantity: float, step: float) -> float:
    """Return a quantity that can have been traded: some lots, at least one."""
    return quantity if step == 0.0 else max(1, round(quantity / step)) * step


def sides(dice: random.Random, case: Case, symbol: int) -> int:
    """Draw the leg that a row names."""
    is_hedge = case.settings.position_mode == "hedge" and case.contracts[symbol].kind != "spot"
    return dice.choice([1, -1]) if is_hedge else 0


# -- what the run stands on --------------------------------------------------------------------------------------


def spot(dice: random.Random, case: Case) -> Case:
    """Add a spot instrument, held from the start or bought, that may count as collateral."""
    first = case.contracts[0]
    if first.kind == "inverse":
        return case
    trade = near(dice, first.trade, dice.choice([0.003, 0.03]))
    coarse = 1 if case.mark_bar_ms is None else case.mark_bar_ms // case.bar_ms
    worth = case.settings.balance / trade.open[0]
    lot = dice.choice([0.0, round_to(worth / 700)])
    needs_index = any(c.index is not None for c in case.contracts)
    added = Contract(
        trade=trade,
        mark=near(dice, trade, 0.002) if coarse == 1 else merged(trade, coarse, dice, 0.001),
        tables=(Tiers((Tier(0.0, math.inf, 0.0, 1.0),), form="flat"),),
        kind="spot",
        lot=lot,
        min_notional=dice.choice([0.0, 0.00317 * case.settings.balance]),
        leverage=1.0,
        taker_fee=dice.choice([0.0, 0.000873]),
        maker_fee=dice.choice([0.0, 0.000391]),
        slippage=dice.choice([0.0, 0.000281]),
        index=near(dice, trade, 0.002) if needs_index else None,
        haircut=dice.choice([None, 0.0, 0.0517, 0.2313]),
        holding=dice.choice([0.0, whole_lots(worth * dice.uniform(0.05, 0.8), lot)]),
    )
    number = len(case.contracts)
    rows = [Target(bar, number, dice.choice([0.0, dice.uniform(0.05, 0.7)])) for bar in decision_bars(case)]
    kept = tuple(row for row in rows if dice.random() < 0.3)
    return replace(case, contracts=(*case.contracts, added), targets=(*case.targets, *kept))


def detail(dice: random.Random, case: Case) -> Case:
    """Let several bars make a signal bar, or let decisions be late by milliseconds."""
    if not is_even(case):
        return case
    n = dice.choice([1, 2, 3, 4])
    late = dice.choice([0, 0, 1, case.bar_ms // 2, case.bar_ms, 2 * case.bar_ms + 1])
    late = 0 if case.settings.fill == "close" else late
    moved = {}
    for row in case.targets:
        bar = (row.bar // n + 1) * n - 1
        if bar < len(case.open_time):
            moved[bar, row.symbol] = replace(row, bar=bar)
    return with_rules(replace(case, signal_bars=n, targets=tuple(moved.values())), latency_ms=late)


def hedge(dice: random.Random, case: Case) -> Case:
    """Give each contract a long and a short leg."""
    rows: list[Target] = []
    for row in case.targets:
        word = dice.random()
        if case.contracts[row.symbol].kind == "spot" or word < 0.3:
            rows.append(row)
        elif word < 0.7:
            side = 1 if row.value > 0 else -1 if row.value < 0 else dice.choice([1, -1])
            rows.append(replace(row, side=side))
        else:
            size = abs(row.value)
            rows.append(replace(row, side=1, value=size * dice.uniform(0.2, 0.6)))
            rows.append(replace(row, side=-1, value=-size * dice.uniform(0.2, 0.6)))
    # a deduction belongs to a whole position: no leg can have that of a bracket which both legs chose
    has_deductions = any(t.form == "progressive" for c in case.contracts for t in c.tables)
    measure = "leg" if has_deductions else dice.choice(["leg", "gross", "gross"])
    return with_rules(replace(case, targets=tuple(rows)), position_mode="hedge", hedge_tier=measure)


def delisting(dice: random.Random, case: Case) -> Case:
    """Let one contract end before the run."""
    if case.mark_bar_ms is not None:
        return case
    number, bars = dice.randrange(len(case.contracts)), len(case.open_time)
    contract = case.contracts[number]
    first = next(k for k in range(bars) if not math.isnan(contract.trade.open[k]))
    if first >= bars - 2:
        return case
    last = dice.randrange(first + 1, bars - 1)

    def cut(series: Ohlc) -> Ohlc:
        blank = (math.nan,) * (bars - last - 1)
        return Ohlc(*(c[: last + 1] + blank for c in (series.open, series.high, series.low, series.close)))

    ended = replace(
        contract,
        trade=cut(contract.trade),
        mark=cut(contract.mark),
        index=None if contract.index is None else cut(contract.index),
        volume=None if contract.volume is None else contract.volume[: last + 1] + (math.nan,) * (bars - last - 1),
        last_bar=last,
    )
    contracts = (*case.contracts[:number], ended, *case.contracts[number + 1 :])
    own = tuple(f for f in case.own_fills if f.symbol != number or f.time < case.end_of(last))
    return replace(case, contracts=contracts, own_fills=own)


# -- costs and bounds --------------------------------------------------------------------------------------------


def with_volumes(dice: random.Random, case: Case, scale: float) -> Case:
    """Give each contract volumes of many digits, none in a bar now and then."""

    def volumes(symbol: int, contract: Contract) -> tuple[float, ...]:
        usual = scale * case.settings.balance * min(contract.leverage, 8.0) / unit_worth(case, symbol)
        if contract.kind == "inverse":
            usual /= close_of(case, symbol, 0)
        found = [0.0 if dice.random() < 0.04 else usual * dice.uniform(0.3, 1.7) for _ in case.open_time]
        return tuple(math.nan if math.isnan(p) else v for v, p in zip(found, contract.trade.open, strict=True))

    changed = tuple(replace(c, volume=volumes(i, c)) for i, c in enumerate(case.contracts))
    return replace(case, contracts=changed)


def costs(dice: random.Random, case: Case) -> Case:
    """Draw a slippage model, fees by volume, maker fees."""
    model = dice.choice(["fixed", "half_spread", "volatility", "impact"])
    if model == "impact":
        case = with_volumes(dice, case, dice.choice([1.0, 20.0]))
    case = with_contracts(case, lambda c: replace(c, maker_fee=dice.choice([0.0, 0.000217, -0.000103])))
    tiers: tuple[tuple[float, float, float], ...] = ()
    if dice.random() < 0.5:
        steps = sorted(case.settings.balance * dice.uniform(0.5, 30.0) for _ in range(2))
        tiers = ((0.0, 0.000713, 0.000299), (steps[0], 0.000517, 0.000191), (steps[1], 0.000313, -0.000057))
    return with_rules(
        case,
        slippage_model=model,
        half_spread_bps=dice.uniform(0.5, 9.0),
        volatility_factor=dice.uniform(0.02, 0.3),
        impact_factor=dice.uniform(0.05, 1.0),
        cost_window=dice.choice([1, 3, 24]),
        fee_tiers=tiers,
        volume_30d=dice.choice([0.0, case.settings.balance * dice.uniform(1.0, 20.0)]),
    )


def limits(dice: random.Random, case: Case) -> Case:
    """Draw bounds of exposure and of drawdown."""

    def maybe(low: float, high: float) -> float | None:
        return dice.uniform(low, high) if dice.random() < 0.5 else None

    return with_rules(
        case,
        gross_limit=maybe(0.4, 6.0),
        net_limit=maybe(0.3, 4.0),
        symbol_limit=maybe(0.2, 4.0),
        max_drawdown_stop=maybe(0.04, 0.5),
    )


def transfers(dice: random.Random, case: Case) -> Case:
    """Draw deposits and withdrawals."""
    start, end = case.open_time[0], case.open_time[-1]
    rows = [
        Transfer(dice.randint(start - 1, end), case.settings.balance * dice.uniform(-0.5, 0.4))
        for _ in range(dice.randint(1, 4))
    ]
    return replace(case, transfers=tuple(sorted(rows, key=lambda t: t.time)))


# -- what is decided ---------------------------------------------------------------------------------------------


def with_ticks(dice: random.Random, case: Case) -> Case:
    """Give contracts without a tick one, most of the time."""

    def tick(symbol: int, contract: Contract) -> float:
        price = close_of(case, symbol, 0)
        return contract.tick or dice.choice([0.0, round_to(price * dice.uniform(1e-5, 1e-3), 2)])

    return replace(case, contracts=tuple(replace(c, tick=tick(i, c)) for i, c in enumerate(case.contracts)))


def with_index(dice: random.Random, case: Case) -> Case:
    """Give each contract an index."""
    return with_contracts(case, lambda c: c if c.index is not None else replace(c, index=near(dice, c.trade, 0.003)))


def sizing(dice: random.Random, case: Case) -> Case:
    """Let targets count money, units, or the loss at a stop."""
    unit = dice.choice(["notional", "quantity", "risk"])
    rule = "on_change" if case.settings.rebalance == "band" else case.settings.rebalance
    rows = []
    for row in case.targets:
        value = row.value * case.settings.balance * dice.choice([1.0, 0.6])
        if unit == "quantity":
            value /= unit_worth(case, row.symbol)
        elif unit == "risk":
            value = row.value * dice.uniform(0.01, 0.06)
        rows.append(replace(row, value=value))
    settings_rows = case.settings_rows
    if unit == "risk":
        first = [
            Setting(decision_bars(case)[0], i, dice.choice(["stop_loss", "trailing_stop"]), dice.uniform(0.02, 0.2))
            for i in range(len(case.contracts))
            if dice.random() < 0.8
        ]
        settings_rows = tuple(sorted((*first, *settings_rows), key=lambda r: r.bar))
    changed = replace(case, targets=tuple(rows), settings_rows=settings_rows)
    return with_rules(changed, sizing=unit, rebalance=rule)


def brackets(dice: random.Random, case: Case) -> Case:
    """Draw stops, trailing stops and take-profits."""
    case = with_ticks(dice, case)
    watches = dice.choice(["last", "last", "mark", "index"])
    if watches == "index":
        case = with_index(dice, case)
    rows: list[Setting] = []
    for bar in decision_bars(case):
        for symbol in range(len(case.contracts)):
            if bar > decision_bars(case)[0] and dice.random() > 0.25:
                continue
            side = dice.choice([0, sides(dice, case, symbol)])
            rows += bracket_rows(dice, case, bar, symbol, side)
    return with_rules(
        replace(case, settings_rows=tuple(sorted((*case.settings_rows, *rows), key=lambda r: r.bar))),
        trigger=watches,
        take_profit=dice.choice(["market", "limit"]),
        stop_limit_bps=dice.choice([None, None, dice.uniform(0.0, 120.0)]),
    )


def bracket_rows(dice: random.Random, case: Case, bar: int, symbol: int, side: int) -> list[Setting]:
    """Draw what is set at one bar."""
    price, found = close_of(case, symbol, bar), []
    away = dice.choice([-1, 1])

    def add(name: str, value: float, rung: int = 0) -> None:
        found.append(Setting(bar, symbol, name, value, side, rung))

    word = dice.random()
    if word < 0.5:
        add("stop_loss", dice.choice([0.0, dice.uniform(0.01, 0.15), dice.uniform(0.01, 0.15)]))
    elif word < 0.6:
        add("stop_price", dice.choice([0.0, price * (1 - away * dice.uniform(0.01, 0.15))]))
    if dice.random() < 0.3:
        add("trailing_stop", dice.choice([0.0, dice.uniform(0.01, 0.15)]))
    rungs = dice.choice([0, 1, 2, 3])
    for rung in range(rungs):
        add("take_profit", dice.choice([0.0, *[dice.uniform(0.01, 0.2)] * 4]), rung)
        if dice.random() < 0.6:
            add("take_profit_share", dice.choice([dice.uniform(0.05, 0.7), 1.0, 0.5]), rung)
    if dice.random() < 0.1:
        add("take_profit_price", price * (1 + away * dice.uniform(0.01, 0.15)))
    return found


def times(dice: random.Random, case: Case) -> Case:
    """Draw holding times, pauses, and changes of leverage."""
    rows: list[Setting] = []
    for bar in decision_bars(case):
        for symbol, contract in enumerate(case.contracts):
            if bar > decision_bars(case)[0] and dice.random() > 0.15:
                continue
            name, value = dice.choice(
                [
                    ("hold_bars", float(dice.choice([0, 1, 2, 5]))),
                    ("hold_bars", float(dice.choice([1, 3]))),
                    ("cooldown_bars", float(dice.choice([0, 1, 2, 4]))),
                    ("active", float(dice.choice([0, 1, 1]))),
                    ("leverage", contract.leverage * dice.uniform(0.4, 1.3)),
                ]
            )
            if name != "leverage" or contract.kind != "spot":
                rows.append(Setting(bar, symbol, name, value, dice.choice([0, sides(dice, case, symbol)])))
    return replace(case, settings_rows=tuple(sorted((*case.settings_rows, *rows), key=lambda r: r.bar)))


def ladders(dice: random.Random, case: Case) -> Case:
    """Give targets limit prices."""
    case = with_ticks(dice, case)
    rows = []
    for row in case.targets:
        if dice.random() < 0.7:
            price = close_of(case, row.symbol, row.bar)
            side = 1 if row.value > 0 else -1
            count = dice.choice([1, 1, 2, 3])
            rungs = tuple(
                (price * (1 - side * dice.gauss(0.008 * (k + 1), 0.01)), dice.uniform(0.1, 0.9) / count)
                for k in range(count)
            )
            rows.append(replace(row, rungs=rungs))
        else:
            rows.append(row)
    case = replace(case, targets=tuple(rows))
    return resting_rules(dice, case)


def resting_rules(dice: random.Random, case: Case) -> Case:
    """Draw how limit orders rest and fill."""
    share = None
    if dice.random() < 0.4:
        case, share = with_volumes(dice, case, dice.choice([0.2, 2.0])), dice.uniform(0.1, 1.0)
        case = with_contracts(case, lambda c: replace(c, min_quantity=0.0, min_notional=0.0))
    return with_rules(
        case,
        limit_bars=dice.choice([0, 0, 1, 3]),
        post_only=dice.random() < 0.2,
        through_ticks=dice.choice([0, 0, 0, 1, 3]),
        volume_share=share,
    )


def requests(dice: random.Random, case: Case) -> Case:
    """Draw what a loop asks for."""
    case = with_ticks(dice, case)
    if dice.random() < 0.4:
        case = resting_rules(dice, case)
    has_index = dice.random() < 0.3
    if has_index:
        case = with_index(dice, case)
    found: list[Request] = []
    for bar in decision_bars(case):
        for _ in range(dice.choice([0, 0, 1, 1, 2, 3])):
            made = [k for k, r in enumerate(found) if isinstance(r, Submit)]
            word = dice.random()
            symbol = dice.randrange(len(case.contracts))
            if word < 0.12 and made:
                found.append(changed_order(dice, case, bar, found, dice.choice(made)))
            elif word < 0.2:
                which = dice.choice(made) if made and dice.random() < 0.7 else None
                found.append(Cancel(bar, which, None if which is not None else dice.choice([symbol, None])))
            elif word < 0.26:
                found.append(Close(bar, dice.choice([symbol, symbol, None])))
            else:
                found.append(new_order(dice, case, bar, symbol, has_index))
    return replace(case, requests=tuple(found))


def new_order(dice: random.Random, case: Case, bar: int, symbol: int, has_index: bool) -> Submit:
    """Draw an order near the close."""
    price, buy = close_of(case, symbol, bar), dice.random() < 0.5
    kind = dice.choice(
        ["market", "limit", "limit", "stop", "stop_limit", "take_profit", "take_profit_limit", "trailing_stop"]
    )
    sign = 1 if buy else -1
    beyond = sign if kind.startswith("stop") else -sign
    trigger = (
        price * (1 + beyond * dice.gauss(0.02, 0.015)) if kind not in {"market", "limit", "trailing_stop"} else None
    )
    limit = None
    if kind == "limit":
        limit = price * (1 - sign * dice.gauss(0.01, 0.015))
    elif kind.endswith("_limit"):
        assert trigger is not None
        limit = trigger * (1 + sign * dice.gauss(0.0, 0.005))
    fraction = dice.uniform(0.005, 0.06) if kind == "trailing_stop" and dice.random() < 0.5 else None
    return Submit(
        bar,
        symbol,
        buy,
        usual_size(dice, case, symbol),
        kind=kind,
        limit=limit,
        trigger=trigger,
        watches=dice.choice(["last", "last", "mark", "index"] if has_index else ["last", "mark"]),
        distance=price * dice.uniform(0.005, 0.06) if kind == "trailing_stop" and fraction is None else None,
        fraction=fraction,
        reduce_only=dice.random() < 0.25,
        post_only=kind.endswith("limit") and dice.random() < 0.2,
        good_for=dice.choice([0, 0, 1, 2, 5]),
        group=dice.choice([0, 0, 0, 1, 2]),
        side=sides(dice, case, symbol),
    )


def changed_order(dice: random.Random, case: Case, bar: int, found: list[Request], number: int) -> Amend:
    """Draw a change of an order."""
    order = found[number]
    assert isinstance(order, Submit)

    def moved(price: float | None) -> float | None:
        return price * (1 + dice.gauss(0.0, 0.01)) if price is not None and dice.random() < 0.6 else None

    quantity = usual_size(dice, case, order.symbol) if dice.random() < 0.4 else None
    return Amend(bar, number, quantity, moved(order.limit), moved(order.trigger))


def own_fills(dice: random.Random, case: Case) -> Case:
    """Draw trades executed elsewhere; legs and spot are only added to."""
    found = []
    for bar, start in enumerate(case.open_time):
        for symbol, contract in enumerate(case.contracts):
            if dice.random() > 0.12 or math.isnan(contract.trade.open[bar]):
                continue
            side = sides(dice, case, symbol)
            sign = 1 if contract.kind == "spot" else side or dice.choice([1, -1])
            size = usual_size(dice, case, symbol) * dice.uniform(0.1, 0.5)
            found.append(
                OwnFill(
                    time=start + dice.randrange(1, case.bar_ms // 60_000) * 60_000 - 7 * symbol - 1,
                    symbol=symbol,
                    quantity=sign * whole_lots(size, contract.lot * contract.contract_size),
                    price=dice.uniform(contract.trade.low[bar], contract.trade.high[bar]),
                    fee=dice.choice([None, 0.000213 * case.settings.balance * dice.random()]),
                    is_maker=dice.random() < 0.5,
                    side=side,
                )
            )
    return replace(case, own_fills=tuple(sorted(found, key=lambda f: f.time)))


def venue_events(dice: random.Random, case: Case) -> Case:
    """Draw deleveragings, at opens and inside bars, at marks and at prices about them, and clawbacks.

    Without lots a price that the balance does not bear would be cut to a balance of nothing at all: an exact tie.
    """
    found: list[Deleverage | Clawback] = []
    for bar, start in enumerate(case.open_time):
        for symbol, contract in enumerate(case.contracts):
            price = contract.trade.close[bar]
            if contract.kind == "spot" or math.isnan(price) or dice.random() > 0.2:
                continue
            near, far = (0.1, 0.5) if contract.lot else (0.002, 0.01)
            units = whole_lots(usual_size(dice, case, symbol), contract.lot * contract.contract_size)
            found.append(
                Deleverage(
                    time=start + dice.choice([0, 0, dice.randrange(1, case.bar_ms)]),
                    symbol=symbol,
                    fraction=dice.choice([1.0, 1.0, dice.uniform(0.05, 0.95)]),
                    price=dice.choice(
                        [None, price * (1 + dice.uniform(-near, near)), price * (1 + dice.uniform(-far, far))]
                    ),
                    side=sides(dice, case, symbol) or dice.choice([0, 0, 1, -1]),
                    quantity=dice.choice([None, None, units]),
                    mark=dice.choice([None, None, price * (1 + dice.uniform(-near, near))]),
                )
            )
        if dice.random() < 0.1:
            rate, amount = dice.choice(
                [(dice.uniform(0.0, 1.0), None), (1.0, None), (None, case.settings.balance * dice.uniform(0.0, 0.3))]
            )
            time = start + dice.choice([0, dice.randrange(1, case.bar_ms)])
            since = dice.choice([None, None, dice.randint(case.open_time[0], time)])
            found.append(Clawback(time, rate, amount, since))
    return replace(case, venue_events=tuple(sorted(found, key=lambda e: e.time)))


FEATURES: dict[str, Feature] = {
    "spot": spot,
    "detail": detail,
    "hedge": hedge,
    "costs": costs,
    "limits": limits,
    "transfers": transfers,
    "sizing": sizing,
    "brackets": brackets,
    "times": times,
    "ladders": ladders,
    "requests": requests,
    "own_fills": own_fills,
    "delisting": delisting,
    "venue_events": venue_events,
}

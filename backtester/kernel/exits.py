"""Orders attached to a position: its stop, its trailing stop, its targets. They follow its size.

Source: ``docs/execution.md``, "Settings".
"""

from __future__ import annotations

import math

from backtester.domain.enums import FillReason, RejectReason, SettingField, TriggerPrice
from backtester.kernel._jit import constant, step
from backtester.kernel.account import CHANGED, DUST, INCREASED, NO_BAR, SET, ask_refresh
from backtester.kernel.fills import add_on_grid, floor_to_step
from backtester.kernel.resting import (
    CANCELLED,
    FILLED,
    LIMIT,
    NO_REASON,
    STOP,
    STOP_LIMIT,
    TAKE_PROFIT,
    TRAILING_STOP,
    better,
    end_resting,
    first_bar_at,
    place,
    set_limit,
    set_trigger,
    wake_now,
    write_order,
)
from backtester.kernel.state import EXIT_BAR, NONE, REFRESH, RUNGS, Book, Journal, Market, Setup
from backtester.kernel.value import slipped

BY_STOP_LOSS = constant(FillReason.STOP_LOSS)
BY_TAKE_PROFIT = constant(FillReason.TAKE_PROFIT)
BY_TRAILING = constant(FillReason.TRAILING_STOP)
WHOLE = 1.0 - 1e-9  # shares that add up to one, but for rounding
POSITION_CLOSED = constant(RejectReason.POSITION_CLOSED)
REQUESTED = constant(RejectReason.REQUESTED)
NO_REQUEST = constant(NONE)
OFF = 0.0
LAST = constant(TriggerPrice.LAST)
MARK = constant(TriggerPrice.MARK)
SET_STOP_LOSS = constant(SettingField.STOP_LOSS)
SET_STOP_PRICE = constant(SettingField.STOP_PRICE)
SET_TRAILING = constant(SettingField.TRAILING_STOP)
SET_TAKE_PROFIT = constant(SettingField.TAKE_PROFIT)
SET_TAKE_PRICE = constant(SettingField.TAKE_PROFIT_PRICE)
SET_TAKE_SHARE = constant(SettingField.TAKE_PROFIT_SHARE)
SET_HOLD = constant(SettingField.HOLD_BARS)
SET_COOLDOWN = constant(SettingField.COOLDOWN_BARS)
SET_ACTIVE = constant(SettingField.ACTIVE)


@step
def apply_setting(book: Book, i: int, setting: int, rung: int, value: float) -> None:
    """Put a setting in force; prices are values, bars ms."""
    p = book.positions[i]
    if setting == SET_HOLD:
        p["hold_ms"] = value
        book.account[0]["holds"] = 1
        p["has_exits"] = 1
        ask_refresh(book, i, CHANGED)
    elif setting == SET_COOLDOWN:
        p["cooldown_ms"] = value
    elif setting == SET_ACTIVE:
        p["inactive"] = 0 if value != 0.0 else 1
    elif setting in (SET_STOP_LOSS, SET_STOP_PRICE, SET_TRAILING):
        apply_stop(book, i, setting, value)
    elif setting in (SET_TAKE_PROFIT, SET_TAKE_PRICE, SET_TAKE_SHARE):
        apply_target(book, i, setting, rung, value)
    else:
        p["leverage"] = value


@step
def apply_stop(book: Book, i: int, setting: int, value: float) -> None:
    """Put a setting of the stop or the trailing stop in force; one that changes nothing attaches nothing."""
    p = book.positions[i]
    if setting == SET_STOP_LOSS:
        before = p["stop_loss"]
        p["stop_loss"] = value
    elif setting == SET_STOP_PRICE:
        before = p["stop_value"]
        p["stop_value"] = value
    else:
        before = p["trailing"]
        p["trailing"] = value
    if before != value:
        p["has_exits"] = 1
        ask_refresh(book, i, SET)


@step
def apply_target(book: Book, i: int, setting: int, rung: int, value: float) -> None:
    """Put a setting of a take-profit in force; one that has closed its share may do so again."""
    p = book.positions[i]
    r = book.rungs[i * RUNGS + rung]
    if setting == SET_TAKE_PROFIT:
        before = r["fraction"]
        r["fraction"] = value
    elif setting == SET_TAKE_PRICE:
        before = r["value"]
        r["value"] = value
    else:
        before = r["share"]
        r["share"] = value
    if before == value:
        return
    p["has_exits"] = 1
    ask_refresh(book, i, SET)
    if r["is_done"] == 1:
        r["is_done"] = 0
        r["taken"] = 0.0


@step
def drop_exits(setup: Setup, book: Book, journal: Journal) -> None:
    """Cancel the attached orders that the settings have switched off."""
    if book.account[0]["refresh"] == 0:
        return
    for i in range(book.positions.size):
        p = book.positions[i]
        if book.marks[REFRESH, i] < SET or p["quantity"] == 0.0:
            continue
        if p["exit_order"] != NONE and stop_level(setup, book, i) == OFF:
            end_resting(book, journal, p["exit_order"], CANCELLED, REQUESTED)
        if p["trail_order"] != NONE and p["trailing"] == OFF:
            end_resting(book, journal, p["trail_order"], CANCELLED, REQUESTED)
        for rung in range(RUNGS):
            k = book.rungs[i * RUNGS + rung]["order"]
            if k != NONE and target_level(setup, book, i, rung) == OFF:
                end_resting(book, journal, k, CANCELLED, REQUESTED)


@step
def stop_level(setup: Setup, book: Book, i: int) -> float:
    """Return the value at which the settings stop a held position; ``OFF`` where they do not, or below a price of 0."""
    p = book.positions[i]
    sign = setup.instruments[i]["sign"]
    level = p["stop_value"]
    if level == OFF and p["stop_loss"] > 0.0:
        level = slipped(p["entry_value"], -1.0 if p["quantity"] > 0.0 else 1.0, p["stop_loss"], sign)
    return level if level * sign > 0.0 else OFF


@step
def target_level(setup: Setup, book: Book, i: int, rung: int) -> float:
    """Return the value at which a rung takes a held position's profit; ``OFF`` where none, or below a price of 0."""
    p = book.positions[i]
    r = book.rungs[i * RUNGS + rung]
    sign = setup.instruments[i]["sign"]
    level = r["value"]
    if level == OFF and r["fraction"] > 0.0:
        level = slipped(p["entry_value"], 1.0 if p["quantity"] > 0.0 else -1.0, r["fraction"], sign)
    return level if level * sign > 0.0 else OFF


@step
def present_value(book: Book, i: int, watches: int) -> float:
    """Return where the series that a trigger watches stands now."""
    p = book.positions[i]
    if watches == LAST:
        return float(p["trade_now"])
    return float(p["value_now"]) if watches == MARK else float(p["index_now"])


@step
def attach(
    setup: Setup,
    book: Book,
    journal: Journal,
    i: int,
    k: int,
    kind: int,
    origin: int,
    bar: int,
) -> int:
    """Return the attached order to work on: the one there is, or a new one."""
    side = -1.0 if book.positions[i]["quantity"] > 0.0 else 1.0
    if k != NONE:
        wake_now(book, k, bar)
        return k
    now = book.account[0]["time"]
    number = write_order(setup, book, journal, i, kind, origin, NO_REQUEST, now, now, math.nan, math.nan)
    k = place(book, journal, i, kind, origin, side, 0.0, number, bar)
    book.resting[k]["reduce_only"] = 1
    book.resting[k]["watches"] = setup.rules[0]["trigger"]
    return k


@step
def place_stop(setup: Setup, book: Book, journal: Journal, i: int, bar: int) -> None:
    """Place, move or take away the stop of a held position."""
    p = book.positions[i]
    rules = setup.rules[0]
    sign = setup.instruments[i]["sign"]
    side = 1.0 if p["quantity"] > 0.0 else -1.0
    level = stop_level(setup, book, i)
    if level == OFF:
        if p["exit_order"] != NONE:
            end_resting(book, journal, p["exit_order"], CANCELLED, REQUESTED)
        return
    kind = STOP if rules["stop_limit"] < 0.0 else STOP_LIMIT
    k = attach(setup, book, journal, i, p["exit_order"], kind, BY_STOP_LOSS, bar)
    p["exit_order"] = k
    if book.resting[k]["kind"] == LIMIT:
        return  # triggered already, and waiting at its limit
    set_trigger(setup, book, journal, k, level)
    if kind == STOP_LIMIT:
        set_limit(setup, book, journal, k, slipped(book.resting[k]["trigger"], -side, rules["stop_limit"], sign))


@step
def place_trailing(setup: Setup, book: Book, journal: Journal, i: int, bar: int) -> None:
    """Place, change or take away the trailing stop of a held position."""
    p = book.positions[i]
    if p["trailing"] == 0.0:
        if p["trail_order"] != NONE:
            end_resting(book, journal, p["trail_order"], CANCELLED, REQUESTED)
        return
    k = attach(setup, book, journal, i, p["trail_order"], TRAILING_STOP, BY_TRAILING, bar)
    p["trail_order"] = k
    o = book.resting[k]
    o["fraction"] = p["trailing"]
    o["best"] = better(o["side"], o["best"], present_value(book, i, o["watches"]))


@step
def place_target(setup: Setup, book: Book, journal: Journal, i: int, rung: int, bar: int) -> None:
    """Place, move or take away a take-profit of a held position."""
    r = book.rungs[i * RUNGS + rung]
    level = target_level(setup, book, i, rung)
    if level == OFF:
        if r["order"] != NONE:
            end_resting(book, journal, r["order"], CANCELLED, REQUESTED)
        return
    if r["is_done"] == 1:
        return
    as_limit = setup.rules[0]["take_profit_limit"] == 1
    k = attach(setup, book, journal, i, r["order"], LIMIT if as_limit else TAKE_PROFIT, BY_TAKE_PROFIT, bar)
    r["order"] = k
    book.resting[k]["rung"] = i * RUNGS + rung
    if as_limit:
        before = book.resting[k]["limit"]
        set_limit(setup, book, journal, k, level)
        if book.resting[k]["limit"] != before:
            book.resting[k]["is_new"] = 1
    else:
        set_trigger(setup, book, journal, k, level)


@step
def resize(book: Book, journal: Journal, k: int, left: float) -> None:
    """Let an attached order close ``left`` units."""
    o = book.resting[k]
    o["left"] = left
    row = journal.orders[o["number"]]
    row["wanted_quantity"] = row["filled_quantity"] + o["side"] * left


@step
def share_left(setup: Setup, book: Book, i: int, rung: int) -> float:
    """Return what a take-profit has still to close of its share of the base: at least one lot, less what it closed."""
    instrument = setup.instruments[i]
    r = book.rungs[i * RUNGS + rung]
    step_num = instrument["step_num"]
    whole = floor_to_step(r["share"] * book.positions[i]["base"], step_num, instrument["step_den"])
    if step_num > 0.0:
        whole = max(whole, step_num / instrument["step_den"])
    left = add_on_grid(whole, -r["taken"], step_num, instrument["step_den"])
    return left if left > DUST * whole else 0.0


@step
def count_targets(book: Book, i: int) -> int:
    """Return how many take-profits of a slot rest."""
    resting = 0
    for rung in range(RUNGS):
        resting += int(book.rungs[i * RUNGS + rung]["order"] != NONE)
    return resting


@step
def closes_rest(book: Book, i: int, resting: int) -> bool:
    """Return whether the one take-profit left closes all that is held: where the shares of all come to the whole."""
    total = 0.0
    for rung in range(RUNGS):
        r = book.rungs[i * RUNGS + rung]
        if r["fraction"] > 0.0 or r["value"] != OFF:
            total += r["share"]
    return bool(resting == 1 and total >= WHOLE)


@step
def end_done_targets(setup: Setup, book: Book, journal: Journal, i: int, resting: int) -> int:
    """End the take-profits that have closed all of a smaller share; return how many are left."""
    for rung in range(RUNGS):
        r = book.rungs[i * RUNGS + rung]
        k = r["order"]
        if k == NONE or r["share"] == 1.0 or closes_rest(book, i, resting) or share_left(setup, book, i, rung) > 0.0:
            continue
        r["is_done"] = 1
        resting -= 1
        has_filled = journal.orders[book.resting[k]["number"]]["filled_quantity"] != 0.0
        resize(book, journal, k, 0.0)
        end_resting(book, journal, k, FILLED if has_filled else CANCELLED, NO_REASON if has_filled else REQUESTED)
    return resting


@step
def resize_targets(setup: Setup, book: Book, journal: Journal, i: int) -> None:
    """Give each take-profit its share of the base; the last one left all that is held, if the shares add up."""
    resting = end_done_targets(setup, book, journal, i, count_targets(book, i))
    held = abs(book.positions[i]["quantity"])
    for rung in range(RUNGS):
        r = book.rungs[i * RUNGS + rung]
        if r["order"] == NONE:
            continue
        left = held
        if r["share"] < 1.0 and not closes_rest(book, i, resting):
            left = min(share_left(setup, book, i, rung), held)
        resize(book, journal, r["order"], left)


@step
def refresh_exits(setup: Setup, market: Market, book: Book, journal: Journal, i: int, bar: int) -> None:
    """After a slot's size or settings changed: cancel, place, move and resize what is attached to its position.

    ``trade_now``, ``value_now`` and ``index_now`` say where the prices stand.
    """
    p = book.positions[i]
    change = book.marks[REFRESH, i]
    if change == 0:
        return
    book.marks[REFRESH, i] = 0
    if p["has_exits"] == 0:
        return
    if p["quantity"] == 0.0:
        detach(book, journal, i)
        return
    if change >= SET:
        if change == INCREASED:
            for rung in range(RUNGS):
                book.rungs[i * RUNGS + rung]["is_done"] = 0
                book.rungs[i * RUNGS + rung]["taken"] = 0.0
        place_stop(setup, book, journal, i, bar)
        place_trailing(setup, book, journal, i, bar)
        for rung in range(RUNGS):
            place_target(setup, book, journal, i, rung, bar)
    book.marks[EXIT_BAR, i] = NO_BAR
    if p["hold_ms"] > 0:
        book.marks[EXIT_BAR, i] = max(first_bar_at(market, p["opened"] + p["hold_ms"]), bar + 1)
        book.account[0]["wake"] = min(book.account[0]["wake"], book.marks[EXIT_BAR, i])
    if p["exit_order"] != NONE:
        resize(book, journal, p["exit_order"], abs(p["quantity"]))
    if p["trail_order"] != NONE:
        resize(book, journal, p["trail_order"], abs(p["quantity"]))
    resize_targets(setup, book, journal, i)


@step
def detach(book: Book, journal: Journal, i: int) -> None:
    """Cancel what was attached to a position that is no more."""
    p = book.positions[i]
    if p["exit_order"] != NONE:
        end_resting(book, journal, p["exit_order"], CANCELLED, POSITION_CLOSED)
    if p["trail_order"] != NONE:
        end_resting(book, journal, p["trail_order"], CANCELLED, POSITION_CLOSED)
    for rung in range(RUNGS):
        if book.rungs[i * RUNGS + rung]["order"] != NONE:
            end_resting(book, journal, book.rungs[i * RUNGS + rung]["order"], CANCELLED, POSITION_CLOSED)

"""Instructions and funding records as the kernel's schedule: by slot, by the bar at which each is due."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backtester.domain.config import RunConfig
from backtester.domain.enums import SettingField, VenueEventKind
from backtester.domain.instrument import Instrument
from backtester.engine.contract_terms import ContractTerms
from backtester.engine.instructions import (
    Instructions,
    Ladder,
    OwnFills,
    SettingRows,
    TargetRows,
    Transfers,
    VenueEvents,
)
from backtester.errors import ConfigError, DataError
from backtester.kernel import state
from backtester.market.funding_records import DEFAULT_INTERVAL_HOURS
from backtester.market.panel import Panel

HOUR_MS = 3_600_000
PRICES = (SettingField.STOP_PRICE, SettingField.TAKE_PROFIT_PRICE)
TIMES = (SettingField.HOLD_BARS, SettingField.COOLDOWN_BARS)


class Slot(NamedTuple):
    """What holds one position: a contract's number, and its leg in hedge mode (+1, -1), else 0."""

    symbol: int
    leg: int


def schedule_of(  # noqa: PLR0917 - one value of each kind
    panel: Panel,
    terms: Sequence[ContractTerms],
    slots: Sequence[Slot],
    signs: NDArray[np.float64],
    config: RunConfig,
    instructions: Instructions,
    switches: NDArray[np.void],
) -> state.Schedule:
    """Return what happens when.

    Parameters
    ----------
    panel, terms, config, instructions
        As ``prepare`` takes them.
    slots : sequence of Slot
        What holds positions.
    signs : array, shape (N,)
        +1 for prices that are values, -1 for inverse contracts.
    switches : array
        Rows of ``state.SWITCH``.
    """
    signal_ms = instructions.signal_ms or panel.timeframe_ms
    return state.Schedule(
        targets=_targets(panel, slots, config, instructions.targets, signal_ms),
        settlements=_settlements(panel, terms, slots, signs, config),
        switches=switches,
        ladder=_ladder(signs, instructions.targets, instructions.ladder),
        settings=_settings(panel, terms, slots, signs, config, instructions.settings, signal_ms),
        transfers=_transfers(panel, instructions.transfers),
        own_fills=_own_fills(panel, slots, signs, instructions.own_fills),
        delistings=_delistings(terms, slots),
        venue_events=_venue_events(panel, slots, signs, instructions.venue_events),
        calls=np.ascontiguousarray(instructions.calls, np.int64),
        call_due=due_bars(panel, instructions.calls, config, signal_ms),
    )


def due_bars(panel: Panel, decision: NDArray[np.int64], config: RunConfig, signal_ms: int) -> NDArray[np.int64]:
    """Return the bars at whose open decisions are due; under ``fill = "close"`` the deciding bars themselves."""
    execution = config.execution
    if execution.fill == "close":
        return np.asarray(decision, np.int64)
    if signal_ms == panel.timeframe_ms and execution.latency_ms == 0:
        return np.asarray(decision, np.int64) + 1 + execution.latency_bars
    closes = np.append(panel.open_time[1:], panel.end)[decision]
    due = closes + execution.latency_bars * signal_ms + execution.latency_ms
    bars = np.searchsorted(panel.open_time, due)
    beyond = -(-np.maximum(due - panel.end, 0) // panel.timeframe_ms)
    return np.asarray(np.where(bars == panel.open_time.size, bars + beyond, bars), np.int64)


def _legs(
    slots: Sequence[Slot], symbol: NDArray[np.int64], side: NDArray[np.int64], where: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows, repeated for every leg that each means, and the slot of each."""
    rows, places = [], []
    for k, slot in enumerate(slots):
        mine = symbol == slot.symbol
        if slot.leg:
            mine &= (side == 0) | (side == slot.leg)
        elif side.size and bool((mine & (side != 0)).any()):
            raise ConfigError(
                f"{where} name a leg, and contract {slot.symbol} has one net position.",
                "Set account.position_mode = 'hedge'.",
            )
        found = np.flatnonzero(mine)
        rows.append(found)
        places.append(np.full(found.size, k, np.int64))
    return np.concatenate(rows), np.concatenate(places)


def _sides(side: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    return side if side.size else np.zeros(size, np.int64)


def _targets(
    panel: Panel, slots: Sequence[Slot], config: RunConfig, targets: TargetRows, signal_ms: int
) -> NDArray[np.void]:
    """Return targets by slot with the bar at which each is due; under ``on_change`` those that differ from the last."""
    row, slot = _legs(slots, targets.symbol, _sides(targets.side, targets.bar.size), "Targets")
    leg = np.array([s.leg for s in slots], np.int64)[slot]
    value = targets.target[row]
    value = np.where(leg > 0, np.maximum(value, 0.0), np.where(leg < 0, np.minimum(value, 0.0), value))
    if config.execution.rebalance == "on_change":
        keep = np.ones(row.size, bool)
        keep[1:] = (slot[1:] != slot[:-1]) | (value[1:] != value[:-1])
        row, slot, value = row[keep], slot[keep], value[keep]
    order = np.lexsort((slot, targets.bar[row]))
    row, slot, value = row[order], slot[order], value[order]
    rows = np.zeros(row.size, state.TARGET)
    rows["decision_bar"], rows["symbol"], rows["target"] = targets.bar[row], slot, value + 0.0
    rows["due_bar"] = due_bars(panel, targets.bar[row], config, signal_ms)
    rows["acts"] = int(config.execution.rebalance != "band")
    if targets.rungs.size:
        rows["first_rung"], rows["rungs"] = targets.first_rung[row], targets.rungs[row]
    return rows


def _ladder(signs: NDArray[np.float64], targets: TargetRows, ladder: Ladder) -> NDArray[np.void]:
    """Return the limit prices of targets in value space."""
    rows = np.zeros(ladder.price.size, state.LADDER)
    sign = np.ones(ladder.price.size)
    for k in np.flatnonzero(targets.rungs) if targets.rungs.size else ():
        sign[targets.first_rung[k] : targets.first_rung[k] + targets.rungs[k]] = signs[targets.symbol[k]]
    rows["value"] = np.where(sign > 0.0, ladder.price, -1.0 / ladder.price)
    rows["share"] = ladder.share
    return rows


def _settings(  # noqa: PLR0917 - one value of each kind
    panel: Panel,
    terms: Sequence[ContractTerms],
    slots: Sequence[Slot],
    signs: NDArray[np.float64],
    config: RunConfig,
    settings: SettingRows,
    signal_ms: int,
) -> NDArray[np.void]:
    """Return settings by slot: prices in value space, bars as times."""
    row, slot = _legs(slots, settings.symbol, _sides(settings.side, settings.bar.size), "Settings")
    is_spot = np.array([terms[s.symbol].is_spot for s in slots])[slot]
    keep = ~(is_spot & (settings.setting[row] == SettingField.LEVERAGE))  # spot is paid in full
    row, slot = row[keep], slot[keep]
    order = np.lexsort((row, settings.bar[row]))
    row, slot = row[order], slot[order]
    kind, value = settings.setting[row], settings.value[row]
    inverse = np.isin(kind, PRICES) & (signs[settings.symbol[row]] < 0.0) & (value != 0.0)
    value = np.where(inverse, -1.0 / np.where(value == 0.0, 1.0, value), value)
    rows = np.zeros(row.size, state.SETTING)
    rows["due_bar"] = due_bars(panel, settings.bar[row], config, signal_ms)
    rows["symbol"], rows["setting"], rows["rung"] = slot, kind, settings.rung[row]
    rows["value"] = np.where(np.isin(kind, TIMES), value * signal_ms, value)
    return rows


def _transfers(panel: Panel, transfers: Transfers) -> NDArray[np.void]:
    """Return the transfers that an open of the run takes, at the first at or after each."""
    bar = np.searchsorted(panel.open_time, transfers.time)
    inside = bar < panel.open_time.size
    rows = np.zeros(int(inside.sum()), state.TRANSFER)
    rows["bar"], rows["amount"] = bar[inside], transfers.amount[inside]
    return rows


def _own_fills(panel: Panel, slots: Sequence[Slot], signs: NDArray[np.float64], fills: OwnFills) -> NDArray[np.void]:
    """Return executed trades by slot, sorted by time."""
    place = {(s.symbol, s.leg): k for k, s in enumerate(slots)}
    rows = np.zeros(fills.time.size, state.OWN_FILL)
    rows["bar"] = np.searchsorted(panel.open_time, fills.time, side="right") - 1
    rows["time"], rows["quantity"], rows["fee"] = fills.time, fills.quantity, fills.fee
    rows["is_maker"] = fills.is_maker
    rows["value"] = np.where(signs[fills.symbol] > 0.0, fills.price, -1.0 / fills.price)
    for n, (symbol, side) in enumerate(zip(fills.symbol.tolist(), fills.side.tolist(), strict=True)):
        if (symbol, side) not in place:
            raise ConfigError(
                f"Own fill {n + 1} names {'a leg' if side else 'no leg'} of {panel.symbols[symbol]}.",
                "Legs go with account.position_mode = 'hedge', and only with it.",
            )
        rows["symbol"][n] = place[symbol, side]
    return rows[np.argsort(rows["time"], kind="stable")]


def _venue_events(
    panel: Panel, slots: Sequence[Slot], signs: NDArray[np.float64], events: VenueEvents
) -> NDArray[np.void]:
    """Return deleveragings and clawbacks by slot: at the open that has their time, else at the close of their bar.

    One in a gap of the bars happens at the open after it.
    """
    opens = panel.open_time
    bar = np.searchsorted(opens, events.time, side="right") - 1
    in_gap = (events.time >= opens[bar] + panel.timeframe_ms) & (bar + 1 < opens.size)
    bar = bar + in_gap
    at_close = ~in_gap & (events.time != opens[bar])
    place = {(s.symbol, s.leg): k for k, s in enumerate(slots)}
    rows = np.zeros(events.time.size, state.VENUE_EVENT)
    rows["bar"], rows["at_close"], rows["kind"] = bar, at_close, events.kind
    rows["side"], rows["fraction"], rows["quantity"] = events.side, events.fraction, events.quantity
    rows["rate"], rows["amount"] = events.rate, events.amount
    began = np.minimum(np.searchsorted(opens, events.since), bar)  # what is known by then: at the latest its own bar
    rows["since"] = np.where(events.since < 0, state.NONE, began)
    for n, (kind, symbol, side) in enumerate(
        zip(events.kind.tolist(), events.symbol.tolist(), events.side.tolist(), strict=True)
    ):
        if kind == VenueEventKind.CLAWBACK:
            continue
        price, mark = float(events.price[n]), float(events.mark[n])
        rows["value"][n] = price if signs[symbol] > 0.0 else -1.0 / price
        rows["mark"][n] = mark if signs[symbol] > 0.0 else -1.0 / mark
        rows["symbol"][n] = place[symbol, side] if (symbol, side) in place else place[symbol, 0]
    return rows[np.lexsort((rows["at_close"], rows["bar"]))]


def _delistings(terms: Sequence[ContractTerms], slots: Sequence[Slot]) -> NDArray[np.void]:
    found = sorted((int(b), k) for k, s in enumerate(slots) if (b := terms[s.symbol].last_bar) is not None)
    return np.array(found, state.DELISTING)


def _settlements(
    panel: Panel,
    terms: Sequence[ContractTerms],
    slots: Sequence[Slot],
    signs: NDArray[np.float64],
    config: RunConfig,
) -> NDArray[np.void]:
    """Return the settlements of all slots in the order in which they are paid."""
    at_index = config.funding.price == "index"
    if at_index and panel.index is None and config.funding.source != "none":
        raise DataError(
            f"{panel.venue} {panel.symbols[0]} index",
            "funding is valued at the index, and there is no index series",
            hint="Import one, or set funding.price = 'mark'.",
        )
    parts = [np.zeros(0, state.SETTLEMENT)]
    for k, slot in enumerate(slots):
        i, term = slot.symbol, terms[slot.symbol]
        if term.is_spot:
            continue
        time, rate, price = _records(panel, i, term.instrument, config)
        inside_run = (time >= panel.open_time[0]) & (time < panel.end)
        time, rate, price = time[inside_run], rate[inside_run], price[inside_run]
        rows = np.zeros(time.size, state.SETTLEMENT)
        bar = np.searchsorted(panel.open_time, time, side="right") - 1
        inside = time != panel.open_time[bar]
        if at_index and panel.index is not None:
            price = np.where(inside, panel.index.close[i][bar], panel.index.open[i][bar])
        rows["bar"], rows["inside"], rows["time"], rows["symbol"], rows["rate"] = bar, inside, time, k, rate
        rows["value"] = price if signs[i] > 0 else -1.0 / price
        parts.append(rows)
    rows = np.concatenate(parts)
    return rows[np.lexsort((rows["symbol"], rows["time"], rows["inside"], rows["bar"]))]


def _records(
    panel: Panel, i: int, instrument: Instrument, config: RunConfig
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return times, rates and prices of a symbol's settlements by the configured source."""
    if config.funding.source == "none":
        return np.empty(0, np.int64), np.empty(0), np.empty(0)
    if config.funding.source == "constant":
        step = round((instrument.funding_interval_hours or DEFAULT_INTERVAL_HOURS) * HOUR_MS)
        time = np.arange(-(-panel.start // step) * step, panel.end, step, dtype=np.int64)
        return time, np.full(time.size, config.funding.rate), np.full(time.size, np.nan)
    records = panel.settlements[i]
    return records.time, records.rate, records.mark_price

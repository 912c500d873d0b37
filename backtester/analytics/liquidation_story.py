"""Why a position was liquidated: what the account held, how it came to that, who paid what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from backtester.analytics import risk
from backtester.analytics.closeness import average_true_range
from backtester.analytics.exposure import ENGINE_REASONS
from backtester.analytics.held import HeldAtCloses, held_at_closes, is_isolated
from backtester.analytics.value import inverse_symbols, to_value
from backtester.engine.result import Result

_HOUR_MS = 3_600_000
_EVENT = ("time", "kind", "margin_balance", "requirement")


@dataclass(frozen=True)
class Closed:
    """One position that the engine closed, whole or in part.

    Attributes
    ----------
    symbol, side : str
        Contract; ``long`` or ``short``.
    quantity, held : float
        Size closed; size held before.
    entry_price, trigger_price, execution_price : float
        Mean entry; mark at the trigger; price at which the engine closed.
    bankruptcy_price : float or None
        Price at which nothing would be left; None where no positive one is.
    liquidation_price : float or None
        As last recorded before.
    tier : int
        Margin tier, the first is 0.
    tier_rate : float or None
        The tier's maintenance rate where the run's configuration states it.
    price_loss : float
        What the account lost to the price since the entry; negative where the price had gained.
    margin_lost, fee, insurance_flow : float
        Loss of the account altogether; the liquidation fee in it; what the fund took in (negative: paid).
    is_disputed : bool
        Only the worst order of marks within the bar finds it.
    """

    symbol: str
    side: str
    quantity: float
    held: float
    entry_price: float
    trigger_price: float
    execution_price: float
    bankruptcy_price: float | None
    liquidation_price: float | None
    tier: int
    tier_rate: float | None
    price_loss: float
    margin_lost: float
    fee: float
    insurance_flow: float
    is_disputed: bool


@dataclass(frozen=True)
class Moment:
    """The main position at one point of its path.

    Attributes
    ----------
    label : str
        Which point.
    time : int
        [ms since 1970, UTC].
    mark : float
        Mark price.
    leverage : float or None
        Notional over margin balance: of the position where it is isolated, else of the account.
    distance, ranges : float or None
        Adverse move to the liquidation price: fraction of the mark, average true ranges.
    """

    label: str
    time: int
    mark: float
    leverage: float | None
    distance: float | None
    ranges: float | None


@dataclass(frozen=True)
class Story:
    """One liquidation: everything that the engine closed in one test.

    Attributes
    ----------
    time : int
        Moment of the trigger [ms since 1970, UTC].
    kind : str
        ``takeover``, or ``step`` for a part.
    is_isolated : bool
        Whether the position's own margin failed, not the account's.
    margin_balance, requirement, notional : float
        What the test compared, and the notional that it judged (at the trigger; of positions not closed at the last
        mark close).
    closed : tuple of Closed
        What the engine closed, the largest loss first: the first is the main position of what follows.
    opened : int or None
        When the main position's holding began [ms]; None where no round trip is known.
    first_quantity : float
        Size that it was opened with.
    increases : int
        How often it was increased after that.
    funding, fees : float
        Funding (signed to the account) and trading fees (a cost, <= 0) of the holding.
    path : tuple of Moment
        The main position from its opening to the trigger.
    """

    time: int
    kind: str
    is_isolated: bool
    margin_balance: float
    requirement: float
    notional: float
    closed: tuple[Closed, ...]
    opened: int | None
    first_quantity: float
    increases: int
    funding: float
    fees: float
    path: tuple[Moment, ...]

    @property
    def main(self) -> Closed:
        """The position that lost most."""
        return self.closed[0]

    @property
    def effective_rate(self) -> float | None:
        """Requirement over notional."""
        return self.requirement / self.notional if self.notional > 0 else None


def liquidation_stories(result: Result, limit: int, held: Sequence[HeldAtCloses] | None = None) -> list[Story]:
    """Return the first liquidations of a run with what led to them.

    Parameters
    ----------
    result : Result
        A run whose round trips are known.
    limit : int
        Most stories to tell.
    held : sequence of HeldAtCloses, optional
        From `held_at_closes`, where it is known already.

    Returns
    -------
    list of Story
        In order of time; positions closed by one test of a cross account are one story.
    """
    if result.liquidations.is_empty():
        return []
    slots = held_at_closes(result) if held is None else held
    events = result.liquidations.partition_by(*_EVENT, maintain_order=True)
    return [_story(result, event.to_dicts(), slots) for event in events[:limit]]


def event_count(result: Result) -> int:
    """Return how many stories the liquidations of a run make."""
    return result.liquidations.select(_EVENT).n_unique() if result.liquidations.height else 0


def _story(result: Result, rows: list[dict[str, Any]], slots: Sequence[HeldAtCloses]) -> Story:
    time = _ms(rows[0]["time"])
    closed = sorted((_closed(result, row) for row in rows), key=lambda c: -c.margin_lost)
    main = closed[0]
    isolated = is_isolated(result, main.symbol)
    notional = _judged_notional(result, closed, time, slots, isolated=isolated)
    opened, first, increases, fees = _opening(result, main, time)
    hedged = result.config.account.position_mode == "hedge"
    settled = result.funding.filter(
        (pl.col("symbol") == main.symbol)
        & (pl.col("position_side") == main.side if hedged else pl.lit(value=True))
        & (pl.col("time").cast(pl.Int64) > (opened if opened is not None else time))
        & (pl.col("time").cast(pl.Int64) <= time)
    )
    balance = float(rows[0]["margin_balance"])
    # There is no room left at the trigger: the balance is down to the requirement.
    at_trigger = Moment(
        "at the trigger", time, main.trigger_price, notional / balance if balance > 0 else None, 0.0, 0.0
    )
    before = _path(result, main, opened, time, slots, isolated=isolated)
    return Story(
        time=time,
        kind=str(rows[0]["kind"]),
        is_isolated=isolated,
        margin_balance=balance,
        requirement=float(rows[0]["requirement"]),
        notional=notional,
        closed=tuple(closed),
        opened=opened,
        first_quantity=first,
        increases=increases,
        funding=float(settled["funding_payment"].sum()),
        fees=fees,
        path=(*before, at_trigger),
    )


def _closed(result: Result, row: dict[str, Any]) -> Closed:
    symbol, side = row["symbol"], row["position_side"]
    sign = 1.0 if side == "long" else -1.0
    hedged = result.config.account.position_mode == "hedge"
    own = (pl.col("symbol") == symbol) & (pl.col("time") < row["time"])
    known = result.positions.filter(own & (pl.col("position_side") == side) if hedged else own)
    last = known.row(-1, named=True) if known.height else {}
    is_same = last.get("position_quantity", 0.0) * sign > 0
    held = abs(float(last["position_quantity"])) if is_same else 0.0
    booked = row["execution_price"]
    if row["kind"] == "takeover" and result.config.liquidation.takeover == "bankruptcy":
        booked = row["trigger_price"]
    values = to_value(np.array([row["entry_price"], booked]), inverse=symbol in inverse_symbols(result.config))
    tiers = result.config.tiers.get(symbol) or result.config.tiers.get("*") or ()
    tier = int(row["tier"])
    return Closed(
        symbol=symbol,
        side=side,
        quantity=float(row["quantity"]),
        held=max(held, float(row["quantity"])),
        entry_price=float(row["entry_price"]),
        trigger_price=float(row["trigger_price"]),
        execution_price=float(row["execution_price"]),
        bankruptcy_price=_positive(row["bankruptcy_price"]),
        liquidation_price=_positive(last["liquidation_price"]) if is_same else None,
        tier=tier,
        tier_rate=tiers[tier].maintenance_margin_rate if tier < len(tiers) else None,
        price_loss=-float(row["quantity"] * sign * (values[1] - values[0])) + 0.0,
        margin_lost=float(row["margin_lost"]),
        fee=float(row["liquidation_fee"]),
        insurance_flow=float(row["insurance_flow"]),
        is_disputed=bool(row["disputed"]),
    )


def _judged_notional(
    result: Result, closed: Sequence[Closed], time: int, slots: Sequence[HeldAtCloses], *, isolated: bool
) -> float:
    """Return the notional of what the test judged: of the position, or of all cross positions."""
    inverse = inverse_symbols(result.config)
    told = {(one.symbol, one.side) for one in closed}
    total = sum(
        one.held * abs(float(to_value(np.array([one.trigger_price]), inverse=one.symbol in inverse)[0]))
        for one in closed
    )
    if isolated:
        return total
    for slot in slots:
        at = int(np.searchsorted(slot.close_time, time, side="right")) - 1
        if at < 0 or slot.is_isolated or slot.quantity[at] == 0:
            continue
        if (slot.symbol, "long" if slot.quantity[at] > 0 else "short") not in told:
            total += abs(float(slot.notional[at]))
    return total


def _opening(result: Result, main: Closed, time: int) -> tuple[int | None, float, int, float]:
    """Return when the holding began, with what size, how often it was increased, and the trading fees in it."""
    begun = pl.col("entry_time").cast(pl.Int64) <= time
    lasted = pl.col("exit_time").is_null() | (pl.col("exit_time").cast(pl.Int64) >= time)
    own = (pl.col("symbol") == main.symbol) & (pl.col("position_side") == main.side)
    trips = result.trades.filter(own & begun & lasted)
    if trips.is_empty():
        return None, main.held, 0, 0.0
    opened = _ms(trips["entry_time"][-1])
    when = pl.col("time").cast(pl.Int64)
    fills = result.fills.filter(own & (when >= opened) & (when <= time) & ~pl.col("reason").is_in(ENGINE_REASONS))
    grown = fills.filter(pl.col("side") == ("buy" if main.side == "long" else "sell"))
    by_time = grown.group_by("time", maintain_order=True).agg(pl.col("quantity").sum())
    first = float(by_time["quantity"][0]) if by_time.height else main.held
    return opened, first, max(0, by_time.height - 1), -float(fills["fee_paid"].sum()) + 0.0


def _path(
    result: Result, main: Closed, opened: int | None, time: int, slots: Sequence[HeldAtCloses], *, isolated: bool
) -> list[Moment]:
    """Return the position at its first close, a day and an hour before the trigger and at the last close before it."""
    sign = 1.0 if main.side == "long" else -1.0
    slot = next((s for s in slots if s.symbol == main.symbol and (s.quantity * sign > 0).any()), None)
    if slot is None or opened is None:
        return []
    closes = slot.close_time
    first = int(np.searchsorted(closes, opened, side="right"))
    last = int(np.searchsorted(closes, time, side="right")) - 1
    wanted = [
        ("at the first close", first),
        ("a day before", int(np.searchsorted(closes, time + 1 - 24 * _HOUR_MS, side="right")) - 1),
        ("an hour before", int(np.searchsorted(closes, time + 1 - _HOUR_MS, side="right")) - 1),
        ("at the last close", last),
    ]
    rows = {at: label for label, at in wanted if first <= at <= last and slot.quantity[at] * sign > 0}
    typical = average_true_range(slot.bars)
    return [_moment(result, slot, at, rows[at], float(typical[at]), isolated=isolated) for at in sorted(rows)]


def _moment(result: Result, slot: HeldAtCloses, at: int, label: str, typical: float, *, isolated: bool) -> Moment:
    moves = risk.room(slot.quantity[[at]], slot.mark[[at]], slot.liquidation_price[[at]], is_leg=slot.is_leg)
    room = float(moves[0])
    leverage: float | None = (
        float(slot.leverage[at]) if isolated else _account_leverage(result, int(slot.close_time[at]))
    )
    return Moment(
        label=label,
        time=int(slot.close_time[at]),
        mark=float(slot.mark[at]),
        leverage=leverage if leverage is not None and math.isfinite(leverage) else None,
        distance=room / float(slot.mark[at]) if math.isfinite(room) else None,
        ranges=room / typical if math.isfinite(room) and typical > 0 else None,
    )


def _account_leverage(result: Result, time: int) -> float | None:
    """Return notional over margin balance of the whole account at a close."""
    closes = result.equity["close_time"].cast(pl.Int64).to_numpy()
    at = int(np.searchsorted(closes, time, side="right")) - 1
    if at < 0:
        return None
    gross, equity, balance = (result.equity[c][at] for c in ("gross_exposure", "equity", "margin_balance"))
    return float(gross * equity / balance) if gross is not None and balance and balance > 0 else None


def _positive(value: float | None) -> float | None:
    return float(value) if value is not None and value > 0 else None


def _ms(time: datetime) -> int:
    """Return a time of a frame in ms since 1970."""
    return round(time.timestamp() * 1000)

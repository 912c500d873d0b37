"""Round trips: from flat to flat, or to a flip. Partial increases and reductions belong to them.

In hedge mode each leg has round trips of its own. A quantity held from the start opens one at the price at which it
entered, by a transfer instead of a fill.

Amounts are signed to the account: ``fees`` and ``liquidation`` are costs and so <= 0 as a rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.analytics.slots import slot_records
from backtester.analytics.value import FloatArray, IntArray, inverse_symbols, to_price, to_value
from backtester.engine.result import Result

TIME = pl.Datetime("ms", "UTC")
SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "position_side": pl.String(),
        "entry_time": TIME,
        "exit_time": TIME,
        "entry_price": pl.Float64(),
        "exit_price": pl.Float64(),
        "quantity": pl.Float64(),
        "pnl": pl.Float64(),
        "fees": pl.Float64(),
        "funding": pl.Float64(),
        "mae": pl.Float64(),
        "mfe": pl.Float64(),
        "exit_reason": pl.String(),
        "liquidation": pl.Float64(),
        "net_pnl": pl.Float64(),
    }
)
LIQUIDATING = ("liquidation", "liquidation_step")
"""Reasons of the liquidation engine's fills."""
_FLAT = 1e-9  # what is left below this share of the trip's largest size is rounding


@dataclass(frozen=True)
class _Parts:
    """Fills of one slot as arrays; a fill through zero counts as two parts."""

    time: IntArray
    dq: FloatArray
    value: FloatArray
    fee: FloatArray
    realized: FloatArray
    before: FloatArray
    after: FloatArray
    reason: NDArray[np.object_]
    order: IntArray


@dataclass(frozen=True)
class _Trips:
    """Where the trips of one slot lie among its parts: first and last part, side (1 or -1), mean entry price."""

    start: IntArray
    last: IntArray
    side: FloatArray
    entry: FloatArray
    is_closed: NDArray[np.bool_]


def round_trips(result: Result) -> pl.DataFrame:
    """Return the round trips of a run, by entry time.

    Parameters
    ----------
    result : Result
        A replayed run; its ``trades`` are not read.

    Returns
    -------
    polars.DataFrame
        The columns of `SCHEMA`. ``entry_price`` and ``exit_price`` are means over the parts that open and close,
        weighted by size in value space (harmonic for inverse contracts); ``quantity`` is the largest size held;
        ``pnl`` is price profit alone, of an open trip including what is unrealised at the last mark close; ``mae`` and
        ``mfe`` are the worst and best traded price while it was held, as signed fractions of the entry price;
        ``net_pnl = pnl + fees + funding + liquidation``.
    """
    inverse = inverse_symbols(result.config)
    slots = slot_records(result)
    parts = []
    for symbol in dict.fromkeys(slots.fills["symbol"]):
        bars = result.bars.filter(pl.col("symbol") == symbol).select("open_time", "high", "low", "mark_close")
        own = slots.of(pl.col("symbol") == symbol)
        for leg in own.legs():
            trips, engine = _slot_trips(leg.fills, bars, inverse=symbol in inverse)
            trips = trips.with_columns(
                pl.lit(symbol).alias("symbol"),
                _assigned("funding", trips, leg.funding, "funding_payment"),
                _assigned("liquidation", trips, leg.liquidation, "amount", engine),
            )
            parts.append(trips)
    if not parts:
        return pl.DataFrame(schema=SCHEMA)
    net = pl.col("pnl") + pl.col("fees") + pl.col("funding") + pl.col("liquidation")
    trips = pl.concat(parts).with_columns(net.alias("net_pnl"))
    return trips.select(SCHEMA.names()).cast(SCHEMA).sort("entry_time", maintain_order=True)


@dataclass(frozen=True)
class _EngineFills:
    """Times of the liquidation engine's fills, and the trip that each belongs to."""

    time: IntArray
    trip: IntArray


def _slot_trips(fills: pl.DataFrame, bars: pl.DataFrame, *, inverse: bool) -> tuple[pl.DataFrame, _EngineFills]:
    """Return the trips of one slot, without what the ledger assigns to them, and the engine's fills among them."""
    parts = _split(fills, inverse=inverse)
    start = np.flatnonzero(parts.before == 0.0)
    last = np.append(start[1:], len(parts.time)) - 1
    is_opening = np.abs(parts.after) > np.abs(parts.before)
    trips = _Trips(
        start=start,
        last=last,
        side=np.sign(parts.dq[start]),
        entry=to_price(_weighted(parts, is_opening, start), inverse=inverse),
        is_closed=parts.after[last] == 0.0,
    )
    pnl = np.add.reduceat(parts.realized, start)
    if not trips.is_closed[-1] and bars.height:
        mark = to_value(bars["mark_close"].to_numpy()[-1:], inverse=inverse)[0]
        flow = slice(start[-1], None)
        pnl[-1] = parts.after[-1] * mark - np.sum(parts.dq[flow] * parts.value[flow])
    mae, mfe = _extremes(parts, trips, bars)
    exit_price = to_price(_weighted(parts, ~is_opening, start), inverse=inverse)
    by_engine = np.flatnonzero(np.isin(parts.reason, LIQUIDATING))
    engine = _EngineFills(parts.time[by_engine], np.searchsorted(start, by_engine, side="right") - 1)
    frame = pl.DataFrame(
        {
            "position_side": np.where(trips.side > 0, "long", "short"),
            "entry_time": parts.time[start],
            "exit_time": pl.Series(parts.time[last]).set(pl.Series(~trips.is_closed), None),
            "entry_price": trips.entry,
            "exit_price": pl.Series(exit_price).fill_nan(None),
            "quantity": np.maximum.reduceat(np.abs(parts.after), start),
            "pnl": pnl,
            "fees": -np.add.reduceat(parts.fee, start) + 0.0,
            "mae": mae,
            "mfe": mfe,
            "exit_reason": _exit_reasons(parts, trips),
        }
    )
    return frame, engine


def _split(fills: pl.DataFrame, *, inverse: bool) -> _Parts:
    """Return the fills of one slot with the size before and after each, split where they pass through zero."""
    quantity = fills["quantity"].to_numpy()
    dq = np.where((fills["side"] == "buy").to_numpy(), quantity, -quantity)
    after = _held(dq)
    before = np.concatenate(([0.0], after[:-1]))
    crosses = before * after < 0
    times = np.where(crosses, 2, 1)
    row = np.repeat(np.arange(len(dq)), times)
    is_second = np.concatenate(([False], row[1:] == row[:-1]))
    is_first = np.concatenate((is_second[1:], [False]))
    part_dq = np.where(is_second, after[row], np.where(is_first, -before[row], dq[row]))
    share = np.where(is_first | is_second, np.abs(part_dq) / np.abs(dq[row]), 1.0)
    return _Parts(
        time=fills["time"].cast(pl.Int64).to_numpy()[row],
        dq=part_dq,
        value=to_value(fills["price"].to_numpy(), inverse=inverse)[row],
        fee=fills["fee_paid"].to_numpy()[row] * share,
        realized=np.where(is_second, 0.0, fills["realized_pnl"].to_numpy()[row]),
        before=np.where(is_second, 0.0, before[row]),
        after=np.where(is_first, 0.0, after[row]),
        reason=fills["reason"].cast(pl.String).to_numpy()[row],
        order=fills["order_id"].to_numpy()[row],
    )


def _held(dq: FloatArray) -> FloatArray:
    """Return the size after each fill; rounding left where a position ends is cleared, so that it never adds up."""
    held, largest = 0.0, 0.0
    out = []
    for change in dq.tolist():
        held += change
        largest = max(largest, abs(held), abs(change))
        if abs(held) <= _FLAT * largest:
            held, largest = 0.0, 0.0
        out.append(held)
    return np.array(out)


def _weighted(parts: _Parts, chosen: NDArray[np.bool_], start: IntArray) -> FloatArray:
    """Return the mean value of the chosen parts of each trip, weighted by size; NaN where there is none."""
    size = np.where(chosen, np.abs(parts.dq), 0.0)
    total = np.add.reduceat(size, start)
    mean = np.add.reduceat(size * parts.value, start)
    out: FloatArray = np.divide(mean, total, out=np.full(len(start), np.nan), where=total > 0)
    return out


def _extremes(parts: _Parts, trips: _Trips, bars: pl.DataFrame) -> tuple[FloatArray, FloatArray]:
    """Return the worst and the best traded price of each trip as signed fractions of its entry price.

    A fill at a bar's open ends a trip before that bar's extremes, one on its path or at its close after them. The
    trip's own entry counts as a price seen, so that ``mae <= 0 <= mfe``.
    """
    opens = bars["open_time"].cast(pl.Int64).to_numpy()
    first = np.searchsorted(opens, parts.time[trips.start], side="left")
    stop = np.searchsorted(opens, parts.time[trips.last], side="left")
    stop = np.where(trips.is_closed, stop, len(opens))
    pairs = np.column_stack((first, np.maximum(stop, first))).ravel()
    low = np.minimum.reduceat(np.append(bars["low"].to_numpy(), np.inf), pairs)[::2]
    high = np.maximum.reduceat(np.append(bars["high"].to_numpy(), -np.inf), pairs)[::2]
    is_held = stop > first
    down = np.where(is_held, low, trips.entry) / trips.entry - 1.0
    up = np.where(is_held, high, trips.entry) / trips.entry - 1.0
    mae = np.where(trips.side > 0, down, -up)
    mfe = np.where(trips.side > 0, up, -down)
    return np.minimum(mae, 0.0), np.maximum(mfe, 0.0)


def _exit_reasons(parts: _Parts, trips: _Trips) -> list[str]:
    """Return why each trip ended; an order that goes on through zero ends it by a flip."""
    reasons = []
    for i, end in enumerate(trips.last.tolist()):
        reason = str(parts.reason[end])
        if not trips.is_closed[i]:
            reason = "open"
        elif i + 1 < len(trips.start):
            after = int(trips.start[i + 1])
            is_flip = parts.time[after] == parts.time[end] and parts.order[after] == parts.order[end]
            if is_flip and parts.dq[after] * parts.dq[end] > 0:
                reason = "flip"
        reasons.append(reason)
    return reasons


def _assigned(
    name: str, trips: pl.DataFrame, entries: pl.DataFrame, column: str, engine: _EngineFills | None = None
) -> pl.Series:
    """Return the sum of each trip's entries; an entry at the time of a fill belongs to what was held before it.

    What a liquidation took belongs to the trip of the ``engine``'s fill at that time, where there is one: on one path a
    trip can end where another begins and is liquidated.
    """
    begins = trips["entry_time"].to_numpy()
    time = entries["time"].cast(pl.Int64).to_numpy()
    trip = np.searchsorted(begins, time, side="left") - 1
    if engine is not None and engine.time.size:
        place = np.minimum(np.searchsorted(engine.time, time, side="left"), engine.time.size - 1)
        trip = np.where(engine.time[place] == time, engine.trip[place], trip)
    known = trip >= 0
    amounts = entries[column].cast(pl.Float64).to_numpy()
    sums = np.bincount(trip[known], amounts[known], minlength=len(begins))
    return pl.Series(name, sums.astype(np.float64))  # of no entries numpy makes whole numbers


def statistics(trades: pl.DataFrame) -> dict[str, float | int | None]:
    """Return counts and means over round trips; profit is net, and open trips count in ``open_trades`` alone.

    Parameters
    ----------
    trades : polars.DataFrame
        What `round_trips` returns.
    """
    closed = trades.filter(pl.col("exit_time").is_not_null())
    net = closed["net_pnl"].to_numpy()
    gains, losses = net[net > 0], net[net < 0]
    held = (closed["exit_time"] - closed["entry_time"]).dt.total_milliseconds().to_numpy() / 3_600_000
    lost = float(-losses.sum()) if len(losses) else 0.0
    return {
        "trades": closed.height,
        "open_trades": trades.height - closed.height,
        "hit_rate": len(gains) / closed.height if closed.height else None,
        "profit_factor": float(gains.sum()) / lost if lost > 0 else None,
        "average_trade": _mean(net),
        "average_win": _mean(gains),
        "average_loss": _mean(losses),
        "average_mae": _mean(closed["mae"].to_numpy()),
        "average_mfe": _mean(closed["mfe"].to_numpy()),
        "average_holding_hours": _mean(held),
    }


def _mean(values: FloatArray) -> float | None:
    """Return the mean, None of nothing."""
    return float(np.mean(values)) if len(values) else None

"""A run beside what an account really traded: which orders are the same, and what reality cost more.

Every difference is signed so that positive is worse for the account.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.analytics.value import inverse_symbols
from backtester.engine.fill_file import FillTable, in_units, with_symbols, within
from backtester.engine.funding_file import FundingTable
from backtester.engine.result import Notice, Result, SummaryValue
from backtester.market.intervals import snap_to_minute

QUANTITY_FACTOR = 2.0
"""Orders whose sizes differ by more than this factor are never the same one."""

_ORDER_COLUMNS = ("time", "symbol", "side", "quantity", "price", "fee", "order_id")


@dataclass(frozen=True, eq=False)
class LiveComparison:
    """What came of the comparison.

    Attributes
    ----------
    matched : polars.DataFrame
        One row for each pair of orders: ``symbol, side, time_simulated, time_live, delay`` (live after simulated [s]),
        ``quantity_simulated, quantity_live, price_simulated, price_live`` (averages over an order's fills),
        ``slippage_bps`` (live against simulated price [1e-4]), ``slippage_cost`` (of the live quantity [settlement
        currency]), ``fee_simulated, fee_live, fee_difference`` (to the simulated fee on the live quantity),
        ``order_id_simulated, order_id_live``. Fees that the live file does not state in the settlement currency are
        null.
    only_simulated, only_live : polars.DataFrame
        Orders without a partner: ``time, symbol, side, quantity, price, fee, order_id``.
    funding : polars.DataFrame
        Settlements between the first and the last live one: ``time, symbol, funding_simulated, funding_live`` (received
        is positive; null where one side has none) and ``funding_difference``.
    totals : dict
        ``matched, only_simulated, only_live``; ``slippage_bps`` (mean weighted by live notional),
        ``median_slippage_bps``; ``slippage_cost, fee_difference, funding_difference`` and their sum ``cost``
        [settlement currency], None where nothing was compared.
    notices : tuple of Notice
        What was left out.
    """

    matched: pl.DataFrame
    only_simulated: pl.DataFrame
    only_live: pl.DataFrame
    funding: pl.DataFrame
    totals: dict[str, SummaryValue]
    notices: tuple[Notice, ...]


def compare_live(
    result: Result, live: FillTable, funding: FundingTable | None = None, *, within_ms: int = 300_000
) -> LiveComparison:
    """Compare a run with the trades of a real account.

    The fills of one order are taken together. A simulated and a live order are the same when contract and side agree,
    their first fills are at most ``within_ms`` apart and their sizes differ by no more than a factor of two; of
    several, those nearest in time and size.

    Parameters
    ----------
    result : Result
        A stored run.
    live : FillTable
        From ``engine.fill_file.read_fills``.
    funding : FundingTable, optional
        From ``engine.funding_file.read_funding``.
    within_ms : int
        Largest distance of two orders in time [ms].

    Raises
    ------
    UnknownNameError
        No contract of the file belongs to the run.
    DataError
        A contract's name in the file fits two of the run's.
    """
    sizes = {symbol: contract.contract_size or 1.0 for symbol, contract in result.config.instruments.items()}
    table = in_units(within(with_symbols(live, result.symbols), result.start, result.end), sizes)
    inverse = inverse_symbols(result.config)
    real = _live_orders(table, result.settle, inverse)
    simulated, notices = _in_reach(_simulated_orders(result, inverse), real, within_ms)
    pairs = _pairs(simulated, real, within_ms)
    matched = _matched(simulated, real, pairs, inverse)
    settled = _funding(result, funding)
    only_simulated = simulated.filter(~_taken(simulated.height, pairs[0])).select(_ORDER_COLUMNS)
    only_live = real.filter(~_taken(real.height, pairs[1])).select(_ORDER_COLUMNS)
    told = (*table.notices, *notices, *(funding.notices if funding is not None else ()))
    totals = _totals(matched, settled, only_simulated.height, only_live.height, inverse)
    return LiveComparison(matched, only_simulated, only_live, settled, totals, told)


def _simulated_orders(result: Result, inverse: frozenset[str]) -> pl.DataFrame:
    """Return the orders of a run; each fill of the liquidation engine stands for itself."""
    fills = result.fills.with_row_index("place").with_columns(pl.col("fee_paid").alias("fee"))
    own = pl.col("order_id") >= 0
    group = pl.when(own).then(pl.col("order_id").cast(pl.String)).otherwise(pl.format("fill {}", "place"))
    named = pl.when(own).then(pl.col("order_id").cast(pl.String)).otherwise(pl.col("reason"))
    return _orders(fills.with_columns(group.alias("group"), named.alias("order_id")), inverse)


def _live_orders(table: FillTable, settle: str, inverse: frozenset[str]) -> pl.DataFrame:
    """Return the orders of a file; a trade that names no order stands for itself."""
    foreign = (pl.col("fee_currency").str.to_uppercase() != settle.upper()).fill_null(value=False)
    fee = pl.when(~foreign).then(pl.col("fee"))
    group = pl.coalesce("order_id", pl.format("row {}", "file_row"))
    return _orders(table.frame.with_columns(fee.alias("fee"), group.alias("group")), inverse)


def _orders(fills: pl.DataFrame, inverse: frozenset[str]) -> pl.DataFrame:
    """Return fills by order: first time, whole size, average price, fees (null where one is unknown)."""
    size, price = pl.col("quantity"), pl.col("price")
    harmonic = size.sum() / (size / price).sum()
    mean = (size * price).sum() / size.sum()
    fee = pl.when(pl.col("fee").null_count() == 0).then(pl.col("fee").sum())
    grouped = fills.group_by("group", "symbol", "side", maintain_order=True).agg(
        pl.col("time").min(),
        size.sum().alias("size"),
        pl.when(pl.col("symbol").first().is_in(list(inverse))).then(harmonic).otherwise(mean).alias("average"),
        fee.alias("fee"),
        pl.col("order_id").first(),
    )
    return grouped.rename({"size": "quantity", "average": "price"}).sort("time", maintain_order=True)


def _in_reach(simulated: pl.DataFrame, live: pl.DataFrame, within_ms: int) -> tuple[pl.DataFrame, tuple[Notice, ...]]:
    """Return the simulated orders of the time that the live ones span: before and after it nothing can be missing."""
    if live.is_empty():
        return simulated.clear(), ()
    opened = pl.col("time").dt.epoch("ms")
    moments = _ms(live)
    kept = simulated.filter((opened >= moments[0] - within_ms) & (opened <= moments[-1] + within_ms))
    left = simulated.height - kept.height
    if not left:
        return kept, ()
    text = f"Not compared: {left:,} simulated order{'' if left == 1 else 's'} before or after the live trades."
    return kept, (Notice("orders_out_of_reach", "assumption", text),)


def _pairs(simulated: pl.DataFrame, live: pl.DataFrame, within_ms: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of the orders that are the same; each belongs to one pair at most, the nearest first."""
    candidates = _candidates(simulated, live, within_ms)
    order = np.argsort(candidates[2], kind="stable")
    left, right = candidates[0][order], candidates[1][order]
    free_left, free_right = np.ones(simulated.height, bool), np.ones(live.height, bool)
    found: list[tuple[int, int]] = []
    for i, j in zip(left.tolist(), right.tolist(), strict=True):
        if free_left[i] and free_right[j]:
            free_left[i] = free_right[j] = False
            found.append((i, j))
    pairs = np.array(sorted(found), np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _candidates(
    simulated: pl.DataFrame, live: pl.DataFrame, within_ms: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return all pairs within reach and how far apart they are: in time by the reach, in size by the factor."""
    times, moments = _ms(simulated), _ms(live)
    first = np.searchsorted(times, moments - within_ms, side="left")
    last = np.searchsorted(times, moments + within_ms, side="right")
    counts = last - first
    right = np.repeat(np.arange(live.height), counts)
    left = np.repeat(first, counts) + np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    same = np.ones(left.size, bool)
    for column in ("symbol", "side"):
        same &= simulated[column].to_numpy()[left] == live[column].to_numpy()[right]
    left, right = left[same], right[same]
    ratio = np.abs(np.log(simulated["quantity"].to_numpy()[left] / live["quantity"].to_numpy()[right]))
    near = ratio <= np.log(QUANTITY_FACTOR) * (1 + 1e-12)
    left, right, ratio = left[near], right[near], ratio[near]
    distance = np.abs(times[left] - moments[right]) / max(within_ms, 1) + ratio / np.log(QUANTITY_FACTOR)
    return left.astype(np.int64), right.astype(np.int64), distance


def _matched(
    simulated: pl.DataFrame,
    live: pl.DataFrame,
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    inverse: frozenset[str],
) -> pl.DataFrame:
    """Return the pairs side by side with their differences."""
    shared = ["time", "quantity", "price", "fee", "order_id"]
    left = simulated[pairs[0]].select("symbol", "side", pl.col(shared).name.suffix("_simulated"))
    both = left.hstack(live[pairs[1]].select(pl.col(shared).name.suffix("_live")))
    sign = pl.when(pl.col("side") == "buy").then(1.0).otherwise(-1.0)
    real, ideal = pl.col("price_live"), pl.col("price_simulated")
    share = pl.col("quantity_live") / pl.col("quantity_simulated")
    is_inverse = pl.col("symbol").is_in(list(inverse))
    moved = pl.when(is_inverse).then(1 / ideal - 1 / real).otherwise(real - ideal)
    return both.select(
        "symbol",
        "side",
        "time_simulated",
        "time_live",
        ((pl.col("time_live") - pl.col("time_simulated")).dt.total_milliseconds() / 1000).alias("delay"),
        "quantity_simulated",
        "quantity_live",
        "price_simulated",
        "price_live",
        (sign * (real / ideal - 1) * 1e4).alias("slippage_bps"),
        (sign * pl.col("quantity_live") * moved).alias("slippage_cost"),
        "fee_simulated",
        "fee_live",
        (pl.col("fee_live") - pl.col("fee_simulated") * share).alias("fee_difference"),
        "order_id_simulated",
        "order_id_live",
    )


def _funding(result: Result, funding: FundingTable | None) -> pl.DataFrame:
    """Return settlements of both sides, between the first and the last live one."""
    key = ["time", "symbol"]
    simulated = (
        result.funding.with_columns(snap_to_minute(pl.col("time")).alias("time"))
        .group_by(key)
        .agg(pl.col("funding_payment").sum().alias("funding_simulated"))
    )
    real = simulated.clear().rename({"funding_simulated": "funding_live"})
    if funding is not None:
        real = funding.frame.select(*key, pl.col("funding_payment").alias("funding_live"))
        inside = pl.col("time").dt.epoch("ms").is_between(result.start, result.end, closed="left")
        real = real.filter(inside)
    span = real.select(pl.col("time").min().alias("first"), pl.col("time").max().alias("last"))
    reached = simulated.join(span, how="cross").filter(pl.col("time").is_between("first", "last")).drop("first", "last")
    less = pl.col("funding_simulated").fill_null(0.0) - pl.col("funding_live").fill_null(0.0)
    joined = reached.join(real, on=key, how="full", coalesce=True)
    return joined.with_columns(less.alias("funding_difference")).sort(key)


def _totals(
    matched: pl.DataFrame, funding: pl.DataFrame, only_simulated: int, only_live: int, inverse: frozenset[str]
) -> dict[str, SummaryValue]:
    """Return counts, averages and sums; a sum of nothing is None."""
    is_inverse = pl.col("symbol").is_in(list(inverse))
    size = pl.when(is_inverse).then(pl.col("quantity_live") / pl.col("price_live"))
    notional = matched.select(size.otherwise(pl.col("quantity_live") * pl.col("price_live")).alias("n"))["n"]
    bps = matched["slippage_bps"]
    mean = float(np.average(bps.to_numpy(), weights=notional.to_numpy())) if matched.height else None
    parts = {
        "slippage_cost": _sum(matched["slippage_cost"]),
        "fee_difference": _sum(matched["fee_difference"]),
        "funding_difference": _sum(funding["funding_difference"]),
    }
    known = [value for value in parts.values() if value is not None]
    median = bps.median()
    return {
        "matched": matched.height,
        "only_simulated": only_simulated,
        "only_live": only_live,
        "slippage_bps": mean,
        "median_slippage_bps": float(median) if isinstance(median, int | float) else None,
        **parts,
        "cost": sum(known) if known else None,
    }


def _sum(values: pl.Series) -> float | None:
    """Return the sum of what is known, None where nothing is."""
    known = values.drop_nulls()
    return float(known.sum()) if known.len() else None


def _taken(height: int, places: NDArray[np.int64]) -> pl.Series:
    """Return which rows belong to a pair."""
    taken = np.zeros(height, bool)
    taken[places] = True
    return pl.Series(taken, dtype=pl.Boolean)


def _ms(orders: pl.DataFrame) -> NDArray[np.int64]:
    """Return the times of orders [ms since 1970]."""
    return orders["time"].dt.epoch("ms").to_numpy().astype(np.int64)

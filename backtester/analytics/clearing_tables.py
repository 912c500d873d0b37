"""What a cleared market's page shows: who survived, who paid, where it happened, who stood first in the queue."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.clearing.study import Case
from backtester.domain.enums import TierUnit

Floats = NDArray[np.float64]

GROUPS = (
    (2.0, "up to 2\u00d7"),
    (5.0, "over 2\u00d7 to 5\u00d7"),
    (10.0, "over 5\u00d7 to 10\u00d7"),
    (20.0, "over 10\u00d7 to 20\u00d7"),
    (50.0, "over 20\u00d7 to 50\u00d7"),
    (np.inf, "over 50\u00d7"),
)
"""Upper bounds of the groups of leverage, and their names."""
MOST_LEVERAGES = 10
"""More different leverages than this are shown in groups."""
BUCKETS = 240
LEVELS = 40


def leverage_group(leverage: Floats) -> pl.Series:
    """Return the name of each leverage's group, as an ordered category."""
    names = [name for _, name in GROUPS]
    bounds = np.array([bound for bound, _ in GROUPS])
    places = np.searchsorted(bounds, np.asarray(leverage, np.float64) * (1 - 1e-12), side="left")
    return pl.Series("group", [names[k] for k in places], dtype=pl.Enum(names))


def entered(case: Case) -> pl.DataFrame:
    """Return each account with the side and size with which it began: ``account, side, notional, entry``.

    ``notional`` is at the first marks [settlement currency], ``side`` ``long`` or ``short`` by the net of it, ``entry``
    the mean entry price weighted by it.
    """
    population, market = case.population, case.market
    places = np.array([market.place(symbol) for symbol in population.symbols], np.int64)
    value = np.abs(market.values(market.mark_open[:, :1])[:, 0])[places][population.contract]
    signed = population.quantity * value
    size = np.abs(signed)
    count = population.accounts
    net = np.bincount(population.account, signed, count)
    gross = np.bincount(population.account, size, count)
    weighted = np.bincount(population.account, size * population.entry_price, count)
    with np.errstate(invalid="ignore", divide="ignore"):
        entry = weighted / gross
    return pl.DataFrame(
        {
            "account": np.arange(count),
            "side": pl.Series(np.where(net >= 0, "long", "short")),
            "notional": gross,
            "entry": entry,
        }
    )


def fates(case: Case) -> pl.DataFrame:
    """Return the accounts of a result with what they began with, the guest left out, and ``band``: their leverage."""
    accounts = case.result.accounts.filter(~pl.col("guest"))
    out = accounts.join(entered(case), on="account", how="left", maintain_order="left")
    levels = out["leverage"].unique()
    if len(levels) <= MOST_LEVERAGES:
        names = [f"{level:g}\u00d7" for level in levels.sort()]
        band = pl.Series("band", [f"{level:g}\u00d7" for level in out["leverage"]], dtype=pl.Enum(names))
    else:
        band = leverage_group(out["leverage"].to_numpy()).alias("band")
    return out.with_columns(band)


def survival(case: Case) -> pl.DataFrame:
    """Return how many accounts survived: ``band, side, accounts, survivors, share, notional, notional_share``."""
    return (
        fates(case)
        .group_by("band", "side")
        .agg(
            pl.len().alias("accounts"),
            pl.col("survived").sum().alias("survivors"),
            pl.col("survived").mean().alias("share"),
            pl.col("notional").sum().alias("notional"),
            (pl.col("notional").filter(pl.col("survived")).sum() / pl.col("notional").sum()).alias("notional_share"),
        )
        .sort("band", "side")
    )


def payers(case: Case) -> dict[str, float]:
    """Return who paid what the liquidated could not, by name of the payer [settlement currency].

    ``loss`` is what closing their positions cost beyond their margins: the fund's deficits and the profit that the
    deleveraged lost against the mark. ``fund``, ``deleveraged``, ``clawback`` and ``venue`` add up to it; ``own`` is
    what the liquidated lost of their own.
    """
    summary, deleveragings = case.result.summary, case.result.deleveragings
    deficit = _number(summary["fund_deficit"])
    lost = float(deleveragings.select(pl.col("profit_lost").clip(lower_bound=0.0).sum()).item() or 0.0)
    shared, venue = _number(summary["clawed_back"]), _number(summary["uncovered_loss"])
    taken = case.result.accounts.filter(~pl.col("survived"))
    return {
        "own": float((taken["start_equity"] - taken["equity"]).sum()),
        "loss": deficit + lost,
        "fund": max(0.0, deficit - shared - venue),
        "deleveraged": lost,
        "clawback": min(shared, deficit),
        "venue": min(venue, max(0.0, deficit - shared)),
    }


def disposals(case: Case) -> dict[str, float]:
    """Return what became of the positions that the engine took over, as notional [settlement currency]."""
    summary, bars = case.result.summary, case.result.bars
    last = bars.group_by("symbol", maintain_order=True).last()
    held = float(notional(case, last["symbol"], last["inventory"], last["mark_price"]).sum())
    return {
        "market": _number(summary["sold_notional"]),
        "deleveraged": _number(summary["deleveraged_notional"]),
        "held": held,
    }


def notional(case: Case, symbols: pl.Series, quantity: pl.Series, price: pl.Series) -> Floats:
    """Return sizes of positions at prices [settlement currency], unsigned."""
    inverse = {symbol: sign < 0 for symbol, sign in zip(case.market.symbols, case.market.signs.tolist(), strict=True)}
    is_inverse = np.array([inverse[symbol] for symbol in symbols], np.bool_)
    size, at = quantity.abs().to_numpy().astype(np.float64), price.cast(pl.Float64).to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        worth: Floats = np.nan_to_num(np.where(is_inverse, size / at, size * at))
    return worth


def liquidated(case: Case) -> pl.DataFrame:
    """Return the liquidations with ``notional`` at the mark, ``side`` of what was held, and ``group`` of leverage."""
    rows = case.result.liquidations
    return rows.with_columns(
        pl.Series("notional", notional(case, rows["symbol"], rows["quantity"], rows["mark_price"]), dtype=pl.Float64),
        pl.when(pl.col("quantity") >= 0).then(pl.lit("long")).otherwise(pl.lit("short")).alias("side"),
        leverage_group(rows["leverage"].to_numpy()),
    )


def over_time(case: Case, rows: pl.DataFrame, by: str) -> pl.DataFrame:
    """Return the notional of events in at most `BUCKETS` equal stretches: ``open_time, <by>, notional``."""
    bars = len(case.market.open_time)
    length = -(-bars // BUCKETS) * case.market.bar_ms
    first = int(case.market.open_time[0])
    since = pl.col("open_time").dt.epoch("ms") - first
    return (
        rows.with_columns((first + since // length * length).cast(pl.Datetime("ms", "UTC")).alias("open_time"))
        .group_by("open_time", by)
        .agg(pl.col("notional").sum())
        .sort("open_time", by)
    )


def bucket_ms(case: Case) -> int:
    """Return the length of the stretches of `over_time` [ms]."""
    return -(-len(case.market.open_time) // BUCKETS) * case.market.bar_ms


def over_price(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the liquidated notional in `LEVELS` equal steps of the mark: ``price`` (middle)``, group, notional``."""
    if rows.is_empty():
        return pl.DataFrame(schema={"price": pl.Float64, "group": rows["group"].dtype, "notional": pl.Float64})
    price = rows["mark_price"].cast(pl.Float64).to_numpy()
    low, high = float(np.nanmin(price)), float(np.nanmax(price))
    step = max((high - low) / LEVELS, 1e-12 * high)
    place = np.clip((price - low) // step, 0, LEVELS - 1)
    return (
        rows.with_columns(pl.Series("price", low + (place + 0.5) * step))
        .group_by("price", "group")
        .agg(pl.col("notional").sum())
        .sort("price", "group")
    )


def crash_moment(case: Case) -> datetime | None:
    """Return the first bar in which anybody is deleveraged, else the one with the most liquidations; None: neither."""
    rows = case.result.deleveragings
    if rows.height:
        return rows["open_time"].min()  # type: ignore[return-value]  # a column of times
    bars = case.result.bars.group_by("open_time").agg(pl.col("liquidated_notional").sum())
    worst = bars.sort("liquidated_notional", "open_time", descending=[True, False]).head(1)
    return worst["open_time"][0] if worst.height and worst["liquidated_notional"][0] > 0 else None


def queue(case: Case, symbol: str, at: datetime | None) -> pl.DataFrame:
    """Return the winners' queue of a contract before the first bar, or before the bar at a moment.

    Parameters
    ----------
    case : Case
        A clearing.
    symbol : str
        Contract.
    at : datetime or None
        Open of the bar; None: the first one.

    Returns
    -------
    polars.DataFrame
        ``account, group, quantity, light`` in the order of the queue, of the side that gains from the fall or rise
        until then; 1 is closed first. Funding and fees since the first bar are left out.
    """
    market, population = case.market, case.population
    c = market.place(symbol)
    first = int(market.open_time[0])
    bar = 0 if at is None else max(0, (round(at.timestamp() * 1000) - first) // market.bar_ms)
    marks = market.values(market.mark_open[:, :1] if at is None else market.mark_close[:, bar : bar + 1])[:, 0]
    places = np.array([market.place(name) for name in population.symbols], np.int64)[population.contract]
    held = population.quantity * _part_left(case, at)
    begun = market.values(market.mark_open[:, :1])[:, 0]
    entry = np.where(market.signs[places] > 0, population.entry_price, -1.0 / population.entry_price)
    profit = held * (marks[places] - entry)
    side = -1.0 if at is None or marks[c] <= begun[c] else 1.0
    score = _scores(case, held, entry, profit, marks[places])
    mine = np.flatnonzero((places == c) & (held * side > 0))
    mine = mine[np.argsort(-score[mine], kind="stable")]
    size = np.abs(held[mine])
    total = size.sum()
    lights = np.clip(np.ceil(5.0 * np.cumsum(size) / total * (1 - 1e-12)), 1, 5) if len(mine) else np.empty(0)
    account = population.account[mine]
    return pl.DataFrame(
        {
            "account": account,
            "group": leverage_group(population.leverage[account]),
            "quantity": held[mine],
            "light": lights.astype(np.int64),
        }
    )


def _part_left(case: Case, at: datetime | None) -> Floats:
    """Return which part of each first position is still held before a bar."""
    population = case.population
    if at is None:
        return np.ones(population.positions)
    gone = [
        frame.filter(pl.col("open_time") < at).select("account", "symbol", "quantity")
        for frame in (case.result.liquidations, case.result.deleveragings)
    ]
    rows = pl.concat(gone).group_by("account", "symbol").agg(pl.col("quantity").sum())
    names = pl.Series(population.symbols, dtype=pl.String).gather(population.contract)
    own = pl.DataFrame({"account": population.account, "symbol": names, "held": population.quantity})
    found = own.join(
        rows.with_columns(pl.col("account").cast(pl.Int64)),
        on=["account", "symbol"],
        how="left",
        maintain_order="left",
    )
    closed = found["quantity"].fill_null(0.0).to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        left = 1.0 - closed / population.quantity
    return np.clip(np.nan_to_num(left), 0.0, 1.0)


def _scores(case: Case, held: Floats, entry: Floats, profit: Floats, mark: Floats) -> Floats:
    """Return the figure by which the venue ranks each position; -inf without a balance."""
    population, ranking = case.population, case.result.rules.ranking
    account, count = population.account, population.accounts
    isolated = population.isolated[account]
    margins = np.bincount(account, population.margin, count)
    whole = (population.wallet - margins + np.bincount(account, population.margin + profit, count))[account]
    balance = np.where(isolated, population.margin + profit, whole)
    size, first = np.abs(held * mark), np.abs(held * entry)
    with np.errstate(invalid="ignore", divide="ignore"):
        if ranking == "binance":
            wallet = np.where(isolated, population.margin, population.wallet[account])
            gain = np.where(isolated, profit, balance - wallet)
            score = np.maximum(gain, 0.0) / np.maximum(wallet, 1.0) * _requirement(case, size, held) / balance
        elif ranking == "bitmex":
            ratio, used = profit / first, size / balance
            score = np.where(profit > 0, ratio * used, ratio / used)
        elif ranking == "hyperliquid":
            moved = np.where(mark > 0, mark / entry, entry / mark)
            score = np.where(held > 0, moved, 1.0 / moved) * size / balance
        else:
            score = profit / (first / population.leverage[account])
    return np.where((balance > 0) & np.isfinite(score), score, -np.inf)


def _requirement(case: Case, size: Floats, held: Floats) -> Floats:
    """Return the maintenance margin of each position at its bracket's rate, the deduction included."""
    market, population = case.market, case.population
    places = np.array([market.place(name) for name in population.symbols], np.int64)[population.contract]
    out = np.zeros(len(size))
    for c, table in enumerate(market.tiers):
        mine = places == c
        units = np.abs(held[mine]) / market.instruments[c].contract_size
        measure = size[mine] if table.unit is TierUnit.NOTIONAL else units
        floors = np.array([tier.notional_floor for tier in table.tiers])
        rates = np.array([tier.maintenance_margin_rate for tier in table.tiers])
        at = np.clip(np.searchsorted(floors, measure, side="right") - 1, 0, len(floors) - 1)
        out[mine] = size[mine] * rates[at] - np.array(table.deductions())[at]
    return np.maximum(out, 0.0)


def falls(case: Case) -> pl.DataFrame:
    """Return how far the mark stood below the entry when longs were taken over: ``band, taken, median_fall``."""
    first = case.result.liquidations.filter((pl.col("kind") == "takeover") & (pl.col("quantity") > 0))
    first = (
        first.group_by("account", maintain_order=True).first().select(pl.col("account").cast(pl.Int64), "mark_price")
    )
    longs = fates(case).filter(pl.col("side") == "long").with_columns(pl.col("account").cast(pl.Int64))
    return (
        longs.join(first, on="account", how="inner")
        .with_columns((1.0 - pl.col("mark_price") / pl.col("entry")).alias("fall"))
        .group_by("band")
        .agg(pl.len().alias("taken"), pl.col("fall").median().alias("median_fall"))
        .sort("band")
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0

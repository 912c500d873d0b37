"""The records of a clearing replay as frames, and its summary."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.clearing.market import ClearingMarket
from backtester.clearing.population import Population
from backtester.clearing.result import ClearingResult
from backtester.clearing.rules import ClearingRules
from backtester.domain.enums import LiquidationKind
from backtester.kernel.clearing_state import CLAWBACKS, DELEVERAGINGS, LIQUIDATIONS, Books, Journal, Rows

TIME = pl.Datetime("ms", "UTC")
GUEST_LABEL = "guest"
Floats = NDArray[np.float64]


def result_of(
    market: ClearingMarket,
    population: Population,
    rules: ClearingRules,
    books: Books,
    journal: Journal,
    *,
    start: Floats,
    has_guest: bool,
) -> ClearingResult:
    """Return the result of a finished replay."""
    names = _Names(market, population, has_guest=has_guest)
    liquidations = _liquidations(names, journal.liquidations[: books.counters[LIQUIDATIONS]], books)
    deleveragings = _deleveragings(names, journal.deleveragings[: books.counters[DELEVERAGINGS]])
    clawbacks = _clawbacks(names, journal.clawbacks[: books.counters[CLAWBACKS]])
    fund = _fund(names, rules, journal)
    bars = _bars(names, journal)
    events = {"liquidations": liquidations, "deleveragings": deleveragings, "clawbacks": clawbacks}
    accounts = _accounts(names, books, start, **events)
    return ClearingResult(
        rules=rules,
        symbols=market.symbols,
        settle=market.instruments[0].settle,
        fund=fund,
        liquidations=liquidations,
        deleveragings=deleveragings,
        clawbacks=clawbacks,
        accounts=accounts,
        bars=bars,
        lights=_lights(names, journal),
        guest=_guest_events(deleveragings, clawbacks),
        summary=_summary(rules, books, journal, fund=fund, accounts=accounts, bars=bars, **events),
        notes=(*market.notes, *population.notes),
    )


class _Names:
    """Times, symbols and labels by number."""

    def __init__(self, market: ClearingMarket, population: Population, *, has_guest: bool) -> None:
        self.market = market
        self.time = market.open_time
        self.symbols = pl.Series(market.symbols, dtype=pl.String)
        self.signs = market.signs
        count = population.accounts
        labels = list(population.labels) if population.labels else [str(k) for k in range(count)]
        self.guest = count if has_guest else -1
        self.labels = pl.Series([*labels, GUEST_LABEL] if has_guest else labels, dtype=pl.String)

    def times(self, bars: NDArray[Any]) -> pl.Series:
        return pl.Series("open_time", self.time[bars]).cast(TIME)

    def prices(self, values: Floats, contracts: NDArray[Any]) -> Floats:
        """Return values as prices; NaN where no positive price has them."""
        with np.errstate(divide="ignore", invalid="ignore"):
            out = np.where(self.signs[contracts] > 0, values, -1.0 / values)
        return np.where(out > 0, out, np.nan)


def _liquidations(names: _Names, rows: Rows, books: Books) -> pl.DataFrame:
    kinds = pl.Series(["step" if k == LiquidationKind.STEP else "takeover" for k in rows["kind"]], dtype=pl.String)
    c = rows["contract"]
    return pl.DataFrame(
        {
            "open_time": names.times(rows["bar"]),
            "symbol": names.symbols.gather(c),
            "account": rows["account"],
            "label": names.labels.gather(rows["account"]),
            "leverage": books.accounts["leverage"][rows["account"]],
            "kind": kinds,
            "quantity": rows["quantity"],
            "mark_price": names.prices(rows["mark"], c),
            "bankruptcy_price": names.prices(rows["bankruptcy"], c),
            "margin_balance": rows["balance"],
            "requirement": rows["requirement"],
            "liquidation_fee": rows["fee"],
            "deficit": rows["deficit"],
            "tier": rows["tier"] + 1,
        }
    )


def _deleveragings(names: _Names, rows: Rows) -> pl.DataFrame:
    c = rows["contract"]
    return pl.DataFrame(
        {
            "open_time": names.times(rows["bar"]),
            "symbol": names.symbols.gather(c),
            "account": rows["account"],
            "label": names.labels.gather(rows["account"]),
            "guest": rows["account"] == names.guest,
            "rank": rows["rank"],
            "light": rows["light"],
            "quantity": rows["quantity"],
            "fraction": np.divide(rows["quantity"], rows["held"], out=np.zeros(len(rows)), where=rows["held"] != 0),
            "price": names.prices(rows["price"], c),
            "mark_price": names.prices(rows["mark"], c),
            "profit_lost": rows["profit_lost"],
            "at_open": rows["at_open"] == 1,
        }
    )


def _clawbacks(names: _Names, rows: Rows) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "open_time": names.times(rows["bar"]),
            "account": rows["account"],
            "label": names.labels.gather(rows["account"]),
            "guest": rows["account"] == names.guest,
            "profit": rows["profit"],
            "rate": rows["rate"],
            "paid": rows["paid"],
        }
    )


def _fund(names: _Names, rules: ClearingRules, journal: Journal) -> pl.DataFrame:
    count, bars = journal.funds.shape
    titles = list(names.market.symbols) if rules.fund == "contract" else [names.market.instruments[0].settle]
    flat = journal.funds.ravel()
    worth = flat["balance"] + flat["pending"] + flat["unrealized"]
    peak = flat["peak"]
    fallen = np.divide(peak - worth, peak, out=np.zeros(len(flat)), where=peak > 0)
    flows = {name: flat[name] for name in ("surplus", "deficit", "fees", "funding", "shared")}
    return pl.DataFrame(
        {
            "open_time": names.times(np.tile(np.arange(bars), count)),
            "fund": pl.Series(titles, dtype=pl.String).gather(np.repeat(np.arange(count), bars)),
            "balance": flat["balance"],
            "pending": flat["pending"],
            "unrealized": flat["unrealized"],
            "worth": worth,
            "peak": peak,
            "drawdown": fallen,
            **flows,
            "deleveraging": flat["deleveraging"] == 1,
        }
    )


def _bars(names: _Names, journal: Journal) -> pl.DataFrame:
    count, bars = journal.bars.shape
    flat = journal.bars.ravel()
    c = np.repeat(np.arange(count), bars)
    others = ("liquidations", "liquidated_notional", "deleveraged_notional", "sold_notional", "inventory")
    more = ("price_shift", "open_interest", "outside_quantity")
    return pl.DataFrame(
        {
            "open_time": names.times(np.tile(np.arange(bars), count)),
            "symbol": names.symbols.gather(c),
            "mark_price": names.prices(flat["mark"], c),
            **{name: flat[name] for name in (*others, *more)},
        }
    )


def _lights(names: _Names, journal: Journal) -> pl.DataFrame:
    c, bar = np.nonzero(journal.lights)
    return pl.DataFrame(
        {
            "open_time": names.times(bar),
            "symbol": names.symbols.gather(c),
            "light": journal.lights[c, bar].astype(np.int64),
        }
    ).sort("open_time", maintain_order=True)


def _summed(frame: pl.DataFrame, column: str, size: int, weight: Floats | None = None) -> Floats:
    account = frame["account"].to_numpy().astype(np.int64)
    values = frame[column].to_numpy() if weight is None else weight
    return np.bincount(account, values, size).astype(np.float64)


def _accounts(
    names: _Names,
    books: Books,
    start: Floats,
    *,
    liquidations: pl.DataFrame,
    deleveragings: pl.DataFrame,
    clawbacks: pl.DataFrame,
) -> pl.DataFrame:
    positions, accounts = books.positions, books.accounts
    size = len(accounts)
    mark = books.state["mark"][positions["contract"]]
    profit = positions["quantity"] * (mark - positions["entry"])
    wallet = accounts["wallet"] + np.bincount(positions["account"], positions["margin"], size)
    taken = liquidations.filter(pl.col("kind") == "takeover")
    lost = np.bincount(taken["account"].to_numpy().astype(np.int64), minlength=size) > 0
    number = np.arange(size)
    return pl.DataFrame(
        {
            "account": number,
            "label": names.labels,
            "guest": number == names.guest,
            "isolated": accounts["isolated"] == 1,
            "leverage": accounts["leverage"],
            "start_equity": start,
            "equity": wallet + np.bincount(positions["account"], profit, size),
            "wallet_balance": wallet,
            "position_notional": np.bincount(positions["account"], np.abs(positions["quantity"] * mark), size),
            "liquidated": np.bincount(liquidations["account"].to_numpy().astype(np.int64), minlength=size) > 0,
            "deleveraged": np.bincount(deleveragings["account"].to_numpy().astype(np.int64), minlength=size) > 0,
            "profit_lost": _summed(deleveragings, "profit_lost", size),
            "clawed_back": _summed(clawbacks, "paid", size),
            "survived": ~lost,
        }
    )


def _guest_events(deleveragings: pl.DataFrame, clawbacks: pl.DataFrame) -> pl.DataFrame:
    """Return what happened to the guest as entries of a ledger, in order of time."""
    first = deleveragings.filter(pl.col("guest")).select(
        "open_time",
        "symbol",
        pl.lit("auto_deleverage").alias("kind"),
        "quantity",
        "price",
        "mark_price",
        (-pl.col("profit_lost")).alias("amount"),
        "at_open",
        "light",
    )
    none = pl.lit(None, pl.Float64)
    second = clawbacks.filter(pl.col("guest")).select(
        "open_time",
        pl.lit(None, pl.String).alias("symbol"),
        pl.lit("socialized_loss").alias("kind"),
        none.alias("quantity"),
        none.alias("price"),
        none.alias("mark_price"),
        (-pl.col("paid")).alias("amount"),
        pl.lit(value=False).alias("at_open"),
        pl.lit(None, pl.Int64).alias("light"),
    )
    return pl.concat([first, second]).sort("open_time", maintain_order=True)


def _summary(
    rules: ClearingRules,
    books: Books,
    journal: Journal,
    *,
    fund: pl.DataFrame,
    accounts: pl.DataFrame,
    bars: pl.DataFrame,
    liquidations: pl.DataFrame,
    deleveragings: pl.DataFrame,
    clawbacks: pl.DataFrame,
) -> dict[str, float | int | str | None]:
    last = fund.group_by("fund", maintain_order=True).last()
    together = fund.group_by("open_time").agg(pl.col("worth").sum())["worth"]
    others = accounts.filter(~pl.col("guest"))
    taken = liquidations.filter(pl.col("kind") == "takeover")
    return {
        "venue": rules.name,
        "bars": journal.error.size,
        "accounts": len(others),
        "survivors": int(others["survived"].sum()),
        "liquidated_accounts": int(others["liquidated"].sum()),
        "liquidations": len(liquidations),
        "takeovers": len(taken),
        "liquidated_notional": float(bars["liquidated_notional"].sum()),
        "sold_notional": float(bars["sold_notional"].sum()),
        "deleveragings": len(deleveragings),
        "deleveraged_accounts": int(accounts["deleveraged"].sum()),
        "deleveraged_notional": float(bars["deleveraged_notional"].sum()),
        "profit_lost": float(deleveragings["profit_lost"].sum()),
        "clawed_back_accounts": clawbacks["account"].n_unique(),
        "clawed_back": float(clawbacks["paid"].sum()),
        "fund_start": float(books.funds["start"].sum()),
        "fund_end": float(last["worth"].sum()),
        "fund_low": min(float(books.funds["start"].sum()), float(together.min() or 0.0)),  # type: ignore[arg-type]
        "fund_surplus": float(fund["surplus"].sum()),
        "fund_deficit": float(fund["deficit"].sum()),
        "fund_fees": float(fund["fees"].sum()),
        "fund_funding": float(fund["funding"].sum()),
        "largest_drawdown": float(fund["drawdown"].max() or 0.0),  # type: ignore[arg-type]
        "uncovered_loss": max(0.0, -math.fsum(min(0.0, float(x)) for x in last["worth"])),
        "largest_price_shift": float(bars["price_shift"].abs().max() or 0.0),  # type: ignore[arg-type]
        "conservation_error": float(journal.error.max()),
    }

"""Funds, deleveraging and shared losses of the worked examples, through the replay of small markets.

Bankruptcy prices and partial liquidations are computed with the margins.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from backtester.clearing import ClearingMarket, ClearingResult, ClearingRules, simulate
from backtester.kernel import clearing_queue
from tests.unit.clearing.scene import HOUR, MINUTE, Holding, market, population
from tests.unit.vectors.table import Answer, Case, Vector

PLAIN = ClearingRules(fund_start=0.0, impact=0.0, volume_share=float("inf"), waterfall=("market", "fund"))


def traded_at(of: ClearingMarket, price: float) -> ClearingMarket:
    """Return the market with all trades at one price, whatever the marks."""
    prices = np.full_like(of.open, price)
    return replace(of, open=prices, high=prices, low=prices, close=prices)


def engine_result(size: float, bust: float, fill: float, mark: float) -> float:
    """Return what a fund makes of a long that fails at a mark, bankrupt at one price and sold at another."""
    entry = max(bust, fill, mark) * 1.02
    stays = [(entry, entry), (mark, mark)]
    m = traded_at(market(stays, rate=0.04), fill)
    holder = Holding(0, size, entry, size * (entry - bust))
    result = simulate(m, population(m, holder, Holding(1, -size, entry, 10 * size * entry)), PLAIN)
    return float(result.fund["balance"][-1])


def fund_change(v: Vector) -> Answer:
    """A position is taken over at its bankruptcy price and closed at the market."""
    delta = engine_result(v.get("qty", 1.0), v["bust"], v["fill"], v.get("liq", v["bust"]))
    return {"delta": delta, "fund_after": v.get("fund_before") + delta}


def direction(amount: float) -> str:
    return "inflow" if amount > 0.0 else "outflow"


def direction_by_bankruptcy(v: Vector) -> Answer:
    at = v["exec_price"]
    return {who: direction(engine_result(1.0, v[f"bust_{who}"], at, v[f"bust_{who}"])) for who in "AB"}


def direction_by_execution(v: Vector) -> Answer:
    return {f"f{k}": direction(engine_result(1.0, v["bust"], v[f"exec_{k}"], v["bust"])) for k in "12"}


def capped_fee(v: Vector) -> Answer:
    """The account gets the market's price less a fee that is capped at what is left; the fund pays what is lacking."""
    ((size, _),) = v.inputs["positions"]
    quantity, fill = float(size), v["fill_price"]
    entry = 60_000.0 if quantity > 0 else 40_000.0
    m = market([(fill, fill), (fill, fill)], rate=0.9999)
    wallet = v["usdc"] + quantity * entry
    rules = PLAIN.with_changes(takeover="market", liquidation_fee=min(v["max_fee"], 0.9999))
    result = simulate(m, population(m, Holding(0, quantity, entry, wallet), Holding(1, -quantity, fill, 1e6)), rules)
    return {"delta_quote_quantums": round(result.fund["balance"][-1] * 1e6, 4)}


def queue(v: Vector) -> Answer:
    """All of the queue is closed, so that the whole order shows; leverage settings rank by return."""
    rows = v.inputs["accounts"]
    size = float(sum(row["qty"] for row in rows))
    m = market([(100.0, 100.0), (80.0, 80.0)])
    shorts = [Holding(r["id"], -float(r["qty"]), 100.0, 1e4, leverage=float(r["rank_score"])) for r in rows]
    rules = PLAIN.with_changes(waterfall=("market", "fund", "deleverage"), ranking="roi", volume_share=0.0)
    shorts.sort(key=lambda h: h.account)
    closed = simulate(m, population(m, Holding(0, size, 100.0, 10 * size), *shorts), rules).deleveragings
    return {"order": closed["account"].to_list(), "percentile": [20.0 * light for light in closed["light"]]}


def price_of_deleveraging(v: Vector) -> Answer:
    """Taken over at the oracle price, and closed against the other side when the engine's loss would be the fund's."""
    oracle, size = v["oracle"], v["liquidated_size"]
    m = market([(oracle, oracle), (1.2 * oracle, 1.2 * oracle)], rate=0.1)
    failing = Holding(0, size, oracle, v["liquidated_usdc"] + size * oracle)
    other = Holding(1, v["offsetting_size"], oracle, v["offsetting_usdc"] + v["offsetting_size"] * oracle)
    rules = PLAIN.with_changes(waterfall=("market", "fund", "deleverage"), volume_share=0.0)
    result: ClearingResult = simulate(m, population(m, failing, other), rules)
    return {"price": result.deleveragings["price"][0], "offset_usdc_after": result.accounts["equity"][1]}


def bitmex_rank(v: Vector) -> Answer:
    size, entry, mark = v["contracts"], v["entry"], v["mark"]
    cost, notional = size / entry, size / mark
    profit = cost - notional
    score = getattr(clearing_queue.bitmex_score, "py_func", clearing_queue.bitmex_score)
    return {"score_positive": score(profit, cost, notional, cost / v["leverage"] + profit) > 0.0}


def binance_rank(v: Vector) -> Answer:
    score = getattr(clearing_queue.binance_score, "py_func", clearing_queue.binance_score)
    return {"leverage_pnl": score(v["upnl"], v["wallet"], v["mm"], v["wallet"] + v["upnl"])}


def shared(v: Vector) -> Answer:
    """A fall of 20 gives the winners the stated profits; the fund covers what is not shared."""
    size, mine = v["total_profit"] / 20.0, v["user_profit"] / 20.0
    m = market([(100.0, 100.0), (80.0, 80.0)], start=24 * HOUR - 2 * MINUTE)
    loser = Holding(0, size, 100.0, v["total_profit"] - v["total_loss"])
    winners = (Holding(1, -mine, 100.0, 1e3), Holding(2, mine - size, 100.0, 100.0 * size))
    start = v["total_loss"] - v["after_fund"]
    rules = PLAIN.with_changes(waterfall=("market", "fund", "share"), fund_start=start)
    paid = simulate(m, population(m, loser, *winners), rules).clawbacks
    return {"coefficient": paid["rate"][0], "user_pays": paid["paid"][0]}


BY_ID: dict[str, Case] = {
    "bitmex-insurance-1": fund_change,
    "bitmex-insurance-2": fund_change,
    "btcmex-ins": fund_change,
    "bybit-ins-AB": direction_by_bankruptcy,
    "bybit-ins-6950": direction_by_execution,
    "bitmex-adl-quintile": queue,
    "dydx-deleverage-54999": price_of_deleveraging,
    "derived-adl-bitmex-long": bitmex_rank,
    "derived-adl-binance": binance_rank,
    "58coin-clawback": shared,
}
BY_PREFIX: dict[str, Case] = {"dydx-insurance-": capped_fee}
BY_KIND: dict[str, Case] = {}

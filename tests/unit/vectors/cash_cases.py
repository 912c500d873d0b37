"""Profit, fees, funding, entries and order costs of the worked examples."""

from __future__ import annotations

import math
from datetime import datetime

from backtester.engine import calculator as calc
from backtester.kernel import fills, funding, value
from backtester.market.forecast import clamped_rate
from tests.unit.vectors.table import Answer, Case, Vector, contract, holding, one_tier, rules_of


def open_profit(v: Vector) -> Answer:
    h = holding(v)
    upnl = calc.unrealized_pnl(h)
    entry_margin = calc.initial_margin(h, rules_of(v), margin_mode="isolated", exact=True)
    return {"upnl": upnl, "upnl_ratio": upnl / entry_margin, "notional": h.notional}


def closed(v: Vector, *, inverse: bool = False) -> Answer:
    """A round trip: price profit, both fees, funding, their sum, and the sum over the initial margin at entry."""
    entry, exit_price = v.first("open", "entry"), v.first("close", "exit", "price", "mark")
    size = v.first("close_qty_base", "qty", "contracts", "usd", "sum_close", "size_usd")
    h = calc.Holding(
        contract(v, inverse=inverse),
        v.side * size,
        entry,
        one_tier(0.0),
        exit_price,
        v.get("leverage", v.get("lever", 1)),
    )
    taker = v.get("fee_rate", v.get("taker"))
    rates = (v.get("open_fee_maker", taker), v.get("close_fee_taker", taker))
    opened, left = (
        -calc.trading_fee(h.instrument, size, p, r) for p, r in zip((entry, exit_price), rates, strict=True)
    )
    price, paid = calc.unrealized_pnl(h), v.get("funding", v.get("net_funding"))
    net = price + opened + left + paid
    ratio = net / calc.initial_margin(h, rules_of(v, close_fee=0.0), margin_mode="isolated", exact=True)
    return {
        "fee": opened + left, "open_fee": opened, "close_fee": left, "pnl_fee": opened + left,
        "realized_pnl": net, "realizedPnl": net, "closed_pnl": net, "net": net,
        "realized_pnl_ratio": ratio, "pnlRatio": ratio, "pnl_pnl": price,
    }  # fmt: skip


def closed_price(v: Vector) -> Answer:
    return {**closed(v), "pnl": closed(v)["pnl_pnl"]}


def closed_net(v: Vector) -> Answer:
    return {**closed(v), "pnl": closed(v)["net"]}


def inverse_profit(v: Vector) -> Answer:
    exit_price = v.first("mark", "exit")
    h = holding(v, inverse=True, mark_price=exit_price)
    pnl = calc.unrealized_pnl(h)
    rules = rules_of(v, close_fee=0.0, margin_decimals=-1)
    im = calc.initial_margin(h, rules, margin_mode="isolated")
    return {
        "pnl": pnl, "upnl": pnl, "total_pl": pnl, "pnl_btc": pnl, "pnl_usd": pnl * exit_price,
        "net": pnl - v.get("funding"),
        "notional": h.notional, "notional_exit": h.notional, "size_currency": h.notional,
        "isolated_margin": v.get("isolated_wallet") + pnl, "im": im,
    }  # fmt: skip


def fill_fee(v: Vector) -> Answer:
    size = v.first("contracts", "qty") * v.get("contract_value", 1.0)
    inverse = "taker" in v.inputs
    return {"fee": calc.trading_fee(contract(v, inverse=inverse), size, v["price"], v.first("rate", "taker"))}


def linear_average(v: Vector) -> Answer:
    fills_ = [(float(q), float(p)) for q, p in v.inputs["fills"]]
    return {"avg": calc.average_entry(contract(v), fills_)}


def harmonic_average(v: Vector) -> Answer:
    fills_ = [(float(q), float(p)) for q, p in v.inputs["fills_usd"]]
    entry = calc.average_entry(contract(v, inverse=True), fills_)
    return {"avg": entry, "value_btc": abs(sum(q for q, _ in fills_) * value.price_to_value(entry, -1.0))}


def funding_window(v: Vector) -> Answer:
    """A position pays what settles after it opened and until it closes, the moment of closing included."""
    opened, left = (datetime.fromisoformat(v.inputs[key]) for key in ("open", "close"))
    due = [e for e in v.inputs["events"] if opened < datetime.fromisoformat(f"{opened:%Y-%m-%d} {e['t']}") <= left]
    held = v.side * v["qty"]
    return {"fee_short": -sum(funding.funding_payment(held, float(e["mark"]), float(e["rate"])) for e in due) or 0.0}


def inverse_funding(v: Vector) -> Answer:
    h = calc.Holding(contract(v, inverse=True), v.side * v["contracts"], v["mark"], one_tier(0.0))
    paid = calc.funding_payment(h, v["rate"])
    return {"funding_xbt": paid, "fee_btc": paid}


def dydx_settlement(v: Vector) -> Answer:
    """A cumulative index holds rate times price: its change is what one unit pays."""
    change = v["funding_index_now"] - v["funding_index_at_entry"]
    return {"settlement_ppm": -funding.funding_payment(v["quantums"], 1.0, change)}


def dydx_index(v: Vector) -> Answer:
    """One unit's payment over part of 8 hours, in the index' fixed point, cut toward zero."""
    price = v["price"] * 10 ** (v["atomic_resolution"] + v["exponent"] + 6)
    rate = v["rate_8h_ppm"] * v["seconds"] / 28_800
    return {"index_delta": math.trunc(round(funding.funding_payment(1.0, price, rate), 6))}


def clamped(v: Vector) -> Answer:
    premium = v["premium"] if "premium" in v.inputs else (v["impact_bid"] - v["oracle"]) / v["oracle"]
    rate = float(clamped_rate(premium, 8.0))
    return {"rate": rate, "rate_8h": rate, "premium": premium}


def open_loss(v: Vector) -> Answer:
    """What an opening order asks beyond its margin and fee: the loss at the mark."""
    rules, leverage = rules_of(v), v.get("leverage", 20.0)
    size, price = v.side * v["qty"], v.first("order_price", "order")
    free = contract(v, taker_fee=0.0)
    im = calc.opening_cost(free, size, price, leverage=leverage, rules=rules)
    cost = calc.opening_cost(free, size, price, leverage=leverage, rules=rules, mark_price=v["mark"])
    return {"im": im, "open_loss": cost - im, "cost": cost}


def long_margin(v: Vector) -> Answer:
    free = contract(v, taker_fee=0.0)
    return {"long_im": calc.opening_cost(free, 1.0, v["order_price"], leverage=v["leverage"], rules=rules_of(v))}


def order_cost(v: Vector) -> Answer:
    """Initial margin, fee to open, and the fee to close reserved at bankruptcy."""
    rules = rules_of(v)
    h = holding(v)
    im = calc.initial_margin(h, rules.model_copy(update={"close_fee": 0.0}))
    return {
        "im": im,
        "open_fee": fills.trading_fee(h.quantity, h.entry_value, v["taker"]),
        "close_fee": calc.initial_margin(h, rules) - im,
        "cost": calc.opening_cost(h.instrument, h.quantity, h.entry_price, leverage=h.leverage, rules=rules),
        "bust": calc.bankruptcy_price(h, rules, im),
    }


def market_order(v: Vector) -> Answer:
    """The price that a market order is assumed to fill at: the ask with a buffer against it."""
    return {"assumed": value.slipped(v["ask0"], 1.0, v["buffer"], 1.0)}


BY_ID: dict[str, Case] = {
    "blofin-cross-ltc-upnl": open_profit,
    "binance-pm-btcusdt": open_profit,
    "bitget-closed": closed_price,
    "bitget-uta-closed": closed_price,
    "bybit-upnl-long": closed_price,
    "okx-hist-sushi": closed_price,
    "gate-slerf-closed": closed_net,
    "bybit-aep-linear": linear_average,
    "bybit-aep-inverse": harmonic_average,
    "bitmex-funding-fee": inverse_funding,
    "wisebitcoin-funding": inverse_funding,
    "binance-openloss-short": open_loss,
    "aster-cost-long": open_loss,
    "binance-short-assuming": long_margin,
    "aster-market-long": market_order,
    "bybit-order-cost-btcusdt": order_cost,
    "bybit-order-cost-2020": order_cost,
    "hyperliquid-funding-0.95": clamped,
}

BY_PREFIX: dict[str, Case] = {
    "freqtrade-funding-": funding_window,
    "dydx-settle-": dydx_settlement,
    "dydx-fundidx-": dydx_index,
    "binance-funding-deadzone-": clamped,
}

BY_KIND: dict[str, Case] = {"pnl_linear": closed, "pnl_inverse": inverse_profit, "trading_fee": fill_fee}

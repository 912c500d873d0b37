"""Margins, tiers, liquidation and bankruptcy prices of the worked examples."""

from __future__ import annotations

import math
from dataclasses import replace

from backtester.domain.enums import TierForm
from backtester.engine import calculator as calc
from backtester.kernel import fills, margin
from tests.unit.vectors.table import Answer, Case, Vector, contract, holding, many_tiers, one_tier, ramp, rules_of

LIVE = {"cross": "cross", "isolated": "isolated"}


def ratio_of_balance(v: Vector) -> Answer:
    """The venue shows balance / requirement, the inverse of ours."""
    ratio = calc.margin_ratio([holding(v)], rules_of(v), v["balance"])
    return {"margin_ratio": 1 / ratio}


def shown_position(v: Vector) -> Answer:
    """Margins and profit of a cross position as the interface shows them."""
    h, rules = holding(v), rules_of(v)
    upnl = calc.unrealized_pnl(h)
    at_mark = calc.initial_margin(h, rules)
    maintenance = calc.maintenance_margin(h, rules)
    return {
        "maintenance_margin": maintenance,
        "maint_margin": maintenance,
        "initial_margin": at_mark,
        "upnl": upnl,
        "upnl_ratio": upnl / calc.initial_margin(h, rules, margin_mode="isolated", exact=True),
        "notional": h.notional,
    }


def linear_liquidation(v: Vector) -> Answer:
    """One position on a balance: wallet or isolated margin."""
    balance = v.first("balance_implied", "margin", "isolated_wallet", "wallet", "isolated_margin", "static_margin")
    balance += v.get("other_upnl") - v.get("other_mm")
    price = calc.liquidation_price(holding(v), rules_of(v), balance, exact=True)
    return {"liquidation_price": "" if price is None else price, "liqPx": price}


def beside_another(v: Vector) -> Answer:
    """A cross position beside one of another contract."""
    o = v.inputs["other"]
    other = calc.Holding(
        contract(v).model_copy(update={"symbol": "Y"}),
        float(o["qty"]),
        float(o["entry"]),
        one_tier(float(o["mmr"]), float(o["cum"])),
        float(o["mark"]),
    )
    price = calc.liquidation_price(holding(v), rules_of(v), v["wallet"], others=[other], exact=True)
    return {"liquidation_price": price}


def inverse_liquidation(v: Vector) -> Answer:
    price = calc.liquidation_price(holding(v, inverse=True), rules_of(v), v["isolated_wallet"], exact=True)
    return {"liquidation_price": price}


def coin_margined_tiers(v: Vector) -> Answer:
    """Nine figures of wallet and size; the bracket at the liquidation price, not at the entry, sets the deduction."""
    table = many_tiers(v.inputs["tiers_btc"], [0.004, 0.005, 0.01, 0.025, 0.05, 0.1, 0.125])
    h = holding(v, inverse=True, tiers=table)
    price = calc.liquidation_price(h, rules_of(v), v["wallet_btc"], exact=True)
    return {"liquidation_price": price, "cum": table.deductions()[table.lookup(abs(h.quantity) / price)]}


def recursion(v: Vector) -> Answer:
    table = many_tiers([0, v["floor"]], [v["mmr_n_1"], v["mmr_n"]], amounts={0: v["cum_n_1"]})
    return {"cum": table.deductions()[1]}


def deduction_list(v: Vector) -> Answer:
    return {"cum": list(many_tiers(v.inputs["floors"], v.inputs["mmrs"]).deductions())}


def bracket_of_notional(v: Vector) -> Answer:
    table = many_tiers(v.inputs["floors"], v.inputs["mmrs"])
    k = table.lookup(v["notional"])
    return {"cum": table.deductions()[k], "mmr": table.tiers[k].maintenance_margin_rate}


def bracket_of_coins(v: Vector) -> Answer:
    """The table is known from 50 BTC on; what lies below is one bracket here."""
    rates = [float(m) for m in v.inputs["mmrs"]]
    table = many_tiers([0, *v.inputs["floors"]], [rates[0], *rates], amounts={0: 0.0, 1: v["cum_at_50"]})
    k = table.lookup(v["notional_btc"])
    return {"cum": table.deductions()[k], "mmr": table.tiers[k].maintenance_margin_rate}


def entry_basis(v: Vector) -> Answer:
    """Maintenance at the entry value; the fee to close stands in both margins and cancels."""
    h, rules = holding(v), rules_of(v, mmr_basis="entry")
    balance = calc.initial_margin(h, rules, margin_mode="isolated", exact=True)
    own = calc.initial_margin(h, rules_of(v, close_fee_basis="mark"), margin_mode="isolated", exact=True)
    liquidation = calc.liquidation_price(h, rules, balance + v.get("extra_margin"))
    return {
        "liquidation_price": liquidation,
        "liq": liquidation,
        "liq_price": liquidation,
        "bust_price": calc.bankruptcy_price(h, rules, own),
        "bust": calc.bankruptcy_price(h, rules, own),
        "position_balance": balance,
        "positionIM": calc.initial_margin(h, rules, margin_mode="isolated"),
        "positionMM": calc.requirement(h, rules),
        "upnl": calc.unrealized_pnl(h),
        "im": own,
        "mm": calc.maintenance_margin(h, rules),
        "max_loss_before_liq": balance - calc.requirement(h, rules),
    }


def inverse_entry_basis(v: Vector) -> Answer:
    h, rules = holding(v, inverse=True, size=1.0), rules_of(v, mmr_basis="entry")
    return {"liq": calc.liquidation_price(h, rules, calc.initial_margin(h, rules, margin_mode="isolated"))}


def bybit_inverse_cross(v: Vector) -> Answer:
    """Under cross the whole balance is the margin: its leverage is position value / balance."""
    size = v["contracts"]
    h = holding(v, inverse=True, leverage=size / v["entry"] / v["balance"])
    rules = rules_of(v)
    return {
        "bankruptcy_price": calc.bankruptcy_price(h, rules, v["balance"], close_fee=v["taker"]),
        "liquidation_price": calc.liquidation_price(h, rules, v["balance"]),
    }


def bybit_old_cross(v: Vector) -> Answer:
    h = holding(v, leverage=1 / v["im_rate"], mark_price=None)
    rules = rules_of(v, close_fee=0.0)
    im = calc.initial_margin(h, rules)
    room = v["available_balance"] + im - calc.requirement(h, rules)
    return {"im": im, "mm": calc.maintenance_margin(h, rules), "sustainable_loss": room}


def inverse_initial(v: Vector) -> Answer:
    size = v.first("contracts", "qty") * v.get("face_usd", 1.0) * v.get("multiplier", 1.0)
    h = holding(v, inverse=True, size=size)
    im = calc.initial_margin(h, rules_of(v, close_fee=0.0), exact=True)
    return {"size_btc": h.notional, "position_value": h.notional, "margin_btc": im, "im": im, "initial_margin": im}


def quanto_initial(v: Vector) -> Answer:
    h = holding(v, size=v["contracts"] * v["multiplier"], leverage=1 / v["im"])
    return {"im_xbt": calc.initial_margin(h, rules_of(v, close_fee=0.0), exact=True)}


def stated_rates(v: Vector) -> Answer:
    """Margins of an inverse position from rates that the example states."""
    rules = rules_of(v, close_fee=0.0, mmr_basis="mark", margin_decimals=-1)
    h = holding(v, inverse=True, tiers=one_tier(v.get("margin_maint")), leverage=1 / v.get("margin_init", 1.0))
    key = "margin_init" if "margin_init" in v.inputs else "margin_maint"
    return {"margin": calc.initial_margin(h, rules) if key == "margin_init" else calc.maintenance_margin(h, rules)}


def risk_steps(v: Vector) -> Answer:
    """A base and steps of half a percent, on the whole position."""
    floors = [0.0] + [v["base"] + k * v["step"] for k in range(3)]
    table = many_tiers(floors, [v["base_mmr"] + 0.005 * k for k in range(4)], form=TierForm.FLAT)
    price = 10_000.0
    h = calc.Holding(contract(v, inverse=True), v["position_xbt"] * price, price, table)
    mm = calc.maintenance_margin(h, rules_of(v), exact=True)
    k = table.lookup(h.notional)
    im = calc.initial_margin(
        replace(h, leverage=1 / (v["base_imr"] + 0.005 * k)), rules_of(v, close_fee=0.0), exact=True
    )
    return {"mm": mm, "mmr": mm / h.notional, "imr": im / h.notional}


def satoshi_position(v: Vector) -> Answer:
    """Whole satoshi, each figure floored."""
    rules = rules_of(v)
    entry = v["contracts"] / (v["posCost_sat"] * 1e-8)
    h = calc.Holding(
        contract(v, inverse=True), v["contracts"], entry, one_tier(v["mmr"]), v["mark"], leverage=1 / v["imr"]
    )
    commission = rules.displayed_margin(calc.trading_fee(h.instrument, h.quantity, entry, v["taker"]))
    initial = calc.initial_margin(h, rules.model_copy(update={"close_fee": 0.0}), margin_mode="isolated")
    figures = {
        "markValue": rules.displayed_margin(h.notional),
        "unrealisedPnl": v["posCost_sat"] * 1e-8 - rules.displayed_margin(h.notional),
        "posInit": initial,
        "posComm": commission,
        "posMargin": initial + commission,
        "posMaint": calc.maintenance_margin(h, rules) + commission,
    }
    return {key: round(amount * 1e8, 3) for key, amount in figures.items()}


def hyperliquid_isolated(v: Vector) -> Answer:
    h = holding(v, tiers=one_tier(1 / (2 * v["max_leverage"])))
    return {"liquidation_price": calc.liquidation_price(h, rules_of(v), v["isolated_margin"])}


def hyperliquid_raw(v: Vector) -> Answer:
    """``rawUsd`` is the margin less the cost of the position."""
    h = holding(v, tiers=one_tier(1 / (2 * v["max_leverage"])))
    used = v["rawUsd"] + h.notional
    price = calc.liquidation_price(h, rules_of(v), used)
    return {"liquidation_price": price, "position_value": h.notional, "margin_used": used}


def dydx_takeover(v: Vector) -> Answer:
    """The account's equity is shared by requirement; quantums are 1e-6 USD, rounded up."""
    rules = rules_of(v)
    rows = [(float(q), float(p)) for q, p in v.inputs["positions"]]
    held = [calc.Holding(contract(v), q, p, one_tier(v["mmf"])) for q, p in rows]
    equity = v["usdc"] + sum(h.quantity * h.mark_value for h in held)
    needed = [calc.requirement(h, rules) for h in held]
    i = int(v["close_index"])
    share = equity * needed[i] / sum(needed)
    price = margin.bankruptcy_value(held[i].quantity, held[i].mark_value, share)
    return {"quote_quantums": math.ceil(round(-v["delta"] * price * 1e6, 4))}


def dydx_margins(v: Vector) -> Answer:
    """Initial and maintenance rate in parts per million; quantums, rounded up."""
    price = v["price"] * 10 ** v["exponent"]
    rate = v["im_ppm"] * 1e-6
    kept = rate * v["mm_fraction_ppm"] * 1e-6
    leverage = 1 / rate if rate else math.inf
    size = v["quantums"] * 10 ** v["atomic_resolution"]
    h = calc.Holding(contract(v), size, price, one_tier(min(kept, 0.999)), leverage=leverage)
    figures = {"im": calc.initial_margin(h, rules_of(v)), "mm": calc.maintenance_margin(h, rules_of(v))}
    return {key: math.ceil(round(amount * 1e6, 3)) for key, amount in figures.items()}


def deribit_ramp(v: Vector) -> Answer:
    """Base and slope of the initial rate go through the same ramp as those of maintenance."""
    rules = rules_of(v)
    held = {key: ramp(v[f"base_{key}"], v["slope_per_unit"]) for key in ("im", "mm")}
    position = {key: calc.Holding(contract(v), v["position"], v["price"], table) for key, table in held.items()}
    return {key: calc.maintenance_margin(h, rules) for key, h in position.items()}


def kucoin(v: Vector) -> Answer:
    """The requirement is stated; the bankruptcy price is floored there."""
    rules = rules_of(v, mmr_basis="entry", price_rounding="against")
    h = holding(v, tiers=one_tier(v["posMaint"] / (v["qty"] * v["entry"])))
    initial = calc.initial_margin(h, rules)
    bust = calc.bankruptcy_price(h, rules, initial, exact=True)
    return {
        "liq": calc.liquidation_price(h, rules, v["posMargin"]),
        "bust": rules.displayed_price(bust, h.instrument, -1),
        "posInit": initial,
    }


def htx_liquidation(v: Vector) -> Answer:
    """The adjustment factor / leverage is a maintenance rate."""
    h = holding(v, tiers=one_tier(v["adjust_factor"] / v["leverage"]))
    return {"liquidation_price": calc.liquidation_price(h, rules_of(v), v["static_margin"])}


def htx_risk(v: Vector) -> Answer:
    h = holding(v, tiers=one_tier(v["adjust_factor"] / v["leverage"]))
    h = replace(h, entry_price=v["hold_price"])
    rules = rules_of(v)
    return {
        "margin_balance": v["static_margin"] + calc.unrealized_pnl(h),
        "position_margin": calc.initial_margin(h, rules),
        "risk_rate": v["adjust_factor"] * (1 / calc.margin_ratio([h], rules, v["static_margin"]) - 1),
        "profit": calc.unrealized_pnl(replace(h, entry_price=v["open"])),
        "profit_unreal": calc.unrealized_pnl(h),
    }


def mexc(v: Vector) -> Answer:
    """Maintenance at entry; what an opening order asks includes the taker fee."""
    h, rules = holding(v), rules_of(v, mmr_basis="entry")
    return {
        "im": calc.opening_cost(h.instrument, h.quantity, h.entry_price, leverage=h.leverage, rules=rules),
        "liq": calc.liquidation_price(h, rules, calc.initial_margin(h, rules)),
        "fee": calc.trading_fee(h.instrument, h.quantity, h.entry_price, v["taker"]),
    }


def phemex(v: Vector) -> Answer:
    """The fee to close is reserved at bankruptcy and charged at the mark."""
    price = v["open_value"] / v["size"]
    h = calc.Holding(contract(v), v["size"], price, one_tier(v["mmr"]), leverage=v["leverage"])
    reserved = rules_of(v, close_fee="taker", close_fee_basis="bankruptcy")
    assigned = calc.initial_margin(h, reserved)
    return {"assigned": assigned, "liq": calc.liquidation_price(h, rules_of(v, close_fee="taker"), assigned)}


def flipster(v: Vector) -> Answer:
    h, rules = holding(v), rules_of(v, mmr_basis="entry")
    own = calc.initial_margin(h, rules, margin_mode="isolated")
    ratio = calc.margin_ratio([h], rules, own)
    return {"remaining": own + calc.unrealized_pnl(h), "liquidated": ratio >= 1}


def okx_step(v: Vector) -> Answer:
    """The tier's maximum belongs to it: the next one starts a contract higher."""
    left = fills.largest_below(v["tier1_max"] + 1, 1.0, 1.0, 1.0)
    return {"close_swaps": v["position_swaps"] - left}


BY_ID: dict[str, Case] = {
    "blofin-cross-ltc-marginratio": ratio_of_balance,
    "binance-faq-cross-eth": beside_another,
    "binance-faq-cross-btc": beside_another,
    "binance-2020-maintamt-L5": recursion,
    "binance-usdm-faq-1300": recursion,
    "binance-2020-maintamt-264k": bracket_of_notional,
    "binance-coinm-maintamt-300btc": bracket_of_coins,
    "binance-coinm-calculator-33599": coin_margined_tiers,
    "binance-coinm-iso-liq": inverse_liquidation,
    "blofin-coinm-im": inverse_initial,
    "binance-coinm-cost-im": inverse_initial,
    "bybit-uta-inverse-iso": inverse_initial,
    "bybit-inv-cross-bust": bybit_inverse_cross,
    "bybit-inv-cross-liq": bybit_inverse_cross,
    "bybit-cross-sustainable-2100": bybit_old_cross,
    "bitmex-quanto-im": quanto_initial,
    "bitmex-ws-position": satoshi_position,
    "hyperliquid-ccxt-eth": hyperliquid_raw,
    "nautilus-margin-init-inverse": stated_rates,
    "nautilus-margin-maint-inverse": stated_rates,
    "kucoin-iso-eth": kucoin,
    "htx-iso-btc-liq": htx_liquidation,
    "htx-iso-btc-risk": htx_risk,
    "mexc-eth": mexc,
    "phemex-usdtm-liq": phemex,
    "mcs-inv-long": inverse_entry_basis,
    "mcs-inv-short": inverse_entry_basis,
    "jesse-short": entry_basis,
    "okx-partial-liq-2019": okx_step,
}

BY_PREFIX: dict[str, Case] = {
    "freqtrade-maintamt-": bracket_of_notional,
    "binance-brackets-btcusdt-": deduction_list,
    "lnexchange-brackets": deduction_list,
    "freqtrade-bybit-": entry_basis,
    "bybit-iso-": entry_basis,
    "bybit-uma-": entry_basis,
    "bybit-uta-xrp": entry_basis,
    "bybit-es-mm": entry_basis,
    "bitmex-risklimit-": risk_steps,
    "hyperliquid-iso-": hyperliquid_isolated,
    "dydx-bankruptcy-": dydx_takeover,
    "dydx-margin-": dydx_margins,
    "deribit-": deribit_ramp,
    "flipster-": flipster,
}

BY_KIND: dict[str, Case] = {
    "maintenance_margin": shown_position,
    "initial_margin": shown_position,
    "liquidation_price": linear_liquidation,
}

"""What a fill costs beside its price: fee rates by traded volume, and slippage.

Source: ``docs/execution.md``, "Costs".
"""

from __future__ import annotations

import math

from backtester.domain.enums import Liquidity, SlippageModel
from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.state import Book, Market, Setup

TAKER = constant(Liquidity.TAKER)
MAKER = constant(Liquidity.MAKER)
HALF_SPREAD = constant(SlippageModel.HALF_SPREAD)
VOLATILITY = constant(SlippageModel.VOLATILITY)
IMPACT = constant(SlippageModel.IMPACT)
FIXED = constant(SlippageModel.FIXED)
DAY_MS = constant(86_400_000)
DAYS = constant(31)  # thirty before today, and today
MOST = 0.5  # a slippage of half the price is no price any more


@step
def turn_to_day(setup: Setup, book: Book) -> None:
    """On the first fill of a UTC day, find the fee tier by the thirty days before."""
    account = book.account[0]
    day = account["time"] // DAY_MS
    if day == account["day"]:
        return
    for d in range(max(account["day"] + 1, day - DAYS + 1), day + 1):
        book.volumes[d % DAYS] = 0.0
    account["day"] = day
    traded = 0.0
    for d in range(DAYS):
        traded += book.volumes[d]
    tier = 0
    for k in range(setup.fee_tiers.size):
        if setup.fee_tiers[k]["volume"] <= traded:
            tier = k
    account["fee_tier"] = tier


@inlined
def fee_rate(setup: Setup, book: Book, i: int, liquidity: int) -> float:
    """Return the fee rate of a fill now [fraction of notional]."""
    if setup.fee_tiers.size > 0:
        turn_to_day(setup, book)
        tier = setup.fee_tiers[book.account[0]["fee_tier"]]
        return float(tier["maker"] if liquidity == MAKER else tier["taker"])
    instrument = setup.instruments[i]
    return float(instrument["maker_fee"] if liquidity == MAKER else instrument["taker_fee"])


@inlined
def count_volume(setup: Setup, book: Book, notional: float) -> None:
    """Add an own fill to the day's traded volume."""
    if setup.fee_tiers.size > 0:
        turn_to_day(setup, book)
        book.volumes[book.account[0]["day"] % DAYS] += notional


@step
def bar_volatility(setup: Setup, market: Market, i: int, bar: int) -> float:
    """Return the root mean square of the last returns of the trade closes before a bar [fraction]; 0: none known."""
    row = setup.instruments[i]["row"]
    total = 0.0
    count = 0
    for k in range(max(1, bar - setup.rules[0]["cost_window"]), bar):
        before = market.trade_close[row, k - 1]
        after = market.trade_close[row, k]
        change = after / before - 1.0 if setup.instruments[i]["sign"] > 0.0 else before / after - 1.0
        if not math.isnan(change):
            total += change * change
            count += 1
    return math.sqrt(total / count) if count > 0 else 0.0


@step
def slippage(setup: Setup, market: Market, i: int, bar: int, quantity: float, value: float) -> float:
    """Return the slippage of a taker fill [fraction of the price].

    Parameters
    ----------
    quantity : float
        What fills [units]; unsigned or signed.
    value : float
        Reference price in value space: what a unit of an inverse contract is worth in base units.
    """
    rules = setup.rules[0]
    instrument = setup.instruments[i]
    total = instrument["slippage"]
    model = rules["slippage_model"]
    if model == FIXED:
        return float(total)
    if model == HALF_SPREAD:
        total += rules["half_spread"]
    elif model == VOLATILITY:
        total += rules["volatility_factor"] * bar_volatility(setup, market, i, bar)
    elif market.volume.shape[1] > 0:
        volume = market.volume[instrument["row"], bar]
        if volume > 0.0:
            base = abs(quantity) if instrument["sign"] > 0.0 else abs(quantity * value)
            total += rules["impact_factor"] * bar_volatility(setup, market, i, bar) * math.sqrt(base / volume)
    return float(min(total, MOST))


@step
def engine_slippage(setup: Setup, book: Book, i: int, value: float) -> float:
    """Return the slippage at which the engine closes position ``i`` [fraction]: that of the whole position."""
    p = book.positions[i]
    if p["engine_impact"] == 0.0:
        return float(p["engine_slippage"])
    base = abs(p["quantity"]) if setup.instruments[i]["sign"] > 0.0 else abs(p["quantity"] * value)
    return float(min(p["engine_slippage"] + p["engine_impact"] * math.sqrt(base), MOST))


@step
def set_engine_slippage(setup: Setup, market: Market, book: Book, bar: int) -> None:
    """Give each position, held or on its way, the costs at which the liquidation engine would close it in a bar."""
    if setup.rules[0]["slippage_model"] in (FIXED, HALF_SPREAD):
        return
    for i in range(book.positions.size):
        p = book.positions[i]
        if p["quantity"] == 0.0 and p["orders"] == 0:
            continue
        p["engine_slippage"] = slippage(setup, market, i, bar, 0.0, 0.0)
        p["engine_impact"] = slippage(setup, market, i, bar, 1.0, 1.0) - p["engine_slippage"]

"""What a fill costs: the fee by the volume traded before, the slippage by a model of the market."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

from tests.reference.book import Book

DAY = 86_400_000
DAYS = 30
MOST = Fraction(1, 2)


def fee_rate(book: Book, i: int, time: int, *, maker: bool) -> Fraction:
    """Return the trading fee of a fill at a time."""
    settings, rules = book.case.settings, book.rules[i]
    own = rules.maker if maker else rules.taker
    if not settings.fee_tiers:
        return own
    volume = traded_before(book, time)
    for least, taker_rate, maker_rate in settings.fee_tiers:
        if volume >= Fraction(least):
            own = Fraction(maker_rate if maker else taker_rate)
    return own


def traded_before(book: Book, time: int) -> Fraction:
    """Return the notional traded in the 30 days before today."""
    today, first = time // DAY, book.case.open_time[0] // DAY
    daily = Fraction(book.case.settings.volume_30d) / DAYS
    return sum(
        (daily if day < first else book.traded.get(day, Fraction(0)) for day in range(today - DAYS, today)),
        Fraction(0),
    )


def count_traded(book: Book, time: int, notional: Fraction) -> None:
    """Remember what was traded today."""
    book.traded[time // DAY] = book.traded.get(time // DAY, Fraction(0)) + notional


def volatility(book: Book, i: int) -> Fraction:
    """Return the root of the mean square of the last simple returns before the bar."""
    closes = book.case.contracts[book.slots[i].symbol].trade.close[: book.bar]
    pairs = itertools.pairwise(closes)
    moves = [Fraction(b) / Fraction(a) - 1 for a, b in pairs if not (math.isnan(a) or math.isnan(b))]
    last = moves[-book.case.settings.cost_window :]
    if not last:
        return Fraction(0)
    return Fraction(math.sqrt(sum(r * r for r in last) / len(last)))


def base_units(book: Book, i: int, quantity: Fraction, price: Fraction) -> Fraction:
    """Return a quantity as volumes count it."""
    kind = book.rules[i].kind
    return quantity * kind.worth(price) if kind.inverse else quantity


def slippage(book: Book, i: int, quantity: Fraction, reference: Fraction) -> Fraction:
    """Return the slippage of a fill of a quantity, as a fraction of the price."""
    settings, total = book.case.settings, book.rules[i].slippage
    if settings.slippage_model == "half_spread":
        total += Fraction(settings.half_spread_bps) / 10_000
    elif settings.slippage_model == "volatility":
        total += Fraction(settings.volatility_factor) * volatility(book, i)
    elif settings.slippage_model == "impact":
        volumes = book.case.contracts[book.slots[i].symbol].volume
        volume = 0.0 if volumes is None else volumes[book.bar]
        if volume > 0:  # NaN is not
            part = math.sqrt(base_units(book, i, quantity, reference) / Fraction(volume))
            total += Fraction(settings.impact_factor) * volatility(book, i) * Fraction(part)
    return min(total, MOST)

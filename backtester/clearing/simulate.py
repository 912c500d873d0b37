"""A population of accounts cleared over a market: the call, the check of its books, its frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backtester.clearing.frames import result_of
from backtester.clearing.guest import Guest
from backtester.clearing.market import ClearingMarket
from backtester.clearing.population import Population
from backtester.clearing.prepare import Capacity, largest_sizes, make_books, make_journal, make_world
from backtester.clearing.result import ClearingResult
from backtester.clearing.rules import ClearingRules
from backtester.errors import InternalError, format_time
from backtester.kernel.clearing import clear_market
from backtester.kernel.clearing_state import (
    BELOW_LIMIT,
    CLAWBACKS,
    CLOSED,
    DELEVERAGINGS,
    LIQUIDATIONS,
    MONEY_LOST,
    SIZES_APART,
    Books,
    Journal,
    World,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_LIGHTS = 500
FAULTS = {
    MONEY_LOST: "what all hold together changed by {error:.3g} of the wallets, beyond 1e-9",
    SIZES_APART: "the positions of a contract do not sum to zero",
    BELOW_LIMIT: "an account is below its liquidation limit",
}


def simulate(
    market: ClearingMarket, population: Population, rules: ClearingRules, *, guest: Guest | None = None
) -> ClearingResult:
    """Replay a population over a market by a venue's rules.

    In each bar: funding due at the open; liquidations at the mark open; the engine's older inventory is offered at the
    trade open; the guest trades; funding due inside the bar; then the path of marks and trades, low first where the
    trade bar closes at or above its open. Each liquidation happens where the mark meets the trigger, and what the
    engine takes over is sold at once, within its share of the bar's volume. Deleveraging is decided at the open, at
    both extremes and at the close; shared losses and daily bookings at the close.

    Parameters
    ----------
    market : ClearingMarket
        Series, contracts and margin tables.
    population : Population
        Accounts at the first open, which sum to zero.
    rules : ClearingRules
        What the venue does.
    guest : Guest, optional
        An account of one's own with its path of trades.

    Raises
    ------
    UnknownNameError
        A contract is held that the market does not have.
    AccountError
        A margin table cannot be used.
    InternalError
        The books do not close after a bar: a bug of this package.

    Notes
    -----
    Funding of isolated positions is paid from their margin. The same inputs give the same result, whatever the machine.
    """
    world = make_world(market, rules, largest_sizes(market, population), guest)
    capacity = Capacity(max(1024, population.positions // 4), 1024, 1024)
    while True:
        books = make_books(market, population, rules, guest)
        start = start_equities(world, books)
        journal = make_journal(world, books, capacity)
        every = 0 if guest is None else light_step(len(market.open_time))
        outcome, bar = clear_market(world, books, journal, every)
        if outcome != CLOSED:
            _refuse(market, journal, outcome, bar)
        needed = Capacity(
            *(
                max(len(rows), int(books.counters[counter]))
                for rows, counter in (
                    (journal.liquidations, LIQUIDATIONS),
                    (journal.deleveragings, DELEVERAGINGS),
                    (journal.clawbacks, CLAWBACKS),
                )
            )
        )
        if needed == capacity:
            return result_of(market, population, rules, books, journal, start=start, has_guest=guest is not None)
        capacity = needed


def light_step(bars: int) -> int:
    """Return how many bars lie between two looks at the guest's light: at most 500 looks, beside those of events."""
    return max(1, -(-bars // MOST_LIGHTS))


def start_equities(world: World, books: Books) -> NDArray[np.float64]:
    """Return the equity of each account at the first mark open [settlement currency]."""
    positions = books.positions
    mark = world.mark[0, :, 0][positions["contract"]]
    profit = positions["margin"] + positions["quantity"] * (mark - positions["entry"])
    totals = books.accounts["wallet"] + np.bincount(positions["account"], profit, len(books.accounts))
    return np.asarray(totals, np.float64)


def _refuse(market: ClearingMarket, journal: Journal, outcome: int, bar: int) -> None:
    fault = FAULTS.get(outcome, "the liquidations of one leg come to no end")
    text = fault.format(error=float(journal.error[bar]))
    raise InternalError(
        f"Clearing: {text}, after bar {bar} at {format_time(int(market.open_time[bar]))}.",
        "This is a bug of the package: please report it with the command that led to it.",
    )

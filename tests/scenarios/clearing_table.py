"""Scenario tables of whole markets: bars, accounts, and what must come out, worked by hand.

Tables are blocks of text as in ``tests.scenarios.table``. Bars: ``open high low close`` of the marks (and trades),
``volume``, ``rate`` (funding due at the open). Accounts: one row a position, ``acc wallet sym size entry``, with
``margin`` for isolated ones; an account with two positions has two rows. Events: one row each, in their order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.reference.case import Settlement, Tiers
from tests.reference.clearing_case import Cleared, Event, Held, Listing, Market, Trader, Venue
from tests.scenarios.table import agrees, brackets, figure, has_series, number, read, readable, series

HOUR = 3_600_000
ONE_PERCENT = brackets((0, 0.01))

COLUMNS = {
    "kind": "kind",
    "acc": "account",
    "sym": "contract",
    "size": "size",
    "price": "price",
    "trigger": "trigger",
    "bust": "bankruptcy_price",
    "lost": "lost",
    "realized": "realized",
    "taken": "deleveraged",
    "result": "result",
    "fee": "fee",
    "cover": "cover",
    "amount": "amount",
    "rate": "rate",
}


@dataclass(frozen=True)
class ClearingScenario:
    """A market and what must come of it.

    ``terms`` are fields of ``Listing`` for all contracts, ``rules`` fields of ``Venue``. ``events`` are complete.
    ``wallet``, ``equity`` and ``held`` list one figure per account (``held`` in the first contract) at the end,
    ``fund`` one per bar (of the first fund; ``funds`` the last of each).
    """

    name: str
    bars: str | tuple[str, ...]
    accounts: str
    terms: Mapping[str, Any] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)
    hours: int = 1
    first_hour: int = 0
    events: str | None = None
    wallet: str | None = None
    equity: str | None = None
    held: str | None = None
    fund: str | None = None
    funds: str | None = None
    inventory: str | None = None


def listing_of(scenario: ClearingScenario, table: str) -> Listing:
    """Return the contract that a table of bars describes."""
    rows = read(table)
    start, bar_ms = scenario.first_hour * HOUR, scenario.hours * HOUR
    given: dict[str, Any] = {
        "mark": series(rows, "m_") if has_series(rows, "m_") else series(rows),
        "trade": series(rows) if has_series(rows, "m_") else None,
        "table": ONE_PERCENT,
        "volume": tuple(figure(row, "volume") for row in rows) if any("volume" in r for r in rows) else None,
        "funding": tuple(
            Settlement(start + k * bar_ms, number(row["rate"])) for k, row in enumerate(rows) if "rate" in row
        ),
    }
    return Listing(**{**given, **scenario.terms})


def traders_of(table: str) -> tuple[Trader, ...]:
    """Return the accounts that a table describes."""
    wallets: dict[int, float] = {}
    held: dict[int, list[Held]] = {}
    isolated: set[int] = set()
    for row in read(table):
        account = int(row["acc"])
        if "wallet" in row:
            wallets[account] = number(row["wallet"])
        if "size" in row:
            margin = number(row["margin"]) if "margin" in row else 0.0
            if "margin" in row:
                isolated.add(account)
            contract = int(row.get("sym", "0"))
            held.setdefault(account, []).append(Held(contract, number(row["size"]), number(row["entry"]), margin))
    assert sorted(wallets) == list(range(len(wallets)))
    return tuple(Trader(wallets[a], tuple(held.get(a, ())), a in isolated) for a in sorted(wallets))


def market_of(scenario: ClearingScenario) -> Market:
    """Return the market that a scenario describes."""
    tables = (scenario.bars,) if isinstance(scenario.bars, str) else scenario.bars
    listings = tuple(listing_of(scenario, table) for table in tables)
    bar_ms = scenario.hours * HOUR
    times = tuple(scenario.first_hour * HOUR + k * bar_ms for k in range(len(listings[0].mark.open)))
    venue = Venue(**scenario.rules)
    return Market(listings, traders_of(scenario.accounts), venue, times, bar_ms)


def check(scenario: ClearingScenario, out: Cleared) -> None:
    """Compare an outcome with a scenario's tables."""
    if scenario.events is not None:
        check_events(read(scenario.events), out.events)
    check_figures("wallet", scenario.wallet, out.wallet[-1])
    check_figures("equity", scenario.equity, out.equity[-1])
    check_figures("held", scenario.held, [row[0] for row in out.size[-1]])
    check_figures("fund", scenario.fund, [row[0] for row in out.fund])
    check_figures("funds", scenario.funds, out.fund[-1])
    check_figures("inventory", scenario.inventory, out.inventory[-1])
    first = max(1.0, abs(float(out.money[0])))
    assert all(math.isclose(m, out.money[0], rel_tol=0.0, abs_tol=1e-9 * first) for m in map(float, out.money))


def check_figures(name: str, expected: str | None, got: list[Any]) -> None:
    if expected is None:
        return
    cells = expected.split()
    shown = [readable(g) for g in got]
    assert len(cells) == len(got), f"{name}: {len(cells)} figures expected, got {shown}"
    for k, (cell, value) in enumerate(zip(cells, got, strict=True)):
        assert agrees(cell, value), f"{name}[{k}]: {cell} expected, got {shown}"


def check_events(expected: list[dict[str, str]], events: list[Event]) -> None:
    shown = "\n".join(str({k: readable(v) for k, v in e.items()}) for e in events)
    assert len(events) == len(expected), f"{len(expected)} events expected, got {len(events)}:\n{shown}"
    for k, (cells, event) in enumerate(zip(expected, events, strict=True)):
        for column, cell in cells.items():
            got = event["bar"] if column == "bar" else event[COLUMNS[column]]
            assert agrees(cell, got), f"events[{k}].{column}: {cell} expected, got {readable(got)}\n{shown}"


__all__ = ["ClearingScenario", "Tiers", "check", "market_of"]

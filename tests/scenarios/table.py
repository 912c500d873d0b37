"""Scenario tables: a dozen bars, the targets, and what must come out, worked by hand.

A table is a block of text; its first line names the columns, ``.`` is an empty cell. Cells hold numbers or arithmetic
without blanks (``1000-20*102*0.001``). Bars last one hour unless said otherwise; the first opens at hour 0.

Bars: ``open high low close`` of the trades, ``m_open m_high m_low m_close`` of the mark (the trades' where left out),
``i_open i_high i_low i_close`` of the index, ``volume`` and ``rate`` (funding due at the bar's open); ``.`` as a price:
the contract does not exist in that bar. Decided at the bar's close are ``target``, ``limit`` (its limit price, or a
ladder ``99:0.5/98:0.5`` of prices and shares) and every setting by its name: ``stop_loss``, ``stop_price``,
``take_profit``, ... (``take_profit_2`` is the second rung). A column that ends in ``_long`` or ``_short`` means that
leg in hedge mode.

Requests: ``do`` is ``buy``, ``sell``, ``amend``, ``cancel`` or ``close``; ``of`` the row (from 0) that an amendment or
a cancellation means; the other columns are those of ``tests.reference.case.Submit``, ``yes`` for true.

What the venue does: ``hour``, ``do`` (``deleverage`` or ``clawback``), and the columns of ``Deleverage`` and
``Clawback``; ``since`` is an hour too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.reference.case import (
    Amend,
    Cancel,
    Case,
    Clawback,
    Close,
    Contract,
    Deleverage,
    Ohlc,
    Outcome,
    OwnFill,
    Request,
    Row,
    Setting,
    Settings,
    Settlement,
    Submit,
    Target,
    Tier,
    Tiers,
    Transfer,
)

HOUR = 3_600_000
TOLERANCE = 1e-9

COLUMNS = {
    "fills": {
        "sym": "symbol",
        "side": "side",
        "qty": "quantity",
        "price": "price",
        "fee": "fee_paid",
        "pnl": "realized_pnl",
        "slip": "slippage_paid",
        "why": "reason",
        "pos": "position_side",
        "liq": "liquidity",
    },
    "funding": {"sym": "symbol", "mark": "mark_price", "held": "position_quantity", "received": "funding_payment"},
    "liquidations": {
        "sym": "symbol",
        "pos": "position_side",
        "kind": "kind",
        "qty": "quantity",
        "trigger": "trigger_price",
        "bankrupt": "bankruptcy_price",
        "exec": "execution_price",
        "balance": "margin_balance",
        "required": "requirement",
        "tier": "tier",
        "lost": "margin_lost",
        "fee": "liquidation_fee",
        "fund": "insurance_flow",
        "disputed": "disputed",
    },
    "orders": {
        "sym": "symbol",
        "pos": "position_side",
        "kind": "kind",
        "origin": "origin",
        "limit": "limit_price",
        "trigger": "trigger_price",
        "target": "target",
        "wanted": "wanted_quantity",
        "filled": "filled_quantity",
        "status": "status",
        "reason": "reason",
        "waited": "bars_waited",
    },
    "ledger": {"sym": "symbol", "kind": "kind", "amount": "amount"},
}
SETTINGS = (
    "stop_loss",
    "stop_price",
    "trailing_stop",
    "take_profit",
    "take_profit_price",
    "take_profit_share",
    "hold_bars",
    "cooldown_bars",
    "active",
    "leverage",
)
LEGS = {"long": 1, "short": -1}
FIGURES = ("wallet", "equity", "maintenance", "margin_ratio", "gross", "net", "drawdown")


@dataclass(frozen=True)
class Scenario:
    """A run and what must come of it.

    ``bars`` is one table, or one per contract; ``terms`` the contract's rules, or one mapping per contract. ``settled``
    holds further funding records ``(hour, rate, mark or None)``, ``marks`` the marks on a clock of their own,
    ``transfers`` pairs ``(hour, amount)``. ``fills``, ``funding`` and ``liquidations`` are complete: none are expected
    where the table is empty. ``orders`` (in the order of their numbers, ``bar`` where the decision was taken may be
    left out), ``ledger`` and the per-bar figures are compared where given; a single figure is the last bar's.
    """

    name: str
    bars: str | tuple[str, ...]
    terms: Mapping[str, Any] | tuple[Mapping[str, Any], ...] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)
    settled: tuple[tuple[float, float, float | None], ...] = ()
    marks: str = ""
    hours: int = 1
    mark_hours: int | None = None
    signal_bars: int = 1
    requests: str = ""
    transfers: tuple[tuple[float, float], ...] = ()
    own_fills: str = ""
    venue: str = ""
    fills: str = ""
    funding: str = ""
    liquidations: str = ""
    orders: str | None = None
    ledger: str | None = None
    wallet: str | None = None
    equity: str | None = None
    maintenance: str | None = None
    margin_ratio: str | None = None
    gross: str | None = None
    net: str | None = None
    drawdown: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


def brackets(*rows: tuple[float, ...], form: Any = "progressive", since_hour: int | None = None) -> Tiers:
    """Return a table from ``(floor, rate)`` or ``(floor, rate, max_leverage)``; the last bracket is open."""
    caps = [*(row[0] for row in rows[1:]), math.inf]
    tiers = tuple(
        Tier(float(row[0]), float(cap), row[1], float(row[2]) if len(row) > 2 else 1000.0)
        for row, cap in zip(rows, caps, strict=True)
    )
    return Tiers(tiers, None if since_hour is None else since_hour * HOUR, form)


ONE_PERCENT = (brackets((0, 0.01)),)
PRICES = ("open", "high", "low", "close")
DEFAULT_TERMS: Mapping[str, Any] = {"tables": ONE_PERCENT, "leverage": 10.0, "lot": 1.0}


# -- reading -----------------------------------------------------------------------------------------------------


def number(cell: str) -> float:
    """Return what a cell's arithmetic gives."""
    return float(eval(cell, {"__builtins__": {}}))


def figure(row: Mapping[str, str], column: str) -> float:
    """Return a cell's number, NaN where it is empty."""
    return number(row[column]) if column in row else math.nan


def read(table: str) -> list[dict[str, str]]:
    """Return the rows of a table, empty cells left out."""
    lines = [line.split() for line in table.strip().splitlines() if line.strip()]
    if not lines:
        return []
    head, *body = lines
    for line in body:
        assert len(line) == len(head), f"row {line} does not fit the columns {head}"
    return [{key: cell for key, cell in zip(head, line, strict=True) if cell != "."} for line in body]


def series(rows: list[dict[str, str]], prefix: str = "") -> Ohlc:
    """Return the bars in the columns of a prefix, NaN where a cell is empty."""
    return Ohlc(*(tuple(figure(row, prefix + name) for row in rows) for name in PRICES))


def has_series(rows: list[dict[str, str]], prefix: str) -> bool:
    return any(prefix + "open" in row for row in rows)


def contract_of(scenario: Scenario, rows: list[dict[str, str]], terms: Mapping[str, Any]) -> Contract:
    """Return the contract that a table of bars describes."""
    bar_ms = scenario.hours * HOUR
    trade = series(rows)
    mark = series(read(scenario.marks)) if scenario.marks else series(rows, "m_") if has_series(rows, "m_") else trade
    records = [Settlement(k * bar_ms, number(row["rate"])) for k, row in enumerate(rows) if "rate" in row]
    records += [Settlement(int(hour * HOUR), rate, price) for hour, rate, price in scenario.settled]
    given: dict[str, Any] = {
        "trade": trade,
        "mark": mark,
        "volume": tuple(figure(row, "volume") for row in rows) if any("volume" in r for r in rows) else None,
        "index": series(rows, "i_") if has_series(rows, "i_") else None,
        "funding": tuple(sorted(records, key=lambda r: r.time)),
    }
    return Contract(**{**given, **DEFAULT_TERMS, **terms})


def leg_of(column: str) -> tuple[str, int]:
    """Return a column's name without the leg that it ends in, and the leg."""
    name, _, end = column.rpartition("_")
    return (name, LEGS[end]) if end in LEGS else (column, 0)


def rungs_of(cell: str) -> tuple[tuple[float, float], ...]:
    """Return the limit prices of a target with the share of each."""
    rungs = [rung.partition(":") for rung in cell.split("/")]
    return tuple((number(price), number(share) if share else 1.0) for price, _, share in rungs)


def targets_of(rows: list[dict[str, str]], symbol: int) -> list[Target]:
    found = []
    for bar, row in enumerate(rows):
        for column, cell in row.items():
            name, side = leg_of(column)
            if name == "target":
                limit = row.get(column.replace("target", "limit"), "")
                found.append(Target(bar, symbol, number(cell), side, rungs_of(limit) if limit else ()))
    return found


def settings_of(rows: list[dict[str, str]], symbol: int) -> list[Setting]:
    found = []
    for bar, row in enumerate(rows):
        for column, cell in row.items():
            name, side = leg_of(column)
            stem, _, rung = name.rpartition("_")
            name, place = (stem, int(rung) - 1) if rung.isdigit() else (name, 0)
            if name in SETTINGS:
                found.append(Setting(bar, symbol, name, number(cell), side, place))
    return found


def request_of(cells: dict[str, str]) -> Request:
    """Return what a row of the requests asks for."""
    bar, do = int(cells["bar"]), cells["do"]
    symbol = int(cells["sym"]) if "sym" in cells else None
    prices: dict[str, Any] = {
        name: number(cells[name]) for name in ("limit", "trigger", "distance", "fraction") if name in cells
    }
    if do == "close":
        return Close(bar, symbol)
    if do == "cancel":
        return Cancel(bar, int(cells["of"]) if "of" in cells else None, symbol)
    if do == "amend":
        return Amend(bar, int(cells["of"]), number(cells["qty"]) if "qty" in cells else None, **prices)
    assert do in ("buy", "sell"), f"no such request: {do}"
    more: dict[str, Any] = {name: cells[name] for name in ("kind", "watches") if name in cells}
    more |= {name: cells[name] == "yes" for name in ("reduce_only", "post_only") if name in cells}
    more |= {name: int(cells[name]) for name in ("good_for", "group") if name in cells}
    side = LEGS[cells["pos"]] if "pos" in cells else 0
    return Submit(bar, symbol or 0, do == "buy", number(cells["qty"]), side=side, **prices, **more)


def own_fill_of(cells: dict[str, str]) -> OwnFill:
    return OwnFill(
        time=int(number(cells["hour"]) * HOUR),
        symbol=int(cells.get("sym", "0")),
        quantity=number(cells["qty"]),
        price=number(cells["price"]),
        fee=number(cells["fee"]) if "fee" in cells else None,
        is_maker=cells.get("liq") == "maker",
        side=LEGS[cells["pos"]] if "pos" in cells else 0,
    )


def venue_event_of(cells: dict[str, str]) -> Deleverage | Clawback:
    """Return what a row of the venue's events does."""
    time = int(number(cells["hour"]) * HOUR)
    figures = {
        name: number(cells[name])
        for name in ("fraction", "quantity", "price", "mark", "rate", "amount")
        if name in cells
    }
    if cells["do"] == "clawback":
        return Clawback(time, **figures, since=int(number(cells["since"]) * HOUR) if "since" in cells else None)
    assert cells["do"] == "deleverage", f"no such event: {cells['do']}"
    side = LEGS[cells["pos"]] if "pos" in cells else 0
    return Deleverage(time, int(cells.get("sym", "0")), **figures, side=side)


def case_of(scenario: Scenario) -> Case:
    """Return the run that a scenario describes."""
    blocks = (scenario.bars,) if isinstance(scenario.bars, str) else scenario.bars
    terms = (scenario.terms,) * len(blocks) if isinstance(scenario.terms, Mapping) else scenario.terms
    tables = [read(block) for block in blocks]
    return Case(
        contracts=tuple(contract_of(scenario, rows, term) for rows, term in zip(tables, terms, strict=True)),
        open_time=tuple(k * scenario.hours * HOUR for k in range(len(tables[0]))),
        bar_ms=scenario.hours * HOUR,
        targets=tuple(row for i, rows in enumerate(tables) for row in targets_of(rows, i)),
        settings=Settings(**{"balance": 1000.0, **scenario.rules}),
        mark_bar_ms=None if scenario.mark_hours is None else scenario.mark_hours * HOUR,
        signal_bars=scenario.signal_bars,
        settings_rows=tuple(
            sorted((row for i, rows in enumerate(tables) for row in settings_of(rows, i)), key=lambda r: r.bar)
        ),
        requests=tuple(request_of(cells) for cells in read(scenario.requests)),
        transfers=tuple(Transfer(int(hour * HOUR), amount) for hour, amount in scenario.transfers),
        own_fills=tuple(own_fill_of(cells) for cells in read(scenario.own_fills)),
        venue_events=tuple(venue_event_of(cells) for cells in read(scenario.venue)),
    )


# -- comparing ---------------------------------------------------------------------------------------------------


def check(scenario: Scenario, case: Case, outcome: Outcome) -> None:
    """Compare an outcome with a scenario's tables."""
    for kind in ("fills", "funding", "liquidations", "orders", "ledger"):
        table = getattr(scenario, kind)
        if table is not None:
            rows = getattr(outcome, kind)
            check_rows(kind, read(table), by_number(rows) if kind == "orders" else rows, case)
    for name in FIGURES:
        expected = getattr(scenario, name)
        if expected is not None:
            check_series(name, expected.split(), getattr(outcome, name))
    for name, count in scenario.counts.items():
        assert outcome.counts[name] == count, f"count of {name}"


def by_number(orders: list[Row]) -> list[Row]:
    return sorted(orders, key=lambda row: row["order_id"])


def check_rows(kind: str, expected: list[dict[str, str]], rows: list[Row], case: Case) -> None:
    shown = "\n".join(str({k: readable(v) for k, v in row.items()}) for row in rows)
    assert len(rows) == len(expected), f"{len(expected)} {kind} expected, got {len(rows)}:\n{shown}"
    for k, (cells, row) in enumerate(zip(expected, rows, strict=True)):
        if "bar" in cells:
            bar = row["bar"] if "bar" in row else bar_of(row["decision_time"], case)
            assert bar == int(cells["bar"]), f"{kind}[{k}]: bar {cells['bar']} expected, got {bar}\n{shown}"
        for column, cell in cells.items():
            if column != "bar":
                got = row[COLUMNS[kind][column]]
                assert agrees(cell, got), f"{kind}[{k}].{column}: {cell} expected, got {readable(got)}\n{shown}"


def check_series(name: str, cells: list[str], figures: list[Any]) -> None:
    got = figures if len(cells) > 1 else figures[-1:]
    assert len(cells) == len(got), f"{name}: {len(cells)} bars expected, got {len(got)}"
    for k, (cell, figure) in enumerate(zip(cells, got, strict=True)):
        shown = [readable(f) for f in figures]
        assert agrees(cell, figure), f"{name} of bar {k}: {cell} expected, got {readable(figure)}\n{shown}"


def bar_of(decision_time: int, case: Case) -> int:
    """Return the bar at whose close a decision was taken."""
    return next((k for k in range(len(case.open_time)) if case.end_of(k) - 1 == decision_time), -1)


def agrees(cell: str, figure: Any) -> bool:
    if isinstance(figure, str):
        return figure == cell
    if isinstance(figure, bool):
        return str(figure).lower() == cell
    if figure is None:
        return cell == "none"
    return math.isclose(number(cell), float(figure), rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def readable(figure: Any) -> Any:
    return figure if figure is None or isinstance(figure, (str, bool, int)) else float(figure)

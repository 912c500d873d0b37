"""Scenario tables: a dozen bars, the targets, and what must come out, worked by hand.

A table is a block of text; its first line names the columns, ``.`` is an empty cell. Cells hold numbers or arithmetic
without blanks (``1000-20*102*0.001``). Bars last one hour unless said otherwise; the first opens at hour 0.

Bars: ``open high low close`` of the trades, ``m_open m_high m_low m_close`` of the mark (the trades' where left out),
``volume``, ``target`` (decided at the bar's close) and ``rate`` (funding due at the bar's open).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.reference.case import Case, Contract, Ohlc, Outcome, Row, Settings, Settlement, Target, Tier, Tiers

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
    },
    "funding": {"sym": "symbol", "mark": "mark_price", "held": "position_quantity", "received": "funding_payment"},
    "liquidations": {
        "sym": "symbol",
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
        "target": "target",
        "wanted": "wanted_quantity",
        "filled": "filled_quantity",
        "status": "status",
        "reason": "reason",
        "waited": "bars_waited",
    },
}


@dataclass(frozen=True)
class Scenario:
    """A run and what must come of it.

    ``bars`` is one table, or one per contract; ``terms`` the contract's rules, or one mapping per contract. ``settled``
    holds further funding records ``(hour, rate, mark or None)``, ``marks`` the marks on a clock of their own.
    ``fills``, ``funding`` and ``liquidations`` are complete: none are expected where the table is empty. ``orders`` and
    the per-bar figures are compared where given; a single figure is the last bar's.
    """

    name: str
    bars: str | tuple[str, ...]
    terms: Mapping[str, Any] | tuple[Mapping[str, Any], ...] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)
    settled: tuple[tuple[float, float, float | None], ...] = ()
    marks: str = ""
    hours: int = 1
    mark_hours: int | None = None
    fills: str = ""
    funding: str = ""
    liquidations: str = ""
    orders: str | None = None
    wallet: str | None = None
    equity: str | None = None
    maintenance: str | None = None
    margin_ratio: str | None = None
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
DEFAULT_TERMS: Mapping[str, Any] = {"tables": ONE_PERCENT, "leverage": 10.0, "lot": 1.0}


# -- reading -----------------------------------------------------------------------------------------------------


def number(cell: str) -> float:
    """Return what a cell's arithmetic gives."""
    return float(eval(cell, {"__builtins__": {}}))


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
    """Return the bars in the columns of a prefix."""
    return Ohlc(*(tuple(number(row[prefix + name]) for row in rows) for name in ("open", "high", "low", "close")))


def case_of(scenario: Scenario) -> Case:
    """Return the run that a scenario describes."""
    blocks = (scenario.bars,) if isinstance(scenario.bars, str) else scenario.bars
    terms = (scenario.terms,) * len(blocks) if isinstance(scenario.terms, Mapping) else scenario.terms
    bar_ms = scenario.hours * HOUR
    contracts, targets = [], []
    for i, (block, term) in enumerate(zip(blocks, terms, strict=True)):
        rows = read(block)
        trade = series(rows)
        mark = series(read(scenario.marks)) if scenario.marks else series(rows, "m_") if "m_open" in rows[0] else trade
        records = [Settlement(k * bar_ms, number(row["rate"])) for k, row in enumerate(rows) if "rate" in row]
        records += [Settlement(int(hour * HOUR), rate, price) for hour, rate, price in scenario.settled]
        volume = tuple(number(row["volume"]) for row in rows) if "volume" in rows[0] else None
        contracts.append(
            Contract(
                trade=trade,
                mark=mark,
                volume=volume,
                funding=tuple(sorted(records, key=lambda r: r.time)),
                **{**DEFAULT_TERMS, **term},
            )
        )
        targets += [Target(k, i, number(row["target"])) for k, row in enumerate(rows) if "target" in row]
    return Case(
        contracts=tuple(contracts),
        open_time=tuple(k * bar_ms for k in range(len(read(blocks[0])))),
        bar_ms=bar_ms,
        targets=tuple(targets),
        settings=Settings(**{"balance": 1000.0, **scenario.rules}),
        mark_bar_ms=None if scenario.mark_hours is None else scenario.mark_hours * HOUR,
    )


# -- comparing ---------------------------------------------------------------------------------------------------


def check(scenario: Scenario, case: Case, outcome: Outcome) -> None:
    """Compare an outcome with a scenario's tables."""
    for kind in ("fills", "funding", "liquidations", "orders"):
        table = getattr(scenario, kind)
        if table is not None:
            check_rows(kind, read(table), getattr(outcome, kind), case)
    for name in ("wallet", "equity", "maintenance", "margin_ratio"):
        expected = getattr(scenario, name)
        if expected is not None:
            check_series(name, expected.split(), getattr(outcome, name))
    for name, count in scenario.counts.items():
        assert outcome.counts[name] == count, f"count of {name}"


def check_rows(kind: str, expected: list[dict[str, str]], rows: list[Row], case: Case) -> None:
    shown = "\n".join(str({k: readable(v) for k, v in row.items()}) for row in rows)
    assert len(rows) == len(expected), f"{len(expected)} {kind} expected, got {len(rows)}:\n{shown}"
    for k, (cells, row) in enumerate(zip(expected, rows, strict=True)):
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
    return next(k for k in range(len(case.open_time)) if case.end_of(k) - 1 == decision_time)


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

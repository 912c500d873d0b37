"""Two outcomes of one case, compared record by record; the first difference is named."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tests.reference.case import Case, Outcome, Row

TOLERANCE = 1e-9  # of the balance for money, relative for prices and sizes
DUST = 1e-12  # ledger rows below this part of the balance are no rows

MONEY = {
    "notional",
    "fee_paid",
    "realized_pnl",
    "slippage_paid",
    "funding_payment",
    "margin_balance",
    "requirement",
    "margin_lost",
    "liquidation_fee",
    "insurance_flow",
    "amount",
    "wallet_balance",
}
SIZES = {"quantity", "wanted_quantity", "filled_quantity"}
EXACT = {"bar", "symbol", "tier", "time", "decision_time", "due_time", "end_time", "bars_waited", "request"}
FREE = {"order_id"}  # numbering is each side's own; fills are matched to orders by what the order says
PER_BAR = ("wallet", "equity", "maintenance", "margin_ratio", "gross", "net", "drawdown")
RECORDS = ("orders", "funding", "fills", "liquidations", "ledger")


def differences(expected: Outcome, actual: Outcome, case: Case) -> list[str]:
    """Return one line per kind of record that differs, naming the first difference; nothing when they agree."""
    scale = max([case.settings.balance, *(abs(float(e)) for e in expected.equity)])
    found: list[str] = []
    for name in RECORDS:
        found += _rows_differ(name, _prepared(name, expected, scale), _prepared(name, actual, scale), scale)
    for name in PER_BAR:
        found += _series_differ(name, getattr(expected, name), getattr(actual, name), scale)
    found += [
        f"counts: {key}: expected {value}, got {actual.counts.get(key)}"
        for key, value in expected.counts.items()
        if actual.counts.get(key) != value
    ]
    return sorted(found, key=_bar_named)


def assert_agree(expected: Outcome, actual: Outcome, case: Case) -> None:
    """Fail with the differences, earliest bar first."""
    found = differences(expected, actual, case)
    assert not found, "\n".join(["reference and kernel differ:", *found, "", f"case = {case!r}"])


def _bar_named(line: str) -> int:
    """Sort key: the bar that a line names."""
    _, _, rest = line.partition("bar ")
    digits = rest.split(":")[0].split(",")[0]
    return int(digits) if digits.isdigit() else -1


def _prepared(name: str, outcome: Outcome, scale: float) -> list[Row]:
    """Bring rows into a form that does not depend on numbering."""
    rows: list[Row] = getattr(outcome, name)
    if name == "ledger":
        return [r for r in rows if abs(float(r["amount"])) > DUST * scale]
    if name == "orders":
        # what rounds to nothing is an order to some and none to others
        return sorted((r for r in rows if (r["status"], r["reason"]) != ("dropped", "lot")), key=_order_key)
    if name == "fills":
        decided = {r["order_id"]: _decided(r) for r in outcome.orders}
        return [r | {"decided": decided.get(r["order_id"], "no order") if r["order_id"] >= 0 else None} for r in rows]
    return rows


def _order_key(row: Row) -> tuple[Any, ...]:
    """Sort key of an order by what it says; figures are cut, so that both sides sort them alike."""
    words = tuple(row[name] for name in ("due_time", "symbol", "position_side", "kind", "origin"))
    figures = (row[name] for name in ("limit_price", "trigger_price", "wanted_quantity"))
    return (*words, *(_cut(f) for f in figures), row["end_time"], row["status"], _cut(row["filled_quantity"]))


def _cut(figure: Any) -> float:
    found = _absent_as_none(figure)
    return -math.inf if found is None else float(f"{found:.7g}")


def _decided(row: Row) -> str:
    """Return which order a fill belongs to, without its number."""
    return f"{row['kind']} decided {row['decision_time']}, request {row['request']}"


def _rows_differ(name: str, expected: Sequence[Row], actual: Sequence[Row], scale: float) -> list[str]:
    for k, (want, got) in enumerate(zip(expected, actual, strict=False)):
        wrong = [
            f"{key} expected {_show(want[key])}, got {_show(got.get(key, 'nothing'))}"
            for key in want
            if key not in FREE and not _same(key, want[key], got.get(key, "nothing"), want, scale)
        ]
        if wrong:
            return [f"{name}[{k}] bar {_bar(want)}: " + "; ".join(wrong) + f"\n    whole row: {_row(want)}"]
    if len(expected) != len(actual):
        k = min(len(expected), len(actual))
        longer, side = (expected, "missing") if len(expected) > len(actual) else (actual, "unexpected")
        numbers = f"({len(expected)} expected, got {len(actual)})"
        return [f"{name}[{k}] bar {_bar(longer[k])}: {side} row {numbers}: {_row(longer[k])}"]
    return []


def _series_differ(name: str, expected: Sequence[Any], actual: Sequence[Any], scale: float) -> list[str]:
    if len(expected) != len(actual):
        return [f"{name}: {len(expected)} bars expected, got {len(actual)}"]
    near: Callable[[float, float], bool] = (
        _near_money(scale) if name in {"wallet", "equity", "maintenance"} else _near_ratio
    )
    for bar, (want, got) in enumerate(zip(expected, actual, strict=True)):
        if not _figures_agree(want, got, near):
            return [f"{name} bar {bar}: expected {_show(want)}, got {_show(got)}"]
    return []


def _same(key: str, want: Any, got: Any, row: Row, scale: float) -> bool:
    if key in EXACT or isinstance(want, (str, bool)) or isinstance(got, str):
        return bool(want == got)
    near = _near_money(scale) if key in MONEY else _near
    return _figures_agree(want, got, _near_size(row, scale) if key in SIZES else near)


def _figures_agree(want: Any, got: Any, near: Callable[[float, float], bool]) -> bool:
    want, got = _absent_as_none(want), _absent_as_none(got)
    if want is None or got is None:
        return want is None and got is None
    if math.isinf(want) or math.isinf(got):
        return bool(want == got or min(abs(want), abs(got)) > 1e12)
    return near(want, got)


def _absent_as_none(figure: Any) -> float | None:
    if figure is None:
        return None
    figure = float(figure)
    return None if math.isnan(figure) else figure


def _near(want: float, got: float) -> bool:
    return abs(want - got) <= TOLERANCE * max(1.0, abs(want))


def _near_ratio(want: float, got: float) -> bool:
    """Compare ratios to a balance: a balance near zero spoils the last digits with the square of the ratio."""
    return abs(want - got) <= TOLERANCE * max(1.0, abs(want), 1e-4 * want * want)


def _near_size(row: Row, scale: float) -> Callable[[float, float], bool]:
    """Compare sizes by what they are worth: money left over by other orders buys sizes with few correct digits."""
    if "notional" in row:
        unit = float(row["notional"]) / float(row["quantity"])
        return lambda want, got: abs(want - got) * unit <= TOLERANCE * scale
    if "bankruptcy_price" in row:  # a liquidation: the fill of the same moment is compared exactly
        return lambda want, got: abs(want - got) <= 1e-6 * abs(want)
    whole = abs(float(row["wanted_quantity"] or 0.0)) if "wanted_quantity" in row else 0.0
    return lambda want, got: abs(want - got) <= TOLERANCE * max(whole, abs(want))


def _near_money(scale: float) -> Callable[[float, float], bool]:
    return lambda want, got: abs(want - got) <= TOLERANCE * scale


def _bar(row: Row) -> Any:
    return row.get("bar", f"(decided {row.get('decision_time')})")


def _show(figure: Any) -> str:
    return f"{float(figure):.15g}" if hasattr(figure, "numerator") and not isinstance(figure, bool) else str(figure)


def _row(row: Row) -> str:
    return "{" + ", ".join(f"{key}={_show(value)}" for key, value in row.items()) + "}"

"""Worked examples of exchanges and public test suites, through the rule packs and the calculator.

Each agrees to its stated tolerance; where that is finer than 64-bit floats carry, to 1e-12 of the figure, and the
formula itself to the stated tolerance in exact arithmetic.
"""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.kernel import margin
from tests.unit.vectors import cash_cases, clearing_cases, margin_cases
from tests.unit.vectors.table import Case, Vector, is_number, read_listed, read_vectors

VECTORS = read_vectors()
LISTED = read_listed()
FROM_REAL_DATA = "binance-brackets-all"
MODULES = (margin_cases, cash_cases, clearing_cases)


def case_of(vector: Vector) -> Case | None:
    """Return what computes an example: by id, by the start of the id, by kind; None for a listed one."""
    if vector.id in LISTED["listed"] or vector.id == FROM_REAL_DATA:
        return None
    for cases in MODULES:
        if vector.id in cases.BY_ID:
            return cases.BY_ID[vector.id]
    for cases in MODULES:
        for prefix, case in cases.BY_PREFIX.items():
            if vector.id.startswith(prefix) and (prefix != "deribit-" or vector.kind == "initial_margin"):
                return case
    return {**margin_cases.BY_KIND, **cash_cases.BY_KIND}.get(vector.kind)


COMPUTED = {v.id: case for v in VECTORS.values() if (case := case_of(v)) is not None}


def test_every_example_is_computed_or_listed():
    assert len(VECTORS) == 257
    listed = set(LISTED["listed"])
    assert not listed & set(COMPUTED)
    assert set(COMPUTED) | listed | {FROM_REAL_DATA} == set(VECTORS)
    assert set(LISTED["partly"]) <= set(COMPUTED)
    assert len(LISTED["not_reproducible"]) == 10
    assert not set(LISTED["not_reproducible"]) & set(VECTORS)


def test_what_follows_no_exchange_is_listed_only():
    assert {v.id for v in VECTORS.values() if v.convention} <= set(LISTED["listed"])


def test_most_examples_of_a_known_kind_are_computed():
    counts = Counter(VECTORS[name].kind for name in COMPUTED)
    assert counts["liquidation_price"] >= 65
    assert {"pnl_linear": 10, "pnl_inverse": 12, "average_entry": 2, "trading_fee": 3}.items() <= counts.items()


@pytest.mark.parametrize("name", COMPUTED)
def test_example(name):
    vector = VECTORS[name]
    answer = COMPUTED[name](vector)
    missing = [part.strip() for part in LISTED["partly"].get(name, "").partition(":")[0].split(",")]
    assert set(vector.expected) - set(answer) <= set(missing)
    for key, printed in vector.expected.items():
        if key not in missing:
            assert_printed(vector, key, printed, answer[key])


def assert_printed(vector: Vector, key: str, printed: object, computed: object) -> None:
    if isinstance(printed, bool) or (isinstance(printed, str) and not is_number(printed)):
        assert computed == printed, key
    elif isinstance(printed, list):
        assert [float(str(p).rstrip("%")) for p in printed] == pytest.approx(computed, rel=1e-12, abs=1e-9), key
    else:
        expected = float(str(printed))
        assert isinstance(computed, int | float)
        assert abs(computed - expected) <= vector.allowed(key, expected), (key, computed, expected)


EXACT = {
    "blofin-iso-eth-liq": ("margin", "0.1", 1),
    "blofin-cross-bch-short-liq": ("balance_implied", "2.9", -1),
    "blofin-cross-ltc2-liq": ("balance_implied", "1", 1),
    "okx-cross-btc-liq": ("balance_implied", "0.01", 1),
}


@pytest.mark.parametrize("name", EXACT)
def test_the_formula_in_exact_arithmetic(name):
    vector = VECTORS[name]
    key, size, side = EXACT[name]
    inputs = {k: Fraction(v) for k, v in vector.inputs.items() if isinstance(v, str) and v[0].isdigit()}
    rate = inputs.get("mmr", inputs.get("mmr_rate")) + inputs.get("taker_fee", inputs.get("taker"))
    quantity = side * Fraction(size)
    entry = inputs.get("entry", inputs.get("avgPx"))
    solve = getattr(margin.liquidation_value, "py_func", margin.liquidation_value)
    exact = solve(quantity, entry, inputs[key], Fraction(0), abs(quantity) * rate, Fraction(1))
    (printed,) = vector.expected.values()
    assert abs(exact - Fraction(printed)) <= Fraction(vector.tolerance)


@pytest.mark.real_data
def test_every_bracket_of_a_dump_continues_the_one_below(real_data: Path):
    """The example ``binance-brackets-all``: 349 contracts, 2,805 brackets, no deduction off by more than 1e-6."""
    dump = json.loads((real_data / "tiers" / "binance_2024-10-24.json").read_text("utf-8"))
    brackets = 0
    for symbol, rows in dump.items():
        tiers = tuple(
            MarginTier(
                notional_floor=row["minNotional"],
                notional_cap=row["maxNotional"],
                maintenance_margin_rate=row["maintenanceMarginRate"],
                max_leverage=row["maxLeverage"],
            )
            for row in rows
        )
        stated = [float(row["info"]["cum"]) for row in rows]
        completed = TierTable(symbol=symbol, tiers=tiers).deductions()
        assert completed == pytest.approx(stated, rel=1e-12, abs=1e-6), symbol
        with_cum = tuple(
            tier.model_copy(update={"maintenance_amount": cum}) for tier, cum in zip(tiers, stated, strict=True)
        )
        assert TierTable(symbol=symbol, tiers=with_cum).discontinuities() == [], symbol
        brackets += len(rows)
    vector = VECTORS[FROM_REAL_DATA].inputs
    assert (len(dump), brackets) == (int(vector["symbols"]), int(vector["brackets"]))

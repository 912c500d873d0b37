"""Programs of targets: the form of polars' trees, what becomes a program, and why something does not."""

from __future__ import annotations

import json

import polars as pl
import pytest

from backtester.strategy.target_program import Refused, program_of
from backtester.strategy.target_tiles import Op

A, B = pl.col("a"), pl.col("b")
COLUMN = {"Column": "a"}
TRUTH = {"BinaryExpr": {"left": COLUMN, "op": "Gt", "right": {"Column": "b"}}}
ONE = {"Literal": {"Dyn": {"Int": 1}}}
HALF = {"Literal": {"Dyn": {"Float": 0.5}}}


def text_of(expr: pl.Expr) -> str:
    return expr.meta.serialize(format="json")


def function(name, *inputs):
    return {"Function": {"input": list(inputs), "function": name}}


def binary(op: str):
    return {"BinaryExpr": {"left": COLUMN, "op": op, "right": {"Column": "b"}}}


@pytest.mark.parametrize(
    ("expr", "tree"),
    [
        (A, COLUMN),
        (pl.lit(1), ONE),
        (pl.lit(-0.5), {"Literal": {"Dyn": {"Float": -0.5}}}),
        (pl.lit(float("nan")), {"Literal": {"Dyn": {"Float": None}}}),
        (pl.lit(float("inf")), {"Literal": {"Dyn": {"Float": None}}}),
        (pl.lit(None), {"Literal": {"Scalar": {"Null": "Null"}}}),
        (pl.lit(value=True), {"Literal": {"Scalar": {"Boolean": True}}}),
        (pl.lit(3, dtype=pl.Int64), {"Literal": {"Scalar": {"Int64": 3}}}),
        (pl.lit(2.5, dtype=pl.Float64), {"Literal": {"Scalar": {"Float64": 2.5}}}),
        (pl.lit(2.5, dtype=pl.Float32), {"Literal": {"Scalar": {"Float32": 2.5}}}),
        (A.alias("x"), {"Alias": [COLUMN, "x"]}),
        (A + B, binary("Plus")),
        (A - B, binary("Minus")),
        (A * B, binary("Multiply")),
        (A / B, binary("TrueDivide")),
        (A // B, binary("FloorDivide")),
        (A > B, binary("Gt")),
        (A >= B, binary("GtEq")),
        (A < B, binary("Lt")),
        (A <= B, binary("LtEq")),
        (A == B, binary("Eq")),
        (A != B, binary("NotEq")),
        (A.eq_missing(B), binary("EqValidity")),
        (A & B, binary("And")),
        (A | B, binary("Or")),
        (A ^ B, binary("Xor")),
        (-A, function("Negate", COLUMN)),
        (A.abs(), function("Abs", COLUMN)),
        (A.sign(), function("Sign", COLUMN)),
        (~(A > B), function({"Boolean": "Not"}, TRUTH)),
        (A.is_null(), function({"Boolean": "IsNull"}, COLUMN)),
        (A.is_not_null(), function({"Boolean": "IsNotNull"}, COLUMN)),
        (A.is_nan(), function({"Boolean": "IsNan"}, COLUMN)),
        (A.is_not_nan(), function({"Boolean": "IsNotNan"}, COLUMN)),
        (A.is_finite(), function({"Boolean": "IsFinite"}, COLUMN)),
        (A.is_infinite(), function({"Boolean": "IsInfinite"}, COLUMN)),
        (A.fill_null(0.5), function("FillNull", COLUMN, HALF)),
        (pl.coalesce(A, 0.5), function("Coalesce", COLUMN, HALF)),
        (A.is_between(0.5, 1), function({"Boolean": {"IsBetween": {"closed": "Both"}}}, COLUMN, HALF, ONE)),
        (A.clip(0.5, 1), function({"Clip": {"has_min": True, "has_max": True}}, COLUMN, HALF, ONE)),
        (A.clip(upper_bound=1), function({"Clip": {"has_min": False, "has_max": True}}, COLUMN, ONE)),
        (pl.min_horizontal(A, 0.5), function("MinHorizontal", COLUMN, HALF)),
        (pl.max_horizontal(A, 0.5), function("MaxHorizontal", COLUMN, HALF)),
        (pl.all_horizontal(A > B), function({"Boolean": "AllHorizontal"}, TRUTH)),
        (pl.any_horizontal(A > B), function({"Boolean": "AnyHorizontal"}, TRUTH)),
        (
            pl.when(A > B).then(1).otherwise(0.5),
            {"Ternary": {"predicate": TRUTH, "truthy": ONE, "falsy": HALF}},
        ),
        (
            pl.when(A > B).then(1),
            {"Ternary": {"predicate": TRUTH, "truthy": ONE, "falsy": {"Literal": {"Scalar": {"Null": "Null"}}}}},
        ),
        (
            (A > B).cast(pl.Float64),
            {"Cast": {"expr": TRUTH, "dtype": {"Literal": "Float64"}, "options": "Strict"}},
        ),
        (
            A.cast(pl.Boolean, strict=False),
            {"Cast": {"expr": COLUMN, "dtype": {"Literal": "Boolean"}, "options": "NonStrict"}},
        ),
    ],
)
def test_polars_writes_trees_in_the_form_that_is_read(expr, tree) -> None:
    """A new polars that writes them otherwise fails here; in use, its targets are left to polars."""
    assert json.loads(text_of(expr)) == tree


@pytest.mark.parametrize(
    ("expr", "reason"),
    [
        (A.rolling_mean(3), "target() uses rolling_mean"),
        (A.shift(1), "target() uses shift"),
        (A.rank().over("open_time"), "target() looks across symbols"),
        (A.sum().over("symbol"), "target() uses .over()"),
        (A.max(), "target() uses max"),
        (A.forward_fill(), "target() uses forward_fill or backward_fill"),
        (A**2, "target() uses pow"),
        (A.sqrt(), "target() uses sqrt"),
        (A % 2, "target() uses the operator modulus"),
        (A // 2, "target() uses the operator floor_divide"),
        (A.eq_missing(B).cast(pl.Float64), "target() uses the operator eq_validity"),
        (A > B, "target() gives true or false, not a number"),
        (pl.lit(None), "target() gives null, not a number"),
        (pl.when(A > B).then(pl.lit("x")), "target() has a literal of type String"),
        (pl.when(float("inf") < A).then(1.0), "target() has a number that is not finite"),
        (A * pl.lit(1.5, dtype=pl.Float32), "target() has a literal of type Float32"),
        ((A > B) * 2.0, "target() calculates with true or false: write .cast(pl.Float64)"),
        (A + None, "target() calculates with null"),
        (pl.when(A > B).then(pl.lit(value=True)).otherwise(2.0), "target() mixes numbers with true and false"),
        (pl.when(A > 9007199254740993).then(1), "target() has the whole number 9007199254740993, which no float holds"),
        (A.clip(B, 1.0), "target() clips to what is no number"),
        (pl.when(A > B).then(1).otherwise(0).clip(0.5, 1.0), "target() clips a whole number"),
        (A.cast(pl.Int64), "target() casts a number to Int64"),
        (pl.lit(1.0).fill_null(A), "target() fills one value for all bars by bars"),
        (A.fill_null(pl.lit(None)), "target() fills null with null"),
        (((A > B) & pl.lit(value=True)).cast(pl.Float64), "target() joins a constant truth with others"),
        (
            pl.when(pl.lit(value=False)).then(A).otherwise(0.0),
            "target() asks in when() what is the same for all bars",
        ),
        (pl.when(pl.when(A > B).then(3.0) > 1.0).then(A), "target() compares a choice with a constant"),
        (A / pl.when(A > B).then(3.0).otherwise(7.0), "target() divides by a choice, or a choice by a constant"),
        (pl.when(A > B).then(3.0) / 7.0, "target() divides by a choice, or a choice by a constant"),
        (A / (A + pl.when(A > B).then(0.0)), "target() divides by a sum with a choice"),
        (pl.col("open_time"), "target() reads open_time, which is no number"),
        (
            (A > B).cast(pl.Int8) * 200,
            "target() calculates with whole numbers that may become too large: write 1.0 for 1",
        ),
    ],
)
def test_what_polars_has_to_do_says_why(expr, reason) -> None:
    with pytest.raises(Refused) as caught:
        program_of(text_of(expr))
    assert str(caught.value) == reason


def test_unknown_options_are_refused() -> None:
    tree = json.loads(text_of(A.clip(0.0, 1.0)))
    tree["Function"]["function"]["Clip"]["mode"] = "new"
    with pytest.raises(Refused, match="form that is not known"):
        program_of(json.dumps(tree))
    tree = function({"Abs": {"wraps": True}}, COLUMN)
    with pytest.raises(Refused, match="uses abs"):
        program_of(json.dumps(tree))


def test_sets_share_their_steps() -> None:
    def target(fast: str, slow: str, exposure: float) -> pl.Expr:
        return pl.when(pl.col(fast) > pl.col(slow)).then(exposure).otherwise(-exposure)

    one, other = (program_of(text_of(target(*case))) for case in (("a", "b", 1.0), ("c", "d", 1e-7)))
    assert one.ops == other.ops
    assert (one.columns, one.literals) == (("a", "b"), (1.0, -1.0))
    assert (other.columns, other.literals) == (("c", "d"), (1e-7, -1e-7))
    assert one.steps is other.steps
    assert one.steps[:, 0].tolist() == [Op.COLUMN, Op.COLUMN, Op.GREATER, Op.LITERAL, Op.LITERAL, Op.CHOOSE]


def test_numbers_in_names_are_left_alone() -> None:
    name = '{"Dyn":{"Float":1.5}}'
    program = program_of(text_of(pl.col(name) * 2.5))
    assert (program.columns, program.literals) == ((name,), (2.5,))


def test_numbers_are_read_to_the_last_bit() -> None:
    for number in (0.1, 1 / 3, 1e300, 5e-324, -1.7976931348623157e308, 123456789.123456789):
        assert program_of(text_of(A * number)).literals == (number,)


def test_a_column_is_read_once() -> None:
    assert program_of(text_of((A - B) / (A + B))).columns == ("a", "b")


def test_whole_numbers_are_calculated_with_when_they_stay_small() -> None:
    assert program_of(text_of((A > B).cast(pl.Int8) * 2 - 1)).literals == (2.0, 1.0)


def test_an_indicator_that_is_an_expression_is_read_through() -> None:
    program = program_of(text_of(pl.when(pl.col("own") > 0.5).then(1.0)), [("own", text_of(A - B))])
    assert program.columns == ("a", "b")
    assert program.literals == (0.5, 1.0)
    for expr, reason in (
        (A.rolling_mean(3), "indicator 'own' uses rolling_mean"),
        (pl.lit(None), "indicator 'own' is always null"),
        (pl.col("own"), "indicator 'own' reads the indicator 'own'"),
    ):
        with pytest.raises(Refused, match=reason.replace("(", r"\(")):
            program_of(text_of(pl.col("own") * 2.0), [("own", text_of(expr))])


def test_an_indicator_that_the_target_does_not_read_is_looked_at_too() -> None:
    with pytest.raises(Refused, match="indicator 'own' uses rolling_mean"):
        program_of(text_of(A * 2.0), [("own", text_of(A.rolling_mean(3)))])

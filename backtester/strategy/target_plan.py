"""Which strategies decide by a target that can be calculated compiled, what they read, and which go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.errors import BacktesterError
from backtester.strategy.base import Strategy
from backtester.strategy.declared import declared_decisions, declared_indicators
from backtester.strategy.fault import blaming
from backtester.strategy.indicators import Indicator
from backtester.strategy.target_program import Refused, Shape, TargetProgram, program_of, steps_of


@dataclass(frozen=True)
class TargetPlan:
    """What it takes to calculate a strategy's target.

    Attributes
    ----------
    indicators : tuple of Indicator
        Every indicator that the strategy names, distinct, read by the target or not: it decides nothing before each
        of them has had its first value.
    columns : tuple of str or Indicator
        What the program reads, by place: a column of the bars (float64, null for missing, never NaN) or an indicator.
        Empty without a program.
    program : TargetProgram or None
        None: polars has to evaluate it.
    reason : str
        Why there is no program, as text for people that begins with a method's name; empty with one.
    """

    indicators: tuple[Indicator, ...]
    columns: tuple[str | Indicator, ...]
    program: TargetProgram | None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class TargetBatch:
    """Sets whose programs have the same steps, as ``change_points_of_sets`` takes them.

    Attributes
    ----------
    members : ndarray of int64, shape (sets,)
        Places of the sets among the plans.
    ops : tuple of (int, int)
        The shape that they share.
    columns : tuple of str or Indicator
        Every distinct column that they read: the rows of the matrix to calculate on.
    places : ndarray of int64, shape (sets, columns of a program)
        Rows that each set reads.
    literals : ndarray of float64, shape (sets, literals of a program)
        Numbers of each set.
    """

    members: NDArray[np.int64]
    ops: Shape
    columns: tuple[str | Indicator, ...]
    places: NDArray[np.int64]
    literals: NDArray[np.float64]

    @property
    def steps(self) -> NDArray[np.int64]:
        """The steps as compiled code reads them."""
        return steps_of(self.ops)


def plan_targets(strategies: Sequence[Strategy]) -> list[TargetPlan]:
    """Return for each strategy what its target reads and how it is calculated, or why polars has to do it.

    Nothing is raised for a strategy that raises: the evaluation by polars tells about it.

    Parameters
    ----------
    strategies : sequence of Strategy
        Of any class; those that decide by ``target`` alone can have a program.

    Notes
    -----
    A program gives what ``Evaluator.columns`` gives for one symbol, to the bit, where the bars are two or more and
    neither the run nor the strategy restricts the universe. It assumes that its columns are there, and numbers: what
    the evaluator refuses (a column that the bars lack, an indicator named like one) is still to be asked of it.
    """
    return [_planned(strategy) for strategy in strategies]


def _planned(strategy: Strategy) -> TargetPlan:
    indicators: tuple[Indicator, ...] = ()
    try:
        declared = declared_indicators(strategy)
        indicators = tuple(dict.fromkeys(item for item in declared.values() if isinstance(item, Indicator)))
        other = sorted(type(strategy).overrides - {"target"})
        if other or "target" not in type(strategy).overrides:
            return TargetPlan(indicators, (), None, f"it decides by {other[0]}()" if _is_way(other) else _also(other))
        expr = declared_decisions(strategy)["target"].expr
        with blaming(type(strategy), "target"):
            text = _json(expr)
        with blaming(type(strategy), "indicators"):
            inlined = [(name, _json(item)) for name, item in declared.items() if isinstance(item, pl.Expr)]
        program = program_of(text, inlined)
    except Refused as refused:
        return TargetPlan(indicators, (), None, str(refused))
    except BacktesterError as error:
        return TargetPlan(indicators, (), None, f"target() cannot be read: {error.args[0] if error.args else error}")
    columns: list[str | Indicator] = []
    for name in program.columns:
        item = declared.get(name, name)
        columns.append(item if isinstance(item, Indicator) else name)
    return TargetPlan(indicators, tuple(columns), program)


def is_local(strategy: Strategy) -> bool:
    """Return whether all that a strategy decides follows bar by bar from indicators that state how far they look back.

    Then bars before those change nothing. Anything else (``signals``, ``on_bar``, expressions that look back by
    themselves) has to be tried.
    """
    try:
        declared = declared_indicators(strategy)
        if type(strategy).overrides & {"signals", "on_bar"}:
            return False
        if not all(isinstance(item, Indicator) for item in declared.values()):
            return False
        for item in declared_decisions(strategy).values():
            program_of(_json(item.expr), [])
    except (Refused, BacktesterError):
        return False
    return True


def _is_way(other: Sequence[str]) -> bool:
    return bool({"signals", "on_bar", "target_long", "target_short"}.intersection(other))


def _also(other: Sequence[str]) -> str:
    return f"it also decides {', '.join(other)}"


def _json(expr: pl.Expr) -> str:
    return expr.meta.serialize(format="json")


def target_batches(plans: Sequence[TargetPlan], columns_at_most: int = 1 << 62) -> list[TargetBatch]:
    """Return the plans that have a program, those with the same steps together, in the order of their first.

    Parameters
    ----------
    plans : sequence of TargetPlan
        As ``plan_targets`` returns them.
    columns_at_most : int
        A batch is closed before it reads more distinct columns than this (a single set may): what memory allows.
    """
    open_batches: dict[Shape, _Batch] = {}
    done: list[_Batch] = []
    for member, plan in enumerate(plans):
        if plan.program is None:
            continue
        batch = open_batches.get(plan.program.ops)
        if batch is not None and len(batch.rows.keys() | plan.columns) > columns_at_most:
            batch = None
        if batch is None:
            batch = open_batches[plan.program.ops] = _Batch(plan.program.ops)
            done.append(batch)
        batch.add(member, plan, plan.program)
    return [batch.closed() for batch in done]


class _Batch:
    """A batch that is being filled."""

    def __init__(self, ops: Shape) -> None:
        self.ops = ops
        self.rows: dict[str | Indicator, int] = {}
        self.members: list[int] = []
        self.places: list[list[int]] = []
        self.literals: list[tuple[float, ...]] = []

    def add(self, member: int, plan: TargetPlan, program: TargetProgram) -> None:
        """Add a set."""
        self.members.append(member)
        self.places.append([self.rows.setdefault(column, len(self.rows)) for column in plan.columns])
        self.literals.append(program.literals)

    def closed(self) -> TargetBatch:
        """Return the batch as arrays."""
        sets = len(self.members)
        return TargetBatch(
            np.array(self.members, np.int64),
            self.ops,
            tuple(self.rows),
            np.array(self.places, np.int64).reshape(sets, -1),
            np.array(self.literals, np.float64).reshape(sets, -1),
        )

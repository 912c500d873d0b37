"""What a set must fulfil: SQL over its parameters and metrics, as a truth and as how far it is broken."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import polars as pl

from backtester.errors import UnknownNameError, UsageError

_COMPARISON = re.compile(r"<>|<=|>=|==|!=|<|>|=")
_WORDS = re.compile(r"\b(and|or|not|case|between|in|is|like)\b|['\"]", re.IGNORECASE)
_AROUND = ("Agg", "Over", "Window", "Len")
_ABOVE = {">", ">="}
_EXAMPLE = 'Example: --constraint "max_drawdown > -0.3".'


@dataclass(frozen=True, eq=False)
class Constraint:
    """One condition.

    Attributes
    ----------
    text : str
        As it was given.
    holds : polars.Expr
        Boolean; null counts as broken.
    names : tuple of str
        Columns that it reads.
    gap : polars.Expr or None
        How far it is from holding, > 0 where it is broken; None where the condition is more than one comparison of
        numbers.
    """

    text: str
    holds: pl.Expr
    names: tuple[str, ...]
    gap: pl.Expr | None


def parse_constraints(texts: Iterable[str], known: Collection[str]) -> tuple[Constraint, ...]:
    """Return the conditions that are given.

    Parameters
    ----------
    texts : iterable of str
        SQL conditions: ``liquidations == 0``; text stands in single quotes, a name with a dot in double ones.
    known : collection of str
        Names that may stand in them. Those that begin with ``orders_`` may too.

    Raises
    ------
    UnknownNameError
        A name does not exist, with the nearest.
    UsageError
        What is written is no condition.
    """
    return tuple(_parsed(text, known) for text in texts)


def violations(constraints: Iterable[Constraint], rows: pl.DataFrame) -> pl.DataFrame:
    """Return how far each row breaks each condition.

    Parameters
    ----------
    constraints : iterable of Constraint
        Conditions.
    rows : polars.DataFrame
        Parameters and metrics, one row a set; a column that is missing is null (0 where it counts orders).

    Returns
    -------
    polars.DataFrame
        One column a condition, named by its text: 0 where it holds, else > 0: the distance where the condition compares
        two numbers that are known, else 1.
    """
    columns = []
    for one in constraints:
        absent = [name for name in one.names if name not in rows.columns]
        fill = [pl.lit(0 if name.startswith("orders_") else None, pl.Float64).alias(name) for name in absent]
        gap = pl.lit(1.0) if one.gap is None else one.gap
        broken = pl.when(gap.is_finite() & (gap > 0)).then(gap).otherwise(1.0)  # `<` of equals is broken by 0
        amount = pl.when(one.holds.fill_null(value=False)).then(0.0).otherwise(broken)
        try:
            columns.append(rows.with_columns(fill).select(amount.alias(one.text))[one.text])
        except pl.exceptions.PolarsError as error:
            problem = f"The constraint {one.text!r} cannot be judged ({_first_line(error)})."
            raise UsageError(problem, _EXAMPLE) from error
    return pl.DataFrame(columns)


def _parsed(text: str, known: Collection[str]) -> Constraint:
    try:
        holds = pl.sql_expr(text)
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise UsageError(f"The constraint {text!r} is no condition ({_first_line(error)}).", _EXAMPLE) from error
    names = tuple(dict.fromkeys(holds.meta.root_names()))
    for name in names:
        if name not in known and not name.startswith("orders_"):
            raise UnknownNameError("name", name, known, f"in the constraint {text!r}")
    if not names:
        raise UsageError(f"The constraint {text!r} names neither a metric nor a parameter.", _EXAMPLE)
    tree = holds.meta.serialize(format="json")
    if any(f'"{kind}"' in tree for kind in _AROUND):
        problem = f"The constraint {text!r} looks at several sets at once."
        raise UsageError(problem, f"It is asked of each by itself. {_EXAMPLE}")
    sample = pl.DataFrame({name: [1.0] for name in names})
    try:
        kind = sample.select(holds.alias("holds"))["holds"].dtype
    except pl.exceptions.PolarsError:
        kind = pl.Boolean()  # text is compared: the rows will tell
    if kind != pl.Boolean:
        raise UsageError(f"The constraint {text!r} is neither true nor false.", _EXAMPLE)
    return Constraint(text, holds, names, _gap(text))


def _gap(text: str) -> pl.Expr | None:
    """Return the distance between the two sides of a single comparison of numbers."""
    signs = _COMPARISON.findall(text)
    if len(signs) != 1 or _WORDS.search(text):
        return None
    left, right = text.split(signs[0])
    try:
        distance = _number(left) - _number(right)
    except (pl.exceptions.PolarsError, TypeError):
        return None
    if signs[0] in _ABOVE:
        return -distance
    return distance if signs[0] in {"<", "<="} else distance.abs()


def _number(text: str) -> pl.Expr:
    return pl.sql_expr(text).cast(pl.Float64, strict=False)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]

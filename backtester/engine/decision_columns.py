"""The columns of decisions: what each means, which belong together, and which values can be traded."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from backtester.domain.enums import SettingField
from backtester.errors import DataError, UnknownNameError
from backtester.strategy.columns import COLUMNS, LEGS, MOST_RUNGS, TARGETS, first_fault, numbered

# Columns that are settings of a slot; those of take-profits may be repeated with a number.
SETTINGS = {
    "stop_loss": SettingField.STOP_LOSS,
    "stop_price": SettingField.STOP_PRICE,
    "trailing_stop": SettingField.TRAILING_STOP,
    "take_profit": SettingField.TAKE_PROFIT,
    "take_profit_price": SettingField.TAKE_PROFIT_PRICE,
    "take_profit_share": SettingField.TAKE_PROFIT_SHARE,
    "hold_bars": SettingField.HOLD_BARS,
    "cooldown_bars": SettingField.COOLDOWN_BARS,
    "active": SettingField.ACTIVE,
    "leverage": SettingField.LEVERAGE,
}


@dataclass(frozen=True)
class DecisionColumn:
    """A column's name, what it is without its number, and the number, from 0."""

    name: str
    base: str
    rung: int = 0


def decision_column(name: str) -> DecisionColumn | None:
    """Return what a column of decisions means, None where it is not one: ``take_profit_2`` is rung 1."""
    if name not in COLUMNS:
        return None
    base, _, number = name.rpartition("_")
    return DecisionColumn(name, base, int(number) - 1) if number.isdigit() else DecisionColumn(name, name)


def decision_columns(names: Iterable[str]) -> list[DecisionColumn]:
    """Return those of the names that decide something, in their order."""
    return [column for name in names if (column := decision_column(name)) is not None]


def refuse_unknown(names: Iterable[str], series: str) -> None:
    """Refuse columns that mean nothing, with the nearest name.

    Raises
    ------
    UnknownNameError
        Naming the file and the column.
    """
    for name in names:
        if decision_column(name) is None:
            raise UnknownNameError("column", name, COLUMNS, f"in {series}")


def refuse_apart(columns: Iterable[DecisionColumn], series: str) -> None:
    """Refuse columns of which another is needed or excluded.

    Raises
    ------
    DataError
        Naming the columns.
    """
    names = {column.name for column in columns}
    if not names & set(TARGETS):
        raise DataError(series, "there is no column target", hint="Targets may be null (empty) where nothing changes.")
    if "target" in names and names & {"target_long", "target_short"}:
        raise DataError(
            series, "target and a target of one leg are both there", hint="Keep target, or the two legs' columns."
        )
    for column in columns:
        if column.rung and numbered(column.base, column.rung - 1) not in names:
            raise DataError(
                series, f"there is {column.name} without {numbered(column.base, column.rung - 1)}", hint="Add it."
            )
    _refuse_without_shares(names, series)


def _refuse_without_shares(names: set[str], series: str) -> None:
    """Refuse rungs that do not say which part each closes or opens, and shares of nothing."""
    for levels, shares in (
        (("take_profit", "take_profit_price"), "take_profit_share"),
        (("limit_price",), "limit_share"),
    ):
        several = any(numbered(level, 1) in names for level in levels)
        for rung in range(MOST_RUNGS):
            share = numbered(shares, rung)
            has_level = any(numbered(level, rung) in names for level in levels)
            if share in names and not has_level:
                raise DataError(series, f"there is {share} without its {numbered(levels[0], rung)}", hint="Add it.")
            if several and has_level and share not in names:
                problem = f"there are several {levels[0]}, but no {share}"
                raise DataError(series, problem, hint="Say which part (0 to 1) each of them takes.")


def refuse_untradable(frame: pl.DataFrame, columns: Iterable[DecisionColumn], series: str, time: str) -> None:
    """Refuse values that cannot be traded.

    Parameters
    ----------
    frame : polars.DataFrame
        ``symbol``, the column of times named ``time``, and the columns; null where nothing is decided.
    columns : iterable of DecisionColumn
        Which of them decide.
    series : str
        What the frame is, for messages.
    time : str
        Name of the column of times.

    Raises
    ------
    DataError
        Naming the column, the symbol and the first bad time.
    """
    for column in columns:
        values = frame[column.name]
        fault = first_fault(values)
        if fault is None and column.base in LEGS:
            wrong = (values > 0 if column.base == "target_short" else values < 0).fill_null(value=False)
            fault = (wrong, _SIGNS[column.base]) if wrong.any() else None
        if fault is not None:
            wrong, allowed = fault
            row = int(wrong.arg_max() or 0)
            problem = f"must be {allowed}, got {values[row]:g}" if allowed else _not_finite(values[row])
            raise DataError(
                series,
                f"{column.name} of {frame['symbol'][row]} {problem}",
                int(frame[time].dt.epoch("ms")[row]),
                "Leave it empty (null) where nothing is decided.",
            )


_SIGNS = {"target_long": "at least 0", "target_short": "at most 0 (a short leg has a negative target)"}


def _not_finite(value: float) -> str:
    return "is NaN" if math.isnan(value) else "is infinite"

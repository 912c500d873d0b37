"""The columns of decisions: what each means, which belong together, and which values can be traded."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from backtester.domain.enums import SettingField
from backtester.errors import DataError, UnknownNameError

TARGETS = ("target", "target_long", "target_short")
BOOLEANS = ("active", "universe")
MOST_RUNGS = 4
"""Take-profits, and limit orders of one target, at most."""

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
REPEATED = ("take_profit", "take_profit_price", "take_profit_share", "limit_price", "limit_share")

NAMES = (*TARGETS, "universe", *SETTINGS, "limit_price", "limit_share")
"""Every column that decides something, without the numbered ones."""

_FRACTIONS = ("stop_loss", "trailing_stop")
_SHARES = ("take_profit_share", "limit_share")
_COUNTS = ("hold_bars", "cooldown_bars")


@dataclass(frozen=True)
class DecisionColumn:
    """A column's name, what it is without its number, and the number, from 0."""

    name: str
    base: str
    rung: int = 0


def decision_column(name: str) -> DecisionColumn | None:
    """Return what a column of decisions means, None where it is not one: ``take_profit_2`` is rung 1."""
    if name in NAMES:
        return DecisionColumn(name, name)
    found = re.fullmatch(rf"({'|'.join(REPEATED)})_([2-{MOST_RUNGS}])", name)
    return DecisionColumn(name, found[1], int(found[2]) - 1) if found else None


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
            raise UnknownNameError("column", name, NAMES, f"in {series}")


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
        if column.rung and _numbered(column.base, column.rung - 1) not in names:
            raise DataError(
                series, f"there is {column.name} without {_numbered(column.base, column.rung - 1)}", hint="Add it."
            )
    _refuse_without_shares(names, series)


def _refuse_without_shares(names: set[str], series: str) -> None:
    """Refuse rungs that do not say which part each closes or opens, and shares of nothing."""
    for levels, shares in (
        (("take_profit", "take_profit_price"), "take_profit_share"),
        (("limit_price",), "limit_share"),
    ):
        several = any(_numbered(level, 1) in names for level in levels)
        for rung in range(MOST_RUNGS):
            share = _numbered(shares, rung)
            has_level = any(_numbered(level, rung) in names for level in levels)
            if share in names and not has_level:
                raise DataError(series, f"there is {share} without its {_numbered(levels[0], rung)}", hint="Add it.")
            if several and has_level and share not in names:
                problem = f"there are several {levels[0]}, but no {share}"
                raise DataError(series, problem, hint="Say which part (0 to 1) each of them takes.")


def _numbered(base: str, rung: int) -> str:
    return base if rung == 0 else f"{base}_{rung + 1}"


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
        if column.base in BOOLEANS:
            continue
        values = frame[column.name].to_numpy()
        known = frame[column.name].is_not_null().to_numpy()
        bad = np.flatnonzero(known & ~(np.isfinite(values) & _is_allowed(column.base, values)))
        if bad.size:
            row = int(bad[0])
            value = float(values[row])
            wrong = f"{_ALLOWED[column.base]}, got {value:g}"
            raise DataError(
                series,
                f"{column.name} of {frame['symbol'][row]} "
                + ("is NaN" if math.isnan(value) else "is infinite" if math.isinf(value) else wrong),
                int(frame[time].dt.epoch("ms")[row]),
                "Leave it empty (null) where nothing is decided.",
            )


_ALLOWED = {
    "target": "must be a number",
    "target_long": "must not be negative",
    "target_short": "must not be positive (a short leg has a negative target)",
    **dict.fromkeys(_FRACTIONS, "must be a fraction of at least 0 and below 1 (0 switches off)"),
    **dict.fromkeys(_SHARES, "must be a share above 0 and of at most 1"),
    **dict.fromkeys(_COUNTS, "must be a whole number of bars, not negative"),
    "leverage": "must be above 0",
    "limit_price": "must not be negative (0 is a market order)",
    "take_profit": "must not be negative (0 switches off)",
    "stop_price": "must not be negative (0 switches off)",
    "take_profit_price": "must not be negative (0 switches off)",
}


def _is_allowed(
    base: str, values: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which values a column may have; NaN stands for null and does not matter."""
    if base == "target":
        return np.ones(values.size, dtype=np.bool_)
    if base == "target_short":
        return values <= 0
    if base in _SHARES:
        return (values > 0) & (values <= 1)
    if base == "leverage":
        return values > 0
    if base in _FRACTIONS:
        return (values >= 0) & (values < 1)
    whole = np.equal(values, np.floor(values)) if base in _COUNTS else True
    return np.asarray((values >= 0) & whole)

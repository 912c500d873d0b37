"""Files of deleveragings and clawbacks: CSV, Parquet or JSON, read and judged before they meet any market data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

from backtester.domain.config import ClawbackConfig, DeleverageConfig
from backtester.engine.account_file import (
    ROW,
    SYMBOL_NAMES,
    TIME_NAMES,
    bad_value,
    find_column,
    numbers,
    read_raw,
    times,
    words,
)
from backtester.errors import DataError

DELEVERAGE_HINT = (
    "Columns: time (UTC or ms), symbol, fraction (of the position, 0 to 1) or quantity (units); optional price (empty: "
    "the mark), side (long or short), mark."
)
CLAWBACK_HINT = "Columns: time (UTC or ms), rate (of the period's net profit, 0 to 1) or amount; optional since."
_PRICE_HINT = "Prices are greater than 0; empty: the mark of the bar."
_SIDES = {"long": "long", "short": "short", "l": "long", "s": "short", "both": None, "any": None}


def read_deleverages(path: Path) -> tuple[DeleverageConfig, ...]:
    """Read deleveragings, in the order of the file.

    Parameters
    ----------
    path : Path
        ``.csv``, ``.parquet`` or ``.json`` with the columns of ``DELEVERAGE_HINT``.

    Raises
    ------
    UsageError, DataError
        Naming the row, the column and the way on.
    """
    name = f"deleveragings {path}"
    raw = read_raw(path, name, DELEVERAGE_HINT)
    time, symbol = (_needed(raw, key, name, DELEVERAGE_HINT) for key in ("time", "symbol"))
    if find_column(raw, ("fraction", "quantity")) is None:
        _needed(raw, "fraction", name, DELEVERAGE_HINT)
    moments = _moments(raw, time, name)
    fractions = _optional(raw, "fraction", name, lambda x: 0 < x <= 1, "is no part of a position", DELEVERAGE_HINT)
    quantities = _optional(raw, "quantity", name, lambda x: x > 0, "is no quantity", DELEVERAGE_HINT)
    prices = _optional(raw, "price", name, lambda x: x > 0, "is no price", _PRICE_HINT)
    marks = _optional(raw, "mark", name, lambda x: x > 0, "is no price", _PRICE_HINT)
    column = find_column(raw, ("side", "positionside", "posside"))
    sides = [None] * raw.height if column is None else words(raw, column, _SIDES, name, "A side is long or short.")
    rows = []
    for place, text in enumerate(raw[symbol].cast(pl.String).to_list()):
        if not (text or "").strip():
            raise bad_value(name, raw, symbol, place, "is no symbol")
        _refuse_none_or_both(raw, place, {"fraction": fractions, "quantity": quantities}, name, DELEVERAGE_HINT)
        rows.append(
            DeleverageConfig(
                time=moments[place],
                symbol=text.strip(),
                fraction=fractions[place],
                quantity=quantities[place],
                price=prices[place],
                side=sides[place],
                mark=marks[place],
            )
        )
    return tuple(rows)


def read_clawbacks(path: Path) -> tuple[ClawbackConfig, ...]:
    """Read clawbacks, in the order of the file.

    Parameters
    ----------
    path : Path
        ``.csv``, ``.parquet`` or ``.json`` with the columns of ``CLAWBACK_HINT``.

    Raises
    ------
    UsageError, DataError
        Naming the row, the column and the way on.
    """
    name = f"clawbacks {path}"
    raw = read_raw(path, name, CLAWBACK_HINT)
    moments = _moments(raw, _needed(raw, "time", name, CLAWBACK_HINT), name)
    rates = _optional(raw, "rate", name, lambda x: 0 <= x <= 1, "is no rate", "A rate is a fraction from 0 to 1.")
    amounts = _optional(raw, "amount", name, lambda x: x >= 0, "is no amount", "Amounts are 0 or more.")
    since = find_column(raw, ("since",))
    began: list[str | None] = [None] * raw.height
    if since is not None:
        stated = raw[since].is_not_null() & (raw[since].cast(pl.String).str.strip_chars() != "")
        places = stated.arg_true().to_list()
        for place, text in zip(places, _moments(raw.filter(stated), since, name) if places else (), strict=True):
            began[place] = text
    rows = []
    for place, moment in enumerate(moments):
        _refuse_none_or_both(raw, place, {"rate": rates, "amount": amounts}, name, CLAWBACK_HINT)
        rows.append(ClawbackConfig(time=moment, rate=rates[place], amount=amounts[place], since=began[place]))
    return tuple(rows)


def _refuse_none_or_both(
    raw: pl.DataFrame, place: int, figures: Mapping[str, Sequence[float | None]], name: str, hint: str
) -> None:
    """Refuse a row that has none of two figures, or both."""
    one, other = (column[place] for column in figures.values())
    if (one is None) != (other is None):
        return
    both = " and ".join(figures) if one is not None else f"neither {' nor '.join(figures)}"
    raise DataError(name, f"row {raw[ROW][place]} has {both}", hint=hint)


def _needed(raw: pl.DataFrame, key: str, name: str, hint: str) -> str:
    """Return the file's column of a figure that every row needs."""
    names = {"time": TIME_NAMES, "symbol": SYMBOL_NAMES}.get(key, (key,))
    found = find_column(raw, names)
    if found is None:
        has = ", ".join(column for column in raw.columns if column != ROW)
        raise DataError(name, f"no column for {key} (the file has {has})", hint=hint)
    return found


def _moments(raw: pl.DataFrame, column: str, name: str) -> list[str]:
    """Return times as the configuration writes them, to the millisecond."""
    moments = times(raw, column, name)
    empty = moments.is_null().arg_true()
    if len(empty):
        raise bad_value(name, raw, column, int(empty[0]), "is no time", "Every row needs its time (UTC).")
    return [moment.isoformat() for moment in moments.to_list()]


def _optional(  # noqa: PLR0917 - where it stands, what is right, and what is said where it is not
    raw: pl.DataFrame, key: str, name: str, is_right: Callable[[float], bool], problem: str, hint: str
) -> list[float | None]:
    """Return the numbers of a column that a file may lack, None where a row has none."""
    column = find_column(raw, (key,))
    return [None] * raw.height if column is None else _bounded(raw, column, name, is_right, problem, hint)


def _bounded(  # noqa: PLR0917 - as above
    raw: pl.DataFrame, column: str, name: str, is_right: Callable[[float], bool], problem: str, hint: str
) -> list[float | None]:
    """Return the numbers of a column, None where a row has none; refuse one that cannot be."""
    found = numbers(raw, column, name)[0].to_list()
    for place, value in enumerate(found):
        if value is not None and not is_right(value):
            raise bad_value(name, raw, column, place, problem, hint)
    return found

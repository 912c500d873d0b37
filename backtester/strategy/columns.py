"""What a strategy can decide beside its target: names, meanings, and the values that each may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

MOST_RUNGS = 4
KEYS = ("open_time", "symbol")
LEGS = ("target_long", "target_short")
TARGETS = ("target", *LEGS)
FLAGS = ("active", "universe")

Kind = Literal["target", "fraction", "gain", "price", "leverage", "bars", "share", "flag"]
Value = pl.Expr | float | bool


@dataclass(frozen=True, eq=False)
class Exit:
    """A partial exit: one of the list that ``take_profit`` or ``take_profit_price`` returns.

    Attributes
    ----------
    level : polars.Expr or float
        Fraction of the entry price in ``take_profit``, a price in ``take_profit_price``; 0 switches it off.
    share : polars.Expr or float
        Part of the position's size at its last increase (0 to 1); 1 closes all that is held.
    """

    level: pl.Expr | float
    share: pl.Expr | float = 1.0


@dataclass(frozen=True, eq=False)
class Rung:
    """One limit order of several: of the list that ``limit_price`` returns.

    Attributes
    ----------
    price : polars.Expr or float
        Limit price.
    share : polars.Expr or float
        Part of the order (0 to 1); the last rung takes what rounding leaves.
    """

    price: pl.Expr | float
    share: pl.Expr | float


# The method that returns several, and the column of their shares.
SHARES: Mapping[str, str] = {
    "take_profit": "take_profit_share",
    "take_profit_price": "take_profit_share",
    "limit_price": "limit_share",
}
METHODS: Mapping[str, Kind] = {
    "target": "target",
    "target_long": "target",
    "target_short": "target",
    "limit_price": "price",
    "stop_loss": "fraction",
    "stop_price": "price",
    "trailing_stop": "fraction",
    "take_profit": "gain",
    "take_profit_price": "price",
    "leverage": "leverage",
    "hold_bars": "bars",
    "cooldown_bars": "bars",
    "active": "flag",
    "universe": "flag",
}


def numbered(name: str, place: int) -> str:
    """Return the column of rung number ``place``, counted from 0: ``take_profit``, then ``take_profit_2``."""
    return name if place == 0 else f"{name}_{place + 1}"


def _kinds() -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    for name, kind in METHODS.items():
        kinds[name] = kind
        if name not in SHARES:
            continue
        kinds[SHARES[name]] = "share"
        for place in range(1, MOST_RUNGS):
            kinds[numbered(name, place)] = kind
            kinds[numbered(SHARES[name], place)] = "share"
    return kinds


COLUMNS: Mapping[str, Kind] = _kinds()
"""Every column that decides something, in the order in which they stand, with its kind."""

_ALLOWED: Mapping[Kind, tuple[str, float, float]] = {
    "fraction": ("at least 0 and below 1", 0.0, 1.0),
    "gain": ("at least 0", 0.0, float("inf")),
    "price": ("at least 0", 0.0, float("inf")),
    "leverage": ("more than 0", 0.0, float("inf")),
    "bars": ("a whole number of bars, at least 0", 0.0, float("inf")),
    "share": ("more than 0 and at most 1", 0.0, 1.0),
}


def as_column(values: pl.Series, name: str) -> pl.Series:
    """Return values under a column's name with its type: float64, or boolean for ``active`` and ``universe``.

    Raises
    ------
    TypeError
        When they are of another kind.
    """
    if COLUMNS[name] == "flag":
        if values.dtype in {pl.Boolean, pl.Null}:
            return values.cast(pl.Boolean).alias(name)
        raise TypeError(f"{name} must be true or false, got {values.dtype}: compare, for instance with > 0")
    if values.dtype == pl.Null or values.dtype.is_numeric():
        return values.cast(pl.Float64).alias(name)
    hint = ": add .cast(pl.Float64)" if values.dtype == pl.Boolean else ""
    subject = "the target must be a number (a signed fraction of equity)" if name in TARGETS else f"{name} is a number"
    raise TypeError(f"{subject}, got {values.dtype}{hint}")


def first_fault(values: pl.Series) -> tuple[pl.Series, str] | None:
    """Return which values of a column cannot be traded, and what they should be; None when all can.

    Parameters
    ----------
    values : polars.Series
        As ``as_column`` returns them; null is always allowed.

    Returns
    -------
    tuple of polars.Series and str, or None
        Boolean, true where wrong; the text is empty where they are not finite.
    """
    kind = COLUMNS[values.name]
    if kind == "flag":
        return None
    infinite = ~values.is_finite().fill_null(value=True)
    if infinite.any():
        return infinite, ""
    if kind == "target":
        return None
    text, least, most = _ALLOWED[kind]
    wrong = values < least
    if kind == "fraction":
        wrong |= values >= most
    elif kind == "share":
        wrong |= (values == 0) | (values > most)
    elif kind == "leverage":
        wrong |= values == 0
    elif kind == "bars":
        wrong |= values != values.round()
    wrong = wrong.fill_null(value=False)
    return (wrong, text) if wrong.any() else None


def ladder_fault(decided: Mapping[str, pl.Series]) -> pl.Series | None:
    """Return where the shares of a ladder of limit orders are missing or come to more than 1; None when nowhere."""
    names = [(numbered("limit_price", place), numbered("limit_share", place)) for place in range(MOST_RUNGS)]
    there = [(price, share) for price, share in names if price in decided and share in decided]
    if not there:
        return None
    frame = pl.DataFrame([decided[name] for pair in there for name in pair])
    total = pl.sum_horizontal(pl.when(pl.col(price).is_not_null()).then(share) for price, share in there)
    missing = pl.any_horizontal(pl.col(price).is_not_null() & pl.col(share).is_null() for price, share in there)
    wrong = frame.select(wrong=(total > 1 + 1e-9) | missing)["wrong"]
    return wrong if wrong.any() else None

"""How amounts and counts of a cleared market read."""

from __future__ import annotations

from typing import Any

from backtester.report import numbers


def amount(value: Any, unit: str = "") -> str:
    """Return an amount: whole units where it is large, four decimals where it is small."""
    if not isinstance(value, int | float):
        return numbers.NONE
    size = abs(value)
    digits = 0 if size >= 10_000 or size == 0 else 2 if size >= 10 else 4
    return numbers.decimal(value, digits, unit=f"\u00a0{unit}" if unit else "")


def large(value: Any) -> str:
    """Return an amount for a narrow place: millions from 10 million on, billions from 1 billion."""
    if not isinstance(value, int | float) or abs(value) < 1e7:
        return amount(value)
    unit, name = (1e9, "bn") if abs(value) >= 1e9 else (1e6, "m")
    return numbers.decimal(value / unit, 2, unit=f"\u00a0{name}")


def count_of(part: int, whole: int) -> str:
    """Return a share of a count in words."""
    return f"{numbers.percent(part / whole if whole else 0.0, 1, signed=False)} of {numbers.count(whole)}"


def share(value: Any, digits: int = 1) -> str:
    """Return a fraction as percent without a sign."""
    return numbers.percent(value, digits, signed=False)


def accounts_text(count: Any) -> str:
    """Return a count of accounts in words: ``1 account``."""
    whole = int(count or 0)
    return f"{numbers.count(whole)} account{'' if whole == 1 else 's'}"

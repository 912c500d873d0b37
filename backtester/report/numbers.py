"""How figures read: fixed decimals, thousands separators, a true minus sign, an en dash where nothing is defined."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime

MINUS = "\u2212"
NONE = "\u2013"
TIMES = "\u00d7"
_LARGE = 1e12


def _signed(value: float, body: str, *, signed: bool) -> str:
    """Return ``body``, the text of a size, with its sign; what rounds to zero has none."""
    if not body.strip("0.,"):
        return body
    if value < 0:
        return MINUS + body
    return f"+{body}" if signed else body


def _is_shown(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def decimal(value: float | None, digits: int = 2, *, signed: bool = False, unit: str = "") -> str:
    """Return a number with fixed decimals and an optional unit behind it."""
    if value is None or not _is_shown(value):
        return NONE
    size = abs(value)
    body = f"{size:.3g}" if size >= _LARGE else f"{size:,.{digits}f}"
    return _signed(value, body, signed=signed) + unit


def decimals(values: Iterable[float | None], digits: int = 2, *, signed: bool = False, unit: str = "") -> list[str]:
    """Return what `decimal` returns of each value, for long columns."""
    form = f"+,.{digits}f" if signed else f",.{digits}f"
    out = []
    for value in values:
        if value is None or not -_LARGE < value < _LARGE:
            out.append(decimal(value, digits, signed=signed, unit=unit))
            continue
        text = format(value, form)
        out.append((text.replace("-", MINUS) if text.strip("+-0.,") else text.lstrip("+-")) + unit)
    return out


def percent(fraction: float | None, digits: int = 2, *, signed: bool = True) -> str:
    """Return a fraction as percent, with its sign."""
    return NONE if fraction is None else decimal(fraction * 100, digits, signed=signed, unit="\u00a0%")


def money_digits(balance: float) -> int:
    """Return the decimals of amounts for an account of this size: cents of a stablecoin, satoshis of a coin."""
    return 2 if balance >= 100 else 4 if balance >= 1 else 8


def price(value: float | None) -> str:
    """Return a price with at least five significant digits."""
    if value is None or not _is_shown(value):
        return NONE
    size = abs(value)
    digits = 2 if size >= 100 else 8 if size == 0 else min(12, max(2, 5 - math.floor(math.log10(size)) - 1))
    return decimal(value, digits)


def quantity(value: float | None) -> str:
    """Return a size with up to six significant digits and no idle zeros."""
    if value is None or not _is_shown(value):
        return NONE
    size = abs(value)
    if size >= 1e6:
        return decimal(value, 0)
    digits = 0 if size == 0 else min(12, max(0, 6 - math.floor(math.log10(size)) - 1))
    body = f"{size:,.{digits}f}"
    return _signed(value, body.rstrip("0").rstrip(".") if "." in body else body, signed=False)


def count(value: float | None) -> str:
    """Return a whole number."""
    return decimal(value, 0)


def moment(time: datetime | int | None) -> str:
    """Return a time (UTC, ms where it is a number) to the minute; the page says that all times are UTC."""
    if time is None:
        return NONE
    at = datetime.fromtimestamp(time / 1000, UTC) if isinstance(time, (int, float)) else time
    return at.strftime("%Y-%m-%d %H:%M")


def duration(milliseconds: float | None) -> str:
    """Return a length of time in its two largest units."""
    if milliseconds is None or not _is_shown(milliseconds):
        return NONE
    minutes = round(milliseconds / 60_000)
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days >= 100:
        return f"{days:,}\u00a0d"
    if days:
        return f"{days}\u00a0d {hours}\u00a0h" if hours else f"{days}\u00a0d"
    if hours:
        return f"{hours}\u00a0h {rest}\u00a0min" if rest else f"{hours}\u00a0h"
    return f"{rest}\u00a0min" if rest else "under 1\u00a0min"


def shorten(text: str, length: int = 80) -> str:
    """Return a text of at most ``length`` characters; what is cut off shows as an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "\u2026"


def timeframe(milliseconds: int) -> str:
    """Return the length of a bar, ``1h``."""
    for size, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"

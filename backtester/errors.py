"""Exceptions: each class is named for what the user can do about it.

::

    BacktesterError                    message, hint; ``exit_code`` for the command line
    ├── UsageError            (2)      the call is wrong: fix the command or the arguments
    │   ├── ConfigError                a key or value of the run file
    │   └── UnknownNameError           a name that does not exist, with the nearest ones
    ├── DataError             (1)      market data is missing or wrong: series, time, way on
    ├── StoreError            (1)      the store's files: corrupt, locked, unwritable
    ├── ExchangeError         (1)      an exchange or archive cannot be reached, or refuses
    │   └── KeyRequiredError           it wants an API key
    ├── AccountError          (1)      the account cannot be run so (currency, leverage, tiers)
    ├── StrategyError         (1)      the strategy raised or returned what cannot be traded
    └── InternalError         (70)     an identity of the accounting failed: a bug of ours
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import UTC, datetime


class BacktesterError(Exception):
    """Base of every error that this package raises on purpose.

    Parameters
    ----------
    message : str
        What is wrong, in one sentence that names the thing.
    hint : str, optional
        What to do next.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (type(self), self.__dict__)  # not by the arguments, which differ from class to class


class UsageError(BacktesterError):
    """The call is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A key or a value of the run configuration is wrong."""


class UnknownNameError(UsageError):
    """A name that does not exist.

    Parameters
    ----------
    kind : str
        What was looked for: ``"strategy"``, ``"symbol"``, ``"key"`` …; what it belongs to, as in ``"parameter of
        strategy 'trend'"``, is said after the name.
    name : str
        The name as given.
    known : iterable of str
        Every name that exists; the nearest are suggested.
    where : str, optional
        Where it was looked for, said after the name.
    hint : str, optional
        The way on, in place of the known names; the nearest are suggested before it.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], where: str = "", hint: str = "") -> None:
        names = sorted(set(known))
        near = nearest_names(name, names)
        place = f" {where}" if where else ""
        noun, of, owner = kind.partition(" of ")
        if near and not hint.startswith("Did you mean"):
            hint = f"Did you mean {' or '.join(repr(n) for n in near)}? {hint}".rstrip()
        elif hint:
            pass
        elif names:
            shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
            hint = f"Known: {shown}."
        else:
            hint = f"There is no {noun} yet."
        super().__init__(f"Unknown {noun} {name!r}{of}{owner}{place}.", hint)
        self.name = name


class DataError(BacktesterError):
    """Market data is missing or wrong.

    Parameters
    ----------
    series : str
        The series, as ``venue symbol series timeframe`` where these are known.
    problem : str
        What is wrong with it.
    at : int, optional
        The first bad time [ms since 1970, UTC].
    hint : str, optional
        The way on.
    """

    def __init__(self, series: str, problem: str, at: int | None = None, hint: str = "") -> None:
        place = f" at {format_time(at)}" if at is not None else ""
        super().__init__(f"{series}: {problem}{place}.", hint)
        self.series = series
        self.at = at


class StoreError(BacktesterError):
    """The store cannot be read or written: a corrupt part, a lock, no rights, a full disk."""


class ExchangeError(BacktesterError):
    """An exchange, or an archive of one, cannot be reached or refuses what is asked of it."""


class KeyRequiredError(ExchangeError):
    """An exchange answers only to the holder of an API key."""


class AccountError(BacktesterError):
    """The account cannot be run with these instruments and settings."""


class StrategyError(BacktesterError):
    """The strategy raised, or returned what cannot be traded."""


class InternalError(BacktesterError):
    """An identity of the accounting does not hold: a bug of this package."""

    exit_code = 70


def _restored(kind: type[BacktesterError], state: dict[str, object]) -> BacktesterError:
    """Return an error that another process raised."""
    error = kind.__new__(kind, state["message"])
    error.__dict__.update(state)
    return error


def nearest_names(name: str, known: Iterable[str], count: int = 2) -> list[str]:
    """Return the known names that look most like ``name``, best first.

    Parameters
    ----------
    name : str
        The name as given.
    known : iterable of str
        What exists.
    count : int
        How many at most.

    Returns
    -------
    list of str
        Possibly empty; compared without case.
        A name that differs in signs alone, or that breaks off, goes before all others.
    """
    known = list(known)
    letters = _letters(name)
    alike = [k for k in known if _letters(k) == letters] or [k for k in known if _letters(k).startswith(letters)]
    if 0 < len(alike) <= count and len(letters) > 1:
        return alike
    by_lower = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.5)
    return [by_lower[f] for f in found]


def _letters(name: str) -> str:
    """Return letters and digits alone: ``BTC/USDT:USDT`` and ``btcusdtusdt`` are one name to a reader."""
    return "".join(c for c in name.lower() if c.isalnum())


def format_time(ms: int) -> str:
    """Return a time in ms since 1970 as ``2025-10-10 21:00 UTC``, with seconds and ms only where they are not zero."""
    t = datetime.fromtimestamp(ms // 1000, UTC)
    text = t.strftime("%Y-%m-%d %H:%M")
    if t.second or ms % 1000:
        text += t.strftime(":%S")
    if ms % 1000:
        text += f".{ms % 1000:03d}"
    return f"{text} UTC"

"""Contract terms by date, on their way into the store."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from backtester.domain.instrument import Instrument
from backtester.errors import DataError, UnknownNameError, format_time
from backtester.market.intake import Intake, Refusal
from backtester.market.schema import EVENT, DatasetKey, instrument_frame

_NEVER_MS = 4_102_444_800_000
"""2100-01-01: perpetuals that are not delisted carry a later delivery date at some exchanges."""


@dataclass(frozen=True)
class FoundTerms:
    """Terms of one contract, as one file has them.

    Attributes
    ----------
    terms : Instrument or DataError
        What was read, or why it cannot be.
    source : str
        Name of the file.
    """

    terms: Instrument | DataError
    source: str


def number(value: object) -> float | None:
    """Return a figure of a file, which may be text; None where it is absent.

    Raises
    ------
    TypeError, ValueError
        It is no finite number.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(f"{value!r} is no number")
    figure = float(value)
    if not math.isfinite(figure):
        raise ValueError(f"{value!r} is no finite number")
    return figure


def moment(value: object) -> int | None:
    """Return a time of a file [ms since 1970, UTC]; None where it is absent.

    Raises
    ------
    TypeError, ValueError
        It is no number.
    """
    figure = number(value)
    return None if figure is None else int(figure)


def ending(value: object) -> int | None:
    """Return the end of trading that a file states [ms since 1970, UTC]; None where it is absent or a placeholder.

    Raises
    ------
    TypeError, ValueError
        It is no number.
    """
    end = moment(value)
    return end if end is not None and end < _NEVER_MS else None


def checked(symbol: str, fields: Mapping[str, object], source: str) -> Instrument:
    """Return the terms that the figures make.

    Raises
    ------
    DataError
        A figure is impossible; it is named.
    """
    try:
        return Instrument.model_validate({"symbol": symbol, **fields})
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        if first["loc"]:
            problem = f"{first['loc'][0]} {first['input']!r} is out of bounds"
        else:
            problem = str(first["msg"]).removeprefix("Value error, ")
        raise refused(symbol, source, problem) from e


def refused(symbol: str, source: str, problem: str) -> DataError:
    """Return the error of a contract whose figures cannot be true."""
    hint = "Correct the file, or import other symbols alone with --symbol."
    return DataError(f"{symbol} instrument ({source})", problem, hint=hint)


def term_intakes(
    found: Mapping[str, Sequence[FoundTerms]], venue: str, kind: str, symbols: Sequence[str], where: str
) -> Iterator[Intake | Refusal]:
    """Yield each contract's terms of all files; one that cannot be true does not keep the others out.

    Parameters
    ----------
    found : mapping of str to sequence of FoundTerms
        By symbol.
    venue : str
        Whose contracts they are.
    kind : str
        What was read, for the manifest: ``"ccxt markets"``.
    symbols : sequence of str
        Only these; empty: all.
    where : str
        Where they were looked for, to complete an error.

    Raises
    ------
    UnknownNameError
        A wanted symbol is not there.
    """
    for symbol in symbols:
        if symbol not in found:
            raise UnknownNameError("symbol", symbol, set(found), where)
    for symbol in sorted(symbols or found):
        sources = ", ".join(dict.fromkeys(entry.source for entry in found[symbol]))
        try:
            dated = _by_moment(f"{venue} {symbol} instrument", found[symbol])
        except DataError as e:
            yield Refusal(f"{symbol} ({sources})", e)
            continue
        yield Intake(DatasetKey(venue, symbol, "instrument", EVENT), instrument_frame(*dated), f"{kind} {sources}")


def _by_moment(name: str, entries: Sequence[FoundTerms]) -> list[Instrument]:
    """Return the terms of all files, each of its own moment."""
    by_moment: dict[int | None, FoundTerms] = {}
    dated = []
    for entry in entries:
        if isinstance(entry.terms, DataError):
            raise entry.terms
        since = entry.terms.valid_from
        if since in by_moment:
            when = "always" if since is None else format_time(since)
            raise DataError(
                name,
                f"{by_moment[since].source} and {entry.source} hold from the same moment ({when})",
                hint="Import one of the files alone, or give each its own --valid-from.",
            )
        by_moment[since] = entry
        dated.append(entry.terms)
    return dated

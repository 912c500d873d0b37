"""Margin tiers in ccxt's unified form, as ``fetch_leverage_tiers`` returns them: brackets by symbol, in a JSON file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.errors import DataError, UnknownNameError, UsageError, format_time
from backtester.market.intake import Intake, existing, unreadable
from backtester.market.schema import EVENT, DatasetKey, tier_frame

_STABLE = ("USDT", "USDC", "BUSD")
_DATE = re.compile(r"(?<!\d)(\d{4})-(\d{2})(?:-(\d{2}))?(?!\d)")


def read_tiers(
    path: Path, venue: str, symbols: Sequence[str] = (), valid_from: str | None = None
) -> tuple[list[Intake], tuple[str, ...]]:
    """Read one file, or every JSON file of a folder.

    Parameters
    ----------
    path : Path
        A file or a folder.
    venue : str
        Name of the venue's rule pack.
    symbols : sequence of str
        Empty: every perpetual.
    valid_from : str, optional
        Date from which the brackets hold, ``"always"`` for no date; None: the date in the file's name, where a month
        alone is its first day.

    Returns
    -------
    list of Intake
        One per symbol, with the tables of all files.
    tuple of str
        What was left out, for the user.

    Raises
    ------
    UsageError
        No file, no date, or no such symbol.
    DataError
        A file that is no such JSON, or brackets that do not join.
    """
    files = [existing(path)] if path.is_file() else sorted(existing(path).glob("*.json"))
    if not files:
        raise UsageError(f"There is no JSON file in {path}.", "Give a file, or a folder of files, of ccxt's tiers.")
    tables: dict[str, list[TierTable]] = {}
    notes: list[str] = []
    for file in files:
        moment = _moment(file, valid_from)
        content = _load(file)
        skipped = 0
        for spelled, brackets in content.items():
            symbol = perpetual_symbol(spelled)
            if symbol is None:
                skipped += 1
            elif not symbols or symbol in symbols:
                tables.setdefault(symbol, []).append(_table(symbol, brackets, moment, file))
        if skipped:
            notes.append(f"{file.name}: {skipped} of {len(content)} entries are no perpetuals and are left out")
    for symbol in symbols:
        if symbol not in tables:
            raise UnknownNameError("symbol", symbol, _all_symbols(files), f"in {path}")
    return list(_intakes(tables, venue)), tuple(notes)


def perpetual_symbol(spelled: str) -> str | None:
    """Return the unified name of a perpetual, None for dated contracts and what is no pair.

    Older files spell linear perpetuals without the settlement currency.

    Examples
    --------
    >>> perpetual_symbol("BTC/USDT"), perpetual_symbol("BTC/USD:BTC"), perpetual_symbol("BTC/USDT:USDT-250328")
    ('BTC/USDT:USDT', 'BTC/USD:BTC', None)
    """
    match = re.fullmatch(r"([^/:]+)/([^/:]+)(?::([^/:-]+))?", spelled)
    if match is None:
        return None
    base, quote, settle = match.groups()
    if settle is None:
        return f"{base}/{quote}:{quote}" if quote in _STABLE else None
    return spelled


def _moment(file: Path, valid_from: str | None) -> int | None:
    """Return the first moment at which a file's brackets hold [ms], None for always."""
    if valid_from == "always":
        return None
    matches = list(_DATE.finditer(valid_from if valid_from is not None else file.stem))
    whole = valid_from is None or (len(matches) == 1 and matches[0][0] == valid_from)
    if not matches or not whole:
        wrong = f"{valid_from!r} is not a date." if valid_from is not None else f"The name of {file} holds no date."
        raise UsageError(wrong, "Say from when these brackets hold: --valid-from 2025-10-01, or --valid-from always.")
    year, month, day = matches[-1].groups()
    try:
        return int(datetime(int(year), int(month), int(day or 1), tzinfo=UTC).timestamp() * 1000)
    except ValueError as e:
        raise UsageError(f"{matches[-1][0]} is not a date ({e}).", "Write --valid-from YYYY-MM-DD.") from e


def _load(file: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content: dict[str, list[dict[str, Any]]] = json.loads(file.read_bytes())
    except ValueError as e:
        raise unreadable(file, "JSON", e) from e
    is_tiers = isinstance(content, dict) and all(
        isinstance(brackets, list) and brackets and all(isinstance(b, dict) for b in brackets)
        for brackets in content.values()
    )
    if not is_tiers or not content:
        raise DataError(
            str(file),
            "this is not ccxt's form of margin tiers (a list of brackets by symbol)",
            hint="It is what fetch_leverage_tiers() of ccxt returns, written as JSON.",
        )
    return content


def _table(symbol: str, brackets: list[dict[str, Any]], moment: int | None, file: Path) -> TierTable:
    try:
        tiers = sorted((_tier(b) for b in brackets), key=lambda t: t.notional_floor)
        return TierTable(symbol=symbol, tiers=tuple(tiers), valid_from=moment, source=file.name)
    except ValidationError as e:
        problem = e.errors()[0]["msg"].removeprefix("Value error, ")
    except KeyError as e:
        problem = f"a bracket has no {e.args[0]!r}"
    except (TypeError, ValueError) as e:
        problem = f"a bracket holds what is no number ({e})"
    raise DataError(
        f"{symbol} tiers ({file.name})",
        problem.rstrip("."),
        hint="Correct the file, or import other symbols alone with --symbol.",
    )


def _tier(bracket: dict[str, Any]) -> MarginTier:
    cap = bracket["maxNotional"]
    amount = (bracket.get("info") or {}).get("cum")
    return MarginTier(
        notional_floor=float(bracket.get("minNotional") or 0.0),
        notional_cap=math.inf if cap is None else float(cap),
        maintenance_margin_rate=float(bracket["maintenanceMarginRate"]),
        max_leverage=float(bracket["maxLeverage"]),
        maintenance_amount=None if amount in (None, "") else float(amount),
    )


def _intakes(tables: dict[str, list[TierTable]], venue: str) -> Iterator[Intake]:
    for symbol, dated in sorted(tables.items()):
        by_moment: dict[int | None, TierTable] = {}
        for table in dated:
            if table.valid_from in by_moment:
                when = "always" if table.valid_from is None else format_time(table.valid_from)
                raise DataError(
                    f"{venue} {symbol} tiers",
                    f"{by_moment[table.valid_from].source} and {table.source} hold from the same moment ({when})",
                    hint="Import one of the files alone, or give each its own --valid-from.",
                )
            by_moment[table.valid_from] = table
        notes = tuple(note for table in dated for note in _breaks(table))
        names = ", ".join(table.source for table in dated)
        yield Intake(DatasetKey(venue, symbol, "tiers", EVENT), tier_frame(dated), f"ccxt tiers {names}", notes)


def _breaks(table: TierTable) -> Iterator[str]:
    for k, stated, expected in table.discontinuities():
        yield (
            f"{table.symbol} ({table.source}): the maintenance amount of bracket {k + 1} is {stated:g}, "
            f"continuity asks for {expected:g}"
        )


def _all_symbols(files: list[Path]) -> set[str]:
    return {s for file in files for spelled in _load(file) if (s := perpetual_symbol(spelled))}

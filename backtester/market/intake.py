"""What a source hands to the store, and how it gets there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from backtester.domain.venues import load_pack, pack_names
from backtester.errors import DataError, UnknownNameError, UsageError
from backtester.market.merge import WriteReport
from backtester.market.schema import DatasetKey
from backtester.market.store import Store


@dataclass(frozen=True, eq=False)
class Intake:
    """One series, read from a file and accepted.

    Attributes
    ----------
    key : DatasetKey
        Where it belongs.
    frame : polars.DataFrame
        Rows with the columns of the series.
    source : str
        Where they come from, for the manifest.
    notes : tuple of str
        What was done to them, for the user.
    window : tuple of int, optional
        The span of which the rows are all that the source has, end excluded [ms].
    """

    key: DatasetKey
    frame: pl.DataFrame
    source: str
    notes: tuple[str, ...] = ()
    window: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Refusal:
    """One file that was not accepted.

    Attributes
    ----------
    name : str
        The file.
    error : DataError
        Why.
    """

    name: str
    error: DataError


@dataclass(frozen=True, eq=False)
class Imported:
    """One series that is stored.

    Attributes
    ----------
    intake : Intake
        What was brought.
    report : WriteReport
        What became of it.
    """

    intake: Intake
    report: WriteReport


def bring_in(
    store: Store, intakes: Iterable[Intake | Refusal], *, replace: bool = False
) -> Iterator[Imported | Refusal]:
    """Write each series as it is read; refused files do not keep the others out.

    Parameters
    ----------
    store : Store
        Where to.
    intakes : iterable of Intake or Refusal
        What a source yields.
    replace : bool
        Forget what was stored before of the series that come in.

    Raises
    ------
    StoreError
        The store cannot be written; what came in before stays.
    """
    written: set[DatasetKey] = set()
    for intake in intakes:
        if isinstance(intake, Refusal):
            yield intake
            continue
        try:
            report = store.write(
                intake.key, intake.frame, source=intake.source, replace=replace and intake.key not in written
            )
        except DataError as e:
            yield Refusal(intake.source, e)
            continue
        written.add(intake.key)
        yield Imported(intake, report)


def check_venue(venue: str, store: Store) -> str:
    """Return the name of a venue with a rule pack: shipped under this name, or a file (``.toml``); or a stored one."""
    if venue.endswith(".toml") or venue in pack_names():
        return load_pack(venue).name
    if venue in store.venues():  # fetched under its id in ccxt
        return venue
    error = UnknownNameError("venue", venue, pack_names())
    error.hint += (
        " For another venue use --venue generic, or the path of a rule pack of your own (.toml; it may say "
        'extends = "generic").'
    )
    raise error


def check_symbol(symbol: str) -> str:
    """Return a symbol if it is the unified name of a perpetual contract or a spot pair.

    Raises
    ------
    UsageError
        It is neither ``BASE/QUOTE:SETTLE`` nor ``BASE/QUOTE``.
    """
    if re.fullmatch(r"[^/:\s]+/[^/:\s]+", symbol):
        return symbol
    return check_contract(symbol)


def check_contract(symbol: str) -> str:
    """Return a symbol if it is the unified name of a perpetual contract, ``BASE/QUOTE:SETTLE``."""
    if re.fullmatch(r"[^/:\s]+/[^/:\s]+:[^/:\s-]+", symbol):
        return symbol
    hint = "Write BASE/QUOTE:SETTLE, for example BTC/USDT:USDT (linear) or BTC/USD:BTC (inverse)."
    match = re.fullmatch(r"([^/:\s]+?)[/_-]?(USDT|USDC|BUSD)", symbol)
    if match:
        hint = f"Did you mean '{match[1]}/{match[2]}:{match[2]}'? {hint}"
    raise UsageError(f"{symbol!r} is not the unified name of a perpetual contract.", hint)


def unreadable(path: Path, kind: str, error: Exception) -> DataError:
    """Return the error of a file that its format's reader refuses."""
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return DataError(
        str(path),
        f"this is not a whole {kind} file ({reason})",
        hint="It may be truncated or of another format: fetch it again, or give the right --format.",
    )


def existing(path: Path) -> Path:
    """Return a path if something is there."""
    if path.exists():
        return path
    raise UsageError(f"There is nothing at {path}.", "Give the path of a file, or of a folder of files.")

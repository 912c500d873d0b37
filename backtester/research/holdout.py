"""Bars that are put aside: sealed once, refused to searches, opened on the record.

The seal is the file ``holdout.toml`` in the folder of the runs: ``[[sealed]]`` says which bars of which contracts,
``[[opened]]`` which run looked at them, when.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w

from backtester.engine.manifest import timestamp
from backtester.engine.result import Notice, listed
from backtester.engine.run_file import parse_time
from backtester.errors import DataError, StoreError, UsageError, format_time
from backtester.market.atomic import explained, publish, write_durably, writer_lock

HOLDOUT_FILE = "holdout.toml"
_EXAMPLE = "Write --holdout 2025-07-01.. (to the end of the data) or --holdout 2025-07-01..2025-10-01 (end excluded)."
_LOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Span:
    """A span of time.

    Attributes
    ----------
    start : int
        First time [ms since 1970, UTC].
    end : int or None
        End, itself excluded; None: whatever comes.
    """

    start: int
    end: int | None = None

    def overlaps(self, start: int, end: int) -> bool:
        """Return whether a span from ``start`` to ``end`` (excluded) shares a time with this one."""
        return start < (end if self.end is None else min(self.end, end)) and self.start < end

    def __str__(self) -> str:
        until = "the end of the data" if self.end is None else format_time(self.end)
        return f"{format_time(self.start)} to {until}"


@dataclass(frozen=True)
class Seal:
    """Sealed bars of some contracts of a venue."""

    venue: str
    symbols: tuple[str, ...]
    span: Span
    sealed_at: str

    def __str__(self) -> str:
        return f"{listed(self.symbols)} of {self.venue} from {self.span}"


@dataclass(frozen=True)
class Opening:
    """A run that looked at sealed bars: when (UTC), its name, what was run and the hash of its configuration."""

    time: str
    run_id: str
    strategy: str
    config: str
    venue: str
    symbols: tuple[str, ...]
    span: Span


def parse_holdout(text: str) -> Span:
    """Return the span that ``2025-07-01..`` or ``2025-07-01..2025-10-01`` names.

    Raises
    ------
    UsageError
        Malformed, or empty.
    """
    start, dots, end = text.partition("..")
    if not dots or not start.strip():
        raise UsageError(f"--holdout {text!r} is not a span.", _EXAMPLE)
    span = Span(parse_time(start, "--holdout"), parse_time(end, "--holdout") if end.strip() else None)
    if span.end is not None and span.end <= span.start:
        raise UsageError(f"--holdout {text!r} is empty: its end is not behind its start.", _EXAMPLE)
    return span


def seal(out: Path, venue: str, symbols: Sequence[str], span: Span) -> None:
    """Seal bars; where the same are sealed already, nothing changes.

    Parameters
    ----------
    out : Path
        Folder of the runs; made where it is missing.
    venue : str
        Venue of the bars.
    symbols : sequence of str
        Contracts.
    span : Span
        Which bars.
    """
    with explained(out, "write"):
        out.mkdir(parents=True, exist_ok=True)
    with writer_lock(out, HOLDOUT_FILE, _LOCK_SECONDS):
        tree = _read(out)
        if any(
            found.venue == venue and set(symbols) <= set(found.symbols) and _covers(found.span, span)
            for found in map(_seal_of, tree.get("sealed", ()))
        ):
            return
        entry = {"venue": venue, "symbols": list(symbols), **_written(span), "sealed_at": timestamp().isoformat()}
        _write(out, {**tree, "sealed": [*tree.get("sealed", ()), entry]})


def seals(out: Path) -> tuple[Seal, ...]:
    """Return what is sealed in a folder of runs; nothing where there is no seal."""
    return tuple(map(_seal_of, _read(out).get("sealed", ())))


def openings(out: Path) -> tuple[Opening, ...]:
    """Return which runs opened a seal, in order."""
    return tuple(map(_opening_of, _read(out).get("opened", ())))


def sealed_within(out: Path, venue: str, symbols: Sequence[str], start: int, end: int) -> tuple[Seal, ...]:
    """Return the seals that a span of some contracts reaches into.

    Parameters
    ----------
    out : Path
        Folder of the runs.
    venue : str
        Venue of the bars.
    symbols : sequence of str
        Contracts.
    start, end : int
        The span, end excluded [ms since 1970, UTC].
    """
    return tuple(
        found
        for found in seals(out)
        if found.venue == venue and not set(symbols).isdisjoint(found.symbols) and found.span.overlaps(start, end)
    )


def refuse_sealed(
    out: Path, venue: str, symbols: Sequence[str], start: int, end: int, *, what: str = "The search", hint: str = ""
) -> None:
    """Refuse a span that reaches into sealed bars.

    Parameters
    ----------
    out, venue, symbols, start, end
        As in `sealed_within`.
    what : str
        What is refused, at the beginning of the sentence.
    hint : str
        Another way on than another span.

    Raises
    ------
    DataError
        It names the seal and the way on.
    """
    for found in sealed_within(out, venue, symbols, start, end):
        before = f"End before the seal: --end {iso(found.span.start)}."
        way = before if start < found.span.start else "Choose a span outside of the seal (--start, --end)."
        raise DataError(
            f"{what} from {format_time(start)} to {format_time(end)}",
            f"the bars of {found} are sealed as a holdout ({out / HOLDOUT_FILE})",
            hint=f"{way} {hint}".rstrip(),
        )


def cut_before(span: Span, start: int, end: int) -> int:
    """Return the end of a search that may not reach into a span.

    Parameters
    ----------
    span : Span
        What is put aside.
    start, end : int
        What would be searched, end excluded [ms since 1970, UTC].

    Raises
    ------
    UsageError
        Nothing is left before it.
    """
    if not span.overlaps(start, end):
        return end
    if start >= span.start:
        raise UsageError(
            f"Nothing is left to search: the bars from {format_time(start)} on lie in the holdout {span}.",
            "Begin before it (--start), or put less aside.",
        )
    return span.start


def opening_notice(found: Sequence[Seal], earlier: Sequence[Opening]) -> Notice:
    """Return what a report says of a run that looked at sealed bars."""
    if not earlier:
        history = "This is the first look at it; later ones are no longer out of sample."
    else:
        times = "once" if len(earlier) == 1 else f"{len(earlier)} times"
        history = f"It was opened {times} before, last by {earlier[-1].run_id}: this is no longer out of sample."
    text = f"The run looked at bars that were sealed as a holdout: {'; '.join(map(str, found))}. {history}"
    return Notice("holdout_opened", "warning", text)


def earlier_openings(out: Path, found: Sequence[Seal]) -> tuple[Opening, ...]:
    """Return the openings so far of what some seals hold."""
    return tuple(
        opening
        for opening in openings(out)
        if any(
            opening.venue == one.venue
            and not set(opening.symbols).isdisjoint(one.symbols)
            and one.span.overlaps(opening.span.start, _end(opening.span))
            for one in found
        )
    )


def record_opening(out: Path, opening: Opening) -> None:
    """Write an opening beside the seals."""
    with writer_lock(out, HOLDOUT_FILE, _LOCK_SECONDS):
        tree = _read(out)
        entry = {
            "time": opening.time,
            "run": opening.run_id,
            "strategy": opening.strategy,
            "config": opening.config,
            "venue": opening.venue,
            "symbols": list(opening.symbols),
            **_written(opening.span),
        }
        _write(out, {**tree, "opened": [*tree.get("opened", ()), entry]})


# -- the file --------------------------------------------------------------------------------------------------------


def _read(out: Path) -> dict[str, Any]:
    """Return the file's content, empty where there is none."""
    path = out / HOLDOUT_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"The holdout file {path} cannot be read: {error}.") from error
    try:
        tree = tomllib.loads(text)
        for entry in tree.get("sealed", ()):
            _seal_of(entry)
        for entry in tree.get("opened", ()):
            _opening_of(entry)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, UsageError) as error:
        raise StoreError(
            f"The holdout file {path} is damaged ({error}).", "Restore it: it says which bars no search may see."
        ) from error
    return tree


def _write(out: Path, tree: dict[str, Any]) -> None:
    path = out / HOLDOUT_FILE
    temporary = out / f".{HOLDOUT_FILE}.tmp"
    with explained(path, "write"):
        write_durably(temporary, tomli_w.dumps(tree).encode())
        publish(temporary, path)


def _seal_of(entry: dict[str, Any]) -> Seal:
    return Seal(str(entry["venue"]), tuple(entry["symbols"]), _span_of(entry), str(entry.get("sealed_at", "")))


def _opening_of(entry: dict[str, Any]) -> Opening:
    return Opening(
        time=str(entry["time"]),
        run_id=str(entry["run"]),
        strategy=str(entry["strategy"]),
        config=str(entry["config"]),
        venue=str(entry["venue"]),
        symbols=tuple(entry["symbols"]),
        span=_span_of(entry),
    )


def _span_of(entry: dict[str, Any]) -> Span:
    end = entry.get("end")
    return Span(parse_time(str(entry["start"]), "start"), None if end is None else parse_time(str(end), "end"))


def _written(span: Span) -> dict[str, str]:
    end = {} if span.end is None else {"end": iso(span.end)}
    return {"start": iso(span.start), **end}


def iso(time: int) -> str:
    """Return a time as a run file has it."""
    text = datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="milliseconds" if time % 1000 else "minutes")
    text = text.removesuffix("+00:00")
    return text.removesuffix("T00:00")


def _covers(outer: Span, inner: Span) -> bool:
    return outer.start <= inner.start and _end(inner) <= _end(outer)


def _end(span: Span) -> int:
    return (1 << 62) if span.end is None else span.end

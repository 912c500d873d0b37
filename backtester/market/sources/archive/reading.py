"""One file of an archive, from its bytes to rows that may be stored."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from backtester.errors import DataError
from backtester.market.acceptance import Accepted, accept_bars, accept_funding
from backtester.market.intake import Intake
from backtester.market.schema import EVENT, TIME, DatasetKey, timeframe_ms
from backtester.market.series import anchor
from backtester.market.sources.archive.layout import ArchiveFile, Layout, RawRows
from backtester.market.sources.archive.origin import Fetched, Selection
from backtester.market.sources.archive.unpacking import unpack, verify_checksum


@dataclass(frozen=True)
class Reading:
    """What is taken of a file.

    Attributes
    ----------
    selection : Selection
        Range of the rows.
    now : int
        The present: what ends later is not over [ms].
    drop_bad : bool
        Leave impossible rows out instead of refusing their file.
    """

    selection: Selection
    now: int
    drop_bad: bool = False

    def window(self, file: ArchiveFile) -> tuple[int, int]:
        """Return the span of the rows that a file can bring, end excluded [ms]; empty where it can bring none.

        Of bars, it ends with the last one that is over within the file.
        """
        start, end = file.period.start, min(file.period.end, self.now)
        if file.key.timeframe != EVENT:
            step = timeframe_ms(file.key.timeframe)
            phase = anchor(step)
            # the first open whose bar ends later
            end = phase - (phase - (end - step + 1)) // step * step
        return self.selection.clipped(start, end)


def read_archive_file(fetched: Fetched, file: ArchiveFile, layout: Layout, reading: Reading) -> Intake:
    """Return what a file brings.

    Parameters
    ----------
    fetched : Fetched
        Its bytes.
    file : ArchiveFile
        What its name says.
    layout : Layout
        Of the exchange that published it.
    reading : Reading
        What is taken of it.

    Returns
    -------
    Intake
        Rows within its ``window``.

    Raises
    ------
    DataError
        It is damaged, unsafe or of another layout, its checksum is wrong, or its rows cannot be true.
    """
    name = str(file)
    if fetched.checksum is not None:
        verify_checksum(fetched.content, fetched.checksum, file.name)
    raw = layout.rows(unpack(fetched.content, file.name), file)
    raw = _of_the_period(raw, file, reading.now)
    accepted = _accepted(raw.frame, file.key, name, drop_bad=reading.drop_bad)
    start, end = reading.window(file)
    time = str(file.key.schema.time)
    # a settlement stamped late in the last second of the span belongs to the next one, and to this file
    last = pl.col(time) < pl.lit(end).cast(TIME) if end < file.period.end else pl.lit(value=True)
    frame = accepted.frame.filter((pl.col(time) >= pl.lit(start).cast(TIME)) & last)
    return Intake(file.key, frame, layout.source, (*raw.notes, *accepted.notes), (start, end))


def _accepted(frame: pl.DataFrame, key: DatasetKey, name: str, *, drop_bad: bool) -> Accepted:
    if key.series == "funding":
        return accept_funding(frame, name, drop_bad=drop_bad)
    return accept_bars(frame, key.series, timeframe_ms(key.timeframe), name, drop_bad=drop_bad)


def _of_the_period(raw: RawRows, file: ArchiveFile, now: int) -> RawRows:
    """Return the rows of the span that the name states; bars that were open at its end, or are now, are left out."""
    time = str(file.key.schema.time)
    start, end = file.period.start, min(file.period.end, now)
    length = 0 if file.key.timeframe == EVENT else timeframe_ms(file.key.timeframe)
    stamp = pl.col(time).dt.epoch("ms")
    is_inside = (stamp >= start) & ((stamp + length <= end) if length else (stamp < end))
    frame = raw.frame.filter(is_inside)
    left_out = raw.frame.height - frame.height
    if not left_out:
        return raw
    if frame.is_empty():
        first = int(raw.frame[time].dt.epoch("ms").min() or 0)  # type: ignore[arg-type]  # of integers
        raise DataError(
            str(file), f"none of its rows lies in {file.period.label}, which its name states; the first is", first
        )
    still_open = (
        raw.frame.filter(stamp.is_between(start, min(file.period.end, now), closed="left")).height - frame.height
    )
    notes = list(raw.notes)
    if still_open:
        notes.append(
            f"{still_open} bar{'s' * (still_open > 1)} left out that {'were' if still_open > 1 else 'was'} still open"
        )
    if left_out > still_open:
        count = left_out - still_open
        notes.append(f"{count} row{'s' * (count > 1)} left out, outside the span that the name states")
    return RawRows(frame, tuple(notes))

"""Where archive files lie: a folder of downloaded ones, or the address at which they are published."""

from __future__ import annotations

import html
import os
import re
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import quote

from backtester.errors import DataError, UnknownNameError, UsageError
from backtester.market.intake import existing
from backtester.market.schema import BAR_SERIES, EVENT, SERIES_NAMES, DatasetKey, timeframe_ms, timeframe_name
from backtester.market.sources.archive.download import Downloader, UnreachableError
from backtester.market.sources.archive.layout import ArchiveFile, Layout, LeftOut, days, months
from backtester.market.sources.archive.unpacking import DEFAULT_LIMITS

_LISTING_LIMIT = 1 << 24
_LISTING_PAGES = 500  # of a thousand names: no folder of one contract holds more
_CHECKSUM_LIMIT = 1 << 12
_SHOWN = 8


@dataclass(frozen=True)
class Selection:
    """What is wanted of an archive.

    Attributes
    ----------
    symbols, series, timeframes : tuple of str
        Empty: all.
    start, end : int or None
        Range of the rows, end excluded [ms].
    """

    symbols: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    timeframes: tuple[str, ...] = ()
    start: int | None = None
    end: int | None = None

    def __post_init__(self) -> None:
        for name in self.series:
            if name not in SERIES_NAMES:
                raise UnknownNameError("series", name, SERIES_NAMES)
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise UsageError("--start does not lie before --end.", "Swap them: the end is excluded.")
        normal = tuple(timeframe_name(timeframe_ms(t)) for t in self.timeframes)
        object.__setattr__(self, "timeframes", normal)

    def wants(self, key: DatasetKey) -> bool:
        """Return whether a dataset is wanted; a timeframe does not keep funding out, which has none."""
        return (
            (not self.symbols or key.symbol in self.symbols)
            and (not self.series or key.series in self.series)
            and (not self.timeframes or key.timeframe == EVENT or key.timeframe in self.timeframes)
        )

    def clipped(self, start: int, end: int) -> tuple[int, int]:
        """Return the part of a span within the range; empty where the first is not below the second."""
        return (
            start if self.start is None else max(start, self.start),
            end if self.end is None else min(end, self.end),
        )


@dataclass(frozen=True, eq=False)
class Fetched:
    """A file as it is published.

    Attributes
    ----------
    content : bytes
        The file.
    checksum : bytes or None
        Its checksum file, None where there is none.
    """

    content: bytes
    checksum: bytes | None = None


class Origin(Protocol):
    """A place of archive files.

    Attributes
    ----------
    notes : list of str
        What was left out, for the user.
    """

    notes: list[str]

    @property
    def place(self) -> str:
        """The folder or the address."""

    def datasets(self) -> dict[DatasetKey, list[ArchiveFile]]:
        """Return the files of each dataset in order of time: months, and days that no month covers."""

    def daily(self, month: ArchiveFile) -> list[ArchiveFile]:
        """Return the files of the days of a month, some of which may not exist."""

    def read(self, file: ArchiveFile) -> Fetched | None:
        """Return a file, None where it is not published."""

    def stop(self) -> None:
        """Let no reading go on for long, from another thread."""


@dataclass(eq=False)
class ArchiveFolder:
    """Downloaded files in a folder, at any depth.

    Parameters
    ----------
    root : Path
        The folder, or one file.
    layout : Layout
        Of the exchange that published them.
    venue : str
        Name of the venue's rule pack.
    selection : Selection
        What is wanted of them.
    """

    root: Path
    layout: Layout
    venue: str
    selection: Selection
    notes: list[str] = field(default_factory=list)
    _days: dict[tuple[DatasetKey, str], list[ArchiveFile]] = field(default_factory=dict, repr=False)

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.root)

    def datasets(self) -> dict[DatasetKey, list[ArchiveFile]]:
        """Return the files of each dataset in order of time: months, and days that no month covers.

        Raises
        ------
        UsageError
            There are no files of the layout, or none that is wanted.
        """
        found = self._files()
        wanted = [f for f in found if self.selection.wants(f.key)]
        known = {f.key.symbol for f in found}
        for symbol in self.selection.symbols:
            if symbol not in known:
                raise UnknownNameError("symbol", symbol, known, f"in {self.root}")
        in_range = [f for f in wanted if _overlap(self.selection, f)]
        if not in_range:
            have = ", ".join(sorted({f"{f.key.series} {f.key.timeframe}" for f in found}))
            first, last = min(f.period.label for f in found), max(f.period.label for f in found)
            raise UsageError(f"No file in {self.root} passes the filters.", f"There are: {have}; {first} to {last}.")
        return self._grouped(in_range)

    def daily(self, month: ArchiveFile) -> list[ArchiveFile]:
        """Return the files of days that lie beside a month."""
        return self._days.get((month.key, month.period.label), [])

    def read(self, file: ArchiveFile) -> Fetched | None:
        """Return a file and its checksum, where one lies beside it."""
        path = Path(file.name)
        try:
            if path.stat().st_size > DEFAULT_LIMITS.packed:
                raise DataError(
                    str(file), f"the file has {path.stat().st_size:,} bytes", hint="No archive of bars is so large."
                )
            beside = path.with_name(path.name + self.layout.checksum_suffix)
            checksum = beside.read_bytes()[:_CHECKSUM_LIMIT] if beside != path and beside.is_file() else None
            return Fetched(path.read_bytes(), checksum)
        except OSError as e:
            raise DataError(str(file), f"it cannot be read ({e.strerror or e})", hint="Check the file's rights.") from e

    def stop(self) -> None:
        """Do nothing: a file on a disk is read in no time."""

    def _files(self) -> list[ArchiveFile]:
        root = existing(self.root)
        paths = [root] if root.is_file() else [Path(f, n) for f, _, names in os.walk(root) for n in sorted(names)]
        found: list[ArchiveFile] = []
        left_out: Counter[str] = Counter()
        for path in sorted(paths):
            if self.layout.checksum_suffix and path.name.endswith(self.layout.checksum_suffix):
                continue
            named = self.layout.named(PurePosixPath(path.resolve().as_posix()), self.venue)
            if isinstance(named, ArchiveFile):
                found.append(named)
            else:
                left_out[named.reason if isinstance(named, LeftOut) else "files of another name"] += 1
        self.notes += [f"left out: {count} {reason}" for reason, count in sorted(left_out.items())]
        if not found:
            others = f" Left out: {', '.join(f'{c} {r}' for r, c in sorted(left_out.items()))}." if left_out else ""
            raise UsageError(
                f"{self.root} is not, and does not hold, a file of {self.layout.name} that can be imported.",
                f"Names look like {self.layout.examples}.{others}",
            )
        return found

    def _grouped(self, files: Iterable[ArchiveFile]) -> dict[DatasetKey, list[ArchiveFile]]:
        groups: dict[DatasetKey, list[ArchiveFile]] = {}
        for file in sorted(files, key=lambda f: (f.key, f.period.start, -f.period.end, f.name)):
            group = groups.setdefault(file.key, [])
            last = group[-1] if group else None
            if last is not None and last.period.is_month and file.period.end <= last.period.end:
                self._days.setdefault((file.key, last.period.label), []).append(file)
            else:
                group.append(file)
        return groups


@dataclass(eq=False)
class PublishedArchive:
    """Files at the address of an archive.

    Parameters
    ----------
    base : str
        ``https://…`` without what the layout adds.
    layout : Layout
        Of the exchange that publishes them.
    venue : str
        Name of the venue's rule pack.
    selection : Selection
        What is wanted: symbols, a first time, and bars' timeframes are needed. Series default to all published ones
        that a run needs.
    client : Downloader
        What fetches them.
    now : int
        The present [ms].
    """

    base: str
    layout: Layout
    venue: str
    selection: Selection
    client: Downloader
    now: int
    notes: list[str] = field(default_factory=list)
    _lists: bool | None = field(default=None, repr=False)
    _listed: dict[str, frozenset[str]] = field(default_factory=dict, repr=False)
    _listing: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def place(self) -> str:
        """The address."""
        return self.base

    def datasets(self) -> dict[DatasetKey, list[ArchiveFile]]:
        """Return the files of each dataset that may be published, in order of time; nothing is asked for yet.

        Raises
        ------
        UsageError
            The selection leaves open what to fetch.
        """
        start, end = self._range()
        out = {}
        for key in self._keys():
            files: list[ArchiveFile] = []
            for month in months(start, end, self.layout.offset_ms(key.series)):
                file = ArchiveFile("", key, month)
                if month.end <= self.now and key.series in self.layout.monthly:
                    files.append(ArchiveFile(self.layout.path(key, month), key, month))
                else:
                    files += self.daily(file)
            out[key] = files
        return out

    def daily(self, month: ArchiveFile) -> list[ArchiveFile]:
        """Return the days of a month within the range that are over."""
        if month.key.series not in self.layout.daily:
            return []
        start, end = self.selection.clipped(month.period.start, min(month.period.end, self.now))
        return [
            ArchiveFile(self.layout.path(month.key, day), month.key, day)
            for day in days(start, end, self.layout.offset_ms(month.key.series))
            if day.end <= self.now
        ]

    def read(self, file: ArchiveFile) -> Fetched | None:
        """Return a file and its checksum, None where it is not published.

        Raises
        ------
        UnreachableError
            The server gives no answer.
        DataError
            The server refuses it, or keeps failing.
        """
        if not self._may_be_published(file.name):
            return None
        content = self.client.get(self._address(file.name), DEFAULT_LIMITS.packed)
        if content is None or not self.layout.checksum_suffix:
            return None if content is None else Fetched(content)
        beside = file.name + self.layout.checksum_suffix
        if not self._may_be_published(beside):
            return Fetched(content)
        return Fetched(content, self.client.get(self._address(beside), _CHECKSUM_LIMIT))

    def stop(self) -> None:
        """End all requests."""
        self.client.cancel()

    def _address(self, name: str) -> str:
        return f"{self.base.rstrip('/')}/{quote(name)}"

    def _range(self) -> tuple[int, int]:
        if self.selection.start is None:
            raise UsageError("An archive needs a first time.", "Give --start, for example --start 2024-01-01.")
        end = self.now if self.selection.end is None else min(self.selection.end, self.now)
        if self.selection.start >= end:
            raise UsageError("--start lies in the future.", "Nothing can be published yet.")
        return self.selection.start, end

    def _keys(self) -> list[DatasetKey]:
        published = (*self.layout.monthly, *(s for s in self.layout.daily if s not in self.layout.monthly))
        if not self.selection.symbols:
            raise UsageError(
                "An archive is not searched for symbols.", "Name them: --symbols BTC/USDT:USDT,ETH/USDT:USDT."
            )
        for name in self.selection.series:
            if name not in published:
                raise UnknownNameError("series", name, published, f"of {self.layout.name}")
        wanted = self.selection.series
        if not wanted:
            wanted = tuple(s for s in ("trade", "mark", "funding") if s in published)
            self.notes.append(f"without --series these are fetched: {', '.join(wanted)}")
        with_bars = [s for s in wanted if s in BAR_SERIES]
        if with_bars and not self.selection.timeframes:
            raise UsageError(f"{', '.join(with_bars)} come in bars.", "Give their length, for example --timeframe 1m.")
        keys = [
            DatasetKey(self.venue, symbol, series, timeframe)
            for symbol in self.selection.symbols
            for series in wanted
            for timeframe in (self.selection.timeframes if series in BAR_SERIES else (EVENT,))
        ]
        return sorted(set(keys))

    # ---- listings, as stores of the S3 kind answer them

    def _may_be_published(self, name: str) -> bool:
        """Return whether a file can be there: always, where the server lists nothing."""
        folder = name[: name.rfind("/") + 1]
        with self._listing:  # the first thread asks, the others wait for the answer
            if self._lists is None or (self._lists and folder not in self._listed):
                listed = self._list(folder)
                self._lists = listed is not None
                if listed is not None:
                    self._listed[folder] = listed
            return not self._lists or name in self._listed[folder]

    def _list(self, folder: str) -> frozenset[str] | None:
        """Return the names in a folder, None where the server does not list them."""
        names: set[str] = set()
        marker = ""
        for _ in range(_LISTING_PAGES):
            more = f"&marker={quote(marker, safe='')}" if marker else ""
            address = f"{self.base.rstrip('/')}?prefix={quote(folder, safe='')}&delimiter=%2F{more}"
            try:
                answer = self.client.get(address, _LISTING_LIMIT)
            except UnreachableError:
                raise
            except DataError:
                answer = None
            if answer is None or b"<ListBucketResult" not in answer[:2000]:
                return None
            # not an XML parser: the few plain elements that count need none, and a hostile answer cannot swell up
            text = answer.decode("utf-8", "replace")
            keys = [html.unescape(k) for k in re.findall(r"<Key>([^<]*)</Key>", text)]
            names.update(keys)
            following = re.search(r"<NextMarker>([^<]*)</NextMarker>", text)
            after = html.unescape(following[1]) if following else (keys[-1] if keys else "")
            if "<IsTruncated>true</IsTruncated>" not in text or after <= marker:
                return frozenset(names)
            marker = after
        return None


def _overlap(selection: Selection, file: ArchiveFile) -> bool:
    start, end = selection.clipped(file.period.start, file.period.end)
    return start < end


def shown_periods(labels: Sequence[str]) -> str:
    """Return the labels of months and days in words, a few of them where they are many."""
    first = ", ".join(labels[:_SHOWN])
    return first if len(labels) <= _SHOWN else f"{first}, … {labels[-1]} ({len(labels)} files)"

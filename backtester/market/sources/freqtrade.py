"""Files of freqtrade: ``BTC_USDT_USDT-1h-futures.feather`` and its kin, ``BTC_USDT-1h.feather`` for spot.

The name says pair, timeframe and kind. Funding files hold the rate in ``open``, and the timeframe in their name is
only a label.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from backtester.errors import DataError, UnknownNameError, UsageError
from backtester.market.acceptance import accept_bars, accept_funding, parse_times
from backtester.market.intake import Intake, Refusal, existing, unreadable
from backtester.market.schema import EVENT, DatasetKey, timeframe_ms, timeframe_name

_NAME = re.compile(
    r"(?P<pair>.+?)-(?P<timeframe>\d+[a-zA-Z])(?:-(?P<kind>\w+))?\.(?P<ending>feather|parquet|json|json\.gz)"
)
_SPOT_PAIR = re.compile(r"[A-Z0-9]+_[A-Z0-9]+")  # a table of one's own may be called my_bars-1h.parquet
_SERIES = {
    "futures": "trade",
    "mark": "mark",
    "index": "index",
    "premiumIndex": "premium",
    "funding_rate": "funding",
}
_COLUMNS = ("date", "open", "high", "low", "close", "volume")
_RATE_NAMES = ("funding_rate", "fundingRate", "open")


@dataclass(frozen=True)
class NamedFile:
    """A file and what its name says.

    Attributes
    ----------
    path : Path
        Where it lies.
    symbol : str
        Unified name.
    series : str
        Series of the store.
    timeframe : str
        ``"event"`` for funding.
    ending : str
        Format of the file.
    """

    path: Path
    symbol: str
    series: str
    timeframe: str
    ending: str


def named_file(path: Path) -> NamedFile | None:
    """Return what the name of a file says, None where it is neither a perpetual's nor a spot pair's."""
    match = _NAME.fullmatch(path.name)
    if match is None or (match["kind"] or "futures") not in _SERIES:
        return None
    is_spot = match["kind"] is None  # a spot pair has no settlement currency either
    if is_spot and not _SPOT_PAIR.fullmatch(match["pair"]):
        return None
    parts = match["pair"].split("_") if is_spot else match["pair"].rsplit("_", 2)
    if len(parts) != (2 if is_spot else 3) or "-" in parts[-1]:  # a dated contract has a date
        return None
    series = _SERIES[match["kind"] or "futures"]
    timeframe = EVENT if series == "funding" else match["timeframe"]
    if timeframe.endswith("M"):
        return None
    if timeframe != EVENT:
        timeframe = timeframe_name(timeframe_ms(timeframe))
    return NamedFile(path, f"{parts[0]}/{':'.join(parts[1:])}", series, timeframe, match["ending"])


def find_files(
    path: Path,
    symbols: Sequence[str] = (),
    timeframes: Sequence[str] = (),
    series: Sequence[str] = (),
) -> list[NamedFile]:
    """Return the files of a folder (and of ``futures`` inside it), or the one file, that the filters let through.

    Parameters
    ----------
    path : Path
        A folder or a file.
    symbols, timeframes, series : sequence of str
        Empty: all. A timeframe does not keep funding out, which has none.

    Raises
    ------
    UsageError
        There is no such file, or none that freqtrade would have written, or none is left.
    """
    existing(path)
    paths = [path] if path.is_file() else [*path.iterdir(), *_children(path / "futures")]
    found = sorted((f for p in paths if (f := named_file(p))), key=lambda f: f.path)
    if not found:
        raise UsageError(f"{path} is not, and does not hold, a file of freqtrade.", _name_hint(path))
    wanted = {timeframe_name(timeframe_ms(t)) for t in timeframes}
    kept = [
        f
        for f in found
        if (not symbols or f.symbol in symbols)
        and (not wanted or f.timeframe == EVENT or f.timeframe in wanted)
        and (not series or f.series in series)
    ]
    known = {f.symbol for f in found}
    for symbol in symbols:
        if symbol not in known:
            raise UnknownNameError("symbol", symbol, known, f"in {path}")
    if not kept:
        have = ", ".join(sorted({f"{f.series} {f.timeframe}" for f in found}))
        raise UsageError(f"No file in {path} passes the filters.", f"There are: {have}.")
    return kept


def _children(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _name_hint(path: Path) -> str:
    hint = (
        "Names look like BTC_USDT_USDT-1h-futures.feather, …-mark, …-funding_rate, or BTC_USDT-1h.feather for spot "
        "(feather, parquet, json, json.gz)."
    )
    if path.is_dir():
        deeper = sorted({p.parent for p in path.glob("*/*") if named_file(p)})
        if deeper:
            hint += f" There are some in {', '.join(str(d) for d in deeper[:3])}."
    return hint


def read_files(files: Iterable[NamedFile], venue: str, *, drop_bad: bool = False) -> Iterator[Intake | Refusal]:
    """Yield what each file holds, or why it is refused.

    Parameters
    ----------
    files : iterable of NamedFile
        From `find_files`.
    venue : str
        Name of the venue's rule pack.
    drop_bad : bool
        Leave impossible rows out instead of refusing their file.
    """
    for file in files:
        try:
            yield _read(file, venue, drop_bad=drop_bad)
        except DataError as e:
            yield Refusal(file.path.name, e)


def _read(file: NamedFile, venue: str, *, drop_bad: bool) -> Intake:
    key = DatasetKey(venue, file.symbol, file.series, file.timeframe)
    name = f"{key} ({file.path.name})"
    raw = _load(file)
    missing = [c for c in ("date", "open") if c not in raw.columns]
    if missing:
        raise DataError(
            name,
            f"the column{'s' * (len(missing) > 1)} {', '.join(missing)} that freqtrade writes "
            f"{'are' if len(missing) > 1 else 'is'} missing (there are {', '.join(raw.columns)})",
            hint="Import it with --format csv or --format parquet and --columns instead.",
        )
    times = parse_times(raw["date"], name)
    if file.series == "funding":
        rate = next(c for c in _RATE_NAMES if c in raw.columns)
        frame = pl.DataFrame({"funding_time": times, "funding_rate": raw[rate].cast(pl.Float64)})
        accepted = accept_funding(frame, name, drop_bad=drop_bad)
    else:
        columns = [c for c in key.schema.columns if c != "open_time" and c not in key.schema.flags]
        absent = [c for c in columns if c not in raw.columns]
        if absent:
            raise DataError(name, f"there is no column {absent[0]!r} (there are {', '.join(raw.columns)})")
        frame = raw.select(pl.Series("open_time", times), *(pl.col(c).cast(pl.Float64) for c in columns))
        accepted = accept_bars(frame, file.series, timeframe_ms(file.timeframe), name, drop_bad=drop_bad)
    return Intake(key, accepted.frame, f"freqtrade {file.path.name}", accepted.notes)


def _load(file: NamedFile) -> pl.DataFrame:
    try:
        if file.ending == "feather":
            return pl.read_ipc(file.path)
        if file.ending == "parquet":
            return pl.read_parquet(file.path, glob=False, hive_partitioning=False)
        content = gzip.decompress(file.path.read_bytes()) if file.ending == "json.gz" else file.path.read_bytes()
        rows = json.loads(content)
        return pl.DataFrame(rows, schema=_COLUMNS, orient="row", infer_schema_length=None, strict=False)
    except (pl.exceptions.PolarsError, OSError, EOFError, ValueError, TypeError) as e:
        if isinstance(e, PermissionError):
            raise
        raise unreadable(file.path, file.ending, e) from e

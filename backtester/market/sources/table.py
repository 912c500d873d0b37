"""CSV and Parquet tables of any make: a column map, common names found by themselves, times in any usual form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from backtester.domain.instrument import is_spot_name, quote_of
from backtester.errors import DataError, UnknownNameError, UsageError
from backtester.market.acceptance import accept_bars, accept_funding, parse_times
from backtester.market.intake import Intake, existing, unreadable
from backtester.market.schema import BAR_SERIES, EVENT, PRICES, DatasetKey, timeframe_ms, timeframe_name
from backtester.market.sources.archive.unpacking import Limits, is_packed, unpack

# Names in lower case without spaces, dots and underscores, the surest first.
_TIME_NAMES = (
    "opentime", "timestamp", "datetime", "date", "time", "ts", "unix", "unixtime", "opentimestamp", "starttime",
)  # fmt: skip
_FUNDING_TIME_NAMES = (
    "fundingtime", "fundingdatetime", "calctime", "fundingtimestamp", "fundingratetimestamp", "settletime",
    *_TIME_NAMES,
)  # fmt: skip
_ALIASES: dict[str, tuple[str, ...]] = {
    "open_time": _TIME_NAMES,
    "open": ("open", "openprice", "o"),
    "high": ("high", "highprice", "h"),
    "low": ("low", "lowprice", "l"),
    "close": ("close", "closeprice", "c"),
    "volume": ("volume", "vol", "basevolume", "v"),
    "funding_time": _FUNDING_TIME_NAMES,
    "funding_rate": ("fundingrate", "lastfundingrate", "realizedrate", "rate"),
    "mark_price": ("markprice", "mark"),
}
_SYMBOL_NAMES = ("symbol", "pair", "ticker", "instrument", "instid")
_IMPORTED = (*BAR_SERIES, "funding")
_PACKED_TABLE = Limits(packed=1 << 30, inflated=1 << 32)  # one's own table may hold many years


def read_table(
    path: Path,
    venue: str,
    symbol: str,
    *,
    kind: str,
    series: str | None = None,
    timeframe: str | None = None,
    columns: Mapping[str, str] | None = None,
    drop_bad: bool = False,
) -> Intake:
    """Read one file as one series.

    Parameters
    ----------
    path : Path
        The file.
    venue, symbol : str
        Whose data it is.
    kind : {"csv", "parquet"}
        Format of the file; a CSV may be packed by gzip or ZIP.
    series : str, optional
        None: funding where there is a rate, else traded bars.
    timeframe : str, optional
        None: the commonest distance of the bars.
    columns : mapping of str to str, optional
        Our names to the file's; the others are found by common names.
    drop_bad : bool
        Leave impossible rows out instead of refusing the file.

    Raises
    ------
    UsageError
        A column or a series that does not exist, or no file.
    DataError
        What the file holds cannot be true.
    """
    if existing(path).is_dir():
        raise UsageError(f"{path} is a folder.", f"Import one {kind} file at a time; each is one series of one symbol.")
    raw = _load(path, kind)
    notes: list[str] = []
    mapped = _explicit(columns or {}, raw, path)
    if series is None:
        series = "funding" if _column("funding_rate", raw, mapped) else "trade"
        notes.append(f"taken as {series} (say otherwise with --series)")
    if series not in _IMPORTED:
        raise UnknownNameError("series", series, _IMPORTED, "of a table")
    if is_spot_name(symbol) and series != "trade":
        raise UsageError(
            f"{symbol} is a spot pair: it has traded bars alone, no {series} series.",
            f"Name a contract, such as --symbol {symbol}:{quote_of(symbol)}.",
        )
    where = f"{venue} {symbol} {series} ({path.name})"
    raw = _of_one_symbol(raw, symbol, where)
    if series == "funding":
        frame = _select(raw, mapped, ("funding_time", "funding_rate"), ("mark_price",), where)
        key = DatasetKey(venue, symbol, series, EVENT)
        accepted = accept_funding(frame, f"{key} ({path.name})", drop_bad=drop_bad)
    else:
        optional = ("volume",) if series == "trade" else ()
        frame = _select(raw, mapped, ("open_time", *PRICES), optional, where)
        if timeframe is None:
            timeframe = _measured_timeframe(frame, where)
            notes.append(f"bars of {timeframe}, by their distance")
        key = DatasetKey(venue, symbol, series, timeframe)
        if series == "trade" and "volume" not in frame.columns:
            notes.append("no volume: it is stored as unknown")
        frame = _with_flags(frame, raw, key, where)
        accepted = accept_bars(frame, series, timeframe_ms(timeframe), f"{key} ({path.name})", drop_bad=drop_bad)
    return Intake(key, accepted.frame, f"{kind} {path.name}", (*notes, *accepted.notes))


def _load(path: Path, kind: str) -> pl.DataFrame:
    try:
        if kind == "parquet":
            return pl.read_parquet(path, glob=False, hive_partitioning=False)
        with path.open("rb") as file:
            head = file.readline()
        content: Path | bytes = path
        if is_packed(head):
            content = unpack(path.read_bytes(), str(path), _PACKED_TABLE)
            head = content[: content.find(b"\n")]
        line = head.decode("utf-8-sig")
        separator = max((",", ";", "\t", "|"), key=line.count)
        # all as text: a row that cannot be read is then named by us, and a column empty at first is no surprise
        return pl.read_csv(content, separator=separator, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as e:
        if isinstance(e, PermissionError):
            raise
        raise unreadable(path, kind, e) from e


def _explicit(columns: Mapping[str, str], raw: pl.DataFrame, path: Path) -> dict[str, str]:
    """Return the column map of the command line, checked on both sides."""
    for ours, theirs in columns.items():
        if ours not in _ALIASES:
            raise UnknownNameError("column", ours, _ALIASES, "of a series (write OURS=THEIRS)")
        if theirs not in raw.columns:
            raise UnknownNameError("column", theirs, raw.columns, f"in {path.name}")
    return dict(columns)


def _column(ours: str, raw: pl.DataFrame, mapped: Mapping[str, str]) -> str | None:
    """Return the file's name of one of our columns, None where there is none."""
    if ours in mapped:
        return mapped[ours]
    plain = {re.sub(r"[\s_.()-]", "", name).lower(): name for name in reversed(raw.columns)}
    return next((plain[alias] for alias in _ALIASES[ours] if alias in plain), None)


def _select(
    raw: pl.DataFrame, mapped: Mapping[str, str], wanted: tuple[str, ...], optional: tuple[str, ...], name: str
) -> pl.DataFrame:
    """Return the columns of a series, times and numbers parsed."""
    found = {ours: _column(ours, raw, mapped) for ours in (*wanted, *optional)}
    missing = [ours for ours in wanted if found[ours] is None]
    if missing:
        raise DataError(
            name,
            f"no column for {', '.join(missing)} (the file has {', '.join(raw.columns)})",
            hint=f"Name them: --columns {' --columns '.join(f'{m}=NAME' for m in missing)}.",
        )
    if raw.is_empty():
        raise DataError(name, "the file has columns and no rows")
    out = []
    for ours, theirs in found.items():
        if theirs is None:
            continue
        column = raw[theirs]
        parsed = parse_times(column, name) if ours.endswith("_time") else _numbers(column, name)
        out.append(parsed.alias(ours))
    return pl.DataFrame(out)


def _with_flags(frame: pl.DataFrame, raw: pl.DataFrame, key: DatasetKey, name: str) -> pl.DataFrame:
    """Return rows with the flags of the series that the file holds: what was computed stays marked so."""
    spelled = {name.strip().lower(): name for name in raw.columns}
    for flag in sorted(key.schema.flags & spelled.keys()):
        column = raw[spelled[flag]]
        if column.dtype.is_integer():
            column = column.cast(pl.String)
        if column.dtype == pl.String:
            known = {"true": True, "1": True, "false": False, "0": False, "": False}
            words = column.str.strip_chars().str.to_lowercase()
            column = words.replace_strict(known, default=None, return_dtype=pl.Boolean)
        if column.dtype != pl.Boolean or column.null_count():
            raise DataError(name, f"the column {flag!r} holds more than true and false")
        frame = frame.with_columns(column.alias(flag))
    return frame


def _numbers(column: pl.Series, name: str) -> pl.Series:
    if column.dtype == pl.String:
        column = column.str.strip_chars()
        column = column.set(column.str.to_lowercase().is_in(["", "null", "none", "nan", "na"]), None)
    out = column.cast(pl.Float64, strict=False)
    bad = (out.is_null() & column.is_not_null()).arg_true()
    if len(bad):
        row = int(bad[0])
        raise DataError(
            name,
            f"row {row + 1} has no number in the column {column.name!r}: {column[row]!r}",
            hint="Correct the file, or choose another column with --columns OURS=THEIRS.",
        )
    return out


def _measured_timeframe(frame: pl.DataFrame, name: str) -> str:
    steps = frame["open_time"].dt.epoch("ms").unique().sort().diff().drop_nulls()
    commonest = steps.mode().sort()
    if commonest.is_empty() or int(commonest[0]) % 1000:
        raise DataError(name, "the timeframe cannot be told from the rows", hint="Give it: --timeframe 1h.")
    return timeframe_name(int(commonest[0]))


def _of_one_symbol(raw: pl.DataFrame, symbol: str, name: str) -> pl.DataFrame:
    """Return the rows of the symbol where the file holds several."""
    column = next((c for c in raw.columns if c.lower() in _SYMBOL_NAMES), None)
    if column is None or raw[column].n_unique() <= 1:
        return raw
    base_quote, _, settle = symbol.partition(":")
    plain = {_letters(symbol), _letters(base_quote), _letters(base_quote + "SWAP"), _letters(base_quote + settle)}
    spelled = [s for s in raw[column].drop_nulls().unique().to_list() if _letters(str(s)) in plain]
    if len(spelled) != 1:
        have = sorted(str(s) for s in raw[column].drop_nulls().unique().to_list())
        raise DataError(
            name,
            f"the file holds {len(have)} symbols ({', '.join(have[:5])}{', …' if len(have) > 5 else ''}) and none of "
            "them alone is this one"
            if not spelled
            else f"the file spells the symbol in several ways ({spelled})",
            hint="Write one file a symbol, or give the --symbol that the file holds.",
        )
    return raw.filter(pl.col(column) == spelled[0])


def _letters(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "", text).upper()

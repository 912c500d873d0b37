"""Which symbols may be held when, by the run file's section ``universe``: known at each bar's close."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from backtester.domain.config import RunConfig, UniverseConfig
from backtester.domain.instrument import Instrument
from backtester.errors import ConfigError, DataError
from backtester.market.acceptance import parse_times
from backtester.market.schema import timeframe_ms
from backtester.market.store import Store

DAY_MS = 86_400_000
_COLUMNS = ("time", "symbol", "member")
_WORDS = {"true": True, "1": True, "false": False, "0": False}
_WAY_ON = "Columns: time (UTC), symbol, member (true or false); a row holds until the symbol's next."


def has_universe(universe: UniverseConfig) -> bool:
    """Return whether a run bounds what may be held."""
    return any(value is not None for value in (universe.file, universe.min_age_days, universe.top_volume))


def universe_members(
    config: RunConfig,
    bars: pl.DataFrame,
    instruments: Mapping[str, Instrument],
    begun: Mapping[str, int] | None = None,
) -> pl.Series:
    """Return where a symbol may be held.

    A symbol is a member at a bar's close when the file says so, when it is old enough, and when it is then among the
    ``top_volume`` of those that the file and the age let through. Each uses what was known at that close.

    Parameters
    ----------
    config : RunConfig
        ``universe`` and ``data.timeframe`` are read.
    bars : polars.DataFrame
        What the strategy reads, long: ``open_time, symbol, close, volume``, by symbol in order of time; the bars
        before the run too.
    instruments : mapping of str to Instrument
        Terms of each symbol; its age counts from ``listed``.
    begun : mapping of str to int, optional
        What `first_bars` returns: from there the age counts where the listing is unknown; where this is unknown too
        the first row of ``bars`` counts, which is the start of the warm-up.

    Returns
    -------
    polars.Series
        ``universe``, boolean, never null, one value a row of ``bars``.

    Raises
    ------
    ConfigError
        The file does not exist.
    DataError
        The file cannot be read or a row of it is wrong; or the rank needs volumes, and there are none.
    """
    asked, step = config.universe, timeframe_ms(str(config.data.timeframe))
    close_time = (pl.col("open_time").dt.epoch("ms") + step).alias("close_time")
    rows = bars.select("open_time", "symbol", close_time, (pl.col("close") * pl.col("volume")).alias("worth"))
    rows = rows.with_columns(pl.lit(value=True).alias("universe"))
    if asked.file is not None:
        rows = _with_file(rows, Path(asked.file))
    if asked.min_age_days is not None:
        since = _listed(rows, instruments, begun or {})
        age = pl.col("close_time") - pl.col("symbol").replace_strict(since, return_dtype=pl.Int64)
        rows = rows.with_columns(pl.col("universe") & (age >= asked.min_age_days * DAY_MS))
    if asked.top_volume is not None:
        if rows.height and rows["worth"].null_count() == rows.height:
            raise DataError(
                "universe.top_volume",
                "no volume of any symbol is known",
                hint="Import bars with volumes, or state the members with universe.file.",
            )
        rows = _with_rank(rows, asked.top_volume, asked.volume_days)
    return rows["universe"]


def first_bars(store: Store, venue: str, symbols: Iterable[str]) -> dict[str, int]:
    """Return the open of each symbol's first stored traded bar, of any timeframe [ms since 1970, UTC]."""
    found = {}
    for symbol in symbols:
        spans = [span for key in store.keys(venue, symbol, "trade") if (span := store.span(key)) is not None]
        if spans:
            found[symbol] = min(first for first, _ in spans)
    return found


def universe_warmup(config: RunConfig) -> int:
    """Return how many bars before the run the rank needs to look back its whole span from the first bar on."""
    if config.universe.top_volume is None:
        return 0
    return -(-config.universe.volume_days * DAY_MS // timeframe_ms(str(config.data.timeframe)))


def _with_rank(rows: pl.DataFrame, count: int, days: int) -> pl.DataFrame:
    """Return rows that are among the largest by quote volume of the days before their close, of those let through."""

    def summed(values: pl.Expr) -> pl.Expr:
        return values.rolling_sum_by("open_time", f"{days}d", closed="right").over("symbol")

    worth = pl.col("worth")
    # columns first: a window inside a window would be taken within the groups of the outer one
    sums = rows.with_columns(
        summed(worth.fill_null(0.0)).alias("traded"), summed(worth.is_not_null().cast(pl.Int64)).alias("known")
    )
    known = pl.when(pl.col("universe") & (pl.col("known") > 0)).then(pl.col("traded"))
    rank = sums.select(known.rank("ordinal", descending=True).over("open_time").alias("rank"))["rank"]
    return rows.with_columns(((rank <= count).fill_null(value=False)).alias("universe"))


def _listed(rows: pl.DataFrame, instruments: Mapping[str, Instrument], begun: Mapping[str, int]) -> dict[str, int]:
    """Return when each symbol began [ms]."""
    firsts = dict(rows.group_by("symbol").agg(pl.col("open_time").min().dt.epoch("ms")).iter_rows())
    listed = {}
    for symbol, first in firsts.items():
        stated = instruments[symbol].listed if symbol in instruments else None
        listed[symbol] = stated if stated is not None else begun.get(symbol, first)
    return listed


def _with_file(rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Return rows that are members by the file too; a symbol is none before its first row there."""
    stated = _read(path)
    found = (
        rows.with_row_index("__row")
        .sort("close_time", maintain_order=True)
        .join_asof(stated, left_on="close_time", right_on="time", by="symbol", check_sortedness=False)
        .sort("__row")
    )
    member = found["member"].fill_null(value=False)
    return rows.with_columns(pl.col("universe") & member)


def _read(path: Path) -> pl.DataFrame:
    """Return ``time`` [ms], ``symbol``, ``member`` of a file, by time."""
    name = f"universe {path.name}"
    if not path.is_file():
        raise ConfigError(f"universe.file: there is no file {path}.", _WAY_ON)
    try:
        if path.suffix.lower() in {".parquet", ".pq"}:
            raw = pl.read_parquet(path, hive_partitioning=False)
        else:
            raw = pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(name, f"the file cannot be read ({str(error).splitlines()[0]})", hint=_WAY_ON) from error
    missing = [column for column in _COLUMNS if column not in raw.columns]
    if missing:
        raise DataError(name, f"there is no column {missing[0]} (there are {', '.join(raw.columns)})", hint=_WAY_ON)
    if raw.is_empty():
        raise DataError(name, "the file has columns and no rows", hint=_WAY_ON)
    frame = pl.DataFrame(
        {
            "time": parse_times(raw["time"], name).dt.epoch("ms"),
            "symbol": raw["symbol"].cast(pl.String).str.strip_chars(),
            "member": _flags(raw["member"], name),
        }
    ).sort("time", maintain_order=True)
    twice = frame.filter(pl.struct("time", "symbol").is_duplicated())
    if twice.height:
        raise DataError(name, f"{twice['symbol'][0]} has two rows", int(twice["time"][0]), "Keep one of them.")
    return frame


def _flags(column: pl.Series, name: str) -> pl.Series:
    """Return membership as booleans; a value that is none is refused with its row."""
    words = column.cast(pl.String).str.strip_chars().str.to_lowercase()
    flags = words.replace_strict(_WORDS, default=None, return_dtype=pl.Boolean)
    if flags.null_count():
        row = int(flags.is_null().arg_max() or 0)
        raise DataError(name, f"row {row + 1} has no true or false in the column member: {column[row]!r}", hint=_WAY_ON)
    return flags

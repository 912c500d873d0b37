"""Tables of one's own, joined to the bars as of the time at which each row could be known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from backtester.domain.config import FeatureConfig
from backtester.errors import ConfigError, DataError
from backtester.market.schema import TIME

Feature = FeatureConfig | pl.DataFrame
TIME_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
FORMATS = "Give CSV or Parquet."
WRITTEN = "Write UTC times as 2025-01-01T08:00."


def join_features(bars: pl.DataFrame, features: Mapping[str, Feature], step_ms: int) -> pl.DataFrame:
    """Add the columns of each feature to the bars.

    Parameters
    ----------
    bars : DataFrame
        Long, with ``open_time`` and ``symbol``.
    features : mapping of str to FeatureConfig or DataFrame
        Tables with ``available_time`` (UTC) and, for features by symbol, ``symbol``. A row is seen from the first bar
        on whose close is at or after its ``available_time``; of several with one time the last counts.
    step_ms : int
        Length of a bar [ms].

    Raises
    ------
    ConfigError
        A file or a column does not exist, or a column's name is taken.
    DataError
        Times are missing or cannot be read.
    """
    close = (pl.col("open_time") + pl.duration(milliseconds=step_ms)).alias("__close")
    out = bars.with_row_index("__row").with_columns(close).sort("__close", maintain_order=True)
    for name, feature in features.items():
        table = _table(name, feature)
        taken = [c for c in table.columns if c in out.columns and c != "symbol"]
        if taken:
            raise ConfigError(
                f"data.features.{name}: the column {taken[0]!r} is there already.",
                "Rename it in the file, or name the wanted ones in data.features.NAME.columns.",
            )
        by = "symbol" if "symbol" in table.columns else None
        out = out.join_asof(
            table, left_on="__close", right_on="available_time", by=by, strategy="backward", check_sortedness=False
        ).drop("available_time", strict=False)
    return out.sort("__row").drop("__row", "__close")


def _table(name: str, feature: Feature) -> pl.DataFrame:
    """Return a feature's table: ``available_time``, ``symbol`` if by symbol, and the wanted columns, sorted by time."""
    frame = feature if isinstance(feature, pl.DataFrame) else _read(name, Path(feature.path))
    wanted: tuple[str, ...] = () if isinstance(feature, pl.DataFrame) else feature.columns
    if "available_time" not in frame.columns:
        raise DataError(
            f"feature {name!r}",
            f"there is no column available_time (there are {', '.join(frame.columns)})",
            hint="Add the UTC time at which each row could be known; it decides from which bar on a row is seen.",
        )
    keys = [c for c in ("available_time", "symbol") if c in frame.columns]
    for column in wanted:
        if column not in frame.columns:
            raise ConfigError(
                f"data.features.{name}.columns: there is no column {column!r}.",
                f"There are {', '.join(frame.columns)}.",
            )
    columns = list(wanted) or [c for c in frame.columns if c not in keys]
    table = frame.select(*keys, *(c for c in columns if c not in keys))
    table = table.with_columns(_as_time(name, table["available_time"]))
    missing = table["available_time"].null_count()
    if missing:
        raise DataError(
            f"feature {name!r}",
            f"available_time is empty or unreadable in {missing} rows",
            hint=WRITTEN,
        )
    return table.sort("available_time", maintain_order=True)


def _read(name: str, path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise ConfigError(f"data.features.{name}.path: there is no file {path}.", FORMATS)
    try:
        if path.suffix.lower() in {".parquet", ".pq"}:
            return pl.read_parquet(path, hive_partitioning=False)
        return pl.read_csv(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"feature {name!r}", f"the file {path} cannot be read: {reason}", hint=FORMATS) from error


def _as_time(name: str, column: pl.Series) -> pl.Series:
    """Return times as the store keeps them: text and naive times are UTC, integers are ms since 1970."""
    dtype = column.dtype
    if isinstance(dtype, pl.Datetime):
        aware = column.dt.replace_time_zone("UTC") if dtype.time_zone is None else column.dt.convert_time_zone("UTC")
        return aware.cast(TIME)
    if dtype == pl.String:
        text = column.str.strip_chars().str.replace(r"(Z|\+00:?00)$", "").str.replace(" ", "T", literal=True)
        read = [text.str.to_datetime(form, time_unit="ms", strict=False) for form in TIME_FORMATS]
        return pl.select(pl.coalesce(read).dt.replace_time_zone("UTC").alias(column.name)).to_series()
    if dtype == pl.Date or dtype.is_integer():
        return column.cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    raise DataError(f"feature {name!r}", f"available_time is of the kind {dtype}, not a time", hint=WRITTEN)

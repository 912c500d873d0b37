"""What a stored series looks like: columns, dtypes, units and keys, one table per series.

==========  =======================================================  =============================================
series      columns                                                  meaning
==========  =======================================================  =============================================
trade       open_time, open, high, low, close, volume                traded prices [quote], volume [base]
mark        open_time, open, high, low, close, filled                the price that margin is judged on [quote]
index       open_time, open, high, low, close                        the underlying's spot price [quote]
premium     open_time, open, high, low, close                        (perpetual - index) / index [fraction]
funding     funding_time, funding_rate, mark_price, interval_hours   settlements: rate [fraction], mark [quote]
tiers       valid_from, tier, notional_floor, notional_cap,          dated brackets of maintenance margin
            maintenance_margin_rate, max_leverage,
            maintenance_amount
instrument  the fields of `backtester.domain.instrument.Instrument`  dated terms of the contract
==========  =======================================================  =============================================

Times are UTC with millisecond resolution; a bar is named by its open. ``volume`` and ``mark_price`` are null where
unknown, ``valid_from`` is null in a table, or in terms, that always held. ``filled`` is true in rows that were computed
in place of missing ones (`market.quality.repair`), false in rows that came from the venue.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

import polars as pl

from backtester.domain.enums import ContractKind, label
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import TierTable
from backtester.errors import DataError, UnknownNameError, UsageError

TIME = pl.Datetime("ms", "UTC")
EVENT = "event"
BAR_SERIES = ("trade", "mark", "index", "premium")
EVENT_SERIES = ("funding", "tiers", "instrument")
SERIES_NAMES = BAR_SERIES + EVENT_SERIES
PRICES = ("open", "high", "low", "close")
FILLED = "filled"

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)

_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


@dataclass(frozen=True)
class SeriesSchema:
    """Columns of one series.

    Attributes
    ----------
    name : str
        One of `SERIES_NAMES`.
    columns : mapping of str to polars dtype
        In stored order.
    time : str or None
        The time column, by which rows are sorted and merged; None for series that are replaced whole.
    nullable : frozenset of str
        Columns that may be unknown; an absent one is filled with nulls.
    by_year : bool
        Whether the series is stored in one file a year.
    flags : frozenset of str
        Boolean columns that are false where they are absent.
    """

    name: str
    columns: MappingProxyType[str, pl.DataType]
    time: str | None
    nullable: frozenset[str] = frozenset()
    by_year: bool = True
    flags: frozenset[str] = frozenset()


def _bars(name: str, *, volume: bool = False, filled: bool = False) -> SeriesSchema:
    columns: dict[str, pl.DataType] = {"open_time": TIME, **{p: pl.Float64() for p in PRICES}}
    if volume:
        columns["volume"] = pl.Float64()
    if filled:
        columns[FILLED] = pl.Boolean()
    return SeriesSchema(
        name,
        MappingProxyType(columns),
        "open_time",
        frozenset({"volume"} if volume else ()),
        flags=frozenset({FILLED} if filled else ()),
    )


_FUNDING = SeriesSchema(
    "funding",
    MappingProxyType(
        {
            "funding_time": TIME,
            "funding_rate": pl.Float64(),
            "mark_price": pl.Float64(),
            "interval_hours": pl.Float64(),
        }
    ),
    "funding_time",
    frozenset({"mark_price", "interval_hours"}),
)

_TIERS = SeriesSchema(
    "tiers",
    MappingProxyType(
        {
            "valid_from": TIME,
            "tier": pl.Int64(),
            "notional_floor": pl.Float64(),
            "notional_cap": pl.Float64(),
            "maintenance_margin_rate": pl.Float64(),
            "max_leverage": pl.Float64(),
            "maintenance_amount": pl.Float64(),
        }
    ),
    "valid_from",
    frozenset({"valid_from", "maintenance_amount"}),
    by_year=False,
)

_INSTRUMENT = SeriesSchema(
    "instrument",
    MappingProxyType(
        {
            "symbol": pl.String(),
            "kind": pl.String(),
            "contract_size": pl.Float64(),
            "tick": pl.Float64(),
            "lot": pl.Float64(),
            "min_quantity": pl.Float64(),
            "min_notional": pl.Float64(),
            "settle": pl.String(),
            "taker_fee": pl.Float64(),
            "maker_fee": pl.Float64(),
            "funding_interval_hours": pl.Float64(),
            "funding_cap": pl.Float64(),
            "funding_floor": pl.Float64(),
            "listed": TIME,
            "delisted": TIME,
            "valid_from": TIME,
        }
    ),
    "valid_from",
    frozenset(
        {
            "tick",
            "lot",
            "min_quantity",
            "min_notional",
            "taker_fee",
            "maker_fee",
            "funding_interval_hours",
            "funding_cap",
            "funding_floor",
            "listed",
            "delisted",
            "valid_from",
        }
    ),
    by_year=False,
)

SERIES: MappingProxyType[str, SeriesSchema] = MappingProxyType(
    {
        "trade": _bars("trade", volume=True),
        "mark": _bars("mark", filled=True),
        "index": _bars("index"),
        "premium": _bars("premium"),
        "funding": _FUNDING,
        "tiers": _TIERS,
        "instrument": _INSTRUMENT,
    }
)


@dataclass(frozen=True, order=True)
class DatasetKey:
    """Name of one dataset.

    Attributes
    ----------
    venue : str
        Name of the venue's rule pack: ``"binance"``.
    symbol : str
        Unified name, ``"BTC/USDT:USDT"``.
    series : str
        One of `SERIES_NAMES`.
    timeframe : str
        ``"5m"``, ``"1h"``, …; ``"event"`` for funding, tiers and instrument.
    """

    venue: str
    symbol: str
    series: str
    timeframe: str

    def __post_init__(self) -> None:
        if self.series not in SERIES:
            raise UnknownNameError("series", self.series, SERIES_NAMES)
        if not self.venue or not self.symbol:
            raise UsageError("A dataset needs a venue and a symbol.", "Give --venue and --symbol.")
        if (self.timeframe == EVENT) != (self.series in EVENT_SERIES):
            wanted = "no timeframe (it is stored under 'event')" if self.series in EVENT_SERIES else "a timeframe"
            raise UsageError(f"The series {self.series!r} has {wanted}, not {self.timeframe!r}.")
        if self.timeframe != EVENT:
            object.__setattr__(self, "timeframe", timeframe_name(timeframe_ms(self.timeframe)))

    def __str__(self) -> str:
        tail = "" if self.timeframe == EVENT else f" {self.timeframe}"
        return f"{self.venue} {self.symbol} {self.series}{tail}"

    @property
    def schema(self) -> SeriesSchema:
        """Columns of this dataset."""
        return SERIES[self.series]


def timeframe_ms(timeframe: str) -> int:
    """Return the length of a bar in ms.

    Parameters
    ----------
    timeframe : str
        A count and a unit of s, m, h, d or w: ``"5m"``, ``"1h"``.

    Examples
    --------
    >>> timeframe_ms("1h")
    3600000
    """
    match = re.fullmatch(r"([1-9]\d*)(s|m|h|d|w)", timeframe.strip())
    if match is None:
        lower = timeframe.strip().lower()
        is_case = re.fullmatch(r"[1-9]\d*[shdw]", lower)  # 1M is a month to many
        raise UsageError(
            f"{timeframe!r} is not a timeframe.",
            f"Did you mean {lower!r}?"
            if is_case
            else "Write a count and one of s, m, h, d, w: 5m, 1h, 4h, 1d. Months have no fixed length.",
        )
    return int(match[1]) * _UNIT_MS[match[2]]


def timeframe_name(ms: int) -> str:
    """Return the name of a bar's length, in the largest unit that divides it.

    Examples
    --------
    >>> timeframe_name(300_000), timeframe_name(5_400_000)
    ('5m', '90m')
    """
    for unit in ("w", "d", "h", "m", "s"):
        if ms > 0 and ms % _UNIT_MS[unit] == 0:
            return f"{ms // _UNIT_MS[unit]}{unit}"
    raise UsageError(f"A bar of {ms} ms is not supported.", "Bars last a whole number of seconds.")


def conform(frame: pl.DataFrame, series: str, name: str) -> pl.DataFrame:
    """Return ``frame`` with exactly the columns and dtypes of a series, sorted.

    Parameters
    ----------
    frame : polars.DataFrame
        Holds at least the columns that must be known; others are dropped. Integer times are ms since 1970.
    series : str
        One of `SERIES_NAMES`.
    name : str
        What to call the data in an error.

    Raises
    ------
    DataError
        A column is missing or of another kind, or a value that must be known is null or NaN.
    """
    schema = SERIES[series]
    missing = [c for c in schema.columns if c not in {*frame.columns, *schema.nullable, *schema.flags}]
    if missing:
        raise DataError(
            name,
            f"the column{'s' * (len(missing) > 1)} {', '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing "
            f"(there are {', '.join(frame.columns) or 'none'})",
            hint=f"The series {series!r} has the columns {', '.join(schema.columns)}.",
        )
    try:
        out = frame.select(_cast(frame, column, dtype) for column, dtype in schema.columns.items())
        out = with_flags(out, schema)
    except pl.exceptions.PolarsError as e:
        raise DataError(name, f"a column is of the wrong kind: {str(e).splitlines()[0]}") from e
    _refuse_unknown(out, schema, name)
    order = [c for c in (schema.time, "tier") if c in schema.columns]
    return out.sort(order, nulls_last=False) if order else out


def with_flags(frame: Frame, schema: SeriesSchema) -> Frame:
    """Return rows whose flags are false where they are null; nothing else changes."""
    return frame.with_columns(pl.col(c).fill_null(value=False) for c in schema.flags) if schema.flags else frame


def _cast(frame: pl.DataFrame, column: str, dtype: pl.DataType) -> pl.Expr:
    """Return the expression that turns a column into its stored dtype; an absent one into nulls."""
    if column not in frame.columns:
        return pl.lit(None, dtype=dtype).alias(column)
    have = frame.schema[column]
    value = pl.col(column)
    if dtype == TIME:
        if isinstance(have, pl.Datetime):
            value = value.dt.replace_time_zone("UTC") if have.time_zone is None else value.dt.convert_time_zone("UTC")
        return value.cast(TIME)
    if column == "kind" and have.is_integer():
        names = {int(k): label(k) for k in ContractKind}
        return value.replace_strict(names, return_dtype=pl.String()).alias(column)
    return value.cast(dtype).fill_nan(None) if dtype == pl.Float64 else value.cast(dtype)


def _refuse_unknown(frame: pl.DataFrame, schema: SeriesSchema, name: str) -> None:
    for column in schema.columns:
        if column in schema.nullable or frame[column].null_count() == 0:
            continue
        bad = frame.filter(pl.col(column).is_null())
        at = None
        if schema.time and schema.time != column:
            at = bad[schema.time].dt.epoch("ms")[0]
        raise DataError(
            name,
            f"{column} is empty or NaN in {bad.height} row{'s' * (bad.height > 1)}, first",
            at,
            "Correct or leave out these rows; `backtester data import --drop-bad` leaves them out.",
        )


def tier_frame(tables: Sequence[TierTable]) -> pl.DataFrame:
    """Return the rows of dated margin tables, as the series ``tiers`` stores them.

    Parameters
    ----------
    tables : sequence of TierTable
        Tables of one contract.
    """
    rows = [
        {
            "valid_from": table.valid_from,
            "tier": k,
            "notional_floor": tier.notional_floor,
            "notional_cap": tier.notional_cap,
            "maintenance_margin_rate": tier.maintenance_margin_rate,
            "max_leverage": tier.max_leverage,
            "maintenance_amount": tier.maintenance_amount,
        }
        for table in tables
        for k, tier in enumerate(table.tiers, start=1)
    ]
    plain = {c: pl.Int64() if t == TIME else t for c, t in _TIERS.columns.items()}
    return pl.DataFrame(rows, schema=plain).with_columns(pl.col("valid_from").cast(TIME))


def instrument_frame(*dated: Instrument) -> pl.DataFrame:
    """Return the rows of a contract's dated terms, as the series ``instrument`` stores them.

    Parameters
    ----------
    *dated : Instrument
        Terms of one contract, at least one.
    """
    rows = [terms.model_dump() | {"kind": label(terms.kind)} for terms in dated]
    return conform(pl.DataFrame(rows, infer_schema_length=None), "instrument", f"instrument {dated[0].symbol}")

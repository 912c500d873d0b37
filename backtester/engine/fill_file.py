"""Executed trades as an exchange or ccxt writes them, read and judged, before they meet any market data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from backtester.engine.account_file import (
    ROW,
    SYMBOL_NAMES,
    TIME_NAMES,
    bad_value,
    find_column,
    numbers,
    plain,
    read_raw,
    refuse_all_unknown,
    times,
    unified_names,
    words,
)
from backtester.engine.result import Notice
from backtester.errors import DataError, format_time

HINT = (
    "Columns: time (UTC or ms), symbol, side, quantity (base units; or contracts), price; optional fee, liquidity, "
    "position_side, order_id."
)

# Names as `account_file.plain` writes them, the surest first.
_NAMES: dict[str, tuple[str, ...]] = {
    "time": TIME_NAMES,
    "symbol": SYMBOL_NAMES,
    "side": ("side", "direction", "action"),
    "price": ("price", "execprice", "fillpx", "filledprice", "fillprice", "avgprice", "averageprice"),
    "fee": ("fee", "feepaid", "feecost", "execfee", "commission", "fees", "feespaid", "tradingfee"),
    "fee_currency": ("feecurrency", "feeccy", "commissionasset", "feecoin", "feeasset", "feetoken", "feeunit"),
    "liquidity": (
        "liquidity", "takerormaker", "ismaker", "maker", "exectype", "lastliquidityind", "role", "traderole",
    ),
    "position_side": ("positionside", "posside", "positionidx"),
    "order_id": ("orderid", "ordid", "order", "orderno", "oid"),
    "trade_id": ("tradeid", "execid", "fillid", "id", "tid", "transactionid"),
}  # fmt: skip
_QUANTITY = (
    "quantity",
    "qty",
    "execqty",
    "filledquantity",
    "filledqty",
    "executedqty",
    "executed",
    "basequantity",
    "size",
)
_CONTRACTS = ("contracts", "fillsz", "amount")  # OKX's and ccxt's fills count contracts

_SIDES: dict[str, tuple[str, str | None]] = {
    "buy": ("buy", None), "b": ("buy", None), "bid": ("buy", None),
    "sell": ("sell", None), "s": ("sell", None), "a": ("sell", None), "ask": ("sell", None),
    "openlong": ("buy", "long"), "closelong": ("sell", "long"),
    "openshort": ("sell", "short"), "closeshort": ("buy", "short"),
}  # fmt: skip
_LEGS = {
    "long": "long",
    "short": "short",
    "both": None,
    "net": None,
    "flat": None,
    "0": None,
    "1": "long",
    "2": "short",
}
_LIQUIDITY = {
    "maker": "maker", "m": "maker", "true": "maker", "1": "maker", "yes": "maker",
    "taker": "taker", "t": "taker", "false": "taker", "0": "taker", "no": "taker",
}  # fmt: skip
_KINDS_OF_ROWS = ("exectype", "type")  # Bybit lists settlements of funding among the executions
_FUNDING_WORDS = ("funding", "settlement", "settle")

_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    ROW: pl.Int64,
    "time": pl.Datetime("ms", "UTC"),
    "symbol": pl.String,
    "side": pl.String,
    "quantity": pl.Float64,
    "in_contracts": pl.Boolean,
    "price": pl.Float64,
    "fee": pl.Float64,
    "fee_currency": pl.String,
    "liquidity": pl.String,
    "position_side": pl.String,
    "order_id": pl.String,
}


@dataclass(frozen=True, eq=False)
class FillTable:
    """Trades of a file.

    Attributes
    ----------
    name : str
        What the file is called in messages.
    frame : polars.DataFrame
        Sorted by time: ``file_row`` (of the file, from 1), ``time``, ``symbol`` (as written), ``side`` (``"buy"``,
        ``"sell"``), ``quantity`` (> 0), ``in_contracts``, ``price`` (> 0), ``fee`` (positive: paid; null: not stated),
        ``fee_currency``, ``liquidity`` (``"maker"``, ``"taker"``), ``position_side`` (``"long"``, ``"short"``),
        ``order_id``; the last five are null where the file does not tell.
    notices : tuple of Notice
        What was assumed of the file.
    """

    name: str
    frame: pl.DataFrame
    notices: tuple[Notice, ...] = ()


def read_fills(path: Path) -> FillTable:
    """Read executed trades.

    Parameters
    ----------
    path : Path
        ``.csv``, ``.parquet`` or ``.json`` with the columns of ``HINT``, or with the names that Binance, Bybit, OKX and
        ccxt give them. Without a column ``side`` negative quantities are sales.

    Raises
    ------
    UsageError
        There is no such file, or it is of another kind.
    DataError
        A column is missing, or a value cannot be true: its row and column are named.
    """
    name = f"fills {path}"
    raw, notices = _trades_alone(read_raw(path, name, HINT))
    if raw.is_empty():
        raise DataError(name, "the file has no trades, settlements of funding alone", hint=HINT)
    found = {ours: find_column(raw, names) for ours, names in _NAMES.items()}
    quantity, counts_contracts = _quantity_column(raw, found)
    missing = [ours for ours in ("time", "symbol", "price") if found[ours] is None]
    missing += ["quantity"] if quantity is None else []
    if missing or quantity is None:
        problem = f"no column for {', '.join(missing)} (the file has {', '.join(c for c in raw.columns if c != ROW)})"
        raise DataError(name, problem, hint=HINT)
    sizes, _ = numbers(raw, quantity, name)
    _refuse_empty(raw, quantity, sizes, name)
    sides, legs = _sides(raw, found["side"], quantity, sizes, name)
    fee, fee_currency = _fees(raw, found, name)
    frame = pl.DataFrame(
        {
            ROW: raw[ROW],
            "time": times(raw, str(found["time"]), name),
            "symbol": _texts(raw, str(found["symbol"]), name),
            "side": sides,
            "quantity": sizes.abs(),
            "in_contracts": [counts_contracts] * raw.height,
            "price": _prices(raw, str(found["price"]), name),
            "fee": fee,
            "fee_currency": fee_currency,
            "liquidity": _optional_words(raw, found["liquidity"], _LIQUIDITY, name),
            "position_side": _merged_legs(raw, found["position_side"], legs, name),
            "order_id": None if found["order_id"] is None else raw[str(found["order_id"])].cast(pl.String),
        },
        schema=_SCHEMA,
    )
    _refuse_repeated(raw, found["trade_id"], frame, name)
    signed, said = _fee_signs(frame, is_okx=find_column(raw, ("fillpx",)) is not None, name=name)
    return FillTable(name, signed.sort("time", maintain_order=True), (*notices, *said))


def with_symbols(table: FillTable, symbols: Sequence[str]) -> FillTable:
    """Return the trades of known contracts under their unified names; how many others there are is told.

    Parameters
    ----------
    table : FillTable
        As read.
    symbols : sequence of str
        Unified names.

    Raises
    ------
    UnknownNameError
        No contract of the file is known.
    DataError
        A name fits two contracts.
    """
    found = unified_names(table.frame["symbol"].unique(maintain_order=True).to_list(), symbols, table.name)
    refuse_all_unknown(found, symbols, table.name)
    names = table.frame["symbol"].replace_strict(found, return_dtype=pl.String)
    kept = table.frame.with_columns(names.alias("symbol")).drop_nulls("symbol")
    unknown = [text for text, symbol in found.items() if symbol is None]
    if not unknown:
        return replace(table, frame=kept)
    count = table.frame.height - kept.height
    text = (
        f"Left out: {trades(count)} of {table.name} in {', '.join(unknown[:5])}{', …' if len(unknown) > 5 else ''}, "
        "not among the contracts of the run."
    )
    return replace(table, frame=kept, notices=(*table.notices, Notice("fills_unknown", "warning", text)))


def in_units(table: FillTable, contract_sizes: Mapping[str, float]) -> FillTable:
    """Return trades whose quantities are all in units (base; quote of inverse contracts).

    Parameters
    ----------
    table : FillTable
        With unified names.
    contract_sizes : mapping of str to float
        Units of one contract, for rows that count contracts.
    """
    size = pl.col("symbol").replace_strict(dict(contract_sizes), default=1.0, return_dtype=pl.Float64)
    units = pl.when("in_contracts").then(pl.col("quantity") * size).otherwise("quantity")
    return replace(
        table, frame=table.frame.with_columns(units.alias("quantity"), pl.lit(value=False).alias("in_contracts"))
    )


def within(table: FillTable, start: int, end: int) -> FillTable:
    """Return the trades of a span ``[start, end)`` [ms]; how many others there are is told."""
    opened = pl.col("time").dt.epoch("ms")
    kept = table.frame.filter((opened >= start) & (opened < end))
    outside = table.frame.height - kept.height
    if not outside:
        return table
    span = f"{format_time(start)} to {format_time(end)}"
    text = f"Left out: {trades(outside)} of {table.name} outside the run ({span})."
    return replace(table, frame=kept, notices=(*table.notices, Notice("fills_outside", "warning", text)))


def trades(count: int) -> str:
    """Return ``1 trade`` or ``2 trades``."""
    return f"{count:,} trade{'' if count == 1 else 's'}"


def _trades_alone(raw: pl.DataFrame) -> tuple[pl.DataFrame, tuple[Notice, ...]]:
    """Return the rows without settlements of funding, which Bybit lists among the executions."""
    kind = find_column(raw, _KINDS_OF_ROWS)
    if kind is None or raw[kind].dtype != pl.String:
        return raw, ()
    is_funding = raw[kind].str.strip_chars().str.to_lowercase().is_in(_FUNDING_WORDS).fill_null(value=False)
    count = int(is_funding.sum())
    if not count:
        return raw, ()
    text = f"Left out: {count:,} settlement{'' if count == 1 else 's'} of funding among the trades."
    return raw.filter(~is_funding), (Notice("fills_funding", "assumption", text),)


def _quantity_column(raw: pl.DataFrame, found: dict[str, str | None]) -> tuple[str | None, bool]:
    """Return the column of quantities, and whether it counts contracts.

    Binance's coin-margined trades hold contracts in ``qty`` and base units in ``baseQty``.
    """
    units = find_column(raw, _QUANTITY)
    if units is not None:
        return units, plain(units) == "qty" and find_column(raw, ("baseqty",)) is not None
    counted = find_column(raw, tuple(name for name in _CONTRACTS if plain(found["symbol"] or "") != name))
    return counted, counted is not None and (
        plain(counted) != "amount" or find_column(raw, ("takerormaker",)) is not None
    )


def _refuse_empty(raw: pl.DataFrame, column: str, sizes: pl.Series, name: str) -> None:
    wrong = (sizes.is_null() | (sizes == 0)).arg_true()
    if len(wrong):
        raise bad_value(
            name, raw, column, int(wrong[0]), "is no quantity", "Every row is one trade of more than nothing."
        )


def _prices(raw: pl.DataFrame, column: str, name: str) -> pl.Series:
    prices, _ = numbers(raw, column, name)
    wrong = (prices.is_null() | (prices <= 0)).arg_true()
    if len(wrong):
        raise bad_value(name, raw, column, int(wrong[0]), "is no price", "Prices are greater than 0.")
    return prices


def _refuse_repeated(raw: pl.DataFrame, column: str | None, frame: pl.DataFrame, name: str) -> None:
    """Refuse a trade that stands in the file twice: the same number and all that makes a trade.

    The number alone is not enough: exchanges number the trades of each contract by itself, both sides of a trade with
    oneself share the number, and some files call the order's number ``id``.
    """
    if column is None:
        return
    number = raw[column].cast(pl.String).str.strip_chars()
    key = ("number", "symbol", "side", "time", "quantity", "price")
    known = frame.with_columns(number.alias("number")).select(ROW, *key)
    twice = known.filter((pl.col("number") != "") & pl.struct(key).is_duplicated())
    if twice.is_empty():
        return
    again = twice.join(twice.head(1), on=key, how="semi", maintain_order="left")[ROW].to_list()
    repeated = twice.height - twice.select(key).n_unique()
    others = f" ({repeated:,} rows are repeated in all)" if repeated > 1 else ""
    raise DataError(
        name,
        f"rows {again[0]} and {again[1]} are the same trade, {column} {twice['number'][0]!r}{others}",
        hint="Keep one of them: exports that overlap repeat trades.",
    )


def _texts(raw: pl.DataFrame, column: str, name: str) -> pl.Series:
    texts = raw[column].cast(pl.String).str.strip_chars()
    wrong = (texts.is_null() | (texts == "")).arg_true()
    if len(wrong):
        raise bad_value(name, raw, column, int(wrong[0]), "is no symbol")
    return texts


def _sides(
    raw: pl.DataFrame, column: str | None, quantity: str, sizes: pl.Series, name: str
) -> tuple[list[str], list[str | None]]:
    """Return the side of each trade, and its leg where the side tells it (``open_long``)."""
    if column is None:
        return ["buy" if size > 0 else "sell" for size in sizes], [None] * raw.height
    found = words(raw, column, _SIDES, name, "A side is buy or sell.")
    sides = [one[0] if one else "" for one in found]
    for place, (side, size) in enumerate(zip(sides, sizes.to_list(), strict=True)):
        if not side:
            raise bad_value(name, raw, column, place, "is no side", "A side is buy or sell.")
        if size < 0 and side == "buy":
            hint = "Write quantities without a sign beside a side, or signed ones without the column."
            raise bad_value(name, raw, quantity, place, "is negative, and the side is buy", hint)
    return sides, [one[1] if one else None for one in found]


def _fees(raw: pl.DataFrame, found: dict[str, str | None], name: str) -> tuple[pl.Series | None, pl.Series | None]:
    """Return the fees as written and their currencies, which may stand behind the number."""
    if found["fee"] is None:
        return None, None
    fee, units = numbers(raw, found["fee"], name)
    stated = found["fee_currency"]
    if stated is None:
        return fee, units
    named = raw[stated].cast(pl.String).str.strip_chars()
    return fee, named.set(named == "", None).zip_with(units.is_null(), units)


def _optional_words(
    raw: pl.DataFrame, column: str | None, known: Mapping[str, str], name: str
) -> list[str | None] | None:
    """Return maker or taker; Bybit's ``execType`` tells what kind of row it is, and not that."""
    if column is None:
        return None
    if plain(column) == "exectype":
        return [known.get(plain(str(value or ""))) for value in raw[column].to_list()]
    return words(raw, column, known, name, "Liquidity is maker or taker.")


def _merged_legs(raw: pl.DataFrame, column: str | None, by_side: Sequence[str | None], name: str) -> list[str | None]:
    """Return the leg of each trade: by its own column, else by its side."""
    if column is None:
        return list(by_side)
    stated = words(raw, column, _LEGS, name, "A position_side is long, short or both.")
    return [own or side for own, side in zip(stated, by_side, strict=True)]


def _fee_signs(frame: pl.DataFrame, *, is_okx: bool, name: str) -> tuple[pl.DataFrame, tuple[Notice, ...]]:
    """Return fees that are positive when paid.

    OKX writes what it charges as negative, and some exports do: where no fee is positive and takers have negative
    ones, which no exchange gives, they are charges.
    """
    if is_okx:
        return frame.with_columns(-pl.col("fee")), ()
    fee = frame["fee"].drop_nulls()
    takers = frame.filter(pl.col("liquidity").fill_null("taker") == "taker")["fee"].drop_nulls()
    if not fee.len() or bool((fee > 0).any()) or not bool((takers < 0).any()):
        return frame, ()
    text = f"All fees of {name} are negative: they are taken as paid, not received."
    return frame.with_columns(-pl.col("fee")), (Notice("fills_fee_sign", "assumption", text),)

"""Files that an exchange or ccxt writes of one's own account: CSV, Parquet or JSON, whatever the columns are called.

What is the same for trades and for funding: reading the file, finding its columns, texts to numbers and times, and the
exchange's names of contracts to the unified ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from backtester.errors import DataError, UnknownNameError, UsageError
from backtester.market.acceptance import parse_times

ROW = "file_row"
"""Column that counts the rows of the file from 1."""

TIME_NAMES = (
    "time", "timestamp", "exectime", "filltime", "tradetime", "fundingtime", "settletime", "ts", "timeutc", "dateutc",
    "timestamputc", "transactiontime", "transactiontimeutc", "transactiontimeutc0", "timeutc0", "datetime", "date",
    "createdtime",
)  # fmt: skip
SYMBOL_NAMES = (
    "symbol", "instid", "market", "instrument", "contract", "contracts", "pair", "spotpairs", "futures", "coin",
)  # fmt: skip
_NUMBER = r"^([-+]?(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d*)?(?:[eE][-+]?\d+)?|[-+]?\.\d+)\s*([A-Za-z]{2,10})?$"
_NOTHING = ("", "null", "none", "nan", "na", "--", "-")
_SHOWN = 5  # names of contracts in a message
_LISTS = ("data", "list", "result", "rows", "trades", "fills", "items")


def read_raw(path: Path, name: str, hint: str) -> pl.DataFrame:
    """Read a file as it is, with the column ``file_row``.

    Parameters
    ----------
    path : Path
        ``.csv``, ``.parquet`` or ``.json``; JSON is a list of objects, or an object that holds one (``data``, ``list``,
        ``result`` …). What is nested one deep, as ccxt's ``fee``, becomes columns like ``fee.cost``.
    name : str
        What to call the file in an error.
    hint : str
        Which columns it should have.

    Returns
    -------
    polars.DataFrame
        CSV and JSON as text, Parquet with its types.
    """
    suffix = path.suffix.lower()
    if suffix not in {".csv", ".parquet", ".json"}:
        raise UsageError(f"{path} is no .csv, .parquet or .json file.", hint)
    if not path.is_file():
        raise UsageError(f"There is no file {path}.", hint)
    try:
        if suffix == ".parquet":
            raw = pl.read_parquet(path, glob=False, hive_partitioning=False)
        elif suffix == ".csv":
            raw = _read_csv(path)
        else:
            raw = _read_json(path, name, hint)
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(
            name, f"the file cannot be read ({reason})", hint="It is damaged, or of another kind."
        ) from error
    if raw.is_empty():
        raise DataError(name, "the file has no rows", hint=hint)
    return raw.with_row_index(ROW, 1).with_columns(pl.col(ROW).cast(pl.Int64))


def _read_csv(path: Path) -> pl.DataFrame:
    """Read a CSV as text, whatever separates its columns."""
    with path.open("r", encoding="utf-8-sig") as file:
        head = file.readline()
    separator = max((",", ";", "\t", "|"), key=head.count)
    return pl.read_csv(path, separator=separator, infer_schema=False)


def _read_json(path: Path, name: str, hint: str) -> pl.DataFrame:
    """Read a list of objects as text."""
    rows = _list_in(json.loads(path.read_text(encoding="utf-8-sig")))
    if rows is None or not all(isinstance(row, dict) for row in rows):
        raise DataError(name, "the file holds no list of objects", hint=hint)
    flat = [_flat(row) for row in rows]
    columns = dict.fromkeys(key for row in flat for key in row)
    return pl.DataFrame(
        {key: [row.get(key) for row in flat] for key in columns}, schema_overrides=dict.fromkeys(columns, pl.String)
    )


def _list_in(content: Any) -> list[Any] | None:
    """Return the list of rows in what a file holds."""
    if isinstance(content, list):
        return content
    if isinstance(content, dict):
        return next((found for key in _LISTS if (found := _list_in(content.get(key))) is not None), None)
    return None


def _flat(row: Mapping[str, Any]) -> dict[str, str | None]:
    """Return an object's values as text; what is nested one deep gets names with a dot, what is deeper is left out."""
    out: dict[str, str | None] = {}
    for key, value in row.items():
        inner = (
            {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) and key != "info" else {key: value}
        )
        for name, one in inner.items():
            if not isinstance(one, dict | list):
                out[name] = None if one is None else str(one)
    return out


def plain(name: str) -> str:
    """Return a column's name in lower case, letters and digits alone."""
    return re.sub(r"[^0-9a-z]", "", name.lower())


def find_column(raw: pl.DataFrame, names: Sequence[str]) -> str | None:
    """Return the file's column that bears the first of some names, None where none does.

    Parameters
    ----------
    raw : polars.DataFrame
        The file.
    names : sequence of str
        As `plain` writes them, the surest first.
    """
    spelled = {plain(column): column for column in reversed(raw.columns) if column != ROW}
    return next((spelled[name] for name in names if name in spelled), None)


def bad_value(  # noqa: PLR0917 - where it stands and what is wrong, as the message says it
    name: str, raw: pl.DataFrame, column: str, place: int, problem: str, hint: str = ""
) -> DataError:
    """Return the error that names the row and the column of a bad value.

    Parameters
    ----------
    name : str
        What the file is called.
    raw : polars.DataFrame
        The file, with its column ``file_row``.
    column : str
        The file's column.
    place : int
        The row's place in ``raw``.
    problem : str
        What is wrong with the value.
    hint : str
        The way on.
    """
    row, value = raw[ROW][place], raw[column][place]
    return DataError(name, f"row {row}, column {column!r}: {value!r} {problem}", hint=hint or "Correct the file.")


def numbers(raw: pl.DataFrame, column: str, name: str) -> tuple[pl.Series, pl.Series]:
    """Return the numbers of a column, null where it is empty, and the units written behind them (``0.2 USDT``).

    Raises
    ------
    DataError
        A value is no number, or not finite.
    """
    values = raw[column]
    units = pl.Series([None] * raw.height, dtype=pl.String)
    if values.dtype.is_numeric():
        out = values.cast(pl.Float64).fill_nan(None)
    else:
        text = values.cast(pl.String).str.strip_chars()
        text = text.set(text.str.to_lowercase().is_in(_NOTHING), None)
        parts = pl.DataFrame({"t": text}).select(
            pl.col("t").str.extract(_NUMBER, 1).str.replace_all(",", "").cast(pl.Float64, strict=False).alias("n"),
            pl.col("t").str.extract(_NUMBER, 2).alias("u"),
        )
        out, units = parts["n"], parts["u"]
        wrong = (out.is_null() & text.is_not_null()).arg_true()
        if len(wrong):
            raise bad_value(name, raw, column, int(wrong[0]), "is no number", _number_hint(str(text[int(wrong[0])])))
    infinite = out.is_infinite().fill_null(value=False).arg_true()
    if len(infinite):
        raise bad_value(name, raw, column, int(infinite[0]), "is not finite")
    return out, units


def _number_hint(text: str) -> str:
    """Return the way on where a text looks like a number with a decimal comma; empty where it does not."""
    if re.fullmatch(r"[-+]?(\d+|\d{1,3}(\.\d{3})+),\d+", text):
        return "Write a decimal point: a comma is read as one between thousands (1,250.5)."
    return ""


def times(raw: pl.DataFrame, column: str, name: str) -> pl.Series:
    """Return the times of a column (ISO text, also with the hour before the date, or counts since 1970), UTC.

    Raises
    ------
    DataError
        A value is no time.
    """
    values = raw[column]
    if values.dtype == pl.String:
        values = values.str.strip_chars().str.replace(r"^(\d\d?:\d\d(?::\d\d)?)\s+(\d{4}-\d\d-\d\d)$", "$2 $1")
    try:
        return parse_times(values, name)
    except DataError as error:
        text = error.message.removeprefix(f"{name}: ").rstrip(".")
        hint = "Times are ISO text (2025-01-31 08:00:00, UTC unless it says otherwise) or a count of ms since 1970."
        raise DataError(name, text, hint=hint) from error


def words(raw: pl.DataFrame, column: str, known: Mapping[str, Any], name: str, hint: str) -> list[Any]:
    """Return what the words of a column stand for; empty ones stand for None.

    Parameters
    ----------
    raw : polars.DataFrame
        The file.
    column : str
        Its column.
    known : mapping
        Words in lower case, letters and digits alone, and what they mean.
    name, hint : str
        For the error that names the first word that is not known.
    """
    found = []
    for place, value in enumerate(raw[column].to_list()):
        word = plain(str(value)) if value is not None else ""
        if word and word not in known:
            raise bad_value(name, raw, column, place, "is not known here", hint)
        found.append(known[word] if word else None)
    return found


def unified_names(spelled: Iterable[str], symbols: Sequence[str], name: str) -> dict[str, str | None]:
    """Return the unified name of each contract as a file spells it, None where it is none of those known.

    Parameters
    ----------
    spelled : iterable of str
        ``BTC/USDT:USDT``, ``BTCUSDT``, ``BTC-USDT-SWAP``, ``BTCUSD_PERP``, ``BTC`` …; what fits a spot pair
        too means the contract.
    symbols : sequence of str
        Unified names that may be meant.
    name : str
        What to call the file in an error.

    Raises
    ------
    DataError
        A spelling fits two contracts, or two pairs.
    """
    by_letters: dict[str, list[str]] = {}
    for symbol in symbols:
        for letters in _spellings(symbol):
            by_letters.setdefault(letters, []).append(symbol)
    found: dict[str, str | None] = {}
    for text in spelled:
        fitting = [text] if text in symbols else by_letters.get(plain(text), [])
        fitting = [symbol for symbol in fitting if ":" in symbol] or fitting  # a contract rather than the spot pair
        if len(fitting) > 1:
            hint = "Write unified names in the file, or name the contracts that are meant with --symbols."
            raise DataError(name, f"the symbol {text!r} may be {' or '.join(fitting)}", hint=hint)
        found[text] = fitting[0] if fitting else None
    return found


def _spellings(symbol: str) -> set[str]:
    """Return how exchanges write a contract, letters and digits alone."""
    pair, _, settle = symbol.partition(":")
    base, _, quote = pair.partition("/")
    written = {symbol, pair}
    if settle:
        written |= {pair + "swap", pair + "perp", base, *([base + "perp"] if settle == "USDC" else [])}
    return {plain(text) for text in written if text} if quote else {plain(symbol)}


def refuse_all_unknown(found: Mapping[str, str | None], symbols: Sequence[str], name: str) -> None:
    """Refuse a file of which no contract is known.

    Raises
    ------
    UnknownNameError
        With those of the run: a name that is spelled in another way would have been known, so none is near.
    """
    if found and not any(found.values()):
        held = ", ".join(list(found)[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
        traded = ", ".join(symbols[:_SHOWN]) + (", …" if len(symbols) > _SHOWN else "")
        hint = f"The file has {held}; here are {traded}."
        raise UnknownNameError("symbol", next(iter(found)), (), f"in {name}", hint)

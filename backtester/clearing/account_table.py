"""A population from a CSV or Parquet file of accounts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backtester.clearing.population import Floats, Population
from backtester.errors import AccountError, DataError, UnknownNameError, UsageError

if TYPE_CHECKING:
    import polars as pl

COLUMNS = ("account", "symbol", "quantity", "entry_price", "wallet", "mode", "leverage", "margin")


def from_table(path: str | Path, symbols: Sequence[str] | None = None) -> Population:
    """Return the accounts of a CSV or Parquet file, one row a position.

    Parameters
    ----------
    path : str or Path
        Columns ``account``, ``symbol``, ``quantity`` (signed), ``entry_price``, ``wallet`` (of the account, the same
        in each of its rows), and optionally ``mode`` (``cross`` or ``isolated``), ``leverage`` and ``margin``; without
        a margin an isolated position has its initial margin, its notional over the leverage, read as linear.
    symbols : sequence of str, optional
        Contracts that may be named.

    Raises
    ------
    DataError
        The file cannot be read or a column is missing.
    UnknownNameError
        A symbol is none of ``symbols``, or a column none of those.
    AccountError
        An account contradicts itself, or the positions do not sum to zero.
    """
    frame = _read_table(Path(path))
    name = Path(path).name
    for column in ("account", "symbol", "quantity", "entry_price", "wallet"):
        if column not in frame.columns:
            raise DataError(
                name,
                f"has no column {column!r}",
                None,
                "It needs account, symbol, quantity, entry_price and wallet; mode, leverage and margin may be there.",
            )
    for column in frame.columns:
        if column not in COLUMNS:
            raise UnknownNameError("column", column, COLUMNS, f"in {name}")
    if frame.is_empty():
        raise DataError(name, "has no rows", None, "Give one row for each position.")
    return _population_of(frame, name, symbols)


def _read_table(path: Path) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415 - heavy

    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path)
        return pl.read_csv(path, infer_schema_length=None)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such file.") from error
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(path.name, f"cannot be read ({str(error).splitlines()[0]:.120})") from error


def _numbers(frame: pl.DataFrame, column: str, name: str) -> Floats:
    import polars as pl  # noqa: PLC0415 - heavy

    values = frame[column].cast(pl.Float64, strict=False)
    if values.null_count():
        row = int(values.is_null().arg_max() or 0)
        raise DataError(name, f"row {row + 1}: {column} = {frame[column][row]!r} is no number")
    return values.to_numpy().astype(np.float64)


def _population_of(frame: pl.DataFrame, name: str, symbols: Sequence[str] | None) -> Population:
    import polars as pl  # noqa: PLC0415 - heavy

    names = frame["symbol"].cast(pl.String).to_list()
    known = tuple(symbols) if symbols is not None else tuple(dict.fromkeys(names))
    for symbol in dict.fromkeys(names):
        if symbol not in known:
            raise UnknownNameError("symbol", str(symbol), known, f"in {name}")
    labels = frame["account"].cast(pl.String).to_list()
    places = {label: k for k, label in enumerate(dict.fromkeys(labels))}
    account = np.array([places[label] for label in labels], dtype=np.int64)
    order = np.argsort(account, kind="stable")
    columns: dict[str, Any] = {c: _numbers(frame, c, name) for c in ("quantity", "entry_price", "wallet")}
    columns["leverage"] = _numbers(frame, "leverage", name) if "leverage" in frame.columns else np.ones(len(frame))
    modes = frame["mode"].cast(pl.String).to_list() if "mode" in frame.columns else ["cross"] * len(frame)
    for row, mode in enumerate(modes):
        if mode not in ("cross", "isolated"):
            raise DataError(name, f"row {row + 1}: mode = {mode!r} is neither cross nor isolated")
    isolated = np.array([mode == "isolated" for mode in modes])
    _, first = np.unique(account, return_index=True)
    for column, values in (("wallet", columns["wallet"]), ("leverage", columns["leverage"]), ("mode", isolated)):
        differs = values != values[first][account]
        if differs.any():
            row = int(np.argmax(differs))
            raise AccountError(
                f"{name}, row {row + 1}: account {labels[row]} has another {column} than in its first row."
            )
    if "margin" in frame.columns:
        margin = _numbers(frame.with_columns(pl.col("margin").fill_null(0.0)), "margin", name)
    else:
        margin = np.abs(columns["quantity"] * columns["entry_price"]) / columns["leverage"]
    margin = np.where(isolated, margin, 0.0)
    place = {symbol: k for k, symbol in enumerate(known)}
    return Population(
        symbols=known,
        wallet=columns["wallet"][first],
        isolated=isolated[first],
        leverage=columns["leverage"][first],
        account=account[order],
        contract=np.array([place[s] for s in names], dtype=np.int64)[order],
        quantity=columns["quantity"][order],
        entry_price=columns["entry_price"][order],
        margin=margin[order],
        labels=tuple(places),
        notes=(f"{len(places):,} accounts from {name}.",),
    )

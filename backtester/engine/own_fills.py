"""Executed trades as the replay takes them: on the panel's symbols and bars, in units, with what must be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.domain.enums import ContractKind
from backtester.domain.instrument import Instrument
from backtester.engine.account_file import ROW, refuse_all_unknown, unified_names
from backtester.engine.decisions import Decisions
from backtester.engine.fill_file import FillTable, in_units, read_fills, trades, with_symbols, within
from backtester.engine.instructions import OwnFills
from backtester.engine.result import Notice
from backtester.errors import DataError, UsageError, format_time
from backtester.market.panel import Panel

TOLERATED = 0.01
"""Part of the price by which a trade may lie outside its bar before that is told."""
_DUST = 1e-9  # of the largest size: what sums of floats leave of a closed position

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AccountTerms:
    """What of the account and its contracts decides how trades are read.

    Attributes
    ----------
    instruments : mapping of str to Instrument
        Contracts of the run.
    settle : str
        Settlement currency; fees in another one are charged by the contract's rates.
    hedge : bool
        Whether trades belong to the long or the short leg.
    """

    instruments: Mapping[str, Instrument]
    settle: str
    hedge: bool


def symbols_of(path: Path, known: Sequence[str]) -> tuple[str, ...]:
    """Return which contracts a file of trades holds, in the order of those known.

    Parameters
    ----------
    path : Path
        See `fill_file.read_fills`.
    known : sequence of str
        Unified names of the contracts that may be meant.

    Raises
    ------
    UnknownNameError
        None of them is known.
    """
    table = read_fills(path)
    found = unified_names(table.frame["symbol"].unique(maintain_order=True).to_list(), known, table.name)
    refuse_all_unknown(found, known, table.name)
    return tuple(symbol for symbol in known if symbol in found.values())


def read_own_fills(path: Path, panel: Panel, terms: AccountTerms) -> tuple[Decisions, OwnFills]:
    """Return the trades of a file in place of a strategy's decisions.

    Parameters
    ----------
    path : Path
        See `fill_file.read_fills`.
    panel : Panel
        Bars of the run.
    terms : AccountTerms
        The account's.

    Returns
    -------
    tuple of Decisions and OwnFills
        Without targets, named after the file; and the trades, in order of time.

    Raises
    ------
    UsageError, DataError, UnknownNameError
        Naming the row, the column and the way on.
    """
    sizes = {symbol: one.contract_size for symbol, one in terms.instruments.items()}
    known = in_units(with_symbols(read_fills(path), panel.traded_symbols), sizes)
    table = _on_bars(within(known, panel.start, panel.end), panel)
    if table.frame.is_empty():
        raise UsageError(
            f"{path} has no trade inside the run.", "\n".join(notice.text for notice in table.notices[-2:])
        )
    signed = _signed(table.frame)
    notices = [*table.notices, *_missed(known, table), *_far_from_bars(table, panel), *_legs(table, signed, terms)]
    fees, told = _fees(table, terms.settle)
    fills = OwnFills(
        time=_ms(table.frame),
        symbol=_places(table.frame, panel.symbols),
        side=_leg_codes(table.frame) if terms.hedge else np.zeros(table.frame.height, np.int64),
        quantity=signed,
        price=table.frame["price"].to_numpy().astype(np.float64),
        fee=fees,
        is_maker=(table.frame["liquidity"] == "maker").fill_null(value=False).to_numpy().astype(np.int64),
    )
    return _decisions(path, (*notices, *told)), fills


def _decisions(path: Path, notices: tuple[Notice, ...]) -> Decisions:
    """Return what a run by trades has in place of a strategy."""
    targets = pl.DataFrame(
        schema={"open_time": pl.Datetime("ms", "UTC"), "symbol": pl.String, "target": pl.Float64},
    )
    source = f"# Executed trades were read from the file {path.name}.\n"
    return Decisions(targets, None, path.stem, source, {}, (), notices)


def _on_bars(table: FillTable, panel: Panel) -> FillTable:
    """Return the trades in bars that their contract has; how many others there are is told."""
    place, bar = _places(table.frame, panel.symbols), _bars(table.frame, panel)
    listed = ~np.isnan(panel.trade.open[place, bar]) & (_ms(table.frame) < panel.open_time[bar] + panel.timeframe_ms)
    if listed.all():
        return table
    first = table.frame.filter(pl.Series(~listed)).row(0, named=True)
    text = (
        f"Left out: {trades(int((~listed).sum()))} of {table.name} while the contract has no bar, first row "
        f"{first[ROW]} in {first['symbol']} at {format_time(round(first['time'].timestamp() * 1000))}."
    )
    notice = Notice("fills_without_bar", "warning", text)
    return FillTable(table.name, table.frame.filter(pl.Series(listed)), (*table.notices, notice))


def _missed(known: FillTable, used: FillTable) -> list[Notice]:
    """Tell contracts whose used trades follow others that were left out: what those held is unknown to the run."""
    frame = known.frame.with_columns(pl.Series("signed", _signed(known.frame)))
    last = used.frame.group_by("symbol", maintain_order=True).agg(pl.col("time").max().alias("last"))
    left = frame.join(used.frame.select(ROW), on=ROW, how="anti", maintain_order="left")
    before = left.join(last, on="symbol", how="inner", maintain_order="left").filter(pl.col("time") <= pl.col("last"))
    held = before.group_by("symbol", maintain_order=True).agg(
        pl.col("signed").sum().alias("net"), pl.col("signed").abs().max().alias("largest"), pl.len().alias("count")
    )
    held = held.filter(pl.col("net").abs() > _DUST * pl.col("largest"))
    return [
        Notice(
            "fills_before_missed",
            "warning",
            f"{symbol}: {trades(count)} left out before the last one that is used come to {net:+g}, so that the run "
            "holds another position than the account did. Begin the run, and the file, where the account was flat.",
        )
        for symbol, net, count in held.select("symbol", "net", "count").iter_rows()
    ]


def _far_from_bars(table: FillTable, panel: Panel) -> list[Notice]:
    """Tell trades at a price that their bar did not trade at: another contract, another unit or another clock."""
    place, bar = _places(table.frame, panel.symbols), _bars(table.frame, panel)
    price = table.frame["price"].to_numpy()
    low, high = panel.trade.low[place, bar], panel.trade.high[place, bar]
    far = np.flatnonzero((price < low * (1 - TOLERATED)) | (price > high * (1 + TOLERATED)))
    if not far.size:
        return []
    k = int(far[0])
    row = table.frame.row(k, named=True)
    text = (
        f"{far.size} of {table.frame.height} trades lie more than {100 * TOLERATED:g} % outside the bar that they fall "
        f"in, first row {row[ROW]}: {row['symbol']} at {row['price']:g}, the bar of "
        f"{format_time(int(panel.open_time[bar[k]]))} has {low[k]:g} to {high[k]:g}. Are times UTC and prices right?"
    )
    return [Notice("fills_off_market", "warning", text)]


def _legs(table: FillTable, signed: Floats, terms: AccountTerms) -> list[Notice]:
    """Check what is held against: in hedge mode every trade names its leg, and no leg or spot holding is oversold."""
    frame = table.frame
    if terms.hedge:
        nameless = frame.filter(pl.col("position_side").is_null())
        if nameless.height:
            raise DataError(
                table.name,
                f"row {nameless[ROW][0]} has no position_side",
                hint='Hedge mode needs long or short in every row; else set account.position_mode = "one_way".',
            )
    both = False
    for symbol in frame["symbol"].unique(maintain_order=True).to_list():
        own = (frame["symbol"] == symbol).to_numpy()
        is_spot = terms.instruments[symbol].kind is ContractKind.SPOT
        held = [_held(frame, signed, own, leg) for leg in (1, -1)]
        both |= bool(((held[0] > _DUST) & (held[1] < -_DUST)).any())
        if terms.hedge:
            for leg, size in zip((1, -1), held, strict=True):
                _refuse_oversold(table, size * leg, symbol, "long leg" if leg > 0 else "short leg")
        elif is_spot:
            _refuse_oversold(table, np.cumsum(np.where(own, signed, 0.0)), symbol, "holding")
    if not both or terms.hedge:
        return []
    text = (
        f"{table.name} holds long and short legs of one contract at a time, which are netted here: "
        "--set account.position_mode=hedge keeps them apart."
    )
    return [Notice("fills_legs_netted", "warning", text)]


def _held(frame: pl.DataFrame, signed: Floats, own: NDArray[np.bool_], leg: int) -> Floats:
    """Return what a leg of a contract holds after each trade; trades that name no leg belong to none."""
    return np.cumsum(np.where(own & (_leg_codes(frame) == leg), signed, 0.0))


def _refuse_oversold(table: FillTable, held: Floats, symbol: str, what: str) -> None:
    """Refuse trades that close more than was opened: the file begins in the middle of a position."""
    dust = _DUST * max(1.0, float(np.abs(held).max()))
    wrong = np.flatnonzero(held < -dust)
    if wrong.size:
        raise DataError(
            table.name,
            f"row {table.frame[ROW][int(wrong[0])]} closes {-held[wrong[0]]:g} more of the {what} of {symbol} than the "
            "file has opened",
            hint="Begin the file with the trade that opened the position.",
        )


def _fees(table: FillTable, settle: str) -> tuple[Floats, list[Notice]]:
    """Return stated fees, NaN where none is stated or where it is in another currency."""
    frame = table.frame
    foreign = (frame["fee_currency"].str.to_uppercase() != settle.upper()).fill_null(value=False)
    fee = frame["fee"].set(foreign, None)
    values = fee.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)
    count = int((foreign & frame["fee"].is_not_null()).sum())
    if not count:
        return values, []
    currencies = ", ".join(sorted(set(frame["fee_currency"].filter(foreign).to_list())))
    text = f"Fees in {currencies}, not {settle}, of {trades(count)}: the contract's rate is charged instead."
    return values, [Notice("fills_fee_currency", "warning", text)]


def _signed(frame: pl.DataFrame) -> Floats:
    """Return quantities, negative for sales."""
    sign = pl.when(pl.col("side") == "buy").then(1.0).otherwise(-1.0)
    return frame.select(pl.col("quantity") * sign)["quantity"].to_numpy().astype(np.float64)


def _leg_codes(frame: pl.DataFrame) -> NDArray[np.int64]:
    """Return +1 for the long leg, -1 for the short one, 0 where none is named."""
    codes = frame["position_side"].replace_strict({"long": 1, "short": -1}, default=0, return_dtype=pl.Int64)
    return codes.to_numpy().astype(np.int64)


def _places(frame: pl.DataFrame, symbols: Sequence[str]) -> NDArray[np.int64]:
    """Return the place of each trade's contract in the run."""
    order = {symbol: place for place, symbol in enumerate(symbols)}
    return frame["symbol"].replace_strict(order, return_dtype=pl.Int64).to_numpy().astype(np.int64)


def _bars(frame: pl.DataFrame, panel: Panel) -> NDArray[np.int64]:
    """Return the bar in which each trade falls."""
    return (np.searchsorted(panel.open_time, _ms(frame), side="right") - 1).astype(np.int64)


def _ms(frame: pl.DataFrame) -> NDArray[np.int64]:
    """Return the times of trades [ms since 1970]."""
    return frame["time"].dt.epoch("ms").to_numpy().astype(np.int64)

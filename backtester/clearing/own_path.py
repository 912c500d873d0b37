"""A replayed run as the guest of a cleared market: its trades, what else moved its wallet, and its market."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backtester.clearing.guest import Guest
from backtester.clearing.market import ClearingMarket, FundingSchedule, market_from_panel
from backtester.domain.enums import ContractKind, FillReason, LedgerKind, LiquidationKind
from backtester.domain.margin_tiers import table_in_force
from backtester.market.panel import Bars, Panel

if TYPE_CHECKING:
    from backtester.engine.assembly import Inputs, Replayed

# Entries of the ledger that neither a trade at its price nor the cleared market brings about by itself.
_CASH = (LedgerKind.TRADING_FEE, LedgerKind.LIQUIDATION_FEE, LedgerKind.INSURANCE_CLEARANCE, LedgerKind.TRANSFER)


def contract_rows(inputs: Inputs) -> list[int]:
    """Return the rows of a run's panel that are contracts: spot is not cleared."""
    terms = inputs.resolved.instruments
    return [k for k, name in enumerate(inputs.resolved.rows) if terms[name].kind is not ContractKind.SPOT]


def own_market(inputs: Inputs, settlements: NDArray[np.void], slots: NDArray[np.int64]) -> ClearingMarket:
    """Return the market of a run: its bars, its contracts and their margin tables, the funding that it pays.

    Parameters
    ----------
    inputs : Inputs
        The run.
    settlements : structured array
        Of the replay's schedule.
    slots : array of int64, shape (N, 2)
        Slots of each contract, as the replay's setup has them.

    Raises
    ------
    DataError
        The mark is known on coarser bars alone, the bars have a gap, or a contract is not listed all the time.
    """
    rows = contract_rows(inputs)
    resolved, panel = inputs.resolved, inputs.panel
    names = [resolved.rows[k] for k in rows]
    start = int(panel.open_time[0])
    market = market_from_panel(
        _rows_of(panel, rows),
        [resolved.instruments[name] for name in names],
        [table_in_force(resolved.tiers[name], start) for name in names],
    )
    funding = tuple(
        _funding(settlements[settlements["symbol"] == slots[k, 0]], market.signs[n]) for n, k in enumerate(rows)
    )
    return replace(market, funding=funding)


def _funding(rows: NDArray[np.void], sign: float) -> FundingSchedule:
    """Return what a contract's settlements pay, at prices."""
    value = np.asarray(rows["value"], np.float64)
    return FundingSchedule(np.array(rows["time"]), np.array(rows["rate"]), value if sign > 0 else -1.0 / value)


def _rows_of(panel: Panel, rows: Sequence[int]) -> Panel:
    """Return a panel of some of its rows."""

    def some(bars: Bars) -> Bars:
        return Bars(*(getattr(bars, name)[rows] for name in ("open", "high", "low", "close")))

    return replace(
        panel,
        symbols=tuple(panel.symbols[k] for k in rows),
        trade=some(panel.trade),
        mark=some(panel.mark),
        volume=None if panel.volume is None else panel.volume[rows],
        index=None,
        settlements=tuple(panel.settlements[k] for k in rows),
    )


def own_guest(run: Replayed) -> Guest:
    """Return a replayed run as a guest: what it traded and paid itself, without what the venue did to it."""
    import polars as pl  # noqa: PLC0415 - heavy

    rows = contract_rows(run)
    opens, symbols = run.panel.open_time, run.panel.symbols
    fills, ledger = run.records.fills, run.records.ledger
    price = _booked_prices(run)
    traded = (fills["reason"] != FillReason.AUTO_DELEVERAGE) & np.isin(fills["symbol"], rows)
    moved = np.isin(ledger["kind"], _CASH) & ((ledger["symbol"] < 0) | np.isin(ledger["symbol"], rows))
    parts = [
        pl.DataFrame(
            {
                "time": opens[fills["bar"][traded]],
                "symbol": [symbols[k] for k in fills["symbol"][traded]],
                "quantity_change": (fills["quantity"] * fills["side"])[traded].astype(np.float64),
                "price": price[traded],
                "cash_change": np.zeros(int(traded.sum())),
            }
        ),
        pl.DataFrame(
            {
                "time": opens[ledger["bar"][moved]],
                "symbol": [symbols[rows[0]]] * int(moved.sum()),
                "quantity_change": np.zeros(int(moved.sum())),
                "price": np.ones(int(moved.sum())),
                "cash_change": np.array(ledger["amount"][moved], np.float64),
            }
        ),
    ]
    config = run.resolved.config
    path = pl.concat([part.with_columns(pl.col("symbol").cast(pl.String)) for part in parts])
    return Guest(config.account.balance, path, config.account.leverage)


def _booked_prices(run: Replayed) -> NDArray[np.float64]:
    """Return the price at which each fill changed the account: its own, or the trigger mark of a takeover."""
    fills, stories = run.records.fills, run.records.liquidations
    prices = fills["price"].astype(np.float64)
    if run.resolved.config.liquidation.takeover == "bankruptcy":
        taken = stories[stories["kind"] == LiquidationKind.TAKEOVER]
        prices[fills["reason"] == FillReason.LIQUIDATION] = taken["trigger_price"]
    return prices

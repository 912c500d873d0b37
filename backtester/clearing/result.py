"""What a clearing replay returns: frames of events and paths, and a summary."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backtester.clearing.rules import ClearingRules

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class ClearingResult:
    """A finished clearing replay. Amounts are in the settlement currency, prices in the quote, times UTC.

    Attributes
    ----------
    rules : ClearingRules
        By which it was cleared.
    symbols : tuple of str
        Contracts.
    settle : str
        Settlement currency.
    fund : polars.DataFrame
        One row a bar and fund: ``open_time, fund, balance`` (as booked)``, pending, unrealized`` (of the engine's
        inventory)``, worth`` (their sum)``, peak`` (of the worth, within the trigger's hours)``, drawdown, surplus,
        deficit, fees, funding, shared`` (flows of the bar)``, deleveraging`` (the trigger holds).
    liquidations : polars.DataFrame
        ``open_time, symbol, account, label, leverage, kind`` (``step`` or ``takeover``)``, quantity`` (signed, as
        held)``, mark_price, bankruptcy_price, margin_balance, requirement, liquidation_fee, deficit`` (paid by the
        fund at once)``, tier``.
    deleveragings : polars.DataFrame
        ``open_time, symbol, account, label, guest, rank, light, quantity`` (signed, closed)``, fraction`` (of what was
        held)``, price, mark_price, profit_lost`` (against the mark; negative: gained)``,
        at_open`` (before the trades and the path of its bar).
    clawbacks : polars.DataFrame
        ``open_time, account, label, guest, profit, rate, paid``.
    accounts : polars.DataFrame
        One row an account: ``account, label, guest, isolated, leverage, start_equity, equity, wallet_balance,
        position_notional, liquidated, deleveraged, profit_lost, clawed_back, survived`` (never taken over).
    bars : polars.DataFrame
        One row a bar and contract: ``open_time, symbol, mark_price`` (close, displaced)``, liquidations,
        liquidated_notional, deleveraged_notional, sold_notional, inventory`` (signed)``, price_shift,
        open_interest, outside_quantity``.
    lights : polars.DataFrame
        ``open_time, symbol, light`` of the guest's position, 1 first in the queue to 5 last; without a guest empty.
    guest : polars.DataFrame
        What the clearing did to the guest: ``open_time, symbol, kind`` (``auto_deleverage`` or
        ``socialized_loss``)``, quantity`` (signed as held)``, price, mark_price, amount,
        at_open, light``.
    summary : dict
        Figures by snake_case key.
    notes : tuple of str
        What was assumed.
    """

    rules: ClearingRules
    symbols: tuple[str, ...]
    settle: str
    fund: pl.DataFrame
    liquidations: pl.DataFrame
    deleveragings: pl.DataFrame
    clawbacks: pl.DataFrame
    accounts: pl.DataFrame
    bars: pl.DataFrame
    lights: pl.DataFrame
    guest: pl.DataFrame
    summary: dict[str, float | int | str | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

"""The identities of the accounting, checked after every run from records and marks alone.

1. The wallet balance is the initial balance plus the ledger, at every bar.
2. Equity is the wallet balance plus unrealised profit, and its change is the sum of price profit, fees, funding,
   clearance, clawbacks and transfers. Price profit is computed here a second time, from quantities and moves of the
   mark: neither entry prices nor realised profit enter it.
3. What is held at each bar's close is the sum of the fills, leg by leg in hedge mode; a quantity held from the start
   enters without a fill, by a transfer of its worth, which then stands for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import FillReason, LedgerKind, LiquidationKind, PositionSide
from backtester.errors import InternalError, format_time

TOLERANCE = 1e-9

Floats = NDArray[np.float64]
Records = NDArray[Any]

# Kinds of ledger entries that no other record repeats; the price of a deleveraging's fill holds what it lost.
_LEDGER_ONLY = (
    LedgerKind.INSURANCE_CLEARANCE,
    LedgerKind.SOCIALIZED_LOSS,
    LedgerKind.TRANSFER,
)
_NET = (PositionSide.FLAT,)
_LEGS = (PositionSide.LONG, PositionSide.SHORT)


@dataclass(frozen=True, eq=False)
class Books:
    """What the check reads.

    Attributes
    ----------
    initial_balance : float
        Wallet balance before the first bar [settlement currency].
    takeover_at_mark : bool
        Takeovers are booked at the mark of their trigger (``"bankruptcy"``), not at the engine's fill.
    symbols : sequence of str
        Names, for messages.
    inverse : sequence of bool
        Whether a contract is inverse.
    close_time : ndarray of int64, shape (bars,)
        Ends of the bars [ms since 1970, UTC].
    mark_value : ndarray of float64, shape (symbols, bars)
        Mark closes at which positions are valued, in value space; NaN where a symbol has none.
    equity, wallet : ndarray of float64, shape (bars,)
        As recorded.
    hedged : sequence of bool
        Whether a symbol has a long and a short leg; empty: none has.
    holding : sequence of float
        Quantity of each symbol held from the start [base units]; empty: none.
    fills, funding, liquidations, ledger, positions : ndarray
        Records of the replay.
    """

    initial_balance: float
    takeover_at_mark: bool
    symbols: Sequence[str]
    inverse: Sequence[bool]
    close_time: NDArray[np.int64]
    mark_value: Floats
    equity: Floats
    wallet: Floats
    fills: Records
    funding: Records
    liquidations: Records
    ledger: Records
    positions: Records
    hedged: Sequence[bool] = ()
    holding: Sequence[float] = ()


class _Changes(NamedTuple):
    """What changed a position: bar, signed quantity and value of each change."""

    bar: NDArray[np.int64]
    quantity: Floats
    value: Floats


def check_identities(books: Books) -> dict[str, float]:
    """Check both identities at every bar.

    Returns
    -------
    dict of str to float
        Largest deviation of each, as a fraction of the larger of the initial balance and the largest equity so far.

    Raises
    ------
    InternalError
        One does not hold to 1e-9.
    """
    unrealized = np.zeros_like(books.equity)
    price_profit = np.zeros_like(books.equity)
    booked = _booked_prices(books)
    for i in range(len(books.symbols)):
        mark = _last_known(books.mark_value[i])
        for side in _LEGS if len(books.hedged) and books.hedged[i] else _NET:
            quantity, entry = _held(books, i, side)
            held = quantity != 0
            unrealized[held] += quantity[held] * (mark[held] - entry[held])
            changes = _changes(books, i, side, booked)
            _refuse_other_sum(books, i, quantity, changes)
            price_profit += _price_profit(quantity, mark, changes)
    found = {
        "ledger": (books.wallet, _ledger_balance(books)),
        "equity": (books.equity, books.wallet + unrealized),
        "attribution": (books.equity, books.initial_balance + np.cumsum(price_profit + _other_flows(books))),
    }
    scale = np.fmax(books.initial_balance, np.fmax.accumulate(np.abs(books.equity)))
    return {name: _deviation(name, left, right, scale, books) for name, (left, right) in found.items()}


def _deviation(name: str, recorded: Floats, expected: Floats, scale: Floats, books: Books) -> float:
    """Return the largest relative deviation; raise where it is too large or not a number."""
    if recorded.size == 0:
        return 0.0
    deviation = np.abs(recorded - expected) / scale
    bad = np.flatnonzero(~(deviation <= TOLERANCE))
    if bad.size:
        t = int(bad[0])
        raise InternalError(
            f"The accounting identity {name!r} fails at {format_time(int(books.close_time[t]))}: "
            f"recorded {float(recorded[t])!r}, expected {float(expected[t])!r}.",
            "This is a bug of this package: please report it with the configuration of the run.",
        )
    return float(deviation.max())


def _ledger_balance(books: Books) -> Floats:
    """Return the wallet balance that the ledger gives at each bar."""
    return books.initial_balance + np.cumsum(_per_bar(books, books.ledger, books.ledger["amount"]))


def _other_flows(books: Books) -> Floats:
    """Return all that changes equity beside price, bar by bar, from the records of each kind."""
    ledger_only = books.ledger[np.isin(books.ledger["kind"], _LEDGER_ONLY)]
    flows: Floats = (
        _per_bar(books, books.funding, books.funding["funding_payment"])
        - _per_bar(books, books.fills, books.fills["fee_paid"])
        - _per_bar(books, books.liquidations, books.liquidations["liquidation_fee"])
        + _per_bar(books, ledger_only, ledger_only["amount"])
    )
    return flows


def _price_profit(quantity: Floats, mark: Floats, changes: _Changes) -> Floats:
    """Return a leg's price profit by bar: what was held times the mark's move, and changes up to the close."""
    profit = np.zeros_like(mark)
    held = np.flatnonzero(quantity[:-1]) + 1
    profit[held] = quantity[held - 1] * (mark[held] - mark[held - 1])
    weights = changes.quantity * (mark[changes.bar] - changes.value)
    sums: Floats = profit + np.bincount(changes.bar, weights=weights, minlength=mark.size)
    return sums


def _refuse_other_sum(books: Books, i: int, quantity: Floats, changes: _Changes) -> None:
    """Refuse a leg that is not, at each bar's close, the sum of what changed it."""
    total = np.cumsum(np.bincount(changes.bar, weights=changes.quantity, minlength=quantity.size))
    if total.size and np.abs(total - quantity).max() > TOLERANCE * max(1.0, float(np.abs(quantity).max())):
        t = int(np.abs(total - quantity).argmax())
        raise InternalError(
            f"{books.symbols[i]}: the positions are not the sum of the fills at "
            f"{format_time(int(books.close_time[t]))}: held {float(quantity[t])!r}, filled {float(total[t])!r}.",
            "This is a bug: report it.",
        )


def _changes(books: Books, i: int, side: int, booked: Floats) -> _Changes:
    """Return what changed a leg: fills, and what was held from the start."""
    mine = books.fills["symbol"] == i
    if side != PositionSide.FLAT:
        mine &= books.fills["position_side"] == side
    fills = books.fills[mine]
    found = _Changes(
        fills["bar"].astype(np.int64),
        (fills["quantity"] * fills["side"]).astype(np.float64),
        _value(booked[mine], inverse=books.inverse[i]),
    )
    entered = _entered(books, i)
    if entered is None or side == PositionSide.SHORT:
        return found
    return _Changes(*(np.append(known, new) for known, new in zip(found, entered, strict=True)))


def _entered(books: Books, i: int) -> tuple[int, float, float] | None:
    """Return bar, quantity and value at which a symbol's holding from the start entered, None where there is none."""
    rows = books.ledger[(books.ledger["symbol"] == i) & (books.ledger["kind"] == LedgerKind.TRANSFER)]
    quantity = float(books.holding[i]) if len(books.holding) else 0.0
    if not rows.size:
        return None
    if rows.size > 1 or quantity == 0.0:
        raise InternalError(f"{books.symbols[i]}: a transfer enters nothing that is held.", "This is a bug: report it.")
    return int(rows["bar"][0]), quantity, float(rows["amount"][0]) / quantity


def _booked_prices(books: Books) -> Floats:
    """Return the price at which each fill changed the account: its own, or the trigger mark of a takeover."""
    prices = books.fills["price"].astype(np.float64)
    if not books.takeover_at_mark:
        return prices
    taken = books.fills["reason"] == FillReason.LIQUIDATION
    stories = books.liquidations[books.liquidations["kind"] == LiquidationKind.TAKEOVER]
    if int(taken.sum()) != len(stories):
        raise InternalError("A takeover has no fill, or a fill no takeover.", "This is a bug: report it.")
    prices[taken] = stories["trigger_price"]
    return prices


def _held(books: Books, i: int, side: int) -> tuple[Floats, Floats]:
    """Return a leg's quantity and entry value at each bar's close, from its position records."""
    mine = books.positions["symbol"] == i
    if side != PositionSide.FLAT:
        mine &= books.positions["position_side"] == side
    rows = books.positions[mine]
    place = np.searchsorted(rows["bar"], np.arange(books.equity.size), side="right")
    quantity = np.concatenate(([0.0], rows["position_quantity"]))[place]
    entry = np.concatenate(([np.nan], _value(rows["entry_price"].astype(np.float64), inverse=books.inverse[i])))[place]
    return quantity, entry


def _per_bar(books: Books, records: Records, amounts: Floats) -> Floats:
    """Return sums of amounts by bar."""
    sums: Floats = np.bincount(records["bar"], weights=amounts, minlength=books.equity.size).astype(np.float64)
    return sums


def _last_known(prices: Floats) -> Floats:
    """Return prices with each NaN replaced by the last price before it."""
    known = np.where(np.isnan(prices), -1, np.arange(prices.size))
    place = np.maximum.accumulate(known)
    return np.where(place >= 0, prices[place], np.nan)


def _value(prices: Floats, *, inverse: bool) -> Floats:
    """Return prices in value space."""
    return -1.0 / prices if inverse else prices

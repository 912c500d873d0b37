"""The identities hold on books worked out by hand and fail when a figure is wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from backtester.domain import records
from backtester.domain.enums import FillReason, LedgerKind, LiquidationKind, PositionSide, Side
from backtester.engine.identities import Books, check_identities
from backtester.errors import InternalError

HOUR = 3_600_000


def rows(dtype: np.dtype, *given: dict[str, float]) -> np.ndarray:
    out = np.zeros(len(given), dtype)
    for place, row in enumerate(given):
        for name, value in row.items():
            out[place][name] = value
    return out


def long_and_out(**changes: object) -> Books:
    """Buy 2 at 100 (fee 0.1), receive funding 0.5, sell 2 at 103 (fee 0.1); balance 1000, marks 101, 104, 102."""
    books = Books(
        initial_balance=1000.0,
        takeover_at_mark=True,
        symbols=("A/USDT:USDT",),
        inverse=(False,),
        close_time=np.array([1, 2, 3]) * HOUR,
        mark_value=np.array([[101.0, 104.0, 102.0]]),
        equity=np.array([1001.9, 1008.4, 1006.3]),
        wallet=np.array([999.9, 1000.4, 1006.3]),
        fills=rows(
            records.FILL,
            {
                "bar": 0,
                "side": Side.BUY,
                "quantity": 2,
                "price": 100,
                "fee_paid": 0.1,
                "position_side": PositionSide.LONG,
            },
            {"bar": 2, "side": Side.SELL, "quantity": 2, "price": 103, "fee_paid": 0.1, "realized_pnl": 6.0},
        ),
        funding=rows(records.FUNDING, {"bar": 1, "funding_payment": 0.5}),
        liquidations=rows(records.LIQUIDATION),
        ledger=rows(
            records.LEDGER,
            {"bar": 0, "kind": LedgerKind.TRADING_FEE, "amount": -0.1},
            {"bar": 1, "kind": LedgerKind.FUNDING, "amount": 0.5},
            {"bar": 2, "kind": LedgerKind.REALIZED_PNL, "amount": 6.0},
            {"bar": 2, "kind": LedgerKind.TRADING_FEE, "amount": -0.1},
        ),
        positions=rows(
            records.POSITION,
            {"bar": 0, "position_quantity": 2, "entry_price": 100},
            {"bar": 2, "position_quantity": 0, "entry_price": np.nan},
        ),
    )
    return dataclasses.replace(books, **changes)


def test_hand_worked_books_hold() -> None:
    assert max(check_identities(long_and_out()).values()) < 1e-12


def test_inverse_books_hold() -> None:
    # 1000 contracts of one dollar bought at 100, marked at 80 and at 125, value of one contract -1/p.
    equity = np.array([10.0 + 1000 * (1 / 100 - 1 / 80), 10.0 + 1000 * (1 / 100 - 1 / 125)])
    books = long_and_out(
        inverse=(True,),
        initial_balance=10.0,
        close_time=np.array([1, 2]) * HOUR,
        mark_value=-1 / np.array([[80.0, 125.0]]),
        equity=equity,
        wallet=np.array([10.0, 10.0]),
        fills=rows(records.FILL, {"bar": 0, "side": Side.BUY, "quantity": 1000, "price": 100}),
        funding=rows(records.FUNDING),
        ledger=rows(records.LEDGER),
        positions=rows(records.POSITION, {"bar": 0, "position_quantity": 1000, "entry_price": 100}),
    )
    assert max(check_identities(books).values()) < 1e-12


def test_takeover_at_bankruptcy_is_booked_at_its_trigger() -> None:
    # 1 bought at 100 with 10 of margin in a wallet of 10; taken over at the mark 91, sold by the engine at 85.
    books = long_and_out(
        initial_balance=10.0,
        close_time=np.array([1, 2]) * HOUR,
        mark_value=np.array([[100.0, 88.0]]),
        equity=np.array([10.0, 0.0]),
        wallet=np.array([10.0, 0.0]),
        fills=rows(
            records.FILL,
            {"bar": 0, "side": Side.BUY, "quantity": 1, "price": 100},
            {"bar": 1, "side": Side.SELL, "quantity": 1, "price": 85, "reason": FillReason.LIQUIDATION, "order_id": -1},
        ),
        funding=rows(records.FUNDING),
        liquidations=rows(
            records.LIQUIDATION,
            {"bar": 1, "kind": LiquidationKind.TAKEOVER, "trigger_price": 91, "execution_price": 85, "margin_lost": 10},
        ),
        ledger=rows(
            records.LEDGER,
            {"bar": 1, "kind": LedgerKind.REALIZED_PNL, "amount": -9.0},
            {"bar": 1, "kind": LedgerKind.INSURANCE_CLEARANCE, "amount": -1.0},
        ),
        positions=rows(
            records.POSITION,
            {"bar": 0, "position_quantity": 1, "entry_price": 100},
            {"bar": 1, "position_quantity": 0, "entry_price": np.nan},
        ),
    )
    assert max(check_identities(books).values()) < 1e-12
    with pytest.raises(InternalError, match="attribution"):
        check_identities(dataclasses.replace(books, takeover_at_mark=False))
    with pytest.raises(InternalError, match="takeover"):
        check_identities(dataclasses.replace(books, liquidations=rows(records.LIQUIDATION)))


def test_a_wrong_figure_is_found() -> None:
    good = long_and_out()
    wallet = good.wallet.copy()
    wallet[1] += 1e-3
    with pytest.raises(InternalError, match="'ledger' fails at 1970-01-01 02:00 UTC"):
        check_identities(dataclasses.replace(good, wallet=wallet))
    equity = good.equity.copy()
    equity[2] = np.nan
    with pytest.raises(InternalError, match="'equity'"):
        check_identities(dataclasses.replace(good, equity=equity))
    fills = good.fills.copy()
    fills["price"][0] = 99.0
    with pytest.raises(InternalError, match="'attribution'"):
        check_identities(dataclasses.replace(good, fills=fills))
    fills = good.fills.copy()
    fills["quantity"][1] = 1.0
    with pytest.raises(InternalError, match="sum of the fills"):
        check_identities(dataclasses.replace(good, fills=fills))


def test_marks_before_the_first_bar_do_not_matter() -> None:
    good = long_and_out()
    books = dataclasses.replace(
        good,
        symbols=("A/USDT:USDT", "B/USDT:USDT"),
        inverse=(False, False),
        mark_value=np.vstack([good.mark_value, [[np.nan, np.nan, 5.0]]]),
    )
    assert max(check_identities(books).values()) < 1e-12


def hedged(**changes: object) -> Books:
    """Long 2 at 100 and short 3 at 110 side by side; the short closed at 105; marks 110, 105, 103; balance 1000."""
    # bar 0: 2 * (110 - 100) + -3 * (110 - 110) = 20; bar 1: 2 * 5 + 3 * 5 realised = 10 + 15; bar 2: 2 * 3 + 15.
    books = long_and_out(
        hedged=(True,),
        mark_value=np.array([[110.0, 105.0, 103.0]]),
        equity=np.array([1020.0, 1025.0, 1021.0]),
        wallet=np.array([1000.0, 1015.0, 1015.0]),
        fills=rows(
            records.FILL,
            {"bar": 0, "side": Side.BUY, "quantity": 2, "price": 100, "position_side": PositionSide.LONG},
            {"bar": 0, "side": Side.SELL, "quantity": 3, "price": 110, "position_side": PositionSide.SHORT},
            {"bar": 1, "side": Side.BUY, "quantity": 3, "price": 105, "position_side": PositionSide.SHORT},
        ),
        funding=rows(records.FUNDING),
        ledger=rows(records.LEDGER, {"bar": 1, "kind": LedgerKind.REALIZED_PNL, "amount": 15.0}),
        positions=rows(
            records.POSITION,
            {"bar": 0, "position_side": PositionSide.LONG, "position_quantity": 2, "entry_price": 100},
            {"bar": 0, "position_side": PositionSide.SHORT, "position_quantity": -3, "entry_price": 110},
            {"bar": 1, "position_side": PositionSide.SHORT, "position_quantity": 0, "entry_price": np.nan},
        ),
    )
    return dataclasses.replace(books, **changes)


def test_legs_are_checked_one_by_one() -> None:
    good = hedged()
    assert max(check_identities(good).values()) < 1e-12
    positions = good.positions.copy()
    positions["position_side"][2] = PositionSide.LONG
    with pytest.raises(InternalError, match=r"the fills at 1970-01-01 02:00 UTC: held 0\.0, filled 2\.0"):
        check_identities(dataclasses.replace(good, positions=positions))


def test_deposits_and_withdrawals_are_part_of_both_identities() -> None:
    good = long_and_out()
    transfers = rows(
        records.LEDGER,
        {"bar": 1, "symbol": -1, "kind": LedgerKind.TRANSFER, "amount": 500.0},
        {"bar": 2, "symbol": -1, "kind": LedgerKind.TRANSFER, "amount": -200.0},
    )
    moved = dataclasses.replace(
        good,
        ledger=np.concatenate([good.ledger, transfers]),
        equity=good.equity + np.array([0.0, 500.0, 300.0]),
        wallet=good.wallet + np.array([0.0, 500.0, 300.0]),
    )
    assert max(check_identities(moved).values()) < 1e-12
    with pytest.raises(InternalError, match="'ledger' fails at 1970-01-01 02:00 UTC"):
        check_identities(dataclasses.replace(moved, ledger=good.ledger))


def collateral(**changes: object) -> Books:
    """Two coins held from the start at 100, marks 90 and 80; one sold at 80 less a haircut of 10 % before the close."""
    # bar 0: 1000 + 2 * 100 put in, 2 * (90 - 100) unrealised; bar 1: 72 - 100 = -28 realised, 1 * (80 - 100) unrealised
    books = long_and_out(
        close_time=np.array([1, 2]) * HOUR,
        mark_value=np.array([[90.0, 80.0]]),
        equity=np.array([1180.0, 1152.0]),
        wallet=np.array([1200.0, 1172.0]),
        fills=rows(
            records.FILL,
            {
                "bar": 1,
                "side": Side.SELL,
                "quantity": 1,
                "price": 72,
                "reason": FillReason.COLLATERAL,
                "order_id": -1,
                "realized_pnl": -28.0,
                "position_side": PositionSide.LONG,
            },
        ),
        funding=rows(records.FUNDING),
        ledger=rows(
            records.LEDGER,
            {"bar": 0, "symbol": 0, "kind": LedgerKind.TRANSFER, "amount": 200.0},
            {"bar": 1, "symbol": 0, "kind": LedgerKind.REALIZED_PNL, "amount": -28.0},
        ),
        positions=rows(
            records.POSITION,
            {"bar": 0, "position_quantity": 2, "entry_price": 100},
            {"bar": 1, "position_quantity": 1, "entry_price": 100},
        ),
        holding=(2.0,),
    )
    return dataclasses.replace(books, **changes)


def test_what_is_held_from_the_start_enters_by_a_transfer() -> None:
    good = collateral()
    assert max(check_identities(good).values()) < 1e-12
    with pytest.raises(InternalError, match="enters nothing that is held"):
        check_identities(dataclasses.replace(good, holding=()))
    with pytest.raises(InternalError, match="not the sum of the fills"):
        check_identities(dataclasses.replace(good, holding=(3.0,)))
    with pytest.raises(InternalError, match="not the sum of the fills"):
        check_identities(dataclasses.replace(good, ledger=good.ledger[1:]))


def test_a_delisting_is_a_fill_like_any() -> None:
    """1 bought at 100, settled at the mark close 95 without a fee in the second bar; no marks after it."""
    books = long_and_out(
        mark_value=np.array([[98.0, 95.0, np.nan]]),
        equity=np.array([998.0, 995.0, 995.0]),
        wallet=np.array([1000.0, 995.0, 995.0]),
        fills=rows(
            records.FILL,
            {"bar": 0, "side": Side.BUY, "quantity": 1, "price": 100},
            {"bar": 1, "side": Side.SELL, "quantity": 1, "price": 95, "reason": FillReason.DELISTING},
        ),
        funding=rows(records.FUNDING),
        ledger=rows(records.LEDGER, {"bar": 1, "kind": LedgerKind.REALIZED_PNL, "amount": -5.0}),
        positions=rows(
            records.POSITION,
            {"bar": 0, "position_quantity": 1, "entry_price": 100},
            {"bar": 1, "position_quantity": 0, "entry_price": np.nan},
        ),
    )
    assert max(check_identities(books).values()) < 1e-12

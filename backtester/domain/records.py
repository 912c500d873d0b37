"""Structured dtypes of what a replay records, one row an event.

Times are ms since 1970 (UTC). ``symbol`` is the instrument's place in the run. Money is in the settlement currency,
prices are prices again (mapped back from value space), quantities are in base units (quote units for inverse
contracts).
"""

from __future__ import annotations

import numpy as np

FILL = np.dtype(
    [
        ("time", np.int64),
        ("bar", np.int64),
        ("order_id", np.int64),  # -1: the liquidation engine
        ("symbol", np.int64),
        ("position_side", np.int64),  # PositionSide of the position that the fill opens or reduces
        ("side", np.int64),  # Side
        ("quantity", np.float64),  # > 0
        ("price", np.float64),
        ("notional", np.float64),  # >= 0
        ("fee_paid", np.float64),  # trading fee; 0 for engine fills
        ("realized_pnl", np.float64),  # price profit alone
        ("slippage_paid", np.float64),  # >= 0 against the reference price
        ("liquidity", np.int64),  # Liquidity
        ("reason", np.int64),  # FillReason
    ]
)

FUNDING = np.dtype(
    [
        ("time", np.int64),
        ("bar", np.int64),
        ("symbol", np.int64),
        ("funding_rate", np.float64),
        ("mark_price", np.float64),
        ("position_quantity", np.float64),  # signed
        ("funding_payment", np.float64),  # signed, to us: positive is received
    ]
)

LIQUIDATION = np.dtype(
    [
        ("time", np.int64),
        ("bar", np.int64),
        ("symbol", np.int64),
        ("position_side", np.int64),
        ("kind", np.int64),  # LiquidationKind
        ("quantity", np.float64),  # > 0, closed by the engine
        ("entry_price", np.float64),
        ("trigger_price", np.float64),  # mark at the trigger
        ("bankruptcy_price", np.float64),  # NaN where no positive price makes the balance zero
        ("execution_price", np.float64),
        ("margin_balance", np.float64),  # balance that the test saw (position's, or the account's under cross)
        ("requirement", np.float64),  # requirement that the test saw, close fee included
        ("tier", np.int64),  # 0 is the first
        ("margin_lost", np.float64),  # what the account lost by this row: -(realised + fee + clearance)
        ("liquidation_fee", np.float64),  # >= 0
        ("insurance_flow", np.float64),  # to the fund, fee included; negative when the fund pays
        ("disputed", np.int64),  # 1: only the worst joint path finds it
    ]
)

LEDGER = np.dtype(
    [
        ("time", np.int64),
        ("bar", np.int64),
        ("symbol", np.int64),  # -1: the whole account
        ("kind", np.int64),  # LedgerKind
        ("amount", np.float64),  # signed, to us
        ("wallet_balance", np.float64),  # after the entry
    ]
)

POSITION = np.dtype(
    [
        ("time", np.int64),
        ("bar", np.int64),
        ("symbol", np.int64),
        ("position_side", np.int64),  # leg in hedge mode, else PositionSide.FLAT
        ("position_quantity", np.float64),  # signed, after the change
        ("entry_price", np.float64),  # NaN when flat
        ("margin", np.float64),  # isolated margin, or the initial margin at mark under cross
        ("liquidation_price", np.float64),  # NaN when flat or when no positive price liquidates
    ]
)

ORDER = np.dtype(
    [
        ("order_id", np.int64),
        ("symbol", np.int64),
        ("position_side", np.int64),  # leg in hedge mode, else PositionSide.FLAT
        ("kind", np.int64),  # OrderKind
        ("origin", np.int64),  # FillReason that its fills have
        ("request", np.int64),  # number that on_bar knows it by, -1
        ("decision_time", np.int64),
        ("due_time", np.int64),
        ("end_time", np.int64),  # when it filled, was dropped, … ; -1 while pending
        ("target", np.float64),  # NaN for orders that no target asked for
        ("wanted_quantity", np.float64),  # signed; the difference to what was held for a target; NaN before sizing
        ("filled_quantity", np.float64),  # signed
        ("limit_price", np.float64),  # NaN: none; the last one after amendments, as is the trigger
        ("trigger_price", np.float64),
        ("status", np.int64),  # OrderStatus
        ("reason", np.int64),  # RejectReason
        ("bars_waited", np.int64),  # bars without volume that it waited through
    ]
)

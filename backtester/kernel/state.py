"""What an account is while it is replayed: one structured row a thing, so that compiled functions take few arguments.

Prices are in value space throughout (see ``value``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NO_TIER_BOUND = 1 << 30

INSTRUMENT = np.dtype(
    [
        ("sign", np.float64),  # +1 linear, -1 inverse
        ("contract_size", np.float64),
        ("step_num", np.float64),  # quantity step = step_num / step_den; 0: none
        ("step_den", np.float64),
        ("min_quantity", np.float64),  # contracts
        ("min_notional", np.float64),  # settlement currency
        ("leverage", np.float64),
        ("taker_fee", np.float64),
        ("slippage", np.float64),  # fraction of price
        ("close_fee", np.float64),  # in the liquidation test
        ("margin_mode", np.int64),  # MarginMode
        ("has_volume", np.int64),
    ]
)

TIER = np.dtype(
    [
        ("rate", np.float64),
        ("slope", np.float64),  # rise of the rate per contract (ramps)
        ("deduction", np.float64),
        ("max_leverage", np.float64),
        ("cap", np.float64),
    ]
)

TABLE = np.dtype([("start", np.int64), ("stop", np.int64), ("unit", np.int64)])  # tiers[start:stop]; TierUnit

RULES = np.dtype(
    [
        ("band", np.float64),
        (
            "debt",
            np.float64,
        ),  # a free wallet below this is a debt; a hair below 0, where rounding ends; orders worth less are none
        ("liquidation_fee", np.float64),
        ("fill_at_close", np.int64),
        ("intrabar", np.int64),
        ("joint", np.int64),
        ("rebalance", np.int64),
        ("reject", np.int64),
        ("paid_from", np.int64),
        ("takeover", np.int64),
        ("step", np.int64),
        ("step_tiers", np.int64),
        ("step_from_tier", np.int64),  # 0 is the first
        ("step_above_first", np.int64),
        ("step_once", np.int64),
        ("engine_trade", np.int64),
        ("mmr_basis", np.int64),
        ("close_fee_basis", np.int64),
        ("stop_after", np.int64),
        ("rows_per_bar", np.int64),  # journal rows of one kind that one bar can need at most
    ]
)

POSITION = np.dtype(
    [
        ("quantity", np.float64),
        ("entry_value", np.float64),
        ("margin", np.float64),  # isolated margin
        ("table", np.int64),
        ("tier", np.int64),  # bracket at the point under test
        ("tier_bound", np.int64),  # after a step, until the bar ends
        ("stepped", np.int64),  # a step was tried in this bar
        ("touched", np.int64),  # changed since the journal's last row
        ("quantity_before", np.float64),  # after the orders at the coarse mark bar's open
        ("blocked", np.int64),  # "band" waits for another target after a takeover
        ("in_force", np.float64),  # last target decided
        # the order that is due or waits
        ("pending", np.int64),
        ("target", np.float64),
        ("order", np.int64),  # row of the journal, -1 before it is written
        ("decision_time", np.int64),
        ("due_time", np.int64),
        ("increase", np.float64),  # part that opens or adds, signed
        ("share", np.float64),  # of the equity that a cross takeover hands over
        # the leg of the path under test
        ("low_first", np.int64),
        ("up", np.int64),  # the traded bar closed at or above its open
        ("walked", np.int64),  # takes part in this walk
        ("value_from", np.float64),
        ("value_to", np.float64),
        ("trade_from", np.float64),
        ("trade_to", np.float64),
        ("value_now", np.float64),
        ("trade_now", np.float64),
    ]
)

ACCOUNT = np.dtype(
    [
        ("free_wallet", np.float64),
        # stamp of the records that are being written
        ("time", np.int64),
        ("bar", np.int64),
        ("cross_count", np.int64),
        ("isolated_count", np.int64),
        ("pending_count", np.int64),
        ("walk_cross", np.int64),  # the cross account takes part in this walk
        # rows written to the journal
        ("fills", np.int64),
        ("funding", np.int64),
        ("liquidations", np.int64),
        ("ledger", np.int64),
        ("positions", np.int64),
        ("orders", np.int64),
        # places in the inputs
        ("due_row", np.int64),
        ("decision_row", np.int64),
        ("settlement", np.int64),
        ("switch", np.int64),
        # facts
        ("coarse_bar", np.int64),  # coarse mark bar whose opening quantities are known
        ("stopped_bar", np.int64),  # bar of the takeover that ended trading, -1
        ("takeovers", np.int64),
        ("disputed_bars", np.int64),
        ("coarse_unchecked", np.int64),
        ("bars_waited", np.int64),
    ]
)

SETTLEMENT = np.dtype(
    [
        ("bar", np.int64),
        ("inside", np.int64),  # 0: at the bar's open
        ("time", np.int64),
        ("symbol", np.int64),
        ("rate", np.float64),
        ("value", np.float64),  # price of the record in value space; NaN: the bar's
    ]
)

TARGET = np.dtype(
    [
        ("decision_bar", np.int64),
        ("due_bar", np.int64),  # number of bars: never due
        ("symbol", np.int64),
        ("target", np.float64),
        ("acts", np.int64),  # whether it becomes an order; decided in the replay for "band"
    ]
)

SWITCH = np.dtype([("bar", np.int64), ("symbol", np.int64), ("table", np.int64)])


class Setup(NamedTuple):
    """What does not change in a run."""

    rules: NDArray[np.void]  # RULES, shape (1,)
    instruments: NDArray[np.void]  # INSTRUMENT, shape (N,)
    tables: NDArray[np.void]  # TABLE
    tiers: NDArray[np.void]  # TIER
    floors: NDArray[np.float64]  # lower bounds of the tiers


class Market(NamedTuple):
    """Prices in value space, shape (N, T), a row per instrument; NaN before its first bar.

    ``path_*`` is what liquidation sees: the mark itself, or the clamped mark where the mark series is coarser than the
    traded one. Then ``coarse_*`` (N, Tm) is the mark bar's own path, ``coarse_bar`` says in which mark bar a bar lies
    and ``coarse_ends`` which bars complete one; otherwise these are empty.
    """

    open_time: NDArray[np.int64]  # (T + 1,), the end of the last bar included
    trade_open: NDArray[np.float64]
    trade_high: NDArray[np.float64]
    trade_low: NDArray[np.float64]
    trade_close: NDArray[np.float64]
    volume: NDArray[np.float64]  # (N, T), or (N, 0)
    mark_open: NDArray[np.float64]
    mark_close: NDArray[np.float64]
    path_open: NDArray[np.float64]
    path_high: NDArray[np.float64]
    path_low: NDArray[np.float64]
    path_close: NDArray[np.float64]
    coarse_bar: NDArray[np.int64]  # (T,) or (0,)
    coarse_ends: NDArray[np.int64]  # (T,) or (0,)
    coarse_open: NDArray[np.float64]
    coarse_high: NDArray[np.float64]
    coarse_low: NDArray[np.float64]
    coarse_close: NDArray[np.float64]
    coarse_up: NDArray[np.int64]  # (N, Tm): 1 where the traded bar of that span closed at or above its open


class Schedule(NamedTuple):
    """What happens when: sorted by bar."""

    targets: NDArray[np.void]  # TARGET
    settlements: NDArray[np.void]  # SETTLEMENT
    switches: NDArray[np.void]  # SWITCH


class Book(NamedTuple):
    """The account as it stands."""

    account: NDArray[np.void]  # ACCOUNT, shape (1,)
    positions: NDArray[np.void]  # POSITION, shape (N,)
    cross: NDArray[np.int64]  # held cross positions, the first cross_count
    isolated: NDArray[np.int64]  # held isolated positions, the first isolated_count
    single: NDArray[np.int64]  # (1,), a group of one


class Journal(NamedTuple):
    """What happened: the record types of the domain, filled from the front; counts stand in the account."""

    fills: NDArray[np.void]
    funding: NDArray[np.void]
    liquidations: NDArray[np.void]
    ledger: NDArray[np.void]
    positions: NDArray[np.void]
    orders: NDArray[np.void]


class Columns(NamedTuple):
    """What holds at each bar's close, shape (T,).

    With one instrument all but the first three are empty: they follow from the position's steps.
    """

    equity: NDArray[np.float64]
    wallet: NDArray[np.float64]
    requirement: NDArray[np.float64]  # of the liquidation test, close fee included
    maintenance: NDArray[np.float64]  # as displayed
    margin_ratio: NDArray[np.float64]
    gross: NDArray[np.float64]  # sum of notionals
    net: NDArray[np.float64]  # signed
    cross_equity: NDArray[np.float64]
    cross_requirement: NDArray[np.float64]
    scratch: NDArray[np.float64]  # (BLOCK,), as are the two above
    scratch_two: NDArray[np.float64]


BLOCK = 512  # bars that are marked in one go: a few columns of them stay in the first-level cache

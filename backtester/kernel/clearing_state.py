"""What a whole market is while it is cleared: accounts, their positions, the engine, the funds, the outside market.

Prices are in value space (see ``value``), quantities signed. Rows are structured, so that compiled functions take few
arguments and what belongs to one position stands side by side in memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# kinds of positions
ALONE = 0  # its own group: isolated, or the only one of a cross account
JOINT = 1  # one of several of a cross account
GUEST = 2  # of the guest, whom nothing here liquidates

# totals
CASH = 0  # sum over accounts of free wallet, isolated margins and minus Q * v_entry
MOVED_IN = 1  # transfers so far, the guest's cash changes
START = 2  # what everything together was before the first bar
SCALE = 3  # sum of the wallets at the start
SUMMED = 4  # largest difference between a full sum and the running one since the last bar, as a fraction
DISTANCE = 5  # how far the marks have come, as a sum of fractions: see clearing_joint
TOTALS = 6

# counters
LIQUIDATIONS = 0
DELEVERAGINGS = 1
CLAWBACKS = 2
PINNED = 3
JOINT_NEAR = 4  # joint accounts that are looked at on the present leg
GUEST_NEXT = 5
CHECKED = 6  # positions whose limit the thorough checks looked at
LAST_CHECK = 7  # bar of the last thorough check
LEG_BENT = 8  # 1: the engine has moved a price since the joint accounts were looked at
COUNTERS = 9

# outcome
CLOSED = 0
MONEY_LOST = 1
SIZES_APART = 2
BELOW_LIMIT = 3
ENDLESS = 4

# amounts below this part of all wallets are rounding, not a lack of the fund
DUST = 1e-12

# deleveraging price and ranking, as rules name them
AT_BANKRUPTCY = 0
AT_MARK = 1
AT_PREVIOUS_MARK = 2
RANK_ROI = 0
RANK_BINANCE = 1
RANK_BITMEX = 2
RANK_HYPERLIQUID = 3

CONTRACT = np.dtype(
    [
        ("sign", np.float64),  # +1 linear, -1 inverse
        ("contract_size", np.float64),
        ("step_num", np.float64),  # quantity step = step_num / step_den; 0: none
        ("step_den", np.float64),
        ("close_fee", np.float64),  # in the liquidation test
        ("fund", np.int64),
        ("tier_start", np.int64),  # place of its table in the table of all tiers
        ("tier_stop", np.int64),
        ("by_notional", np.int64),  # 0: contracts choose the bracket
        ("low_factor", np.float64),  # most that one unit of funding raises a low key
        ("high_factor", np.float64),  # most that one unit of funding received lowers a high key
        ("largest_slope", np.float64),  # of the requirement, in notional
        ("jumps", np.int64),  # the requirement is not continuous where a bracket ends
    ]
)
TIER = np.dtype([("floor", np.float64), ("rate", np.float64), ("slope", np.float64), ("deduction", np.float64)])
RULES = np.dtype(
    [
        ("at_market", np.int64),  # takeover: 1 market, 0 bankruptcy
        ("step", np.int64),
        ("step_tiers", np.int64),
        ("step_from_tier", np.int64),
        ("step_above_first", np.int64),
        ("step_once", np.int64),
        ("liquidation_fee", np.float64),
        ("mmr_basis", np.int64),
        ("paid_from", np.int64),  # what isolated positions pay funding from
        ("close_fee_basis", np.int64),
        ("deleverages", np.int64),
        ("shares_losses", np.int64),
        ("on_exhaustion", np.int64),
        ("drawdown", np.float64),  # fraction below the peak; inf: no such trigger
        ("drawdown_ms", np.int64),
        ("ranking", np.int64),
        ("price", np.int64),
        ("bankruptcy_band", np.float64),  # farther than this from the mark, the mark is taken; inf: never
        ("sharing_ms", np.int64),  # settlement period of shared losses
        ("sharing_offset_ms", np.int64),
        ("booking_ms", np.int64),  # 0: at once
        ("booking_offset_ms", np.int64),
        ("volume_share", np.float64),
        ("impact", np.float64),  # move of the traded price, as a fraction, when a bar's whole volume is traded
        ("mark_share", np.float64),  # part of that move that the mark follows
        ("fading", np.float64),  # factor of the displacement from one bar to the next
    ]
)
POSITION = np.dtype(
    [
        ("quantity", np.float64),
        ("entry", np.float64),
        ("margin", np.float64),
        ("account", np.int32),
        ("contract", np.int32),
        ("tier", np.int32),
        ("kind", np.int16),
        (
            "pinned",
            np.int16,
        ),  # stepped down in this bar: one more than the highest bracket that binds until it ends; 0: no
    ]
)
ACCOUNT = np.dtype(
    [
        ("wallet", np.float64),  # free of isolated margins
        ("leverage", np.float64),
        ("basis", np.float64),  # equity at the start of the settlement period
        ("paid_in", np.float64),  # transfers in the settlement period
        ("first", np.int32),  # its positions: first .. stop
        ("stop", np.int32),
        ("isolated", np.int32),
        ("joint", np.int32),  # place among the accounts with several cross positions, -1: none
    ]
)
STATE = np.dtype(  # one row a contract
    [
        ("engine_quantity", np.float64),
        ("engine_entry", np.float64),
        ("outside_quantity", np.float64),
        ("outside_cash", np.float64),  # minus what its quantity cost, less funding
        ("account_quantity", np.float64),
        ("long_quantity", np.float64),
        ("largest_interest", np.float64),  # of all bars so far
        ("shift", np.float64),  # displacement of the traded price by the engine, as a fraction
        ("mark", np.float64),  # now, displaced
        ("trade", np.float64),  # now, not displaced
        ("mark_from", np.float64),  # ends of the present leg, not displaced
        ("mark_to", np.float64),
        ("trade_from", np.float64),
        ("trade_to", np.float64),
        ("previous_mark", np.float64),
        ("volume", np.float64),
        ("budget", np.float64),
        ("low_creep", np.float64),  # what funding can have raised the low keys by
        ("high_creep", np.float64),
        ("joint_mark", np.float64),  # up to which the distance is counted
        ("flow", np.float64),  # of the settlement that is due, per unit of quantity
        ("counted", np.float64),  # quantity of all accounts, summed in full
        ("liquidated", np.float64),  # of this bar
        ("deleveraged", np.float64),
        ("sold", np.float64),
        ("liquidations", np.int64),
    ]
)
FUND = np.dtype(
    [
        ("balance", np.float64),  # as booked
        ("pending", np.float64),  # not booked yet
        ("start", np.float64),
        ("active", np.int64),  # the deleveraging trigger holds
        ("surplus", np.float64),  # of this bar, and so on
        ("deficit", np.float64),
        ("fees", np.float64),
        ("funding", np.float64),
        ("shared", np.float64),
        ("queue_head", np.int64),
        ("queue_tail", np.int64),
    ]
)
BAR = np.dtype(
    [
        ("liquidated_notional", np.float64),
        ("deleveraged_notional", np.float64),
        ("sold_notional", np.float64),
        ("inventory", np.float64),
        ("price_shift", np.float64),
        ("mark", np.float64),
        ("open_interest", np.float64),
        ("outside_quantity", np.float64),
        ("liquidations", np.int64),
    ]
)
FUND_BAR = np.dtype(
    [
        ("balance", np.float64),
        ("pending", np.float64),
        ("unrealized", np.float64),
        ("peak", np.float64),
        ("surplus", np.float64),
        ("deficit", np.float64),
        ("fees", np.float64),
        ("funding", np.float64),
        ("shared", np.float64),
        ("deleveraging", np.int64),
    ]
)
LIQUIDATION = np.dtype(
    [
        ("bar", np.int64),
        ("contract", np.int64),
        ("account", np.int64),
        ("kind", np.int64),
        ("quantity", np.float64),
        ("mark", np.float64),
        ("bankruptcy", np.float64),
        ("balance", np.float64),
        ("requirement", np.float64),
        ("fee", np.float64),
        ("deficit", np.float64),
        ("tier", np.int64),
    ]
)
DELEVERAGING = np.dtype(
    [
        ("bar", np.int64),
        ("contract", np.int64),
        ("account", np.int64),
        ("rank", np.int64),
        ("light", np.int64),
        ("quantity", np.float64),
        ("held", np.float64),
        ("price", np.float64),
        ("mark", np.float64),
        ("profit_lost", np.float64),
        ("at_open", np.int64),  # before the guest's trades and the path of the bar
    ]
)
CLAWBACK = np.dtype(
    [("bar", np.int64), ("account", np.int64), ("profit", np.float64), ("rate", np.float64), ("paid", np.float64)]
)
GUEST_EVENT = np.dtype(
    [
        ("bar", np.int64),
        ("contract", np.int64),
        ("quantity", np.float64),
        ("value", np.float64),
        ("cash", np.float64),
    ]
)
SETTLEMENT = np.dtype(
    [
        ("bar", np.int64),
        ("contract", np.int64),
        ("inside", np.int64),  # 0: at the bar's open
        ("rate", np.float64),
        ("value", np.float64),  # price of the record; NaN: the mark
    ]
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Rows = NDArray[Any]


class World(NamedTuple):
    """What stays as it is: contracts, their brackets, the venue's rules, and the market."""

    contracts: Rows
    tiers: Rows
    rules: Rows
    open_time: NDArray[np.int64]
    bar_ms: int
    mark: Floats  # shape (4, contracts, bars): open, high, low, close
    trade: Floats
    volume: Floats
    settlements: Rows  # by bar, those at the open first
    guest: Rows  # by bar


class Books(NamedTuple):
    """Who holds what, and the watch over it."""

    positions: Rows
    accounts: Rows
    state: Rows
    funds: Rows
    totals: Floats
    counters: NDArray[np.int64]
    low_key: Floats  # by position
    high_key: Floats
    low_heap: Ints
    high_heap: Ints
    low_place: Ints
    high_place: Ints
    heap_start: NDArray[np.int64]  # by contract, one more than there are
    pinned: Ints
    score: Floats
    order: Ints
    joint_accounts: Ints
    joint_key: Floats  # minus the distance up to which nothing can happen to it; -inf: it is among the near ones
    joint_heap: Ints
    joint_place: Ints
    joint_near: Ints
    joint_at: Floats  # fraction of the present leg at which a near one is liquidated; negative: not known
    peak_queue: NDArray[np.int64]  # shape (funds, bars)


class Journal(NamedTuple):
    """What happened."""

    bars: Rows  # shape (contracts, bars)
    funds: Rows  # shape (funds, bars)
    liquidations: Rows
    deleveragings: Rows
    clawbacks: Rows
    lights: NDArray[np.int8]  # shape (contracts, bars); 0: no position, or not looked at
    error: Floats  # by bar: what the books miss, as a fraction

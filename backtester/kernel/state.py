"""What an account is while it is replayed: one structured row a thing, so that compiled functions take few arguments.

A *slot* holds one position: a contract, or in hedge mode one leg of it (long first), or a spot instrument; slots are
numbered in configured order. Prices are in value space throughout (see ``value``), but for requests, which speak in
prices.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NO_TIER_BOUND = 1 << 30
RUNGS = 4  # take-profits that a slot can have
NONE = -1  # no order, no bar, no slot
# rows of a book's marks: what is asked of every slot at every visited bar stands side by side in memory
WAKE = 0  # bar up to which no resting order of the slot can do anything; past the end: there is none
EXIT_BAR = 1  # time exit; past the end: none
TOUCHED = 2  # changed since the journal's last row
REFRESH = 3  # what attached orders must follow since they were looked at: 1 size, 2 settings, 3 an increase
PENDING = 4  # the target order that is due or waits
MARKS = 5

INSTRUMENT = np.dtype(  # one row a slot
    [
        ("row", np.int64),  # of the market's series; the contract's number in records
        ("leg", np.int64),  # +1 or -1 in hedge mode, else 0
        ("only_side", np.int64),  # sign that the position can have; 0: either
        ("sibling", np.int64),  # slot of the other leg, or NONE
        ("is_spot", np.int64),
        ("weight", np.float64),  # part of a spot holding's worth that is collateral; 0: none
        ("holding", np.float64),  # spot held from the first open on
        ("sign", np.float64),  # +1 linear, -1 inverse
        ("contract_size", np.float64),
        ("step_num", np.float64),  # quantity step = step_num / step_den; 0: none
        ("step_den", np.float64),
        ("min_quantity", np.float64),  # contracts
        ("min_notional", np.float64),  # settlement currency
        ("leverage", np.float64),  # at the start
        ("tick_num", np.float64),  # price tick = tick_num / tick_den; 0: none
        ("tick_den", np.float64),
        ("taker_fee", np.float64),
        ("maker_fee", np.float64),
        ("slippage", np.float64),  # fraction of price: the part that is always there
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
        ("rows_per_bar", np.int64),  # journal rows of one kind that one bar can need at most, resting orders left out
        ("sizing", np.int64),  # SizingUnit
        ("hedge_gross", np.int64),  # both legs' size chooses a leg's bracket
        ("signal_ms", np.int64),
        ("limit_bars", np.int64),
        ("post_only", np.int64),
        ("through_ticks", np.float64),
        ("volume_share", np.float64),  # infinite: no bound
        ("trigger", np.int64),  # TriggerPrice of attached orders
        ("take_profit_limit", np.int64),
        ("stop_limit", np.float64),  # fraction beyond the trigger; negative: the stop fills at the market
        ("gross_limit", np.float64),  # multiples of equity; infinite: none
        ("net_limit", np.float64),
        ("symbol_limit", np.float64),
        ("has_limits", np.int64),
        ("drawdown_stop", np.float64),  # fraction; 0: none
        ("slippage_model", np.int64),
        ("half_spread", np.float64),  # fraction
        ("volatility_factor", np.float64),
        ("impact_factor", np.float64),
        ("cost_window", np.int64),
        ("has_loop", np.int64),  # the compiled on_bar function is called
        ("has_holdings", np.int64),
    ]
)

FEE_TIER = np.dtype([("volume", np.float64), ("taker", np.float64), ("maker", np.float64)])

POSITION = np.dtype(
    [
        ("row", np.int64),  # as the instrument's
        ("weight", np.float64),
        ("quantity", np.float64),
        ("entry_value", np.float64),
        ("margin", np.float64),  # isolated margin
        ("leverage", np.float64),  # setting: of later openings, and of the initial margin under cross
        ("held_leverage", np.float64),  # of the last increase
        ("table", np.int64),
        ("tier", np.int64),  # bracket at the point under test
        ("tier_bound", np.int64),  # after a step, until the bar ends
        ("stepped", np.int64),  # a step was tried in this bar
        ("quantity_before", np.float64),  # after the orders at the coarse mark bar's open
        ("blocked", np.int64),  # "band" waits for another target after a takeover
        ("in_force", np.float64),  # last target decided
        # the order that is due or waits
        ("target", np.float64),
        ("order", np.int64),  # row of the journal, -1 before it is written
        ("decision_time", np.int64),
        ("due_time", np.int64),
        ("increase", np.float64),  # part that opens or adds, signed
        ("share", np.float64),  # of the equity that a cross takeover hands over
        ("first_rung", np.int64),  # limit orders of the target
        ("rungs", np.int64),
        ("origin", np.int64),  # FillReason of the order
        # what stands beside the target
        ("inactive", np.int64),
        ("hold_ms", np.int64),  # 0: none
        ("cooldown_ms", np.int64),
        ("stop_loss", np.float64),  # fraction of the entry price; 0: none
        ("stop_value", np.float64),  # level in value space; 0: none
        ("trailing", np.float64),
        ("base", np.float64),  # size at the last increase
        ("opened", np.int64),  # open time of the bar in which it was opened
        ("closed", np.int64),  # of the bar in which it was closed last; negative: never
        ("has_exits", np.int64),  # a stop, target, trailing stop or time exit was ever set
        ("exit_order", np.int64),  # resting stop, or NONE
        ("trail_order", np.int64),
        # resting orders
        ("first_order", np.int64),  # of the slot's chain, or NONE
        ("orders", np.int64),  # resting
        ("volume_bar", np.int64),  # bar whose volume limit orders have used
        ("volume_used", np.float64),
        # costs of the bar for the engine's fills: a fraction, and what the root of the size in base units multiplies
        ("engine_slippage", np.float64),
        ("engine_impact", np.float64),
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
        ("index_from", np.float64),
        ("index_to", np.float64),
        ("index_now", np.float64),
    ]
)

RUNG = np.dtype(  # a take-profit of a slot: row slot * RUNGS + rung
    [
        ("fraction", np.float64),  # of the entry price; 0: none
        ("value", np.float64),  # level in value space; 0: none
        ("share", np.float64),  # of the base
        ("order", np.int64),  # resting, or NONE
        ("taken", np.float64),  # units that it has closed since the last increase
        ("is_done", np.int64),  # it has closed its share since the last increase
    ]
)

LINE = np.dtype(  # what a position's balance and requirement are as lines in its value, while it stays in a bracket
    [
        ("is_stale", np.int64),
        ("row", np.int64),
        ("sign", np.float64),
        ("quantity", np.float64),
        ("entry", np.float64),
        ("constant", np.float64),  # requirement = constant + slope * |v|, for |v| in [low, high)
        ("slope", np.float64),
        ("low", np.float64),
        ("high", np.float64),
        ("fee_constant", np.float64),  # the part of it that is the fee to close
        ("fee_slope", np.float64),
    ]
)

RESTING = np.dtype(  # an order that waits for its price
    [
        ("slot", np.int64),  # NONE: the row is free
        ("next", np.int64),  # in the slot's chain, or the next free row
        ("number", np.int64),  # row of the journal
        ("rank", np.int64),  # orders in the table by the time at which they came there
        ("request", np.int64),
        ("kind", np.int64),  # OrderKind; a triggered stop-limit becomes a limit order
        ("origin", np.int64),  # FillReason
        ("side", np.float64),
        ("left", np.float64),  # units to fill; attached orders: what they would close
        ("limit", np.float64),  # value, NaN where there is none
        ("touch", np.float64),  # value at which a limit order fills
        ("trigger", np.float64),
        ("watches", np.int64),  # TriggerPrice
        ("distance", np.float64),  # price
        ("fraction", np.float64),
        ("best", np.float64),  # of a trailing stop, up to the bar at which it wakes
        ("scanned", np.int64),  # bar from which the last look ahead began
        ("best_before", np.float64),  # best price at its open
        ("reduce_only", np.int64),
        ("post_only", np.int64),
        ("is_new", np.int64),  # has not met the market yet
        ("used_up", np.int64),  # bar whose volume left nothing more for it
        ("group", np.int64),
        ("expire_bar", np.int64),
        ("rung", np.int64),
        ("wake", np.int64),  # bar up to which it can do nothing
        ("span", np.int64),  # bars that the next look ahead takes
    ]
)

REQUEST = np.dtype(  # what an on_bar function asks for; prices are prices
    [
        ("number", np.int64),
        ("ask", np.int64),  # RequestKind
        ("decision_bar", np.int64),
        ("due_bar", np.int64),
        ("symbol", np.int64),  # contract; NONE: all
        ("side", np.int64),  # leg in hedge mode
        ("kind", np.int64),  # OrderKind
        ("quantity", np.float64),  # signed; NaN keeps, as do limit and trigger
        ("limit", np.float64),
        ("trigger", np.float64),
        ("watches", np.int64),
        ("distance", np.float64),
        ("fraction", np.float64),
        ("reduce_only", np.int64),
        ("post_only", np.int64),
        ("good_for", np.int64),  # signal bars; 0: no end
        ("group", np.int64),
        ("request", np.int64),  # that is amended or cancelled
        ("setting", np.int64),  # SettingField
        ("rung", np.int64),  # take-profit that is set, from 0
        ("value", np.float64),
        ("left", np.float64),  # units still to fill of a submitted order; 0: over
        ("order", np.int64),  # resting, or NONE
    ]
)

ACCOUNT = np.dtype(
    [
        ("free_wallet", np.float64),
        # stamp of the records that are being written
        ("time", np.int64),
        ("bar", np.int64),
        ("bar_open", np.int64),  # open time of the bar under way
        ("begun", np.int64),  # bar whose orders at the open are done, though its path is not walked; NONE
        ("cross_count", np.int64),
        ("isolated_count", np.int64),
        ("spot_count", np.int64),
        ("collateral_count", np.int64),  # held spot that counts: book.cross[cross_count : cross_count + this]
        ("pending_count", np.int64),
        ("resting_count", np.int64),
        ("placed", np.int64),  # orders that ever came to rest
        ("market_count", np.int64),  # market orders of an on_bar function among them
        ("awake", np.int64),  # slots whose orders can fire in the bar under way: book.awake[:awake]
        ("free_order", np.int64),  # first free row of the resting orders
        ("wake", np.int64),  # bar up to which no resting order and no time exit can do anything
        ("touched", np.int64),  # whether any position changed since the journal's last rows
        ("refresh", np.int64),  # whether any slot's attached orders must be looked at
        ("holds", np.int64),  # whether a time exit was ever set
        ("stepped", np.int64),  # whether the engine stepped, or a bracket binds, in this bar
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
        ("setting", np.int64),
        ("transfer", np.int64),
        ("own_fill", np.int64),
        ("delisting", np.int64),
        ("venue_event", np.int64),
        ("call", np.int64),  # next signal bar that ends
        ("request", np.int64),  # next request to be carried out
        ("requested", np.int64),  # requests made
        # facts
        ("coarse_bar", np.int64),  # coarse mark bar whose opening quantities are known
        ("stopped_bar", np.int64),  # bar of the takeover that ended trading, -1
        ("takeovers", np.int64),
        ("disputed_bars", np.int64),
        ("coarse_unchecked", np.int64),
        ("bars_waited", np.int64),
        ("transfers_cut", np.int64),
        ("deleverages_cut", np.int64),
        ("deleverages_idle", np.int64),  # they found nothing to close
        ("clawbacks_cut", np.int64),
        ("first_equity", np.float64),  # before the first bar
        ("period_equity", np.float64),  # after the last clawback
        ("period_row", np.int64),  # first ledger row after it
        ("peak", np.float64),  # of equity at closes, moved by transfers
        ("drawn_down", np.int64),  # the drawdown stop has struck
        # traded notional by UTC day, for the fee tiers
        ("day", np.int64),
        ("fee_tier", np.int64),
        ("views", np.int64),  # 1: positions changed since the on_bar function saw them
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
        ("first_rung", np.int64),  # ladder[first_rung : first_rung + rungs]; 0 rungs: a market order
        ("rungs", np.int64),
    ]
)

LADDER = np.dtype([("value", np.float64), ("share", np.float64)])
SWITCH = np.dtype([("bar", np.int64), ("symbol", np.int64), ("table", np.int64)])
SETTING = np.dtype(
    [
        ("due_bar", np.int64),
        ("symbol", np.int64),
        ("setting", np.int64),  # SettingField
        ("rung", np.int64),
        ("value", np.float64),  # prices in value space, bars in ms
    ]
)
TRANSFER = np.dtype([("bar", np.int64), ("amount", np.float64)])
OWN_FILL = np.dtype(
    [
        ("bar", np.int64),
        ("time", np.int64),
        ("symbol", np.int64),
        ("quantity", np.float64),  # signed
        ("value", np.float64),
        ("fee", np.float64),  # NaN: by the rates
        ("is_maker", np.int64),
    ]
)
DELISTING = np.dtype([("bar", np.int64), ("symbol", np.int64)])
VENUE_EVENT = np.dtype(
    [
        ("bar", np.int64),
        ("at_close", np.int64),  # 0: at the bar's open
        ("kind", np.int64),  # VenueEventKind
        # a deleveraging
        ("symbol", np.int64),
        ("side", np.float64),  # sign that the position must have; 0: either
        ("fraction", np.float64),  # of the position
        ("quantity", np.float64),  # units instead; NaN: by the fraction
        ("value", np.float64),  # price in value space; NaN: the mark
        ("mark", np.float64),  # in value space; NaN: the bar's
        # a clawback
        ("rate", np.float64),  # of the period's net profit
        ("amount", np.float64),  # settlement currency; NaN: by the rate
        ("since", np.int64),  # first bar of the period; negative: since the clawback before
    ]
)


class Setup(NamedTuple):
    """What does not change in a run."""

    rules: NDArray[np.void]  # RULES, shape (1,)
    instruments: NDArray[np.void]  # INSTRUMENT, shape (N,)
    tables: NDArray[np.void]  # TABLE
    tiers: NDArray[np.void]  # TIER
    floors: NDArray[np.float64]  # lower bounds of the tiers
    fee_tiers: NDArray[np.void]  # FEE_TIER, rising; empty: the instruments' rates
    slots: NDArray[np.int64]  # (N, 2): slots of a contract's long (or only) and short leg


class Market(NamedTuple):
    """Prices in value space, shape (N, T), a row per contract; NaN before its first bar and after its last.

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
    index_open: NDArray[np.float64]  # (N, T), or (N, 0)
    index_high: NDArray[np.float64]
    index_low: NDArray[np.float64]
    index_close: NDArray[np.float64]


class Schedule(NamedTuple):
    """What happens when: sorted by bar; ``symbol`` of its rows is a slot."""

    targets: NDArray[np.void]  # TARGET
    settlements: NDArray[np.void]  # SETTLEMENT
    switches: NDArray[np.void]  # SWITCH
    ladder: NDArray[np.void]  # LADDER
    settings: NDArray[np.void]  # SETTING
    transfers: NDArray[np.void]  # TRANSFER
    own_fills: NDArray[np.void]  # OWN_FILL
    delistings: NDArray[np.void]  # DELISTING
    venue_events: NDArray[np.void]  # VENUE_EVENT, by bar, those at the open first
    calls: NDArray[np.int64]  # bar at whose close each signal bar ends
    call_due: NDArray[np.int64]  # bar at which what is asked for there is due


class Book(NamedTuple):
    """The account as it stands."""

    account: NDArray[np.void]  # ACCOUNT, shape (1,)
    positions: NDArray[np.void]  # POSITION, a row per slot
    cross: NDArray[np.int64]  # held cross positions, the first cross_count; then spot that counts as collateral
    isolated: NDArray[np.int64]  # held isolated positions, the first isolated_count
    spot: NDArray[np.int64]  # held spot, the first spot_count
    single: NDArray[np.int64]  # (1,), a group of one
    rungs: NDArray[np.void]  # RUNG, RUNGS rows per slot
    resting: NDArray[np.void]  # RESTING, free rows chained
    requests: NDArray[np.void]  # REQUEST, a ring: request n stands in row n modulo the size
    volumes: NDArray[np.float64]  # (31,), traded notional by UTC day modulo 31
    awake: NDArray[np.int64]  # slots whose orders can fire in the bar under way
    lines: NDArray[np.void]  # LINE, a row per slot
    marks: NDArray[np.int64]  # (MARKS, slots)


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
    scratch: NDArray[np.float64]  # (BLOCK,), as are the two above and those below
    scratch_two: NDArray[np.float64]
    collateral: NDArray[np.float64]


BLOCK = 512  # bars that are marked in one go: a few columns of them stay in the first-level cache

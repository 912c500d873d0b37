"""Codes shared by the kernel, the records and the reports.

``IntEnum`` members work as plain integers inside compiled functions. The text that files and pages show is
``label(member)``: the member's name in lower case.
"""

from __future__ import annotations

from enum import IntEnum


def label(member: IntEnum) -> str:
    """Return the member's name as files and configuration spell it."""
    return member.name.lower()


class Side(IntEnum):
    """Side of a fill."""

    BUY = 1
    SELL = -1


class PositionSide(IntEnum):
    """Direction of a position."""

    LONG = 1
    SHORT = -1
    FLAT = 0


class ContractKind(IntEnum):
    """How price becomes value: ``v(p) = p`` or ``v(p) = -1/p``."""

    LINEAR = 0
    INVERSE = 1
    SPOT = 2  # v(p) = p, paid in full, no funding


class MarginMode(IntEnum):
    """Whether a position stands on the whole account or on a margin of its own."""

    CROSS = 0
    ISOLATED = 1


class TierForm(IntEnum):
    """How a bracket's rate applies to the position."""

    PROGRESSIVE = 0  # each bracket's rate on its own slice: continuous, by deductions
    FLAT = 1  # the bracket's rate on the whole position
    RAMP = 2  # base + slope * size on the whole position


class TierUnit(IntEnum):
    """What chooses the bracket."""

    NOTIONAL = 0
    CONTRACTS = 1


class MarginBasis(IntEnum):
    """Price on which maintenance margin is computed."""

    MARK = 0
    ENTRY = 1


class CloseFeeBasis(IntEnum):
    """Where the fee to close stands in the liquidation test."""

    MARK = 0  # a rate on the notional at mark, beside the maintenance rate
    BANKRUPTCY = 1  # reserved at the bankruptcy price, in initial and maintenance margin


class FundingSource(IntEnum):
    """Where the payments of an isolated position come from."""

    MARGIN = 0
    WALLET_FIRST = 1
    CAPPED = 2  # from margin, cut so that the balance stays at the requirement


class FundingPrice(IntEnum):
    """Price that values a settlement whose record carries none."""

    MARK = 0
    INDEX = 1


class Takeover(IntEnum):
    """Who gets what remains of a liquidated position's margin."""

    BANKRUPTCY = 0  # the fund
    MARKET = 1  # the trader


class LiquidationStep(IntEnum):
    """Partial liquidation before the takeover."""

    NONE = 0
    TIER = 1  # down to a lower bracket
    RESTORE = 2  # the fewest lots after which the balance exceeds the requirement


class EnginePrice(IntEnum):
    """Reference price of the liquidation engine's fills."""

    MARK = 0
    TRADE = 1  # the worse of the mark and the traded path


class AfterLiquidation(IntEnum):
    """Whether a run goes on after a liquidation."""

    CONTINUE = 0
    STOP = 1


class Intrabar(IntEnum):
    """Order in which a bar visits its extremes."""

    ADVERSE = 0
    COLOR = 1
    CLOSE = 2
    FAVORABLE = 3  # first the extreme that helps: to see how much of a result rests on the order


class JointPath(IntEnum):
    """How the marks of several cross positions move together inside a bar."""

    COMMON = 0
    WORST = 1


class FillTime(IntEnum):
    """When a decision fills."""

    NEXT_OPEN = 0
    CLOSE = 1  # optimistic: at the close of the deciding bar


class Rebalance(IntEnum):
    """When a target becomes an order."""

    ON_CHANGE = 0
    EVERY_BAR = 1
    BAND = 2


class InsufficientMargin(IntEnum):
    """What happens to an order that the margin does not carry."""

    CLIP = 0
    REJECT = 1


class OrderKind(IntEnum):
    """How an order fires and fills."""

    MARKET = 0
    LIMIT = 1
    STOP = 2
    STOP_LIMIT = 3
    TAKE_PROFIT = 4
    TAKE_PROFIT_LIMIT = 5
    TRAILING_STOP = 6


class TriggerPrice(IntEnum):
    """Series that a trigger watches."""

    LAST = 0
    MARK = 1
    INDEX = 2


class SizingUnit(IntEnum):
    """What a target means."""

    WEIGHT = 0  # fraction of equity
    NOTIONAL = 1  # settlement currency
    QUANTITY = 2  # base units (quote units for inverse contracts)
    RISK = 3  # loss at the stop, as a fraction of equity


class SlippageModel(IntEnum):
    """What is added to the fixed slippage."""

    FIXED = 0
    HALF_SPREAD = 1
    VOLATILITY = 2
    IMPACT = 3  # square root of the participation in the bar's volume


class RequestKind(IntEnum):
    """What an ``on_bar`` function asks for."""

    SUBMIT = 0
    AMEND = 1
    CANCEL = 2
    CANCEL_ALL = 3  # of one slot, or of all
    CLOSE = 4  # a slot's position, or all
    SET = 5  # a SettingField of a slot


class SettingField(IntEnum):
    """What a strategy's expressions set beside the target; see ``docs/execution.md``."""

    STOP_LOSS = 0
    STOP_PRICE = 1
    TRAILING_STOP = 2
    TAKE_PROFIT = 3
    TAKE_PROFIT_PRICE = 4
    TAKE_PROFIT_SHARE = 5
    HOLD_BARS = 6
    COOLDOWN_BARS = 7
    ACTIVE = 8
    LEVERAGE = 9


class Liquidity(IntEnum):
    """Which fee a fill pays."""

    TAKER = 0
    MAKER = 1


class FillReason(IntEnum):
    """Why a fill happened."""

    TARGET = 0
    LIQUIDATION_STEP = 1
    LIQUIDATION = 2
    ORDER = 3  # submitted by an on_bar function
    STOP_LOSS = 4
    TAKE_PROFIT = 5
    TRAILING_STOP = 6
    TIME_EXIT = 7
    CLOSE = 8  # asked for by an on_bar function
    DRAWDOWN_STOP = 9
    DELISTING = 10
    OWN = 11  # executed elsewhere and given
    COLLATERAL = 12  # sold before a cross liquidation
    AUTO_DELEVERAGE = 13  # closed by the venue, which took it against a liquidated account


class OrderStatus(IntEnum):
    """What became of an order."""

    FILLED = 0
    CLIPPED = 1  # filled, but smaller than wanted
    REJECTED = 2  # the margin does not carry it
    DROPPED = 3  # below the minimum quantity or notional, or rounded to nothing
    SUPERSEDED = 4  # a newer target came before it could fill
    CANCELLED = 5  # by a liquidation, while it waited
    PENDING = 6  # still waiting or resting at the end of the run
    EXPIRED = 7


class RejectReason(IntEnum):
    """Why an order was clipped, rejected, dropped or cancelled."""

    NONE = 0
    MARGIN = 1
    TIER_CAP = 2
    MIN_QUANTITY = 3
    MIN_NOTIONAL = 4
    LOT = 5
    NO_VOLUME = 6
    LIQUIDATION = 7
    DEBT = 8
    STOPPED = 9
    POST_ONLY = 10  # it would have taken liquidity
    REDUCE_ONLY = 11  # nothing to reduce
    LIMIT = 12  # exposure limits of the run
    COOLDOWN = 13
    INACTIVE = 14
    OCO = 15  # another order of its group filled
    POSITION_CLOSED = 16
    REQUESTED = 17  # by the strategy
    DELISTED = 18
    DRAWDOWN = 19
    NO_STOP = 20  # sizing by risk without a stop
    NO_INDEX = 21  # it watches the index, and the run has none


class LedgerKind(IntEnum):
    """Kind of a change of the wallet balance."""

    REALIZED_PNL = 0
    TRADING_FEE = 1
    FUNDING = 2
    LIQUIDATION_FEE = 3
    INSURANCE_CLEARANCE = 4
    AUTO_DELEVERAGE = 5
    SOCIALIZED_LOSS = 6
    TRANSFER = 7


class VenueEventKind(IntEnum):
    """What a venue does to an account that did nothing."""

    DELEVERAGE = 0
    CLAWBACK = 1


class LiquidationKind(IntEnum):
    """What the engine did."""

    STEP = 0
    TAKEOVER = 1

"""What the reader of a run must know: synthetic data, then warnings, then assumptions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from backtester.domain.config import RunConfig
from backtester.domain.enums import FillReason, LedgerKind, LiquidationKind, OrderStatus, label
from backtester.engine.result import Notice, listed
from backtester.errors import format_time
from backtester.market.filled import is_filled_note
from backtester.market.span import is_ended_note

RUINED = 0.01
"""Share of the initial balance below which an account is called ruined."""
LARGE_CUT = 0.05
"""Share of the longest stored span from which on leaving bars out is a warning, not an assumption."""

_DAY_MS = 86_400_000
# Orders are counted among their like: an attached stop must not hide how many targets were refused.
_ASKED = {FillReason.TARGET: "target orders", FillReason.ORDER: "requested orders"}
_ORIGINS = (
    *(([label(reason)], what) for reason, what in _ASKED.items()),
    ([label(reason) for reason in FillReason if reason not in _ASKED], "attached and closing orders"),
)
_GRAVITY = {"error": 0, "warning": 1, "assumption": 2}


def collect_notices(
    config: RunConfig,
    counts: dict[str, int],
    orders: pl.DataFrame,
    equity: pl.DataFrame,
    told: Sequence[Notice],
    *,
    fills: pl.DataFrame,
    ledger: pl.DataFrame,
    synthetic: bool,
) -> tuple[Notice, ...]:
    """Return the notices of a run, the gravest first.

    Parameters
    ----------
    config : RunConfig
        Resolved.
    counts : dict of str to int
        Of the replay.
    orders : polars.DataFrame
        The orders' records.
    equity : polars.DataFrame
        What held at each bar's close.
    told : sequence of Notice
        What loading, resolving and deciding had to say.
    fills, ledger : polars.DataFrame
        Records of the fills and of the wallet.
    synthetic : bool
        Whether the market was made up.
    """
    found: list[Notice] = []
    if synthetic:
        text = "The market data is synthetic: prices and funding were made by a random process; no venue traded them."
        found.append(Notice("synthetic", "warning", text))
    found += _ruin_notices(equity, ledger, config.account.balance)
    found += _replay_notices(config, counts)
    found += _order_notices(orders, counts)
    found += _forced_notices(orders, fills)
    if config.funding.source != "history":
        rate = "is left out" if config.funding.source == "none" else f"is {config.funding.rate:g} at every interval"
        text = f"Funding {rate} (funding.source = {config.funding.source})."
        found.append(Notice("funding_assumed", "assumption", text))
    return tuple(sorted([*found, *told], key=lambda notice: _GRAVITY[notice.severity]))


def data_notices(notes: Sequence[str], span: tuple[int, int], stored: Sequence[tuple[int, int]]) -> list[Notice]:
    """Return what loading had to say; filled rows, and a span of which one series cuts a large part, are warnings.

    Parameters
    ----------
    notes : sequence of str
        Of the panel.
    span : tuple of int
        First open and end of the run [ms].
    stored : sequence of tuple of int
        First open and end of each symbol's traded bars [ms].
    """
    first, last = min(start for start, _ in stored), max(end for _, end in stored)
    # Only a note on a span that was not asked for begins like this, and it names the series that cuts.
    cuts = {"The run starts at": span[0] - first, "The run ends at": last - span[1]}
    found = []
    for note in notes:
        lost = next((lost for beginning, lost in cuts.items() if note.startswith(beginning)), 0)
        if is_filled_note(note):
            found.append(Notice("filled", "warning", note))
        elif is_ended_note(note):
            found.append(Notice("series_ended", "warning", note))
        elif lost > LARGE_CUT * (last - first):
            amount = f"{lost / _DAY_MS:,.0f} days" if lost >= 2 * _DAY_MS else f"{lost / 3_600_000:,.0f} hours"
            text = f"{amount} ({100 * lost / (last - first):.0f} % of the stored span) are lost. {note}"
            found.append(Notice("span_cut", "warning", text))
        else:
            found.append(Notice("data", "assumption", note))
    return found


def _ruin_notices(equity: pl.DataFrame, ledger: pl.DataFrame, balance: float) -> list[Notice]:
    """Tell when the account was first down to dust; what was withdrawn is not lost."""
    taken = ledger.filter((pl.col("kind") == label(LedgerKind.TRANSFER)) & (pl.col("amount") < 0))
    withdrawn = taken.select("time", pl.col("amount").cum_sum().alias("withdrawn"))
    known = equity.select("close_time", "equity").join_asof(withdrawn, left_on="close_time", right_on="time")
    kept = pl.col("equity") - pl.col("withdrawn").fill_null(0.0)
    below = known.filter(kept < RUINED * balance)["close_time"]
    if below.is_empty():
        return []
    when = format_time(int(below.cast(pl.Int64)[0]))
    text = f"Equity fell below {100 * RUINED:g} % of the initial balance on {when}: what follows trades dust."
    return [Notice("ruined", "warning", text)]


def stop_notices(config: RunConfig, liquidations: pl.DataFrame, equity: pl.DataFrame) -> list[Notice]:
    """Tell when a takeover ended trading (``liquidation.then = "stop"``).

    Parameters
    ----------
    config : RunConfig
        Resolved.
    liquidations, equity : polars.DataFrame
        Records of the run.
    """
    taken = liquidations.filter(pl.col("kind") == label(LiquidationKind.TAKEOVER))["time"]
    if config.liquidation.then != "stop" or taken.is_empty():
        return []
    left = equity.filter(pl.col("open_time") > taken[0])
    kept = " Positions that were not taken over are kept." if left["gross_exposure"].fill_null(0).ne(0).any() else ""
    text = (
        f"Trading stopped after the takeover on {format_time(int(taken.cast(pl.Int64)[0]))} (liquidation.then = stop): "
        f"nothing is traded in the remaining {left.height} bars.{kept}"
    )
    return [Notice("stopped", "warning", text)]


def _replay_notices(config: RunConfig, counts: dict[str, int]) -> list[Notice]:
    """Return what the replay and its settings have to say."""
    found = []
    if config.execution.fill == "close":
        text = "Optimistic: decisions fill at the close of the bar that they were made on (execution.fill = close)."
        found.append(Notice("optimistic_fill", "warning", text))
    if config.execution.intrabar == "close":
        text = "Optimistic: extremes inside bars are not tested for liquidation (execution.intrabar = close)."
        found.append(Notice("extremes_untested", "assumption", text))
    if config.execution.intrabar == "favorable":
        text = "Optimistic: each bar visits first the extreme that helps the position (execution.intrabar = favorable)."
        found.append(Notice("favorable_path", "warning", text))
    if counts["takeovers"]:
        found.append(Notice("liquidated", "warning", f"Positions were liquidated: {counts['takeovers']} taken over."))
    if counts["disputed_bars"]:
        text = f"In {counts['disputed_bars']} bars only the worst joint path of the marks would have liquidated."
        found.append(Notice("disputed_bars", "warning", text))
    if counts["coarse_unchecked"]:
        number = counts["coarse_unchecked"]
        text = f"{number} positions changed inside a mark bar and were checked on the traded path alone."
        found.append(Notice("coarse_unchecked", "warning", text))
    if counts.get("transfers_cut"):
        number = counts["transfers_cut"]
        text = f"{number} withdrawals were larger than what was available and were cut."
        found.append(Notice("transfers_cut", "warning", text))
    return found


def _forced_notices(orders: pl.DataFrame, fills: pl.DataFrame) -> list[Notice]:
    """Tell what was closed or sold without a decision: the drawdown stop, collateral, delisted contracts."""
    found = []
    struck = orders.filter(pl.col("origin") == label(FillReason.DRAWDOWN_STOP))["decision_time"].min()
    if isinstance(struck, datetime):
        text = f"The drawdown stop struck at {_moment(struck)}: all was closed, and nothing opened after that."
        found.append(Notice("drawdown_stop", "warning", text))
    sold = fills.filter(pl.col("reason") == label(FillReason.COLLATERAL))
    if sold.height:
        what = listed(sold["symbol"].unique(maintain_order=True).to_list())
        often = "once" if sold.height == 1 else f"{sold.height} times"
        text = f"Collateral was sold before a liquidation, {often}, first at "
        found.append(Notice("collateral_sold", "warning", f"{text}{_moment(sold['time'][0])}: {what}."))
    ended = fills.filter(pl.col("reason") == label(FillReason.DELISTING))
    if ended.height:
        what = listed([f"{symbol} on {_moment(time)}" for symbol, time in ended.select("symbol", "time").iter_rows()])
        text = f"Positions were settled at the mark when their contracts were delisted: {what}."
        found.append(Notice("delisted", "warning", text))
    return found


def _moment(time: datetime) -> str:
    return format_time(round(time.timestamp() * 1000))


def _order_notices(orders: pl.DataFrame, counts: dict[str, int]) -> list[Notice]:
    """Return how many orders were not filled as wanted, and why: each against the orders of its own origin."""
    found = []
    for status in (OrderStatus.CLIPPED, OrderStatus.REJECTED, OrderStatus.DROPPED):
        name = label(status)
        for origins, what in _ORIGINS:
            of = orders.filter(pl.col("origin").is_in(origins))
            reasons = of.filter(pl.col("status") == name)["reason"].value_counts()
            if reasons.height:
                counted = reasons.sort("reason").iter_rows()
                why = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counted)
                text = f"{int(reasons['count'].sum())} of {of.height} {what} were {name} ({why})."
                found.append(Notice(f"orders_{name}", "warning", text))
    if counts["bars_waited"]:
        text = f"Orders waited through {counts['bars_waited']} bars without volume."
        found.append(Notice("orders_waited", "warning", text))
    return found

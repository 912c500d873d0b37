"""What the reader of a run must know: synthetic data, then warnings, then assumptions."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from backtester.domain.config import RunConfig
from backtester.domain.enums import OrderStatus, label
from backtester.engine.result import Notice

_GRAVITY = {"error": 0, "warning": 1, "assumption": 2}


def collect_notices(
    config: RunConfig, counts: dict[str, int], orders: pl.DataFrame, told: Sequence[Notice], *, synthetic: bool
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
    told : sequence of Notice
        What loading, resolving and deciding had to say.
    synthetic : bool
        Whether the market was made up.
    """
    found: list[Notice] = []
    if synthetic:
        text = "The market data is synthetic: prices and funding were made by a random process, no venue traded them."
        found.append(Notice("synthetic", "warning", text))
    found += _replay_notices(config, counts)
    found += _order_notices(orders, counts)
    if config.funding.source != "history":
        rate = "is left out" if config.funding.source == "none" else f"is {config.funding.rate:g} at every interval"
        text = f"Funding {rate} (funding.source = {config.funding.source})."
        found.append(Notice("funding_assumed", "assumption", text))
    return tuple(sorted([*found, *told], key=lambda notice: _GRAVITY[notice.severity]))


def _replay_notices(config: RunConfig, counts: dict[str, int]) -> list[Notice]:
    """Return what the replay and its settings have to say."""
    found = []
    if config.execution.fill == "close":
        text = "Optimistic: decisions fill at the close of the bar that they were made on (execution.fill = close)."
        found.append(Notice("optimistic_fill", "warning", text))
    if counts["takeovers"]:
        found.append(Notice("liquidated", "warning", f"Positions were liquidated: {counts['takeovers']} taken over."))
    if counts["disputed_bars"]:
        text = f"In {counts['disputed_bars']} bars only the worst joint path of the marks would have liquidated."
        found.append(Notice("disputed_bars", "warning", text))
    if counts["coarse_unchecked"]:
        number = counts["coarse_unchecked"]
        text = f"{number} positions changed inside a mark bar and were checked on the traded path alone."
        found.append(Notice("coarse_unchecked", "warning", text))
    return found


def _order_notices(orders: pl.DataFrame, counts: dict[str, int]) -> list[Notice]:
    """Return how many orders were not filled as wanted, and why."""
    found = []
    for status in (OrderStatus.CLIPPED, OrderStatus.REJECTED, OrderStatus.DROPPED):
        name = label(status)
        reasons = orders.filter(pl.col("status") == name)["reason"].value_counts(sort=True)
        if reasons.height:
            why = ", ".join(
                f"{count} {reason.replace('_', ' ')}" for reason, count in reasons.sort("reason").iter_rows()
            )
            total = int(reasons["count"].sum())
            found.append(Notice(f"orders_{name}", "warning", f"{total} of {orders.height} orders were {name} ({why})."))
    if counts["bars_waited"]:
        text = f"Orders waited through {counts['bars_waited']} bars without volume."
        found.append(Notice("orders_waited", "warning", text))
    return found

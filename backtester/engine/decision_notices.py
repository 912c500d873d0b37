"""What must be told of decisions that can have no effect: settings without use, profit targets out of reach."""

from __future__ import annotations

import polars as pl

from backtester.domain.config import RunConfig
from backtester.engine.decision_columns import decision_columns
from backtester.engine.result import Notice

LARGE_GAIN = 10.0
"""Distance of a profit target from which on it is taken for a slip: 10 is 1,000 %."""

# Settings of a run that shape the orders of targets, by section.
_FOR_TARGETS = {
    "sizing": ("unit", "vol_target", "vol_window"),
    "execution": ("rebalance", "band", "limit_bars", "post_only"),
}


def idle_settings(config: RunConfig) -> tuple[Notice, ...]:
    """Return a warning of the settings of a run that have no effect on a strategy that makes its own orders.

    Parameters
    ----------
    config : RunConfig
        Those that differ from their defaults are told.
    """
    idle = []
    for section, names in _FOR_TARGETS.items():
        given = getattr(config, section)
        for name in names:
            value = getattr(given, name)
            if value != type(given).model_fields[name].default:
                idle.append(f"{section}.{name} = {str(value).lower() if isinstance(value, bool) else value}")
    if not idle:
        return ()
    text = f"{', '.join(idle)}: without effect, since they shape the orders of targets and on_bar makes its own."
    return (Notice("settings_idle", "warning", text),)


def unreachable_targets(decided: pl.DataFrame) -> tuple[Notice, ...]:
    """Return a warning of profit targets that no price, or hardly one, can reach.

    Parameters
    ----------
    decided : polars.DataFrame
        ``open_time, symbol`` and the columns that are decided, by symbol and time. A short cannot gain all of its entry
        price: its target must be below 1.
    """
    gains = [column.name for column in decision_columns(decided.columns) if column.base == "take_profit"]
    if not gains:
        return ()
    in_force = pl.max_horizontal(pl.col(name).forward_fill().over("symbol") for name in gains)
    found = decided.select(gain=in_force, is_short=_is_short(decided))
    far = found.filter(pl.col("gain") >= LARGE_GAIN)["gain"]
    if far.len():
        text = f"take_profit is {far[0]:g}, which is {100 * far[0]:,.0f} % of the entry price: 0.05 would be 5 %."
        return (Notice("take_profit_far", "warning", text),)
    short = found.filter(pl.col("is_short") & (pl.col("gain") >= 1.0))["gain"]
    if short.len():
        text = (
            f"take_profit is {short[0]:g} for a short, which never gains {100 * short[0]:,.0f} %: it is never reached."
        )
        return (Notice("take_profit_far", "warning", text),)
    return ()


def _is_short(decided: pl.DataFrame) -> pl.Expr:
    """Return whether a short is wanted, by the targets in force; false where none is decided."""
    targets = [name for name in ("target", "target_short") if name in decided.columns]
    if not targets:
        return pl.lit(value=False)
    return pl.any_horizontal(
        (pl.col(name).forward_fill().over("symbol") < 0).fill_null(value=False) for name in targets
    )

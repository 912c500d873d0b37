"""Decisions and settings that do not go together: refused before the replay, or told."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from backtester.engine.decisions import Decisions
from backtester.engine.resolve import ResolvedRun
from backtester.engine.result import Notice, listed
from backtester.engine.universe import has_universe
from backtester.errors import ConfigError
from backtester.market.panel import Panel
from backtester.market.schema import timeframe_name

_LEGS = ("target_long", "target_short")


def refuse_clashes(resolved: ResolvedRun, decisions: Decisions) -> None:
    """Refuse decisions that the settings of a run cannot carry out; what excludes each other is refused by the replay.

    Parameters
    ----------
    resolved : ResolvedRun
        The run.
    decisions : Decisions
        What is to be traded.

    Raises
    ------
    ConfigError
        Targets of legs in one-way mode; a universe beside signals or a loop; sizing by risk without any stop.
    """
    config = resolved.config
    if config.account.position_mode == "one_way":
        legs = [name for name in _LEGS if name in decisions.targets.columns]
        if legs:
            raise ConfigError(
                f"{decisions.name} decides {' and '.join(legs)}, but a contract holds one position in one-way mode.",
                "Use --position-mode hedge, or decide target.",
            )
    if has_universe(config.universe) and (decisions.loop is not None or decisions.bars is None):
        raise ConfigError(
            f"The section universe bounds the targets of a strategy, and {decisions.name} decides by none.",
            "Leave it out; a file of signals says who may be held in its column universe.",
        )
    if config.sizing.unit == "risk" and decisions.targets.height and not _has_stop(decisions.targets.columns):
        raise ConfigError(
            f"sizing.unit = 'risk' needs a stop, and {decisions.name} decides none.",
            "Decide stop_loss, stop_price or trailing_stop, or size by 'weight'.",
        )


def _has_stop(columns: Iterable[str]) -> bool:
    return bool({"stop_loss", "stop_price", "trailing_stop"}.intersection(columns))


def _without_volume(panel: Panel) -> list[str]:
    """Return the symbols whose volumes are all unknown."""
    if panel.volume is None:
        return list(panel.traded_symbols)
    return [s for s, row in zip(panel.traded_symbols, panel.volume, strict=False) if bool(np.isnan(row).all())]


def setting_notices(resolved: ResolvedRun, panel: Panel) -> list[Notice]:
    """Return what must be told of settings that have no effect, or another than may be thought.

    Parameters
    ----------
    resolved : ResolvedRun
        The run.
    panel : Panel
        Its bars.
    """
    execution = resolved.config.execution
    found = []
    if 0 < execution.latency_ms < panel.timeframe_ms:
        bar = timeframe_name(panel.timeframe_ms)
        text = (
            f"A latency of {execution.latency_ms} ms is shorter than a replayed bar ({bar}): orders wait for the next "
            f"open all the same, a whole bar later than without it. Finer bars (--detail) come nearer to it."
        )
        found.append(Notice("latency_below_bar", "warning", text))
    bare = _without_volume(panel)
    if execution.volume_share is not None and bare:
        text = f"{listed(bare)}: no volumes are known, so execution.volume_share bounds no fill there."
        found.append(Notice("volume_share_unbounded", "warning", text))
    return found

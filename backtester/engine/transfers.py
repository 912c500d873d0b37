"""Deposits and withdrawals of the run file, as the replay takes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtester.domain.config import RunConfig
from backtester.engine.instructions import Transfers
from backtester.engine.result import Notice
from backtester.engine.run_file import parse_time
from backtester.errors import ConfigError, format_time


def transfers_of(config: RunConfig, open_time: NDArray[np.int64]) -> tuple[Transfers, tuple[Notice, ...]]:
    """Return the transfers that fall into a run, by time, and what must be told of the others.

    A transfer counts at the first open at or after its time. Those before the first open and after the last one are
    left out.

    Parameters
    ----------
    config : RunConfig
        With ``transfers``.
    open_time : ndarray of int64
        Opens of the replayed bars [ms since 1970, UTC].

    Raises
    ------
    ConfigError
        A time cannot be read, or an amount is 0.
    """
    times = np.empty(len(config.transfers), np.int64)
    for place, transfer in enumerate(config.transfers):
        times[place] = parse_time(transfer.time, f"transfers[{place}].time")
        if transfer.amount == 0:
            raise ConfigError(
                f"transfers[{place}].amount: 0 moves nothing.", "Give a deposit (> 0) or a withdrawal (< 0)."
            )
    amounts = np.array([transfer.amount for transfer in config.transfers], np.float64)
    inside = (times >= open_time[0]) & (times <= open_time[-1])
    order = np.argsort(times[inside], kind="stable")
    kept = Transfers(times[inside][order], amounts[inside][order])
    left = np.flatnonzero(~inside)
    if not len(left):
        return kept, ()
    first = int(times[left].min())
    text = (
        f"{len(left)} of {len(times)} transfers lie outside the run's opens ({format_time(int(open_time[0]))} to "
        f"{format_time(int(open_time[-1]))}) and are not made, the first at {format_time(first)}."
    )
    return kept, (Notice("transfers_outside", "warning", text),)

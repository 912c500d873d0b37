"""phasor-trader: signals on a margin account, sized as a fraction of equity, filled at the next open."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import phasor
from protocol import Answer, Request, answer, changes, request, timed

EXPOSURE = 0.5
SETS_AT_A_TIME = 25
CONVENTION = "signals for +-50 % of equity at the next open, on a margin account"


def averages_of(asked: Request) -> dict[int, np.ndarray]:
    """Return the moving averages of all lengths, from its own expressions."""
    lengths = sorted({*asked.fast, *asked.slow})
    named = {f"a{length}": f"Mean($close, {length})" for length in lengths}
    found = phasor.factors({"close": asked.close}, **named)
    return {length: np.asarray(found[f"a{length}"]).reshape(-1) for length in lengths}


def signals(asked: Request, averages: dict[int, np.ndarray], sets: range) -> tuple[np.ndarray, np.ndarray]:
    """Return entries and exits, one column a set."""
    up = np.zeros((asked.close.size, len(sets)), bool, order="F")
    down = np.zeros_like(up)
    for column, k in enumerate(sets):
        up[:, column], down[:, column] = changes(averages[asked.fast[k]], averages[asked.slow[k]], asked.slow[k] - 1)
    return up, down


def simulate(asked: Request, up: np.ndarray, down: np.ndarray) -> list[float]:
    """Return the final equity of each column."""
    portfolio = phasor.from_signals(
        asked.close,
        up,
        down,
        open=asked.open,
        init_cash=asked.cash,
        fees=asked.fee,
        size=EXPOSURE,
        size_type="targetpercent",
        direction="both",
        account_type="margin",
        leverage=5.0,
        price="nextopen",
        column_map=[0] * up.shape[1],
        threads=asked.threads,
    )
    return [float(portfolio.value(column)[-1]) for column in range(up.shape[1])]


def run(asked: Request) -> list[float]:
    """Return the final equity of each set, averages and signals included."""
    averages = averages_of(asked)
    equity: list[float] = []
    for first in range(0, len(asked.fast), SETS_AT_A_TIME):
        sets = range(first, min(first + SETS_AT_A_TIME, len(asked.fast)))
        equity += simulate(asked, *signals(asked, averages, sets))
    return equity


def main() -> None:
    asked = request()
    equity, whole = timed(lambda: run(asked), asked.repeats)
    simulation = None
    if asked.is_single:
        given = signals(asked, averages_of(asked), range(1))
        _, simulation = timed(lambda: simulate(asked, *given), asked.repeats)
    answer([Answer("phasor-trader", equity, whole, simulation, CONVENTION)], version("phasor-trader"))


if __name__ == "__main__":
    main()

"""vectorbt, with both of its engines: orders for a fraction of equity, filled and valued at the next open."""

from __future__ import annotations

from functools import partial

import numpy as np
import vectorbt as vbt
from protocol import Answer, Request, answer, changes, request, timed

EXPOSURE = 0.5
SETS_AT_A_TIME = 10  # a matrix of a million bars and a hundred sets takes 0.8 GB, and there are several
CONVENTION = "orders for +-50 % of equity at the next open, only where the side changes"


def targets(asked: Request, averages: dict[int, np.ndarray], sets: range) -> np.ndarray:
    """Return the wanted exposure at each bar's open, NaN where nothing changes, one column a set."""
    wanted = np.full((asked.close.size, len(sets)), np.nan)
    for column, k in enumerate(sets):
        fast, slow = asked.fast[k], asked.slow[k]
        up, down = changes(averages[fast], averages[slow], slow - 1)
        wanted[1:, column][up[:-1]] = EXPOSURE
        wanted[1:, column][down[:-1]] = -EXPOSURE
    return wanted


def averages_of(asked: Request, engine: str) -> dict[int, np.ndarray]:
    """Return the moving averages of all lengths."""
    lengths = sorted({*asked.fast, *asked.slow})
    return {length: vbt.MA.run(asked.close, length, engine=engine).ma.to_numpy().reshape(-1) for length in lengths}


def simulate(asked: Request, wanted: np.ndarray, engine: str) -> list[float]:
    """Return the final equity of each column."""
    prices = {"price": asked.open[:, None], "val_price": asked.open[:, None]}
    portfolio = vbt.Portfolio.from_orders(
        asked.close[:, None],
        size=wanted,
        size_type="targetpercent",
        init_cash=asked.cash,
        fees=asked.fee,
        engine=engine,
        **prices,
    )
    return [float(value) for value in np.atleast_1d(portfolio.final_value())]


def run(asked: Request, engine: str) -> list[float]:
    """Return the final equity of each set, averages and signals included."""
    averages = averages_of(asked, engine)
    equity: list[float] = []
    for first in range(0, len(asked.fast), SETS_AT_A_TIME):
        sets = range(first, min(first + SETS_AT_A_TIME, len(asked.fast)))
        equity += simulate(asked, targets(asked, averages, sets), engine)
    return equity


def main() -> None:
    asked = request()
    rows = []
    for engine in ("numba", "rust"):
        if asked.is_single:
            run(asked, engine)  # compiles
        equity, whole = timed(partial(run, asked, engine), asked.repeats)
        simulation = None
        if asked.is_single:
            wanted = targets(asked, averages_of(asked, engine), range(1))
            _, simulation = timed(partial(simulate, asked, wanted, engine), asked.repeats)
        rows.append(Answer(f"vectorbt, {engine}", equity, whole, simulation, CONVENTION))
    answer(rows, vbt.__version__)


if __name__ == "__main__":
    main()

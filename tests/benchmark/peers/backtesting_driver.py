"""backtesting.py: long with half of the cash or flat, filled at the next open, in units of 1e-8."""

from __future__ import annotations

import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd
from backtesting import Strategy
from backtesting.lib import FractionalBacktest
from protocol import Answer, Request, answer, changes, request, timed

EXPOSURE = 0.5
CONVENTION = "long with 50 % of the cash, fee included, or flat; its reversals are sized on cash left, not on equity"


class Cross(Strategy):
    """Follows the moving averages from signals that are made before."""

    up: np.ndarray
    down: np.ndarray

    def init(self) -> None:
        self.place = 0

    def next(self) -> None:
        k = len(self.data) - 1
        if self.up[k]:
            self.buy(size=EXPOSURE)
        elif self.down[k] and self.position:
            self.position.close()


def signals(asked: Request, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the bars after which a set goes long, and flat."""
    fast, slow = (pd.Series(asked.close).rolling(length).mean().to_numpy() for length in (asked.fast[k], asked.slow[k]))
    return changes(fast, slow, asked.slow[k] - 1)


def main() -> None:
    warnings.simplefilter("ignore")
    asked = request()
    names = {"Open": asked.open, "High": asked.high, "Low": asked.low, "Close": asked.close}
    frame = pd.DataFrame(
        {**names, "Volume": 1.0}, index=pd.date_range("2024-01-01", periods=asked.close.size, freq="min")
    )
    backtest = FractionalBacktest(frame, Cross, cash=asked.cash, commission=asked.fee)

    def simulate(given: tuple[np.ndarray, np.ndarray]) -> list[float]:
        Cross.up, Cross.down = given
        return [float(backtest.run()["_equity_curve"]["Equity"].iloc[-1])]

    # One set, once: a run takes long, and no two sets share anything.
    equity, whole = timed(lambda: simulate(signals(asked, 0)), 1)
    simulation = None
    if asked.is_single:
        given = signals(asked, 0)
        _, simulation = timed(lambda: simulate(given), 1)
    answer([Answer("backtesting.py", equity, whole, simulation, CONVENTION)], version("backtesting"))


if __name__ == "__main__":
    main()

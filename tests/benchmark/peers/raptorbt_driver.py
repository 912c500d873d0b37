"""raptorbt: long or flat with all of the cash, filled at the next open, closed at the last bar."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import raptorbt
from protocol import Answer, Request, answer, changes, request, timed

MINUTE_NS = 60_000_000_000
CONVENTION = (
    "one direction a run: long with all cash, or flat; closes at the last bar, so the equity before is compared"
)


def signals(asked: Request) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return entries and exits of each set, from its own averages."""
    averages = {length: raptorbt.sma(asked.close, length) for length in {*asked.fast, *asked.slow}}
    return [changes(averages[f], averages[s], s - 1) for f, s in zip(asked.fast, asked.slow, strict=True)]


def main() -> None:
    asked = request()
    times = np.arange(asked.close.size, dtype=np.int64) * MINUTE_NS
    bars = (times, asked.open, asked.high, asked.low, asked.close, np.ones(asked.close.size))
    config = raptorbt.BacktestConfig(initial_capital=asked.cash, fees=asked.fee, fill_timing="next_bar_open")

    def simulate(given: list[tuple[np.ndarray, np.ndarray]]) -> list[float]:
        if asked.is_single:
            results = [raptorbt.run_single_backtest(*bars, *given[0], 1, 1.0, "S", config)]
        else:
            items = [raptorbt.BatchSingleItem(str(k), up, down, 1, 1.0, "S") for k, (up, down) in enumerate(given)]
            results = [result for _, result in raptorbt.batch_single_backtest(*bars, items, config)]
        return [float(result.equity_curve()[-2]) for result in results]

    equity, whole = timed(lambda: simulate(signals(asked)), asked.repeats)
    simulation = None
    if asked.is_single:
        given = signals(asked)
        _, simulation = timed(lambda: simulate(given), asked.repeats)
    row = Answer("raptorbt", equity, whole, simulation, CONVENTION, bar=-2)
    answer([row], version("raptorbt"))


if __name__ == "__main__":
    main()

"""A job without a market: the metrics of a set are a bowl over its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from backtester.research.rows import done_row, failed_row, rows_frame


class Bowl:
    """Metrics that are best at x = 3, y = -1; ``x = 7`` fails and ``x = 8`` has no Sharpe ratio.

    Above ``lost`` the account is lost.
    """

    def __init__(
        self, before: Callable[[int], None] = lambda call: None, shift: float = 0.0, lost: float = float("inf")
    ) -> None:
        self.calls: list[pl.DataFrame] = []
        self.before = before
        self.shift = shift
        self.lost = lost

    def evaluate(self, sets: pl.DataFrame, tell: Any = None) -> pl.DataFrame:
        self.before(len(self.calls))
        self.calls.append(sets)
        return rows_frame(
            sets, [self._row(**{k: float(v) for k, v in values.items()}) for values in sets.iter_rows(named=True)]
        )

    def _row(self, x: float, y: float = -1.0) -> dict[str, Any]:
        if x == 7:
            return failed_row("x may not be 7.")
        sharpe = None if x == 8 else 5 - (x - 3 - self.shift) ** 2 - (y + 1) ** 2
        total = {} if self.lost == float("inf") else {"total_return": -1.0 if x > self.lost else 0.1}
        return done_row(
            {"sharpe": sharpe, "max_drawdown": -abs(x) / 10, "liquidations": int(x > 4), **total},
            "segments",
            "compiled",
        )

"""A walk forward made up without a market, for pages."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from backtester.domain.config import RunConfig
from backtester.engine.frames import times
from backtester.engine.result import Notice
from backtester.research.metrics import parse_objectives
from backtester.research.walk_forward import Choice, Step, WalkPlan, windows_frame
from backtester.research.walk_result import (
    WalkForwardResult,
    stability_frame,
    stitched,
    stitched_trades,
    walk_summary,
)
from backtester.research.windows import cut_windows

DAY = 86_400_000
START = 1_704_067_200_000
HOURS = 24


def sample_walk(count: int, *, idle: bool = False) -> WalkForwardResult:
    """Return a walk of so many windows of 5 days each; an idle one chose no set."""
    span = (START, START + (10 + 5 * max(count, 1)) * DAY)
    windows = cut_windows(span, 10 * DAY, 5 * DAY, DAY // HOURS, anchored=False)
    plan = WalkPlan(("fast", "kind"), parse_objectives("sharpe")[0], (), windows, "grid")
    random = np.random.default_rng(4)
    steps, balance = [], 10_000.0
    for window in windows[:count]:
        opens = np.arange(window.test_start, window.test_end, DAY // HOURS, dtype=np.int64)
        moves = np.zeros(opens.size) if idle else random.normal(0, 0.004, opens.size)
        values = balance * np.cumprod(1 + moves)
        equity = pl.DataFrame(
            {
                "window": np.full(opens.size, window.number),
                "open_time": times(opens),
                "close_time": times(opens + DAY // HOURS),
                "equity": values,
                "wallet_balance": values,
                **{name: np.zeros(opens.size) for name in ("margin_ratio", "gross_exposure", "net_exposure")},
            }
        )
        choice = Choice({}, {}, 4, 0, 0)
        row: dict[str, Any] = {}
        if not idle:
            numbers = {"sharpe": random.normal(2), "total_return": 0.05, "max_drawdown": -0.1, "days": 10}
            params = {"fast": int(random.integers(5, 60)), "kind": str(random.choice(["slow", "quick"]))}
            choice = Choice(params, numbers, 4, 4, 1)
            row = {
                "sharpe": random.normal(),
                "total_return": values[-1] / balance - 1,
                "max_drawdown": -0.05,
                "days": 5,
            }
        steps.append(Step(window, choice, balance, equity, row))
        balance = float(values[-1])
    return WalkForwardResult(
        run_id="20250101-000000-walk-forward-sample",
        config=RunConfig(),
        strategy_name="sample",
        plan=plan,
        settings={
            "train": "10d", "test": "5d", "anchored": False, "trials": None, "where": None,
            "space": {"fast": "5:60:1", "kind": ["slow", "quick"]},
        },
        windows=windows_frame(steps, plan),
        equity=stitched(steps, 10_000.0),
        trades=stitched_trades(steps),
        summary=walk_summary(steps, 10_000.0, plan),
        stability=stability_frame(steps, plan.names),
        notices=(Notice("equity_carried", "assumption", "Each test begins flat."),),
        symbols=("BTC/USDT:USDT",),
        span=span,
        synthetic=True,
        settle="USDT",
    )  # fmt: skip

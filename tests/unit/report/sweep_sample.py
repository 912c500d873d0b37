"""Sweeps made up for the page: a smooth hill of results with noise, failures where asked for, no market behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tomli_w

from backtester.report.sweep_data import Sweep, read_sweep

BASE = {
    "data": {
        "venue": "synthetic",
        "symbols": ["BTC/USDT:USDT"],
        "timeframe": "1h",
        "start": "2023-01-01T00:00",
        "end": "2025-01-01T00:00",
    },
    "account": {"balance": 10_000.0},
    "strategy": {"name": "trend"},
}
HOSTILE = "<script>alert('x')</script>\"'&<b>bold</b>" + "long" * 2_500
REFUSED = "slow must be larger than fast."


def grid(axes: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
    """Every combination, the first axis varying slowest."""
    frames = [pl.DataFrame({name: list(values)}) for name, values in axes.items()]
    whole = frames[0]
    for frame in frames[1:]:
        whole = whole.join(frame, how="cross")
    return whole


def hill(fast: np.ndarray, slow: np.ndarray) -> np.ndarray:
    """A plateau around 24 and 170."""
    return 1.4 * np.exp(-(np.log(fast / 24) ** 2) / 0.6 - np.log(slow / 170) ** 2 / 0.5) - 0.4


def rows(
    params: pl.DataFrame,
    sharpe: np.ndarray,
    failed: np.ndarray | None = None,
    *,
    noise: float = 0.05,
    seed: int = 1,
    error: str = REFUSED,
) -> pl.DataFrame:
    """Rows as a sweep keeps them: parameters, facts, some metrics of every kind."""
    count = params.height
    rng = np.random.default_rng(seed)
    sharpe = np.asarray(sharpe, float) + rng.normal(0, noise, count)
    returned = np.clip(0.35 * sharpe + rng.normal(0, 0.02, count), -1, None)
    profit_factor = [None if i % 17 == 3 else float(v) for i, v in enumerate(1 + 0.3 * sharpe)]
    metrics = pl.DataFrame(
        {
            "bars": np.full(count, 17_544),
            "days": np.full(count, 731),
            "initial_balance": np.full(count, 10_000.0),
            "final_equity": 10_000 * (1 + returned),
            "total_return": returned,
            "annual_return": returned / 2,
            "volatility": 0.4 + 0.1 * rng.random(count),
            "sharpe": sharpe,
            "max_drawdown": -np.clip(0.3 - 0.1 * sharpe, 0.01, 1),
            "max_drawdown_start": ["2023-02-01 00:00 UTC"] * count,
            "trades": rng.integers(20, 400, count),
            "profit_factor": pl.Series(profit_factor, dtype=pl.Float64),
            "average_holding_hours": 20 + 60 * rng.random(count),
            "max_drawdown_days": 100 * rng.random(count),
            "turnover": 500 * rng.random(count),
            "funding": -800 * rng.random(count),
            "fees": -2_000 * rng.random(count),
            "liquidations": np.zeros(count, int),
            "worst_margin_ratio": 0.01 * rng.random(count),
            "own_metric": rng.normal(0, 1e-7, count),
        }
    )
    facts = pl.DataFrame(
        {"set": np.arange(count)},
        schema={"set": pl.Int64},
    )
    told = pl.DataFrame(
        {
            "status": ["done"] * count,
            "error": [None] * count,
            "path": ["segments"] * count,
            "targets": ["compiled"] * count,
        },
        schema={"status": pl.String, "error": pl.String, "path": pl.String, "targets": pl.String},
    )
    whole = pl.concat([facts, params, told, metrics], how="horizontal")
    if failed is None:
        return whole
    mask = pl.Series(failed)
    return whole.with_columns(
        *(pl.when(mask).then(None).otherwise(pl.col(n)).alias(n) for n in (*metrics.columns, "path", "targets")),
        pl.when(mask).then(pl.lit("failed")).otherwise("status").alias("status"),
        pl.when(mask).then(pl.lit(error)).otherwise("error").alias("error"),
    )


def write(folder: Path, frame: pl.DataFrame, base: Mapping[str, Any] = BASE, **manifest: Any) -> Path:
    """Write a sweep's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(folder / "sets.parquet")
    space = {"where": "slow > 2 * fast", "grid": {"fast": "5:200:5"}}
    (folder / "sweep.toml").write_text(tomli_w.dumps({**base, "sweep": space}), encoding="utf-8")
    told = {"sets": frame.height, "seconds": 12.5, "metric": "sharpe", **manifest}
    (folder / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    return folder


def read(folder: Path, frame: pl.DataFrame, **manifest: Any) -> Sweep:
    """Write a sweep's folder and read it back."""
    return read_sweep(write(folder, frame, **manifest))


def small() -> pl.DataFrame:
    """A grid of three parameters, an eighth of it failed."""
    params = grid(
        {"fast": [8, 16, 24, 32, 48, 64], "slow": [32, 80, 128, 170, 240, 336], "account.leverage": [2.0, 5.0]}
    )
    score = hill(params["fast"].to_numpy(), params["slow"].to_numpy()) - 0.02 * params["account.leverage"].to_numpy()
    return rows(params, score, (params["slow"] <= params["fast"]).to_numpy())


def large(count: int = 100) -> pl.DataFrame:
    """A grid of ``count`` by 100 sets of three parameters."""
    fasts = list(range(2, 2 + count // 4))
    params = grid(
        {"fast": fasts, "slow": [round(s) for s in np.geomspace(50, 2_000, 100)], "exposure": [0.5, 1, 1.5, 2]}
    )
    return rows(params, hill(params["fast"].to_numpy(), params["slow"].to_numpy()))


def sampled(count: int = 600) -> pl.DataFrame:
    """Sets that lie on no grid."""
    rng = np.random.default_rng(9)
    params = pl.DataFrame(
        {
            "fast": rng.integers(5, 200, count),
            "slow": np.exp(rng.uniform(4, 7.6, count)),
            "mode": rng.choice(["long", "short", "both"], count),
        }
    )
    return rows(params, hill(params["fast"].to_numpy(), params["slow"].to_numpy()))


def one_parameter() -> pl.DataFrame:
    params = grid({"fast": range(2, 60, 2)})
    return rows(params, hill(params["fast"].to_numpy(), np.full(29, 170.0)))


def one_set() -> pl.DataFrame:
    return rows(grid({"fast": [24], "slow": [168]}), np.array([0.5]))


def all_failed() -> pl.DataFrame:
    frame = rows(grid({"fast": [2, 3], "slow": [1, 2]}), np.zeros(4), np.ones(4, bool))
    return frame.select(frame.columns[:7])


def liquidated() -> pl.DataFrame:
    """High leverage is ruined."""
    params = grid({"fast": [8, 16, 32, 64], "account.leverage": [2.0, 5.0, 10.0, 20.0, 50.0]})
    leverage = pl.col("account.leverage")
    return rows(params, 0.5 - 0.05 * params["account.leverage"].to_numpy()).with_columns(
        liquidations=(leverage / 5).cast(pl.Int64),
        total_return=pl.when(leverage > 15).then(-1.0).otherwise("total_return"),
    )


def hostile() -> pl.DataFrame:
    """Names, values and errors made of what breaks pages."""
    params = grid({"fast": [8, 16, 24], HOSTILE: [HOSTILE, "b", "<i>c</i>", 'say "hi"; $HOME'], "flag": [True, False]})
    failed = np.arange(params.height) < 3
    return rows(params, params["fast"].to_numpy() * 0.01, failed, error=HOSTILE)

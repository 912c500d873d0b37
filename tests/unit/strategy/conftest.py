"""Small markets for strategies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import pytest

START = 1_735_689_600_000  # 2025-01-01 00:00 UTC
HOUR = 3_600_000

MakeBars = Callable[..., pl.DataFrame]


@pytest.fixture(scope="session")
def make_bars() -> MakeBars:
    """Function that makes hourly bars of random walks, with every column that a strategy can read."""

    def make(count: int = 300, symbols: Sequence[str] = ("BTC/USDT:USDT",), seed: int = 5) -> pl.DataFrame:
        rng = np.random.default_rng(seed)
        frames = []
        for symbol in symbols:
            close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, count)))
            spread = np.abs(rng.normal(0, 0.004, count))
            rate = np.repeat(rng.normal(1e-4, 1e-4, count // 8 + 1), 8)[:count]
            premium = rng.normal(0, 1e-4, count)
            frames.append(
                pl.DataFrame(
                    {
                        "open_time": pl.Series(START + HOUR * np.arange(count)).cast(pl.Datetime("ms", "UTC")),
                        "symbol": [symbol] * count,
                        "open": np.concatenate(([100.0], close[:-1])),
                        "high": close * (1 + spread),
                        "low": close * (1 - spread),
                        "close": close,
                        "volume": rng.uniform(1, 10, count),
                        "mark_close": close * (1 + premium),
                        "index_close": close,
                        "premium": premium,
                        "funding_rate": rate,
                        "predicted_funding_rate": rate,
                        "hours_to_funding": [float(8 - i % 8) for i in range(count)],
                    }
                )
            )
        return pl.concat(frames)

    return make

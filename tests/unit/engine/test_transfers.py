"""Deposits and withdrawals of the run file."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from backtester.engine.run_file import build_config
from backtester.engine.transfers import transfers_of
from backtester.errors import ConfigError

H, T0 = 3_600_000, 1_735_689_600_000  # 2025-01-01
OPENS = T0 + np.arange(24) * H


def test_transfers_are_sorted_by_time() -> None:
    rows = [
        {"time": "2025-01-01T05:30", "amount": -20.0},
        {"time": dt.datetime(2025, 1, 1, 2, tzinfo=dt.UTC), "amount": 50.0},
        {"time": "2025-01-01", "amount": 10.0},
    ]
    found, told = transfers_of(build_config({"transfers": rows}), OPENS)
    assert found.time.tolist() == [T0, T0 + 2 * H, T0 + 5 * H + H // 2]
    assert found.amount.tolist() == [10.0, 50.0, -20.0]
    assert told == ()


def test_transfers_that_no_open_follows_or_precedes_are_told() -> None:
    rows = [{"time": t, "amount": 1.0} for t in ("2024-12-31T23:59", "2025-01-01T23:00", "2025-01-01T23:01")]
    found, (notice,) = transfers_of(build_config({"transfers": rows}), OPENS)
    assert found.time.tolist() == [T0 + 23 * H]
    assert (notice.code, notice.severity) == ("transfers_outside", "warning")
    assert notice.text.startswith("2 of 3 transfers lie outside the run's opens")
    assert notice.text.endswith("the first at 2024-12-31 23:59 UTC.")


def test_none_are_none() -> None:
    found, told = transfers_of(build_config({}), OPENS)
    assert (found.time.size, found.amount.size, told) == (0, 0, ())


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"time": "soon", "amount": 1.0}, r"transfers\[0\]\.time 'soon' is not a time"),
        ({"time": "2025-01-01", "amount": 0.0}, r"transfers\[0\]\.amount: 0 moves nothing"),
        ({"time": "2025-01-01", "amount": float("inf")}, "amount"),
    ],
)
def test_what_is_no_transfer_is_refused(row: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        transfers_of(build_config({"transfers": [row]}), OPENS)

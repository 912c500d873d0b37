from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from backtester.research.rows import done_row, failed_row, joined, rows_frame

ROWS = [
    done_row({"trades": 0, "longest_days": None, "sharpe": None, "orders_clipped": 2}, "replay", "polars"),
    done_row({"trades": 3, "longest_days": 4, "sharpe": 1.5, "best_day": "2025-01-01"}, "replay", "polars"),
    failed_row("It raises."),
    done_row({"trades": 5, "longest_days": 2, "sharpe": 2, "never": None}, "segments", "compiled"),
]


@pytest.mark.parametrize("cuts", [[0, 1, 2, 3, 4], [0, 1, 4], [0, 2, 4], [0, 3, 4]])
def test_the_same_rows_in_other_parts_are_the_same_frame(cuts: list[int]) -> None:
    sets = pl.DataFrame({"set": range(4)})
    whole = rows_frame(sets, ROWS)
    parts = [rows_frame(sets[a:b], ROWS[a:b]) for a, b in pairwise(cuts)]
    assert_frame_equal(joined(parts), joined([whole]), check_exact=True)
    assert_frame_equal(joined([whole]), whole, check_exact=True)

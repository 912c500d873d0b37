"""What is told of settings without effect and of profit targets out of reach."""

from __future__ import annotations

import polars as pl
import pytest

from backtester.domain.config import RunConfig
from backtester.engine.decision_notices import idle_settings, unreachable_targets


def test_settings_for_targets_are_told_beside_a_loop() -> None:
    sections = {"sizing": {"unit": "notional"}, "execution": {"rebalance": "every_bar", "post_only": True}}
    (told,) = idle_settings(RunConfig.model_validate(sections))
    assert (told.code, told.severity) == ("settings_idle", "warning")
    assert told.text == (
        "sizing.unit = notional, execution.rebalance = every_bar, execution.post_only = true: without effect, "
        "since they shape the orders of targets and on_bar makes its own."
    )
    assert idle_settings(RunConfig.model_validate({"execution": {"slippage_bps": 3.0}})) == ()


def decided(**columns: list[float | None]) -> pl.DataFrame:
    count = len(next(iter(columns.values())))
    keys = {"open_time": pl.Series(range(count)).cast(pl.Datetime("ms", "UTC")), "symbol": ["A", *["B"] * (count - 1)]}
    return pl.DataFrame(keys | columns, schema_overrides=dict.fromkeys(columns, pl.Float64))


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"target": [1.0, 1.0], "take_profit": [0.05, 15.0]}, "take_profit is 15, which is 1,500 % of the entry price"),
        ({"target": [1.0, 1.0], "take_profit": [0.05, 9.0]}, ""),
        ({"target": [-1.0, -1.0], "take_profit": [0.99, 0.5]}, ""),
        ({"target": [1.0, -1.0], "take_profit": [1.0, 2.0]}, "take_profit is 2 for a short, which never gains 200 %"),
        ({"target": [1.0, -1.0, None], "take_profit": [None, None, 1.0]}, "take_profit is 1 for a short"),
        ({"target": [-1.0, 1.0], "take_profit": [None, 2.0]}, ""),  # the short is another symbol's
        ({"target": [-1.0, -1.0], "take_profit": [0.1, 0.1], "take_profit_2": [None, 1.5]}, "take_profit is 1.5 for"),
        ({"target_short": [-1.0, -1.0], "take_profit": [0.1, 1.0]}, "take_profit is 1 for a short"),
        ({"target": [-1.0, -1.0], "stop_loss": [0.1, 0.1]}, ""),
    ],
)
def test_profit_targets_out_of_reach_are_told(columns, told) -> None:
    notices = unreachable_targets(decided(**columns))
    assert len(notices) == bool(told)
    assert told == "" or told in notices[0].text

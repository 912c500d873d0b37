"""How figures read in a terminal."""

from __future__ import annotations

import pytest

from backtester.engine.result import figure_text


@pytest.mark.parametrize(
    ("value", "style", "settle", "text"),
    [
        (-1887.0234, "money", "USDT", "-1,887.02 USDT"),
        (0.5, "money", "USDC", "0.50 USDC"),
        (-0.00012345, "money", "BTC", "-0.00012345 BTC"),
        (0.0, "money", "BTC", "0.00000000 BTC"),
        (None, "money", "BTC", "-"),
        (0.1234, "percent", "BTC", "12.34%"),
        (12.0, "count", "BTC", "12"),
    ],
)
def test_amounts_of_a_coin_keep_its_decimals(value: float | None, style: str, settle: str, text: str) -> None:
    assert figure_text(value, style, settle) == text

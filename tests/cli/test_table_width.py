"""Tables of a terminal: nothing of what is copied from them is cut off."""

from __future__ import annotations

import pytest

from backtester.cli.output import print_table


def test_wide_letters_cut_nothing_off(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters of the Far East take two places."""
    monkeypatch.setenv("COLUMNS", "60")
    name = "20260101-000000-buy_and_hold-0123456789abcdef"
    print_table(("run", "coins", "return"), [(name, "币安人生币安人生币安", "-13.78%")], right=(2,), whole=(0, 1))
    printed = capsys.readouterr().out
    assert name in printed
    assert "-13.78%" in printed

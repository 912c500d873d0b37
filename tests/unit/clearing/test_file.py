"""The file of a clearing: strict keys, one market, one source of accounts; and the crash that is made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backtester.clearing import clearing_text, read_clearing
from backtester.clearing.file import ShockConfig, build_clearing
from backtester.clearing.made_up import made_up_markets
from backtester.clearing.study import rule_names
from backtester.errors import BacktesterError, UnknownNameError, UsageError

WHOLE = """
contracts = "both"
[market]
venue = "binance"
symbols = ["BTC/USDT:USDT"]
start = 2025-10-10
[clearing]
venue = "okx"
compare = ["bybit", "okx"]
open_interest = 5_000_000_000
accounts = 500
leverage_mix = { "5" = 0.6, "20" = 0.4 }
[clearing.rules]
fund_start = 1_000_000
"""


def written(folder: Path, text: str) -> Path:
    (folder / "clearing.toml").write_text(text)
    return folder / "clearing.toml"


def test_a_file_is_read_and_written_alike(tmp_path: Path) -> None:
    file = read_clearing(written(tmp_path, WHOLE))
    assert file.market is not None
    assert (file.market.start, file.clearing.accounts, file.contracts) == ("2025-10-10", 500, "both")
    assert rule_names(file) == ["okx", "bybit"]
    again = read_clearing(written(tmp_path, clearing_text(file)))
    assert again == file


def test_a_flat_file_holds_the_accounts_alone(tmp_path: Path) -> None:
    """It is the file that ``run --clearing`` takes."""
    file = read_clearing(written(tmp_path, "open_interest = 1e6\naccounts = 20\n"))
    assert (file.market, file.shock, file.model, file.clearing.accounts) == (None, None, "open_interest", 20)


def test_paths_are_those_beside_the_file(tmp_path: Path) -> None:
    file = read_clearing(written(tmp_path, '[clearing]\nfile = "accounts.csv"\n'))
    assert file.model == "file"
    assert file.clearing.file == str(tmp_path / "accounts.csv")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[clearing]\nopen_interest = 1.0\nacounts = 5", "clearing.accounts"),
        ("[shok]\nfall = 0.1\n[clearing]\nopen_interest = 1.0", "shock"),
        ("[shock]\nfall = 2.0\n[clearing]\nopen_interest = 1.0", "shock.fall must be less than 1"),
        ("[shock]\n[market]\n[clearing]\nopen_interest = 1.0", "market and shock are both given"),
        ("[shock]\n", "nothing of its accounts"),
        ('[clearing]\nopen_interest = 1.0\nfile = "a.csv"', "both given"),
        ('contracts = "inverse"\n[clearing]\nfile = "a.csv"', "drawn from an open interest"),
        ("[clearing", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BacktesterError) as caught:
        read_clearing(written(tmp_path, text))
    assert says in f"{caught.value}"


def test_a_missing_file_and_an_unknown_pack_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_clearing(tmp_path / "none.toml")
    file = build_clearing({"shock": {}, "clearing": {"open_interest": 1.0, "venue": "all"}})
    assert {"binance", "okx", "hyperliquid"} <= set(rule_names(file))
    assert "generic" not in rule_names(file)
    with pytest.raises(UnknownNameError):
        build_clearing({"shock": {"fal": 0.1}})


def test_the_made_up_crash_falls_as_far_as_it_says() -> None:
    shock = ShockConfig(price=200.0, fall=0.4, rebound=0.25, undercut=0.02, calm_hours=1.0, fall_minutes=10)
    market, past = made_up_markets(shock, 1e6, 0.5)
    assert market.mark_open[0, 0] == pytest.approx(200.0, rel=1e-9)
    assert market.mark_low.min() == pytest.approx(120.0, rel=1e-9)
    assert market.low.min() == pytest.approx(120.0 * 0.98, rel=1e-3)
    assert market.mark_close[0, -1] == pytest.approx(140.0, rel=0.05)  # a quarter regained, and an hour of noise
    assert past.open_time[-1] + past.bar_ms == market.open_time[0]
    assert past.mark_close[0, -1] == market.mark_open[0, 0]
    again, _ = made_up_markets(shock, 1e6, 0.5)
    assert np.array_equal(again.close, market.close)
    assert np.array_equal(again.volume, market.volume)

"""Contracts by date on the command line: import, bad input, what a run says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backtester.cli.app import exit_code
from backtester.market.store import Store

BTC = "BTC/USDT:USDT"
MARKET: dict[str, Any] = {
    "symbol": BTC,
    "type": "swap",
    "linear": True,
    "contractSize": 1.0,
    "precision": {"price": 0.1, "amount": 0.001},
    "limits": {"amount": {"min": 0.001}, "cost": {"min": 5}},
}
CONTRACT: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "contractType": "PERPETUAL",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "marginAsset": "USDT",
    "filters": [{"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001"}],
}

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``backtester data import`` into a store of its own; return exit code, stdout and stderr."""

    def run(path: Path, file_format: str, *arguments: str) -> tuple[int, str, str]:
        store = ["--venue", "binance", "--store", str(tmp_path / "data")]
        code = exit_code(["data", "import", str(path), "--format", file_format, *arguments, *store])
        out = capsys.readouterr()
        assert "Traceback" not in out.err
        return code, out.out, out.err

    return run


def put(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_markets_come_in_twice_and_change_nothing(call: Call, tmp_path: Path) -> None:
    path = put(tmp_path, "markets_2025-02.json", {BTC: MARKET})
    code, out, err = call(path, "ccxt-markets")
    assert (code, err) == (0, "")
    assert "1 series imported" in out
    code, out, _ = call(path, "ccxt-markets", "--json")
    assert code == 0
    assert [(i["added"], i["changed"]) for i in json.loads(out)["imported"]] == [(0, 0)]
    assert call(path, "ccxt-markets", "--valid-from", "2025-06-01")[0] == 0  # nothing new since February
    (terms,) = Store(tmp_path / "data").instruments("binance", BTC)
    assert (terms.lot, terms.valid_from) == (0.001, 1_738_368_000_000)


def test_symbols_without_bars_are_counted_in_the_list(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ladder = [{"minNotional": 0, "maxNotional": 1e6, "maintenanceMarginRate": 0.004, "maxLeverage": 50}]
    call(put(tmp_path, "t_2025-01.json", {BTC: ladder, "ETH/USDT:USDT": ladder}), "ccxt-tiers")
    call(put(tmp_path, "m_2025-01.json", {BTC: MARKET}), "ccxt-markets")
    assert exit_code(["data", "list", "--store", str(tmp_path / "data")]) == 0
    told = "binance: margin tiers and contract terms alone for 2 further symbols (--all shows them)."
    assert told in capsys.readouterr().out


def test_binances_answers_come_in(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "api"
    folder.mkdir()
    put(folder, "exchangeInfo.json", {"serverTime": 1_738_368_000_000, "symbols": [CONTRACT]})
    put(folder, "fundingInfo.json", [{"symbol": "BTCUSDT", "fundingIntervalHours": 4}])
    code, _, err = call(folder, "binance-info")
    assert (code, err) == (0, "")
    (terms,) = Store(tmp_path / "data").instruments("binance", BTC)
    assert (terms.lot, terms.funding_interval_hours) == (0.001, 4)


@pytest.mark.parametrize(
    ("name", "content", "file_format", "code", "words"),
    [
        ("m_2025-01.json", "{", "ccxt-markets", 1, "not a whole JSON file"),
        ("m_2025-01.json", {}, "ccxt-markets", 1, "load_markets()"),
        ("m.json", {BTC: MARKET}, "ccxt-markets", 2, "--valid-from 2025-10-01"),
        (
            "m_2025-01.json",
            {BTC: {**MARKET, "contractSize": 0}},
            "ccxt-markets",
            1,
            "contract_size 0.0 is out of bounds",
        ),
        ("e.json", "]", "binance-info", 1, "not a whole JSON file"),
        ("e.json", {"symbols": 3}, "binance-info", 1, "neither exchangeInfo"),
        ("e.json", {"symbols": [CONTRACT]}, "binance-info", 2, "holds no date"),
        ("e_2025-01.json", {"symbols": [{**CONTRACT, "onboardDate": -5}]}, "binance-info", 1, "listed -5 is out of"),
    ],
)
def test_bad_input_is_refused_in_a_line(
    call: Call, tmp_path: Path, name: str, content: Any, file_format: str, code: int, words: str
) -> None:
    found, _, err = call(put(tmp_path, name, content), file_format)
    assert found == code
    assert words in err
    assert err.startswith(("Error: ", "Refused: "))
    assert not (tmp_path / "data").exists() or Store(tmp_path / "data").keys() == []


@pytest.mark.parametrize("option", [("--columns", "a=b"), ("--series", "trade"), ("--timeframe", "1h")])
def test_options_of_tables_mean_nothing(call: Call, tmp_path: Path, option: tuple[str, str]) -> None:
    path = put(tmp_path, "m_2025-01.json", {BTC: MARKET})
    code, _, err = call(path, "ccxt-markets", *option)
    assert code == 2
    assert f"{option[0]} means nothing with --format ccxt-markets" in err


def test_unknown_symbols_name_the_nearest(call: Call, tmp_path: Path) -> None:
    code, _, err = call(put(tmp_path, "m_2025-01.json", {BTC: MARKET}), "ccxt-markets", "--symbol", "BTC/USDT")
    assert code == 2
    assert f"Did you mean '{BTC}'" in err


@pytest.mark.real_data
def test_the_real_answers_come_in(call: Call, real_data: Path, tmp_path: Path) -> None:
    code, out, err = call(real_data / "api", "binance-info", "--symbol", BTC, "--symbol", "ETH/USDT:USDT")
    assert code == 0, err
    assert "2 series imported" in out
    store = Store(tmp_path / "data")
    terms = store.instrument("binance", BTC)
    assert terms is not None
    assert (terms.tick, terms.lot, terms.min_notional, terms.funding_cap) == (0.1, 0.001, 50, 0.003)

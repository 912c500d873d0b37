"""``backtester data fetch``, ``check --repair``, ``compact`` and ``delete`` as a user meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from backtester.cli.app import exit_code
from backtester.market.schema import DatasetKey
from backtester.market.store import Store
from tests.exchange.contract import utc
from tests.exchange.market import Hole, Market
from tests.exchange.server import ExchangeServer

BTC = "BTC/USDT:USDT"
NOW = utc("2024-03-20T10:20:30")
MARKET = Market.generated(seed=3)
TRADE = DatasetKey("binance", BTC, "trade", "1h")
MARK = DatasetKey("binance", BTC, "mark", "1h")

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = exit_code(["data", *arguments, "--store", str(tmp_path / "data")])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def fetch(call: Call, server: ExchangeServer, *more: str) -> tuple[int, str, str]:
    where = ("--venue", server.venue, "--base-url", server.url, "--pause", "0")
    return call("fetch", *where, "--symbols", BTC, "--start", "2024-03-01", *more)


def test_a_fetch_says_what_it_will_do_and_what_it_did(call: Call, tmp_path: Path) -> None:
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        code, out, err = fetch(call, server)
        assert code == 0, err
        assert "To fetch: 6 datasets, about 1," in err
        assert "KB in" in err
        assert "BINANCEUSDM_APIKEY" in err
        assert "new rows in" in out
        assert "trade 1h   466" in " ".join(out.split(" ")).replace("     ", "   ")
        code, out, err = fetch(call, server, "--series", "trade,mark")
    assert code == 0
    assert "Nothing is missing: 2 datasets" in out
    assert err == ""


def test_a_dry_run_shows_what_is_missing(call: Call, tmp_path: Path) -> None:
    with ExchangeServer(MARKET, "bybit", now=NOW) as server:
        code, out, _ = fetch(call, server, "--series", "trade,instruments", "--dry-run")
    assert code == 0
    assert "missing rows" in out
    assert "466" in out
    assert not (tmp_path / "data").exists()


def test_json_stands_alone_on_stdout(call: Call) -> None:
    with ExchangeServer(MARKET, "bybit", now=NOW) as server:
        code, out, _ = fetch(call, server, "--series", "trade", "--json")
    assert code == 0
    report = json.loads(out)
    assert report["fetched"][0]["added"] == 466
    assert report["fetched"][0]["last"] == "2024-03-20T09:00:00Z"
    assert report["planned"]["requests"] == 1
    assert report["failed"] == []


def test_quiet_says_nothing(call: Call) -> None:
    with ExchangeServer(MARKET, "bybit", now=NOW) as server:
        assert fetch(call, server, "--quiet") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--venue", "binence", "--symbols", BTC), 2, "Unknown venue 'binence'.\nDid you mean 'binance'"),
        (("--venue", "binance"), 2, "Nothing says which contracts to fetch."),
        (("--venue", "binance", "--symbols", BTC, "--series", "markk"), 2, "Did you mean 'mark'?"),
        (("--venue", "binance", "--symbols", BTC, "--timeframes", "1M"), 2, "'1M' is not a timeframe"),
        (("--venue", "binance", "--symbols", BTC, "--start", "2024-02-01", "--end", "2024-01-01"), 2, "range is empty"),
        (("--venue", "binance", "--symbols", BTC, "--base-url", "mirror"), 2, "no address of a server"),
        (("--venue", "synthetic", "--symbols", BTC), 2, "ccxt serves no exchange for the venue 'synthetic'"),
    ],
)
def test_wrong_calls(call: Call, arguments: tuple[str, ...], code: int, said: str) -> None:
    got, out, err = call("fetch", *arguments)
    assert (got, out) == (code, "")
    assert said in err
    assert "Traceback" not in err


def test_no_network_is_one_line(call: Call, tmp_path: Path) -> None:
    code, out, err = call("fetch", "--venue", "binance", "--symbols", BTC, "--base-url", "http://127.0.0.1:9")
    assert (code, out) == (1, "")
    assert err.startswith("Error: binanceusdm (127.0.0.1:9) cannot be reached")
    assert err.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_a_fetched_market_runs(call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ExchangeServer(MARKET, "bybit", now=NOW) as server:
        fetch(call, server)
    code, out, _ = call("check", "--json")
    assert (code, json.loads(out)["errors"]) == (0, 0)
    where = ("--store", str(tmp_path / "data"), "--out", str(tmp_path / "reports"), "--no-report", "--json")
    assert exit_code(["run", "buy_and_hold", "--venue", "bybit", "--leverage", "3", *where]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["orders_filled"] == 1
    assert summary["funding"] != 0


def test_repair_fetches_what_is_missing_and_computes_the_rest(call: Call, tmp_path: Path) -> None:
    day = utc("2024-03-10")
    holes = (
        Hole("BTCUSDT", "mark", day, day + 6 * 3_600_000),
        Hole("BTCUSDT", "trade", day + 48 * 3_600_000, day + 51 * 3_600_000),
    )
    with ExchangeServer(MARKET.with_holes(*holes), "binance", now=NOW) as server:
        fetch(call, server, "--series", "trade,mark,index,premium,funding")
    code, out, _ = call("check")
    assert code == 1
    assert "3 bars missing" in out
    # the exchange has brought the trades back, the marks it has lost
    with ExchangeServer(MARKET.with_holes(holes[0]), "binance", now=NOW) as server:
        code, out, _ = call("check", "--repair", "--base-url", server.url, "--pause", "0")
    flat = " ".join(out.split())
    assert code == 0, out
    assert "fetched BTC/USDT:USDT trade 1h 3 rows fetched for 1 window" in flat
    assert "the venue has nothing for 1 window" in flat
    assert "6 bars computed from index x (1 + premium)" in flat
    store = Store(tmp_path / "data")
    assert store.read(MARK)["filled"].sum() == 6
    # once the exchange has them again, real marks take the place of the computed ones
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        fetch(call, server, "--series", "mark", "--again")
    assert store.read(MARK)["filled"].sum() == 0
    assert store.read(MARK).height == 466


def test_repair_without_network_says_what_to_fetch(call: Call, tmp_path: Path) -> None:
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        fetch(call, server, "--series", "trade,mark")
    store = Store(tmp_path / "data")
    store.write(TRADE, store.read(TRADE).filter(pl.int_range(pl.len()) != 7), source="test", replace=True)
    code, out, _ = call("check", "--repair", "--base-url", "http://127.0.0.1:9")
    assert code == 1
    assert "the fetch failed: binanceusdm (127.0.0.1:9) cannot be reached" in " ".join(out.split())
    assert call("check", "--offline")[0] == 2


def test_delete_asks_and_takes_what_is_named(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExchangeServer(MARKET, "bybit", now=NOW) as server:
        fetch(call, server, "--series", "trade,mark,funding", "--timeframes", "1h,15m")
    assert call("delete")[0] == 2
    code, _, err = call("delete", "--series", "mark", "--quiet")
    assert code == 2
    assert "Give --yes" in err
    answers = [False, True]
    monkeypatch.setattr("typer.confirm", lambda *args, **kwargs: answers.pop(0))
    code, _, err = call("delete", "--series", "mark")
    assert code == 0
    assert "Nothing is deleted." in err
    code, out, err = call("delete", "--series", "mark")
    assert code == 0
    assert "To delete: 2 datasets" in err
    assert "Deleted 2 datasets" in out
    assert call("delete", "--timeframe", "15m", "--yes")[0] == 0
    store = Store(tmp_path / "data")
    assert [(k.series, k.timeframe) for k in store.keys("bybit")] == [("funding", "event"), ("trade", "1h")]
    assert call("delete", "--symbols", "XRP/USDT:USDT", "--yes")[0] == 2
    assert call("delete", "--all", "--yes", "--json")[0] == 0
    assert not (tmp_path / "data").exists()


def test_damaged_files_are_dropped_alone_and_fetched_again(call: Call, tmp_path: Path) -> None:
    with ExchangeServer(MARKET, "bybit", now=NOW) as server:
        fetch(call, server, "--series", "trade,mark")
        store = Store(tmp_path / "data")
        key = DatasetKey("bybit", BTC, "trade", "1h")
        before = store.fingerprint(key)
        (store.folder(key) / "2024.parquet").write_bytes(b"of another program")
        code, _, err = call("verify")
        assert code == 1
        assert "data delete --damaged" in err
        code, out, _ = call("delete", "--damaged")
        assert code == 0
        assert "Dropped 2024.parquet of bybit BTC/USDT:USDT trade 1h." in out
        fetch(call, server, "--series", "trade")
    assert Store(tmp_path / "data").fingerprint(key) == before
    assert "No file in" in call("delete", "--damaged")[1]


def test_compact_tidies(call: Call, tmp_path: Path) -> None:
    with ExchangeServer(MARKET, "bybit", now=NOW) as server:
        fetch(call, server, "--series", "trade")
    folder = Store(tmp_path / "data").folder(DatasetKey("bybit", BTC, "trade", "1h"))
    (folder / ".2024.parquet.0123456789abcdef.next").write_bytes(b"left by a killed write")
    code, out, _ = call("compact")
    assert code == 0
    assert "1 dataset in" in out
    assert [p.name for p in folder.iterdir() if p.name.endswith(".next")] == []
    assert json.loads(call("compact", "--json")[1])["files_rewritten"] == 0

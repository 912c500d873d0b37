"""Exchanges fail in many ways; what ends up in the store is the same, and servers that ask for a pause get it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backtester.cli.app import exit_code
from backtester.errors import ExchangeError
from backtester.market.retry import RetryPolicy
from backtester.market.schema import DatasetKey
from backtester.market.store import Store
from tests.exchange.faults import Fault, FaultKind, FaultPlan, Rule
from tests.exchange.market import Market
from tests.exchange.server import ExchangeServer
from tests.fetch.truth import BTC, ETH, HOUR, NOW, START, Fetch, settled, stored, truth

ROOT = Path(__file__).resolve().parents[2]
MARKET = Market.generated(seed=5)
LAST_HOUR = NOW // HOUR * HOUR
BARS = ("trade", "mark", "index", "premium")
CLOSED_PAGES = "*ines"  # klines, markPriceKlines, …, not the contracts

FAULTS = {
    "429": Fault.rate_limited(0),
    "418": Fault.rate_limited(0, status=418),
    "500": Fault.failing(500),
    "502 HTML": Fault(FaultKind.HTML, 502),
    "503": Fault.failing(503),
    "200 HTML": Fault(FaultKind.HTML, 200),
    "truncated": Fault(FaultKind.TRUNCATED),
    "cut": Fault(FaultKind.CUT),
    "refused": Fault(FaultKind.REFUSE),
    "hang": Fault(FaultKind.HANG),
    "slow": Fault(FaultKind.SLOW, seconds=0.2),
    "short page": Fault(FaultKind.SHORT),
    "empty page": Fault(FaultKind.EMPTY),
    "row twice": Fault(FaultKind.DUPLICATE),
    "out of order": Fault(FaultKind.SHUFFLED),
}


@pytest.mark.parametrize("venue", ["binance", "bybit"])
@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_every_kind_change_nothing_in_the_store(store: Store, bring: Fetch, venue: str, name: str) -> None:
    # a request that hangs takes its whole patience, which must be longer than an answer on a busy machine
    rule = Rule(FAULTS[name], path="*line*", share=0.3, attempts=1) if name == "hang" else None
    faults = FaultPlan(rule or Rule(FAULTS[name], share=0.4, attempts=2), seed=1)
    with ExchangeServer(MARKET, venue, now=NOW, faults=faults) as server:
        result = bring(
            server,
            timeout_ms=2_000 if name == "hang" else 20_000,
            policy=RetryPolicy(attempts=9, first_delay=0.01, cap=0.05),
            symbols=(ETH,),
            series=("trade", "mark", "funding"),
        )
        assert any(seen.fault for seen in server.requests())
    assert result.failures == []
    for series in ("trade", "mark"):
        assert stored(store, venue, ETH, series, "1h").equals(truth(MARKET, ETH, series, "1h", START, LAST_HOUR))
    funding = store.read(DatasetKey(venue, ETH, "funding", "event"))
    assert funding["funding_rate"].to_list() == settled(MARKET, ETH, START, NOW)["funding_rate"].to_list()


def test_a_pause_that_the_server_asks_for_is_kept_by_every_request(store: Store, bring: Fetch) -> None:
    faults = FaultPlan(Rule(Fault.rate_limited(1), path="*/klines", numbers=(5,)))
    with ExchangeServer(MARKET, "binance", now=NOW, faults=faults, delay=0.02) as server:
        bring(server, series=BARS, timeframes=("15m",))  # long enough that the others are still at work
        seen = server.requests()
    (hit,) = [s for s in seen if s.fault]
    # requests that were under way when the answer came are not meant
    later = [s.time - hit.time for s in seen if s.time > hit.time + 0.2]
    assert later
    assert min(later) >= 1.0


def test_an_exchange_that_keeps_failing_is_given_up_and_named(store: Store, bring: Fetch) -> None:
    faults = FaultPlan(Rule(Fault.failing(503), path="*/markPriceKlines"))
    with ExchangeServer(MARKET, "binance", now=NOW, faults=faults) as server:
        result = bring(server, series=("trade", "mark"), policy=RetryPolicy(attempts=3, first_delay=0.01))
        asked = [s for s in server.requests() if s.path.endswith("markPriceKlines")]
    ((key, error),) = result.failures
    assert key.series == "mark"
    assert isinstance(error, ExchangeError)
    assert "answers HTTP 503; gave up on BTC/USDT:USDT mark 1h after 3 attempts" in error.message
    assert len(asked) == 3
    assert stored(store, "binance", BTC, "trade", "1h").equals(truth(MARKET, BTC, "trade", "1h", START, LAST_HOUR))


def test_a_refusal_is_not_repeated(store: Store, bring: Fetch) -> None:
    with ExchangeServer(MARKET, "binance", now=NOW, faults=FaultPlan(Rule(Fault(FaultKind.HTML, 451)))) as server:
        with pytest.raises(ExchangeError, match="HTTP 451: it does not serve the place"):
            bring(server)
        assert len(server.requests()) == 1
    assert not store.root.exists()


# ---- killed and interrupted


@contextmanager
def fetching(server: ExchangeServer, store: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the command in a process of its own."""
    command = [
        *(sys.executable, "-m", "backtester", "data", "fetch", "--venue", "binance", "--base-url", server.url),
        *("--pause", "0", "--symbols", f"{BTC},{ETH}", "--series", "trade,mark,funding", "--timeframes", "1h,15m"),
        *("--start", "2023-11-20", "--store", str(store)),
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def contents(store: Path) -> dict[str, str]:
    """Return the checksum of each dataset's values."""
    whole = Store(store)
    return {str(key): whole.fingerprint(key) for key in whole.keys("binance")}


@pytest.fixture
def kill_and_go_on(tmp_path: Path) -> Callable[[int, int], None]:
    """Kill a fetch at random moments until one run is left alone; compare with an undisturbed one."""

    def run(kills: int, seed: int) -> None:
        moments = random.Random(seed)
        with ExchangeServer(MARKET, "binance", now=NOW, delay=0.01) as server:
            with fetching(server, tmp_path / "calm") as process:
                process.communicate()
            assert process.returncode == 0
            undisturbed = len(server.requests())
            killed = 0
            for _ in range(kills):
                server.forget()
                wanted = moments.randint(3, 40)
                with fetching(server, tmp_path / "killed") as process:
                    while process.poll() is None and len(server.requests()) < wanted:
                        time.sleep(0.002)
                    time.sleep(moments.random() * 0.05)
                    killed += process.poll() is None
                    process.send_signal(signal.SIGKILL)
            server.forget()
            with fetching(server, tmp_path / "killed") as process:
                _, err = process.communicate()
            assert process.returncode == 0, err
            assert killed >= min(kills, 2)
            assert len(server.requests()) <= undisturbed
        assert contents(tmp_path / "killed") == contents(tmp_path / "calm")
        assert Store(tmp_path / "killed").damaged(DatasetKey("binance", BTC, "trade", "15m")) == []
        left = [p for p in (tmp_path / "killed").rglob(".*") if p.name != ".lock"]
        assert left == []

    return run


def test_a_killed_fetch_goes_on_where_it_ended(kill_and_go_on: Callable[[int, int], None]) -> None:
    kill_and_go_on(3, int(os.environ.get("BACKTESTER_SEED", "1")))


@pytest.mark.long
def test_fifty_kills(kill_and_go_on: Callable[[int, int], None]) -> None:
    kill_and_go_on(50, 2)


def test_what_a_killed_first_fetch_left_is_listed(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    with ExchangeServer(MARKET, "binance", now=NOW, delay=0.02) as server, fetching(server, store.root) as process:
        while process.poll() is None and len(list(store.root.rglob(".*.page"))) < 4:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    left = {page.parent for page in store.root.rglob(".*.page")}
    assert left
    assert exit_code(["data", "list", "--store", str(store.root)]) == 0
    assert left <= {store.folder(key) for key in store.keys("binance") if store.manifest(key).rows}
    assert list(store.root.rglob(".*.page")) == []


def test_an_interrupted_fetch_keeps_what_came_in(tmp_path: Path) -> None:
    exchange = ExchangeServer(MARKET, "binance", now=NOW, delay=0.05)
    with exchange as server, fetching(server, tmp_path / "data") as process:
        while len([s for s in server.requests() if "lines" in s.path]) < 12:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "rows came in and are stored" in err
    assert err.rstrip().endswith("Interrupted.")
    store = Store(tmp_path / "data")
    assert sum(store.manifest(key).rows for key in store.keys("binance")) > 1000

"""A loopback exchange, a store of one's own, and a fetch that does not dawdle."""

from __future__ import annotations

from pathlib import Path

import pytest

from backtester.market.fetch import FetchRequest, FetchResult, Route, fetch
from backtester.market.retry import RetryPolicy
from backtester.market.store import Store
from tests.exchange.server import ExchangeServer
from tests.fetch.truth import BTC, START, Fetch

PATIENT = RetryPolicy(attempts=6, first_delay=0.01, cap=0.05)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data", lock_timeout=0.2)


@pytest.fixture
def bring(store: Store) -> Fetch:
    """Fetch from a server into the store, without pauses."""

    def run(
        server: ExchangeServer, timeout_ms: int = 20_000, policy: RetryPolicy = PATIENT, **wanted: object
    ) -> FetchResult:
        request = FetchRequest(**{"venue": server.venue, "symbols": (BTC,), "start": START, **wanted})  # type: ignore[arg-type]
        return fetch(store, request, route=Route(server.url, 0, timeout_ms, policy))

    return run

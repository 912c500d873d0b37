from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from backtester.errors import DataError, InternalError
from backtester.market.frame import signal_bars
from backtester.market.panel import load_panel
from backtester.market.schema import DatasetKey
from backtester.market.snapshot import Snapshot
from backtester.market.store import Store

VENUE, BTC, ETH = "synthetic", "BTC/USDT:USDT", "ETH/USDT:USDT"


@pytest.fixture(scope="module")
def snapshot(demo_store: Path) -> Snapshot:
    """The series of one contract, as another process gets them."""
    store = Store(demo_store)
    back = pickle.loads(pickle.dumps(Snapshot.taken(store, store.keys(VENUE, BTC))))
    assert isinstance(back, Snapshot)
    return back


def test_it_reads_like_the_store(snapshot: Snapshot, demo_store: Path) -> None:
    store = Store(demo_store)
    for key in store.keys(VENUE, BTC):
        assert_frame_equal(snapshot.read(key), store.read(key), check_exact=True)
        assert snapshot.span(key) == store.span(key)
        assert snapshot.first_import(key) == store.first_import(key)
        assert snapshot.fingerprint(key) == store.fingerprint(key)
    assert snapshot.tier_tables(VENUE, BTC) == store.tier_tables(VENUE, BTC)
    assert snapshot.instruments(VENUE, BTC) == store.instruments(VENUE, BTC)


def test_panels_and_signal_bars_are_those_of_the_store(snapshot: Snapshot, demo_store: Path) -> None:
    ours = load_panel(snapshot, VENUE, [BTC], "1h", index=True)
    theirs = load_panel(Store(demo_store), VENUE, [BTC], "1h", index=True)
    np.testing.assert_array_equal(ours.trade.close, theirs.trade.close)
    np.testing.assert_array_equal(ours.mark.low, theirs.mark.low)
    np.testing.assert_array_equal(ours.settlements[0].rate, theirs.settlements[0].rate)
    assert_frame_equal(
        signal_bars(snapshot, VENUE, [BTC], "4h", ours.start + 86_400_000, warmup_bars=3),
        signal_bars(Store(demo_store), VENUE, [BTC], "4h", ours.start + 86_400_000, warmup_bars=3),
        check_exact=True,
    )


def test_it_knows_the_names_of_what_it_does_not_hold(snapshot: Snapshot, demo_store: Path) -> None:
    store = Store(demo_store)
    assert snapshot.keys() == store.keys()
    assert snapshot.symbols(VENUE) == store.symbols(VENUE)
    key = store.keys(VENUE, ETH, "trade")[0]
    assert snapshot.has(key)
    with pytest.raises(InternalError, match="was not sent to this worker"):
        snapshot.span(key)
    missing = DatasetKey(VENUE, "XRP/USDT:USDT", "trade", "1h")
    assert not snapshot.has(missing)
    with pytest.raises(DataError, match="there is no such series"):
        snapshot.read(missing)


def test_it_cannot_be_changed(snapshot: Snapshot, demo_store: Path) -> None:
    key = Store(demo_store).keys(VENUE, BTC, "trade")[0]
    with pytest.raises(InternalError, match="can be read, not changed"):
        snapshot.delete(key)

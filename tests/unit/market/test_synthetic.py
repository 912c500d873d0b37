"""The made-up market: its rules hold, by formulas written here again; a seed decides every byte."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from backtester.domain.enums import ContractKind
from backtester.domain.margin_tiers import TierTable
from backtester.errors import UsageError
from backtester.market.frame import signal_bars
from backtester.market.panel import Panel, load_panel
from backtester.market.schema import DatasetKey
from backtester.market.store import Store
from backtester.market.synthetic import (
    BAR_MS,
    CONTRACTS,
    CRASH,
    END,
    OUTAGE,
    START,
    VENUE,
    Listing,
    simulate,
    write_demo,
    write_listing,
)
from backtester.market.synthetic_paths import decayed, mark_path, stationary

H = 3_600_000
DAY = 24 * H
SYMBOLS = tuple(c.symbol for c in CONTRACTS)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("demo"))
    told: list[str] = []
    write_demo(store, progress=told.append)
    assert len(told) == 1 + len(SYMBOLS)
    return store


@pytest.fixture(scope="module")
def hours(demo: Store) -> Panel:
    return load_panel(demo, VENUE, SYMBOLS, "1h", index=True)


@pytest.fixture(scope="module")
def crash() -> list[Listing]:
    """Ten days around the crash."""
    middle = CRASH // DAY * DAY
    return list(simulate(3, middle - 5 * DAY, middle + 5 * DAY))


def read(store: Store, symbol: str, series: str, timeframe: str) -> pl.DataFrame:
    return store.read(DatasetKey(VENUE, symbol, series, timeframe))


# ---- what is stored


def test_two_years_of_three_contracts(demo: Store, hours: Panel) -> None:
    assert demo.symbols(VENUE) == sorted((*SYMBOLS, *(c.spot.symbol for c in CONTRACTS)))
    assert (hours.start, hours.end) == (START, END)
    assert hours.trade.open.shape == (3, 731 * 24)
    assert hours.notes == ()
    fives = load_panel(demo, VENUE, SYMBOLS, "5m", index=True)  # every check of a run passes
    assert fives.trade.open.shape == (3, 731 * 288)
    assert fives.mark_timeframe_ms == BAR_MS


@pytest.mark.parametrize("series", ["trade", "mark", "index", "premium"])
def test_hours_are_aggregates_of_five_minutes(demo: Store, series: str) -> None:
    for symbol in SYMBOLS:
        fine, coarse = read(demo, symbol, series, "5m"), read(demo, symbol, series, "1h")
        columns = {c: fine[c].to_numpy().reshape(-1, 12) for c in fine.columns if c != "open_time"}
        np.testing.assert_array_equal(coarse["open"], columns["open"][:, 0])
        np.testing.assert_array_equal(coarse["high"], columns["high"].max(axis=1))
        np.testing.assert_array_equal(coarse["low"], columns["low"].min(axis=1))
        np.testing.assert_array_equal(coarse["close"], columns["close"][:, -1])
        if series == "trade":
            np.testing.assert_allclose(coarse["volume"], columns["volume"].sum(axis=1), rtol=1e-12)


def test_instruments_and_tiers(demo: Store) -> None:
    for contract in CONTRACTS:
        assert demo.instrument(VENUE, contract.symbol) == contract.instrument
        (table,) = demo.tier_tables(VENUE, contract.symbol)
        assert isinstance(table, TierTable)
        assert table.tiers == contract.tiers.tiers
        assert table.discontinuities() == []
        assert table.tiers[1].maintenance_amount == pytest.approx(
            table.tiers[1].notional_floor
            * (table.tiers[1].maintenance_margin_rate - table.tiers[0].maintenance_margin_rate)
        )


def test_prices_keep_to_tick_and_lot(demo: Store) -> None:
    for contract in CONTRACTS:
        trade = read(demo, contract.symbol, "trade", "5m")
        for column, step in (
            ("close", contract.instrument.tick),
            ("high", contract.instrument.tick),
            ("volume", contract.instrument.lot),
        ):
            assert step is not None
            values = trade[column].to_numpy()
            assert np.abs(values / step - np.round(values / step)).max() < 1e-6


def test_the_base_of_each_contract_is_traded_at_spot_too(demo: Store, hours: Panel) -> None:
    pairs = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
    assert tuple(c.spot.symbol for c in CONTRACTS) == pairs
    assert [demo.instrument(VENUE, symbol) for symbol in pairs] == [c.spot for c in CONTRACTS]
    assert {c.spot.kind for c in CONTRACTS} == {ContractKind.SPOT}
    panel = load_panel(demo, VENUE, (*SYMBOLS, *pairs), "1h")
    assert panel.open_time.size == hours.open_time.size
    assert hours.index is not None
    spot, index = panel.trade.close[3:], hours.index.close
    assert np.quantile(np.abs(spot / index - 1.0), 0.99) < 0.0004  # five deviations of a calm bounce
    assert (panel.mark.close[3:] == spot).all()
    basis = panel.trade.close[:3] / spot - 1.0
    assert (np.abs(basis.mean(axis=1)) > 5e-5).all()  # there is a premium to carry


# ---- funding


def test_rates_follow_from_the_stored_premium(demo: Store) -> None:
    """Exactly, in fractions, from the stored bars alone."""
    for contract in CONTRACTS:
        funding = read(demo, contract.symbol, "funding", "event")
        premium = read(demo, contract.symbol, "premium", "5m")
        ends = (premium["open_time"].dt.epoch("ms") + BAR_MS).to_list()
        closes = dict(zip(ends, (premium["close"] * 1e8).round().cast(pl.Int64).to_list(), strict=True))
        times, rates = funding["funding_time"].dt.epoch("ms").to_list(), funding["funding_rate"].to_list()
        limit = Fraction(contract.rate_limit)
        for before, time, rate in zip(times[:-1], times[1:], rates[1:], strict=True):
            samples = [closes[t] for t in range(before + BAR_MS, time + 1, BAR_MS)]
            mean = Fraction(sum(samples), len(samples) * 10**8)
            pull = max(Fraction(-5, 10_000), min(Fraction(5, 10_000), Fraction(1, 10_000) - mean))
            expected = (mean + pull) * Fraction(time - before, 8 * H)
            assert abs(Fraction(rate) - max(-limit, min(limit, expected))) <= Fraction(51, 10**10)
        assert rates[0] == 0.0001


def test_settlements_keep_their_intervals(demo: Store, hours: Panel) -> None:
    assert [len(s.time) for s in hours.settlements] == [2_193, 2_193, 396 * 3 + 335 * 6]
    sol = hours.settlements[2]
    change = int(np.argmax(sol.interval_hours == 4.0))
    assert sol.time[change] == 1_706_745_600_000 + 4 * H  # 2024-02-01 04:00
    assert set(sol.interval_hours[:change]) == {8.0}
    assert set(sol.interval_hours[change:]) == {4.0}


def test_records_carry_the_mark_at_their_time(hours: Panel) -> None:
    for i, records in enumerate(hours.settlements):
        places = np.searchsorted(hours.open_time, records.time)
        np.testing.assert_array_equal(records.mark_price, hours.mark.open[i, places])


def test_funding_is_alive(hours: Panel) -> None:
    """It changes sign, rests at the interest, and meets its cap in the crash."""
    for i, records in enumerate(hours.settlements):
        assert 0.03 < (records.rate < 0).mean() < 0.4
        assert (np.abs(records.rate - 0.0001 * records.interval_hours / 8) < 1e-12).mean() > 0.2
        assert records.rate.max() > 0.0005
        worst = records.time[np.argmin(records.rate)]
        assert CRASH < worst <= CRASH + 12 * H
        assert records.rate.min() >= -CONTRACTS[i].rate_limit
    assert hours.settlements[0].rate.min() == -CONTRACTS[0].rate_limit


def test_the_forecast_meets_the_settled_rate(demo: Store) -> None:
    """Five minutes before a settlement, all but one sample of its mean are known."""
    frame = signal_bars(demo, VENUE, SYMBOLS[:1], "5m", START + 30 * DAY, START + 90 * DAY)
    settled = frame.with_columns(pl.col("funding_rate").shift(-1).alias("next")).filter(
        (pl.col("hours_to_funding") - 1 / 12).abs() < 1e-9
    )
    assert settled.height == 180
    assert (settled["predicted_funding_rate"] - settled["next"]).abs().max() < 3e-5  # type: ignore[operator]


# ---- prices


def test_the_mark_is_the_venues_median(crash: list[Listing]) -> None:
    """At the closes, from the stored premium and index to the rounding of both."""
    for listing in crash:
        tick = listing.contract.instrument.tick
        assert tick is not None
        index, premium = listing.latent_index, listing.latent_premium
        funding = listing.funding.with_columns(pl.col("funding_time").dt.epoch("ms"))
        start = int(listing.trade["open_time"].dt.epoch("ms")[0])
        for bar in range(20, listing.trade.height, 37):
            minute, time = 5 * bar + 5, start + (bar + 1) * BAR_MS
            before = funding.filter(pl.col("funding_time") < time).row(-1, named=True)
            after = funding.filter(pl.col("funding_time") >= time)
            if not after.height:
                continue
            due = after["funding_time"][0]
            left = (due - time) / (due - before["funding_time"])
            price1 = index[minute] * (1 + before["funding_rate"] * left)
            price2 = index[minute] + np.mean([index[m] * premium[m] for m in range(minute - 4, minute + 1)])
            middle = sorted([price1, price2, listing.trade["close"][bar]])[1]
            assert listing.mark["close"][bar] == pytest.approx(middle, abs=tick)


def test_bars_are_possible_and_join(crash: list[Listing]) -> None:
    for listing in crash:
        for name, bars in listing.bars():
            assert (bars["low"] <= bars.select(pl.min_horizontal("open", "close")).to_series()).all()
            assert (bars["high"] >= bars.select(pl.max_horizontal("open", "close")).to_series()).all()
            if name != "trade":
                assert bars["open"][1:].equals(bars["close"][:-1])
                assert (bars["low"] > 0).all() or name == "premium"


def test_trades_stay_near_the_fair_price(hours: Panel) -> None:
    gap = np.abs(hours.trade.close / hours.mark.close - 1)
    assert np.median(gap) < 0.0005
    assert gap.max() < 0.03


def test_the_stored_premium_is_that_of_the_prices(crash: list[Listing]) -> None:
    for listing in crash:
        implied = (listing.trade["close"] / listing.index["close"] - 1).to_numpy()
        assert np.abs(implied - listing.premium["close"].to_numpy()).max() < 0.006  # the bounce grows in the crash
        assert np.abs(np.median(implied - listing.premium["close"].to_numpy())) < 2e-5
        assert listing.premium["close"].to_numpy() == pytest.approx(listing.latent_premium[5::5], abs=0)


@pytest.mark.parametrize(("symbol", "leverage"), [(0, 5), (1, 4), (2, 2.5)])
def test_the_crash_takes_a_levered_long(hours: Panel, symbol: int, leverage: float) -> None:
    before = int(np.searchsorted(hours.open_time, CRASH - H))
    entry = hours.trade.open[symbol, before]
    rate = CONTRACTS[symbol].tiers.tiers[0].maintenance_margin_rate
    trigger = entry * (1 - 1 / leverage) / (1 - rate)
    assert hours.mark.low[symbol, before : before + 4].min() < trigger


def test_contracts_move_together_with_fat_tails(hours: Panel) -> None:
    returns = np.diff(np.log(hours.trade.close), axis=1)
    assert np.corrcoef(returns)[np.triu_indices(3, 1)].min() > 0.5
    volatility = returns.std(axis=1) * np.sqrt(365 * 24)
    assert (volatility > [0.3, 0.4, 0.6]).all()
    assert (volatility < [0.9, 1.0, 1.3]).all()
    kurtosis = ((returns / returns.std(axis=1, keepdims=True)) ** 4).mean(axis=1)
    assert (kurtosis > 6).all()
    squares = np.abs(returns[0])
    assert np.corrcoef(squares[1:], squares[:-1])[0, 1] > 0.1  # volatility comes in clusters


def test_the_outage_has_no_volume_and_no_move(demo: Store) -> None:
    for symbol in SYMBOLS:
        trade = read(demo, symbol, "trade", "5m")
        still = trade.filter(pl.col("volume") == 0)
        times = still["open_time"].dt.epoch("ms").to_list()
        assert times == list(range(OUTAGE[0], OUTAGE[1], BAR_MS))
        assert still["high"].equals(still["low"].alias("high"))


# ---- seeds and parts


def digest(store: Store) -> str:
    content = hashlib.sha256()
    for path in sorted(store.root.rglob("*.parquet")):
        content.update(path.relative_to(store.root).as_posix().encode() + path.read_bytes())
    return content.hexdigest()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 4), ("a", 5), ("a", 4), ("b", 4)):  # over an old one, and afresh
        store = Store(tmp_path / name)
        for listing in simulate(seed, START, START + 3 * DAY):
            write_listing(store, listing)
        digests.append(digest(store))
    assert digests[0] == digests[2] == digests[3] != digests[1]


def test_seeds_differ_and_days_are_whole(crash: list[Listing]) -> None:
    span = (START, START + 2 * DAY)
    first, again, other = (next(simulate(seed, *span)) for seed in (1, 1, 2))
    assert_frame_equal(first.trade, again.trade, check_exact=True)
    assert not first.trade.equals(other.trade)
    assert first.trade.height == 2 * 288
    with pytest.raises(UsageError, match="whole days"):
        next(simulate(1, START, START + H))


def test_decay_is_the_recursion() -> None:
    shocks = np.random.default_rng(0).standard_normal(3_000)
    expected, factor = np.zeros(3_000), 0.5 ** (1 / 50)
    for t, shock in enumerate(shocks):
        expected[t] = factor * (expected[t - 1] if t else 0.0) + shock
    np.testing.assert_allclose(decayed(shocks, 50.0), expected, rtol=0, atol=1e-9)


def test_stationary_paths_have_unit_variance() -> None:
    ends = np.array([stationary(np.random.default_rng(seed), 40, 20.0)[[0, -1]] for seed in range(2_000)])
    np.testing.assert_allclose(ends.std(axis=0), 1.0, atol=0.05)


def test_mark_takes_the_middle_price() -> None:
    index, premium = np.full(6, 100.0), np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.05])
    traded = np.array([100.0, 100.2, 99.0, 100.0, 100.0, 105.0])
    mark = mark_path(index, premium, traded, np.full(6, 0.001), np.full(6, 0.5))
    assert mark.tolist() == pytest.approx([100.0, 100.05, 100.0, 100.0, 100.0, 101.0])

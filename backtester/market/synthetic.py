"""A perpetual market with a known truth, for the demo and for tests: venue ``synthetic``, three contracts, two years.

The index has stochastic volatility, jumps, slowly changing trends and one crash, correlated across contracts. The
premium follows the trend of the last days, reverts to it within hours, has spikes, and breaks in the crash. The rest
follows by rule:

* a funding rate is ``[P + clamp(0.01 % - P, ±0.05 %)] / (8 / N)`` within the contract's cap and floor, ``P`` the plain
  mean of the premium at the closes of the 5m bars of the ``N`` hours before, rounded to 8 decimals;
  the settlement at the very start has no hours before it and is the interest rate;
* the mark is the median of ``index * (1 + last rate * time to funding / interval)``, ``index + mean of the basis over
  5 minutes`` and the last trade;
* SOL settles every 8 hours until 2024-02-01, every 4 hours from then on;
* for a quarter of an hour on 2023-08-29 the contracts do not trade;
* each contract's base is traded at spot too (``BTC/USDT``): at the index, with a bounce of its own.

Bars of 1h are the aggregates of those of 5m. A seed gives the same market each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from backtester.domain.enums import ContractKind
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.errors import UsageError
from backtester.market.forecast import INTEREST, clamped_rate
from backtester.market.intervals import HOUR_MS, MINUTE_MS
from backtester.market.schema import EVENT, TIME, DatasetKey, instrument_frame, tier_frame
from backtester.market.series import SYNTHETIC_VENUE, aggregate
from backtester.market.synthetic_paths import (
    common_factor,
    index_path,
    mark_path,
    premium_path,
    stationary,
    traded_path,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtester.market.store import Store
    from backtester.market.synthetic_paths import Factor


def _utc(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc,arg-type] # year, month, day, hour, minute


VENUE = SYNTHETIC_VENUE
SOURCE = "made by backtester.market.synthetic"
BAR_MS = 5 * MINUTE_MS
START = _utc(2023, 1, 1)
END = _utc(2025, 1, 1)
CRASH = _utc(2024, 4, 12, 19, 20)
EDITION = 2025  # part of every seed; a change of the rules below is a new edition
SPOT_FEE = 0.001
SPOT_VOLUME = 0.4  # of the contract's
OUTAGE = (_utc(2023, 8, 29, 6, 20), _utc(2023, 8, 29, 6, 35))


@dataclass(frozen=True)
class Contract:
    """The truth about one made-up contract.

    Attributes
    ----------
    instrument : Instrument
        What the store holds of it.
    tiers : TierTable
        Its margin brackets.
    first_price : float
        Index at the start [USDT].
    beta : float
        Share of the common factor in its returns.
    own_volatility, own_trend : float
        Annual volatility and standard deviation of the annual drift that are its own.
    premium_scale : float
        Standard deviation of what the trend of the last days adds to the premium [fraction].
    crash_depth : float
        Fall of the index at the bottom of the crash [fraction].
    crash_premium : float
        Premium that the crash adds at its worst [fraction].
    rate_limit : float
        Cap of a settlement's rate, and floor with the other sign [fraction].
    intervals : tuple of (int, int)
        ``(from [ms], hours)``: the interval of settlements after each moment, ascending.
    volume : float
        Typical volume of five minutes [base units].
    """

    instrument: Instrument
    tiers: TierTable
    first_price: float
    beta: float
    own_volatility: float
    own_trend: float
    premium_scale: float
    crash_depth: float
    crash_premium: float
    rate_limit: float
    volume: float
    intervals: tuple[tuple[int, int], ...] = field(default=((START, 8),))

    @property
    def symbol(self) -> str:
        """Unified name."""
        return self.instrument.symbol

    @property
    def spot(self) -> Instrument:
        """What the store holds of the spot pair of its base."""
        fees = {"taker_fee": SPOT_FEE, "maker_fee": SPOT_FEE}
        symbol = self.symbol.partition(":")[0]
        return self.instrument.model_copy(update={"symbol": symbol, "kind": ContractKind.SPOT, **fees})


def _tiers(symbol: str, *rows: tuple[float, float, float]) -> TierTable:
    """Return a progressive table from ``(cap, maintenance rate, largest leverage)`` of each bracket."""
    floors = [0.0, *(cap for cap, _, _ in rows)]
    tiers = tuple(
        MarginTier(notional_floor=floor, notional_cap=cap, maintenance_margin_rate=rate, max_leverage=leverage)
        for floor, (cap, rate, leverage) in zip(floors, rows, strict=False)
    )
    amounts = TierTable(symbol=symbol, tiers=tiers).deductions()
    stated = tuple(t.model_copy(update={"maintenance_amount": a}) for t, a in zip(tiers, amounts, strict=True))
    return TierTable(symbol=symbol, tiers=stated, source=SOURCE)


def _instrument(symbol: str, tick: float, lot: float) -> Instrument:
    return Instrument(
        symbol=symbol, tick=tick, lot=lot, min_quantity=lot, min_notional=5.0, taker_fee=0.0005, maker_fee=0.0002
    )


BTC, ETH, SOL = "BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT"
CONTRACTS = (
    Contract(
        instrument=_instrument(BTC, 0.1, 0.001),
        tiers=_tiers(BTC, (300_000, 0.004, 125), (3_000_000, 0.006, 75), (30_000_000, 0.02, 25), (2e9, 0.1, 5)),
        first_price=20_000.0,
        beta=1.0,
        own_volatility=0.15,
        own_trend=0.25,
        premium_scale=0.0006,
        crash_depth=0.22,
        crash_premium=-0.02,
        rate_limit=0.003,
        volume=120.0,
    ),
    Contract(
        instrument=_instrument(ETH, 0.01, 0.01),
        tiers=_tiers(ETH, (300_000, 0.005, 100), (2_000_000, 0.0075, 50), (15_000_000, 0.025, 20), (1e9, 0.125, 4)),
        first_price=1_400.0,
        beta=1.15,
        own_volatility=0.30,
        own_trend=0.4,
        premium_scale=0.0007,
        crash_depth=0.30,
        crash_premium=-0.03,
        rate_limit=0.00375,
        volume=1_500.0,
    ),
    Contract(
        instrument=_instrument(SOL, 0.001, 0.1),
        tiers=_tiers(SOL, (50_000, 0.01, 50), (500_000, 0.02, 25), (5_000_000, 0.05, 10), (2e8, 0.15, 3)),
        first_price=25.0,
        beta=1.35,
        own_volatility=0.60,
        own_trend=0.7,
        premium_scale=0.0010,
        crash_depth=0.48,
        crash_premium=-0.05,
        rate_limit=0.02,
        volume=20_000.0,
        intervals=((START, 8), (_utc(2024, 2, 1), 4)),
    ),
)


@dataclass(frozen=True, eq=False)
class Listing:
    """One contract's market, and the truth behind it.

    Attributes
    ----------
    contract : Contract
        Its parameters.
    trade, mark, index, premium : DataFrame
        Bars of 5m with the columns that the store holds.
    funding : DataFrame
        Settlements with the columns that the store holds.
    spot : DataFrame
        Traded bars of 5m of the spot pair.
    latent_index, latent_premium : ndarray of float64, shape (minutes + 1,)
        Paths at each minute; the stored index is this one, rounded.
    volatility : ndarray of float64, shape (minutes,)
        Annual volatility of the common factor.
    """

    contract: Contract
    trade: pl.DataFrame
    mark: pl.DataFrame
    index: pl.DataFrame
    premium: pl.DataFrame
    funding: pl.DataFrame
    spot: pl.DataFrame
    latent_index: NDArray[np.float64]
    latent_premium: NDArray[np.float64]
    volatility: NDArray[np.float64]

    def bars(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Yield each series of bars with its name."""
        yield from (("trade", self.trade), ("mark", self.mark), ("index", self.index), ("premium", self.premium))


def simulate(seed: int = 7, start: int = START, end: int = END) -> Iterator[Listing]:
    """Make the market, one contract after the other.

    Parameters
    ----------
    seed : int
        Decides everything that is random.
    start, end : int
        Range [ms since 1970, UTC], whole days.

    Yields
    ------
    Listing
        In the order of `CONTRACTS`.
    """
    day_ms = 24 * HOUR_MS
    if start % day_ms or end % day_ms or end <= start:
        raise UsageError("The made-up market covers whole days (UTC).", "Choose a start and a later end at midnight.")
    minutes = (end - start) // MINUTE_MS
    crash_at = (CRASH - start) // MINUTE_MS if start < CRASH < end else None
    count = len(CONTRACTS)
    common, *sources = np.random.SeedSequence([seed, EDITION]).spawn(1 + 2 * count)
    factor = common_factor(np.random.default_rng(common), minutes, crash_at)
    for contract, own, spot in zip(CONTRACTS, sources[:count], sources[count:], strict=True):
        yield _listing(np.random.default_rng(own), np.random.default_rng(spot), contract, factor, start)


def _listing(
    rng: np.random.Generator, spot: np.random.Generator, contract: Contract, factor: Factor, start: int
) -> Listing:
    index = index_path(rng, contract, factor)
    premium = premium_path(rng, contract, factor, index)
    times = start + np.arange(len(index), dtype=np.int64) * MINUTE_MS
    traded = traded_path(rng, index * (1.0 + premium), factor.stress)
    opens = traded_path(rng, index * (1.0 + premium), factor.stress)[:-1:5]
    is_out = (times > OUTAGE[0]) & (times <= OUTAGE[1])
    traded[is_out] = traded[np.argmax(is_out) - 1]
    is_out_bar = is_out[5::5]
    opens[is_out_bar] = traded[5::5][is_out_bar]
    settled, rates = settlements(contract, start, premium[5::5])
    last = np.searchsorted(settled, times, side="left") - 1  # at a settlement the interval before it ends
    due = np.append(settled[1:], _next_settlement(contract, int(settled[-1])))
    part_left = (due[last] - times) / (due[last] - settled[last])
    part_left[last < 0], last[last < 0] = 0.0, 0
    mark = mark_path(index, premium, traded, rates[last], part_left)
    tick = contract.instrument.tick or 0.01
    marks = _bars(start, mark, tick / 10)
    return Listing(
        contract=contract,
        trade=_trades(rng, contract, factor, start=start, traded=traded, opens=opens, is_out=is_out_bar),
        mark=marks,
        index=_bars(start, index, tick / 10),
        premium=_bars(start, premium, 1e-8),
        funding=_funding(settled, rates, marks),
        spot=_spot_trades(spot, contract, factor, start, index),
        latent_index=index,
        latent_premium=premium,
        volatility=factor.volatility,
    )


def _spot_trades(
    rng: np.random.Generator, contract: Contract, factor: Factor, start: int, index: NDArray[np.float64]
) -> pl.DataFrame:
    """Return traded bars of 5m of the spot pair, around the index."""
    traded, opens = (traded_path(rng, index, factor.stress) for _ in range(2))
    thinner = replace(contract, volume=contract.volume * SPOT_VOLUME)
    never = np.zeros(len(index) // 5, dtype=np.bool_)
    return _trades(rng, thinner, factor, start=start, traded=traded, opens=opens[:-1:5], is_out=never)


def settlements(
    contract: Contract, start: int, premium_closes: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the settlement times [ms] and rates that a premium brings about.

    Parameters
    ----------
    contract : Contract
        Its intervals and cap.
    start : int
        Open of the first 5m bar [ms].
    premium_closes : ndarray of float64
        Premium at the close of each 5m bar.
    """
    end = start + len(premium_closes) * BAR_MS
    times, rates = [start], [INTEREST]
    while (due := _next_settlement(contract, times[-1])) < end:
        first, stop = (times[-1] - start) // BAR_MS, (due - start) // BAR_MS
        hours = (due - times[-1]) / HOUR_MS
        rate = clamped_rate(float(premium_closes[first:stop].mean()), hours, contract.rate_limit)
        times.append(due)
        rates.append(round(float(rate), 8))
    return np.array(times, dtype=np.int64), np.array(rates)


def _next_settlement(contract: Contract, time: int) -> int:
    hours = next((h for begin, h in reversed(contract.intervals) if begin <= time), contract.intervals[0][1])
    step = hours * HOUR_MS
    return (time // step + 1) * step


def _funding(settled: NDArray[np.int64], rates: NDArray[np.float64], marks: pl.DataFrame) -> pl.DataFrame:
    opens = marks["open"].to_numpy()
    first = int(marks["open_time"].dt.epoch("ms")[0])
    return pl.DataFrame(
        {
            "funding_time": pl.Series(settled).cast(TIME),
            "funding_rate": rates,
            "mark_price": opens[(settled - first) // BAR_MS],
            "interval_hours": np.diff(settled, append=np.nan) / HOUR_MS,
        }
    ).with_columns(pl.col("interval_hours").shift(1).fill_null(8.0))


def _bars(start: int, path: NDArray[np.float64], tick: float) -> pl.DataFrame:
    """Return bars of 5m over a path of minutes; each opens where the one before closed."""
    inner = path[1:].reshape(-1, 5)
    opens, closes = path[:-1:5], inner[:, -1]
    high = np.maximum(opens, inner.max(axis=1))
    low = np.minimum(opens, inner.min(axis=1))
    return _frame(start, tick, opens, high, low, closes)


def _trades(
    rng: np.random.Generator,
    contract: Contract,
    factor: Factor,
    *,
    start: int,
    traded: NDArray[np.float64],
    opens: NDArray[np.float64],
    is_out: NDArray[np.bool_],
) -> pl.DataFrame:
    """Return traded bars of 5m: wicks beyond the minutes' trades, volume that grows with the range."""
    inner = traded[1:].reshape(-1, 5)
    closes = inner[:, -1]
    bars = len(closes)
    calm = factor.volatility[4::5] / np.sqrt(365 * 288)
    wick = np.abs(rng.standard_normal((2, bars))) * 0.25 * calm * ~is_out
    high = np.maximum(opens, inner.max(axis=1)) * (1.0 + wick[0])
    low = np.minimum(opens, inner.min(axis=1)) * (1.0 - wick[1])
    hour = (start // BAR_MS + np.arange(bars)) % 288 / 12
    season = 1.0 + 0.35 * np.cos((hour - 15.0) / 24.0 * 2.0 * np.pi)  # busiest in the afternoon, UTC
    lot = contract.instrument.lot or 1.0
    activity = season * (0.4 + (high - low) / (closes * calm)) * np.exp(0.5 * stationary(rng, bars, 60.0))
    volume = np.maximum(np.round(contract.volume / 2.0 * activity / lot), 1.0) * ~is_out
    frame = _frame(start, contract.instrument.tick or 0.01, opens, high, low, closes)
    return frame.with_columns(pl.Series("volume", _on_grid(volume * lot, lot)))


def _frame(start: int, tick: float, *prices: NDArray[np.float64]) -> pl.DataFrame:
    times = start + np.arange(len(prices[0]), dtype=np.int64) * BAR_MS
    columns = dict(zip(("open", "high", "low", "close"), (_on_grid(p, tick) for p in prices), strict=True))
    return pl.DataFrame({"open_time": pl.Series(times).cast(TIME), **columns})


def _on_grid(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Round to multiples of a step that is a negative power of ten, to the nearest float of each decimal."""
    per_unit = round(1.0 / step)
    rounded: NDArray[np.float64] = np.round(values * per_unit) / per_unit
    return rounded


def write_demo(store: Store, *, seed: int = 7, progress: Callable[[str], None] | None = None) -> None:
    """Write the made-up market to a store, replacing an earlier one.

    Parameters
    ----------
    store : Store
        Where to.
    seed : int
        Decides everything that is random.
    progress : callable, optional
        Told what is being done, one line at a time.
    """
    tell = progress or (lambda _: None)
    tell("making index, premium, marks and trades of the synthetic market")
    for listing in simulate(seed):
        tell(f"writing {listing.contract.symbol}: bars of 5m and 1h, funding, margin tiers; its spot pair")
        write_listing(store, listing)


def write_listing(store: Store, listing: Listing) -> None:
    """Write one contract's market and its spot pair to a store, replacing an earlier one."""
    contract = listing.contract
    for series, bars in listing.bars():
        _write_bars(store, contract.symbol, series, bars)
    events = {
        "funding": listing.funding,
        "tiers": tier_frame([contract.tiers]),
        "instrument": instrument_frame(contract.instrument),
    }
    for series, frame in events.items():
        store.write(DatasetKey(VENUE, contract.symbol, series, EVENT), frame, source=SOURCE, replace=True)
    _write_bars(store, contract.spot.symbol, "trade", listing.spot)
    key = DatasetKey(VENUE, contract.spot.symbol, "instrument", EVENT)
    store.write(key, instrument_frame(contract.spot), source=SOURCE, replace=True)


def _write_bars(store: Store, symbol: str, series: str, bars: pl.DataFrame) -> None:
    hourly = aggregate(bars, BAR_MS, HOUR_MS)
    store.write(DatasetKey(VENUE, symbol, series, "5m"), bars, source=SOURCE, replace=True)
    store.write(DatasetKey(VENUE, symbol, series, "1h"), hourly, source=SOURCE, replace=True)

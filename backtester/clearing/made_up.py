"""A made-up crash on bars of a minute, for a demo that needs no data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from backtester.clearing.file import ShockConfig
from backtester.clearing.market import ClearingMarket, Floats, FundingSchedule
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import MarginTier, TierTable

SYMBOL = "BTC/USDT:USDT"
START_MS = 1_735_689_600_000  # 2025-01-01 00:00 UTC
MINUTE_MS = 60_000
EIGHT_HOURS_MS = 8 * 60 * MINUTE_MS
MINUTES_A_YEAR = 365 * 1440
STEPS = 8  # points of the path inside a bar, from which its extremes are taken
_BRACKETS = ((300_000, 0.004, 125), (3_000_000, 0.006, 75), (30_000_000, 0.02, 25), (float("inf"), 0.05, 10))


def made_up_markets(
    shock: ShockConfig, open_interest: float, past_days: float
) -> tuple[ClearingMarket, ClearingMarket]:
    """Return the bars of the crash and the calm ones before it, over which entries are spread.

    Parameters
    ----------
    shock : ShockConfig
        The crash.
    open_interest : float
        Notional of the contract [quote], of which volumes are multiples.
    past_days : float
        Length of the time before; a bar at least.
    """
    past_bars = max(1, round(past_days * 1440))
    calm = max(1, round(shock.calm_hours * 60))
    stress = np.zeros(past_bars + 2 * calm + shock.fall_minutes + shock.rebound_minutes)
    fall = slice(past_bars + calm, past_bars + calm + shock.fall_minutes)
    rebound = slice(fall.stop, fall.stop + shock.rebound_minutes)
    mark, trade = _paths(shock, len(stress), past_bars, fall, rebound)
    stress[fall], stress[rebound] = 1.0, np.linspace(1.0, 0.0, shock.rebound_minutes)
    rng = np.random.default_rng([shock.seed, 2])
    minute = shock.daily_turnover * open_interest / shock.price / 1440
    volume = minute * (1.0 + (shock.crash_volume - 1.0) * stress) * np.exp(0.3 * rng.standard_normal(len(stress)))
    whole = _market(shock, mark, trade, volume, START_MS - past_bars * MINUTE_MS)
    return _cut(whole, slice(past_bars, None)), _cut(whole, slice(0, past_bars))


def _paths(shock: ShockConfig, bars: int, past: int, fall: slice, rebound: slice) -> tuple[Floats, Floats]:
    """Return mark and trade at each step, one more than there are steps; both are at the given price after the past."""
    rng = np.random.default_rng([shock.seed, 1])
    count = bars * STEPS
    noise = rng.standard_normal(count) * shock.volatility / np.sqrt(MINUTES_A_YEAR * STEPS)
    path = np.concatenate([[0.0], np.cumsum(noise)])
    path -= path[past * STEPS]
    drift, depth = np.zeros(count + 1), np.zeros(count + 1)
    begin, low, end = fall.start * STEPS, fall.stop * STEPS, rebound.stop * STEPS
    bottom = np.log1p(-shock.fall)
    regained = np.log1p(-shock.fall * (1.0 - shock.rebound))
    part = np.linspace(0.0, 1.0, low - begin + 1)
    drift[begin : low + 1] = bottom * part**2  # slow first, fastest at the low
    drift[low : end + 1] = bottom + (regained - bottom) * np.sqrt(np.linspace(0.0, 1.0, end - low + 1))
    drift[end:] = regained
    depth[begin : low + 1] = part**4
    depth[low : end + 1] = np.linspace(1.0, 0.0, end - low + 1) ** 4
    path[begin:] -= path[low] * np.clip(np.arange(count + 1 - begin) / (low - begin), 0.0, 1.0)  # the low is exact
    mark = shock.price * np.exp(path + drift)
    return mark, mark * (1.0 - shock.undercut * depth)


def _market(shock: ShockConfig, mark: Floats, trade: Floats, volume: Floats, start: int) -> ClearingMarket:
    names = ("open", "high", "low", "close")
    bars = len(volume)
    time = start + MINUTE_MS * np.arange(bars, dtype=np.int64)
    columns: dict[str, Any] = {
        f"{kind}{name}": part[None, :]
        for kind, path in (("mark_", mark), ("", trade))
        for name, part in zip(names, _bars(path), strict=True)
    }
    due = np.arange(-(-start // EIGHT_HOURS_MS) * EIGHT_HOURS_MS, time[-1] + 1, EIGHT_HOURS_MS, dtype=np.int64)
    funding = FundingSchedule(due, np.full(len(due), shock.funding_rate), np.full(len(due), np.nan))
    floors = [0.0, *(cap for cap, _, _ in _BRACKETS)]
    tiers = tuple(
        MarginTier(notional_floor=floor, notional_cap=cap, maintenance_margin_rate=rate, max_leverage=leverage)
        for floor, (cap, rate, leverage) in zip(floors, _BRACKETS, strict=False)
    )
    return ClearingMarket(
        symbols=(SYMBOL,),
        open_time=time,
        bar_ms=MINUTE_MS,
        volume=volume[None, :],
        funding=(funding,),
        instruments=(Instrument(symbol=SYMBOL),),
        tiers=(TierTable(symbol=SYMBOL, tiers=tiers, source="made up"),),
        notes=(f"The market is made up: a fall of {shock.fall:.0%} within {shock.fall_minutes} minutes.",),
        **columns,
    )


def _bars(path: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return open, high, low and close of a path with `STEPS` points a bar and one at the end."""
    inside = path[:-1].reshape(-1, STEPS)
    close = path[STEPS::STEPS]
    return inside[:, 0], np.maximum(inside.max(1), close), np.minimum(inside.min(1), close), close


def _cut(market: ClearingMarket, part: slice) -> ClearingMarket:
    names = ("open", "high", "low", "close", "volume", "mark_open", "mark_high", "mark_low", "mark_close")
    columns: dict[str, Any] = {name: np.ascontiguousarray(getattr(market, name)[:, part]) for name in names}
    return replace(market, open_time=market.open_time[part], **columns)

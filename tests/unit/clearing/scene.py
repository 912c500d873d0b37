"""Small markets and populations for tests: numbers that a reader can work out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backtester.clearing import ClearingMarket, FundingSchedule, Population, flat_table
from backtester.domain.enums import ContractKind
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import TierTable

MINUTE = 60_000
HOUR = 60 * MINUTE
A, B = "A/USDT:USDT", "B/USDT:USDT"
NONE = np.empty(0)


@dataclass(frozen=True)
class Holding:
    """One position and, with its first one, the account."""

    account: int
    quantity: float
    entry: float
    wallet: float
    leverage: float = 10.0
    isolated: bool = False
    contract: int = 0


def market(
    *bars: Sequence[tuple[float, float]],
    bar_ms: int = MINUTE,
    start: int = 0,
    volume: float = 1e9,
    rate: float = 0.01,
    tables: Sequence[TierTable] | None = None,
    lot: float | None = None,
    funding: Sequence[tuple[int, float]] = (),
    inverse: bool = False,
) -> ClearingMarket:
    """Return contracts whose bars are (open, close): marks equal trades, highs and lows are the ends."""
    opens = np.array([[o for o, _ in contract] for contract in bars], dtype=float)
    closes = np.array([[c for _, c in contract] for contract in bars], dtype=float)
    high, low = np.maximum(opens, closes), np.minimum(opens, closes)
    symbols = tuple(f"{letter}/USDT:{letter if inverse else 'USDT'}" for letter in "ABCD"[: len(bars)])
    kind = ContractKind.INVERSE if inverse else ContractKind.LINEAR
    settle = "A" if inverse else "USDT"
    schedule = FundingSchedule(
        np.array([t for t, _ in funding], dtype=np.int64),
        np.array([r for _, r in funding], dtype=float),
        np.full(len(funding), np.nan),
    )
    return ClearingMarket(
        symbols=symbols,
        open_time=start + bar_ms * np.arange(opens.shape[1], dtype=np.int64),
        bar_ms=bar_ms,
        open=opens,
        high=high,
        low=low,
        close=closes,
        volume=np.full(opens.shape, volume),
        mark_open=opens,
        mark_high=high,
        mark_low=low,
        mark_close=closes,
        funding=tuple(schedule for _ in bars),
        instruments=tuple(Instrument(symbol=s, kind=kind, settle=settle, lot=lot) for s in symbols),
        tiers=tuple(tables) if tables is not None else tuple(flat_table(s, rate) for s in symbols),
    )


def population(of: ClearingMarket, *holdings: Holding) -> Population:
    """Return accounts; an isolated position has its whole wallet as margin."""
    heads = {h.account: h for h in reversed(holdings)}
    accounts = [heads[a] for a in sorted(heads)]
    return Population(
        symbols=of.symbols,
        wallet=np.array([h.wallet for h in accounts]),
        isolated=np.array([h.isolated for h in accounts]),
        leverage=np.array([h.leverage for h in accounts]),
        account=np.array([h.account for h in holdings], dtype=np.int64),
        contract=np.array([h.contract for h in holdings], dtype=np.int64),
        quantity=np.array([h.quantity for h in holdings]),
        entry_price=np.array([h.entry for h in holdings]),
        margin=np.array([h.wallet if h.isolated else 0.0 for h in holdings]),
    )

"""A market cleared through the crash of 2025-10-10 under each venue's rules; run as a module it prints the table.

The population is drawn from an assumed open interest, half of a usual day's traded volume in the week before, and from
each of the two mixes of leverage; entries are spread over that week.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from backtester.clearing import (
    ClearingMarket,
    ClearingResult,
    clearing_rules,
    from_open_interest,
    load_market,
    simulate,
)
from backtester.clearing.open_interest import ONCHAIN_MIX, RETAIL_MIX
from backtester.cli.app import exit_code
from backtester.market.store import Store

NAMES = ("BTC", "ETH", "SOL", "XRP", "DOGE")
VENUES = ("binance", "bybit", "okx", "blofin", "bitmex", "hyperliquid", "generic")
MIXES = {"onchain": ONCHAIN_MIX, "retail": RETAIL_MIX}
HOUR = 3_600_000
WEEK_BEFORE, START, END = 1_759_449_600_000, 1_760_054_400_000, 1_760_184_000_000  # 10-03, 10-10, 10-11 12:00
CRASH = 1_760_130_000_000  # 2025-10-10 21:00


def store_of(real_data: Path, folder: Path, names: tuple[str, ...] = NAMES) -> Store:
    """Import the exchange's files of some contracts."""
    symbols = ",".join(f"{name}/USDT:USDT" for name in names)
    common = ["--symbols", symbols, "--venue", "binance", "--store", str(folder), "--quiet"]
    tiers = str(real_data / "tiers" / "binance_2025-10.json")
    for frame in ("1h", "5m"):
        what = ["--format", "freqtrade", "--timeframe", frame]
        assert exit_code(["data", "import", str(real_data / "binance"), *what, *common]) == 0
    assert exit_code(["data", "import", tiers, "--format", "ccxt-tiers", *common]) == 0
    return Store(folder)


def loaded(store: Store, names: tuple[str, ...], start: int, end: int) -> ClearingMarket:
    return load_market(store, "binance", [f"{n}/USDT:USDT" for n in names], "5m", start=start, end=end)


def cleared(
    market: ClearingMarket, past: ClearingMarket, venue: str, mix: str, accounts: int, **changes: Any
) -> ClearingResult:
    """Clear a population drawn for the market by a venue's rules."""
    days = past.volume.shape[1] * past.bar_ms / (24 * HOUR)
    usual = dict(zip(past.symbols, past.volume.sum(axis=1) / days, strict=True))
    interest = {symbol: 0.5 * usual[symbol] for symbol in market.symbols}
    several = 0.2 if len(market.symbols) > 1 else 0.0
    population = from_open_interest(market, interest, accounts, MIXES[mix], 7, several_share=several, past=past)
    return simulate(market, population, clearing_rules(venue, CRASH, **changes))


def figures(result: ClearingResult) -> dict[str, float]:
    """Return what the table shows; money in the settlement currency."""
    fund = result.fund
    worth = fund.group_by("open_time", maintain_order=True).agg(pl.col("worth").sum())["worth"].to_numpy()
    return {
        "liquidated_notional": float(result.bars["liquidated_notional"].sum()),
        "liquidated_accounts": result.liquidations.filter(result.liquidations["kind"] == "takeover")[
            "account"
        ].n_unique(),
        "deleveraged_notional": float(result.bars["deleveraged_notional"].sum()),
        "deleveraged_accounts": int(result.deleveragings["account"].n_unique()),
        "profit_lost": float(result.deleveragings["profit_lost"].sum()),
        "fund_start": float(worth[0]),
        "fund_lowest": float(worth.min()),
        "fund_end": float(worth[-1]),
        "conservation_error": float(result.summary["conservation_error"]),  # type: ignore[arg-type]
    }


def main(real_data: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(real_data, Path(folder) / "data")
        for names in (*((n,) for n in NAMES), NAMES):
            market, past = loaded(store, names, START, END), loaded(store, names, WEEK_BEFORE, START)
            for mix in MIXES:
                for venue in VENUES:
                    row = figures(cleared(market, past, venue, mix, 20_000))
                    shown = " ".join(
                        f"{k}={np.format_float_positional(v, 4, fractional=False)}" for k, v in row.items()
                    )
                    print("+".join(names), mix, venue, shown, flush=True)  # noqa: T201 - the table


if __name__ == "__main__":
    main(Path(sys.argv[1]))

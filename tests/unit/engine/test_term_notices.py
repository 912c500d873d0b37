"""Terms by date in a run: which are used, and what is told."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import backtester
from backtester import MarginTier, Strategy
from backtester.domain.enums import ContractKind
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import TierTable
from backtester.domain.venues import load_pack, pack_names
from backtester.engine.resolve import ResolvedRun, resolve
from backtester.engine.run_file import build_config, config_text
from backtester.errors import UnknownNameError
from backtester.market.schema import TIME, DatasetKey, instrument_frame, tier_frame
from backtester.market.sources.ccxt_json import read_tiers
from backtester.market.store import Store

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
HOUR = 3_600_000
WHOLE: dict[str, Any] = {"tick": 0.1, "lot": 0.001, "min_quantity": 0.001, "min_notional": 5.0}


def ms(day: str) -> int:
    return int(dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC).timestamp() * 1000)


def terms(symbol: str = BTC, since: str | None = None, **more: Any) -> Instrument:
    return Instrument(symbol=symbol, valid_from=None if since is None else ms(since), **{**WHOLE, **more})


@dataclass
class Lookup:
    """A store of dicts."""

    contracts: dict[str, Sequence[Instrument]]
    venues: tuple[str, ...] = field(default_factory=lambda: tuple(pack_names()))

    def symbols(self, venue: str) -> list[str]:
        return sorted(self.contracts) if venue in self.venues else []

    def instruments(self, venue: str, symbol: str) -> list[Instrument]:
        return list(self.contracts[symbol])

    def tier_tables(self, venue: str, symbol: str) -> list[TierTable]:
        return [TierTable(symbol=symbol, tiers=(MarginTier(maintenance_margin_rate=0.005, max_leverage=50),))]


def resolved(*dated: Instrument, venue: str = "generic", **lookup: Any) -> ResolvedRun:
    contracts: dict[str, list[Instrument]] = {}
    for one in dated:
        contracts.setdefault(one.symbol, []).append(one)
    config = build_config({"data": {"venue": venue, "start": "2025-01-01", "end": "2026-01-01"}})
    return resolve(config, store_lookup=Lookup(contracts, **lookup))


def told(run: ResolvedRun) -> dict[str, str]:
    return {notice.code: notice.text for notice in run.notices}


def test_the_terms_of_the_start_are_used() -> None:
    dated = [terms(since=day, lot=lot) for day, lot in (("2020-01-01", 1), ("2024-12-31", 0.1), ("2025-01-02", 0.01))]
    run = resolved(*dated)
    assert run.instruments[BTC].lot == 0.1
    assert run.config.instruments[BTC].lot == 0.1
    assert resolved(terms(since="2025-01-01", lot=0.5)).instruments[BTC].lot == 0.5
    newest = resolve(build_config({"data": {"venue": "generic"}}), store_lookup=Lookup({BTC: dated}))
    assert newest.instruments[BTC].lot == 0.01
    assert newest.notices == ()


def test_a_second_resolution_changes_nothing() -> None:
    dated = [terms(since="2025-02-01", listed=ms("2025-01-05"), funding_cap=0.01), terms(since="2025-03-01", lot=0.1)]
    once = resolved(*dated)
    again = resolve(once.config, store_lookup=Lookup({BTC: dated}))
    assert again == once
    assert config_text(again.config) == config_text(once.config)
    assert "listed" not in config_text(once.config)


def test_terms_used_before_their_date_are_told() -> None:
    run = resolved(terms(since="2025-06-01"), terms(ETH, since="2025-06-01"))
    assert told(run) == {
        "terms_before_date": f"{BTC}, {ETH}: the contract terms of 2025-06-01 00:00 UTC are used before their date too."
    }
    assert told(resolved(terms(since="2025-01-01"))) == {}
    assert told(resolved(terms())) == {}


def test_changes_inside_are_told_with_figure_and_date() -> None:
    dated = [
        terms(taker_fee=0.0004, funding_interval_hours=8.0, listed=1),
        terms(since="2025-03-01", taker_fee=0.0005, funding_interval_hours=4.0, funding_cap=0.02, listed=2),
        terms(since="2025-04-01", tick=0.01, taker_fee=0.0005, funding_cap=0.03, min_notional=None),
        terms(since="2026-01-01", tick=1.0),
    ]
    run = resolved(*dated)
    assert run.instruments[BTC].taker_fee == 0.0004
    assert told(run) == {
        "terms_change_inside": (
            f"{BTC}: contract terms change inside the run, which keeps those of its start: "
            "taker fee from 0.0004 to 0.0005 on 2025-03-01 00:00 UTC; "
            "hours between settlements from 8 to 4 on 2025-03-01 00:00 UTC; "
            "price tick from 0.1 to 0.01 on 2025-04-01 00:00 UTC; "
            "cap of the funding rate from 0.02 to 0.03 on 2025-04-01 00:00 UTC."
        )
    }
    inverse = terms(since="2025-03-01", kind=ContractKind.INVERSE)
    assert "kind from linear to inverse" in told(resolved(terms(), inverse))["terms_change_inside"]


def test_a_run_outside_of_the_listing_is_told_not_refused() -> None:
    gone = terms(listed=ms("2025-02-01"), delisted=ms("2025-09-01"))
    here = terms(ETH, listed=ms("2025-01-01"), delisted=ms("2026-01-01"))
    run = resolved(gone, here)
    assert told(run) == {
        "before_listing": f"Listed after the start of the run: {BTC} (2025-02-01 00:00 UTC).",
        "after_delisting": f"Delisted before the end of the run: {BTC} (2025-09-01 00:00 UTC). "
        "What is held then is settled at the last mark close, without a fee; later bars are not used.",
    }
    assert {n.code: n.severity for n in run.notices}["after_delisting"] == "assumption"


def test_an_unknown_interval_is_the_venues() -> None:
    assert resolved(terms(), venue="hyperliquid").instruments[BTC].funding_interval_hours == 1.0
    assert resolved(terms(funding_interval_hours=4), venue="hyperliquid").instruments[BTC].funding_interval_hours == 4


def test_a_stored_venue_without_a_pack_takes_generic_rules_and_says_so() -> None:
    run = resolved(terms(), venue="krakenfutures", venues=("krakenfutures",))
    assert (run.venue, run.config.data.venue) == ("krakenfutures", "krakenfutures")
    assert run.rules == load_pack("generic").rules_at(0)
    (notice,) = run.notices
    assert (notice.code, notice.severity) == ("no_rule_pack", "warning")
    assert "no rule pack for krakenfutures: generic rules" in notice.text
    with pytest.raises(UnknownNameError, match="Unknown venue 'krakenfutures'"):
        resolved(terms(), venue="krakenfutures")


# ---- through a whole run


class Hold(Strategy):
    """Long all the time."""

    def target(self) -> pl.Expr:
        return pl.lit(1.0)


def bars(first: int, count: int) -> pl.DataFrame:
    times = pl.Series("open_time", [first + k * HOUR for k in range(count)]).cast(TIME)
    prices = {"open": 100.0, "high": 101.0, "low": 99.0, "close": 100.0, "volume": 1.0}
    return pl.DataFrame({"open_time": times}).with_columns(pl.lit(v).alias(k) for k, v in prices.items())


def tiers(since: str, rate: float) -> TierTable:
    tier = MarginTier(maintenance_margin_rate=rate, max_leverage=50, maintenance_amount=0.0)
    return TierTable(symbol=BTC, tiers=(tier,), valid_from=ms(since))


def run_of(store: Store, venue: str, **more: Any) -> backtester.Result:
    settings = {"data": {"mark": "trade"}, "funding": {"source": "none"}, "report": {"enabled": False}}
    return backtester.run(Hold(), data=store, venue=venue, settings=settings, out=None, timeframe="1h", **more)


def test_a_run_tells_terms_and_tiers_used_before_their_date(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(DatasetKey("binance", BTC, "trade", "1h"), bars(ms("2025-01-01"), 48), source="test")
    table = tier_frame([tiers("2025-01-01T12:00", 0.01), tiers("2025-01-02", 0.02)])
    store.write(DatasetKey("binance", BTC, "tiers", "event"), table, source="test")
    dated = instrument_frame(terms(since="2025-01-01T06:00", lot=0.1), terms(since="2025-01-02", lot=0.25))
    store.write(DatasetKey("binance", BTC, "instrument", "event"), dated, source="test")
    result = run_of(store, "binance", leverage=3)
    notices = {n.code: n.text for n in result.notices}
    assert notices["tiers_before_date"] == (
        f"{BTC}: the margin tiers of 2025-01-01 12:00 UTC are used before their date too."
    )
    assert "the contract terms of 2025-01-01 06:00 UTC" in notices["terms_before_date"]
    assert "lot size from 0.1 to 0.25 on 2025-01-02 00:00 UTC" in notices["terms_change_inside"]
    # the requirement is that of the table in force at each bar: twice as much on the second day
    held = result.equity["maintenance_margin"]
    assert held[47] == pytest.approx(2 * held[20])
    assert held[4] == pytest.approx(held[20]) != 0


def test_a_run_of_a_venue_without_a_pack(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(DatasetKey("krakenfutures", BTC, "trade", "1h"), bars(ms("2025-01-01"), 48), source="test")
    tier = MarginTier(maintenance_margin_rate=0.005, max_leverage=50)
    result = run_of(store, "krakenfutures", tiers=(tier,))
    assert result.config.data.venue == "krakenfutures"
    assert result.fills["fee_paid"][0] == pytest.approx(result.fills["notional"][0] * 0.0005)
    assert "no_rule_pack" in {n.code for n in result.notices}
    with pytest.raises(UnknownNameError, match="Unknown venue 'krakenfuture'"):
        run_of(store, "krakenfuture", tiers=(tier,))


@pytest.mark.real_data
def test_a_run_in_2022_uses_the_tiers_of_2022(real_data: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for intake in read_tiers(real_data / "tiers", "binance", [BTC])[0]:
        store.write(intake.key, intake.frame, source=intake.source)
    caps = {}
    for year, day in ((2022, "2022-12-01"), (2023, "2023-06-01"), (2025, "2025-12-01"), (2026, "2026-09-02")):
        config = build_config({"data": {"venue": "binance", "start": day, "end": f"{day}T12:00", "symbols": [BTC]}})
        store.write(DatasetKey("binance", BTC, "trade", "1h"), bars(ms(day), 12), source="test")
        run = resolve(config, store_lookup=store)
        (table,) = run.tiers[BTC]
        assert "tiers_before_date" not in told(run)
        caps[year] = table.valid_from
    assert caps == {2022: ms("2022-11-25"), 2023: ms("2022-11-25"), 2025: ms("2025-10-01"), 2026: ms("2026-09-01")}

"""What a run tells its reader, and how gravely."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

import backtester
from backtester import MarginTier, Strategy
from backtester.domain.config import RunConfig
from backtester.engine.notices import collect_notices, data_notices

DAY, HOUR = 86_400_000, 3_600_000
COUNTS = {"takeovers": 0, "disputed_bars": 0, "coarse_unchecked": 0, "bars_waited": 0}
TIME = pl.Datetime("ms", "UTC")
ORDERS = pl.DataFrame(schema={"status": pl.String, "reason": pl.String, "origin": pl.String, "decision_time": TIME})
LEDGER = pl.DataFrame(schema={"time": TIME, "kind": pl.String, "amount": pl.Float64})
FILLS = pl.DataFrame(schema={"time": TIME, "symbol": pl.String, "reason": pl.String})
STARTS = (
    "The run starts at 2024-11-01 00:00 UTC, where generic RIVER/USDT:USDT trade 1d begins: bars before are left out."
)
ENDS = "The run ends at 2025-01-01 00:00 UTC, where generic BTC/USDT:USDT funding ends: later bars are left out."


def told(values: list[float], *transfers: tuple[int, float]) -> list[str]:
    days = pl.Series([DAY * (i + 1) for i in range(len(values))]).cast(pl.Datetime("ms", "UTC"))
    equity = pl.DataFrame({"close_time": days, "equity": values})
    config = RunConfig.model_validate({"account": {"balance": 1000.0}})
    ledger = pl.DataFrame([(time, "transfer", x) for time, x in transfers], schema=LEDGER.schema, orient="row")
    notices = collect_notices(config, COUNTS, ORDERS, equity, [], fills=FILLS, ledger=ledger, synthetic=False)
    return [n.text for n in notices if n.code == "ruined"]


def test_a_ruined_account_is_said_to_be_ruined() -> None:
    expected = "Equity fell below 1 % of the initial balance on 1970-01-03 00:00 UTC: what follows trades dust."
    assert told([1000.0, 9.99, 9.0]) == [expected]
    assert told([1000.0, -5.0, 1000.0]) == [expected]
    assert told([1000.0, 10.0]) == told([]) == []
    assert told([1000.0, 0.0], (DAY + 1, -1000.0)) == []  # withdrawn, not lost
    assert told([1000.0, 9.0], (DAY + 1, 500.0)) == [expected]


def test_what_was_closed_without_a_decision_is_told() -> None:
    equity = pl.DataFrame({"close_time": pl.Series([DAY]).cast(TIME), "equity": [1000.0]})
    orders = pl.DataFrame([("filled", "none", "drawdown_stop", 2 * HOUR)], schema=ORDERS.schema, orient="row")
    rows = [
        (3 * HOUR, "BTC/USDT", "collateral"),
        (4 * HOUR, "BTC/USDT", "collateral"),
        (5 * HOUR, "LUNA/USDT:USDT", "delisting"),
        (6 * HOUR, "A/USDT:USDT", "target"),
    ]
    fills = pl.DataFrame(rows, schema=FILLS.schema, orient="row")
    counts = {**COUNTS, "transfers_cut": 2}
    notices = collect_notices(RunConfig(), counts, orders, equity, [], fills=fills, ledger=LEDGER, synthetic=False)
    found = {n.code: n.text for n in notices}
    assert found["drawdown_stop"].startswith("The drawdown stop struck at 1970-01-01 02:00 UTC")
    assert found["collateral_sold"].endswith("2 times, first at 1970-01-01 03:00 UTC: BTC/USDT.")
    assert found["delisted"].endswith("LUNA/USDT:USDT on 1970-01-01 05:00 UTC.")
    assert found["transfers_cut"].startswith("2 withdrawals")
    quiet = collect_notices(RunConfig(), COUNTS, ORDERS, equity, [], fills=FILLS, ledger=LEDGER, synthetic=False)
    assert not {"drawdown_stop", "collateral_sold", "delisted", "transfers_cut"} & {n.code for n in quiet}


def test_a_symbol_that_cuts_much_of_the_span_is_a_warning() -> None:
    stored = [(0, 366 * DAY), (305 * DAY, 366 * DAY)]
    start, end = data_notices([STARTS, ENDS], (305 * DAY, 365 * DAY), stored)
    assert (start.code, start.severity) == ("span_cut", "warning")
    assert start.text == f"305 days (83 % of the stored span) are lost. {STARTS}"
    assert (end.severity, end.text) == ("assumption", ENDS)


def test_a_small_cut_and_other_notes_are_assumptions() -> None:
    joins = "B joins at its first bar, 2024-11-01 00:00 UTC."
    notices = data_notices([STARTS, joins], (5 * DAY, 100 * DAY), [(0, 100 * DAY), (5 * DAY, 100 * DAY)])
    assert {n.severity for n in notices} == {"assumption"}
    asked = data_notices([joins], (50 * DAY, 100 * DAY), [(0, 100 * DAY), (80 * DAY, 100 * DAY)])
    assert [n.severity for n in asked] == ["assumption"]


class Wild(Strategy):
    """Far more than any account bears."""

    def target(self) -> pl.Expr:
        return pl.lit(20.0)


def test_summary_and_page_tell_what_the_run_found(tmp_path: Path) -> None:
    close = np.concatenate([np.full(200, 100.0), np.linspace(100.0, 50.0, 200)])
    hours = pl.Series(np.arange(400) * HOUR).cast(pl.Datetime("ms", "UTC"))
    early = pl.DataFrame({"open_time": hours, "symbol": "A/USDT:USDT", "open": close, "high": close, "low": close})
    bars = early.with_columns(close=pl.Series(close), volume=pl.lit(1.0))
    late = bars[100:].with_columns(symbol=pl.lit("RIVER/USDT:USDT"))
    tiers = (MarginTier(maintenance_margin_rate=0.005, max_leverage=50),)
    result = backtester.run(Wild(), data=pl.concat([bars, late]), tiers=tiers, leverage=20, out=tmp_path)
    assert result.run_dir is not None
    page = (result.run_dir / "report.html").read_text(encoding="utf-8")
    for text in (str(result.summary["data_warnings"]), page):
        assert "Equity fell below 1 % of the initial balance on 1970-01-" in text
        assert "4 days (25 % of the stored span) are lost." in text
        assert "RIVER/USDT:USDT trade 1h begins" in text

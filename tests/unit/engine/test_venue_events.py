"""Deleveragings and clawbacks, from rows and files to what the replay takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtester.domain.enums import ContractKind, VenueEventKind
from backtester.domain.instrument import Instrument
from backtester.engine.run_file import build_config, config_text, read_tree
from backtester.engine.venue_events import venue_events_of, with_rows
from backtester.engine.venue_notices import venue_notices
from backtester.errors import BacktesterError, ConfigError, DataError, UnknownNameError, UsageError
from backtester.market.panel import Bars, Panel, Settlements

H, T0 = 3_600_000, 1_735_689_600_000  # 2025-01-01
A, B, COIN = "BTC/USDT:USDT", "ETH/USDT:USDT", "BTC/USDT"
TERMS = {
    A: Instrument(symbol=A),
    B: Instrument(symbol=B),
    COIN: Instrument(symbol=COIN, kind=ContractKind.SPOT),
}


def panel(*symbols: str) -> Panel:
    """Return a day of hourly bars at 100."""
    flat = np.full((len(symbols), 24), 100.0)
    bars = Bars(flat, flat, flat, flat)
    opens = T0 + np.arange(24) * H
    none = Settlements(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0))
    return Panel(
        venue="test",
        symbols=symbols,
        timeframe_ms=H,
        open_time=opens,
        trade=bars,
        volume=None,
        mark=bars,
        mark_open_time=opens,
        mark_timeframe_ms=H,
        index=None,
        settlements=(none,) * len(symbols),
        mark_is_trade=False,
    )


def events_of(rows: dict[str, object], *symbols: str, **account: object):
    config = build_config({"venue_events": rows, "account": account})
    return venue_events_of(config, panel(*(symbols or (A, B))), TERMS)


def test_rows_are_sorted_by_time_and_named_as_the_run_names_them() -> None:
    found, told = events_of(
        {
            "deleverage": [
                {"time": "2025-01-01T05:30", "symbol": "ETHUSDT", "fraction": 0.5, "price": 90.0, "side": "short"},
                {"time": "2025-01-01T02:00", "symbol": A, "quantity": 3.0, "mark": 101.0},
                {"time": "2025-01-01T03:00", "symbol": A},
            ],
            "clawback": [{"time": "2025-01-01T04:00", "rate": 0.2}, {"time": "2025-01-01T23:59", "amount": 7.0}],
        }
    )
    d, c = VenueEventKind.DELEVERAGE, VenueEventKind.CLAWBACK
    assert found.kind.tolist() == [d, d, c, d, c]
    assert ((found.time - T0) / H).tolist() == [2.0, 3.0, 4.0, 5.5, 23 + 59 / 60]
    assert found.symbol.tolist() == [0, 0, 0, 1, 0]
    assert found.side.tolist() == [0, 0, 0, -1, 0]
    nan = float("nan")
    np.testing.assert_equal(found.fraction, [nan, 1.0, nan, 0.5, nan])
    np.testing.assert_equal(found.quantity, [3.0, nan, nan, nan, nan])
    np.testing.assert_equal(found.price, [nan, nan, nan, 90.0, nan])
    np.testing.assert_equal(found.mark, [101.0, nan, nan, nan, nan])
    np.testing.assert_equal(found.rate, [nan, nan, 0.2, nan, nan])
    np.testing.assert_equal(found.amount, [nan, nan, nan, nan, 7.0])
    assert told == ()


def test_events_outside_the_run_and_of_other_contracts_are_told() -> None:
    found, told = events_of(
        {
            "deleverage": [
                {"time": "2024-12-31T23:59", "symbol": A},
                {"time": "2025-01-01", "symbol": A},
                {"time": "2025-01-01T01:00", "symbol": "XRP/USDT:USDT"},
            ],
            "clawback": [{"time": "2025-01-02", "rate": 0.1}],
        }
    )
    assert found.time.tolist() == [T0]
    assert [notice.code for notice in told] == ["deleverages_unknown", "venue_events_outside"]
    assert told[0].text.startswith("Left out: 1 event of the venue in XRP/USDT:USDT")
    assert told[1].text.startswith("2 events of the venue of 3 lie outside the run")


@pytest.mark.parametrize(
    ("rows", "error", "said"),
    [
        ({"deleverage": [{"time": "soon", "symbol": A}]}, ConfigError, r"venue_events.deleverage\[0\].time 'soon'"),
        ({"deleverage": [{"time": "2025-01-01", "symbol": "DOGE"}]}, UnknownNameError, "Unknown symbol 'DOGE'"),
        ({"deleverage": [{"time": "2025-01-01", "symbol": A, "fraction": 2.0}]}, ConfigError, "at most 1, not 2.0"),
        (
            {"deleverage": [{"time": "2025-01-01", "symbol": A, "fraction": 0.5, "quantity": 1.0}]},
            ConfigError,
            r"deleverage\[0\] has a fraction and a quantity",
        ),
        ({"clawback": [{"time": "2025-01-01"}]}, ConfigError, r"clawback\[0\] needs a rate or an amount"),
        (
            {"clawback": [{"time": "2025-01-01", "rate": 0.1, "since": "2025-01-02"}]},
            ConfigError,
            "since lies after its time",
        ),
        ({"clawbacks": []}, UnknownNameError, "venue_events.clawback"),
        (
            {"clawback": [{"time": "2025-01-01", "rate": 0.1}], "clawback_file": "x.csv"},
            UsageError,
            "venue_events.clawback and venue_events.clawback_file are both given",
        ),
    ],
)
def test_what_is_no_event_is_refused(rows: dict[str, object], error: type[BacktesterError], said: str) -> None:
    with pytest.raises(error, match=said):
        events_of(rows)


def test_spot_is_not_deleveraged() -> None:
    with pytest.raises(ConfigError, match="Row 1 of the deleveragings names BTC/USDT, which is spot"):
        events_of({"deleverage": [{"time": "2025-01-01", "symbol": COIN}]}, COIN, A)


def test_a_leg_is_named_in_hedge_mode() -> None:
    rows = {"deleverage": [{"time": "2025-01-01", "symbol": A, "side": "long"}, {"time": "2025-01-01", "symbol": A}]}
    with pytest.raises(ConfigError, match="Row 2 of the deleveragings names no side"):
        events_of(rows, position_mode="hedge")


# -- files -----------------------------------------------------------------------------------------------------------

TABLE = pl.DataFrame(
    {
        "time": ["2025-01-01 05:00", "2025-01-01T06:30:00Z"],
        "symbol": ["BTCUSDT", "ETH-USDT-SWAP"],
        "fraction": [0.5, 1.0],
        "price": [None, 95.0],
        "side": ["short", ""],
    }
)


def written(frame: pl.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.write_csv(path)
    elif path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        path.write_text(json.dumps(frame.to_dicts()))
    return path


@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
def test_a_file_becomes_rows_that_need_it_no_more(tmp_path: Path, ending: str) -> None:
    path = written(TABLE, tmp_path / f"adl.{ending}")
    config = with_rows(build_config({"venue_events": {"deleverage_file": str(path)}}))
    path.unlink()
    assert config.venue_events.deleverage_file is None
    (tmp_path / "again.toml").write_text(config_text(config))
    again = build_config(read_tree(tmp_path / "again.toml"))
    assert again == config
    found, told = venue_events_of(again, panel(A, B), TERMS)
    assert ((found.time - T0) / H).tolist() == [5.0, 6.5]
    assert (found.symbol.tolist(), found.side.tolist(), found.fraction.tolist()) == ([0, 1], [-1, 0], [0.5, 1.0])
    np.testing.assert_equal(found.price, [float("nan"), 95.0])
    assert told == ()


def test_clawbacks_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "shared.csv"
    path.write_text("time;rate;amount;since\n2025-01-01 08:00;0.1;;\n2025-01-01 16:00;;20;2025-01-01 08:00\n")
    found, _ = venue_events_of(build_config({"venue_events": {"clawback_file": str(path)}}), panel(A), TERMS)
    np.testing.assert_equal(found.rate, [0.1, float("nan")])
    np.testing.assert_equal(found.amount, [float("nan"), 20.0])
    assert found.since.tolist() == [-1, T0 + 8 * H]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,symbol,part\n2025-01-01,BTC,1\n", r"no column for fraction \(the file has time, symbol, part\)"),
        ("symbol,fraction\nBTC,1\n", "no column for time"),
        ("time,symbol,fraction\n2025-01-01,BTC,1\n2025-01-01,BTC,1.5\n", "row 2, column 'fraction': '1.5' is no part"),
        ("time,symbol,fraction\n2025-01-01,BTC,half\n", "row 1, column 'fraction': 'half' is no number"),
        ("time,symbol,fraction\n2025-01-01,BTC,\n", "row 1 has neither fraction nor quantity"),
        ("time,symbol,fraction,quantity\n2025-01-01,BTC,1,2\n", "row 1 has fraction and quantity"),
        ("time,symbol,fraction,price\n2025-01-01,BTC,1,-3\n", "row 1, column 'price': '-3' is no price"),
        ("time,symbol,fraction,side\n2025-01-01,BTC,1,up\n", "row 1, column 'side': 'up' is not known here"),
        ("time,symbol,fraction\nnever,BTC,1\n", "row 1 has no time: 'never' in the column 'time'"),
        ("time,symbol,fraction\n2025-01-01,,1\n", "row 1, column 'symbol': None is no symbol"),
    ],
)
def test_a_wrong_file_names_row_and_column(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "adl.csv").write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        with_rows(build_config({"venue_events": {"deleverage_file": str(tmp_path / "adl.csv")}}))
    assert caught.value.hint


# -- what is told ----------------------------------------------------------------------------------------------------


def test_what_struck_is_told() -> None:
    time = pl.Series([T0 + H, T0 + 2 * H]).cast(pl.Datetime("ms", "UTC"))
    fills = pl.DataFrame(
        {"time": time, "symbol": [A, B], "reason": ["auto_deleverage", "target"], "slippage_paid": [12.5, 99.0]}
    )
    ledger = pl.DataFrame({"time": time, "kind": ["socialized_loss", "transfer"], "amount": [-30.0, 5.0]})
    counts = {"deleverages_cut": 1, "deleverages_idle": 2, "clawbacks_cut": 1}
    told = {n.code: n.text for n in venue_notices(counts, fills, ledger, "USDT")}
    assert told == {
        "auto_deleveraged": "The venue deleveraged BTC/USDT:USDT once, first at 2025-01-01 01:00 UTC, 12.50 USDT worse "
        "than at the mark.",
        "profit_clawed_back": "The venue took 30.00 USDT of the profit for shared losses, first at 2025-01-01 01:00 "
        "UTC.",
        "deleverages_idle": "2 deleveragings found no position to close.",
        "deleverages_cut": "1 deleveraging closed less than asked: below one lot, or more than the balance bore there.",
        "clawbacks_cut": "1 clawback was cut to the account's profit of the period, or to its equity.",
    }
    assert venue_notices({}, fills.clear(), ledger.clear(), "USDT") == []
    inside = fills.with_columns(pl.col("time") + pl.duration(milliseconds=H - 1))
    assert "first at 2025-01-01 01:59 UTC" in venue_notices({}, inside, ledger.clear(), "USDT")[0].text

"""Real exchange data, used as a trader would; every figure is made again from the exchange's files."""

from __future__ import annotations

import datetime as dt
from functools import cache
from pathlib import Path

import polars as pl
import pytest

import backtester
from backtester import Result, load_result
from backtester.cli.app import exit_code
from tests.real import by_hand
from tests.real.by_hand import BALANCE, stamp

pytestmark = pytest.mark.real_data

BTC, ETH, SOL, ORCA, RIVER = (f"{name}/USDT:USDT" for name in ("BTC", "ETH", "SOL", "ORCA", "RIVER"))
SYMBOLS = (BTC, ETH, SOL, ORCA, RIVER)
START, END = "2024-12-31", "2026-02-19"
STRATEGIES = ("trend", "breakout", "funding_fade", "cross_momentum", "pairs", "buy_and_hold")
HOUR = dt.timedelta(hours=1)
CRASH = stamp("2025-10-10T21:00")


@pytest.fixture(scope="module")
def store(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store after the commands of the README."""
    folder = tmp_path_factory.mktemp("real") / "data"
    common = ["--venue", "binance", "--store", str(folder), "--quiet"]
    files, tiers = str(real_data / "binance"), str(real_data / "tiers" / "binance_2025-10.json")
    hourly, fine = ["--timeframe", "1h"], ["--symbol", BTC, "--timeframe", "5m"]
    five = ["--symbols", ",".join(SYMBOLS)]
    assert exit_code(["data", "import", files, "--format", "freqtrade", *five, *hourly, *common]) == 0
    assert exit_code(["data", "import", files, "--format", "freqtrade", *fine, *common]) == 0
    assert exit_code(["data", "import", tiers, "--format", "ccxt-tiers", *five, *common]) == 0
    return folder


@pytest.fixture(scope="module")
def premium_store(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the CSV files: trades, spot as the index, the premium index, and funding with its mark prices."""
    folder = tmp_path_factory.mktemp("premium") / "data"
    common = ["--venue", "binance", "--store", str(folder), "--quiet"]
    for symbol in (BTC, ETH):
        place = real_data / "premium" / symbol.replace("/", "").removesuffix(":USDT")
        tables = {"perps": "trade", "spot": "index", "premium_index": "premium", "funding_rates": "funding"}
        for name, series in tables.items():
            path = str(place / f"{name}.csv")
            what = ["--format", "csv", "--symbol", symbol, "--series", series]
            assert exit_code(["data", "import", path, *what, *common]) == 0
    tiers = str(real_data / "tiers" / "binance_2025-10.json")
    both = ["--symbols", f"{BTC},{ETH}"]
    assert exit_code(["data", "import", tiers, "--format", "ccxt-tiers", *both, *common]) == 0
    return folder


@pytest.fixture(scope="module")
def run(store: Path):
    """Run a bundled strategy on the five contracts, once each."""

    @cache
    def result(name: str) -> Result:
        span = {"timeframe": "1h", "start": START, "end": END}
        return backtester.run(name, data=store, venue="binance", symbols=SYMBOLS, out=None, **span)

    return result


def texts(result: Result) -> str:
    return "\n".join(notice.text for notice in result.notices)


def settled(result: Result, folder: Path, end: dt.datetime) -> dict[str, pl.DataFrame]:
    """Payments of each symbol by the files, up to the run's end."""
    return {s: by_hand.payments(by_hand.records(folder, s), result.fills, s, end) for s in result.symbols}


def assert_settlements(result: Result, expected: dict[str, pl.DataFrame]) -> None:
    """Every record that found a position is there, none is twice, and each pays quantity, mark open and rate."""
    assert result.funding.height == sum(frame.height for frame in expected.values())
    for symbol, frame in expected.items():
        rows = result.funding.filter(pl.col("symbol") == symbol)
        assert rows["time"].to_list() == frame["time"].to_list(), symbol
        assert rows["funding_rate"].to_list() == frame["rate"].to_list()
        # an ulp apart where the mark inside an hour is scaled from the trades
        assert rows["mark_price"].to_list() == pytest.approx(frame["mark_price"].to_list(), rel=1e-14)
        assert rows["position_quantity"].to_list() == pytest.approx(frame["quantity"].to_list(), rel=1e-9)
        assert rows["funding_payment"].to_list() == pytest.approx(frame["payment"].to_list(), rel=1e-9)
    total = sum(frame["payment"].sum() for frame in expected.values())
    assert result.summary["funding"] == pytest.approx(total, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_bundled_strategy_settles_as_the_files_say(run, real_data: Path, name: str) -> None:
    result = run(name)
    assert result.fills.height > 0
    assert max(result.manifest["identities"].values()) < 1e-9
    assert_settlements(result, settled(result, real_data, stamp(END)))
    wallet = BALANCE + result.ledger["amount"].sum()
    assert wallet == pytest.approx(result.equity["wallet_balance"][-1], abs=1e-6)


@pytest.mark.parametrize("name", STRATEGIES)
def test_equity_is_cash_payments_and_the_position_at_the_mark(run, real_data: Path, name: str) -> None:
    result = run(name)
    marks = {
        s: by_hand.raw(real_data, s, "mark").select(pl.col("time").dt.offset_by("1h"), "close") for s in result.symbols
    }
    expected = by_hand.equity(
        marks, settled(result, real_data, stamp(END)), result.fills, result.equity["close_time"].set_sorted()
    )
    kept = result.equity.with_columns(expected=expected)
    if result.liquidations.height:
        # a takeover of the cross account leaves nothing; before it the books are the same
        first = result.liquidations["time"][0]
        assert kept.filter(pl.col("close_time") > first)["equity"].abs().max() < 1e-6
        kept = kept.filter(pl.col("close_time") <= first)
    gap = (kept["equity"] - kept["expected"]).abs().max()
    assert gap <= 1e-9 * max(BALANCE, kept["equity"].max())


@pytest.mark.parametrize("name", STRATEGIES)
def test_fills_are_at_traded_opens(run, real_data: Path, name: str) -> None:
    fills = run(name).fills.filter(pl.col("reason") == "target")
    for symbol in fills["symbol"].unique():
        opens = by_hand.raw(real_data, symbol, "futures").select("time", "open")
        rows = fills.filter(pl.col("symbol") == symbol).join(opens, on="time", how="left")
        assert rows["price"].to_list() == rows["open"].to_list()
        assert rows["fee_paid"].to_list() == pytest.approx((rows["quantity"] * rows["open"] * 0.0005).to_list())


def test_the_run_says_what_it_assumed(run) -> None:
    result = run("trend")
    (tiers,) = (notice.text for notice in result.notices if notice.code == "tiers_before_date")
    assert "2025-10-01" in tiers
    assert f"{RIVER} joins at its first bar, 2025-10-17 14:00 UTC" in texts(result)


def test_a_late_symbol_is_neither_held_nor_drawn_before_its_first_bar(run, real_data: Path) -> None:
    first = by_hand.raw(real_data, RIVER, "futures")["time"][0]
    for name in STRATEGIES:
        result = run(name)
        assert result.bars.filter(pl.col("symbol") == RIVER)["open_time"][0] == first
        for frame in (result.fills, result.funding, result.orders.rename({"decision_time": "time"})):
            assert (frame.filter(pl.col("symbol") == RIVER)["time"] > first).all()


def test_every_settlement_of_a_changing_interval_is_counted(store: Path, real_data: Path) -> None:
    result = backtester.run(
        "buy_and_hold",
        data=store,
        venue="binance",
        symbols=SYMBOLS,
        timeframe="1h",
        start=START,
        end=END,
        params={"exposure": 0.05},
        out=None,
    )
    assert result.liquidations.is_empty()
    assert_settlements(result, settled(result, real_data, stamp(END)))
    for symbol in (ORCA, RIVER):
        entry = result.fills.filter(pl.col("symbol") == symbol)["time"].item()
        stored = by_hand.records(real_data, symbol).filter((pl.col("time") > entry) & (pl.col("time") < stamp(END)))
        rows = result.funding.filter(pl.col("symbol") == symbol)
        assert rows.height == stored.height
        assert set(rows["time"].diff().drop_nulls()) == {HOUR, 2 * HOUR, 4 * HOUR}


def test_a_cross_account_is_taken_over_where_its_equity_meets_the_requirement(run, real_data: Path) -> None:
    result = run("buy_and_hold")
    taken = result.liquidations
    assert set(taken["symbol"]) == {BTC, ETH, SOL, ORCA}
    hour = taken["time"][0].replace(minute=0, second=0, microsecond=0)
    balance = result.ledger.filter(pl.col("time") < hour + HOUR)
    balance = BALANCE + balance.filter(pl.col("kind").is_in(["funding", "trading_fee"]))["amount"].sum()
    needed = 0.0
    for row in taken.iter_rows(named=True):
        bar = by_hand.raw(real_data, row["symbol"], "mark").filter(pl.col("time") == hour)
        assert bar["low"].item() <= row["trigger_price"] <= bar["high"].item()
        balance += row["quantity"] * (row["trigger_price"] - row["entry_price"])
        needed += by_hand.requirement(real_data, row["symbol"], row["quantity"] * row["trigger_price"])
    assert balance == pytest.approx(needed, rel=1e-9)
    assert taken["insurance_flow"].sum() == pytest.approx(balance, rel=1e-9)


def signals(folder: Path, rows: list[tuple[str, float]]) -> str:
    """Return a file of targets for BTC, by the time at which each was decided."""
    folder.mkdir(exist_ok=True)
    path = folder / "mine.csv"
    path.write_text("decision_time,symbol,target\n" + "".join(f"{time},{BTC},{target!r}\n" for time, target in rows))
    return str(path)


def long_into_the_crash(
    store: Path, folder: Path, timeframe: str, leverage: float, target: float, *more: str
) -> Result:
    """Run the command on an isolated long of 2025-10-10 12:00 and read its folder back."""
    path = signals(folder, [("2025-10-10T12:00", target)])
    places = ["--signals", path, "--venue", "binance", "--symbols", BTC, "--store", str(store), "--out", str(folder)]
    span = ["--timeframe", timeframe, "--start", "2025-10-09", "--end", "2025-10-12"]
    account = ["--margin-mode", "isolated", "--leverage", repr(leverage), "--no-report", "--quiet"]
    assert exit_code(["run", *places, *span, *account, *more]) == 0
    (done,) = (path.parent for path in folder.glob("*/summary.json"))
    return load_result(done)


@pytest.mark.parametrize("timeframe", ["1h", "5m"])
def test_a_long_of_twenty_times_is_liquidated_on_the_mark(
    store: Path, real_data: Path, tmp_path: Path, timeframe: str
) -> None:
    opened = stamp("2025-10-10T12:00")
    result = long_into_the_crash(store, tmp_path, timeframe, 20.0, 15.0)
    long = by_hand.isolated_long(real_data, BTC, opened, 20.0, 15.0)
    later = pl.col("time") >= opened
    mark, trades = (by_hand.raw(real_data, BTC, kind).filter(later) for kind in ("mark", "futures"))
    hour = mark.filter(pl.col("low") <= long.liquidation_price).row(0, named=True)
    assert hour["open"] > long.liquidation_price  # inside the bar, not at a gap

    (liquidation,) = result.liquidations.to_dicts()
    assert hour["time"] <= liquidation["time"] < hour["time"] + HOUR
    assert liquidation["kind"] == "takeover"
    assert liquidation["quantity"] == pytest.approx(long.quantity, rel=1e-12)
    assert liquidation["entry_price"] == pytest.approx(long.entry, rel=1e-12)
    assert liquidation["trigger_price"] == pytest.approx(long.liquidation_price, rel=1e-12)
    assert liquidation["execution_price"] == pytest.approx(long.liquidation_price, rel=1e-12)
    assert liquidation["bankruptcy_price"] == pytest.approx(long.bankruptcy_price, rel=1e-12)
    assert liquidation["margin_lost"] == pytest.approx(long.margin, rel=1e-12)
    kept = long.quantity * (long.liquidation_price - long.bankruptcy_price)
    assert liquidation["insurance_flow"] == pytest.approx(kept, rel=1e-9)
    traded_low = trades.filter(pl.col("time") == hour["time"])["low"].item()
    assert liquidation["execution_price"] - traded_low > 100  # the traded low lies elsewhere

    assert result.funding["time"].to_list() == [stamp("2025-10-10T16:00")]
    fee = long.quantity * long.entry * 0.0005
    assert result.summary["final_equity"] == pytest.approx(BALANCE - fee - long.quantity * long.entry / 20, rel=1e-12)


@pytest.mark.parametrize("timeframe", ["1h", "5m"])
def test_a_traded_wick_below_the_mark_liquidates_nobody(
    store: Path, real_data: Path, tmp_path: Path, timeframe: str
) -> None:
    opened, closed = stamp("2025-10-10T12:00"), stamp("2025-10-12")
    span = pl.col("time").is_between(opened, closed, closed="left")
    mark_low, traded_low = (by_hand.raw(real_data, BTC, kind).filter(span)["low"].min() for kind in ("mark", "futures"))
    assert traded_low < mark_low - 300
    # the leverage whose liquidation price lies between the two lows
    between, entry = (mark_low + traded_low) / 2, by_hand.isolated_long(real_data, BTC, opened, 20.0, 1.0).entry
    rate = by_hand.bracket(real_data, BTC, BALANCE).rate
    leverage = entry / (entry - between * (1 - rate))
    long = by_hand.isolated_long(real_data, BTC, opened, leverage, leverage / 2)
    assert traded_low < long.liquidation_price < mark_low

    on_mark = long_into_the_crash(store, tmp_path / "mark", timeframe, leverage, leverage / 2)
    assert on_mark.liquidations.is_empty()
    assert on_mark.funding.height == 4
    on_trades = long_into_the_crash(
        store, tmp_path / "trades", timeframe, leverage, leverage / 2, "--set", "data.mark=trade"
    )
    (liquidation,) = on_trades.liquidations.to_dicts()
    assert CRASH <= liquidation["time"] < CRASH + HOUR
    assert "data.mark" in texts(on_trades)


def test_trades_of_five_minutes_run_on_marks_of_an_hour(store: Path, real_data: Path) -> None:
    span = {"timeframe": "5m", "start": START, "end": END}
    result = backtester.run("trend", data=store, venue="binance", symbols=[BTC], out=None, **span)
    assert max(result.manifest["identities"].values()) < 1e-9
    assert result.manifest["mark_resolution"] == "1h"
    assert result.counts["coarse_unchecked"] > 0
    assert "1h" in texts(result)
    assert_settlements(result, settled(result, real_data, stamp(END)))
    hourly = by_hand.raw(real_data, BTC, "mark").select(open_time="time", opened="open")
    bars = result.bars.join(hourly, on="open_time")
    assert bars.height == result.bars.height // 12
    assert bars["mark_open"].to_list() == pytest.approx(bars["opened"].to_list(), rel=1e-14)


def test_an_order_waits_through_the_outage(store: Path, real_data: Path, tmp_path: Path) -> None:
    due = stamp("2025-08-29T06:20")
    trades = by_hand.raw(real_data, BTC, "futures", "5m").filter(pl.col("time") >= due)
    back = trades.filter(pl.col("volume") > 0).row(0, named=True)
    waited = int((back["time"] - due) / dt.timedelta(minutes=5))
    assert waited > 0
    path = signals(tmp_path, [("2025-08-29T06:20", 1.0)])
    places = ["--signals", path, "--venue", "binance", "--symbols", BTC, "--store", str(store), "--out", str(tmp_path)]
    span = ["--timeframe", "5m", "--start", "2025-08-29", "--end", "2025-08-30"]
    assert exit_code(["run", *places, *span, "--no-report", "--quiet"]) == 0
    result = load_result(next(tmp_path.glob("*/summary.json")).parent)
    assert result.fills.select("time", "price").rows() == [(back["time"], back["open"])]
    assert result.orders["bars_waited"].to_list() == [waited]
    assert result.counts["bars_waited"] == waited


def test_premium_reversion_on_spot_as_index(premium_store: Path, real_data: Path) -> None:
    symbols = (BTC, ETH)
    result = backtester.run(
        "premium_reversion",
        data=premium_store,
        venue="binance",
        symbols=symbols,
        timeframe="1h",
        settings={"data": {"mark": "trade"}},
        out=None,
    )
    assert max(result.manifest["identities"].values()) < 1e-9
    assert result.fills.height > 100
    assert "traded prices" in texts(result)
    end = result.equity["close_time"][-1]
    expected, valued = {}, {}
    for symbol in symbols:
        place = real_data / "premium" / symbol.replace("/", "").removesuffix(":USDT")
        time = pl.col("Timestamp").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="ms", time_zone="UTC")
        rates, perps, spot = (
            pl.read_csv(place / f"{name}.csv", infer_schema_length=None).with_columns(time=time)
            for name in ("funding_rates", "perps", "spot")
        )
        # a record's own mark price; without one the mark is the trade
        records = rates.join(perps.select("time", "Open"), on="time").select(
            "time", rate="Rate", mark_price=pl.col("markPrice").cast(pl.Float64).fill_null(pl.col("Open"))
        )
        expected[symbol] = by_hand.payments(records, result.fills, symbol, end)
        valued[symbol] = perps.select(time.dt.offset_by("1h").alias("time"), close="Close")
        bars = result.bars.filter(pl.col("symbol") == symbol).join(
            spot.select(open_time="time", spot="Close"), on="open_time"
        )
        assert bars["index_close"].to_list() == bars["spot"].to_list()
    assert_settlements(result, expected)
    equity = by_hand.equity(valued, expected, result.fills, result.equity["close_time"].set_sorted())
    assert (result.equity["equity"] - equity).abs().max() <= 1e-9 * max(BALANCE, equity.max())


def test_a_strategy_that_needs_an_index_says_so(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--venue", "binance", "--symbols", BTC, "--timeframe", "1h", "--store", str(store)]
    assert exit_code(["run", "premium_reversion", *places, "--quiet"]) == 1
    said = capsys.readouterr().err
    assert "premium_reversion" in said
    assert "index" in said

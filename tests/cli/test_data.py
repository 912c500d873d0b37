"""The command ``data`` as a user meets it: output, exit codes, messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backtester.cli.app import exit_code
from backtester.market.schema import TIME, DatasetKey
from backtester.market.store import Store

HOUR = 3_600_000
START = 1_735_689_600_000  # 2025-01-01
BTC = "BTC/USDT:USDT"


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run ``backtester data … --store`` of a store of its own; return exit code, stdout and stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        code = exit_code(["data", *map(str, arguments), "--store", str(tmp_path / "data")])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


Call = Callable[..., tuple[int, str, str]]


def freqtrade_file(folder: Path, kind: str, count: int = 48, drop: tuple[int, ...] = (), price: float = 100.0) -> Path:
    step = 8 * HOUR if kind == "funding_rate" else HOUR
    frame = pl.DataFrame({"date": [START + k * step for k in range(count)]}).with_columns(pl.col("date").cast(TIME))
    value = 1e-4 if kind == "funding_rate" else price
    columns = {"open": value, "high": value + 1, "low": value - 1, "close": value, "volume": 1.0}
    frame = frame.with_columns(pl.lit(v).alias(c) for c, v in columns.items())
    # a bar that moves, so that no series stands still
    frame = frame.with_columns(close=pl.col("open") + (pl.int_range(pl.len()) % 2) * (0.0 if value < 1 else 0.5))
    path = folder / f"BTC_USDT_USDT-1h-{kind}.feather"
    frame.filter(~pl.int_range(pl.len()).is_in(drop)).write_ipc(path)
    return path


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    freqtrade_file(folder, "futures")
    freqtrade_file(folder, "mark")
    freqtrade_file(folder, "funding_rate", 6)
    ladder = [{"minNotional": 0, "maxNotional": 1e6, "maintenanceMarginRate": 0.004, "maxLeverage": 50, "info": {}}]
    tiers = dict.fromkeys((BTC, "ETH/USDT:USDT", "SOL/USDT:USDT"), ladder)
    (folder / "binance_2024-10-24.json").write_text(json.dumps(tiers))
    return folder


def bring_in(call: Call, files: Path, *more: str) -> tuple[int, str, str]:
    return call("import", files, "--format", "freqtrade", "--venue", "binance", *more)


def test_a_folder_comes_in_and_is_listed(call: Call, files: Path) -> None:
    code, out, err = bring_in(call, files)
    assert code == 0, err
    assert "3 series imported into" in out
    assert "trade 1h" in out
    code, out, _ = call("list")
    assert code == 0
    line = next(line for line in out.splitlines() if "funding" in line)
    assert line.split()[:4] == ["BTC/USDT:USDT", "funding", "2025-01-01", "2025-01-02"]
    assert max(map(len, out.splitlines())) <= 80


def test_the_list_tells_age_and_lag(call: Call, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_in(call, files)
    listed = {d["series"]: d for d in json.loads(call("list", "--json")[1])}
    written = datetime.fromisoformat(listed["trade"]["imported_at"]).timestamp()  # the others a second apart, maybe
    monkeypatch.setattr("time.time", lambda: written + 3 * 3600)
    listed = {d["series"]: d for d in json.loads(call("list", "--json")[1])}
    assert listed["trade"]["age_seconds"] == 3 * 3600
    last_bar, last_settlement = START / 1000 + 48 * 3600, START / 1000 + 40 * 3600
    assert listed["trade"]["lag_seconds"] == int(written + 3 * 3600 - last_bar)
    assert listed["funding"]["lag_seconds"] == int(written + 3 * 3600 - last_settlement)
    assert listed["mark"]["filled"] == 0
    call("import", files, "--format", "ccxt-tiers", "--venue", "binance")
    listed = {d["series"]: d for d in json.loads(call("list", "--symbol", BTC, "--json")[1])}
    assert listed["tiers"]["lag_seconds"] is None
    monkeypatch.setattr("time.time", lambda: last_bar + 50 * 60)
    out = call("list", "--series", "trade")[1]
    assert next(line for line in out.splitlines() if "trade" in line).split()[-2:] == ["50", "min"]


def test_the_same_import_twice_changes_nothing(call: Call, files: Path) -> None:
    bring_in(call, files)
    code, out, _ = bring_in(call, files, "--json")
    assert code == 0
    report = json.loads(out)
    assert [(i["series"], i["added"], i["changed"]) for i in report["imported"]] == [
        ("funding", 0, 0),
        ("trade", 0, 0),
        ("mark", 0, 0),
    ]


def test_json_stands_alone_on_stdout(call: Call, files: Path) -> None:
    _, out, _ = bring_in(call, files, "--json")
    assert json.loads(out)["refused"] == []
    _, out, _ = call("list", "--json")
    listed = json.loads(out)
    assert listed[0]["first"] == "2025-01-01T00:00:00Z"
    assert listed[0]["sources"] == ["freqtrade BTC_USDT_USDT-1h-funding_rate.feather"]
    assert len(listed[0]["fingerprint"]) == 64
    _, out, _ = call("check", "--json")
    assert {f["code"] for f in json.loads(out)["findings"]} == {"no_tiers", "mark_price_unknown"}
    _, out, _ = call("show", "--series", "trade", "--json", "--rows", "2")
    shown = json.loads(out)
    assert shown["in_range"] == 48
    assert [r["open_time"] for r in shown["shown"]][:2] == ["2025-01-01T00:00:00Z", "2025-01-01T01:00:00Z"]
    _, out, _ = call("verify", "--json")
    assert json.loads(out)["damaged"] == []


def test_quiet_says_nothing(call: Call, files: Path) -> None:
    assert bring_in(call, files, "--quiet") == (0, "", "")
    assert call("check", "--quiet") == (0, "", "")
    assert call("verify", "--quiet") == (0, "", "")


def test_a_refused_file_is_told_and_the_others_come_in(call: Call, files: Path) -> None:
    path = files / "ETH_USDT_USDT-1h-futures.feather"
    path.write_bytes((files / "BTC_USDT_USDT-1h-futures.feather").read_bytes()[:-30])
    code, out, err = bring_in(call, files)
    assert code == 1
    assert "3 series imported" in out
    assert "1 file refused, see above." in out
    assert "Refused:" in err
    assert path.name in err
    assert "Traceback" not in err


def test_check_fails_while_an_error_remains(call: Call, files: Path) -> None:
    bring_in(call, files)
    assert call("check")[0] == 0
    freqtrade_file(files, "futures", drop=(5, 6))
    bring_in(call, files, "--replace")
    code, out, _ = call("check")
    assert code == 1
    assert "2 bars missing" in out
    assert "What to do:" in out
    assert "gap: Fetch it (--repair) or import it" in out
    assert "3 datasets checked: 1 error, 1 warning, 1 for information. 1 more with --all." in out
    freqtrade_file(files, "futures")
    bring_in(call, files)
    assert call("check")[0] == 0


def test_check_shows_the_proof_of_what_is_whole(call: Call, files: Path) -> None:
    bring_in(call, files)
    out = call("check")[1]
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "BTC/USDT:USDT trade 1h 48 of 48 2025-01-01 2025-01-02" in lines
    assert "BTC/USDT:USDT funding 6 of 6 2025-01-01 2025-01-02" in lines
    freqtrade_file(files, "futures", drop=(5, 6))
    bring_in(call, files, "--replace")
    assert "46 of 48" in call("check")[1]
    coverage = {c["series"]: c for c in json.loads(call("check", "--json")[1])["coverage"]}
    assert (coverage["trade"]["expected"], coverage["trade"]["present"], coverage["trade"]["missing"]) == (48, 46, 2)
    assert coverage["funding"]["intervals"] == [{"from": "2025-01-01T00:00:00Z", "hours": 8.0}]


def test_many_symbols_are_proved_by_series(call: Call, tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    records = pl.DataFrame({"funding_time": [START + k * 8 * HOUR for k in range(12)], "funding_rate": 1e-4})
    for k in range(41):
        rows = records.filter(pl.int_range(pl.len()) != 5) if k == 7 else records
        store.write(DatasetKey("binance", f"C{k}/USDT:USDT", "funding", "event"), rows, source="test")
    out = call("check")[1]
    (line,) = [line for line in out.splitlines() if " of " in line and line.split()[0] == "funding"]
    assert line.split() == ["funding", "41", "491", "of", "492", "40"]


def test_repair_says_what_was_done_what_was_not_and_what_remains(call: Call, files: Path) -> None:
    for kind in ("index", "premiumIndex"):
        freqtrade_file(files, kind, price=100.0 if kind == "index" else 0.001)
    bring_in(call, files)
    freqtrade_file(files, "mark", drop=(5, 6))
    freqtrade_file(files, "futures", drop=(9,))
    bring_in(call, files, "--replace")
    code, out, _ = call("check")
    assert code == 1
    assert "2 bars missing" in out
    code, out, err = call("check", "--repair", "--offline")
    assert (code, err) == (1, "")
    flat = " ".join(out.split())
    assert "filled BTC/USDT:USDT mark 1h 2 bars computed from index x (1 + premium)" in flat
    assert "left BTC/USDT:USDT trade 1h 1 window to fetch" in flat
    assert (
        "backtester data fetch --venue binance --symbols BTC/USDT:USDT --series trade --timeframes 1h "
        "--start 2025-01-01T09:00 --end 2025-01-01T10:00"
    ) in flat
    assert "2 bars missing" not in flat
    report = json.loads(call("check", "--repair", "--offline", "--json")[1])
    assert [r["outcome"] for r in report["repairs"]] == ["left"]
    told = {f["code"]: f for f in report["findings"]}
    assert (told["filled"]["severity"], told["filled"]["count"]) == ("info", 2)
    freqtrade_file(files, "futures")
    bring_in(call, files)
    code, out, _ = call("check", "--repair", "--offline")
    assert code == 0
    assert "There is nothing that can be repaired." in out


def test_check_names_a_missing_settlement(call: Call, files: Path) -> None:
    freqtrade_file(files, "funding_rate", 6, drop=(2,))
    bring_in(call, files)
    code, out, _ = call("check", "--json")
    assert code == 1
    (error,) = [f for f in json.loads(out)["findings"] if f["severity"] == "error"]
    assert (error["code"], error["start"], error["count"]) == ("missing_settlement", "2025-01-01T08:00:00Z", 1)


def test_verify_finds_a_changed_file(call: Call, files: Path, tmp_path: Path) -> None:
    bring_in(call, files)
    code, out, _ = call("verify")
    assert code == 0
    assert "All files of 3 datasets" in out
    store = Store(tmp_path / "data")
    part = store.folder(DatasetKey("binance", BTC, "mark", "1h")) / "2025.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    code, _, err = call("verify")
    assert code == 1
    assert "2025.parquet" in err
    code, _, err = call("show", "--series", "mark")
    assert code == 1
    assert "truncated" in err
    assert "Traceback" not in err


def test_tables_and_tiers_come_in(call: Call, files: Path, tmp_path: Path) -> None:
    csv = tmp_path / "spot.csv"
    csv.write_text("stamp,Open,High,Low,Close\n2025-01-01,1,2,0.5,1\n2025-01-01 01:00,1,2,0.5,1\n")
    code, out, err = call(
        *("import", csv, "--format", "csv", "--venue", "binance", "--symbol", BTC, "--series", "index"),
        *("--columns", "open_time=stamp"),
    )
    assert code == 0, err
    assert "Note: binance BTC/USDT:USDT index 1h: bars of 1h, by their distance." in err
    code, out, _ = call("import", files, "--format", "ccxt-tiers", "--venue", "binance")
    assert code == 0
    assert "3 series imported" in out
    _, out, _ = call("list")
    assert "binance: margin tiers alone for 2 further symbols (--all shows them)." in out
    assert "ETH/USDT:USDT" not in out
    assert "ETH/USDT:USDT" in call("list", "--all")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--venue", "Binance"], "Did you mean 'binance'? For another venue use --venue generic"),
        (["--venue", "binance", "--symbol", "BTC/USDT"], "Did you mean 'BTC/USDT:USDT'"),
        (["--venue", "binance", "--columns", "open_time=x"], "--columns means nothing with --format freqtrade"),
        (["--venue", "binance", "--valid-from", "2025-01-01"], "--valid-from means nothing"),
        (["--venue", "binance", "--timeframe", "1x"], "is not a timeframe"),
        ([], "--venue"),
    ],
)
def test_wrong_usage_of_import(call: Call, files: Path, arguments: list[str], words: str) -> None:
    code, out, err = call("import", files, "--format", "freqtrade", *arguments)
    assert code == 2
    assert out == ""
    assert words in err


def test_a_table_needs_a_symbol_and_pairs(call: Call, files: Path) -> None:
    base = ("import", files / "nothing.csv", "--format", "csv", "--venue", "binance")
    assert "Give --symbol" in call(*base)[2]
    assert "There is nothing at" in call(*base, "--symbol", BTC)[2]
    assert "names no pair" in call(*base, "--symbol", BTC, "--columns", "stamp")[2]
    assert "2 values of --symbol are too many" in call(*base, "--symbol", f"{BTC},ETH/USDT:USDT")[2]


def test_an_empty_store_says_how_to_begin(call: Call) -> None:
    code, out, err = call("list")
    assert (code, out) == (0, "")
    assert "data demo" in err
    assert call("list", "--json")[:2] == (0, "[]\n")
    code, _, err = call("check")
    assert code == 1
    assert "there is no data yet" in err
    assert "data import" in err


def test_filters_that_nothing_passes_name_the_nearest(call: Call, files: Path) -> None:
    bring_in(call, files)
    call("import", files, "--format", "ccxt-tiers", "--venue", "binance")
    for arguments, words in (
        (("--venue", "binanse"), "Did you mean 'binance'?"),
        (("--symbol", "BTC"), "Did you mean 'BTC/USDT:USDT'?"),
        (("--series", "traded"), "Did you mean 'trade'"),
        (("--series", "index"), "Nothing stored passes these filters"),
    ):
        code, _, err = call("list", *arguments)
        assert code == 2
        assert words in err
    code, _, err = call("show")
    assert code == 2
    assert "6 datasets fit" in err


def test_show_prints_both_ends_of_a_range(call: Call, files: Path) -> None:
    bring_in(call, files)
    code, out, _ = call(
        "show", "--series", "trade", "--start", "2025-01-01T10:00", "--end", "2025-01-01T20:00", "--rows", "2"
    )
    assert code == 0
    lines = [line.split()[:2] for line in out.splitlines() if line.strip().startswith(("2025-01-01", "…"))]
    assert [" ".join(line) for line in lines] == [
        "2025-01-01 10:00",
        "2025-01-01 11:00",
        "… …",
        "2025-01-01 18:00",
        "2025-01-01 19:00",
    ]


def test_demo_makes_the_synthetic_market(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from backtester.market import synthetic

    seen: dict[str, Any] = {}

    def write_demo(store: Store, *, seed: int, progress: Callable[[str], None] | None) -> None:
        seen.update(seed=seed)
        if progress is not None:
            progress("making it")
        frame = pl.DataFrame({"funding_time": [START], "funding_rate": [1e-4]})
        store.write(DatasetKey(synthetic.VENUE, "ALPHA/USDT:USDT", "funding", "event"), frame, source="test")

    monkeypatch.setattr(synthetic, "write_demo", write_demo)
    code, out, err = call("demo", "--seed", "3")
    assert code == 0
    assert seen == {"seed": 3}
    assert "making it" in err
    assert "It is made up" in out
    code, out, err = call("demo", "--json")
    assert json.loads(out)[0]["venue"] == "synthetic"


@pytest.mark.real_data
def test_the_real_folder_comes_in_and_passes_its_check(call: Call, real_data: Path) -> None:
    code, out, err = call("import", real_data / "binance", "--format", "freqtrade", "--venue", "binance")
    assert code == 0, err
    assert "28 series imported" in out
    arguments = ("--format", "ccxt-tiers", "--venue", "binance", "--symbol", f"{BTC},RIVER/USDT:USDT")
    assert call("import", real_data / "tiers", *arguments)[0] == 0
    code, out, _ = call("check", "--json")
    assert code == 0
    assert json.loads(out)["errors"] == 0


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        (
            "BTCUSDT_funding_rate_2025-01-01.csv",
            "By its name it is of BTC/USDT: give --symbol BTC/USDT:USDT --series funding (spot: BTC/USDT).",
        ),
        ("1000PEPE-USDC_1h.csv", "give --symbol 1000PEPE/USDC:USDC (spot"),
        ("prices.csv", "Give --symbol, for example"),
        ("BTCUSD_PERP.csv", "Give --symbol, for example"),
    ],
)
def test_a_table_without_a_symbol_is_met_with_the_one_of_its_name(name: str, hint: str) -> None:
    from backtester.cli.data_import import _symbol_hint

    assert hint in _symbol_hint(name)

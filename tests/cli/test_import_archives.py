"""``data import`` of archives as a user meets it: messages, exit codes, addresses, kills and interrupts."""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from backtester.cli.app import exit_code
from backtester.market.journal import PAGE_SUFFIX
from backtester.market.schema import DatasetKey
from backtester.market.sources.archive.layout import days
from backtester.market.store import Store
from tests import archive_files as made
from tests.archive_files import DAY, HOUR, MINUTE, ArchiveServer, ms, published, put_binance

ROOT = Path(__file__).resolve().parents[2]
BTC = "BTC/USDT:USDT"
TRADES = DatasetKey("binance", BTC, "trade", "1h")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``backtester data … --store`` of a store of its own; return exit code, stdout and stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        code = exit_code(["data", *map(str, arguments), "--store", str(tmp_path / "data")])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "archive"
    for label in ("2024-01", "2024-02"):
        put_binance(root, "BTCUSDT", "klines", label)
        put_binance(root, "BTCUSDT", "markPriceKlines", label)
        put_binance(root, "BTCUSDT", "fundingRate", label)
    return root


def test_a_folder_comes_in_and_passes_its_check(call: Call, folder: Path) -> None:
    code, out, err = call("import", folder, "--format", "binance-archive", "--venue", "binance")
    assert code == 0, err
    assert "3 series imported" in out
    assert "trade 1h" in out
    assert err == ""
    code, out, _ = call("check", "--json")
    assert (code, json.loads(out)["errors"]) == (0, 0)
    code, out, err = call("import", folder, "--venue", "binance", "--json")
    assert code == 0
    report = json.loads(out)
    assert report["imported"] == []
    assert report["notes"] == [
        "taken as --format binance-archive, by its names",
        "6 files hold nothing that is not stored, and were not read",
    ]
    assert call("import", folder, "--venue", "binance", "--quiet") == (0, "", "")


def test_a_refused_file_is_named_and_the_exit_code_is_1(call: Call, folder: Path) -> None:
    put_binance(folder, "BTCUSDT", "klines", "2024-02", checksum="wrong")
    bomb = folder / "data/futures/um/monthly/klines/ETHUSDT/1h/ETHUSDT-1h-2024-01.zip"
    bomb.parent.mkdir(parents=True)
    bomb.write_bytes(made.zipped("x.csv", b"0" * (1 << 25)))
    code, out, err = call("import", folder, "--format", "binance-archive", "--venue", "binance")
    assert code == 1
    assert "3 series imported" in out
    assert "2 files refused, see above." in out
    assert "BTCUSDT-1h-2024-02.zip: the checksum is wrong" in err
    assert "ETHUSDT-1h-2024-01.zip: it inflates to" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--columns", "a=b"), "--columns means nothing with --format binance-archive"),
        (("--valid-from", "always"), "--valid-from means nothing"),
        (("--symbols", "BTCUSDT"), "Did you mean 'BTC/USDT:USDT'?"),
        (("--symbols", "BTC/USDC:USDC"), "Did you mean 'BTC/USDT:USDT'?"),
        (("--start", "2024-02-01", "--end", "2024-01-01"), "--start does not lie before --end"),
        (("--start", "yesterday"), "--start 'yesterday' is not a time"),
        (("--timeframe", "1M"), "'1M' is not a timeframe"),
    ],
)
def test_wrong_usage(call: Call, folder: Path, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = call("import", folder, "--format", "binance-archive", "--venue", "binance", *arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_other_formats_refuse_what_archives_alone_understand(call: Call, folder: Path, tmp_path: Path) -> None:
    code, _, err = call("import", folder, "--format", "freqtrade", "--venue", "binance", "--start", "2024-01-01")
    assert code == 2
    assert "--start means nothing with --format freqtrade" in err
    code, _, err = call("import", "https://x.org/a", "--format", "csv", "--venue", "binance", "--symbol", BTC)
    assert code == 2
    assert "--format csv reads files, not an address" in err


def test_an_address_comes_in(call: Call, folder: Path) -> None:
    arguments = ("--venue", "binance", "--symbols", BTC, "--timeframe", "1h", "--start", "2024-01-15")
    with published(folder) as server:
        address = server.address
        code, out, err = call("import", address, *arguments, "--end", "2024-02-20", "--series", "trade,funding")
        assert code == 0, err
        assert "2 series imported" in out
        assert "taken as --format binance-archive" in err
        code, out, _ = call("import", address, *arguments, "--end", "2024-02-20", "--json")
        assert code == 0
        report = json.loads(out)
        assert [i["series"] for i in report["imported"]] == ["mark"]  # the others were in
        assert "without --series these are fetched: trade, mark, funding" in report["notes"]
    # the server is gone: one line, and nothing is lost
    code, out, err = _without_waiting(call, "import", address, *arguments, "--end", "2024-02-25", "--series", "trade")
    assert (code, out) == (1, "")
    assert err.startswith("Error: 127.0.0.1:")
    assert "no connection" in err
    code, out, _ = call("show", "--series", "trade", "--json", "--rows", "1")
    shown = json.loads(out)
    assert (shown["first"], shown["last"]) == ("2024-01-15T00:00:00Z", "2024-02-19T23:00:00Z")


def _without_waiting(call: Call, *arguments: str) -> tuple[int, str, str]:
    """Call with a policy of quick pauses."""
    from backtester.market.retry import RetryPolicy
    from backtester.market.sources.archive import download

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "RetryPolicy", lambda: RetryPolicy(attempts=2, first_delay=0.01))
        return call(*arguments)


def test_progress_is_drawn_on_a_terminal_alone(folder: Path) -> None:
    from rich.console import Console

    from backtester.cli import data_import

    seen: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        for is_terminal in (False, True):
            patch.setattr("rich.console.Console", lambda stderr=True, t=is_terminal: Console(force_terminal=t, quiet=t))
            with data_import._progress(quiet=False) as show:
                seen.append(show is not None)
                if show is not None:
                    show(1, 4, "a")
                    show(2, 4, "b")
    with data_import._progress(quiet=True) as show:
        seen.append(show is not None)
    assert seen == [False, True, False]


def test_a_packed_csv_is_a_table(call: Call, tmp_path: Path) -> None:
    text = "time,open,high,low,close,volume\n2025-01-01,1,2,0.5,1,5\n2025-01-02,1,2,0.5,1,5\n"
    path = tmp_path / "mine.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    code, out, err = call("import", path, "--venue", "binance", "--symbol", BTC)
    assert code == 0, err
    assert "trade 1d" in out
    assert "taken as --format csv" in err


# ---- kills and interrupts

KINDS = ("klines", "markPriceKlines", "fundingRate")


def days_of_minutes(root: Path, first: str, last: str) -> None:
    """Write days of minutes and months of settlements."""
    for period in days(ms(first), ms(last)):
        for kind in KINDS[:2]:
            put_binance(root, "BTCUSDT", kind, period.label, timeframe="1m")
    for label in sorted({p.label[:7] for p in days(ms(first), ms(last))}):
        put_binance(root, "BTCUSDT", "fundingRate", label)


def child(root: Path, store: Path) -> subprocess.Popen[bytes]:
    """Start an import in a process of its own."""
    command = [sys.executable, "-m", "backtester", "data", "import", str(root), "--format", "binance-archive"]
    return subprocess.Popen(
        [*command, "--venue", "binance", "--store", str(store), "--quiet"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finished(root: Path, store: Path) -> tuple[float, float]:
    """Import undisturbed; return after how many seconds the first file lay in the store, and how long it all took."""
    begun = time.monotonic()
    process = child(root, store)
    first = wait_for_files(process, store) - begun
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    return first, time.monotonic() - begun


def wait_for_files(process: subprocess.Popen[bytes], store: Path) -> float:
    """Return once the first page or part of an import is on the disk, or the process is done."""
    while process.poll() is None and not any(p.suffix in (PAGE_SUFFIX, ".parquet") for p in store.rglob("*.*")):
        time.sleep(0.002)
    return time.monotonic()


def content(folder: Path) -> dict[str, object]:
    """Return all that a store holds: checksums of the values, and what is known to be missing."""
    store = Store(folder)
    assert [p for key in store.keys() for p in store.damaged(key)] == []  # noqa: SIM118 - a store is no mapping
    return {str(k): (store.fingerprint(k), store.manifest(k).asked) for k in store.keys()}  # noqa: SIM118


def kill_again_and_again(root: Path, folder: Path, kills: int, seed: int) -> dict[str, object]:
    """Kill imports at random moments between their first and last file; return what a last, normal one leaves."""
    random = Random(seed)
    first, whole = finished(root, folder / "undisturbed")
    disturbed = folder / "disturbed"
    done = 0
    while done < kills:
        process = child(root, disturbed)
        wait_for_files(process, disturbed)
        time.sleep(random.random() * max(0.05, whole - first) * 0.8)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode == -signal.SIGKILL:
            done += 1
        else:  # it was faster: begin anew
            shutil.rmtree(disturbed)
    finished(root, disturbed)
    assert content(disturbed) == content(folder / "undisturbed")
    return content(disturbed)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_imports_lose_nothing(tmp_path: Path) -> None:
    days_of_minutes(tmp_path / "archive", "2024-01-01", "2024-02-10")
    assert len(kill_again_and_again(tmp_path / "archive", tmp_path, kills=3, seed=1)) == 3


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_fifty_killed_imports_lose_nothing(tmp_path: Path) -> None:
    days_of_minutes(tmp_path / "archive", "2023-11-01", "2024-07-01")
    assert len(kill_again_and_again(tmp_path / "archive", tmp_path, kills=50, seed=2)) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_ctrl_c_ends_a_download_at_once_and_keeps_what_came(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    put_binance(root, "BTCUSDT", "klines", "2024-01")
    put_binance(root, "BTCUSDT", "klines", "2024-02")
    name = "data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-02.zip"
    with published(root) as server:
        server.faults[name] = made.Fault(503, 99, retry_after="100")
        process = _interrupted_child(server, tmp_path / "data")
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, errors.decode()
    assert time.monotonic() - begun < 10
    assert errors.decode().splitlines()[-1] == "Interrupted."
    stored = Store(tmp_path / "data").read(TRADES)
    assert stored.height == 31 * 24


def _interrupted_child(server: ArchiveServer, store: Path) -> subprocess.Popen[bytes]:
    """Start an import of an address and return once its first month is in."""
    # a test run in the background may hand down that SIGINT is ignored
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from backtester.cli.app import main; main()"
    )
    command = [sys.executable, "-c", code, "data", "import", server.address, "--format", "binance-archive"]
    wanted = [
        "--symbols",
        BTC,
        "--series",
        "trade",
        "--timeframe",
        "1h",
        "--start",
        "2024-01-01",
        "--end",
        "2024-03-01",
    ]
    process = subprocess.Popen(
        [*command, *wanted, "--venue", "binance", "--store", str(store)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    wait_for_files(process, store)
    assert process.poll() is None, process.communicate()
    return process


def test_the_examples_of_a_whole_day_are_consistent() -> None:
    """The builder of archive files means what the tests believe."""
    text = made.kline_csv(ms("2024-01-01"), ms("2024-01-02"), MINUTE)
    assert text.count("\n") == DAY // MINUTE
    assert made.span("2024-12") == (ms("2024-12-01"), ms("2025-01-01"))
    assert made.funding_csv(0, DAY, jitter=0).splitlines()[1:] == [
        f"{t},8,{1e-4 * (t // HOUR % 5 - 2):.8f}" for t in (0, 8 * HOUR, 16 * HOUR)
    ]

"""``backtester strategy``: list, new, check."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtester.cli.app import exit_code

PEEK = """
import polars as pl
from backtester.strategy import Strategy

class Peek(Strategy):
    '''Knows the next close.'''

    def target(self):
        return (pl.col("close").shift(-1) > pl.col("close")).cast(pl.Float64)
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = exit_code(["strategy", *arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_list(capsys):
    code, out, err = call(capsys, "list")
    assert (code, err) == (0, "")
    assert "trend" in out
    assert "fast=24 slow=168" in out


def test_list_as_json_with_broken_and_shadowed(capsys):
    folder = Path("strategies")
    folder.mkdir()
    (folder / "trend.py").write_text(PEEK.replace("Peek", "Trend"))
    (folder / "bad.py").write_text("import nothing_like_this\n")
    code, out, _ = call(capsys, "list", "--json")
    assert code == 0
    listed = json.loads(out)
    bad = next(entry for entry in listed if entry["name"] == "bad")
    assert "ModuleNotFoundError" in bad["broken"]
    trends = [(entry["origin"], entry["shadowed_by"]) for entry in listed if entry["name"] == "trend"]
    assert trends == [("strategies", None), ("bundled", "strategies")]
    bundled = next(entry for entry in listed if entry["name"] == "breakout")
    assert bundled["params"][0] | {"description": ""} == {
        "name": "entry",
        "type": "int",
        "default": 120,
        "bounds": {"ge": 2},
        "choices": [],
        "description": "",
    }
    code, out, _ = call(capsys, "list")
    assert "BROKEN" in out
    assert "shadowed by the one of strategies" in out


def test_new_then_list_then_check(capsys):
    code, out, _ = call(capsys, "new", "my_idea")
    assert code == 0
    assert "Wrote strategies/my_idea.py and its test strategies/test_my_idea.py." in out
    code, out, err = call(capsys, "check", "my_idea", "-p", "length=20", "--bars", "300")
    assert (code, err) == (0, "")
    assert "MyIdea(length=20, exposure=1.0) on synthetic" in out
    assert "made up: no data are stored" in out
    assert "PASSED" in out
    assert "Warm-up: after 19 bars" in out


def test_new_loop_then_list_then_check(capsys):
    code, out, _ = call(capsys, "new", "my_loop", "--loop")
    assert code == 0
    assert "Wrote strategies/my_loop.py and its test strategies/test_my_loop.py." in out
    code, out, _ = call(capsys, "list", "--json")
    kinds = {entry["name"]: entry["kind"] for entry in json.loads(out)}
    assert (kinds["my_loop"], kinds["trend"], kinds["pairs"]) == ("loop", "expressions", "signals")
    code, out, err = call(capsys, "check", "my_loop", "-p", "length=20", "--bars", "300")
    assert (code, err) == (0, "")
    assert "PASSED" in out
    assert "Its requests were compared on an account whose positions are drawn at random." in out
    assert "Warm-up: after 19 bars a later start no longer shows; 'average' needs them." in out


def test_check_catches_a_loop_that_reads_ahead(capsys):
    Path("strategies").mkdir()
    Path("strategies/peek.py").write_text(
        "from backtester.strategy import Strategy, loop\n\n"
        "class Peek(Strategy):\n"
        "    @staticmethod\n"
        "    def on_bar(ctx, params):\n"
        "        bar = loop.bar_number(ctx) + 1\n"
        "        if bar < ctx.bars.shape[2]:\n"
        "            loop.submit_limit(ctx, 0, 1.0, ctx.bars[3, 0, bar])\n"
    )
    code, out, _ = call(capsys, "check", "peek", "--bars", "200")
    assert code == 1
    assert "ERROR: 'requests' of BTC/USDT:USDT" in out
    assert "submit limit quantity 1.0 limit" in out
    assert "null without them: it reads the future, 1 bar ahead" in out


def test_check_tells_what_cannot_be_compiled(capsys):
    Path("strategies").mkdir()
    Path("strategies/wrong.py").write_text(
        "from backtester.strategy import Strategy, loop\n\n"
        "class Wrong(Strategy):\n"
        "    @staticmethod\n"
        "    def on_bar(ctx, params):\n"
        "        loop.submit_market(ctx, 0, size)\n"
    )
    code, out, err = call(capsys, "check", "wrong", "--bars", "200")
    assert (code, out) == (1, "")
    assert "on_bar() of strategy 'wrong' cannot be compiled: NameError: name 'size' is not defined." in err
    assert "strategies/wrong.py:6: loop.submit_market(ctx, 0, size)" in err


def test_new_refuses_to_overwrite(capsys):
    call(capsys, "new", "mine", "--quiet")
    code, out, err = call(capsys, "new", "mine")
    assert (code, out) == (2, "")
    assert "strategies/mine.py exists already" in err


def test_new_says_when_the_name_is_taken(capsys):
    code, out, err = call(capsys, "new", "trend", "--strategies", "mine", "--json")
    assert code == 0
    assert json.loads(out) == {"name": "trend", "strategy": "mine/trend.py", "test": "mine/test_trend.py"}
    assert "there is a strategy 'trend' of bundled too" in err


def test_check_catches_the_future(capsys):
    Path("strategies").mkdir()
    Path("strategies/peek.py").write_text(PEEK)
    code, out, _ = call(capsys, "check", "peek", "--bars", "200")
    assert code == 1
    assert "ERROR: 'target' of" in out
    assert "1 bar ahead" in out
    code, out, err = call(capsys, "check", "peek", "--bars", "200", "--json")
    assert code == 1
    content = json.loads(out)
    assert content["passed"] is False
    assert content["findings"][0]["kind"] == "lookahead"
    assert "it reads the future" in err


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("check", "trned"), 2, "Did you mean 'trend'"),
        (("check", "trend", "-p", "fats=3"), 2, "Did you mean 'fast'"),
        (("check", "trend", "-p", "fast=1"), 2, "it must be at least 2"),
        (("check", "trend", "-p", "fast"), 2, "has no value"),
        (("check", "trend", "--strategies", "nowhere"), 2, "There is no folder nowhere"),
        (("check", "trend", "--venue", "binance"), 2, "There is no store in data"),
        (("new", "My-Idea"), 2, "cannot be the name of a strategy"),
        (("list", "--strategies", "nowhere"), 2, "There is no folder nowhere"),
    ],
)
def test_wrong_calls(arguments, code, text, capsys):
    got, out, err = call(capsys, *arguments)
    assert (got, out) == (code, "")
    assert text in err
    assert "Traceback" not in err


def test_check_of_stored_data(capsys, tmp_path):
    from backtester.cli.strategy import _write_made_up
    from backtester.market.store import Store

    _write_made_up(Store(tmp_path / "data"))
    code, out, _ = call(capsys, "check", "premium_reversion", "--symbols", "BTC/USDT:USDT", "--bars", "400", "--json")
    assert code == 0
    content = json.loads(out)
    assert content["symbols"] == ["BTC/USDT:USDT"]
    assert content["bars"] == 400
    assert content["data"].startswith("synthetic BTC/USDT:USDT 1h, 2023-07-")
    assert "made up" not in content["data"]
    code, _, err = call(capsys, "check", "trend", "--symbols", "BTC/USDT")
    assert code == 2
    assert "BTC/USDT:USDT" in err
    code, _, err = call(capsys, "check", "trend", "--venue", "binance")
    assert (code, "data fetch --venue binance" in err) == (1, True)


def test_tables_keep_names_whole_and_help_is_plain(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    name = "a_strategy_whose_name_is_long"
    assert exit_code(["strategy", "new", name, "--quiet"]) == 0
    run = tmp_path / "reports" / "20250101-120000-a_strategy_whose_name_is_long-01234567"
    assert exit_code(["reports", "list"]) == 0
    assert "There is no run in reports yet" in capsys.readouterr().out
    run.mkdir(parents=True)
    (run / "manifest.json").write_text("{}")
    for command, shown in ((["strategy", "list"], name), (["reports", "list"], run.name)):
        assert exit_code(command) == 0
        assert f" {shown} " in capsys.readouterr().out
    for command in (["data", "import"], ["strategy", "check"], ["venue", "show"], ["run"]):
        assert exit_code([*command, "--help"]) == 0
        text = capsys.readouterr().out
        assert text.startswith("Usage: ")
        assert "<bool>" not in text
        assert "[[" not in text

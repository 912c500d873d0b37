"""``backtester venue``: tables, JSON, errors."""

from __future__ import annotations

import json

import pytest

from backtester.cli.app import exit_code
from backtester.domain.venues import load_pack, pack_names


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = exit_code(["venue", *arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_list(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    code, out, err = call(capsys, "list")
    assert (code, err) == (0, "")
    for name in pack_names():
        assert name in out


def test_list_as_json(capsys):
    code, out, _ = call(capsys, "list", "--json")
    assert code == 0
    listed = json.loads(out)
    assert [pack["name"] for pack in listed] == pack_names()
    assert next(p for p in listed if p["name"] == "bybit")["changes"] == ["2025-09-02"]


def test_show_names_source_and_date_beside_each_rule(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = call(capsys, "show", "bybit")
    assert code == 0
    for rule in load_pack("bybit").figures_at(float("inf")):
        assert rule in out
    assert "reproduced" in out
    assert "2025-09-18" in out  # when the page was read
    assert "Changes" in out


def test_show_at_a_date_as_json(capsys):
    bases = []
    for day in ("2025-09-01", "2025-09-02"):
        code, out, _ = call(capsys, "show", "bybit", "--at", day, "--json")
        assert code == 0
        rules = json.loads(out)["rules"]
        assert set(rules["mmr_basis"]) == {"value", "evidence", "source", "as_of", "note"}
        bases.append(rules["mmr_basis"]["value"])
    assert bases == ["entry", "mark"]


def test_show_a_pack_of_ones_own(capsys, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\ntitle = "Mine"\nextends = "okx"\n')
    code, out, _ = call(capsys, "show", str(path), "--json")
    assert code == 0
    shown = json.loads(out)
    assert (shown["extends"], shown["exchanges"]) == ("okx", ["okx"])


def test_show_names_the_exchanges(capsys):
    assert "Exchanges in ccxt: binanceusdm, binancecoinm." in call(capsys, "show", "binance")[1]
    assert "Exchanges in ccxt: none." in call(capsys, "show", "bitmex")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "bybt"), "Did you mean 'bybit'?"),
        (("show", "absent.toml"), "no such venue file"),
        (("show", "bybit", "--at", "soon"), "--at 'soon' is not a time"),
        (("show",), "Missing argument"),
    ],
)
def test_wrong_usage(capsys, arguments, said):
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err

"""The schema of summary.json against what runs write."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import backtester
from backtester import analytics
from backtester.analytics.summary import SCHEMA_VERSION
from backtester.domain.enums import OrderStatus, RejectReason, label
from backtester.engine.folder import summary_content
from backtester.report.summary_schema import summary_schema
from backtester.strategy.registry import bundled_folder, load_file
from tests.unit.report import sample

jsonschema = pytest.importorskip("jsonschema")
COUNTS = ("disputed_bars", "coarse_unchecked", "bars_waited", "takeovers", "transfers_cut", "requests_lost")
OF_EVENTS = {"deleverages_cut", "deleverages_idle", "clawbacks_cut"}
"""Counts of runs with events of the venue alone."""


def errors(content: dict[str, Any]) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(summary_schema()).iter_errors(content)]


@cache
def written() -> dict[str, Any]:
    run = replace(sample.make(1, 24 * 10), counts=dict.fromkeys(COUNTS, 0))
    return summary_content(analytics.complete(run))


def content(**changes: Any) -> dict[str, Any]:
    return {**written(), **changes}


def test_the_schema_is_one() -> None:
    schema = summary_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["schema_version"]["const"] == SCHEMA_VERSION
    assert schema["$id"].endswith(f":{SCHEMA_VERSION}")


@pytest.mark.parametrize("made", [sample.flat, sample.one_day, sample.liquidated, sample.one_trade])
def test_extreme_runs_are_valid(made: Any) -> None:
    run = analytics.complete(replace(made(), counts=dict.fromkeys(COUNTS, 0)))
    assert errors(summary_content(run)) == []


def test_every_key_is_described_and_written() -> None:
    schema = summary_schema()
    assert set(content()) - {"details"} == set(schema["required"])
    assert set(schema["properties"]) - OF_EVENTS == {*content(), "details"}
    assert [key for key, one in schema["properties"].items() if not one.get("description")] == []


def test_reasons_of_orders_are_keys_of_their_own() -> None:
    for status in OrderStatus:
        for reason in RejectReason:
            key = f"orders_{label(status)}_{label(reason)}"
            assert bool(errors(content(**{key: 1}))) == (reason is RejectReason.NONE), key


@pytest.mark.parametrize(
    "change",
    [
        {"sharp": 1.0},
        {"sharpe": "1.0"},
        {"schema_version": 2},
        {"trades": 1.5},
        {"orders_filled_luck": 1},
        {"synthetic": 2},
        {"details": {"costs": {"maker": [1]}}},
        {"details": {"costs": 3}},
        {"counts": {"takeovers": 0}},
        {"notices": [{"code": "x", "severity": "hint", "text": ""}]},
    ],
)
def test_what_no_run_writes_is_refused(change: dict[str, Any]) -> None:
    assert errors(content(**change))


def test_details_hold_numbers_and_texts() -> None:
    assert errors(content(details={"costs": {"maker": 1.5, "name": "x", "none": None}})) == []


def test_a_missing_key_is_refused() -> None:
    whole = content()
    del whole["sharpe"]
    assert errors(whole) == ["'sharpe' is a required property"]


@pytest.mark.parametrize("path", sorted(bundled_folder().glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_every_bundled_strategy_writes_what_the_schema_says(path: Path, demo_store: Path) -> None:
    is_loop = "def on_bar" in path.read_text(encoding="utf-8")  # Python calls it, which is slow but compiles nothing
    symbols = ["BTC/USDT:USDT"] if is_loop else ["BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT"]
    span = {"timeframe": "1h", "start": "2024-11-01", "end": "2024-11-02" if is_loop else "2024-11-08"}
    settings = {"strategy": {"compiled": not is_loop}}
    for strategy in load_file(path):
        run = backtester.run(strategy.name, data=demo_store, symbols=symbols, out=None, settings=settings, **span)
        assert errors(json.loads(json.dumps(summary_content(run)))) == []

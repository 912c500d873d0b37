"""Details of a run: counted once, saved with the run, read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from backtester import analytics, api
from backtester.analytics import details
from tests.unit.report import sample


def test_details_are_saved_and_read_back(tmp_path: Path) -> None:
    run = replace(analytics.complete(sample.one_day()), details={"subject": {"a": 1, "b": None, "c": "text"}})
    saved = api.save(run, tmp_path)
    assert saved.run_dir is not None
    written = json.loads((saved.run_dir / "summary.json").read_text(encoding="utf-8"))
    assert written["details"] == run.details
    again = api.load_result(saved.run_dir)
    assert again.details == run.details
    assert "details" not in again.summary


def test_known_details_are_not_counted_again() -> None:
    run = replace(analytics.complete(sample.one_day()), details={"known": {"a": 1}})
    assert details.with_details(run) is run

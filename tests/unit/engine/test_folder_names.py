"""Runs that end in the same second: each gets a folder of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backtester import analytics, api
from backtester.engine import folder
from backtester.engine.folder import NameTakenError, load_result, staged_folder
from backtester.engine.result import Result
from tests.unit.report import sample


@pytest.fixture
def result() -> Result:
    made = analytics.complete(sample.flat())
    report = made.config.report.model_copy(update={"enabled": False})
    return replace(made, config=made.config.model_copy(update={"report": report}))


def test_a_name_that_is_taken_meanwhile_is_left_to_its_owner(
    tmp_path: Path, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes found the same name free; the slower one takes the next."""
    publish = folder._publish
    taken: list[Path] = []

    def slow(stage: Path, target: Path) -> None:
        if not taken:
            taken.append(target)
            target.mkdir()
            (target / "manifest.json").write_text("of the faster one")
        publish(stage, target)

    monkeypatch.setattr(folder, "_publish", slow)
    saved = api.save(result, tmp_path)
    assert saved.run_id == f"{result.run_id}-2"
    assert saved.run_dir == tmp_path / saved.run_id
    assert (taken[0] / "manifest.json").read_text() == "of the faster one"
    assert load_result(saved.run_dir).run_id == saved.run_id
    assert not list(tmp_path.glob(".partial-*"))


def test_a_folder_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("")
    with pytest.raises(NameTakenError, match="There is a run"), staged_folder(tmp_path, "run"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["run"]

"""The list of a folder of runs: its rows, what is broken, the page as text, writers at once."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from backtester.engine.folder import staged_folder
from backtester.engine.tags import change_tags
from backtester.errors import StoreError
from backtester.report.shelf import CACHE_FILE, SHELF_FOLDER, Row, read_shelf
from backtester.report.shelf_page import INDEX_FILE, refreshed_shelf, render_shelf, write_shelf
from tests.unit.report import shelf_sample

ATTACK = "<script>alert('x')</script>\"'&" + "a" * 150


def row_of(out: Path, name: str) -> Row:
    return next(row for row in read_shelf(out).rows if row.name == name)


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {p.as_posix(): (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*"))}


def test_a_run_is_a_row_of_its_summary(tmp_path: Path) -> None:
    folder = shelf_sample.add_run(tmp_path, "20260101-080000-trend-aa")
    summary = shelf_sample.run().summary
    row = row_of(tmp_path, folder.name)
    assert (row.kind, row.state, row.has_page, row.strategy) == ("run", "whole", True, "trend")
    assert row.figures["total_return"] == summary["total_return"]
    assert row.figures["sharpe"] == summary["sharpe"]
    assert row.symbols == summary["symbols"]
    assert row.created.startswith("2026-01-01T00:00:")


def test_the_spark_line_keeps_extremes_in_sixty_points(tmp_path: Path) -> None:
    folder = shelf_sample.add_run(tmp_path, "run")
    equity = [10_000.0] * 5_000
    equity[1_234], equity[4_321] = 25_000.0, 500.0
    frame = pl.read_parquet(folder / "equity.parquet")
    pl.DataFrame({"equity": equity}).write_parquet(folder / "equity.parquet")
    assert frame.height != 5_000
    spark = row_of(tmp_path, "run").spark
    assert len(spark) <= 60
    assert [round(1_234 / 4_999, 4), 2.5] in spark
    assert [round(4_321 / 4_999, 4), 0.05] in spark
    assert spark[0] == [0.0, 1.0]
    assert spark[-1] == [1.0, 1.0]


def test_the_best_set_of_a_sweep_kept_its_account(tmp_path: Path) -> None:
    row = row_of(shelf_sample.add_sweep(tmp_path, "20260102-s").parent, "20260102-s")
    assert (row.kind, row.state, row.strategy, row.symbols) == ("sweep", "whole", "trend", "BTC/USDT:USDT")
    assert row.figures["sharpe"] == 1.25
    assert row.facts == ["3 sets", "best fast=12"]


def test_the_best_trial_is_feasible_and_by_the_objective(tmp_path: Path) -> None:
    shelf_sample.add_study(tmp_path, "study")
    row = row_of(tmp_path, "study")
    assert (row.kind, row.state) == ("optimize", "unfinished")
    assert "interrupted" in row.reason
    assert row.figures["sharpe"] == 2.0
    assert row.facts[:2] == ["3 trials", "best fast=10"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: (f / "fills.parquet").unlink(), "fills.parquet is missing."),
        (lambda f: (f / "summary.json").write_text('{"sharpe": 1'), "summary.json is damaged."),
        (lambda f: (f / "summary.json").write_text("[1]"), "summary.json is damaged."),
        (lambda f: (f / "equity.parquet").write_bytes(b"PAR1 and no more"), "equity.parquet is damaged."),
        (lambda f: (f / "trades.parquet").write_bytes(b""), "trades.parquet is empty."),
        (lambda f: (f / "manifest.json").unlink(), "manifest.json is missing."),
        (lambda f: (f / "manifest.json").write_text('{"format": 99}'), "It was written in format 99"),
        (lambda f: (f / "config.toml").unlink(), "config.toml is missing."),
    ],
)
def test_a_damaged_run_says_why_and_hides_no_other(tmp_path: Path, damage, reason: str) -> None:
    good = shelf_sample.add_run(tmp_path, "good")
    bad = shelf_sample.copy_run(good, "bad")
    read_shelf(tmp_path).keep()
    damage(bad)
    assert row_of(tmp_path, "bad").state == "broken"
    assert reason in row_of(tmp_path, "bad").reason
    assert row_of(tmp_path, "good").state == "whole"
    page = render_shelf(read_shelf(tmp_path))
    assert reason in page


def test_what_is_no_run_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".git").mkdir()
    assert read_shelf(tmp_path).rows == ()
    assert read_shelf(tmp_path / "nowhere").rows == ()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be locked there")
def test_a_folder_that_is_written_is_no_ruin(tmp_path: Path) -> None:
    shelf_sample.leave_half(tmp_path)
    (tmp_path / ".partial-young").mkdir()
    with staged_folder(tmp_path, "run") as stage:
        found = {row.name: row for row in read_shelf(tmp_path).rows}
        assert (found[stage.name].state, found[stage.name].abandoned) == ("unfinished", False)
        assert found[".partial-young"].state == "unfinished"
        long_ago = time.time() - 60
        os.utime(stage, (long_ago, long_ago))
        assert not row_of(tmp_path, stage.name).abandoned
        assert (found[".partial-left"].state, found[".partial-left"].abandoned) == ("broken", True)
    assert "It was being written" in found[stage.name].reason


def test_rows_are_kept_and_known_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shelf_sample.add_run(tmp_path, "run")
    write_shelf(tmp_path)
    before = read_shelf(tmp_path).rows
    read: list[Path] = []
    monkeypatch.setattr("backtester.report.shelf.run_row", lambda f: read.append(f) or {})
    assert read_shelf(tmp_path).rows == before
    assert read == []
    change_tags(folder, ["new"])
    assert row_of(tmp_path, "run").tags == ["new"]
    assert read == [folder]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1, "rows": {"run": 3}}', '{"format": 0, "rows": {}}'])
def test_a_damaged_list_of_rows_is_made_again(tmp_path: Path, content: str) -> None:
    shelf_sample.add_run(tmp_path, "run")
    write_shelf(tmp_path)
    whole = read_shelf(tmp_path).rows
    (tmp_path / SHELF_FOLDER / CACHE_FILE).write_text(content)
    assert read_shelf(tmp_path).rows == whole


@pytest.mark.parametrize(
    "row", [{"figures": {"total_return": "much"}}, {"figures": None}, {"spark": [1]}, {"tags": "x"}, {"kind": "none"}]
)
def test_a_kept_row_of_another_shape_ends_no_list(tmp_path: Path, row: dict[str, object]) -> None:
    shelf_sample.add_run(tmp_path, "run")
    write_shelf(tmp_path)
    whole = read_shelf(tmp_path).rows
    kept = tmp_path / SHELF_FOLDER / CACHE_FILE
    content = json.loads(kept.read_text())
    content["rows"]["run"][1].update(row)
    kept.write_text(json.dumps(content))
    assert read_shelf(tmp_path).rows == whole
    write_shelf(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text_is_passed_over(tmp_path: Path) -> None:
    shelf_sample.add_run(tmp_path, "run")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff"))
    odd.mkdir()
    (odd / "manifest.json").write_text("{}")
    assert [row.name for row in read_shelf(tmp_path).rows] == ["run"]
    write_shelf(tmp_path)


def test_no_folder_of_a_run_is_touched(tmp_path: Path) -> None:
    folder = shelf_sample.add_run(tmp_path, "run")
    sweep = shelf_sample.add_sweep(tmp_path, "sweep")
    before = snapshot(folder), snapshot(sweep)
    write_shelf(tmp_path)
    assert (snapshot(folder), snapshot(sweep)) == before


def test_names_stay_text_on_the_page(tmp_path: Path) -> None:
    summary = {"strategy": ATTACK, "venue": ATTACK, "symbols": f"{ATTACK}, B/USDT:USDT", "timeframe": ATTACK}
    folder = shelf_sample.add_run(tmp_path, "<script>alert('y')<", summary=summary)
    change_tags(folder, ["<b>tag</b>", "a'\"b"])
    page = write_shelf(tmp_path).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<b>tag" not in page
    assert 'href="./%3Cscript%3Ealert%28%27y%27%29%3C/report.html"' in page
    assert "&lt;script&gt;alert" in page


def test_an_empty_folder_says_how_to_begin(tmp_path: Path) -> None:
    page = write_shelf(tmp_path / "reports").read_text(encoding="utf-8")
    assert "There is no run here yet" in page
    assert "backtester run trend --out " in page
    assert 'id="filters"' not in page
    assert "reports index</code>" in render_shelf(read_shelf(Path("reports")))


def test_the_page_loads_nothing_and_needs_no_plotly(tmp_path: Path) -> None:
    shelf_sample.add_run(tmp_path, "run")
    code = (
        "import sys; from pathlib import Path; from backtester.report.shelf_page import write_shelf;"
        f"write_shelf(Path({str(tmp_path)!r})); print('plotly' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "False"
    page = (tmp_path / INDEX_FILE).read_text(encoding="utf-8")
    assert "Content-Security-Policy" in page
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)


def test_a_failure_is_told_and_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refreshed_shelf(tmp_path) is None
    (tmp_path / "file").write_text("")
    told = refreshed_shelf(tmp_path / "file")
    assert told is not None
    assert (told.code, told.severity) == ("shelf_not_renewed", "warning")
    assert "reports index" in told.text
    with pytest.raises(StoreError, match="cannot be written"):
        write_shelf(tmp_path / "file")

    def fail(*_: object) -> None:
        raise ZeroDivisionError("odd")

    monkeypatch.setattr("backtester.report.shelf_page.read_shelf", fail)
    told = refreshed_shelf(tmp_path)
    assert told is not None
    assert "ZeroDivisionError" in told.text


def test_a_page_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / INDEX_FILE).write_text("<h1>my site</h1>")
    with pytest.raises(StoreError, match="is no list of runs"):
        write_shelf(tmp_path)
    assert refreshed_shelf(tmp_path) is not None
    assert (tmp_path / INDEX_FILE).read_text() == "<h1>my site</h1>"
    (tmp_path / INDEX_FILE).unlink()
    write_shelf(tmp_path)
    write_shelf(tmp_path)


def _add(source: Path, names: list[str]) -> None:
    for name in names:
        shelf_sample.copy_run(source, name)
        assert refreshed_shelf(source.parent) is None


def test_writers_at_once_leave_a_list_with_all(tmp_path: Path) -> None:
    source = shelf_sample.add_run(tmp_path, "run-0")
    context = multiprocessing.get_context("spawn")
    shares = [[f"run-{place}-{i}" for i in range(4)] for place in range(2)]
    workers = [context.Process(target=_add, args=(source, share)) for share in shares]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    page = (tmp_path / INDEX_FILE).read_text(encoding="utf-8")
    for name in ("run-0", *shares[0], *shares[1]):
        assert f'value="{name}"' in page
    kept = json.loads((tmp_path / SHELF_FOLDER / CACHE_FILE).read_text())
    assert len(kept["rows"]) == 9
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == {SHELF_FOLDER}


def test_five_hundred_runs_are_written_again_in_no_time(tmp_path: Path) -> None:
    source = shelf_sample.add_run(tmp_path, "run-000")
    for number in range(1, 500):
        shutil.copytree(source, tmp_path / f"run-{number:03d}", copy_function=os.link)
    write_shelf(tmp_path)
    assert min(_seconds(tmp_path, number) for number in range(500, 503)) < 0.8  # 0.2 s on an idle machine
    assert (tmp_path / INDEX_FILE).read_text().count("<tr data-row") == 503


def _seconds(out: Path, number: int) -> float:
    """Return the time of the processor that the list takes after one more run."""
    shutil.copytree(out / "run-000", out / f"run-{number}", copy_function=os.link)
    begun = time.process_time()
    write_shelf(out)
    return time.process_time() - begun

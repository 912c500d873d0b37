"""``backtester compare`` of runs and sweeps, and its twin in Python."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import backtester
from backtester import analytics, api
from backtester.cli.app import exit_code
from backtester.engine.folder import load_result, run_folders
from backtester.errors import StoreError, UsageError
from tests.unit.report import sample, sweep_sample

NAMES = ("20250101-080000-trend", "20250101-090000-trend", "20250201-100000-idle")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of three runs, two sweeps, and what else may lie there."""
    out = tmp_path_factory.mktemp("stored")
    made = (sample.make(1, 24 * 40), sample.make(1, 24 * 40, exposure=1.2), sample.flat(24 * 40))
    for name, result in zip(NAMES, made, strict=True):
        report = result.config.report.model_copy(update={"enabled": False})
        config = result.config.model_copy(update={"report": report})
        api.save(analytics.complete(replace(result, run_id=name, config=config, strategy_source="a = 1\n")), out)
    for name in ("20250301-080000-sweep-trend", "20250302-080000-sweep-trend"):
        sweep_sample.write(out / name, sweep_sample.one_parameter())
    other = out / "20250401-080000-optimize-trend"
    other.mkdir()
    (other / "optimize.toml").write_text("", encoding="utf-8")
    broken = shutil.copytree(out / NAMES[0], out / "20250501-080000-broken")
    (broken / "equity.parquet").write_bytes(b"half")
    return out


@pytest.fixture
def shell(stored: Path, capsys: pytest.CaptureFixture[str]):
    """Run the command on those: exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = exit_code(["compare", *arguments, "--out", str(stored)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_two_runs_by_name_and_beginning(shell, stored: Path) -> None:
    code, out, err = shell(NAMES[0], "20250101-09")
    assert code == 0, err
    for text in ("A trend", "B trend", "Sharpe ratio", "Largest drawdown", "* is the best", "Correlation of daily"):
        assert text in out
    page = Path(out.rpartition("Report: ")[2].strip())
    assert page.parent == stored.resolve()
    assert "Comparison" in page.read_text(encoding="utf-8")
    assert page.name not in {folder.name for folder in run_folders(stored)}


def test_the_newest_is_known_by_that_word(shell, stored: Path) -> None:
    newest = run_folders(stored)[-1].name
    assert shell(NAMES[0], "newest", "--quiet")[::2] == shell(NAMES[0], newest, "--quiet")[::2]
    assert newest in shell(NAMES[0], "newest")[2]  # a broken one, which is refused by its name


def test_json_alone_on_stdout(shell, stored: Path, tmp_path: Path) -> None:
    page = tmp_path / "here" / "page.html"
    code, out, _ = shell(*NAMES, "--json", "--to", str(page))
    content = json.loads(out)
    assert (code, content["page"], page.is_file()) == (0, str(page), True)
    assert [one["run"] for one in content["runs"]] == list(NAMES)
    summaries = {name: load_result(stored / name).summary for name in NAMES}
    by_metric = {row["metric"]: row for row in content["metrics"]}
    for key in ("sharpe", "fees", "max_drawdown"):
        assert by_metric[key]["values"] == {name: summaries[name][key] for name in NAMES}
    first, other = (float(summaries[name]["fees"]) for name in NAMES[:2])  # type: ignore[arg-type]
    assert by_metric["fees"]["differences"][NAMES[1]] == pytest.approx(other - first)
    assert content["correlation"][NAMES[0]][NAMES[0]] == pytest.approx(1.0)
    assert content["correlation"][NAMES[2]][NAMES[0]] is None
    assert content["attribution"][NAMES[1]]["total"] == pytest.approx(summaries[NAMES[1]]["net_profit"])
    assert {notice["code"] for notice in content["notices"]} == {"no_trades"}


def test_quiet_prints_the_page(shell, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert shell(*NAMES[:2], "--quiet", "--to", str(page)) == (0, f"{page}\n", "")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 2, "Nothing to compare is given"),
        ([NAMES[0]], 2, "a comparison takes at least two"),
        ([NAMES[0], "20250101-090000-trent"], 2, "Did you mean '20250101-090000-trend'"),
        ([NAMES[0], ""], 2, "Unknown run ''"),
        ([NAMES[0], "x" * 5_000], 2, "Unknown run 'xxx"),
        ([NAMES[0], "<script>\n"], 2, "Unknown run"),
        ([NAMES[0], "20250101"], 2, "2 runs begin with '20250101'"),
        ([NAMES[0], NAMES[0]], 2, "is given twice"),
        ([NAMES[0]] * 51, 2, "51 runs are given; a comparison takes 2 to 50"),
        ([NAMES[0], "20250301"], 2, "the two are not compared with each other"),
        (["20250301", "20250301"], 2, "is given twice"),
        ([NAMES[0], "20250401"], 2, "is the folder of an optimisation"),
        ([NAMES[0], "20250501"], 1, "equity.parquet cannot be read"),
        ([*NAMES[:2], "--to", "."], 2, "--to names the folder ."),
        ([NAMES[0], "--live-funding", "x.csv"], 2, "--live FILE"),
        ([NAMES[0], "--live", "x.csv", "--to", "x.html"], 2, "has no page"),
    ],
)
def test_wrong_calls(shell, arguments: list[str], code: int, text: str) -> None:
    done, out, err = shell(*arguments)
    assert (done, out) == (code, "")
    assert text in err
    assert "Traceback" not in err


def test_a_folder_that_is_no_run_or_not_finished(shell, tmp_path: Path) -> None:
    assert "holds no run" in shell(NAMES[0], str(tmp_path))[2]
    partial = tmp_path / ".partial-x"
    partial.mkdir()
    code, _, err = shell(NAMES[0], str(partial))
    assert (code, "is not finished" in err) == (1, True)


def test_equal_runs_are_said_to_be_equal(shell, stored: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(stored / NAMES[0], tmp_path / "copy")
    code, out, err = shell(NAMES[0], str(copy), "--to", str(tmp_path / "page.html"))
    assert code == 0, err
    assert "A trend and B trend are equal" in err
    assert "Every setting, the data and the versions are the same" in out


def test_one_sweep_gets_its_page_again(shell, stored: Path) -> None:
    code, out, err = shell("20250301")
    assert code == 0, err
    assert (stored / "20250301-080000-sweep-trend" / "report.html").is_file()
    assert "report.html" in out


def test_two_sweeps(shell, stored: Path) -> None:
    code, out, err = shell("20250301", "20250302")
    assert code == 0, err
    assert "Sharpe ratio, median" in out
    content = json.loads(shell("20250301", "20250302", "--json")[1])
    first = content["sweeps"][0]
    assert (first["sets"], first["metric"], len(first["best"])) == (29, "sharpe", 5)
    assert first["best"][0]["sharpe"] == first["levels"]["sharpe"]["best"]


def test_python_takes_results_folders_and_names(stored: Path, tmp_path: Path) -> None:
    found = backtester.compare([load_result(stored / NAMES[0]), stored / NAMES[1], NAMES[2]], out=stored)
    assert found.names == list(NAMES)
    assert found.correlation.shape == (3, 4)
    assert "Sharpe ratio" in found._repr_html_()
    assert repr(found).startswith("<CompareResult of 3 runs: A trend")
    assert found.save(tmp_path / "page.html").stat().st_size > 1_000_000


@pytest.mark.parametrize(
    ("runs", "error", "text"),
    [
        (NAMES[0], UsageError, "Give a list of runs"),
        ([NAMES[0]], UsageError, "at least two"),
        ([NAMES[0], "20250301"], UsageError, "is a sweep, not a run"),
        ([NAMES[0], "20250501"], StoreError, "cannot be read"),
        ([NAMES[0], sample.flat(24)], UsageError, "has no summary"),
    ],
)
def test_wrong_calls_from_python(stored: Path, runs: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        backtester.compare(runs, out=stored)

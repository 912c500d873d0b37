"""``backtester reports``: list, tag, prune, export, reproduce, index, schema."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backtester.cli import reports, reports_upkeep
from backtester.cli.app import exit_code
from tests.unit.report import shelf_sample

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS = {"20260101-080000-trend-a": 0.2, "20260102-080000-pairs-b": -0.1, "20260103-080000-trend-c": None}


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "reports"
    first, *others = RUNS
    folder = shelf_sample.add_run(out, first, summary={"total_return": RUNS[first]})
    for day, name in enumerate(others, 2):
        strategy = name.split("-")[2]
        copied = shelf_sample.copy_run(folder, name, total_return=RUNS[name], strategy=strategy)
        manifest = json.loads((copied / "manifest.json").read_text())
        created = f"2026-01-{day:02d}T08:00:00+00:00"
        (copied / "manifest.json").write_text(json.dumps({**manifest, "created": created}))
    return out


@pytest.fixture
def call(out: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = exit_code(["reports", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def listed(call: Any, *arguments: str) -> list[str]:
    code, out, err = call("list", "--json", *arguments)
    assert (code, err) == (0, "")
    return [row["run"][-1] for row in json.loads(out)]


def test_runs_are_filtered_and_sorted(call) -> None:
    assert listed(call) == ["a", "b", "c"]
    assert listed(call, "--reverse") == ["c", "b", "a"]
    assert listed(call, "--strategy", "trend") == ["a", "c"]
    assert listed(call, "--since", "2026-01-02") == ["b", "c"]
    assert listed(call, "--since", "1h") == []
    assert listed(call, "--sort", "return") == ["a", "b", "c"]
    assert listed(call, "--sort", "return", "--reverse") == ["b", "a", "c"]
    assert listed(call, "--sort", "strategy") == ["b", "a", "c"]
    call("tag", "20260102", "keep")
    call("tag", "20260103", "keep", "paper")
    assert listed(call, "--tag", "keep") == ["b", "c"]
    assert listed(call, "--tag", "keep", "--tag", "paper") == ["c"]
    code, _, err = call("list", "--since", "yesterday")
    assert (code, err.splitlines()[0]) == (2, "Error: --since 'yesterday' is neither a time nor an age.")


def test_broken_runs_and_searches_are_listed_with_what_ails_them(call, out: Path) -> None:
    (out / "20260102-080000-pairs-b" / "fills.parquet").unlink()
    shelf_sample.add_sweep(out, "20260104-080000-sweep-d")
    code, printed, _ = call("list")
    assert code == 0
    assert "20260102-080000-pairs-b: fills.parquet is missing." in printed
    assert "sweep-d" not in printed
    assert listed(call, "--kind", "sweep") == ["d"]
    assert len(listed(call, "--kind", "all")) == 4
    rows = json.loads(call("list", "--json")[1])
    assert [row["state"] for row in rows] == ["whole", "broken", "whole"]


def test_an_empty_folder_says_so(call) -> None:
    code, printed, _ = call("list", "--out", "nowhere")
    assert code == 0
    assert printed == "There is no run in nowhere yet. Make one with `backtester run STRATEGY`.\n"
    assert call("list", "--strategy", "none")[1].startswith("No run of that kind is in reports.")
    assert not Path("nowhere").exists()


def test_tags_lie_beside_the_other_files(call, out: Path) -> None:
    folder = out / "20260101-080000-trend-a"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code, printed, _ = call("tag", "20260101", "keep,paper", "third")
    assert (code, printed) == (0, f"{folder.name}: keep, paper, third\n")
    assert (
        call("tag", "20260101", "--remove", "paper", "--json")[1]
        == json.dumps({"run": folder.name, "tags": ["keep", "third"]}, indent=2) + "\n"
    )
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after.pop("tags.json")
    assert after == before
    assert call("tag", "20260101")[1] == f"{folder.name}: keep, third\n"
    assert 'data-tags="keep third"' in (out / "index.html").read_text()
    assert call("tag", "20260102")[1].endswith(": no tags\n")
    code, _, err = call("tag", "2026", "x")
    assert (code, "3 runs begin with '2026'" in err) == (2, True)
    code, _, err = call("tag", "20260101", "two words")
    assert (code, "is no tag" in err) == (2, True)


@pytest.mark.parametrize(
    ("options", "gone", "spared"),
    [
        (["--keep", "1"], "ab", ""),
        (["--keep", "0"], "abc", ""),
        (["--older-than", "2026-01-02T12:00"], "ab", ""),
        (["--older-than", "2026-01-02T12:00", "--keep", "2"], "a", ""),
        (["--untagged"], "abc", ""),
    ],
)
def test_what_is_deleted(call, out: Path, options: list[str], gone: str, spared: str) -> None:
    code, printed, err = call("prune", *options, "--dry-run", "--json")
    assert (code, err) == (0, "")
    assert sorted(name[-1] for name in json.loads(printed)["chosen"]) == list(gone)
    assert len(list(out.glob("2*"))) == 3
    code, printed, _ = call("prune", *options, "--yes")
    assert code == 0
    assert printed == f"{len(gone)} folder{'' if len(gone) == 1 else 's'} deleted.\n"
    assert {path.name[-1] for path in out.glob("2*")} == set("abc") - set(gone)
    assert not list(out.glob(".partial-*"))
    page = (out / "index.html").read_text()
    assert [name in page for name in RUNS] == [name[-1] not in gone for name in RUNS]


def test_tagged_runs_are_spared_unless_told(call, out: Path) -> None:
    call("tag", "20260101", "keep")
    code, printed, err = call("prune", "--keep", "0", "--yes")
    assert (code, printed) == (0, "2 folders deleted.\n")
    assert "Spared for tags: 1 folder;" in err
    assert [path.name[-1] for path in out.glob("2*")] == ["a"]
    assert call("prune", "--keep", "0", "--yes")[1] == "There is nothing to delete.\n"
    assert call("prune", "--keep", "0", "--tagged", "--yes")[1] == "1 folder deleted.\n"


def test_broken_and_abandoned_folders_go_and_living_ones_stay(call, out: Path) -> None:
    from backtester.engine.folder import staged_folder

    (out / "20260102-080000-pairs-b" / "fills.parquet").unlink()
    shelf_sample.leave_half(out)
    shelf_sample.add_sweep(out, "20260104-080000-sweep-d", state="running")
    (out / "20260105-080000-mine").mkdir()
    with staged_folder(out, "20260106-080000-living") as stage:
        assert call("prune", "--broken", "--yes")[1] == "2 folders deleted.\n"
        assert stage.is_dir()
    names = {path.name[-1] for path in out.glob("2*")}
    assert names == {"a", "c", "d", "e", "g"}
    assert call("prune", "--keep", "0", "--searches", "--dry-run")[1] == "2 folders would be deleted.\n"


def test_folders_of_others_are_never_deleted(call, out: Path) -> None:
    """Other programs have files of these names too."""
    for folder, file in (("extension", "manifest.json"), ("study", "summary.json")):
        (out / folder).mkdir()
        (out / folder / file).write_text("{}", encoding="utf-8")
        (out / folder / "thesis.txt").write_text("years of work", encoding="utf-8")
    shelf_sample.leave_half(out)
    (out / ".partial-left" / "thesis.txt").write_text("more of it", encoding="utf-8")
    os.utime(out / ".partial-left", (1, 1))
    code, printed, err = call("prune", "--broken", "--yes")
    assert (code, printed) == (0, "There is nothing to delete.\n")
    assert "study stays: it holds files that no run writes." in err
    assert len(list(out.glob("*/thesis.txt"))) == 3


def test_a_damaged_file_of_tags_spares_a_run(call, out: Path) -> None:
    (out / "20260101-080000-trend-a" / "tags.json").write_text('{"tags": ["ke', encoding="utf-8")
    assert call("prune", "--untagged", "--yes")[1] == "2 folders deleted.\n"
    assert call("prune", "--keep", "0", "--yes")[1] == "There is nothing to delete.\n"
    assert [path.name[-1] for path in out.glob("2*")] == ["a"]


def test_a_kept_row_names_no_other_folder(call, out: Path) -> None:
    """A folder of runs may come from somebody else, its list of rows with it."""
    victim = out.parent / "victim"
    victim.mkdir()
    rows = out / ".shelf" / "rows.json"
    call("index")
    rows.write_text(rows.read_text().replace('"name":"20260101-080000-trend-a"', '"name":"../victim"'))
    assert "../victim" in rows.read_text()
    assert call("prune", "--keep", "0", "--yes")[1] == "3 folders deleted.\n"
    assert victim.is_dir()


def test_searches_go_when_they_are_named_and_done(call, out: Path) -> None:
    shelf_sample.add_sweep(out, "20260104-080000-sweep-d")
    assert call("prune", "--keep", "0", "--yes")[1] == "3 folders deleted.\n"
    assert call("prune", "--untagged", "--searches", "--yes")[1] == "1 folder deleted.\n"


def test_deleting_asks(call, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = call("prune", "--keep", "0")
    assert (code, "Nobody can be asked here" in err) == (2, True)
    monkeypatch.setattr(reports_upkeep.sys, "stdin", _Terminal("n\n"))
    code, printed, err = call("prune", "--keep", "0")
    assert (code, printed.strip()) == (130, "")
    assert "Delete 3 folders in reports?" in err
    assert len(list(out.glob("2*"))) == 3
    monkeypatch.setattr(reports_upkeep.sys, "stdin", _Terminal("y\n"))
    assert call("prune", "--keep", "2")[1].strip() == "1 folder deleted."


class _Terminal:
    """What a person types."""

    def __init__(self, text: str) -> None:
        import io

        self.read = io.StringIO(text)

    def isatty(self) -> bool:
        return True

    def readline(self, *_: int) -> str:
        return self.read.readline()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Nothing says what is to be deleted"),
        (["--untagged", "--tagged"], "opposite things"),
        (["--keep", "1", "--json"], "With --json nothing is asked"),
        (["--older-than", "soon"], "neither a time nor an age"),
    ],
)
def test_vague_wishes_are_refused(call, out: Path, options: list[str], words: str) -> None:
    code, printed, err = call("prune", *options)
    assert (code, printed) == (2, "")
    assert words in err
    assert len(list(out.glob("2*"))) == 3


def test_a_link_is_removed_and_not_what_it_leads_to(call, out: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.move(out / "20260101-080000-trend-a", elsewhere)
    (out / "20260101-080000-trend-a").symlink_to(elsewhere)
    assert call("prune", "--keep", "0", "--yes")[1] == "3 folders deleted.\n"
    assert (elsewhere / "manifest.json").is_file()


def test_tables_are_exported(call, out: Path, tmp_path: Path) -> None:
    code, printed, err = call("export", "20260101", "--to", "away", "--tables", "fills,trades", "--json")
    assert (code, err) == (0, "")
    files = [Path(name) for name in json.loads(printed)["files"]]
    assert [path.name for path in files] == ["fills.csv", "trades.csv"]
    assert all(path.is_file() and path.is_relative_to(tmp_path / "away") for path in files)
    code, printed, err = call("export", "20260101", "--to", "away", "--format", "xlsx")
    assert code == 0
    assert "Times are UTC, without a zone" in err
    assert zipfile.is_zipfile(printed.strip().removeprefix("Written: "))
    code, _, err = call("export", "20260101", "--to", "away", "--format", "xlsx")
    assert (code, "--overwrite" in err) == (2, True)
    code, _, err = call("export", "20260101", "--tables", "fill")
    assert (code, "Did you mean 'fills'" in err) == (2, True)
    assert call("export", "20260101", "--tables", ",")[0] == 2


def test_the_list_is_written_and_opened(call, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, printed, _ = call("index", "--json")
    assert code == 0
    assert json.loads(printed) == {
        "page": str(out / "index.html"), "runs": 3, "searches": 0, "not_whole": 0
    }  # fmt: skip
    shown: list[str] = []
    monkeypatch.setattr(reports.typer, "launch", shown.append)
    assert call("open", "--shelf")[0] == 0
    assert call("open")[1].endswith("20260103-080000-trend-c/report.html\n")
    assert shown == [(out / "index.html").as_uri(), (out / "20260103-080000-trend-c" / "report.html").as_uri()]
    assert call("open", "20260101", "--shelf")[0] == 2


def test_the_schema_is_printed_and_holds_for_a_run(call, out: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    code, printed, err = call("schema")
    assert (code, err) == (0, "")
    schema = json.loads(printed)
    assert schema["properties"]["schema_version"]["const"] == 1
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("command", ["list", "open", "build", "index", "tag", "prune", "export", "reproduce", "schema"])
def test_every_option_is_documented(call, command: str) -> None:
    document = (Path(__file__).parents[2] / "docs" / "reports.md").read_text(encoding="utf-8")
    code, printed, _ = call(command, "--help")
    assert code == 0
    options = set(re.findall(r"--[a-z][a-z-]+", printed)) - {"--help", "--quiet"}
    assert {option for option in options if option not in document} == set()
    assert f"`reports {command}" in document


def test_a_run_is_reproduced(call, demo_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    span = ["--symbols", "BTC/USDT:USDT", "--timeframe", "1h", "--start", "2024-11-01", "--end", "2024-11-15"]
    made = ["run", "trend", *span, "--store", str(demo_store), "--out", "made", "--no-report", "--quiet"]
    assert exit_code(made) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert (folder.parent / "index.html").is_file()
    code, printed, err = call("reproduce", folder.name, "--out", "made", "--quiet")
    assert (code, printed, err) == (0, "", "")
    code, printed, _ = call("reproduce", str(folder))
    assert (code, printed) == (
        0, f"{folder.name} is reproduced: every table and every metric is the same to the last bit.\n"
    )  # fmt: skip
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "trades": 99}))
    code, printed, _ = call("reproduce", folder.name, "--out", "made", "--json")
    assert code == 1
    found = json.loads(printed)
    assert (found["equal"], found["tables"], found["causes"]) == (False, [], [])
    assert found["metrics"] == {"trades": {"stored": 99, "now": summary["trades"]}}
    code, printed, _ = call("reproduce", folder.name, "--out", "made")
    assert code == 1
    assert "0 tables and 1 metric differ" in printed
    assert "have the hashes that they had" in printed

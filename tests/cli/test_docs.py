"""The README and the documents say what works: their commands and examples run, in order, on the synthetic market."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from backtester.cli.app import exit_code

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# (\S+\.\w+)\n")


def blocks(document: str) -> list[tuple[str, str]]:
    """Return language and text of each fenced block."""
    return BLOCK.findall((ROOT / document).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "docs/runs.md",
        "docs/report_page.md",
        "docs/accounting.md",
        "docs/research.md",
        "docs/sweeps.md",
        "docs/optimisation.md",
        "docs/comparing.md",
        "docs/reports.md",
    ],
)
def test_examples_run(
    document: str, demo_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(demo_store)
    names: dict[str, object] = {"__name__": "documented"}
    ran = 0
    for language, text in blocks(document):
        named = FILE_NAME.match(text)
        if named:
            path = tmp_path / named[1]
            path.parent.mkdir(exist_ok=True)
            path.write_text(text[named.end() :] if path.suffix == ".csv" else text, encoding="utf-8")
        elif language == "python":
            exec(compile(text, document, "exec"), names)
            ran += 1
        elif language == "bash":
            for line in text.splitlines():
                command, *arguments = shlex.split(line)
                assert command == "backtester", line
                if arguments[:2] == ["data", "demo"]:
                    continue  # the market is there already
                assert exit_code(arguments) == 0, (line, capsys.readouterr().err)
                ran += 1
    assert ran >= 3


def test_the_readme_shows_what_is_printed(
    demo_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = next(text for language, text in blocks("README.md") if language == "bash").splitlines()[1]
    assert exit_code([*shlex.split(command)[1:], "--store", str(demo_store), "--no-report"]) == 0
    printed = capsys.readouterr().out.splitlines()[:-1]
    shown = next(text for language, text in blocks("README.md") if language == "text").splitlines()[:-1]
    assert [line.rstrip() for line in shown if line.strip()] == [line.rstrip() for line in printed if line.strip()]


def test_links_lead_somewhere() -> None:
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#]+\.md)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).is_file(), f"{document.name}: {target}"


@pytest.mark.parametrize(("command", "pages"), [("run", ["runs.md"]), ("sweep", ["sweeps.md", "runs.md"])])
def test_every_option_is_documented(command: str, pages: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code([command, "--help"]) == 0
    options = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out)) - {"--help", "--symbol"}
    documented = "".join((ROOT / "docs" / page).read_text(encoding="utf-8") for page in pages)
    assert {option for option in options if option not in documented} == set()


def test_every_default_of_the_run_file_is_documented() -> None:
    from backtester.domain.config import RunConfig
    from backtester.engine.run_file import _first_model

    documented = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    for section, field in RunConfig.model_fields.items():
        model = _first_model(field.annotation)
        assert model is not None
        for key, known in model.model_fields.items():
            default = known.get_default(call_default_factory=True)
            if isinstance(default, str):
                assert f'`{key}` (`"{default}"`' in documented, f"{section}.{key}"
            elif isinstance(default, bool):
                assert f"`{key}` ({str(default).lower()}" in documented, f"{section}.{key}"
            elif isinstance(default, int | float) and section != "tiers":
                assert f"`{key}` ({default:g})" in documented, f"{section}.{key}"


def test_the_columns_of_the_round_trips_are_documented() -> None:
    from backtester.analytics.trades import SCHEMA

    row = next(
        line for line in (ROOT / "docs" / "runs.md").read_text(encoding="utf-8").splitlines() if "`trades.parq" in line
    )
    assert {name for name in SCHEMA.names() if not re.search(rf"\b{name}\b", row)} == set()


def test_every_section_and_key_of_the_run_file_is_documented() -> None:
    from backtester.domain.config import RunConfig
    from backtester.engine.run_file import _first_model

    documented = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    for section, field in RunConfig.model_fields.items():
        model = _first_model(field.annotation)
        assert model is not None
        for key in model.model_fields:
            assert f"`{key}`" in documented, f"{section}.{key}"

"""The section of one's own in docs/reports.md, installed as a package would be."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from backtester.cli.app import exit_code
from tests.cli.test_docs import FILE_NAME, blocks
from tests.unit.report import shelf_sample


def test_the_documented_section_is_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {found[1]: text for _, text in blocks("docs/reports.md") if (found := FILE_NAME.match(text))}
    site = tmp_path / "site"
    info = site / "my_sections-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "my_sections.py").write_text(files["my_sections.py"], encoding="utf-8")
    project = tomllib.loads(files["pyproject.toml"])["project"]
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (group,) = project["entry-points"]
    lines = [f"{name} = {value}" for name, value in project["entry-points"][group].items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]), encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    folder = shelf_sample.add_run(tmp_path / "reports", "20260101-080000-trend-a")
    assert exit_code(["reports", "build", str(folder)]) == 0, capsys.readouterr().err
    sys.modules.pop("my_sections", None)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert 'id="added-hours"' in page
    assert "When orders fill, by hour of the day (UTC)." in page
    assert "data-added-error" not in page

"""Installation into a fresh environment: the command works anywhere, with strategies, packs and templates inside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the executables of an environment into which the package was installed, not linked."""
    folder = tmp_path_factory.mktemp("install")
    source = folder / "source"
    names = ("backtester", "strategies", "pyproject.toml", "README.md", "LICENSE", "constraints.txt")
    source.mkdir()
    for name in names:
        path = ROOT / name
        shutil.copytree(path, source / name) if path.is_dir() else shutil.copy(path, source / name)
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    pip = [folder / "env" / "bin" / "pip", "install", "-q", "-c", source / "constraints.txt", source]
    subprocess.run(pip, check=True, cwd=folder)
    shutil.rmtree(source)
    return folder / "env" / "bin"


def run(installed: Path, folder: Path, *arguments: str) -> str:
    """Run the installed command in a folder and return what it prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment["BACKTESTER_CACHE_DIR"] = str(folder / "cache")
    command = [installed / "backtester", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_works_anywhere(installed: Path, tmp_path: Path) -> None:
    assert run(installed, tmp_path, "--version").startswith("backtester ")
    listed = json.loads(run(installed, tmp_path, "strategy", "list", "--json"))
    assert "trend" in json.dumps(listed)
    packs = json.loads(run(installed, tmp_path, "venue", "list", "--json"))
    assert "binance" in json.dumps(packs)
    run(installed, tmp_path, "data", "demo", "--quiet")
    printed = run(installed, tmp_path, "run", "trend", "--symbols", "BTC/USDT:USDT", "--start", "2024-10-01", "--json")
    page = Path(json.loads(printed)["run_dir"]) / "report.html"
    assert (tmp_path / page).stat().st_size > 100_000
    assert page.parent.name in (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert json.loads(run(installed, tmp_path, "reports", "schema"))["title"] == "summary.json of a run"


def test_nothing_but_the_package_is_installed(installed: Path) -> None:
    site = next((installed.parent / "lib").glob("python*/site-packages"))
    assert (site / "backtester" / "bundled" / "trend.py").is_file()
    assert not (site / "strategies").exists()
    assert not (site / "tests").exists()

"""``strategy new``: what it writes works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from backtester.errors import UsageError
from backtester.strategy import registry
from backtester.strategy.base import kind_of
from backtester.strategy.scaffold import write_strategy

CACHE = {name: value for name, value in os.environ.items() if name == "BACKTESTER_CACHE_DIR"}
FOR_TESTS = {"S101", "D103", "INP001", "PLR2004", "I001"}  # rules of packages, of which this folder is none
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("is_loop", "kind", "count"), [(False, "expressions", 2), (True, "loop", 3)])
def test_what_is_written_passes_its_own_test_and_the_linter(is_loop, kind, count, tmp_path) -> None:
    module, test = write_strategy("my_idea", tmp_path / "strategies", is_loop=is_loop)
    assert (module.name, test.name) == ("my_idea.py", "test_my_idea.py")
    (strategy,) = registry.load_file(module)
    assert (strategy.name, kind_of(strategy)) == ("my_idea", kind)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(test)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(Path.home()), **CACHE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{count} passed" in done.stdout, done.stdout + done.stderr
    for command in (["check"], ["format", "--check"]):
        linted = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "pyproject.toml"), str(module), str(test)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        complaints = [line for line in linted.stdout.splitlines() if re.match(r"[A-Z]+\d+ |Would reformat", line)]
        assert {line.split()[0] for line in complaints} <= FOR_TESTS, linted.stdout


def test_nothing_is_overwritten(tmp_path) -> None:
    module, _ = write_strategy("mine", tmp_path)
    module.write_text("# edited\n")
    with pytest.raises(UsageError, match=r"mine.py exists already"):
        write_strategy("mine", tmp_path)
    assert module.read_text() == "# edited\n"


@pytest.mark.parametrize("name", ["My", "my-idea", "2fast", "class", "a__b", "../up", "", "my_", "test_it"])
def test_names_that_cannot_be_one(name, tmp_path) -> None:
    with pytest.raises(UsageError):
        write_strategy(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_strategy("mine", tmp_path / "file")

"""The frame of the command line: what it imports, its exit codes, nearest names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backtester.cli import app
from backtester.errors import DataError, InternalError, UsageError


def failing_with(error: BaseException):
    def main(*args: object, **kwargs: object) -> None:
        raise error

    return type("Command", (), {"main": staticmethod(main)})()


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UsageError("No such thing.", "Try that."), 2, "Error: No such thing.\nTry that."),
        (DataError("binance BTC trade 1h", "gap", 0, "Allow it."), 1, "gap at 1970-01-01 00:00 UTC.\nAllow it."),
        (KeyboardInterrupt(), 130, "Interrupted."),
    ],
)
def test_errors_become_exit_codes(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "get_command", lambda _: failing_with(error))
    assert app.exit_code(["x"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert text in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("error", [InternalError("An identity fails."), ZeroDivisionError("division by zero")])
def test_bugs_leave_a_log(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(app, "get_command", lambda _: failing_with(error))
    assert app.exit_code(["x"]) == 70
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    log = next(tmp_path.rglob("error-*.log"))
    assert str(log) in said
    assert type(error).__name__ in log.read_text()
    assert app.exit_code(["x"], debug=True) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["rum"], "Unknown command 'rum'.\nDid you mean 'run'?"),
        (["--verson"], "No such option: --verson. Did you mean --version?"),
        (["run", "--simbols", "x"], "Did you mean --symbols"),
    ],
)
def test_wrong_calls_name_the_nearest(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.exit_code(arguments) == 2
    assert text in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.exit_code(["--version"]) == 0
    assert capsys.readouterr().out.startswith("backtester 0.")


@pytest.mark.parametrize("name", list(app.GROUPS))
def test_every_group_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.exit_code([name, "--help"]) == 0
    assert "Usage: backtester" in capsys.readouterr().out


def test_help_imports_typer_and_nothing_heavy() -> None:
    code = (
        "import sys, json\n"
        "from backtester.cli.app import exit_code\n"
        "exit_code(['--help'])\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert "typer" in loaded
    assert not loaded & {"numpy", "numba", "polars", "pydantic", "plotly", "rich", "jinja2", "pyarrow", "platformdirs"}


def test_help_is_quick() -> None:
    def once() -> float:
        """Return the processor time of one call [s], which other processes do not lengthen much."""
        with subprocess.Popen([sys.executable, "-m", "backtester", "--help"], stdout=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_utime + usage.ru_stime

    assert min(once() for _ in range(5)) < 0.35

"""The examples of docs/strategies.md run, and its tables are complete."""

from __future__ import annotations

import doctest
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import backtester.strategy as surface
from backtester.strategy import Indicator, base, indicators, loop, params, registry
from backtester.strategy.columns import METHODS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "strategies.md"


def test_examples_run(tmp_path, monkeypatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 8
    path = tmp_path / "docs_strategies.py"
    path.write_text("\n\n".join(blocks))
    monkeypatch.chdir(tmp_path)
    module = ModuleType("docs_strategies")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(path.read_text(), str(path), "exec"), vars(module))


@pytest.mark.parametrize("module", [base, indicators, params])
def test_examples_in_docstrings_run(module) -> None:
    assert doctest.testmod(module).failed == 0


def test_every_indicator_is_described() -> None:
    text = PAGE.read_text(encoding="utf-8")
    makers = [name for name in surface.__all__ if getattr(surface, name).__module__ == Indicator.__module__]
    for name in set(makers) - {"Indicator"}:
        assert f"{name}(" in text


def test_every_optional_method_and_every_function_of_a_loop_is_described() -> None:
    text = PAGE.read_text(encoding="utf-8")
    engine_side = {
        "compiled_on_bar",
        "failed_bar",
        "loop_params",
        "loop_state",
        "python_on_bar",
        "LoopContext",
        "Params",
    }
    for name in (*METHODS, *set(loop.__all__) - engine_side):
        assert re.search(rf"`(loop\.|@loop\.)?{name}[`(]", text), name


def test_every_bundled_strategy_is_in_the_table() -> None:
    text = (registry.bundled_folder() / "README.md").read_text(encoding="utf-8")
    for path in registry.bundled_folder().glob("[a-z]*.py"):
        assert f"| `{path.stem}` |" in text


def test_public_names_are_sorted() -> None:
    assert list(surface.__all__) == sorted(surface.__all__)


def test_every_code_of_loops_is_described() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for codes in (loop.OrderKind, loop.SettingField, loop.TriggerPrice):
        for code in codes:
            assert f"`{code.name}`" in text, code

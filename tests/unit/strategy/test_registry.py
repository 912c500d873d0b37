"""Where strategies are found, and what is said about shadowed and broken ones."""

from __future__ import annotations

import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from backtester.errors import StrategyError, UnknownNameError, UsageError
from backtester.strategy import registry

PLUGIN = """
import polars as pl
from backtester.strategy import Param, Strategy

class {name}(Strategy):
    '''{text}'''
    exposure: float = Param(1.0)

    def target(self):
        return pl.lit(self.exposure)
"""


def write(folder: Path, file: str, class_name: str, text: str = "A rule.") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file
    path.write_text(PLUGIN.format(name=class_name, text=text))
    return path


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "entry_points", lambda group: [])


def names(folders=()) -> dict[str, str]:
    return {entry.name: entry.origin for entry in registry.listing(folders) if not entry.shadowed_by}


def test_bundled_ones_are_always_there() -> None:
    assert {"trend", "breakout", "pairs", "grid", "funding_carry"} <= set(names())
    assert set(names()) == {path.stem for path in registry.bundled_folder().glob("[a-z]*.py")}
    assert registry.find("trend").name == "trend"


def test_order_of_places(tmp_path, monkeypatch) -> None:
    write(tmp_path / "strategies", "one.py", "One")
    write(tmp_path / "more", "one.py", "One")
    write(tmp_path / "more", "trend.py", "Trend", "Mine.")
    module = write(tmp_path / "installed", "shipped.py", "Shipped")
    point = EntryPoint("shipped", "shipped:Shipped", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    monkeypatch.syspath_prepend(module.parent)
    found = names([Path("more")])
    assert found["one"] == "strategies"
    assert found["trend"] == "more"
    assert found["shipped"] == "entry point shipped"
    assert found["breakout"] == "bundled"
    shadowed = {(entry.name, entry.origin): entry.shadowed_by for entry in registry.listing([Path("more")])}
    assert shadowed["one", "more"] == "strategies"
    assert shadowed["trend", "bundled"] == "more"


def test_lookup_tells_what_is_shadowed(tmp_path) -> None:
    write(tmp_path / "strategies", "mine.py", "Trend", "Mine.")
    entry, notes = registry.lookup("trend")
    assert entry.summary == "Mine."
    assert notes == ("Strategy 'trend' of strategies is used; it shadows the one of bundled.",)


def test_a_file_reached_twice_shadows_nothing(tmp_path) -> None:
    write(tmp_path / "strategies", "mine.py", "Mine")
    (tmp_path / "link").symlink_to(tmp_path / "strategies")
    folders = [Path("strategies"), tmp_path / "strategies", Path("link"), registry.bundled_folder()]
    _, notes = registry.lookup("mine", folders)
    assert notes == ()
    assert registry.lookup("trend", folders)[1] == ()
    assert [e.name for e in registry.listing(folders)].count("trend") == 1


BROKEN = {
    "syntax.py": ("def broken(:\n", "SyntaxError"),
    "missing.py": ("import a_module_that_is_not_there\n", "ModuleNotFoundError"),
    "leaves.py": ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
    "raises.py": ("x = 1\nraise ValueError('no luck')\n", "ValueError: no luck"),
    "levered.py": (
        PLUGIN.format(name="Levered", text="") + "    leverage: float = Param(3.0)\n",
        "which every strategy has already",
    ),
    "untyped.py": (PLUGIN.format(name="Untyped", text="") + "    length = Param(3)\n", "type annotation"),
    "bytes.py": ("x = '\x00'\n", "null bytes"),
}


@pytest.mark.parametrize("file", BROKEN)
def test_broken_files_are_listed_and_hide_nothing(file, tmp_path) -> None:
    text, reason = BROKEN[file]
    write(tmp_path / "strategies", "zz_good.py", "Good")
    (tmp_path / "strategies" / file).write_text(text)
    listed = {entry.name: entry for entry in registry.listing()}
    stem = file.removesuffix(".py")
    assert reason in listed[stem].broken
    assert f"strategies/{file}" in listed[stem].broken
    assert listed["good"].broken == ""
    assert registry.find("good").name == "good"
    with pytest.raises(StrategyError, match="cannot be imported") as caught:
        registry.find(stem)
    assert reason in caught.value.hint


def test_the_broken_line_is_shown(tmp_path) -> None:
    folder = tmp_path / "strategies"
    folder.mkdir()
    (folder / "bad.py").write_text("import math\n\nvalue = math.sqrt(-1)\n")
    with pytest.raises(StrategyError) as caught:
        registry.find("bad")
    assert "strategies/bad.py:3: value = math.sqrt(-1)" in caught.value.hint


def test_a_broken_file_does_not_hide_the_bundled_one(tmp_path) -> None:
    folder = tmp_path / "strategies"
    folder.mkdir()
    (folder / "trend.py").write_text("import nothing_like_this\n")
    entry, notes = registry.lookup("trend")
    assert entry.origin == "bundled"
    assert "is broken and passed over" in notes[0]


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(
        UnknownNameError,
        match=r"Unknown strategy 'trned' in ./strategies, the entry points and the bundled ones.\nDid you mean 'trend'",
    ):
        registry.find("trned")


def test_a_file_is_answered_with_the_name_in_it(tmp_path) -> None:
    path = tmp_path / "dip.py"
    path.write_text(
        "from backtester.strategy import Strategy\nclass BuyDip(Strategy):\n    def target(self):\n        return 1.0\n"
    )
    with pytest.raises(UsageError, match="'buy_dip', with --strategies"):
        registry.find(str(path))
    with pytest.raises(UsageError, match=r"There is no file nowhere\.py either"):
        registry.find("nowhere.py")


def test_a_missing_folder_is_a_wrong_call() -> None:
    with pytest.raises(UsageError, match="There is no folder nowhere with strategies"):
        registry.listing([Path("nowhere")])


def test_other_plugins_are_not_run(tmp_path) -> None:
    write(tmp_path / "strategies", "mine.py", "Mine")
    (tmp_path / "strategies" / "other.py").write_text("open('ran', 'w').close()\n")
    registry.find("mine")
    assert not Path("ran").exists()
    registry.listing()
    assert Path("ran").exists()


def test_tests_and_private_files_are_no_plugins(tmp_path) -> None:
    for file in ("test_mine.py", "_parts.py", "__init__.py", "conftest.py"):
        write(tmp_path / "strategies", file, "Mine")
    assert "mine" not in names()


def test_imported_and_private_classes_are_not_listed(tmp_path) -> None:
    path = write(tmp_path / "strategies", "mine.py", "Mine")
    extra = "class _Part(Mine):\n    pass\n\nclass Base(Strategy):\n    pass\n"
    path.write_text("from backtester.strategy.registry import find\nTrend = find('trend')\n" + path.read_text() + extra)
    assert {e.name for e in registry.listing() if e.origin == "strategies"} == {"mine"}


def test_an_edited_file_is_read_again(tmp_path) -> None:
    write(tmp_path / "strategies", "mine.py", "Mine", "First.")
    first = registry.find("mine")
    assert registry.find("mine") is first
    write(tmp_path / "strategies", "mine.py", "Mine", "Second.")
    assert registry.find("mine").__doc__ == "Second."


@pytest.mark.parametrize(
    ("value", "reason"), [("nothing_like_this:X", "ModuleNotFoundError"), ("json:loads", "neither a strategy nor")]
)
def test_broken_entry_points_are_listed(value, reason, monkeypatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("shipped", value, group)])
    broken = [entry for entry in registry.listing() if entry.broken]
    assert [entry.name for entry in broken] == ["shipped"]
    assert reason in broken[0].broken
    assert registry.find("trend").name == "trend"
    with pytest.raises(StrategyError, match="cannot be imported"):
        registry.find("shipped")


def test_entry_points_of_modules(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(write(tmp_path / "installed", "shipped_two.py", "Shipped").parent)
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("any", "shipped_two", group)])
    assert names()["shipped"] == "entry point any"


def test_load_file(tmp_path) -> None:
    (strategy,) = registry.load_file(write(tmp_path, "mine.py", "Mine"))
    assert strategy.name == "mine"
    assert "class Mine" in registry.source_of(strategy)
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(StrategyError, match="defines no strategy"):
        registry.load_file(tmp_path / "empty.py")
    with pytest.raises(StrategyError, match="cannot be read"):
        registry.load_file(tmp_path / "nowhere.py")


def test_source_of_a_class_without_a_file() -> None:
    space: dict[str, object] = {}
    exec(textwrap.dedent(PLUGIN.format(name="Typed", text="")), space)
    assert "not available" in registry.source_of(space["Typed"])


def test_bundled_folder_of_an_installed_package(tmp_path, monkeypatch) -> None:
    write(tmp_path / "site" / "backtester" / "bundled", "inside.py", "Inside")
    monkeypatch.setattr(registry, "_PACKAGE", tmp_path / "site" / "backtester")
    assert names() == {"inside": "bundled"}


IDLE = """from backtester.strategy import Strategy


class Idle(Strategy):
    def targets(self):
        return 1.0
"""


@pytest.mark.parametrize("name", ["idle", "my_file"])
def test_a_class_that_decides_nothing_is_listed_and_told(name, tmp_path) -> None:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "my_file.py").write_text(IDLE)
    (listed,) = [entry for entry in registry.listing() if entry.origin == "strategies"]
    assert (listed.name, listed.strategy) == ("idle", None)
    assert "my_file.py is there, and its class Idle decides nothing: write target(self)" in listed.broken
    with pytest.raises(StrategyError, match=f"Strategy '{name}' decides nothing") as caught:
        registry.find(name)
    assert "strategies/my_file.py:4: class Idle(Strategy):" in caught.value.hint


def test_a_class_that_decides_nothing_beside_another_is_told_when_it_is_asked_for(tmp_path) -> None:
    path = write(tmp_path / "strategies", "mine.py", "Mine")
    path.write_text(path.read_text() + IDLE)
    assert [entry.name for entry in registry.listing() if entry.origin == "strategies"] == ["mine"]
    assert registry.find("mine").name == "mine"
    with pytest.raises(StrategyError, match="Strategy 'idle' decides nothing"):
        registry.find("idle")

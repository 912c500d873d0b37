"""The page on venues: its code runs, its tables are the packs'."""

from __future__ import annotations

import doctest
import json
import math
import re
from pathlib import Path

import pytest

from backtester.domain.venues import EVIDENCE, load_pack, pack_names
from backtester.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "venues.md").read_text("utf-8")


def rows(heading: str) -> list[list[str]]:
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [cells[0], *cells[2:]]


def test_code_of_the_page_runs():
    result = doctest.testfile(str(ROOT / "docs" / "venues.md"), module_relative=False, encoding="utf-8")
    assert (result.failed, result.attempted >= 10) == (0, True)


def test_table_of_packs_is_true():
    head, *table = rows("What is shipped")
    assert [row[0] for row in table] == pack_names()
    for name, *cells in table:
        values = load_pack(name).values_at(math.inf)
        assert cells == [str(values[key]) for key in head[1:]], name


def test_table_of_evidence_is_true():
    _, *table = rows("How far a figure can be trusted")
    assert dict(table) == EVIDENCE


def test_counts_of_the_examples_are_true():
    vectors = json.loads((ROOT / "tests/unit/vectors/vectors.json").read_text("utf-8"))
    listed = (ROOT / "tests/unit/vectors/listed.toml").read_text("utf-8").split("[listed]")[1].split("[partly]")[0]
    count = len(re.findall(r'^"', listed, re.MULTILINE))
    assert f"Of {len(vectors)} published examples, {len(vectors) - count} are reproduced" in PAGE.replace("\n", " ")
    assert f"the other {count} stand" in PAGE.replace("\n", " ")


def test_the_example_of_an_own_pack_loads(tmp_path):
    text = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[0]
    path = tmp_path / "mybybit.toml"
    path.write_text(text)
    assert load_pack(path).rules_at(math.inf).taker_fee == 0.00035
    path.write_text(text.replace("value = 0.0004\n", "value = 4\n"))
    with pytest.raises(ConfigError) as error:
        load_pack(path)
    printed = re.findall(r"names file and key: `(.*?)`", PAGE)[0]
    assert printed in str(error.value)

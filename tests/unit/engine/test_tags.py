"""Tags beside a run's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from backtester.engine.tags import TAGS_FILE, change_tags, read_tags
from backtester.errors import StoreError, UsageError


def test_tags_are_added_and_removed(tmp_path: Path) -> None:
    assert read_tags(tmp_path) == ()
    assert change_tags(tmp_path, ["keep", "b,a"]) == ("a", "b", "keep")
    assert change_tags(tmp_path, ["keep", "paper"], remove=["a"]) == ("b", "keep", "paper")
    assert read_tags(tmp_path) == ("b", "keep", "paper")
    assert [path.name for path in tmp_path.iterdir()] == [TAGS_FILE]
    assert change_tags(tmp_path, remove=["b,keep", "paper"]) == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("word", ["two words", "x" * 41, "-dash", "line\nbreak", "bell\x07"])
def test_what_is_no_word_is_refused(tmp_path: Path, word: str) -> None:
    with pytest.raises(UsageError, match="is no tag"):
        change_tags(tmp_path, [word])
    assert list(tmp_path.iterdir()) == []


def test_an_absent_tag_is_not_removed(tmp_path: Path) -> None:
    change_tags(tmp_path, ["one"])
    with pytest.raises(UsageError, match=r"(?s)no tag 'two'.*It has one\."):
        change_tags(tmp_path, remove=["two"])
    with pytest.raises(UsageError, match="at most 32"):
        change_tags(tmp_path, [f"t{i}" for i in range(40)])


@pytest.mark.parametrize("content", ["", "{", "[]", '{"tags": 3}', '{"tags": [1, null]}'])
def test_a_damaged_file_holds_no_tags(tmp_path: Path, content: str) -> None:
    (tmp_path / TAGS_FILE).write_text(content)
    assert read_tags(tmp_path) == ()


def test_a_folder_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        change_tags(tmp_path / "gone", ["x"])

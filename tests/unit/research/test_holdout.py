"""Sealed bars: written once, refused to searches, opened on the record."""

from __future__ import annotations

from pathlib import Path

import pytest

from backtester.engine.run_file import parse_time
from backtester.errors import DataError, StoreError, UsageError
from backtester.research import holdout
from backtester.research.holdout import Opening, Span

JULY = parse_time("2025-07-01", "x")
OCTOBER = parse_time("2025-10-01", "x")
JANUARY = parse_time("2025-01-01", "x")
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("2025-07-01..", Span(JULY)),
        ("2025-07-01..2025-10-01", Span(JULY, OCTOBER)),
        (" 2025-07-01T00:00 .. 2025-10-01T00:00 ", Span(JULY, OCTOBER)),
    ],
)
def test_spans(text: str, span: Span) -> None:
    assert holdout.parse_holdout(text) == span


@pytest.mark.parametrize(
    "text", ["2025-07-01", "..2025-07-01", "", "soon..", "2025-07-01..2025-07-01", "2025-07-01..x"]
)
def test_texts_that_are_no_span(text: str) -> None:
    with pytest.raises(UsageError, match="--holdout"):
        holdout.parse_holdout(text)


@pytest.mark.parametrize(
    ("start", "end", "overlaps"),
    [
        (JANUARY, JULY, False),
        (JANUARY, JULY + 1, True),
        (OCTOBER - 1, OCTOBER + 5, True),
        (OCTOBER, OCTOBER + 1, False),
    ],
)
def test_what_reaches_into_a_span(start: int, end: int, overlaps: bool) -> None:
    assert Span(JULY, OCTOBER).overlaps(start, end) is overlaps
    assert Span(JULY).overlaps(start, end) is (end > JULY)


def test_a_seal_refuses_what_reaches_into_it(tmp_path: Path) -> None:
    holdout.refuse_sealed(tmp_path / "runs", "binance", [BTC], JANUARY, OCTOBER)  # nothing is sealed yet
    holdout.seal(tmp_path / "runs", "binance", [BTC], Span(JULY))
    holdout.refuse_sealed(tmp_path / "runs", "binance", [BTC], JANUARY, JULY)
    holdout.refuse_sealed(tmp_path / "runs", "binance", [ETH], JANUARY, OCTOBER)
    holdout.refuse_sealed(tmp_path / "runs", "bybit", [BTC], JANUARY, OCTOBER)
    holdout.refuse_sealed(tmp_path, "binance", [BTC], JANUARY, OCTOBER)  # another folder of runs
    with pytest.raises(DataError) as caught:
        holdout.refuse_sealed(tmp_path / "runs", "binance", [ETH, BTC], JANUARY, OCTOBER)
    assert "BTC/USDT:USDT of binance from 2025-07-01 00:00 UTC to the end of the data" in caught.value.message
    assert caught.value.hint == "End before the seal: --end 2025-07-01."


def test_the_same_seal_is_written_once(tmp_path: Path) -> None:
    for span in (Span(JULY), Span(JULY), Span(JULY, OCTOBER)):
        holdout.seal(tmp_path, "binance", [BTC], span)
    assert [one.span for one in holdout.seals(tmp_path)] == [Span(JULY)]
    holdout.seal(tmp_path, "binance", [BTC, ETH], Span(JULY))
    assert len(holdout.seals(tmp_path)) == 2
    assert len(holdout.sealed_within(tmp_path, "binance", [BTC], JANUARY, OCTOBER)) == 2


def test_a_search_is_cut_before_what_is_put_aside() -> None:
    assert holdout.cut_before(Span(JULY), JANUARY, OCTOBER) == JULY
    assert holdout.cut_before(Span(JULY), JANUARY, JULY) == JULY
    assert holdout.cut_before(Span(JULY, OCTOBER), OCTOBER, OCTOBER + 5) == OCTOBER + 5
    with pytest.raises(UsageError, match="Nothing is left to search"):
        holdout.cut_before(Span(JULY), JULY, OCTOBER)


def test_openings_are_kept_and_told(tmp_path: Path) -> None:
    holdout.seal(tmp_path, "binance", [BTC], Span(JULY))
    found = holdout.sealed_within(tmp_path, "binance", [BTC], JANUARY, OCTOBER)
    assert "first look" in holdout.opening_notice(found, holdout.earlier_openings(tmp_path, found)).text
    opening = Opening("2025-11-01T10:00:00+00:00", "run-1", "trend", "abc", "binance", (BTC,), Span(JANUARY, OCTOBER))
    holdout.record_opening(tmp_path, opening)
    assert holdout.openings(tmp_path) == (opening,)
    assert len(holdout.seals(tmp_path)) == 1
    told = holdout.opening_notice(found, holdout.earlier_openings(tmp_path, found)).text
    assert "opened once before, last by run-1" in told
    holdout.seal(tmp_path, "binance", [ETH], Span(JULY))
    other = holdout.sealed_within(tmp_path, "binance", [ETH], JANUARY, OCTOBER)
    assert holdout.earlier_openings(tmp_path, other) == ()


@pytest.mark.parametrize(
    "text", ["not toml", "[[sealed]]\nvenue = 'x'\n", "[[sealed]]\nvenue='x'\nsymbols=[]\nstart='soon'\n"]
)
def test_a_damaged_file_is_no_missing_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "holdout.toml").write_text(text)
    with pytest.raises(StoreError, match="damaged"):
        holdout.refuse_sealed(tmp_path, "binance", [BTC], JANUARY, OCTOBER)

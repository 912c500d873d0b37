"""Packed columns come back to the last digit, read by a decoder that shares nothing with the one that packs."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from backtester.report.packing import Column, pack_beside, pack_values, pack_whole, unpack

RNG = np.random.default_rng(5)


def decoded(head: Mapping[str, Any], text: str, base: list[float] | None = None) -> list[float]:
    """Read a column as its description says: plain integers, one row after the other."""
    raw, n = zlib.decompress(base64.b64decode(text)), head["n"]
    found, before = [], head.get("first", 0)
    for row in range(n):
        folded = sum(raw[place * n + row] << (8 * place) for place in range(head["planes"]))
        number = -(folded + 1) // 2 if folded % 2 else folded // 2
        if head["summed"]:
            before = number = before + number
        if base is not None:
            number += int(np.floor(base[row] * head["scale"] / head["step"] + 0.5))
        found.append(number * head["step"] / head["scale"])
    return found


def check(column: Column, values: np.ndarray) -> None:
    assert decoded(column.head(), column.text) == values.tolist()
    assert unpack(column.head(), column.stream).tolist() == values.tolist()


@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize(
    "numbers",
    [
        np.array([], np.int64),
        np.array([0]),
        np.array([-1, 1, -(2**40), 2**40, 0]),
        np.array([255, -256, 65_535, -65_536, 2**24]),
        RNG.integers(-1_000, 1_000, 500),
    ],
    ids=["empty", "zero", "wide", "edges", "noise"],
)
def test_whole_numbers(numbers: np.ndarray, summed: bool) -> None:
    check(pack_whole(numbers.astype(np.int64), summed=summed), numbers)


@pytest.mark.parametrize("tick", [0.1, 0.5, 0.01, 0.0001, 1e-8, 5.0, 1.0])
def test_prices_on_a_tick_are_exact(tick: float) -> None:
    decimals = max(0, round(-np.log10(tick))) if tick < 0.5 else 1
    prices = np.round((50_000 + np.cumsum(RNG.integers(-40, 40, 700))) * tick, decimals)
    column = pack_values(prices)
    assert column.grid.exact
    check(column, prices)


def test_prices_without_a_tick_are_rounded_and_say_so() -> None:
    prices = 3_000 * np.exp(np.cumsum(RNG.normal(0, 1e-3, 400)))
    column = pack_values(prices)
    assert not column.grid.exact
    assert np.abs(unpack(column.head(), column.stream) / prices - 1).max() < 1e-7


def test_finer_decimals_than_wanted_are_rounded() -> None:
    marks = np.round(60_000 + np.cumsum(RNG.normal(0, 5, 300)), 8)
    exact, coarse = pack_values(marks), pack_values(marks, resolution=1e-7)
    check(exact, marks)
    assert not coarse.grid.exact
    assert len(coarse.stream) < len(exact.stream)
    assert np.abs(unpack(coarse.head(), coarse.stream) / marks - 1).max() <= 1e-7


def test_a_series_near_another_is_told_by_its_distance() -> None:
    close = np.round(60_000 + np.cumsum(RNG.normal(0, 30, 2_000)), 1)
    mark = np.round(close + 3 + RNG.integers(-2, 3, 2_000) * 0.01, 2)
    column = pack_beside(mark, close, "close", resolution=1e-7)
    assert column.base == "close"
    assert decoded(column.head(), column.text, close.tolist()) == mark.tolist()
    assert unpack(column.head(), column.stream, close).tolist() == mark.tolist()
    assert len(column.stream) < len(pack_values(mark).stream)


def test_a_series_far_from_another_stands_alone() -> None:
    close, other = np.round(60_000 + np.cumsum(RNG.normal(0, 30, 500)), 1), np.full(500, 25.5)
    column = pack_beside(other, close, "close", resolution=1e-7)
    assert column.base == ""
    check(column, other)


def test_one_byte_of_difference_takes_a_byte_and_less() -> None:
    column = pack_whole(np.cumsum(RNG.integers(-60, 60, 20_000)))
    assert column.planes == 1
    assert len(column.stream) < 20_200


def test_the_independent_decoder_reads_bytes_in_order() -> None:
    stream = zlib.compress(struct.pack("<4B", 2, 4, 1, 0))  # two numbers: low bytes 2 and 4, high bytes 1 and 0
    head = {"n": 2, "planes": 2, "summed": False, "scale": 1, "step": 1}
    assert decoded(head, base64.b64encode(stream).decode()) == [129.0, 2.0]

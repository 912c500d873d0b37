"""The replay against C (see ``tests.benchmark.limit``): parity here, the times in a process that has used no memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmark.c_loops import Loops
from tests.benchmark.limit import MOST_TIMES_C, check_replay, check_sweep
from tests.benchmark.limit_case import BARS, TRADES, make_case, reversals

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory) -> Loops:
    """The C loops, built here."""
    try:
        return Loops(tmp_path_factory.mktemp("limit"))
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("trades", TRADES)
def test_same_columns(loops: Loops, trades: int) -> None:
    check_replay(loops, make_case(trades))


@pytest.mark.parametrize("trades", TRADES)
def test_same_sweep(loops: Loops, trades: int) -> None:
    orders = [(decided + 1, target) for decided, target in (reversals(trades, BARS, k) for k in range(4))]
    check_sweep(loops, make_case(trades), orders)


def test_replay_within_reach_of_c(loops: Loops, show: Callable[[str], None]) -> None:
    command = [sys.executable, "-m", "tests.benchmark.limit"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    show("\n" + done.stdout + done.stderr)
    name, _, ratio = done.stdout.splitlines()[-1].partition(" ")
    assert name == "ratio"
    assert float(ratio) <= MOST_TIMES_C

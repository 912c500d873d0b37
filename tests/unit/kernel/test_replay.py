"""The loop as a whole: it can stop and go on, its journal grows, and the compiled form is its source to the bit."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backtester.engine import replay as engine
from backtester.kernel import replay as kernel
from backtester.kernel import state
from tests.property.strategies import random_case
from tests.reference.adapter import prepared_case
from tests.reference.case import Case

ROOT = Path(__file__).resolve().parents[3]
SEEDS = (3, 11, 29, 57, 94, 117)


def drawn(seed: int) -> Case:
    return random_case(random.Random(seed), bars=40, count=1 + seed % 3, groups=None if seed % 2 else ())


def columns_of(records: engine.ReplayRecords) -> list[bytes]:
    names = ("equity", "wallet", "maintenance", "margin_ratio", "gross_exposure", "net_exposure", "drawdown")
    return [getattr(records, name).tobytes() for name in names]


def rows_of(records: engine.ReplayRecords) -> list[list[tuple[object, ...]]]:
    names = ("fills", "funding", "liquidations", "ledger", "positions", "orders")
    return [[tuple(repr(v) for v in row.item()) for row in getattr(records, name)] for name in names]


@pytest.mark.parametrize("seed", SEEDS)
def test_stopping_between_bars_changes_nothing(seed: int) -> None:
    whole = engine.replay(prepared_case(drawn(seed)))
    prepared = prepared_case(drawn(seed))
    run = engine._Run(prepared, None)
    rows = int(prepared.setup.rules[0]["rows_per_bar"])
    run.journal = state.Journal(**{name: np.empty(rows * 5, dtype) for name, dtype in engine._DTYPES.items()})
    while run.bar < prepared.bars:
        run.advance(min(run.bar + 3, prepared.bars))
    run.grow()
    kernel.finish(run.setup, run.market, run.schedule, run.book, run.journal)
    assert run.columns.equity.tobytes() == whole.equity.tobytes()
    assert run.columns.wallet.tobytes() == whole.wallet.tobytes()
    assert int(prepared.book.account[0]["ledger"]) == whole.ledger.size


def test_progress_ends_at_the_last_bar() -> None:
    seen: list[tuple[int, int]] = []
    engine.replay(prepared_case(drawn(3)), lambda done, of: seen.append((done, of)))
    assert seen[-1] == (40, 40)


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled")
def test_every_kind_of_run_is_one_compiled_form() -> None:
    """One more array layout would compile the whole replay again, on the first run that has it."""
    kinds = set()
    for seed in range(120):
        prepared = prepared_case(drawn(seed))
        is_inverse = bool((prepared.setup.instruments["sign"] < 0).any())
        kinds.add((prepared.book.positions.size > 1, prepared.market.coarse_bar.size > 0, is_inverse))
        engine.run_kernel(prepared)
    assert {(True, True, False), (False, True, False), (False, False, True)} <= kinds
    assert len(kernel.replay.signatures) == 1


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled to compare with")
def test_compiled_equals_its_source_to_the_bit(tmp_path: Path) -> None:
    script = (
        "import pickle, sys\n"
        "from tests.unit.kernel.test_replay import SEEDS, columns_of, drawn, engine, prepared_case, rows_of\n"
        "out = [(columns_of(r), rows_of(r)) for r in (engine.replay(prepared_case(drawn(s))) for s in SEEDS)]\n"
        f"open({str(tmp_path / 'plain')!r}, 'wb').write(pickle.dumps(out))\n"
    )
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, env=env)
    plain = pickle.loads((tmp_path / "plain").read_bytes())
    for seed, (columns, rows) in zip(SEEDS, plain, strict=True):
        records = engine.replay(prepared_case(drawn(seed)))
        assert rows_of(records) == rows, f"seed {seed}"
        assert columns_of(records) == columns, f"seed {seed}"

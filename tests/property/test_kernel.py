"""What must hold of the kernel by itself: the books close, inverse mirrors linear, slippage never pays."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from backtester.domain.enums import LedgerKind
from backtester.engine.replay import ReplayRecords, replay
from tests.property.strategies import CI, cases, random_case, rich_cases
from tests.property.test_reference_account import WITH_TWINS, linear_twin, with_a_twin
from tests.reference.adapter import prepared_case
from tests.reference.case import Amend, Case, Contract, Ohlc, Request, Submit

ROOT = Path(__file__).resolve().parents[2]
RICH_SEEDS = range(60)
COLUMNS = ("equity", "wallet", "maintenance", "margin_ratio", "gross_exposure", "net_exposure", "drawdown")
JOURNALS = ("fills", "funding", "liquidations", "ledger", "positions", "orders")


def flow(records: ReplayRecords, kind: LedgerKind) -> float:
    rows = records.ledger
    return float(rows["amount"][rows["kind"] == kind].sum())


@settings(CI, max_examples=60)
@given(cases())
def test_money_of_account_fund_and_fees_is_conserved(case: Case) -> None:
    check_money(case)


@settings(CI, max_examples=150)
@given(rich_cases())
def test_money_is_conserved_with_orders_legs_spot_and_costs(case: Case) -> None:
    check_money(case)


def check_money(case: Case) -> None:
    """What leaves the wallet arrives: with the venue as fee, with the fund, or with the other side as profit."""
    records = replay(prepared_case(case))
    scale = max(case.settings.balance, float(abs(records.equity).max()))
    assert records.wallet[-1] == pytest.approx(
        case.settings.balance + float(records.ledger["amount"].sum()), abs=1e-9 * scale
    )
    fees = float(records.fills["fee_paid"].sum())
    assert flow(records, LedgerKind.TRADING_FEE) == pytest.approx(-fees, abs=1e-9 * scale)
    to_fund = -flow(records, LedgerKind.INSURANCE_CLEARANCE) - flow(records, LedgerKind.LIQUIDATION_FEE)
    stories = records.liquidations
    # the fund's flow is the clearance, the fees, and what its own execution cost or earned against the mark
    is_bankruptcy = case.settings.takeover == "bankruptcy"
    taken = stories["kind"] == 1
    execution = 0.0
    if is_bankruptcy:
        for row in stories[taken]:
            inverse = case.contracts[int(row["symbol"])].kind == "inverse"
            at, out = (-1 / row[n] if inverse else row[n] for n in ("trigger_price", "execution_price"))
            execution += row["position_side"] * row["quantity"] * (out - at)
    last_lift = records.ledger[(records.ledger["kind"] == LedgerKind.INSURANCE_CLEARANCE)]
    lifts = float(last_lift["amount"][last_lift["symbol"] == -1].sum())
    assert float(stories["insurance_flow"].sum()) - lifts == pytest.approx(to_fund + execution, abs=1e-9 * scale)


def as_floats(case: Case) -> Case:
    """Return a case whose exact fractions are floats again."""

    def bars(series: Ohlc | None) -> Ohlc | None:
        if series is None:
            return None
        return Ohlc(*(tuple(float(p) for p in getattr(series, n)) for n in ("open", "high", "low", "close")))

    def contract(c: Contract) -> Contract:
        funding = tuple(replace(f, mark_price=None if f.mark_price is None else float(f.mark_price)) for f in c.funding)
        return replace(c, trade=bars(c.trade), mark=bars(c.mark), index=bars(c.index), funding=funding)

    return replace(
        case,
        contracts=tuple(contract(c) for c in case.contracts),
        targets=tuple(replace(t, rungs=tuple((float(p), s) for p, s in t.rungs)) for t in case.targets),
        settings_rows=tuple(replace(r, value=float(r.value)) for r in case.settings_rows),
        requests=tuple(request_as_floats(r) for r in case.requests),
        own_fills=tuple(replace(f, price=float(f.price)) for f in case.own_fills),
    )


def request_as_floats(request: Request) -> Request:
    if not isinstance(request, (Submit, Amend)):
        return request
    limit, trigger = (None if p is None else float(p) for p in (request.limit, request.trigger))
    return replace(request, limit=limit, trigger=trigger)


@settings(CI, max_examples=60)
@given(cases(inverse=True))
def test_inverse_equals_linear_upside_down(case: Case) -> None:
    check_mirror(replace(case, contracts=tuple(replace(c, slippage=0.0) for c in case.contracts)))


@settings(CI, max_examples=100)
@given(rich_cases(inverse=True, groups=WITH_TWINS))
def test_inverse_orders_equal_linear_ones_upside_down(case: Case) -> None:
    check_mirror(with_a_twin(case))


def check_mirror(case: Case) -> None:
    inverse = replay(prepared_case(case))
    linear = replay(prepared_case(as_floats(linear_twin(case))))
    scale = max(case.settings.balance, float(abs(inverse.equity).max()))
    assert abs(inverse.equity - linear.equity).max() <= 1e-9 * scale
    assert inverse.ledger.size == linear.ledger.size
    assert abs(inverse.ledger["amount"] - linear.ledger["amount"]).max(initial=0.0) <= 1e-9 * scale
    assert (inverse.liquidations["kind"] == linear.liquidations["kind"]).all()
    assert (inverse.orders["status"] == linear.orders["status"]).all()
    assert (inverse.orders["reason"] == linear.orders["reason"]).all()


def written(seed: int) -> list[list[str]]:
    """Return everything that a rich run writes, every figure with all its digits."""
    dice = random.Random(f"rich {seed}")
    records = replay(prepared_case(random_case(dice, dice.randint(5, 25), dice.randint(1, 3), groups=None)))
    columns = [[value.hex() for value in getattr(records, name).tolist()] for name in COLUMNS]
    return columns + [[repr(row.item()) for row in getattr(records, name)] for name in JOURNALS]


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled to compare with")
def test_compiled_equals_its_source_to_the_bit_on_rich_runs(tmp_path: Path) -> None:
    script = (
        "import pickle\n"
        "from tests.property.test_kernel import RICH_SEEDS, written\n"
        f"open({str(tmp_path / 'plain')!r}, 'wb').write(pickle.dumps([written(s) for s in RICH_SEEDS]))\n"
    )
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, env=env)
    plain = pickle.loads((tmp_path / "plain").read_bytes())
    assert sum(len(rows) for run in plain for rows in run[len(COLUMNS) :]) > 1_000
    for seed, expected in zip(RICH_SEEDS, plain, strict=True):
        assert written(seed) == expected, f"seed {seed}"


@settings(CI, max_examples=40)
@given(cases(most_symbols=1))
def test_slippage_and_fees_never_pay(case: Case) -> None:
    """One trade in and one out, far from any limit: more cost never leaves more."""
    case = replace(case, targets=tuple(replace(t, value=0.01 if k == 0 else 0.0) for k, t in enumerate(case.targets)))
    calm = replace(case, settings=replace(case.settings, latency_bars=0, rebalance="on_change"))

    def final(slippage: float, fee: float) -> float:
        contracts = tuple(replace(c, slippage=slippage, taker_fee=fee, lot=0.0) for c in calm.contracts)
        return float(replay(prepared_case(replace(calm, contracts=contracts))).equity[-1])

    tolerance = 1e-12 * case.settings.balance
    assert final(0.001, 0.0) <= final(0.0, 0.0) + tolerance
    assert final(0.0, 0.001) <= final(0.0, 0.0) + tolerance

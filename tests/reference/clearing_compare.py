"""Agreement of the clearing reference and the product: who holds what, the funds' paths, and every event."""

from __future__ import annotations

import math
from typing import Any

from tests.reference.clearing_adapter import Replayed
from tests.reference.clearing_state import State

SAME = 1e-9  # relative; of money relative to all wallets and funds, of sizes to the largest
DUST = 1e-9  # of the largest size: an event of less is a rounding error's


def assert_agree(state: State, got: Replayed) -> None:
    """Compare the exact replay with the product's."""
    out, case = state.out, state.case
    whole = sum(abs(float(t.wallet)) for t in case.traders) + case.venue.fund_start
    most = max((abs(float(h.size)) for t in case.traders for h in t.held), default=1.0)

    def money(x: Any) -> float:
        return SAME * max(whole, abs(float(x)))

    events = out.events
    compare_events(
        "liquidation",
        [e for e in events if e["kind"] in ("takeover", "market", "step") and abs(e["size"]) > most * DUST],
        [e for e in got.liquidations if abs(e["size"]) > most * DUST],
        {"bar": 0.0, "account": 0.0, "contract": 0.0, "size": SAME * most, "trigger": SAME},
    )
    compare_events(
        "deleverage",
        [e for e in events if e["kind"] == "deleverage" and abs(e["size"]) > most * DUST],
        [e for e in got.deleveragings if abs(e["size"]) > most * DUST],
        {"bar": 0.0, "account": 0.0, "contract": 0.0, "size": SAME * most, "price": SAME, "mark": SAME},
    )
    compare_events(
        "share",
        [e for e in events if e["kind"] == "share" and e["amount"] > money(0)],
        [e for e in got.shares if e["amount"] > money(0)],
        {"bar": 0.0, "account": 0.0, "amount": SAME * whole},
    )
    for bar, (funds, inventory) in enumerate(zip(out.fund, out.inventory, strict=True)):
        for n, fund in enumerate(funds):
            assert_same(f"fund {n} after bar {bar}", fund, got.fund[bar][n], money(fund))
            assert_same(f"waiting {n} after bar {bar}", out.waiting[bar][n], got.waiting[bar][n], money(fund))
        for i, size in enumerate(inventory):
            assert_same(f"inventory {i} after bar {bar}", size, got.inventory[bar][i], SAME * most)
    for account in range(len(case.traders)):
        who = f"of account {account}"
        assert_same(f"wallet {who}", out.wallet[-1][account], got.wallet[account], money(0))
        assert_same(f"equity {who}", out.equity[-1][account], got.equity[account], money(0))
        for i in range(len(case.listings)):
            assert_same(f"size {who} in {i}", out.size[-1][account][i], got.size[account][i], SAME * most)
            assert_same(f"margin {who} in {i}", out.margin[-1][account][i], got.margin[account][i], money(0))
    assert got.error <= SAME


def compare_events(
    name: str, expected: list[dict[str, Any]], got: list[dict[str, Any]], allowed: dict[str, float]
) -> None:
    """Compare events one by one, in their order."""
    shown = "\n".join([*(f"reference {readable(e)}" for e in expected), *(f"product   {readable(e)}" for e in got)])
    assert len(expected) == len(got), f"{len(expected)} {name} events, the product has {len(got)}:\n{shown}"
    for k, (e, g) in enumerate(zip(expected, got, strict=True)):
        for key, most in allowed.items():
            scale = abs(float(e[key])) if key in ("trigger", "price", "mark") else 1.0
            assert_same(f"{name} {k}, {key}", e[key], g[key], most * scale, shown)


def assert_same(what: str, expected: Any, got: float, most: float, shown: str = "") -> None:
    differs = abs(float(expected) - got)
    assert math.isfinite(got), f"{what}: {got}\n{shown}"
    assert differs <= most, f"{what}: {float(expected)} expected, the product has {got}\n{shown}"


def readable(event: dict[str, Any]) -> dict[str, Any]:
    return {k: v if isinstance(v, (int, str)) or v is None else float(v) for k, v in event.items()}

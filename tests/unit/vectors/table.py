"""The worked examples as records, and what they need of contracts, tiers and rules."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backtester.domain.enums import ContractKind, TierForm, TierUnit
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.domain.venues import VenueRules, load_pack
from backtester.engine.calculator import Holding

FOLDER = Path(__file__).parent
CLASSIC = 1_700_000_000_000  # 2023-11-14: before Bybit moved maintenance to the mark
FLOAT_NOISE = 1e-12  # relative: what 64-bit floats carry through a handful of operations

# Venues without a pack of their own follow the nearest shipped one; single rules are replaced in the case itself.
PACKS = {"binance_usdm": "binance", "binance_coinm": "binance"}

Answer = dict[str, Any]
Case = Callable[["Vector"], Answer]


@dataclass(frozen=True)
class Vector:
    """One worked example.

    Attributes
    ----------
    id, venue, kind : str
        Its names.
    inputs, expected : dict
        Figures as printed.
    tolerance : str or dict of str to str
        Absolute, for all or by figure.
    convention : bool
        Whether it follows no exchange's rule.
    source : str
        Where it was printed.
    """

    id: str
    venue: str
    kind: str
    inputs: dict[str, Any]
    expected: dict[str, Any]
    tolerance: str | dict[str, str]
    convention: bool
    source: str

    def __getitem__(self, key: str) -> float:
        return float(self.inputs[key])

    def get(self, key: str, default: float = 0.0) -> float:
        return float(self.inputs.get(key, default))

    def first(self, *keys: str) -> float:
        return next(float(self.inputs[key]) for key in keys if key in self.inputs)

    @property
    def side(self) -> int:
        return -1 if self.inputs.get("side", "long").startswith("short") else 1

    def allowed(self, key: str, value: float) -> float:
        """Deviation that is allowed: the stated one, or the noise of floats where that is finer.

        A difference of prices carries the noise of the prices, three digits below which it is taken to stand.
        """
        stated = self.tolerance[key] if isinstance(self.tolerance, dict) else self.tolerance
        numbers = [abs(float(n)) for n in self.inputs.values() if isinstance(n, str | int | float) and is_number(n)]
        return max(float(stated) * (1 + 1e-9), FLOAT_NOISE * max(abs(value), 1e-3 * max(numbers, default=0.0)))


def is_number(text: str | int | float) -> bool:
    """Return whether a figure is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_vectors() -> dict[str, Vector]:
    """Return the examples by id."""
    rows = json.loads((FOLDER / "vectors.json").read_text("utf-8"))
    fields = ("id", "venue", "kind", "inputs", "expected", "tolerance", "source")
    return {r["id"]: Vector(**{k: r[k] for k in fields}, convention=r.get("convention", False)) for r in rows}


def read_listed() -> dict[str, dict[str, str]]:
    """Return the reasons of examples that are not computed: ``listed``, ``partly``, ``not_reproducible``."""
    return tomllib.loads((FOLDER / "listed.toml").read_text("utf-8"))


def rules_of(vector: Vector, **changes: object) -> VenueRules:
    """Return the rules of the example's venue, with single rules replaced."""
    names = {"blofin", "bybit", "okx", "bitmex", "hyperliquid", "gate"}
    name = PACKS.get(vector.venue, vector.venue if vector.venue in names else "generic")
    return load_pack(name).rules_at(CLASSIC).model_copy(update=changes)


def contract(vector: Vector, *, inverse: bool = False, **more: Any) -> Instrument:
    """Return the example's contract."""
    taker = vector.inputs.get("taker_fee", vector.inputs.get("taker"))
    fields = {"tick": vector.inputs.get("tick"), "taker_fee": taker} | more
    known = {key: float(value) for key, value in fields.items() if value is not None}
    kind = ContractKind.INVERSE if inverse else ContractKind.LINEAR
    return Instrument(symbol="X", kind=kind, settle="X" if inverse else "USDT", **known)


def one_tier(rate: float, amount: float | None = None) -> TierTable:
    """Return a table of one bracket."""
    return TierTable(
        symbol="X", tiers=(MarginTier(maintenance_margin_rate=rate, max_leverage=200, maintenance_amount=amount),)
    )


def many_tiers(
    floors: list[Any],
    rates: list[Any],
    *,
    form: TierForm = TierForm.PROGRESSIVE,
    amounts: dict[int, float] | None = None,
) -> TierTable:
    """Return a table from its lower bounds and rates."""
    bounds = [float(f) for f in floors]
    caps = [*bounds[1:], float("inf")]
    tiers = tuple(
        MarginTier(
            notional_floor=low,
            notional_cap=high,
            maintenance_margin_rate=float(rate),
            max_leverage=100,
            maintenance_amount=(amounts or {}).get(k),
        )
        for k, (low, high, rate) in enumerate(zip(bounds, caps, rates, strict=True))
    )
    return TierTable(symbol="X", tiers=tiers, form=form)


def ramp(base: float, slope: float) -> TierTable:
    """Return a rate that rises with the contracts held."""
    tier = MarginTier(maintenance_margin_rate=base, max_leverage=100, slope=slope)
    return TierTable(symbol="X", tiers=(tier,), form=TierForm.RAMP, unit=TierUnit.CONTRACTS)


def holding(
    vector: Vector, *, inverse: bool = False, size: float | None = None, tiers: TierTable | None = None, **more: Any
) -> Holding:
    """Return the example's position."""
    if size is None:
        face = vector.first("contract_value", "ctVal", "multiplier", "multiplier_usd") if _has_face(vector) else 1.0
        known = [k for k in ("qty", "size_usd", "usd", "size", "contracts", "szi") if k in vector.inputs]
        size = abs(vector.first(*known)) * face if known else 1.0
    amount = vector.inputs.get("cum", vector.inputs.get("cum_btc"))
    rate = vector.inputs.get("mmr", vector.inputs.get("mmr_rate", vector.inputs.get("mm_rate", 0.0)))
    fields = {
        "mark_price": vector.inputs.get("mark", vector.inputs.get("mark_implied")),
        "leverage": vector.inputs.get("leverage", vector.inputs.get("lever", 1)),
    } | more
    return Holding(
        contract(vector, inverse=inverse),
        vector.side * size,
        vector.first("entry", "avgPx", "entry_implied", "hold_price", "open", "price"),
        tiers or one_tier(float(rate), None if amount is None else float(amount)),
        None if fields["mark_price"] is None else float(fields["mark_price"]),
        float(fields["leverage"]),
    )


def _has_face(vector: Vector) -> bool:
    return any(key in vector.inputs for key in ("contract_value", "ctVal", "multiplier", "multiplier_usd"))

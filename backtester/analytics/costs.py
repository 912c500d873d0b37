"""What the run cost, by kind: amounts are positive where the account paid.

``price - costs + funding received + auto-deleveraging + socialised losses`` is the net profit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from backtester.analytics import attribution
from backtester.analytics.exposure import ENGINE_REASONS
from backtester.engine.result import Result

KINDS = ("taker_fees", "maker_fees", "slippage", "funding_paid", "liquidation")


@dataclass(frozen=True)
class Costs:
    """Costs of a run [settlement currency].

    Attributes
    ----------
    amounts : dict of str to float
        By the names of `KINDS`; a maker fee that the venue pays is negative.
    funding_received : float
        What funding brought, >= 0.
    traded : float
        Notional of the account's own fills, which basis points refer to.
    gross_profit : float
        Profit of price moves before all costs.
    """

    amounts: dict[str, float]
    funding_received: float
    traded: float
    gross_profit: float

    @property
    def total(self) -> float:
        """Sum of all kinds."""
        return float(sum(self.amounts.values()))

    def in_bps(self, amount: float) -> float | None:
        """Return an amount in basis points of the traded notional; None where nothing was traded."""
        return 1e4 * amount / self.traded if self.traded > 0 else None

    def of_profit(self, amount: float) -> float | None:
        """Return an amount as a fraction of the gross profit; None where there was none."""
        return amount / self.gross_profit if self.gross_profit > 0 else None


def costs(result: Result) -> Costs:
    """Return what a run cost.

    Parameters
    ----------
    result : Result
        A replayed run.
    """
    parts = attribution.attribute(result)
    maker = result.fills.filter(pl.col("liquidity") == "maker")["fee_paid"]
    maker_fees = float(np.sum(maker.to_numpy())) if len(maker) else 0.0
    payment = result.funding["funding_payment"].to_numpy()
    own = result.fills.filter(~pl.col("reason").is_in(ENGINE_REASONS))["notional"]
    return Costs(
        amounts={
            "taker_fees": -parts["fees"] - maker_fees + 0.0,
            "maker_fees": maker_fees + 0.0,
            "slippage": -parts["slippage"] + 0.0,
            "funding_paid": float(-payment[payment < 0].sum()) + 0.0,
            "liquidation": -parts["liquidation"] + 0.0,
        },
        funding_received=float(payment[payment > 0].sum()) + 0.0,
        traded=float(own.sum()),
        gross_profit=parts["price"],
    )


def cost_events(result: Result) -> pl.DataFrame:
    """Return every payment that is a cost, in order of time: ``time, kind, amount`` with the kinds of `KINDS`.

    Their sums by kind are those of `costs`.
    """
    takeovers = ["liquidation"] if result.config.liquidation.takeover == "market" else []
    borne = ["liquidation_step", "collateral", *takeovers]
    engine = pl.col("reason").is_in(["liquidation", "liquidation_step", "collateral"])
    fills, ledger, funding = result.fills, result.ledger, result.funding
    paid = pl.when(pl.col("liquidity") == "maker").then(pl.lit("maker_fees")).otherwise(pl.lit("taker_fees"))
    slip = fills.filter(~engine | pl.col("reason").is_in(borne))
    taken = pl.col("kind").is_in(["liquidation_fee", "insurance_clearance"])
    kind_of_slip = pl.when(engine).then(pl.lit("liquidation")).otherwise(pl.lit("slippage"))
    schema = {"time": pl.Datetime("ms", "UTC"), "kind": pl.String, "amount": pl.Float64}
    parts = (
        fills.select("time", kind=paid, amount="fee_paid"),
        slip.select("time", kind=kind_of_slip, amount="slippage_paid"),
        funding.filter(pl.col("funding_payment") < 0).select(
            "time", kind=pl.lit("funding_paid"), amount=-pl.col("funding_payment")
        ),
        ledger.filter(taken).select("time", kind=pl.lit("liquidation"), amount=-pl.col("amount")),
    )
    events = pl.concat([part.cast(schema) for part in parts])  # type: ignore[arg-type]
    return events.filter(pl.col("amount") != 0).sort("time", maintain_order=True)

"""Cash and carry: spot against the perpetual, for the funding."""

import polars as pl

from backtester.strategy import Indicator, Param, Strategy


class FundingCarry(Strategy):
    """Hold spot and short the perpetual of the same pair while the funding expected over a horizon exceeds the cost.

    The next rate is the one predicted from the premium so far (else the last one settled). It is expected to fall back
    to its mean over ``window`` bars, keeping the part ``persistence`` of the distance with each settlement. Both legs
    have the same size, so that the price cancels out. Pairs without both legs are left alone: it needs ``BTC/USDT``
    beside ``BTC/USDT:USDT``.

    Hypothesis
    ----------
    Who wants leverage on the long side pays for it. Holding coins and selling the perpetual earns that payment
    without the price.

    Source
    ------
    He, Manela, Ross, von Wachter (2022), "Fundamentals of Perpetual Futures", arXiv:2212.06888; Schmeling, Schrimpf,
    Todorov (2023), "Crypto Carry", BIS Working Papers 1087.

    Limits
    ------
    The short leg needs margin, and the gain of the coins does not count for it unless they are collateral
    (``haircut``): a sharp rise can liquidate it while the pair as a whole has lost nothing. Funding turns, and the pair
    is then held at a cost until the rule leaves. The forecast takes the interval between settlements from the past day.
    Without leverage on spot, an exposure near 1 leaves nothing for the margin of the short legs.
    """

    horizon: float = Param(168.0, gt=0, description="Hours over which funding is expected to be earned.")
    cost: float = Param(
        0.003, ge=0, description="Cost to enter and leave both legs, as a fraction of one leg's notional."
    )
    leave: float = Param(
        0.0, description="Expected funding below which it leaves, as a fraction of one leg's notional."
    )
    window: int = Param(168, ge=2, description="Bars of the mean that the rate falls back to.")
    persistence: float = Param(0.9, ge=0, lt=1, description="Part of the distance that is left after a settlement.")
    exposure: float = Param(0.5, gt=0, le=1, description="Size of all spot legs together as a fraction of equity.")

    def check_params(self) -> None:
        """Refuse to leave only where it would enter."""
        if self.leave > self.cost:
            raise ValueError(f"leave = {self.leave:g} must be at most cost = {self.cost:g}")

    def indicators(self) -> dict[str, Indicator | pl.Expr]:
        """Return the funding that the perpetual's short side may expect, and whether that is worth the cost.

        Plain expressions: they are null for spot, which settles no funding, and must not hold its target back.
        """
        rate = pl.coalesce("predicted_funding_rate", "funding_rate")
        mean = pl.col("funding_rate").rolling_mean(self.window)
        interval = pl.col("hours_to_funding").rolling_max(24, min_samples=1)
        settlements = self.horizon / interval
        kept = (1 - self.persistence**settlements) / (1 - self.persistence)
        expected = mean * settlements + (rate - mean) * kept
        wanted = pl.when(expected > self.cost).then(1.0).when(expected < self.leave).then(0.0)
        return {"expected_funding": expected, "is_worth_it": wanted.forward_fill()}

    def target(self) -> pl.Expr:
        """Return equal and opposite weights for both legs of a pair: spot long, perpetual short; pairs share alike."""
        symbol = pl.col("symbol")
        is_contract = symbol.str.contains(":", literal=True)
        pair = symbol.str.split(":").list.first()
        keys = ("open_time", pair)
        has_both = is_contract.any().over(*keys) & (~is_contract).any().over(*keys)
        pairs = pl.len().over("open_time") - pair.n_unique().over("open_time")  # symbols beyond one a pair
        weight = pl.when(is_contract).then(-self.exposure).otherwise(self.exposure) / pairs
        is_worth_it = pl.col("is_worth_it").max().over(*keys)
        return pl.when(has_both).then(pl.when(is_worth_it > 0).then(weight).when(is_worth_it == 0).then(0.0))

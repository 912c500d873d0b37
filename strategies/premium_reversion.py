"""Mark against index: back to the spot price."""

import polars as pl

from backtester.strategy import Indicator, Param, Strategy, zscore


class PremiumReversion(Strategy):
    """Sell the perpetual where it stands unusually far above its index, buy it where it stands below.

    It needs an index or a premium series; without one it refuses to run.

    Hypothesis
    ----------
    Arbitrage and funding tie a perpetual to its index. A gap that is large against its own past
    is pressure of the moment and closes within hours.

    Source
    ------
    He, Manela, Ross, von Wachter (2022), "Fundamentals of Perpetual Futures", arXiv:2212.06888: deviations from the
    no-arbitrage price are mean-reverting, and smaller the more liquid the contract.

    Limits
    ------
    One leg only: the gap may close by the index moving, so the result is mostly price risk unless the
    spot leg is held too. Gaps are often smaller than the fees of the round trip; judge it with fees and slippage on.
    Index and mark are medians and moving averages of the venue: part of a gap is their delay.
    """

    window: int = Param(168, ge=10, description="Bars of the past that the gap is compared with.")
    entry: float = Param(2.5, gt=0, description="Standard deviations from the mean at which it enters.")
    exit: float = Param(0.5, ge=0, description="Standard deviations within which it leaves.")
    exposure: float = Param(0.5, gt=0, description="Size of the position as a fraction of equity.")

    def check_params(self) -> None:
        """Refuse an exit beyond the entry."""
        if self.exit >= self.entry:
            raise ValueError(f"exit = {self.exit:g} must be less than entry = {self.entry:g}")

    def indicators(self) -> dict[str, Indicator | pl.Expr]:
        """Return how unusual the gap is: the stored premium, else mark over index."""
        gap = pl.coalesce("premium", pl.col("mark_close") / pl.col("index_close") - 1)
        return {"unusual": zscore(gap, self.window)}

    def target(self) -> pl.Expr:
        """Return the side against an unusual gap, 0 when it is usual again, null in between."""
        unusual = pl.col("unusual")
        return (
            pl.when(unusual > self.entry)
            .then(-self.exposure)
            .when(unusual < -self.entry)
            .then(self.exposure)
            .when(unusual.abs() < self.exit)
            .then(0.0)
        )

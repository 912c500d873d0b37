"""Against extreme funding."""

import polars as pl

from backtester.strategy import Indicator, Param, Strategy, zscore


class FundingFade(Strategy):
    """Stand against the crowd that pays unusually much to hold its side: short at high funding, long at low.

    Hypothesis
    ----------
    Extreme funding marks crowded, levered positions. Who takes the other side is paid for it at
    every settlement, and wins when the crowd is forced out.

    Source
    ------
    He, Manela, Ross, von Wachter (2022), "Fundamentals of Perpetual Futures", arXiv:2212.06888 (gaps to
    the no-arbitrage price close; funding is what closes them); on being paid to hold: Koijen, Moskowitz, Pedersen,
    Vrugt (2018), "Carry", Journal of Financial Economics 127(2), 197-225, doi:10.1016/j.jfineco.2017.11.002.

    Limits
    ------
    It is naked against the trend: funding is most extreme in strong trends, and stays so for weeks.
    Rates are compared with the symbol's own past per settlement, so a change of the interval looks like a change of
    the rate until the window has passed it. The settled rate is known only after it was paid.
    """

    window: int = Param(720, ge=24, description="Bars of the past that rates are compared with.")
    entry: float = Param(2.0, gt=0, description="Standard deviations from the mean at which it enters.")
    exit: float = Param(0.5, ge=0, description="Standard deviations within which it leaves.")
    exposure: float = Param(0.5, gt=0, description="Size of the position as a fraction of equity.")

    def check_params(self) -> None:
        """Refuse an exit beyond the entry."""
        if self.exit >= self.entry:
            raise ValueError(f"exit = {self.exit:g} must be less than entry = {self.entry:g}")

    def indicators(self) -> dict[str, Indicator | pl.Expr]:
        """Return how unusual the last settled rate is."""
        return {"unusual": zscore("funding_rate", self.window)}

    def target(self) -> pl.Expr:
        """Return the receiving side of an unusual rate, 0 when it is usual again, null in between."""
        unusual, rate = pl.col("unusual"), pl.col("funding_rate")
        return (
            pl.when((unusual > self.entry) & (rate > 0))
            .then(-self.exposure)
            .when((unusual < -self.entry) & (rate < 0))
            .then(self.exposure)
            .when(unusual.abs() < self.exit)
            .then(0.0)
        )

"""Trend following with two moving averages."""

import polars as pl

from backtester.strategy import Indicator, Param, Strategy, sma


class Trend(Strategy):
    """Follow the slower of two moving averages: long while the fast one is above it, short while below.

    Hypothesis
    ----------
    Returns of the recent past carry on for days to months, because news spreads slowly and positions are built and
    unwound over time.

    Source
    ------
    Moskowitz, Ooi, Pedersen (2012), "Time Series Momentum", Journal of Financial Economics 104(2), 228-250,
    doi:10.1016/j.jfineco.2011.11.003; for averages as the rule, Brock, Lakonishok, LeBaron (1992), "Simple Technical
    Trading Rules and the Stochastic Properties of Stock Returns", Journal of Finance 47(5), 1731-1764.

    Limits
    ------
    Always in the market: sideways markets cost a reversal each time the averages cross. A perpetual's
    funding tends to be paid by the side that the trend is on. The default lengths are round figures, not fitted ones.
    The exposure is per symbol: five symbols at 1.0 hold up to five times the equity.
    """

    fast: int = Param(24, ge=2, description="Bars of the fast average.")
    slow: int = Param(168, ge=3, description="Bars of the slow average.")
    exposure: float = Param(1.0, gt=0, description="Size of the position as a fraction of equity.")

    def indicators(self) -> dict[str, Indicator | pl.Expr]:
        """Return the two averages of the close."""
        return {"fast": sma("close", self.fast), "slow": sma("close", self.slow)}

    def target(self) -> pl.Expr:
        """Return the side of the fast average."""
        return pl.when(pl.col("fast") > pl.col("slow")).then(self.exposure).otherwise(-self.exposure)

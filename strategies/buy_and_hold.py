"""Buy and hold, the yardstick."""

import polars as pl

from backtester.strategy import Param, Strategy


class BuyAndHold(Strategy):
    """Buy at the first bar and keep it.

    Hypothesis
    ----------
    None: it is what every other strategy is measured against.

    Source
    ------
    Sharpe (1991), "The Arithmetic of Active Management", Financial Analysts Journal 47(1), 7-9: before
    costs the average of all active holders earns what holding earns.

    Limits
    ------
    A perpetual is not the coin: holding it pays funding, year after year where the market leans long, and with leverage
    the position can be liquidated on the way. The position is bought once and not rebalanced, so its share of equity
    drifts. The exposure is per symbol.
    """

    exposure: float = Param(1.0, description="Size of the position as a fraction of equity; negative: sold and held.")

    def target(self) -> pl.Expr:
        """Return the same exposure at every bar."""
        return pl.lit(self.exposure)

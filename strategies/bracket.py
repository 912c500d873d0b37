"""Trend following with a stop, two profit targets and a trailing stop."""

import polars as pl

from backtester.strategy import Exit, Indicator, Param, Strategy, atr, sma


class Bracket(Strategy):
    """Follow the side of two moving averages, and let stops and targets end the trade before the side changes.

    The stop stands some average true ranges from the entry, as wide as they were when the side changed. Half of the
    position is closed at a first target, the rest at twice its distance. After an exit the symbol stays flat until the
    side changes (``execution.rebalance = "on_change"``).

    Hypothesis
    ----------
    Where returns carry on, a move against the trend by several usual ranges says that it is over, and costs less than
    waiting for the averages.

    Source
    ------
    Kaminski, Lo (2014), "When do stop-loss rules stop losses?", Journal of Financial Markets 18, 234-254,
    doi:10.1016/j.finmar.2013.07.001: stops help where returns have momentum, and cost where they revert.

    Limits
    ------
    A stop turns into a market order: in a gap it fills where the market is. Inside a bar the order of high and low is
    not known; ``execution.intrabar`` and a detail series show how much hangs on it. Targets cut the few large trades
    that trend following lives on.
    """

    fast: int = Param(24, ge=2, description="Bars of the fast average.")
    slow: int = Param(168, ge=3, description="Bars of the slow average.")
    length: int = Param(24, ge=2, description="Bars of the average true range.")
    stop: float = Param(3.0, gt=0, description="Distance of the stop from the entry in average true ranges.")
    reward: float = Param(2.0, gt=0, description="Distance of the first target in units of the stop's.")
    trail: float = Param(0.0, ge=0, lt=1, description="Trailing stop as a fraction of the best price; 0: none.")
    exposure: float = Param(1.0, gt=0, description="Size of the position as a fraction of equity.")

    def indicators(self) -> dict[str, Indicator | pl.Expr]:
        """Return the two averages of the close and the usual range of a bar."""
        return {"fast": sma("close", self.fast), "slow": sma("close", self.slow), "range": atr(self.length)}

    def target(self) -> pl.Expr:
        """Return the side of the fast average."""
        return _side() * self.exposure

    def stop_loss(self) -> pl.Expr:
        """Return the distance of the stop at the bars where the side changes, null in between."""
        return self._distance().clip(0.0, 0.95)

    def take_profit(self) -> list[Exit]:
        """Return two targets, half of the position each."""
        first = self._distance() * self.reward
        return [Exit(first, 0.5), Exit(2 * first)]

    def trailing_stop(self) -> float | None:
        """Return the distance of the trailing stop, where one is wanted."""
        return self.trail or None

    def _distance(self) -> pl.Expr:
        side = _side()
        return pl.when(side.ne_missing(side.shift(1))).then(self.stop * pl.col("range") / pl.col("close"))


def _side() -> pl.Expr:
    """Return 1 above, -1 below, null before the averages are there."""
    above = pl.col("fast") > pl.col("slow")
    return pl.when(above.is_not_null()).then(pl.when(above).then(1.0).otherwise(-1.0))

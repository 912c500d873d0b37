"""Momentum across symbols."""

import polars as pl

from backtester.strategy import Indicator, Param, Strategy, roc

HOUR_MS = 3_600_000


class CrossMomentum(Strategy):
    """Hold the strongest symbols long and the weakest short, in equal parts.

    Hypothesis
    ----------
    What rose more than its peers over the last weeks goes on doing so for a while; long and
    short legs together leave out most of the market's own move.

    Source
    ------
    Jegadeesh, Titman (1993), "Returns to Buying Winners and Selling Losers", Journal of Finance 48(1), 65-91; in
    crypto: Liu, Tsyvinski, Wu (2022), "Common Risk Factors in Cryptocurrency", Journal of Finance 77(2), 1133-1177.

    Limits
    ------
    With a handful of symbols it is a bet on single names, not a factor. A universe of symbols that are
    known today to have survived flatters it. Momentum crashes: after a sell-off the short leg rebounds hardest. With
    one symbol it does nothing.
    """

    lookback: int = Param(336, ge=2, description="Bars over which strength is measured.")
    top: int = Param(1, ge=1, description="Symbols on each side, at most half of those that are there.")
    every_hours: int = Param(
        24, ge=1, description="Hours between rebalances, at bars opening on their multiples (UTC)."
    )
    exposure: float = Param(1.0, gt=0, description="Sum of both sides as a fraction of equity.")

    def indicators(self) -> dict[str, Indicator | pl.Expr]:
        """Return the change over the lookback, and whether the bar rebalances."""
        is_due = pl.col("open_time").dt.epoch("ms") % (self.every_hours * HOUR_MS) == 0
        return {"strength": roc("close", self.lookback), "is_due": is_due}

    def target(self) -> pl.Expr:
        """Return equal parts of the strongest and the weakest where it is due, null elsewhere."""
        strength = pl.col("strength")
        present = strength.count().over("open_time")
        rank = strength.rank("ordinal").over("open_time")
        side = pl.min_horizontal(pl.lit(self.top), present // 2)
        part = self.exposure / 2 / side
        return pl.when(pl.col("is_due")).then(
            pl.when(rank > present - side).then(part).when(rank <= side).then(-part).otherwise(0.0)
        )

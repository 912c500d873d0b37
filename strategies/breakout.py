"""Breakout of a price channel."""

import polars as pl

from backtester.strategy import Indicator, Param, Strategy, donchian_high, donchian_low, lag


class Breakout(Strategy):
    """Enter when the close leaves the channel of the bars before it, leave at the nearer channel on the other side.

    Hypothesis
    ----------
    A new extreme shows that buyers or sellers pay up; stops and late followers beyond it carry the move on.

    Source
    ------
    Brock, Lakonishok, LeBaron (1992), "Simple Technical Trading Rules and the Stochastic Properties of Stock Returns",
    Journal of Finance 47(5), 1731-1764 ("trading range break"); with a nearer exit channel as in Faith (2007), "Way of
    the Turtle", McGraw-Hill, chapter on the rules of the original system.

    Limits
    ------
    Most breakouts fail: many small losses against few large wins, so results hang on a handful of
    trades. Entries come at the worst prices of the bar, where slippage is larger than the average that a backtest
    assumes. The original sizes by volatility and adds to winners; this one does neither.
    """

    entry: int = Param(120, ge=2, description="Bars of the channel whose break enters.")
    exit: int = Param(48, ge=1, description="Bars of the channel whose break on the other side leaves.")
    exposure: float = Param(1.0, gt=0, description="Size of the position as a fraction of equity.")

    def check_params(self) -> None:
        """Refuse an exit channel that is not the nearer one."""
        if self.exit > self.entry:
            raise ValueError(f"exit = {self.exit} must be at most entry = {self.entry}")

    def indicators(self) -> dict[str, Indicator | pl.Expr]:
        """Return both channels of the bars before this one."""
        return {
            "entry_high": lag(donchian_high(self.entry)),
            "entry_low": lag(donchian_low(self.entry)),
            "exit_high": lag(donchian_high(self.exit)),
            "exit_low": lag(donchian_low(self.exit)),
        }

    def target(self) -> pl.Expr:
        """Return the side of a fresh break, 0 at the exit of the last one, null in between."""
        close = pl.col("close")
        fresh = pl.when(close > pl.col("entry_high")).then(1.0).when(close < pl.col("entry_low")).then(-1.0)
        side = fresh.otherwise(None).forward_fill()
        has_left = ((side > 0) & (close < pl.col("exit_low"))) | ((side < 0) & (close > pl.col("exit_high")))
        return pl.coalesce(fresh.otherwise(None) * self.exposure, pl.when(has_left).then(0.0))

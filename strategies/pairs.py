"""Spread of two perpetuals."""

import polars as pl

from backtester.strategy import Param, Strategy


class Pairs(Strategy):
    """Sell the spread of two symbols where it is unusually wide, buy it where it is unusually narrow.

    The spread is ``log(first) - beta * log(second)`` with beta from a rolling regression. Weights are set on entry and
    left alone until the exit. Without names it takes the first two symbols of the run; others are left alone.

    Hypothesis
    ----------
    Two coins that share most of their risk drift apart by orders of the moment and come back together.

    Source
    ------
    Gatev, Goetzmann, Rouwenhorst (2006), "Pairs Trading: Performance of a Relative-Value Arbitrage Rule", Review of
    Financial Studies 19(3), 797-827, doi:10.1093/rfs/hhj020.

    Limits
    ------
    There is no test of cointegration here: a pair that drifts apart for good loses without bound, since
    there is no stop. The pair must be chosen beforehand, and choosing it on the tested data flatters the result. Both
    legs pay fees and funding.
    """

    reads = ("close",)

    first: str = Param("", description="Symbol of the first leg; empty: the run's first.")
    second: str = Param("", description="Symbol of the second leg; empty: the run's second.")
    window: int = Param(336, ge=20, description="Bars of the regression and of the spread's mean and deviation.")
    entry: float = Param(2.0, gt=0, description="Standard deviations at which it enters.")
    exit: float = Param(0.5, ge=0, description="Standard deviations within which it leaves.")
    exposure: float = Param(1.0, gt=0, description="Sum of both legs as a fraction of equity.")

    def check_params(self) -> None:
        """Refuse an exit beyond the entry, and a pair of one symbol."""
        if self.exit >= self.entry:
            raise ValueError(f"exit = {self.exit:g} must be less than entry = {self.entry:g}")
        if self.first and self.first == self.second:
            raise ValueError(f"first and second are both {self.first}")

    def signals(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Return the legs' weights at the bars where the state of the spread changes, null elsewhere."""
        first, second = self._legs(bars)
        spread = self._states(_closes(bars, first).join(_closes(bars, second), on="open_time", suffix="_second"))
        part = self.exposure / (1 + pl.col("beta").abs())
        legs = [
            spread.select("open_time", symbol=pl.lit(first), target=pl.col("state") * part),
            spread.select("open_time", symbol=pl.lit(second), target=-pl.col("state") * part * pl.col("beta")),
        ]
        keys = bars.select("open_time", "symbol")
        return keys.join(pl.concat(legs), on=["open_time", "symbol"], how="left", maintain_order="left")

    def _legs(self, bars: pl.DataFrame) -> tuple[str, str]:
        symbols = bars["symbol"].unique(maintain_order=True).to_list()
        for name in (self.first, self.second):
            if name and name not in symbols:
                raise ValueError(f"{name} is not among the symbols of the run: {', '.join(symbols)}")
        others = [name for name in symbols if name not in (self.first, self.second)]
        legs = [name or (others.pop(0) if others else "") for name in (self.first, self.second)]
        if "" in legs:
            raise ValueError(f"a pair needs two symbols, the run has {len(symbols)}")
        return legs[0], legs[1]

    def _states(self, closes: pl.DataFrame) -> pl.DataFrame:
        """Return beta and the new state (1, -1, 0) at the bars where it changes."""
        x, y = pl.col("log_second"), pl.col("log")
        beta = pl.rolling_cov(y, x, window_size=self.window) / x.rolling_var(self.window)
        spread = y - pl.col("beta") * x
        unusual = (spread - spread.rolling_mean(self.window)) / spread.rolling_std(self.window)
        wanted = (
            pl.when(pl.col("unusual") > self.entry)
            .then(-1.0)
            .when(pl.col("unusual") < -self.entry)
            .then(1.0)
            .when(pl.col("unusual").abs() < self.exit)
            .then(0.0)
        )
        with_beta = closes.with_columns(beta=pl.when(beta.is_finite()).then(beta))
        with_state = with_beta.with_columns(unusual=unusual).with_columns(state=wanted.forward_fill())
        changed = pl.col("state") != pl.col("state").shift(1).fill_null(0.0)
        return with_state.filter(changed).select("open_time", "beta", "state")


def _closes(bars: pl.DataFrame, symbol: str) -> pl.DataFrame:
    return bars.filter(pl.col("symbol") == symbol).select("open_time", log=pl.col("close").log())

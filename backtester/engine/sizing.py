"""Targets at a wanted volatility: what ``sizing.unit = "volatility"`` makes of a strategy's targets."""

from __future__ import annotations

import math

import polars as pl

from backtester.domain.config import RunConfig
from backtester.errors import DataError
from backtester.market.schema import timeframe_ms

YEAR_MS = 365 * 86_400_000
MAX_FACTOR = 10.0
"""Largest factor on a target: a market that hardly moved would ask for any exposure."""
_TARGETS = ("target", "target_long", "target_short")


def scaled_targets(config: RunConfig, bars: pl.DataFrame, targets: pl.DataFrame) -> pl.DataFrame:
    """Return targets as fractions of equity, scaled to the wanted volatility.

    A target is multiplied by ``vol_target / s``, at most by `MAX_FACTOR`. ``s`` is the standard deviation (ddof 1) of
    the ``vol_window`` last simple returns of the mark's closes up to the bar's close, times the root of the bars of a
    year (365 days). A symbol without a mark takes its traded closes.

    Parameters
    ----------
    config : RunConfig
        ``sizing`` and ``data.timeframe`` are read.
    bars : polars.DataFrame
        What the strategy read, long: ``open_time, symbol, close`` and, where there is one, ``mark_close``, by symbol in
        order of time; the bars before the run too.
    targets : polars.DataFrame
        ``open_time, symbol`` and ``target`` or ``target_long`` and ``target_short``; other columns are kept.

    Returns
    -------
    polars.DataFrame
        The targets unchanged with another unit than ``"volatility"``. A target other than 0 is null until the
        volatility of its symbol is known.

    Raises
    ------
    DataError
        Fewer bars than the window are there, so that no target could ever act.
    """
    if config.sizing.unit != "volatility":
        return targets
    window = config.sizing.vol_window
    factors = _priced(bars).select("open_time", "symbol", _factor(config).alias("__factor"))
    if bars.height and factors["__factor"].null_count() == factors.height:
        longest = int(bars.group_by("symbol").len()["len"].max() or 0)  # type: ignore[arg-type]  # a count
        raise DataError(
            "sizing.vol_window",
            f"no symbol has the {window} returns in a row that the volatility is taken from (at most {longest} bars)",
            hint="Set a shorter sizing.vol_window, or run a longer span.",
        )
    present = [name for name in _TARGETS if name in targets.columns]
    joined = targets.join(factors, on=("open_time", "symbol"), how="left", maintain_order="left")
    scaled = [pl.when(pl.col(n) == 0).then(0.0).otherwise(pl.col(n) * pl.col("__factor")).alias(n) for n in present]
    return joined.with_columns(scaled).drop("__factor")


def sizing_warmup(config: RunConfig) -> int:
    """Return how many bars before the run the sizing needs to act from the first bar on."""
    return config.sizing.vol_window + 1 if config.sizing.unit == "volatility" else 0


def _priced(bars: pl.DataFrame) -> pl.DataFrame:
    """Return the closes that returns are taken from: one of the two for a whole symbol.

    A return from a traded to a mark price would be no move of the market.
    """
    if "mark_close" not in bars.columns:
        return bars.select("open_time", "symbol", pl.col("close").alias("price"))
    marked = bars.filter(pl.col("mark_close").is_not_null())["symbol"].unique()
    price = pl.when(pl.col("symbol").is_in(marked.implode())).then(pl.col("mark_close")).otherwise(pl.col("close"))
    return bars.select("open_time", "symbol", price.alias("price"))


def _factor(config: RunConfig) -> pl.Expr:
    """Return what a target is multiplied with; null until enough returns are known."""
    window = config.sizing.vol_window
    change = pl.col("price") / pl.col("price").shift(1) - 1.0
    deviation = change.rolling_std(window, min_samples=window, ddof=1).over("symbol")
    per_year = math.sqrt(YEAR_MS / timeframe_ms(str(config.data.timeframe)))
    factor = config.sizing.vol_target / (deviation * per_year)  # infinite where nothing moved
    return pl.when(factor.is_nan()).then(None).otherwise(factor.clip(upper_bound=MAX_FACTOR))

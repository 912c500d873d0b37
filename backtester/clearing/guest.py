"""The user's own account in a cleared market: a path of trades that the outside market takes the other side of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backtester.clearing.market import ClearingMarket
from backtester.errors import AccountError, UnknownNameError, UsageError
from backtester.kernel.clearing_state import GUEST_EVENT, Rows

if TYPE_CHECKING:
    import polars as pl

COLUMNS = ("time", "symbol", "quantity_change", "price", "cash_change")


@dataclass(frozen=True, eq=False)
class Guest:
    """An account that trades by its own path and is deleveraged and clawed back like any other, never liquidated here.

    Attributes
    ----------
    wallet : float
        Balance before the first bar [settlement currency].
    path : polars.DataFrame
        One row a change: ``time`` (UTC, or ms since 1970)``, symbol, quantity_change`` (signed; base units, quote units
        for inverse contracts)``, price`` (of that trade)``, cash_change`` (what else moves its wallet, fees and
        transfers; funding is paid here). A row is done at the open of the bar that holds its time, after the check at
        the open. What cannot be matched with a price has a quantity of 0.
    leverage : float
        Setting, for the ranking by return on initial margin.
    """

    wallet: float
    path: pl.DataFrame
    leverage: float = 1.0

    def __post_init__(self) -> None:
        for column in COLUMNS:
            if column not in self.path.columns:
                raise UsageError(f"The guest's path has no column {column!r}.", f"It needs {', '.join(COLUMNS)}.")
        if not (np.isfinite(self.wallet) and self.wallet >= 0):
            raise AccountError(f"The guest's wallet is {self.wallet:g}.", "Give a number that is not negative.")
        if not (np.isfinite(self.leverage) and self.leverage > 0):
            raise AccountError(f"The guest's leverage is {self.leverage:g}.", "Give a positive number.")


def guest_events(guest: Guest | None, market: ClearingMarket) -> Rows:
    """Return a guest's path by bar; what lies outside of the market's span is left out.

    Raises
    ------
    UnknownNameError
        The path names a contract that the market does not have.
    UsageError
        A number is missing, or a trade has no positive price.
    """
    if guest is None:
        return np.zeros(0, GUEST_EVENT)
    import polars as pl  # noqa: PLC0415 - heavy

    path = guest.path.select(COLUMNS).with_columns(pl.col("time").cast(pl.Int64)).sort("time", maintain_order=True)
    for symbol in path["symbol"].unique(maintain_order=True).to_list():
        if symbol not in market.symbols:
            raise UnknownNameError("symbol", str(symbol), market.symbols, "in the guest's path")
    bar = (path["time"].to_numpy() - market.open_time[0]) // market.bar_ms
    inside = (bar >= 0) & (bar < len(market.open_time))
    out = np.zeros(int(inside.sum()), GUEST_EVENT)
    out["bar"] = bar[inside]
    places = np.array([market.symbols.index(symbol) for symbol in path["symbol"].to_list()], dtype=np.int64)
    out["contract"] = places[inside]
    numbers = {c: path[c].cast(pl.Float64).fill_null(np.nan).to_numpy()[inside] for c in COLUMNS[2:]}
    out["quantity"] = numbers["quantity_change"]
    out["cash"] = numbers["cash_change"]
    price = np.where(out["quantity"] == 0.0, 1.0, numbers["price"])
    if not (np.isfinite(out["quantity"]).all() and np.isfinite(out["cash"]).all() and (price > 0).all()):
        raise UsageError("The guest's path has a row without a number or with a price that is not positive.")
    out["value"] = np.where(market.signs[out["contract"]] > 0, price, -1.0 / price)
    return out

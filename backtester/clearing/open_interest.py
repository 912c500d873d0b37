"""A population that holds an open interest, drawn from a mix of leverages.

Typical leverage. `ONCHAIN_MIX` is effective leverage by open interest: of 7.63 billion dollars on a public order book
in December 2025, 36 % stood below 3x, 48 % between 3x and 7x and 15 % above (binance.com/square/post/33750032403738,
which reports the count of an analyst of the chain; a single report). `RETAIL_MIX` is the setting by users: Binance
said in December 2019 that 60 % of derivative trades used 20x or more and 21 % of traders 125x, while institutions
with 81 % of the volume stayed below 20x (thecoinshark.net, twooxen.com of 2019-12-12). How the shares spread within
these bounds is our assumption; so are sizes, ages and the part of isolated accounts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backtester.clearing.market import ClearingMarket
from backtester.clearing.population import Floats, Ints, Population
from backtester.domain.enums import TierUnit
from backtester.errors import UnknownNameError, UsageError

ONCHAIN_MIX: dict[float, float] = {1.0: 0.12, 2.0: 0.24, 4.0: 0.24, 6.0: 0.24, 10.0: 0.10, 20.0: 0.045, 40.0: 0.015}
RETAIL_MIX: dict[float, float] = {5.0: 0.15, 10.0: 0.25, 20.0: 0.24, 50.0: 0.15, 125.0: 0.21}
HOUR_MS = 3_600_000
FEE_RESERVE = 0.001  # for a closing fee in the liquidation test
TRIES = 8  # times that an age is drawn again before a position opens at the first mark


def from_open_interest(
    market: ClearingMarket,
    open_interest: Mapping[str, float] | float,
    accounts: int,
    leverage_mix: Mapping[float, float] | None = None,
    seed: int = 0,
    *,
    isolated_share: float = 0.5,
    several_share: float = 0.0,
    size_spread: float = 1.5,
    spare_wallet: float = 0.0,
    holding_hours: float = 72.0,
    past: ClearingMarket | None = None,
) -> Population:
    """Return accounts that together hold the open interest, half of it long.

    Parameters
    ----------
    market : ClearingMarket
        What they are replayed over; its first mark opens are the prices now.
    open_interest : mapping of str to float, or float
        Size of all long positions of each contract [base units; quote units for inverse], or the notional of each
        contract [settlement currency].
    accounts : int
        How many; at least two for each contract.
    leverage_mix : mapping of float to float, optional
        Share of the open interest by effective leverage at the entry; None: `ONCHAIN_MIX`.
    seed : int
        Of the draw: the same seed gives the same accounts.
    isolated_share : float
        Part of the accounts with isolated margin [fraction]; an assumption.
    several_share : float
        Part of the accounts that hold all contracts, under cross margin [fraction].
    size_spread : float
        Standard deviation of the logarithm of sizes; an assumption.
    spare_wallet : float
        Free wallet beside the margin, of isolated accounts [fraction of the margin].
    holding_hours : float
        Mean age of a position: each hour one part in so many of the accounts closes and another opens at the price
        then; an assumption.
    past : ClearingMarket, optional
        Bars before the first one, over which entries are spread; None: all enter at the first mark.

    Raises
    ------
    UsageError
        A share is out of bounds or there are too few accounts.
    UnknownNameError
        The open interest names a contract that the market does not have.
    """
    mix = dict(ONCHAIN_MIX if leverage_mix is None else leverage_mix)
    _check_model(market, accounts, mix, {"isolated_share": isolated_share, "several_share": several_share})
    if not holding_hours > 0:
        raise UsageError(f"holding_hours = {holding_hours:g} must be positive.")
    rng = np.random.default_rng(seed)
    count = len(market.symbols)
    sizes = _sizes_by_contract(market, open_interest)
    first = market.values(market.mark_open[:, :1])[:, 0]
    several = rng.random(accounts) < several_share if count > 1 else np.zeros(accounts, np.bool_)
    weight = sizes * np.abs(first)
    home = _homes(rng, accounts, weight / weight.sum())
    account = np.concatenate([np.repeat(np.flatnonzero(several), count), np.flatnonzero(~several)])
    contract = np.concatenate([np.tile(np.arange(count), int(several.sum())), home[~several]])
    order = np.lexsort((contract, account))
    account, contract = account[order].astype(np.int64), contract[order].astype(np.int64)
    raw = np.exp(size_spread * rng.standard_normal(len(account)))
    side = _sides(rng, contract, count)
    leverages, shares = np.array(list(mix)), np.array(list(mix.values()))
    # the mix is by open interest: an account's leverage does not depend on its size, so that shares by number agree
    leverage = leverages[rng.choice(len(leverages), accounts, p=shares / shares.sum())]
    quantity = _scaled_to(raw * side, contract, sizes)
    entry = market.mark_open[contract, 0].astype(np.float64)
    if past is not None:
        initial = 1.0 / leverage[account]
        rates = _rates(market, contract, quantity) + FEE_RESERVE
        room = np.maximum(initial - rates, 0.0) / (1.0 + initial)  # the least of longs and shorts, linear and inverse
        ages = rng.exponential(holding_hours * HOUR_MS / past.bar_ms, len(contract))
        rows = np.array([past.place(symbol) for symbol in market.symbols])
        entry = _entries(rng, _Past(past, rows), entry, contract, side=side, room=room, ages=ages)
    notional = np.abs(quantity) * np.where(market.signs[contract] > 0, entry, 1.0 / entry)
    margin = notional / leverage[account]
    backing = np.bincount(account, margin, accounts).astype(np.float64)
    isolated = (rng.random(accounts) < isolated_share) & ~several
    wallet = (backing * np.where(isolated, 1.0 + spare_wallet, 1.0)).astype(np.float64)
    held = backing > 0
    if not held.all():  # nobody without a position
        places = np.cumsum(held) - 1
        account = places[account]
        wallet, isolated, leverage = wallet[held], isolated[held], leverage[held]
    note = (
        f"{accounts:,} accounts drawn with seed {seed} from the open interest and a mix of leverages; "
        f"mean age {holding_hours:g} h, {isolated_share:.0%} isolated: assumptions."
    )
    return Population(
        symbols=market.symbols,
        wallet=wallet,
        isolated=isolated,
        leverage=leverage,
        account=account,
        contract=contract,
        quantity=quantity,
        entry_price=entry,
        margin=np.where(isolated[account], margin, 0.0),
        notes=(note,),
    )


def _check_model(
    market: ClearingMarket,
    accounts: int,
    mix: Mapping[float, float],
    fractions: Mapping[str, float],
) -> None:
    if accounts < 2 * len(market.symbols):
        raise UsageError(
            f"{accounts} accounts are too few for {len(market.symbols)} contracts.", "Give at least two for each."
        )
    if not mix or any(not key > 0 or not value >= 0 for key, value in mix.items()) or sum(mix.values()) <= 0:
        raise UsageError("The mix of leverages needs positive leverages with shares that are not all zero.")
    for name, value in fractions.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{name} = {value:g} is no fraction.", "Give a number from 0 to 1.")


def _sizes_by_contract(market: ClearingMarket, open_interest: Mapping[str, float] | float) -> Floats:
    """Return the size of all longs of each contract, in the unit of quantities."""
    if isinstance(open_interest, Mapping):
        for symbol in open_interest:
            if symbol not in market.symbols:
                raise UnknownNameError("symbol", symbol, market.symbols, "in the open interest")
        missing = [symbol for symbol in market.symbols if symbol not in open_interest]
        if missing:
            raise UsageError(f"The open interest says nothing of {missing[0]}.")
        sizes = np.array([float(open_interest[symbol]) for symbol in market.symbols])
    else:
        sizes = float(open_interest) / np.abs(market.values(market.mark_open[:, :1])[:, 0])
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise UsageError("The open interest must be positive.")
    return sizes


def _homes(rng: np.random.Generator, accounts: int, weight: Floats) -> Ints:
    """Return the contract of each account: two at least for each, the others by notional."""
    count = len(weight)
    fixed = np.repeat(np.arange(count), 2)
    drawn = rng.choice(count, accounts - len(fixed), p=weight)
    return np.concatenate([fixed, drawn]).astype(np.int64)


def _sides(rng: np.random.Generator, contract: Ints, count: int) -> Floats:
    """Return +1 or -1 for each position, so that each contract has both."""
    side = np.where(rng.random(len(contract)) < 0.5, 1.0, -1.0)
    for c in range(count):
        mine = np.flatnonzero(contract == c)
        if len(mine) and abs(side[mine].sum()) == len(mine):
            side[mine[: max(1, len(mine) // 2)]] *= -1.0
    return side


def _scaled_to(raw: Floats, contract: Ints, sizes: Floats) -> Floats:
    """Return quantities whose longs and shorts each sum to the open interest, the last one closing the sum exactly."""
    out: Floats = raw.copy()
    for c, size in enumerate(sizes):
        for side in (1.0, -1.0):
            mine = (contract == c) & (raw * side > 0)
            out[mine] *= size / np.abs(raw[mine]).sum()
        mine = np.flatnonzero(contract == c)
        out[mine[np.argmax(np.abs(out[mine]))]] -= out[mine].sum()
    return out


def _rates(market: ClearingMarket, contract: Ints, quantity: Floats) -> Floats:
    """Return the maintenance rate of each position's bracket at the first mark."""
    size = np.abs(quantity)
    out = np.zeros(len(quantity))
    for c, table in enumerate(market.tiers):
        mine = contract == c
        unit = abs(float(market.values(market.mark_open[:, :1])[c, 0]))
        by_notional = table.unit is TierUnit.NOTIONAL
        measure = size[mine] * (unit if by_notional else 1.0 / market.instruments[c].contract_size)
        floors = np.array([t.notional_floor for t in table.tiers])
        rates = np.array([t.maintenance_margin_rate for t in table.tiers])
        out[mine] = rates[np.searchsorted(floors, measure, side="right") - 1]
    return out


class _Past:
    """Marks before the first bar, and how far they went from each bar on."""

    def __init__(self, market: ClearingMarket, rows: Ints) -> None:
        self.close = market.mark_close[rows]
        self.lowest = np.minimum.accumulate(market.mark_low[rows][:, ::-1], axis=1)[:, ::-1]
        self.highest = np.maximum.accumulate(market.mark_high[rows][:, ::-1], axis=1)[:, ::-1]


def _entries(
    rng: np.random.Generator,
    past: _Past,
    now: Floats,
    contract: Ints,
    *,
    side: Floats,
    room: Floats,
    ages: Floats,
) -> Floats:
    """Return entry prices at ages [bars]; a position that the past would have liquidated was opened later.

    ``room`` is the fraction of the entry price that a position can bear.
    """
    last = past.close.shape[1] - 1
    entry = now.copy()
    waiting = np.ones(len(contract), np.bool_)
    for _ in range(TRIES):
        bar = np.clip(last - ages.astype(np.int64), 0, last)
        price = past.close[contract, bar]
        after = np.minimum(bar + 1, last)
        dead = np.where(
            side > 0,
            np.minimum(past.lowest[contract, after], now) <= price * (1 - room),
            np.maximum(past.highest[contract, after], now) >= price * (1 + room),
        )
        done = waiting & ~dead
        entry[done] = price[done]
        waiting &= dead
        ages = np.where(waiting, ages * rng.random(len(ages)), ages)
    return entry

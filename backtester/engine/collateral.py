"""Assets held from the start that count as margin: which series values each, and which row of the panel it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from backtester.domain.config import CollateralConfig
from backtester.domain.instrument import is_spot_name, quote_of
from backtester.engine.result import Notice
from backtester.errors import ConfigError, DataError, UnknownNameError
from backtester.market.schema import timeframe_name
from backtester.market.series import bar_source
from backtester.market.span import HiddenSeries
from backtester.market.store import Store

_OF_CONTRACTS = ("index", "mark")


@dataclass(frozen=True)
class CollateralRow:
    """What is held from the start in one row of the panel.

    Attributes
    ----------
    name : str
        Row of the panel: a spot pair that is traded, else ``ASSET/SETTLE``.
    symbol, series : str
        What values it.
    quantity : float
        Units held at the first open, of all assets of the row.
    haircut : float
        Part of its worth that does not count [fraction].
    assets : tuple of str
        What is held.
    is_traded : bool
        Whether the row is that of a traded spot pair.
    """

    name: str
    symbol: str
    series: str
    quantity: float
    haircut: float
    assets: tuple[str, ...]
    is_traded: bool

    @property
    def hidden_series(self) -> HiddenSeries:
        """The row that a panel needs beside the traded ones."""
        return HiddenSeries(self.name, self.symbol, self.series)


@dataclass(frozen=True)
class Account:
    """What decides which series values an asset.

    Attributes
    ----------
    venue : str
        Name of the store's venue.
    settle : str
        Settlement currency.
    step_ms : int
        Length of a replayed bar [ms].
    traded : tuple of str
        Symbols that the run trades.
    """

    venue: str
    settle: str
    step_ms: int
    traded: tuple[str, ...]


def collateral_rows(
    collateral: Mapping[str, CollateralConfig], store: Store, account: Account
) -> tuple[CollateralRow, ...]:
    """Return the rows of the assets held from the start, in the order of the configuration.

    An asset is valued by its spot pair in the settlement currency, else by the index of its perpetual, else by that
    perpetual's mark; a stated ``symbol`` takes their place. Assets that one series values with one haircut share a row,
    also with a spot pair that is traded.

    Parameters
    ----------
    collateral : mapping of str to CollateralConfig
        By asset.
    store : Store
        Where the series are stored.
    account : Account
        The run.

    Raises
    ------
    ConfigError
        The asset is the settlement currency, its symbol is priced in another currency, or one row would need two
        haircuts.
    DataError
        No stored series values an asset.
    """
    rows: dict[str, CollateralRow] = {}
    for asset, held in collateral.items():
        row = _row(asset, held, store, account)
        twin = next((r for r in rows.values() if (r.symbol, r.series) == (row.symbol, row.series)), None)
        if twin is None and row.name in rows:
            raise ConfigError(
                f"collateral.{asset}: {row.name} is valued by {rows[row.name].symbol} already.",
                "Leave out the symbol of one of the two.",
            )
        if twin is not None and twin.haircut != row.haircut:
            raise ConfigError(
                f"collateral.{asset}: {twin.symbol} values {' and '.join((*twin.assets, asset))} with different "
                f"haircuts ({twin.haircut:g} and {row.haircut:g}).",
                "Give them one haircut, or another symbol.",
            )
        if twin is not None:
            row = replace(twin, quantity=twin.quantity + row.quantity, assets=(*twin.assets, asset))
        rows[row.name] = row
    return tuple(rows.values())


def _row(asset: str, held: CollateralConfig, store: Store, account: Account) -> CollateralRow:
    if asset == account.settle:
        raise ConfigError(
            f"collateral.{asset}: {asset} is the settlement currency of the run.", "Add it to account.balance instead."
        )
    if held.symbol is not None and quote_of(held.symbol) != account.settle:
        raise ConfigError(
            f"collateral.{asset}.symbol: {held.symbol} is not priced in {account.settle}.",
            f"Name a symbol such as {asset}/{account.settle}.",
        )
    symbol, series = _valued_by(asset, held, store, account)
    is_traded = series == "trade" and symbol in account.traded
    name = symbol if is_traded else f"{asset}/{account.settle}"
    if not is_traded and name in account.traded:
        raise ConfigError(
            f"collateral.{asset}.symbol: {name} is traded, and its trades value the asset.", "Leave the symbol out."
        )
    return CollateralRow(name, symbol, series, held.quantity, held.haircut, (asset,), is_traded)


def _valued_by(asset: str, held: CollateralConfig, store: Store, account: Account) -> tuple[str, str]:
    """Return symbol and series of the first series that can be had at the replayed bar."""
    candidates = list(_candidates(asset, held.symbol, account.settle))
    for symbol, series in candidates:
        if bar_source(store, account.venue, symbol, series, account.step_ms) is not None:
            return symbol, series
    known = store.symbols(account.venue, None)
    if held.symbol is not None and held.symbol not in known:
        raise UnknownNameError("symbol", held.symbol, known, f"in collateral.{asset}")
    symbol = candidates[0][0]
    wanted = " or ".join(f"{name} {series}" for name, series in candidates)
    raise DataError(
        f"{account.venue} {wanted}",
        f"no bars of {timeframe_name(account.step_ms)}, or of what divides it, value the collateral {asset}",
        hint=f"Import {symbol} (backtester data import --symbol {symbol}), or name what values it: "
        f"[collateral.{asset}] symbol.",
    )


def _candidates(asset: str, symbol: str | None, settle: str) -> Iterator[tuple[str, str]]:
    names = [symbol] if symbol is not None else [f"{asset}/{settle}", f"{asset}/{settle}:{settle}"]
    for name in names:
        yield from [(name, "trade")] if is_spot_name(name) else [(name, series) for series in _OF_CONTRACTS]


def collateral_notices(rows: Sequence[CollateralRow]) -> list[Notice]:
    """Return what a run must tell of assets that no trades of their own value."""
    notices = []
    for row in rows:
        assets = " and ".join(row.assets)
        if row.series != "trade":
            text = f"{assets} as collateral: valued by the {row.series} of {row.symbol}, not by a spot pair."
            notices.append(Notice("collateral_valued", "assumption", text))
        foreign = [asset for asset in row.assets if asset != row.symbol.partition("/")[0]]
        if foreign:
            text = f"{' and '.join(foreign)} as collateral: valued by {row.symbol}, as the run file says."
            notices.append(Notice("collateral_valued", "assumption", text))
    return notices

"""The market that a population is replayed over: prices, volumes, settlements, contracts and margin tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import ContractKind, TierForm
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import MarginTier, TierTable, table_in_force
from backtester.errors import AccountError, DataError, UsageError

if TYPE_CHECKING:
    from backtester.market.panel import Bars, Panel
    from backtester.market.store import Store

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FundingSchedule:
    """Settlements of one contract, ascending.

    Attributes
    ----------
    time : ndarray of int64
        Settlement times [ms since 1970, UTC].
    rate : ndarray of float64
        Rates [fraction of notional]; positive: longs pay.
    price : ndarray of float64
        Mark price of each record [quote]; NaN takes the mark of the bar.
    """

    time: NDArray[np.int64]
    rate: Floats
    price: Floats


def no_funding() -> FundingSchedule:
    """Return a schedule without settlements."""
    return FundingSchedule(np.empty(0, np.int64), np.empty(0), np.empty(0))


@dataclass(frozen=True, eq=False)
class ClearingMarket:
    """Series of one or several contracts of one settlement currency on one clock.

    Attributes
    ----------
    symbols : tuple of str
        Contracts, the first axis of every array.
    open_time : ndarray of int64, shape (bars,)
        Opens of the bars [ms since 1970, UTC], equally spaced.
    bar_ms : int
        Length of a bar [ms].
    open, high, low, close : ndarray of float64, shape (contracts, bars)
        Traded prices [quote].
    volume : ndarray of float64, shape (contracts, bars)
        Traded volume in the unit of quantities: base units, quote units for inverse contracts; NaN counts as none.
    mark_open, mark_high, mark_low, mark_close : ndarray of float64, shape (contracts, bars)
        Mark prices [quote].
    funding : tuple of FundingSchedule
        Settlements of each contract.
    instruments : tuple of Instrument
        Kind, contract size and lot of each contract.
    tiers : tuple of TierTable
        Margin brackets of each contract, in force for the whole replay.
    notes : tuple of str
        What was cut, built or assumed.
    """

    symbols: tuple[str, ...]
    open_time: NDArray[np.int64]
    bar_ms: int
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    mark_open: Floats
    mark_high: Floats
    mark_low: Floats
    mark_close: Floats
    funding: tuple[FundingSchedule, ...]
    instruments: tuple[Instrument, ...]
    tiers: tuple[TierTable, ...]
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_prices(self)
        currencies = {i.settle for i in self.instruments}
        if len(currencies) > 1:
            raise AccountError(
                f"The contracts settle in {len(currencies)} currencies: {', '.join(sorted(currencies))}.",
                "Clear the contracts of one settlement currency at a time.",
            )
        for instrument in self.instruments:
            if instrument.kind is ContractKind.SPOT:
                raise AccountError(f"{instrument.symbol}: a spot pair is not cleared.", "Name perpetual contracts.")

    @property
    def signs(self) -> Floats:
        """+1 for a linear contract, -1 for an inverse one."""
        return np.array([-1.0 if i.kind is ContractKind.INVERSE else 1.0 for i in self.instruments])

    def place(self, symbol: str) -> int:
        """Return the place of a contract on the first axis.

        Raises
        ------
        UnknownNameError
            The market has no such contract.
        """
        from backtester.errors import UnknownNameError  # noqa: PLC0415 - raised here alone

        if symbol not in self.symbols:
            raise UnknownNameError("symbol", symbol, self.symbols, "in the market")
        return self.symbols.index(symbol)

    def values(self, prices: Floats) -> Floats:
        """Return prices, shape (contracts, …), in value space."""
        out = np.array(prices, dtype=np.float64)
        for c, sign in enumerate(self.signs):
            if sign < 0:
                out[c] = -1.0 / out[c]
        return out

    def as_inverse(self, *, settle: str | None = None) -> ClearingMarket:
        """Return the same prices as inverse contracts of one quote unit, with tables of the same rates.

        Volumes are turned into quote units and the brackets' bounds into the coin at the first mark, so that books of
        equal notional stand in the same brackets.
        """
        instruments = []
        tables = []
        volume = self.volume.copy()
        for c, instrument in enumerate(self.instruments):
            if instrument.kind is ContractKind.INVERSE:
                instruments.append(instrument)
                tables.append(self.tiers[c])
                continue
            base = instrument.symbol.partition("/")[0]
            quote = instrument.symbol.partition(":")[0].partition("/")[2]
            symbol = f"{base}/{quote}:{settle or base}"
            terms = {"symbol": symbol, "kind": ContractKind.INVERSE, "contract_size": 1.0, "settle": settle or base}
            instruments.append(instrument.model_copy(update={**terms, "lot": None, "min_quantity": None}))
            tables.append(_scaled(self.tiers[c], symbol, 1.0 / float(self.mark_open[c, 0])))
            volume[c] = volume[c] * self.close[c]
        return replace(
            self,
            symbols=tuple(i.symbol for i in instruments),
            volume=volume,
            instruments=tuple(instruments),
            tiers=tuple(tables),
        )


def _scaled(table: TierTable, symbol: str, factor: float) -> TierTable:
    """Return a table whose bounds and amounts are in another currency."""
    tiers = [
        MarginTier(
            notional_floor=t.notional_floor * factor,
            notional_cap=t.notional_cap * factor,
            maintenance_margin_rate=t.maintenance_margin_rate,
            max_leverage=t.max_leverage,
            maintenance_amount=None if t.maintenance_amount is None else t.maintenance_amount * factor,
        )
        for t in table.tiers
    ]
    return TierTable(symbol=symbol, tiers=tuple(tiers), form=table.form, unit=table.unit, source=table.source)


def _check_shapes(market: ClearingMarket) -> None:
    count, bars = len(market.symbols), len(market.open_time)
    if count == 0 or bars == 0:
        raise UsageError("The market has no contract or no bar.", "Give at least one of each.")
    if len(set(market.symbols)) < count:
        raise UsageError("The market names a contract twice.")
    for name in ("funding", "instruments", "tiers"):
        if len(getattr(market, name)) != count:
            raise UsageError(f"The market's {name} has {len(getattr(market, name))} entries, not {count}.")
    names = ("open", "high", "low", "close", "volume", "mark_open", "mark_high", "mark_low", "mark_close")
    for name in names:
        if getattr(market, name).shape != (count, bars):
            raise UsageError(f"The market's {name} has the shape {getattr(market, name).shape}, not {(count, bars)}.")
    step = np.diff(market.open_time)
    if bars > 1 and (step != market.bar_ms).any():
        at = int(np.argmax(step != market.bar_ms))
        raise DataError(
            market.symbols[0], "the clock does not step by one bar", int(market.open_time[at]), "Choose another span."
        )


def _check_prices(market: ClearingMarket) -> None:
    for kind in ("", "mark_"):
        o, h, low, c = (getattr(market, f"{kind}{name}") for name in ("open", "high", "low", "close"))
        with np.errstate(invalid="ignore"):
            good = (low > 0) & (low <= np.minimum(o, c)) & (h >= np.maximum(o, c)) & np.isfinite(h)
        if not good.all():
            row, bar = (int(k) for k in np.argwhere(~good)[0])
            series = "mark" if kind else "trade"
            raise DataError(
                f"{market.symbols[row]} {series}",
                "a price is missing, not positive, or outside of its bar's range",
                int(market.open_time[bar]),
                "Choose a span in which every contract has bars.",
            )


def market_from_panel(panel: Panel, instruments: Sequence[Instrument], tiers: Sequence[TierTable]) -> ClearingMarket:
    """Return a market of a panel's series.

    Parameters
    ----------
    panel : Panel
        Trade, mark and funding on one clock. A mark on coarser bars follows the traded price from each of its opens,
        kept within the mark bar's low and high; ``notes`` says so.
    instruments : sequence of Instrument
        Terms of each contract, in the panel's order.
    tiers : sequence of TierTable
        Margin brackets of each contract.

    Raises
    ------
    DataError
        The panel has holes.
    """
    mark = panel.mark
    notes = tuple(panel.notes)
    if panel.mark_timeframe_ms != panel.timeframe_ms:
        mark = fine_mark(panel.trade, panel.mark, panel.mark_timeframe_ms // panel.timeframe_ms)
    volume = np.full(panel.trade.close.shape, np.nan) if panel.volume is None else np.array(panel.volume)
    for c, instrument in enumerate(instruments):
        if instrument.kind is ContractKind.INVERSE:
            volume[c] *= panel.trade.close[c]
    funding = tuple(FundingSchedule(s.time, s.rate, s.mark_price) for s in panel.settlements)
    return ClearingMarket(
        symbols=panel.symbols,
        open_time=panel.open_time,
        bar_ms=panel.timeframe_ms,
        open=panel.trade.open,
        high=panel.trade.high,
        low=panel.trade.low,
        close=panel.trade.close,
        volume=volume,
        mark_open=mark.open,
        mark_high=mark.high,
        mark_low=mark.low,
        mark_close=mark.close,
        funding=funding,
        instruments=tuple(instruments),
        tiers=tuple(tiers),
        notes=notes,
    )


def fine_mark(trade: Bars, mark: Bars, coarseness: int) -> Bars:
    """Return the mark of fine bars: the traded price times mark over trade at the mark bar's open, within its range.

    Parameters
    ----------
    trade : Bars
        Traded prices of the fine bars, the first at a mark bar's open.
    mark : Bars
        Mark prices of the coarse bars that cover them.
    coarseness : int
        Fine bars in a coarse one.
    """
    from backtester.market.panel import Bars  # noqa: PLC0415 - heavy

    bars = trade.open.shape[1]
    coarse = np.arange(bars) // coarseness
    ratio = mark.open[:, coarse] / trade.open[:, coarse * coarseness]
    lowest, highest = mark.low[:, coarse], mark.high[:, coarse]
    parts = (trade.open, trade.high, trade.low, trade.close)
    return Bars(*(np.clip(part * ratio, lowest, highest) for part in parts))


def load_market(
    store: Store,
    venue: str,
    symbols: Sequence[str],
    timeframe: str,
    *,
    start: int | None = None,
    end: int | None = None,
    tiers: Sequence[TierTable] = (),
) -> ClearingMarket:
    """Load the market of some contracts from the store.

    Parameters
    ----------
    store : Store
        Where the series are.
    venue : str
        Name of the store's venue.
    symbols : sequence of str
        Contracts of one settlement currency.
    timeframe : str
        Bar of the replay, such as ``"1m"``.
    start, end : int, optional
        Range [ms since 1970, UTC], end excluded.
    tiers : sequence of TierTable
        Tables for contracts of which the store has none; by symbol, ``"*"`` for all others.

    Raises
    ------
    AccountError
        A contract has no margin table.
    """
    from backtester.market.panel import load_panel  # noqa: PLC0415 - heavy

    panel = load_panel(store, venue, symbols, timeframe, start=start, end=end)
    first = int(panel.open_time[0])
    given = {table.symbol: table for table in tiers}
    instruments = []
    tables = []
    for symbol in panel.symbols:
        stored = store.instrument(venue, symbol, first)
        instruments.append(stored if stored is not None else _named(symbol))
        dated = store.tier_tables(venue, symbol)
        table = given.get(symbol) or (table_in_force(dated, first) if dated else given.get("*"))
        if table is None:
            raise AccountError(
                f"{symbol}: there is no margin table of {venue}.", 'State one under [[tiers."*"]], or import it.'
            )
        tables.append(table)
    return market_from_panel(panel, instruments, tables)


def _named(symbol: str) -> Instrument:
    """Return a contract as its unified name tells."""
    pair, _, settle = symbol.partition(":")
    base, _, quote = pair.partition("/")
    inverse = settle == base and settle != quote
    return Instrument(
        symbol=symbol, kind=ContractKind.INVERSE if inverse else ContractKind.LINEAR, settle=settle or quote
    )


def flat_table(symbol: str, rate: float, *, max_leverage: float = 125.0) -> TierTable:
    """Return a table of one bracket, for tests and examples."""
    tier = MarginTier(maintenance_margin_rate=rate, max_leverage=max_leverage)
    return TierTable(symbol=symbol, tiers=(tier,), form=TierForm.FLAT)

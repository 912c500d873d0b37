"""From a panel, contracts and targets to what the kernel reads: the border at which its inputs are checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from backtester.domain import enums
from backtester.domain.config import RunConfig
from backtester.domain.enums import ContractKind, MarginMode, TierForm
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import TierTable
from backtester.errors import AccountError, ConfigError, DataError
from backtester.kernel import state
from backtester.market.funding_records import DEFAULT_INTERVAL_HOURS
from backtester.market.panel import Bars, Panel

Columns = list[NDArray[np.float64]]  # open, high, low, close
HOUR_MS = 3_600_000
DEBT_TOLERANCE = 1e-12  # of the initial balance: a margin that takes the whole wallet leaves a crumb of either sign


@dataclass(frozen=True)
class ContractTerms:
    """One contract with the settings that the account has on it.

    Attributes
    ----------
    instrument : Instrument
        The contract.
    tables : sequence of TierTable
        Its margin tiers, any order.
    margin_mode : MarginMode
        What backs its position.
    leverage : float
        Leverage setting.
    taker_fee : float
        Fraction of notional.
    slippage : float
        Fraction of the price.
    close_fee : float
        Fee to close in the liquidation test [fraction of notional].
    """

    instrument: Instrument
    tables: Sequence[TierTable]
    margin_mode: MarginMode
    leverage: float
    taker_fee: float
    slippage: float = 0.0
    close_fee: float = 0.0


@dataclass(frozen=True, eq=False)
class TargetRows:
    """Targets as decided: at the close of bar ``bar[k]``, exposure ``target[k]`` of symbol number ``symbol[k]``.

    Sorted by bar, then symbol; at most one row a bar and symbol; finite.
    """

    bar: NDArray[np.int64]
    symbol: NDArray[np.int64]
    target: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Prepared:
    """The kernel's inputs and an account that has not traded yet."""

    setup: state.Setup
    market: state.Market
    schedule: state.Schedule
    book: state.Book
    balance: float

    @property
    def bars(self) -> int:
        """Number of bars."""
        return int(self.market.open_time.size - 1)


def prepare(panel: Panel, terms: Sequence[ContractTerms], config: RunConfig, targets: TargetRows) -> Prepared:
    """Return what the kernel replays.

    Parameters
    ----------
    panel : Panel
        Series on one clock, checked by ``load_panel``.
    terms : sequence of ContractTerms
        In the order of the panel's symbols.
    config : RunConfig
        Resolved: account, execution, funding and liquidation are read.
    targets : TargetRows
        Decisions on the panel's bars.

    Raises
    ------
    ConfigError
        Settings that exclude each other.
    AccountError
        A tier table leaves no margin: ``mmr + close_fee >= 1``.
    DataError
        Settlements are valued at the index, and there is none.
    """
    if config.execution.fill == "close" and config.execution.latency_bars:
        raise ConfigError(
            "execution.latency_bars does not go with fill = 'close'.",
            "Set one of the two: a fill at the close has none.",
        )
    signs = np.array([1.0 if t.instrument.kind is ContractKind.LINEAR else -1.0 for t in terms])
    tables, tiers, floors, starts, switches = _tier_tables(panel, terms)
    settlements = _settlements(panel, terms, config, signs)
    market = _market(panel, signs)
    widest = int((tables["stop"] - tables["start"]).max())
    per_bar = _most_per_bar(settlements["bar"])
    rows = len(terms) * (8 + widest + config.execution.latency_bars) + per_bar + 16
    setup = state.Setup(_rules(config, rows), _instruments(panel, terms, signs), tables, tiers, floors)
    book = _book(terms, starts, config.account.balance)
    schedule = state.Schedule(_target_rows(targets, len(terms), config), settlements, switches)
    return Prepared(setup, market, schedule, book, config.account.balance)


def _code(value: str, codes: type[IntEnum]) -> int:
    return int(codes[value.upper()])


def _rules(config: RunConfig, rows: int) -> NDArray[np.void]:
    execution, liquidation = config.execution, config.liquidation
    rules = np.zeros(1, state.RULES)
    values = {
        "band": execution.band,
        "debt": -DEBT_TOLERANCE * config.account.balance,
        "liquidation_fee": liquidation.fee or 0.0,
        "fill_at_close": int(execution.fill == "close"),
        "intrabar": _code(execution.intrabar, enums.Intrabar),
        "joint": _code(execution.joint, enums.JointPath),
        "rebalance": _code(execution.rebalance, enums.Rebalance),
        "reject": int(execution.insufficient_margin == "reject"),
        "paid_from": _code(config.funding.paid_from or "margin", enums.FundingSource),
        "takeover": _code(liquidation.takeover or "bankruptcy", enums.Takeover),
        "step": _code(liquidation.step or "none", enums.LiquidationStep),
        "step_tiers": 1 if liquidation.step_tiers is None else liquidation.step_tiers,
        "step_from_tier": (liquidation.step_from_tier or 2) - 1,
        "step_above_first": int(bool(liquidation.step_above_first)),
        "step_once": int(bool(liquidation.step_once)),
        "engine_trade": int(liquidation.engine_price == "trade"),
        "mmr_basis": _code(liquidation.mmr_basis or "mark", enums.MarginBasis),
        "close_fee_basis": _code(liquidation.close_fee_basis or "mark", enums.CloseFeeBasis),
        "stop_after": int(liquidation.then == "stop"),
        "rows_per_bar": rows,
    }
    for key, value in values.items():
        rules[0][key] = value
    return rules


def _step_fraction(instrument: Instrument) -> tuple[float, float]:
    """Return the quantity step as a fraction of whole numbers, which count lots exactly; (0, 1) where there is none."""
    if instrument.lot is None or instrument.lot == 0:
        return 0.0, 1.0
    step = Decimal(repr(instrument.lot)) * Decimal(repr(instrument.contract_size))
    numerator, denominator = step.as_integer_ratio()
    return float(numerator), float(denominator)


def _instruments(panel: Panel, terms: Sequence[ContractTerms], signs: NDArray[np.float64]) -> NDArray[np.void]:
    rows = np.zeros(len(terms), state.INSTRUMENT)
    for i, term in enumerate(terms):
        numerator, denominator = _step_fraction(term.instrument)
        values = {
            "sign": signs[i],
            "contract_size": term.instrument.contract_size,
            "step_num": numerator,
            "step_den": denominator,
            "min_quantity": term.instrument.min_quantity or 0.0,
            "min_notional": term.instrument.min_notional or 0.0,
            "leverage": term.leverage,
            "taker_fee": term.taker_fee,
            "slippage": term.slippage,
            "close_fee": term.close_fee,
            "margin_mode": int(term.margin_mode),
            "has_volume": int(panel.volume is not None and not bool(np.isnan(panel.volume[i]).all())),
        }
        for key, value in values.items():
            rows[i][key] = value
    return rows


def _tier_tables(
    panel: Panel, terms: Sequence[ContractTerms]
) -> tuple[NDArray[np.void], NDArray[np.void], NDArray[np.float64], list[int], NDArray[np.void]]:
    """Return all tables in one row of brackets, each symbol's first table, and when another comes into force."""
    tables: list[tuple[int, int, int]] = []
    tiers: list[tuple[float, float, float, float, float]] = []
    floors: list[float] = []
    first: list[int] = []
    switches: list[tuple[int, int, int]] = []
    for i, term in enumerate(terms):
        if not term.tables:
            raise DataError(f"{panel.venue} {term.instrument.symbol} tiers", "there is no margin tier table")
        by_date = sorted(term.tables, key=lambda t: -1 if t.valid_from is None else t.valid_from)
        first.append(len(tables))
        for n, table in enumerate(by_date):
            _check_rates(table, term.close_fee)
            start = len(tiers)
            for tier, deduction in zip(table.tiers, table.deductions(), strict=True):
                slope = tier.slope if table.form is TierForm.RAMP else 0.0
                row = (tier.maintenance_margin_rate, slope, deduction, tier.max_leverage, tier.notional_cap)
                tiers.append(row)
                floors.append(tier.notional_floor)
            if n:
                since = -1 if table.valid_from is None else table.valid_from
                bar = int(np.searchsorted(panel.open_time, since, side="left"))
                switches.append((bar, i, len(tables)))
            tables.append((start, len(tiers), int(table.unit)))
    switches = [s for s in switches if s[0] < panel.open_time.size]
    return (
        np.array(tables, state.TABLE),
        np.array(tiers, state.TIER),
        np.array(floors, np.float64),
        first,
        np.array(sorted(switches), state.SWITCH),
    )


def _check_rates(table: TierTable, close_fee: float) -> None:
    for tier in table.tiers:
        if tier.maintenance_margin_rate + close_fee >= 1:
            raise AccountError(
                f"{table.symbol}: maintenance rate {tier.maintenance_margin_rate:g} and closing fee {close_fee:g} "
                "leave no margin: their sum must be below 1."
            )


def _values(prices: NDArray[np.float64], signs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return prices in value space; linear ones are passed on, not copied."""
    if (signs > 0).all():
        return _plain(prices)
    out = np.array(prices, np.float64, order="C")
    for i in np.flatnonzero(signs < 0):
        out[i] = -1.0 / out[i]
    return out


def _plain(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an array of the one type that the kernel is compiled for: float64, C order, writeable."""
    return np.require(values, np.float64, ["C", "W", "A"])


def _market(panel: Panel, signs: NDArray[np.float64]) -> state.Market:
    """Return the panel's series in value space; marks coarser than the trades are refined."""
    symbols = len(signs)
    trade = _in_value_space(_columns(panel.trade), signs)
    mark = _in_value_space(_columns(panel.mark), signs)
    path = mark
    coarse = [np.empty((symbols, 0)) for _ in range(4)]
    coarse_bar = coarse_ends = np.empty(0, np.int64)
    coarse_up = np.empty((symbols, 0), np.int64)
    if panel.mark_timeframe_ms != panel.timeframe_ms:
        coarse = mark
        coarse_bar, coarse_ends, coarse_up = _coarse_places(panel)
        fine, clamped = _refined(panel, coarse_bar)
        mark = _in_value_space(fine, signs)
        path = _in_value_space(clamped, signs)
    return state.Market(
        open_time=np.append(panel.open_time, panel.end).astype(np.int64),
        trade_open=trade[0],
        trade_high=trade[1],
        trade_low=trade[2],
        trade_close=trade[3],
        volume=np.empty((symbols, 0)) if panel.volume is None else _plain(panel.volume),
        mark_open=mark[0],
        mark_close=mark[3],
        path_open=path[0],
        path_high=path[1],
        path_low=path[2],
        path_close=path[3],
        coarse_bar=coarse_bar,
        coarse_ends=coarse_ends,
        coarse_open=coarse[0],
        coarse_high=coarse[1],
        coarse_low=coarse[2],
        coarse_close=coarse[3],
        coarse_up=coarse_up,
    )


def _coarse_places(panel: Panel) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return in which mark bar each bar lies, which bars complete one, and which way the trades of each went."""
    ends = np.append(panel.open_time[1:], panel.end)
    place = np.searchsorted(panel.mark_open_time, panel.open_time, side="right") - 1
    completes = ends == panel.mark_open_time[place] + panel.mark_timeframe_ms
    first, last = _first_and_last(panel)
    up = panel.trade.close[:, last] >= panel.trade.open[:, first]
    return place.astype(np.int64), completes.astype(np.int64), np.ascontiguousarray(up, np.int64)


def _first_and_last(panel: Panel) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and the last bar of each mark bar."""
    bars = panel.open_time.size
    first = np.searchsorted(panel.open_time, panel.mark_open_time, side="left")
    last = np.maximum(np.append(first[1:], bars) - 1, 0)
    return np.minimum(first, bars - 1), last


def _refined(panel: Panel, place: NDArray[np.int64]) -> tuple[Columns, Columns]:
    """Return marks on the trades' clock (trades times mark over trade at the mark bar's open), free and clamped."""
    first, _ = _first_and_last(panel)
    ratio = (panel.mark.open / panel.trade.open[:, first])[:, place]
    low, high = panel.mark.low[:, place], panel.mark.high[:, place]
    fine = [series * ratio for series in _columns(panel.trade)]
    return fine, [np.clip(series, low, high) for series in fine]


def _columns(bars: Bars) -> Columns:
    return [bars.open, bars.high, bars.low, bars.close]


def _in_value_space(columns: Columns, signs: NDArray[np.float64]) -> Columns:
    return [_values(series, signs) for series in columns]


def _settlements(
    panel: Panel, terms: Sequence[ContractTerms], config: RunConfig, signs: NDArray[np.float64]
) -> NDArray[np.void]:
    """Return the settlements of all symbols in the order in which they are paid."""
    at_index = config.funding.price == "index"
    if at_index and panel.index is None and config.funding.source != "none":
        raise DataError(
            f"{panel.venue} {panel.symbols[0]} index",
            "funding is valued at the index, and there is no index series",
            hint="Import one, or set funding.price = 'mark'.",
        )
    parts = []
    for i, term in enumerate(terms):
        time, rate, price = _records(panel, i, term.instrument, config)
        inside_run = (time >= panel.open_time[0]) & (time < panel.end)
        time, rate, price = time[inside_run], rate[inside_run], price[inside_run]
        rows = np.zeros(time.size, state.SETTLEMENT)
        bar = np.searchsorted(panel.open_time, time, side="right") - 1
        inside = time != panel.open_time[bar]
        if at_index and panel.index is not None:
            price = np.where(inside, panel.index.close[i][bar], panel.index.open[i][bar])
        rows["bar"], rows["inside"], rows["time"], rows["symbol"], rows["rate"] = bar, inside, time, i, rate
        rows["value"] = price if signs[i] > 0 else -1.0 / price
        parts.append(rows)
    rows = np.concatenate(parts)
    return rows[np.lexsort((rows["symbol"], rows["time"], rows["inside"], rows["bar"]))]


def _records(
    panel: Panel, i: int, instrument: Instrument, config: RunConfig
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return times, rates and prices of a symbol's settlements by the configured source."""
    if config.funding.source == "none":
        return np.empty(0, np.int64), np.empty(0), np.empty(0)
    if config.funding.source == "constant":
        step = round((instrument.funding_interval_hours or DEFAULT_INTERVAL_HOURS) * HOUR_MS)
        time = np.arange(-(-panel.start // step) * step, panel.end, step, dtype=np.int64)
        return time, np.full(time.size, config.funding.rate), np.full(time.size, np.nan)
    records = panel.settlements[i]
    return records.time, records.rate, records.mark_price


def _most_per_bar(bars: NDArray[np.int64]) -> int:
    return int(np.bincount(bars).max()) if bars.size else 0


def _target_rows(targets: TargetRows, symbols: int, config: RunConfig) -> NDArray[np.void]:
    """Return targets with the bar at which each is due; under ``on_change`` only those that differ from the last."""
    keep = np.ones(targets.bar.size, bool)
    if config.execution.rebalance == "on_change":
        for i in range(symbols):
            places = np.flatnonzero(targets.symbol == i)
            keep[places[1:]] = targets.target[places[1:]] != targets.target[places[:-1]]
    rows = np.zeros(int(keep.sum()), state.TARGET)
    rows["decision_bar"], rows["symbol"], rows["target"] = (
        targets.bar[keep],
        targets.symbol[keep],
        targets.target[keep],
    )
    delay = 0 if config.execution.fill == "close" else 1 + config.execution.latency_bars
    rows["due_bar"] = rows["decision_bar"] + delay
    rows["acts"] = int(config.execution.rebalance != "band")
    return rows


def _book(terms: Sequence[ContractTerms], tables: list[int], balance: float) -> state.Book:
    account = np.zeros(1, state.ACCOUNT)
    account[0]["free_wallet"] = balance
    account[0]["stopped_bar"] = -1
    account[0]["coarse_bar"] = -1
    positions = np.zeros(len(terms), state.POSITION)
    positions["table"] = tables
    positions["tier_bound"] = state.NO_TIER_BOUND
    positions["order"] = -1
    positions["in_force"] = np.nan
    cross, isolated = np.zeros(len(terms), np.int64), np.zeros(len(terms), np.int64)
    return state.Book(account, positions, cross, isolated, np.zeros(1, np.int64))

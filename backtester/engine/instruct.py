"""From columns of decisions to what a replay is told: targets, ladders of limit orders, settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.domain.enums import SettingField
from backtester.engine.decision_columns import SETTINGS, DecisionColumn, decision_columns
from backtester.engine.instructions import Floats, Instructions, Ints, Ladder, SettingRows, TargetRows, no_targets
from backtester.engine.signal_clock import SignalClock
from backtester.errors import DataError
from backtester.strategy.columns import MOST_RUNGS, TARGETS

_SIDES = {"target": 0, "target_long": 1, "target_short": -1}
_SHARE_ROOM = 1e-9  # shares that add up to 1 in decimals may exceed it in floats


@dataclass(frozen=True, eq=False)
class _Rows:
    """A frame of decisions by symbol, then time, as arrays."""

    frame: pl.DataFrame
    opened: Ints
    symbol: Ints

    def column(self, name: str) -> Floats:
        """Return a column as floats, NaN for null."""
        return self.frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy()


def instructions_of(decided: pl.DataFrame, clock: SignalClock, *, only_changes: bool = False) -> Instructions:
    """Return what decisions tell a replay.

    Parameters
    ----------
    decided : polars.DataFrame
        ``open_time`` of signal bars, ``symbol``, and columns of decisions (see ``decision_columns``): float64 or
        boolean, null where nothing is decided; checked before. Sorted by symbol in the order of the clock, then time.
    clock : SignalClock
        The bars of the run.
    only_changes : bool
        Targets equal to the last one of their symbol and leg are left out: under ``on_change`` they do nothing.

    Returns
    -------
    Instructions
        With targets, ladder, settings and ``signal_ms``; settings stand only where a value differs from the last one.

    Raises
    ------
    DataError
        A decision stands on a signal bar of which nothing is replayed, or the shares of a ladder exceed 1.
    """
    columns = decision_columns(decided.columns)
    rows = _Rows(decided, decided["open_time"].dt.epoch("ms").to_numpy(), _places(decided["symbol"], clock.symbols))
    targets, ladder = _targets(rows, columns, clock, only_changes=only_changes)
    signal_ms = clock.signal_ms if clock.signal_ms != clock.step_ms else None
    return Instructions(targets=targets, ladder=ladder, settings=_settings(rows, columns, clock), signal_ms=signal_ms)


def _places(symbols: pl.Series, order: Sequence[str]) -> Ints:
    """Return the place of each row's symbol."""
    runs = symbols.rle().struct.unnest()
    places = runs["value"].replace_strict({name: i for i, name in enumerate(order)}, return_dtype=pl.Int64)
    return np.repeat(places.to_numpy().astype(np.int64), runs["len"].to_numpy())


def _targets(
    rows: _Rows, columns: Sequence[DecisionColumn], clock: SignalClock, *, only_changes: bool
) -> tuple[TargetRows, Ladder]:
    """Return the targets in the order in which a replay reads them, and the limit orders that they come with."""
    found: list[tuple[Ints, Floats, Ints, NDArray[np.bool_]]] = []
    for column in columns:
        if column.base not in TARGETS:
            continue
        values, leaves = _within_universe(rows, rows.column(column.name))
        kept = _changed(values, rows.symbol) if only_changes else np.flatnonzero(~np.isnan(values))
        found.append((kept, values[kept], np.full(kept.size, _SIDES[column.name]), leaves[kept]))
    if not found:
        return no_targets(), Ladder()
    place, target, side, leaves = (np.concatenate([parts[k] for parts in found]) for k in range(4))
    bar = clock.last_bars(rows.opened[place], rows.symbol[place])
    symbol = rows.symbol[place]
    key = (bar * len(clock.symbols) + symbol) * 3 + side
    order = np.argsort(key, kind="stable")  # sorted runs, one a symbol, are merged
    first, count, ladder = _ladder(rows, columns, place[order], leaves[order])
    return TargetRows(bar[order], symbol[order], target[order], side[order].astype(np.int64), first, count), ladder


def _within_universe(rows: _Rows, values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return targets with null outside the universe and 0 where a symbol leaves it, and where that is."""
    if "universe" not in rows.frame.columns:
        return values, np.zeros(values.size, np.bool_)
    member = rows.frame["universe"].cast(pl.Boolean).fill_null(value=False).to_numpy()
    leaves = np.zeros(values.size, np.bool_)
    leaves[1:] = member[:-1] & ~member[1:] & (rows.symbol[1:] == rows.symbol[:-1])
    return np.where(leaves, 0.0, np.where(member, values, np.nan)), leaves


def _changed(values: Floats, symbol: Ints) -> Ints:
    """Return the rows whose value is known and differs from the last known one of the same symbol."""
    known = np.flatnonzero(~np.isnan(values))
    value, owner = values[known], symbol[known]
    changes = np.ones(known.size, np.bool_)
    changes[1:] = (value[1:] != value[:-1]) | (owner[1:] != owner[:-1])
    return known[changes]


def _ladder(
    rows: _Rows, columns: Sequence[DecisionColumn], place: Ints, leaves: NDArray[np.bool_]
) -> tuple[Ints, Ints, Ladder]:
    """Return where each target's limit orders begin in the ladder, how many they are, and the ladder."""
    names = {column.rung: column.name for column in columns if column.base == "limit_price"}
    if not names:
        return np.empty(0, np.int64), np.empty(0, np.int64), Ladder()
    shares = {column.rung: column.name for column in columns if column.base == "limit_share"}
    price = np.column_stack([rows.column(names[k])[place] for k in sorted(names)])
    price[leaves[:, None] | (price == 0.0)] = np.nan  # what leaves is closed at the market; 0 is no limit
    share = np.column_stack([
        rows.column(shares[k])[place] if k in shares else np.ones(place.size) for k in sorted(names)
    ])  # fmt: skip
    rung = ~np.isnan(price)
    _check_shares(rows, place, np.where(rung, share, 0.0), rung & np.isnan(share))
    count = rung.sum(axis=1).astype(np.int64)
    first = np.concatenate(([0], np.cumsum(count)[:-1])).astype(np.int64) if count.size else count
    return first, count, Ladder(price[rung], share[rung])


def _check_shares(rows: _Rows, place: Ints, share: Floats, missing: NDArray[np.bool_]) -> None:
    """Refuse limit orders that do not say their share, and shares that exceed the whole."""
    bad = np.flatnonzero(missing.any(axis=1) | (np.nansum(share, axis=1) > 1 + _SHARE_ROOM))
    if not bad.size:
        return
    row, k = int(place[bad[0]]), int(bad[0])
    what = "a limit_price has no limit_share" if missing[k].any() else f"shares add up to {np.nansum(share[k]):g}"
    raise DataError(
        f"decisions of {rows.frame['symbol'][row]}",
        f"of the limit orders {what}",
        int(rows.opened[row]),
        f"Up to {MOST_RUNGS} shares, each above 0, together at most 1.",
    )


def _settings(rows: _Rows, columns: Sequence[DecisionColumn], clock: SignalClock) -> SettingRows:
    """Return every change of a setting, by bar."""
    parts: list[tuple[Ints, Floats, SettingField, int]] = []
    for column in columns:
        if column.base in SETTINGS:
            values = rows.column(column.name)
            kept = _changed(values, rows.symbol)
            parts.append((kept, values[kept], SETTINGS[column.base], column.rung))
    if not parts:
        return SettingRows()
    place = np.concatenate([part[0] for part in parts])
    value = np.concatenate([part[1] for part in parts])
    setting = np.concatenate([np.full(kept.size, int(field)) for kept, _, field, _ in parts])
    rung = np.concatenate([np.full(kept.size, number) for kept, _, _, number in parts])
    symbol = rows.symbol[place]
    bar = clock.last_bars(rows.opened[place], symbol)
    order = np.lexsort((rung, setting, symbol, bar))
    side = np.zeros(place.size, np.int64)
    return SettingRows(
        bar[order],
        symbol[order],
        side,
        setting[order].astype(np.int64),
        rung[order].astype(np.int64),
        value[order],
    )

"""What a replay is told: targets, settings, transfers, own fills, or a loop, and what the venue does; as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def _ints() -> Ints:
    return np.empty(0, np.int64)


def _floats() -> Floats:
    return np.empty(0)


@dataclass(frozen=True, eq=False)
class TargetRows:
    """Targets as decided: at the close of bar ``bar[k]``, ``target[k]`` of symbol number ``symbol[k]``.

    Attributes
    ----------
    bar : array of int64
        Replayed bar at whose close the row was decided: with a detail series the last one of the signal bar.
    symbol : array of int64
        Place of the symbol in the run.
    target : array of float64
        In the unit of ``sizing``; finite.
    side : array of int64
        Leg that it means in hedge mode, +1 or -1; 0: the net position. Empty: all 0.
    first_rung, rungs : array of int64
        ``ladder[first_rung : first_rung + rungs]`` are its limit orders; empty, or 0 rungs: a market order.

    Notes
    -----
    Sorted by bar, then symbol, then side; at most one row a bar, symbol and side.
    """

    bar: Ints
    symbol: Ints
    target: Floats
    side: Ints = field(default_factory=_ints)
    first_rung: Ints = field(default_factory=_ints)
    rungs: Ints = field(default_factory=_ints)


@dataclass(frozen=True, eq=False)
class Ladder:
    """Limit prices of targets and the share of the order that each takes (0 to 1)."""

    price: Floats = field(default_factory=_floats)
    share: Floats = field(default_factory=_floats)


@dataclass(frozen=True, eq=False)
class SettingRows:
    """Changes of stops, targets, leverage and times, decided at the close of ``bar``; sorted by bar.

    ``setting`` is a ``SettingField``; ``rung`` counts the take-profits from 0; ``side`` as in ``TargetRows``: 0 is
    every leg of the symbol. ``value`` is finite, 0 switches off; bars and booleans are numbers too.
    """

    bar: Ints = field(default_factory=_ints)
    symbol: Ints = field(default_factory=_ints)
    side: Ints = field(default_factory=_ints)
    setting: Ints = field(default_factory=_ints)
    rung: Ints = field(default_factory=_ints)
    value: Floats = field(default_factory=_floats)


@dataclass(frozen=True, eq=False)
class Transfers:
    """Deposits (positive) and withdrawals by time [ms since 1970; settlement currency], sorted."""

    time: Ints = field(default_factory=_ints)
    amount: Floats = field(default_factory=_floats)


@dataclass(frozen=True, eq=False)
class OwnFills:
    """Executed trades by time: signed quantity [base units], price, fee (NaN: by the rates), maker or taker.

    ``side`` is the leg in hedge mode (+1, -1), else 0.
    """

    time: Ints = field(default_factory=_ints)
    symbol: Ints = field(default_factory=_ints)
    side: Ints = field(default_factory=_ints)
    quantity: Floats = field(default_factory=_floats)
    price: Floats = field(default_factory=_floats)
    fee: Floats = field(default_factory=_floats)
    is_maker: Ints = field(default_factory=_ints)


@dataclass(frozen=True, eq=False)
class VenueEvents:
    """What the venue does to the account, sorted by time; events of one time happen in the order in which they stand.

    Attributes
    ----------
    kind : array of int64
        ``VenueEventKind``.
    time : array of int64
        ms since 1970.
    symbol, side : array of int64
        Contract of a deleveraging, and the side that the position must have (+1, -1; 0: either).
    fraction, quantity : array of float64
        Part of the position, or units; the other one is NaN.
    price, mark : array of float64
        Price, NaN: the mark; and the mark at which profit is realised, NaN: that of the bar.
    rate, amount : array of float64
        Of a clawback: part of the period's net profit, or an amount [settlement currency]; the other one is NaN.
    since : array of int64
        When the clawback's period began; negative: with the clawback before, or with the run.
    """

    kind: Ints = field(default_factory=_ints)
    time: Ints = field(default_factory=_ints)
    symbol: Ints = field(default_factory=_ints)
    side: Ints = field(default_factory=_ints)
    fraction: Floats = field(default_factory=_floats)
    quantity: Floats = field(default_factory=_floats)
    price: Floats = field(default_factory=_floats)
    mark: Floats = field(default_factory=_floats)
    rate: Floats = field(default_factory=_floats)
    amount: Floats = field(default_factory=_floats)
    since: Ints = field(default_factory=_ints)


def no_targets() -> TargetRows:
    """Return no rows."""
    return TargetRows(_ints(), _ints(), _floats())


@dataclass(frozen=True, eq=False)
class Instructions:
    """All that a replay is told.

    Attributes
    ----------
    targets, ladder, settings, transfers, own_fills, venue_events
        As their classes say.
    requests : structured array
        Rows of ``kernel.state.REQUEST``, as an ``on_bar`` function would make them, sorted by ``due_bar``.
    calls : array of int64
        Bars at whose close an ``on_bar`` function is called: the last one of each signal bar.
    signal_ms : int or None
        Length of a signal bar; None: that of the panel.
    """

    targets: TargetRows = field(default_factory=no_targets)
    ladder: Ladder = field(default_factory=Ladder)
    settings: SettingRows = field(default_factory=SettingRows)
    transfers: Transfers = field(default_factory=Transfers)
    own_fills: OwnFills = field(default_factory=OwnFills)
    venue_events: VenueEvents = field(default_factory=VenueEvents)
    requests: NDArray[np.void] | None = None
    calls: Ints = field(default_factory=_ints)
    signal_ms: int | None = None

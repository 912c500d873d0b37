"""Deleveragings and clawbacks of a run, from rows or files to what the replay takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from backtester.domain.config import ClawbackConfig, DeleverageConfig, RunConfig, Section
from backtester.domain.enums import ContractKind, VenueEventKind
from backtester.domain.instrument import Instrument
from backtester.engine.account_file import refuse_all_unknown, unified_names
from backtester.engine.instructions import VenueEvents
from backtester.engine.result import Notice, listed
from backtester.engine.run_file import parse_time
from backtester.engine.venue_event_file import read_clawbacks, read_deleverages
from backtester.errors import ConfigError, UsageError, format_time
from backtester.market.panel import Panel

DELEVERAGE, CLAWBACK = "venue_events.deleverage", "venue_events.clawback"
_SIDES = {"long": 1, "short": -1, None: 0}


def with_rows(config: RunConfig) -> RunConfig:
    """Return a configuration whose files of events are read: their rows stand in it, so that it needs them no more.

    Raises
    ------
    UsageError, DataError
        Rows and a file are both given; the file is refused: its row and column are named.
    """
    events = config.venue_events
    if events.deleverage_file is None and events.clawback_file is None:
        return config
    deleverage, clawback = events.deleverage, events.clawback
    if events.deleverage_file is not None:
        _refuse_both(deleverage, DELEVERAGE)
        deleverage = read_deleverages(Path(events.deleverage_file))
    if events.clawback_file is not None:
        _refuse_both(clawback, CLAWBACK)
        clawback = read_clawbacks(Path(events.clawback_file))
    rows = events.model_copy(
        update={"deleverage": deleverage, "clawback": clawback, "deleverage_file": None, "clawback_file": None}
    )
    return config.model_copy(update={"venue_events": rows})


def _refuse_both(rows: Sequence[Section], key: str) -> None:
    if rows:
        raise UsageError(f"{key} and {key}_file are both given.", "Give the rows or the file.")


def refuse_clearing(config: RunConfig) -> None:
    """Refuse a cleared market where runs are replayed without one: in searches."""
    if config.clearing is not None:
        raise UsageError(
            "The section clearing belongs to a single run: its market is cleared with that account alone.",
            "Leave it out here; `backtester run` takes it.",
        )


def venue_events_of(
    config: RunConfig, panel: Panel, instruments: Mapping[str, Instrument]
) -> tuple[VenueEvents, tuple[Notice, ...]]:
    """Return what the venue does to the account in a run, by time, and what must be told of the rest.

    Events outside the run and of contracts that it does not trade are left out.

    Parameters
    ----------
    config : RunConfig
        With ``venue_events``.
    panel : Panel
        The replayed bars.
    instruments : mapping of str to Instrument
        Contracts of the run.

    Raises
    ------
    ConfigError
        A time cannot be read; a contract is spot; a leg is not named in hedge mode; a clawback has neither rate nor
        amount.
    UnknownNameError
        No contract of the rows is traded.
    """
    events = with_rows(config).venue_events
    if not events.deleverage and not events.clawback:
        return VenueEvents(), ()
    known, told = _traded(events.deleverage, panel)
    _check_contracts(events.deleverage, known, instruments, hedged=config.account.position_mode == "hedge")
    rows = [
        _Event(
            VenueEventKind.DELEVERAGE,
            parse_time(row.time, f"{DELEVERAGE}[{n}].time"),
            symbol=panel.symbols.index(symbol),
            side=_SIDES[row.side],
            fraction=_fraction(n, row),
            quantity=_or_nan(row.quantity),
            price=_or_nan(row.price),
            mark=_or_nan(row.mark),
        )
        for n, row in enumerate(events.deleverage)
        if (symbol := known[row.symbol]) is not None
    ]
    rows += [_clawback(n, row) for n, row in enumerate(events.clawback)]
    rows.sort(key=lambda row: row.time)
    inside = [row for row in rows if panel.start <= row.time < panel.end]
    return _arrays(inside), (*told, *_outside([row.time for row in rows], panel))


class _Event(NamedTuple):
    """An event as `VenueEvents` holds it."""

    kind: int
    time: int
    symbol: int = 0
    side: int = 0
    fraction: float = math.nan
    quantity: float = math.nan
    price: float = math.nan
    mark: float = math.nan
    rate: float = math.nan
    amount: float = math.nan
    since: int = -1


def _arrays(rows: Sequence[_Event]) -> VenueEvents:
    """Return rows as arrays."""
    return VenueEvents(
        kind=np.array([row.kind for row in rows], np.int64),
        time=np.array([row.time for row in rows], np.int64),
        symbol=np.array([row.symbol for row in rows], np.int64),
        side=np.array([row.side for row in rows], np.int64),
        fraction=np.array([row.fraction for row in rows], np.float64),
        quantity=np.array([row.quantity for row in rows], np.float64),
        price=np.array([row.price for row in rows], np.float64),
        mark=np.array([row.mark for row in rows], np.float64),
        rate=np.array([row.rate for row in rows], np.float64),
        amount=np.array([row.amount for row in rows], np.float64),
        since=np.array([row.since for row in rows], np.int64),
    )


def _fraction(n: int, row: DeleverageConfig) -> float:
    """Return the part of a position that a row closes, NaN where it says how many units."""
    if row.quantity is None:
        return 1.0 if row.fraction is None else row.fraction
    if row.fraction is not None:
        raise ConfigError(
            f"{DELEVERAGE}[{n}] has a fraction and a quantity.", "Give the part of the position, or the units."
        )
    return math.nan


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _clawback(n: int, row: ClawbackConfig) -> _Event:
    """Return a clawback as a row of numbers."""
    if (row.rate is None) == (row.amount is None):
        raise ConfigError(
            f"{CLAWBACK}[{n}] needs a rate or an amount, and not both.",
            "rate = 0.03 takes 3 % of the period's net profit.",
        )
    time = parse_time(row.time, f"{CLAWBACK}[{n}].time")
    since = -1 if row.since is None else max(parse_time(row.since, f"{CLAWBACK}[{n}].since"), 0)
    if since > time:
        raise ConfigError(f"{CLAWBACK}[{n}].since lies after its time.", "A period begins before its clawback.")
    return _Event(VenueEventKind.CLAWBACK, time, rate=_or_nan(row.rate), amount=_or_nan(row.amount), since=since)


def _traded(rows: Iterable[DeleverageConfig], panel: Panel) -> tuple[dict[str, str | None], tuple[Notice, ...]]:
    """Return the contract that each spelling means, None where the run does not trade it, and how many those are."""
    spelled = [row.symbol for row in rows]
    known = unified_names(dict.fromkeys(spelled), panel.traded_symbols, "deleveragings")
    refuse_all_unknown(known, panel.traded_symbols, "deleveragings")
    others = [text for text in spelled if known[text] is None]
    if not others:
        return known, ()
    text = (
        f"Left out: {events(len(others))} in {listed(list(dict.fromkeys(others)))}, not among the contracts of the run."
    )
    return known, (Notice("deleverages_unknown", "warning", text),)


def _check_contracts(
    rows: Sequence[DeleverageConfig],
    known: Mapping[str, str | None],
    instruments: Mapping[str, Instrument],
    *,
    hedged: bool,
) -> None:
    """Refuse what has no meaning: deleveraging of spot, and of no leg in particular in hedge mode."""
    for n, row in enumerate(rows):
        symbol = known[row.symbol]
        if symbol is None:
            continue
        if instruments[symbol].kind is ContractKind.SPOT:
            raise ConfigError(
                f"Row {n + 1} of the deleveragings names {symbol}, which is spot.", "Contracts alone are deleveraged."
            )
        if hedged and row.side is None:
            raise ConfigError(
                f"Row {n + 1} of the deleveragings names no side, and a contract has two legs in hedge mode.",
                "Write long or short in every row (column side).",
            )


def _outside(times: Sequence[int], panel: Panel) -> tuple[Notice, ...]:
    """Tell how many events lie outside the run."""
    outside = [time for time in times if not panel.start <= time < panel.end]
    if not outside:
        return ()
    text = (
        f"{events(len(outside))} of {len(times)} lie outside the run ({format_time(panel.start)} to "
        f"{format_time(panel.end)}) and do not happen, the first at {format_time(min(outside))}."
    )
    return (Notice("venue_events_outside", "warning", text),)


def events(count: int) -> str:
    """Return ``1 event of the venue`` or ``2 events of the venue``."""
    return f"{count:,} event{'' if count == 1 else 's'} of the venue"

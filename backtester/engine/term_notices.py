"""What a run must tell of contract terms by date: used before their date, changed inside, outside of the listing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from backtester.domain.enums import ContractKind, label
from backtester.domain.instrument import Instrument
from backtester.engine.result import Notice, listed
from backtester.errors import format_time

_FIGURES = {
    "kind": "kind",
    "contract_size": "contract size",
    "tick": "price tick",
    "lot": "lot size",
    "min_quantity": "smallest quantity",
    "min_notional": "smallest notional",
    "settle": "settlement currency",
    "taker_fee": "taker fee",
    "maker_fee": "maker fee",
    "funding_interval_hours": "hours between settlements",
    "funding_cap": "cap of the funding rate",
    "funding_floor": "floor of the funding rate",
}


def terms_notices(dated: Mapping[str, Sequence[Instrument]], start: int | None, end: int | None) -> list[Notice]:
    """Return what a run over ``[start, end)`` must tell of its contracts' terms.

    Parameters
    ----------
    dated : mapping of str to sequence of Instrument
        Terms of each contract, oldest first; empty where none are known.
    start, end : int or None
        Span of the run [ms since 1970, UTC]; without a start there is nothing to compare with.
    """
    if start is None:
        return []
    known = {symbol: terms for symbol, terms in dated.items() if terms}
    return [*_before_date(known, start), *_changes(known, start, end), *_outside_listing(known, start, end)]


def _before_date(known: Mapping[str, Sequence[Instrument]], start: int) -> Iterator[Notice]:
    early: dict[int, list[str]] = {}
    for symbol, terms in known.items():
        first = terms[0].valid_from
        if first is not None and first > start:
            early.setdefault(first, []).append(symbol)
    for first, symbols in early.items():
        text = f"{listed(symbols)}: the contract terms of {format_time(first)} are used before their date too."
        yield Notice("terms_before_date", "assumption", text)


def _changes(known: Mapping[str, Sequence[Instrument]], start: int, end: int | None) -> Iterator[Notice]:
    """Yield a notice for each contract whose terms change inside; a figure that becomes known is no change."""
    for symbol, terms in known.items():
        changes = []
        for before, after in itertools.pairwise(terms):
            moment = after.valid_from
            if moment is None or moment <= start or (end is not None and moment >= end):
                continue
            changes += [f"{what} on {format_time(moment)}" for what in _changed(before, after)]
        if changes:
            text = f"{symbol}: contract terms change inside the run, which keeps those of its start: "
            yield Notice("terms_change_inside", "assumption", f"{text}{'; '.join(changes)}.")


def _changed(before: Instrument, after: Instrument) -> Iterator[str]:
    for field, name in _FIGURES.items():
        old, new = getattr(before, field), getattr(after, field)
        if old is not None and new is not None and old != new:
            yield f"{name} from {_shown(old)} to {_shown(new)}"


def _shown(value: object) -> str:
    if isinstance(value, ContractKind):
        return label(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _outside_listing(known: Mapping[str, Sequence[Instrument]], start: int, end: int | None) -> Iterator[Notice]:
    newest = {symbol: terms[-1] for symbol, terms in known.items()}
    late = [f"{s} ({format_time(t.listed)})" for s, t in newest.items() if t.listed is not None and t.listed > start]
    gone = [
        f"{s} ({format_time(t.delisted)})"
        for s, t in newest.items()
        if t.delisted is not None and (end is None or t.delisted < end)
    ]
    if late:
        yield Notice("before_listing", "assumption", f"Listed after the start of the run: {listed(late)}.")
    if gone:
        text = (
            f"Delisted before the end of the run: {listed(gone)}. What is held then is settled at the last mark "
            "close, without a fee; later bars are not used."
        )
        yield Notice("after_delisting", "assumption", text)

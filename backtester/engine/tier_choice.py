"""Which margin tier tables judge a contract in a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from backtester.domain.margin_tiers import MarginTier, TierTable, table_in_force
from backtester.domain.venues import VenueRules
from backtester.errors import ConfigError, DataError

EVERY_OTHER = "*"


def chosen_tables(
    stated: Mapping[str, Sequence[MarginTier]], symbol: str, stored: Sequence[TierTable], rules: VenueRules
) -> list[TierTable]:
    """Return the tables of a contract: the run file's own, its ``"*"``, else the stored ones.

    Parameters
    ----------
    stated : mapping of str to sequence of MarginTier
        The run file's tiers by symbol.
    symbol : str
        The contract.
    stored : sequence of TierTable
        Tables of the store; a form or unit that they do not state is the venue's.
    rules : VenueRules
        Form and unit of the venue's tables.

    Returns
    -------
    list of TierTable
        Oldest first; empty where nothing is known.
    """
    for key in (symbol, EVERY_OTHER):
        if stated.get(key):
            values = {"symbol": symbol, "tiers": tuple(stated[key]), "form": rules.form, "unit": rules.unit}
            try:
                return [TierTable.model_validate({**values, "source": "run file"})]
            except ValidationError as error:
                raise ConfigError(f'tiers."{key}": {_said(error)}.') from error
    tables = [_in_form_of(table, rules) for table in stored]
    return sorted(tables, key=lambda t: -math.inf if t.valid_from is None else t.valid_from)


def tables_in_force(tables: Sequence[TierTable], start: int | None, end: int | None) -> tuple[TierTable, ...]:
    """Return the tables that judge some moment of ``[start, end)`` [ms], oldest first; all without a start.

    The oldest serves before its own date too.
    """
    if start is None:
        return tuple(tables)
    first = table_in_force(tables, start)
    later = [
        t for t in tables if t.valid_from is not None and t.valid_from > start and (end is None or t.valid_from < end)
    ]
    return (first, *(t for t in later if t is not first))


def _in_form_of(table: TierTable, rules: VenueRules) -> TierTable:
    """Return a stored table in the venue's form and unit, unless it states its own."""
    stated = table.model_fields_set
    values = {"form": rules.form, "unit": rules.unit}
    missing = {key: value for key, value in values.items() if key not in stated}
    try:
        return TierTable.model_validate({**{k: getattr(table, k) for k in TierTable.model_fields}, **missing})
    except ValidationError as error:
        raise DataError(f"{table.symbol} tiers", _said(error)) from error


def _said(error: ValidationError) -> str:
    return str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")

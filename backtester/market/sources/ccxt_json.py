"""Files dumped from ccxt: margin tiers and markets in its unified form, as JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backtester.domain.enums import ContractKind
from backtester.domain.instrument import Instrument, is_spot_name, quote_of
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.errors import DataError, UnknownNameError, format_time
from backtester.market.intake import Intake, Refusal
from backtester.market.schema import EVENT, DatasetKey, tier_frame
from backtester.market.sources.dated_json import json_files, load_json, valid_moment
from backtester.market.sources.terms import FoundTerms, checked, ending, moment, number, refused, term_intakes

_STABLE = ("USDT", "USDC", "BUSD")
_DEDUCTIONS = ("cum", "mmDeduction", "deduction")
"""What exchanges call the deduction of a bracket: Binance, Bybit, Gate."""


def read_tiers(
    path: Path, venue: str, symbols: Sequence[str] = (), valid_from: str | None = None
) -> tuple[list[Intake], tuple[str, ...]]:
    """Read one file, or every JSON file of a folder.

    Parameters
    ----------
    path : Path
        A file or a folder.
    venue : str
        Name of the venue's rule pack.
    symbols : sequence of str
        Empty: every perpetual.
    valid_from : str, optional
        Date from which the brackets hold, ``"always"`` for no date; None: the date in the file's name, where a month
        alone is its first day.

    Returns
    -------
    list of Intake
        One per symbol, with the tables of all files.
    tuple of str
        What was left out, for the user.

    Raises
    ------
    UsageError
        No file, no date, or no such symbol.
    DataError
        A file that is no such JSON, or brackets that do not join.
    """
    files = json_files(path, "ccxt's tiers")
    tables: dict[str, list[TierTable]] = {}
    notes: list[str] = []
    for file in files:
        since = valid_moment(file, valid_from, "these brackets")
        content = _load_tiers(file)
        skipped = 0
        for spelled, brackets in content.items():
            symbol = perpetual_symbol(spelled)
            if symbol is None:
                skipped += 1
            elif not symbols or symbol in symbols:
                tables.setdefault(symbol, []).append(tier_table(symbol, brackets, since, file.name))
        if skipped:
            notes.append(f"{file.name}: {skipped} of {len(content)} entries are no perpetuals and are left out")
    for symbol in symbols:
        if symbol not in tables:
            raise UnknownNameError("symbol", symbol, _all_symbols(files), f"in {path}")
    return list(_intakes(tables, venue)), tuple(notes)


def read_markets(
    path: Path, venue: str, symbols: Sequence[str] = (), valid_from: str | None = None
) -> tuple[list[Intake | Refusal], tuple[str, ...]]:
    """Read the contracts of one file, or of every JSON file of a folder.

    Parameters
    ----------
    path : Path
        A file or a folder.
    venue : str
        Name of the venue's rule pack.
    symbols : sequence of str
        Empty: every perpetual. Spot pairs come in where they are named.
    valid_from : str, optional
        As for `read_tiers`.

    Returns
    -------
    list of Intake or Refusal
        One per symbol, with the terms of all files.
    tuple of str
        What was left out, for the user.

    Raises
    ------
    UsageError
        No file, no date, or no such symbol.
    DataError
        A file that is no such JSON.
    """
    found: dict[str, list[FoundTerms]] = {}
    notes: list[str] = []
    for file in json_files(path, "ccxt's markets"):
        since = valid_moment(file, valid_from, "these terms")
        markets = _load_markets(file)
        skipped = spots = 0
        for market in markets:
            if _is_spot(market) and market["symbol"] not in symbols:  # exchanges list thousands
                spots += 1
                continue
            try:
                terms: Instrument | DataError | None = market_instrument(market, since, file.name)
            except DataError as e:
                terms = e
            if terms is None:
                skipped += 1
            else:
                found.setdefault(market["symbol"], []).append(FoundTerms(terms, file.name))
        if skipped:
            notes.append(f"{file.name}: {skipped} of {len(markets)} markets are no linear or inverse perpetuals")
        if spots:
            notes.append(f"{file.name}: {spots} spot pairs are left out, they come in by name (--symbol BTC/USDT)")
    return list(term_intakes(found, venue, "ccxt markets", symbols, f"in {path}")), tuple(notes)


def perpetual_symbol(spelled: str) -> str | None:
    """Return the unified name of a perpetual, None for dated contracts and what is no pair.

    Older files spell linear perpetuals without the settlement currency.

    Examples
    --------
    >>> perpetual_symbol("BTC/USDT"), perpetual_symbol("BTC/USD:BTC"), perpetual_symbol("BTC/USDT:USDT-250328")
    ('BTC/USDT:USDT', 'BTC/USD:BTC', None)
    """
    match = re.fullmatch(r"([^/:]+)/([^/:]+)(?::([^/:-]+))?", spelled)
    if match is None:
        return None
    base, quote, settle = match.groups()
    if settle is None:
        return f"{base}/{quote}:{quote}" if quote in _STABLE else None
    return spelled


def tier_table(symbol: str, brackets: Sequence[Mapping[str, Any]], valid_from: int | None, source: str) -> TierTable:
    """Return the margin tiers of a contract from ccxt's unified brackets.

    Where brackets count whole contracts, one may end at 500 and the next begin at 501: the first then reaches up to
    the second.

    Parameters
    ----------
    symbol : str
        Unified name of the perpetual.
    brackets : sequence of mapping
        As ``fetch_leverage_tiers`` or ``fetch_market_leverage_tiers`` return them, in any order. A deduction is taken
        from the exchange's own bracket under ``info``.
    valid_from : int or None
        First moment in force [ms since 1970, UTC]; None: always.
    source : str
        Where they come from, in words.

    Raises
    ------
    DataError
        A bracket lacks a figure or holds what is none, or the brackets do not join.
    """
    try:
        tiers = sorted((_tier(b) for b in brackets), key=lambda t: t.notional_floor)
        return TierTable(symbol=symbol, tiers=tuple(_joined(tiers)), valid_from=valid_from, source=source)
    except ValidationError as e:
        problem = e.errors()[0]["msg"].removeprefix("Value error, ")
    except KeyError as e:
        problem = f"a bracket has no {e.args[0]!r}"
    except (TypeError, ValueError) as e:
        problem = f"a bracket holds what is no number ({e})"
    raise DataError(
        f"{symbol} tiers ({source})",
        problem.rstrip("."),
        hint="Correct the file, or import other symbols alone with --symbol.",
    )


def market_instrument(
    market: Mapping[str, Any], valid_from: int | None = None, source: str = "ccxt"
) -> Instrument | None:
    """Return the terms of a perpetual or spot pair from ccxt's unified market, None for what is of no known kind.

    Figures of ``precision`` are taken as steps (ccxt's mode ``TICK_SIZE``), amounts as contracts.

    Parameters
    ----------
    market : mapping
        One value of ``exchange.markets``.
    valid_from : int or None
        First moment at which these terms hold [ms since 1970, UTC]; None: always.
    source : str
        Where it comes from, in words.

    Returns
    -------
    Instrument or None
        ``min_notional`` is None for inverse contracts: ccxt does not say in which currency it counts. The funding
        interval and its bounds are no part of a market. Amounts of spot are base units.

    Raises
    ------
    DataError
        A figure is impossible or no number.
    """
    symbol = market.get("symbol")
    if not isinstance(symbol, str):
        return None
    kind = _kind(market, symbol)
    if kind is None:
        return None
    is_spot = kind is ContractKind.SPOT
    try:
        fields = {
            "kind": kind,
            "contract_size": 1.0 if is_spot else _contract_size(market),
            "tick": number(_part(market, "precision").get("price")),
            "lot": number(_part(market, "precision").get("amount")),
            "min_quantity": number(_limit(market, "amount")),
            "min_notional": None if kind is ContractKind.INVERSE else number(_limit(market, "cost")),
            "settle": quote_of(symbol) if is_spot else symbol.partition(":")[2],
            "taker_fee": number(market.get("taker")),
            "maker_fee": number(market.get("maker")),
            "listed": moment(market.get("created")),
            "delisted": ending(market.get("expiry")),
            "valid_from": valid_from,
        }
    except (TypeError, ValueError) as e:
        raise refused(symbol, source, str(e)) from e
    return checked(symbol, fields, source)


def _is_swap(market: Mapping[str, Any]) -> bool:
    return market.get("type") == "swap" or market.get("swap") is True


def _is_spot(market: Mapping[str, Any]) -> bool:
    symbol = market.get("symbol")
    is_pair = isinstance(symbol, str) and is_spot_name(symbol)
    return is_pair and (market.get("type") == "spot" or market.get("spot") is True)


def _kind(market: Mapping[str, Any], symbol: str) -> ContractKind | None:
    """Return the kind that the market states, else the one that its name tells; None for quanto and dated contracts."""
    if _is_spot(market):
        return ContractKind.SPOT
    if not _is_swap(market) or perpetual_symbol(symbol) != symbol:
        return None
    if market.get("linear") is True:
        return ContractKind.LINEAR
    if market.get("inverse") is True:
        return ContractKind.INVERSE
    pair, _, settle = symbol.partition(":")
    base, _, quote = pair.partition("/")
    return {quote: ContractKind.LINEAR, base: ContractKind.INVERSE}.get(settle)


def _contract_size(market: Mapping[str, Any]) -> float:
    size = number(market.get("contractSize"))
    if size is None:
        raise ValueError("contractSize is missing")
    return size


def _part(market: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = market.get(name) or {}
    if not isinstance(part, Mapping):
        raise TypeError(f"{name} is no table")
    return part


def _limit(market: Mapping[str, Any], name: str) -> object:
    return _part(_part(market, "limits"), name).get("min")


def _load_tiers(file: Path) -> dict[str, list[dict[str, Any]]]:
    content: dict[str, list[dict[str, Any]]] = load_json(file)
    is_tiers = isinstance(content, dict) and all(
        isinstance(brackets, list) and brackets and all(isinstance(b, dict) for b in brackets)
        for brackets in content.values()
    )
    if not is_tiers or not content:
        raise DataError(
            str(file),
            "this is not ccxt's form of margin tiers (a list of brackets by symbol)",
            hint="It is what fetch_leverage_tiers() of ccxt returns, written as JSON.",
        )
    return content


def _load_markets(file: Path) -> list[dict[str, Any]]:
    content = load_json(file)
    markets = list(content.values()) if isinstance(content, dict) else content
    is_form = isinstance(markets, list) and all(isinstance(m, dict) and "symbol" in m and "type" in m for m in markets)
    if not is_form or not markets:
        raise DataError(
            str(file),
            "this is not ccxt's form of markets (tables with symbol and type, by symbol or in a list)",
            hint="It is what load_markets() or fetch_markets() of ccxt returns, written as JSON.",
        )
    return markets


def _tier(bracket: Mapping[str, Any]) -> MarginTier:
    cap = bracket["maxNotional"]
    own = bracket.get("info") or {}
    amount = next(
        (own[name] for name in _DEDUCTIONS if isinstance(own, Mapping) and own.get(name) not in (None, "")), None
    )
    return MarginTier(
        notional_floor=float(bracket.get("minNotional") or 0.0),
        notional_cap=math.inf if cap is None else float(cap),
        maintenance_margin_rate=float(bracket["maintenanceMarginRate"]),
        max_leverage=float(bracket["maxLeverage"]),
        maintenance_amount=None if amount is None else float(amount),
    )


def _joined(tiers: Sequence[MarginTier]) -> Iterator[MarginTier]:
    """Yield brackets; one that ends a contract before the next reaches up to it."""
    for tier, above in zip(tiers, [*tiers[1:], None], strict=True):
        short = above is not None and 0 < above.notional_floor - tier.notional_cap <= 1
        yield tier.model_copy(update={"notional_cap": above.notional_floor}) if above is not None and short else tier


def _intakes(tables: dict[str, list[TierTable]], venue: str) -> Iterator[Intake]:
    for symbol, dated in sorted(tables.items()):
        by_moment: dict[int | None, TierTable] = {}
        for table in dated:
            if table.valid_from in by_moment:
                when = "always" if table.valid_from is None else format_time(table.valid_from)
                raise DataError(
                    f"{venue} {symbol} tiers",
                    f"{by_moment[table.valid_from].source} and {table.source} hold from the same moment ({when})",
                    hint="Import one of the files alone, or give each its own --valid-from.",
                )
            by_moment[table.valid_from] = table
        notes = tuple(note for table in dated for note in _breaks(table))
        names = ", ".join(table.source for table in dated)
        yield Intake(DatasetKey(venue, symbol, "tiers", EVENT), tier_frame(dated), f"ccxt tiers {names}", notes)


def _breaks(table: TierTable) -> Iterator[str]:
    for k, stated, expected in table.discontinuities():
        yield (
            f"{table.symbol} ({table.source}): the maintenance amount of bracket {k + 1} is {stated:g}, "
            f"continuity asks for {expected:g}"
        )


def _all_symbols(files: list[Path]) -> set[str]:
    return {s for file in files for spelled in _load_tiers(file) if (s := perpetual_symbol(spelled))}

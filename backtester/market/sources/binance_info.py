"""Contract terms in Binance's own form: the answers of ``exchangeInfo`` and ``fundingInfo``, as JSON files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from backtester.domain.enums import ContractKind
from backtester.errors import DataError
from backtester.market.intake import Intake, Refusal
from backtester.market.sources.dated_json import has_date, json_files, load_json, valid_moment
from backtester.market.sources.terms import FoundTerms, checked, ending, moment, number, refused, term_intakes

_PERPETUAL = "PERPETUAL"
_LASTING = ("symbol", "baseAsset", "quoteAsset", "marginAsset", "contractSize")
"""What of a contract another day's funding rules may take over: it never changes."""
_LINEAR_ID = re.compile(r"([^_]+?)(USDT|USDC|BUSD)")

Rows = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class _Answer:
    """One file: contracts or funding rules, by the exchange's own symbol, with their moment [ms], None for always."""

    file: Path
    rows: Rows
    moment: int | None


def read_info(
    path: Path, venue: str, symbols: Sequence[str] = (), valid_from: str | None = None
) -> tuple[list[Intake | Refusal], tuple[str, ...]]:
    """Read one file, or those of a folder: answers of ``exchangeInfo``, of ``fundingInfo``, or of both.

    Parameters
    ----------
    path : Path
        A file or a folder; other JSON files of the folder are left out. Funding rules are joined with the contracts of
        the same moment; without any they make terms of their own, which take the rest from what is stored.
    venue : str
        Name of the venue's rule pack.
    symbols : sequence of str
        Empty: every perpetual.
    valid_from : str, optional
        Date from which the terms hold, ``"always"`` for no date; None: the date in the file's name, else the server's
        time in ``exchangeInfo``. Undated funding rules hold from the moment of the only ``exchangeInfo`` beside them.

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
        No file is such an answer, or one is no JSON.
    """
    files = json_files(path, "Binance's exchangeInfo and fundingInfo")
    content = {file: load_json(file) for file in files}
    contracts = [_contracts(file, answer, valid_from) for file, answer in content.items() if _is_exchange_info(answer)]
    funding = [
        _Answer(file, {row["symbol"]: row for row in answer}, _funding_moment(file, valid_from, contracts))
        for file, answer in content.items()
        if _is_funding_info(answer)
    ]
    known = {answer.file for answer in (*contracts, *funding)}
    if not known:
        raise DataError(
            str(path),
            "this is neither exchangeInfo (symbols with contractType) nor fundingInfo (rows with fundingIntervalHours)",
            hint="Store the answer of GET /fapi/v1/exchangeInfo or of GET /fapi/v1/fundingInfo as it comes.",
        )
    others = [file.name for file in files if file not in known]
    notes = [f"neither exchangeInfo nor fundingInfo, left out: {', '.join(others)}"] if others else []
    found: dict[str, list[FoundTerms]] = {}
    for answer in contracts:
        rules = [f for f in funding if f.moment == answer.moment]
        for symbol, terms in _exchange_terms(answer, rules):
            found.setdefault(symbol, []).append(terms)
        left = len(answer.rows) - sum(row.get("contractType") == _PERPETUAL for row in answer.rows.values())
        if left:
            notes.append(f"{answer.file.name}: {left} of {len(answer.rows)} contracts are no perpetuals of coins")
    for answer in funding:
        if all(answer.moment != c.moment for c in contracts):
            notes += _add_funding_terms(answer, contracts, found)
    return list(term_intakes(found, venue, "Binance", symbols, f"in {path}")), tuple(notes)


def _is_exchange_info(answer: object) -> bool:
    rows = answer.get("symbols") if isinstance(answer, dict) else None
    return isinstance(rows, list) and bool(rows) and all(isinstance(r, dict) and "contractType" in r for r in rows)


def _is_funding_info(answer: object) -> bool:
    if not isinstance(answer, list) or not answer:
        return False
    return all(isinstance(r, dict) and {"symbol", "fundingIntervalHours"} <= set(r) for r in answer)


def _contracts(file: Path, answer: Mapping[str, Any], valid_from: str | None) -> _Answer:
    since: int | None
    if valid_from is None and not has_date(file) and isinstance(answer.get("serverTime"), int):
        since = answer["serverTime"] // 60_000 * 60_000
    else:
        since = valid_moment(file, valid_from, "these terms")
    return _Answer(file, {str(row.get("symbol")): row for row in answer["symbols"]}, since)


def _funding_moment(file: Path, valid_from: str | None, contracts: Sequence[_Answer]) -> int | None:
    if valid_from is None and not has_date(file) and len(contracts) == 1:
        return contracts[0].moment
    return valid_moment(file, valid_from, "these funding rules")


def _exchange_terms(answer: _Answer, rules: Sequence[_Answer]) -> Iterator[tuple[str, FoundTerms]]:
    """Yield the perpetuals of an ``exchangeInfo``, with the funding rules of the same moment."""
    for name, row in answer.rows.items():
        if row.get("contractType") != _PERPETUAL:
            continue
        symbol = _unified(row)
        funding = next((r for r in rules if name in r.rows), None)
        source = answer.file.name if funding is None else f"{answer.file.name}, {funding.file.name}"
        rule = {} if funding is None else funding.rows[name]
        yield symbol, _made(symbol, source, answer.moment, partial(_joined_fields, row, rule))


def _add_funding_terms(
    answer: _Answer, contracts: Sequence[_Answer], found: dict[str, list[FoundTerms]]
) -> Iterator[str]:
    """Add the terms that funding rules make without contracts of their moment; yield what was left out."""
    names = {name: row for contract in contracts for name, row in contract.rows.items()}
    unnamed = 0
    for name, row in answer.rows.items():
        match = _LINEAR_ID.fullmatch(name)
        if name in names:
            if names[name].get("contractType") != _PERPETUAL:
                continue
            contract = {key: value for key, value in names[name].items() if key in _LASTING}
        elif match is not None:
            contract = {"baseAsset": match[1], "quoteAsset": match[2], "marginAsset": match[2]}
        else:
            unnamed += 1
            continue
        symbol = _unified(contract)
        terms = _made(symbol, answer.file.name, answer.moment, partial(_joined_fields, contract, row))
        found.setdefault(symbol, []).append(terms)
    if unnamed:
        yield f"{answer.file.name}: {unnamed} contracts are left out: without exchangeInfo their size is not known"


def _unified(row: Mapping[str, Any]) -> str:
    parts = [row.get(key) for key in ("baseAsset", "quoteAsset", "marginAsset")]
    if not all(isinstance(part, str) and part for part in parts):
        raise DataError(
            f"{row.get('symbol')} (exchangeInfo)",
            "baseAsset, quoteAsset or marginAsset is missing",
            hint="Store the answer of exchangeInfo as it comes.",
        )
    return f"{parts[0]}/{parts[1]}:{parts[2]}"


def _made(symbol: str, source: str, since: int | None, fields: Callable[[], Mapping[str, object]]) -> FoundTerms:
    """Return the terms that figures make, or why they cannot be true."""
    try:
        return FoundTerms(checked(symbol, {**fields(), "valid_from": since}, source), source)
    except (ValueError, TypeError, AttributeError) as e:
        return FoundTerms(refused(symbol, source, str(e)), source)
    except DataError as e:
        return FoundTerms(e, source)


def _joined_fields(contract: Mapping[str, Any], rule: Mapping[str, Any]) -> Mapping[str, object]:
    return _contract_fields(contract) | (_funding_fields(rule) if rule else {})


def _contract_fields(row: Mapping[str, Any]) -> dict[str, object]:
    """Return the figures of a contract; the smallest step of market orders is not the lot."""
    filters = {f["filterType"]: f for f in row.get("filters") or () if isinstance(f, dict) and "filterType" in f}
    inverse = row["marginAsset"] == row["baseAsset"]
    size = number(row.get("contractSize"))
    if inverse and size is None:
        raise ValueError("contractSize is missing")
    lot = filters.get("LOT_SIZE", {})
    return {
        "kind": ContractKind.INVERSE if inverse else ContractKind.LINEAR,
        "contract_size": 1.0 if size is None else size,
        "tick": number(filters.get("PRICE_FILTER", {}).get("tickSize")),
        "lot": number(lot.get("stepSize")),
        "min_quantity": number(lot.get("minQty")),
        "min_notional": None if inverse else number(filters.get("MIN_NOTIONAL", {}).get("notional")),
        "settle": row["marginAsset"],
        "listed": moment(row.get("onboardDate")),
        "delisted": ending(row.get("deliveryDate")),
    }


def _funding_fields(row: Mapping[str, Any]) -> dict[str, object]:
    return {
        "funding_interval_hours": number(row["fundingIntervalHours"]),
        "funding_cap": number(row.get("adjustedFundingRateCap")),
        "funding_floor": number(row.get("adjustedFundingRateFloor")),
    }

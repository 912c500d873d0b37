"""Fills a configuration: the run file, then the stored contract, then the venue's rules on the day of the start."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from backtester.domain.config import InstrumentConfig, RunConfig
from backtester.domain.enums import ContractKind, TierForm, label
from backtester.domain.instrument import Instrument, instrument_in_force
from backtester.domain.margin_tiers import TierTable
from backtester.domain.venues import VenuePack, VenueRules, load_pack, pack_for
from backtester.engine.result import Notice
from backtester.engine.rule_names import named_rules
from backtester.engine.run_file import parse_time
from backtester.engine.term_notices import terms_notices
from backtester.engine.tier_choice import chosen_tables, tables_in_force
from backtester.errors import AccountError, ConfigError, DataError, UnknownNameError, format_time

T = TypeVar("T")


class StoreLookup(Protocol):
    """What is asked of a store: `backtester.market.store.Store` answers it."""

    def symbols(self, venue: str) -> list[str]:
        """Return the symbols of a venue that have traded bars."""

    def instruments(self, venue: str, symbol: str) -> list[Instrument]:
        """Return the stored terms of a contract by date, oldest first."""

    def tier_tables(self, venue: str, symbol: str) -> list[TierTable]:
        """Return the stored tier tables of a contract."""


@dataclass(frozen=True)
class ResolvedRun:
    """A configuration without gaps, and what the store and the rule pack said.

    Attributes
    ----------
    config : RunConfig
        Filled: ``symbols``, ``fees``, ``funding``, ``liquidation`` and an entry in ``instruments`` for each symbol.
        ``liquidation.close_fee`` stays None where it differs between symbols.
    pack : VenuePack
        The venue's rules through time.
    rules : VenueRules
        Those of the run's start.
    symbols : tuple of str
        Contracts in the configured order.
    instruments : dict of str to Instrument
        Complete, with the fees that the run charges.
    tiers : dict of str to tuple of TierTable
        Tables in force during the run, oldest first, in the venue's form and unit.
    close_fees : dict of str to float
        Fee to close that the liquidation test includes [fraction of notional].
    settle : str
        Settlement currency of the account.
    notices : tuple of Notice
        What was assumed.
    """

    config: RunConfig
    pack: VenuePack
    rules: VenueRules
    symbols: tuple[str, ...]
    instruments: dict[str, Instrument]
    tiers: dict[str, tuple[TierTable, ...]]
    close_fees: dict[str, float]
    settle: str
    notices: tuple[Notice, ...]

    @property
    def venue(self) -> str:
        """Name of the venue, in the store too."""
        return self.pack.name


def resolve(
    config: RunConfig, *, store_lookup: StoreLookup, start: int | None = None, end: int | None = None
) -> ResolvedRun:
    """Return the run that a configuration means.

    Parameters
    ----------
    config : RunConfig
        As read; what is None is filled.
    store_lookup : StoreLookup
        The store, or anything that answers like it.
    start, end : int or None
        Span of the replayed bars [ms since 1970, UTC]; None: that of the configuration. Without any start the newest
        rules and every table are taken.

    Raises
    ------
    UnknownNameError
        The venue is neither shipped nor stored, or a symbol named in the configuration does not exist.
    DataError
        A contract has no tier table, or the venue no contract.
    AccountError
        Settlement currencies mix, the leverage exceeds every table, or rates leave no margin at all.
    """
    start = _moment(config.data.start, "data.start") if start is None else start
    end = _moment(config.data.end, "data.end") if end is None else end
    pack, is_own = known_pack(config.data.venue, store_lookup)
    moment = math.inf if start is None else start
    rules = pack.rules_at(moment)
    symbols = _symbols(config, pack.name, store_lookup)
    dated = {symbol: store_lookup.instruments(pack.name, symbol) for symbol in symbols}
    stored = {symbol: instrument_in_force(terms, moment) if terms else None for symbol, terms in dated.items()}
    instruments = {symbol: _instrument(config, symbol, stored[symbol], rules) for symbol in symbols}
    settle = _settlement(instruments)
    close_fees = {symbol: _close_fee(config, rules, instruments[symbol]) for symbol in symbols}
    leverage = config.account.leverage if "leverage" in config.account.model_fields_set else rules.leverage
    notices = [] if is_own else [_no_pack(pack)]
    notices += [*_pack_notices(pack, start, end), *_instrument_notices(instruments, stored)]
    notices += terms_notices(dated, start, end)
    notices += _deviation_notices(config, pack, rules, instruments)
    tiers: dict[str, tuple[TierTable, ...]] = {}
    for symbol in symbols:
        tables = chosen_tables(config.tiers, symbol, store_lookup.tier_tables(pack.name, symbol), rules)
        if not tables:
            raise DataError(f"{pack.name} {symbol} tiers", "no margin tier table", hint=_tiers_hint(symbol))
        tiers[symbol] = tables_in_force(tables, start, end)
        _check_rates(tiers[symbol], close_fees[symbol])
        notices += _leverage(tiers[symbol], leverage)
    notices += _tier_notices(tiers, start)
    filled = _filled(config, rules, instruments, close_fees, leverage=leverage, span=(start, end))
    return ResolvedRun(filled, pack, rules, tuple(symbols), instruments, tiers, close_fees, settle, tuple(notices))


def known_pack(venue: str, store_lookup: StoreLookup) -> tuple[VenuePack, bool]:
    """Return the rules of a venue, and whether they are its own: a stored one without any takes the generic ones.

    Raises
    ------
    UnknownNameError
        The venue has no rule pack, and the store holds no bars of it.
    """
    pack, is_own = pack_for(venue)
    if not is_own and not store_lookup.symbols(venue):
        load_pack(venue)  # says what is shipped
    return pack, is_own


def _no_pack(pack: VenuePack) -> Notice:
    text = (
        f"There is no rule pack for {pack.name}: generic rules are used, with fees and liquidation of no exchange. "
        'A pack of your own (--venue PATH.toml, extends = "generic") states what differs.'
    )
    return Notice("no_rule_pack", "warning", text)


def _moment(text: str | None, key: str) -> int | None:
    return None if text is None else parse_time(text, key)


def _symbols(config: RunConfig, venue: str, store_lookup: StoreLookup) -> list[str]:
    """Return the configured symbols, or all of the venue; names in the other sections must be among them."""
    known = store_lookup.symbols(venue)
    symbols = list(config.data.symbols) or known
    if not known:
        raise DataError(f"{venue} trade", "the store holds no bars of this venue", hint="See: backtester data list.")
    for symbol in symbols:
        if symbol not in known:
            raise UnknownNameError("symbol", symbol, known, f"at {venue}")
    repeated = {symbol for symbol in symbols if symbols.count(symbol) > 1}
    if repeated:
        raise ConfigError(f"data.symbols names {sorted(repeated)[0]} twice.")
    for section, names in (("instruments", config.instruments), ("tiers", config.tiers)):
        for name in names:
            if name not in symbols and name not in known and name != "*":
                raise UnknownNameError("symbol", name, {*symbols, *known}, f"in [{section}]")
    return symbols


def _instrument(config: RunConfig, symbol: str, stored: Instrument | None, rules: VenueRules) -> Instrument:
    """Return the contract as run file, store, unified name and rule pack tell, the first that says something."""
    stated = config.instruments.get(symbol, InstrumentConfig())
    known = stored if stored is not None else Instrument(symbol=symbol, **_from_name(symbol, rules))
    values: dict[str, Any] = known.model_dump()
    values["funding_interval_hours"] = _first(known.funding_interval_hours, rules.funding_interval_hours)
    values |= stated.model_dump(exclude_none=True)
    if stated.kind is not None:
        values["kind"] = ContractKind[stated.kind.upper()]
    values["taker_fee"] = _first(stated.taker_fee, config.fees.taker, known.taker_fee, rules.taker_fee)
    values["maker_fee"] = _first(stated.maker_fee, config.fees.maker, known.maker_fee, rules.maker_fee)
    try:
        return Instrument.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in fault["loc"])
        raise ConfigError(f'instruments."{symbol}".{key}: {fault["msg"]} (given: {fault["input"]!r}).') from error


def _first(*values: T | None) -> T | None:
    return next((value for value in values if value is not None), None)


def _from_name(symbol: str, rules: VenueRules) -> dict[str, Any]:
    """Return kind and settlement currency as the unified name ``base/quote:settle`` tells them."""
    pair, _, settle = symbol.partition(":")
    base, _, quote = pair.partition("/")
    settle = settle or (quote if quote in (rules.settle, "USDT", "USDC") else rules.settle)
    inverse = settle == base and settle != quote
    return {"kind": ContractKind.INVERSE if inverse else ContractKind.LINEAR, "settle": settle}


def _settlement(instruments: dict[str, Instrument]) -> str:
    by_currency: dict[str, str] = {}
    for symbol, instrument in instruments.items():
        by_currency.setdefault(instrument.settle, symbol)
    if len(by_currency) > 1:
        shown = ", ".join(f"{symbol} in {currency}" for currency, symbol in by_currency.items())
        raise AccountError(
            f"The contracts settle in {len(by_currency)} currencies: {shown}.",
            "Run the contracts of one settlement currency at a time.",
        )
    return next(iter(by_currency))


def _close_fee(config: RunConfig, rules: VenueRules, instrument: Instrument) -> float:
    if config.liquidation.close_fee is not None:
        return config.liquidation.close_fee
    return rules.close_fee_rate(instrument.taker_fee or 0.0)


def _check_rates(tables: Sequence[TierTable], close_fee: float) -> None:
    """Refuse rates at which a position needs more margin than it is worth."""
    for table in tables:
        for tier in table.tiers:
            ramp = table.form is TierForm.RAMP and math.isfinite(tier.notional_cap)
            rate = tier.maintenance_margin_rate + (tier.slope * tier.notional_cap if ramp else 0.0)
            if rate + close_fee >= 1:
                raise AccountError(
                    f"{table.symbol}: maintenance rate {rate:g} of the tier from {tier.notional_floor:g} plus closing "
                    f"fee {close_fee:g} is not below 1.",
                    "Correct the tier table or liquidation.close_fee.",
                )


def _leverage(tables: Sequence[TierTable], leverage: float) -> list[Notice]:
    """Refuse a leverage that no table in force allows; tell where some do not."""
    symbol = tables[0].symbol
    largest = max(table.max_leverage for table in tables)
    if leverage > largest:
        raise AccountError(
            f"{symbol}: leverage {leverage:g} exceeds the maximum of {largest:g} that its margin tiers allow.",
            f"Set --leverage {largest:g} or less.",
        )
    short = [table for table in tables if leverage > table.max_leverage]
    if not short:
        return []
    text = (
        f"{symbol}: leverage {leverage:g} exceeds the maximum of {short[0].max_leverage:g} in the tiers "
        f"{_since(short[0])}: nothing opens while they are in force."
    )
    return [Notice("leverage_above_tiers", "warning", text)]


def _since(table: TierTable) -> str:
    return "without a date" if table.valid_from is None else f"of {format_time(table.valid_from)}"


def _pack_notices(pack: VenuePack, start: int | None, end: int | None) -> list[Notice]:
    """Tell rules that change inside the run, and those for which no source was found."""
    found = []
    if start is not None and end is not None:
        before = pack.values_at(start)
        for day in pack.changes(start, end):
            now = pack.values_at((day - dt.date(1970, 1, 1)).days * 86_400_000)
            keys = [key for key in now if now[key] != before[key]]
            if keys:
                text = f"{pack.title} changed rules on {day}; those of the start hold throughout: {named_rules(keys)}."
                found.append(Notice("rules_change_inside", "assumption", text))
    figures = pack.figures_at(math.inf if start is None else start)
    inferred = [key for key, figure in figures.items() if figure.evidence == "inferred"]
    if inferred:
        text = (
            f"No source states these rules of {pack.title} directly, they are inferred "
            f"(see `backtester venue show {pack.name}`): {named_rules(inferred)}."
        )
        found.append(Notice("rules_inferred", "assumption", text))
    return found


def _deviation_notices(
    config: RunConfig, pack: VenuePack, rules: VenueRules, instruments: dict[str, Instrument]
) -> list[Notice]:
    """Tell the rules of the venue that the run file replaces."""
    replaced = []
    for key, stated in config.liquidation.model_dump(exclude={"then", "close_fee"}, exclude_none=True).items():
        rule = "liquidation_fee" if key == "fee" else key
        if stated != getattr(rules, rule):
            replaced.append(rule)
    own_fees = {rules.close_fee_rate(instrument.taker_fee or 0.0) for instrument in instruments.values()}
    if config.liquidation.close_fee is not None and own_fees != {config.liquidation.close_fee}:
        replaced.append("close_fee")
    for key, stated in config.funding.model_dump(include={"paid_from", "price"}, exclude_none=True).items():
        if stated != getattr(rules, f"funding_{key}"):
            replaced.append(f"funding_{key}")
    if not replaced:
        return []
    text = f"The run file replaces rules of {pack.title}: {named_rules(replaced)}."
    return [Notice("rules_replaced", "assumption", text)]


_INCREMENTS = {
    "tick": "price tick",
    "lot": "lot size",
    "min_quantity": "smallest quantity",
    "min_notional": "smallest notional",
}


def _instrument_notices(instruments: dict[str, Instrument], stored: dict[str, Instrument | None]) -> list[Notice]:
    """Tell unknown lots, ticks and minimums, and contracts that the store does not describe."""
    by_gap: dict[tuple[str, ...], list[str]] = {}
    for symbol, instrument in instruments.items():
        missing = tuple(field for field in _INCREMENTS if getattr(instrument, field) is None)
        if missing:
            by_gap.setdefault(missing, []).append(symbol)
    found = [
        Notice(
            "unknown_increments",
            "warning",
            f"{', '.join(symbols)}: unknown {', '.join(_INCREMENTS[field] for field in gap)}: none is applied. "
            "State them in the run file under "
            f'[instruments."{symbols[0]}"], such as {"lot" if "lot" in gap else gap[0]} = 0.001.',
        )
        for gap, symbols in by_gap.items()
    ]
    bare = [symbol for symbol, instrument in stored.items() if instrument is None]
    if bare:
        text = f"{', '.join(bare)}: the store describes no contract: kind and currency follow from the name."
        found.append(Notice("unknown_instrument", "assumption", text))
    return found


def _tier_notices(tiers: dict[str, tuple[TierTable, ...]], start: int | None) -> list[Notice]:
    """Tell tables used before their date, and deductions that break continuity."""
    found = []
    early: dict[int, list[str]] = {}
    for symbol, tables in tiers.items():
        first = tables[0].valid_from
        if first is not None and start is not None and first > start:
            early.setdefault(first, []).append(symbol)
        for table in tables:
            for tier, stated, expected in table.discontinuities():
                text = (
                    f"{symbol}: the maintenance amount {stated:g} of tier {tier + 1} {_since(table)} breaks "
                    f"continuity (expected {expected:g}); it is used as stated."
                )
                found.append(Notice("tiers_discontinuous", "warning", text))
    for first, symbols in early.items():
        text = f"{', '.join(symbols)}: the margin tiers of {format_time(first)} are used before their date too."
        found.append(Notice("tiers_before_date", "assumption", text))
    return found


def _tiers_hint(symbol: str) -> str:
    example = "notional_floor = 0, maintenance_margin_rate = 0.005, max_leverage = 20"
    return (
        "Fetch them (backtester data fetch --series tiers), import them (backtester data import --format ccxt-tiers), "
        f'or state one in the run file: [[tiers."{symbol}"]] or [[tiers."*"]] with {example}.'
    )


def _filled(
    config: RunConfig,
    rules: VenueRules,
    instruments: dict[str, Instrument],
    close_fees: dict[str, float],
    *,
    leverage: float,
    span: tuple[int | None, int | None],
) -> RunConfig:
    """Return the configuration with every gap filled that has one answer."""
    tree = config.model_dump()
    tree["data"] |= {"symbols": tuple(instruments)}
    for key, moment in zip(("start", "end"), span, strict=True):
        if moment is not None:
            tree["data"][key] = _iso(moment)
    tree["account"]["leverage"] = leverage
    _fill(tree["fees"], {"taker": rules.taker_fee, "maker": rules.maker_fee})
    _fill(tree["funding"], {"paid_from": rules.funding_paid_from, "price": rules.funding_price})
    shared = set(close_fees.values())
    _fill(
        tree["liquidation"],
        {
            "takeover": rules.takeover,
            "step": rules.step,
            "step_tiers": rules.step_tiers,
            "step_from_tier": rules.step_from_tier,
            "step_above_first": rules.step_above_first,
            "step_once": rules.step_once,
            "fee": rules.liquidation_fee,
            "close_fee": shared.pop() if len(shared) == 1 else None,
            "close_fee_basis": rules.close_fee_basis,
            "mmr_basis": rules.mmr_basis,
            "engine_price": rules.engine_price,
        },
    )
    for symbol, instrument in instruments.items():
        fields = instrument.model_dump(include=set(InstrumentConfig.model_fields))
        tree["instruments"][symbol] = {**fields, "kind": label(instrument.kind)}
    return RunConfig.model_validate(tree)


def _fill(section: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in values.items():
        if section[key] is None:
            section[key] = value


def _iso(moment: int) -> str:
    """Return a time as the run file writes it; it reads back to the same millisecond."""
    seconds, ms = divmod(moment, 1000)
    t = dt.datetime.fromtimestamp(seconds, dt.UTC).replace(tzinfo=None)
    text = t.isoformat(timespec="minutes" if not t.second and not ms else "seconds")
    return text + (f".{ms:03d}" if ms else "")

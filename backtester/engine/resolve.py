"""Fills a configuration: the run file, then the stored contract, then the venue's rules on the day of the start."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from backtester.domain.config import InstrumentConfig, RunConfig
from backtester.domain.enums import ContractKind, MarginMode, TierForm, label
from backtester.domain.instrument import Instrument, instrument_in_force
from backtester.domain.margin_tiers import TierTable
from backtester.domain.venues import VenuePack, VenueRules, load_pack, pack_for
from backtester.engine.collateral import Account, CollateralRow, collateral_notices, collateral_rows
from backtester.engine.contracts import (
    complete_instrument,
    leverage_of,
    margin_mode_of,
    shared_settlement,
    spot_fee_notices,
    spot_table,
)
from backtester.engine.result import Notice, listed
from backtester.engine.rule_names import named_rules
from backtester.engine.run_file import parse_time
from backtester.engine.term_notices import terms_notices
from backtester.engine.tier_choice import chosen_tables, tables_in_force
from backtester.errors import AccountError, ConfigError, DataError, UnknownNameError, format_time
from backtester.market.schema import timeframe_ms
from backtester.market.series import default_symbols
from backtester.market.store import Store


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
        Contracts and spot pairs in the configured order.
    rows : tuple of str
        The rows of the panel: ``symbols``, then those of collateral that is not traded. The keys of what follows.
    instruments : dict of str to Instrument
        Complete, with the fees that the run charges.
    tiers : dict of str to tuple of TierTable
        Tables in force during the run, oldest first, in the venue's form and unit; spot has one without a requirement.
    close_fees : dict of str to float
        Fee to close that the liquidation test includes [fraction of notional].
    margin_modes : dict of str to MarginMode
        What backs each position.
    leverages : dict of str to float
        Leverage settings.
    haircuts : dict of str to float or None
        Part of a spot position's worth that does not count as margin [fraction]; None: all of it.
    holdings : dict of str to float
        Units held at the first open.
    collateral : tuple of CollateralRow
        What is held from the start.
    settle : str
        Settlement currency of the account.
    notices : tuple of Notice
        What was assumed.
    """

    config: RunConfig
    pack: VenuePack
    rules: VenueRules
    symbols: tuple[str, ...]
    rows: tuple[str, ...]
    instruments: dict[str, Instrument]
    tiers: dict[str, tuple[TierTable, ...]]
    close_fees: dict[str, float]
    margin_modes: dict[str, MarginMode]
    leverages: dict[str, float]
    haircuts: dict[str, float | None]
    holdings: dict[str, float]
    collateral: tuple[CollateralRow, ...]
    settle: str
    notices: tuple[Notice, ...]

    @property
    def venue(self) -> str:
        """Name of the venue, in the store too."""
        return self.pack.name


def resolve(
    config: RunConfig,
    *,
    store_lookup: StoreLookup,
    start: int | None = None,
    end: int | None = None,
    collateral: Sequence[CollateralRow] = (),
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
    collateral : sequence of CollateralRow
        What is held from the start, see `collateral_of`.

    Raises
    ------
    UnknownNameError
        The venue is neither shipped nor stored, or a symbol named in the configuration does not exist.
    ConfigError
        A figure is out of bounds, or does not go with the kind of its symbol.
    DataError
        A contract has no tier table, or the venue no contract.
    AccountError
        Settlement currencies mix, a leverage exceeds every table, or rates leave no margin at all.
    """
    start = _moment(config.data.start, "data.start") if start is None else start
    end = _moment(config.data.end, "data.end") if end is None else end
    pack, is_own = known_pack(config.data.venue, store_lookup)
    moment = math.inf if start is None else start
    rules = pack.rules_at(moment)
    symbols = _symbols(config, pack.name, store_lookup)
    dated = {symbol: store_lookup.instruments(pack.name, symbol) for symbol in symbols}
    stored = {symbol: instrument_in_force(terms, moment) if terms else None for symbol, terms in dated.items()}
    instruments = {symbol: complete_instrument(config, symbol, stored[symbol], rules) for symbol in symbols}
    settle = shared_settlement(instruments)
    _check_fee_tiers(config)
    haircuts = _haircuts(config, symbols, collateral)
    traded = dict(instruments)
    for row in collateral:
        if not row.is_traded:
            spot = Instrument(symbol=row.name, kind=ContractKind.SPOT, settle=settle, taker_fee=0.0, maker_fee=0.0)
            instruments[row.name] = spot
    close_fees = {symbol: _close_fee(config, rules, instruments[symbol]) for symbol in instruments}
    default = config.account.leverage if "leverage" in config.account.model_fields_set else rules.leverage
    leverages = {symbol: leverage_of(config, instrument, default) for symbol, instrument in instruments.items()}
    notices = [] if is_own else [_no_pack(pack)]
    notices += [*_pack_notices(pack, start, end), *_instrument_notices(traded, stored)]
    notices += [*spot_fee_notices(config, stored, rules, pack.title), *collateral_notices(collateral)]
    notices += terms_notices(dated, start, end)
    notices += _deviation_notices(config, pack, rules, instruments)
    tiers: dict[str, tuple[TierTable, ...]] = {}
    for symbol, instrument in instruments.items():
        if instrument.kind is ContractKind.SPOT:
            if symbol in config.tiers:
                raise ConfigError(f'tiers."{symbol}": spot is paid in full and has no margin tiers.', "Leave them out.")
            tiers[symbol] = (spot_table(symbol),)
            continue
        tables = chosen_tables(config.tiers, symbol, store_lookup.tier_tables(pack.name, symbol), rules)
        if not tables:
            raise DataError(f"{pack.name} {symbol} tiers", "no margin tier table", hint=_tiers_hint(symbol))
        tiers[symbol] = tables_in_force(tables, start, end)
        _check_rates(tiers[symbol], close_fees[symbol])
        own = config.instruments.get(symbol, InstrumentConfig()).leverage
        notices += _leverage(tiers[symbol], leverages[symbol], is_own=own is not None)
    notices += _tier_notices(tiers, start)
    return ResolvedRun(
        config=_filled(config, rules, traded, close_fees, leverage=default, span=(start, end)),
        pack=pack,
        rules=rules,
        symbols=tuple(symbols),
        rows=tuple(instruments),
        instruments=instruments,
        tiers=tiers,
        close_fees=close_fees,
        margin_modes={symbol: margin_mode_of(config, instrument) for symbol, instrument in instruments.items()},
        leverages=leverages,
        haircuts=haircuts,
        holdings=dict.fromkeys(instruments, 0.0) | {row.name: row.quantity for row in collateral},
        collateral=tuple(collateral),
        settle=settle,
        notices=tuple(notices),
    )


def collateral_of(config: RunConfig, store: Store) -> tuple[CollateralRow, ...]:
    """Return the rows of what a run holds from the start: asked for before its panel is loaded.

    Parameters
    ----------
    config : RunConfig
        With symbols and timeframe.
    store : Store
        Market data.

    Raises
    ------
    ConfigError, DataError, UnknownNameError
        See `collateral_rows`.
    """
    if not config.collateral:
        return ()
    pack, _ = known_pack(config.data.venue, store)
    start = _moment(config.data.start, "data.start")
    moment = math.inf if start is None else start
    symbols = _symbols(config, pack.name, store)
    dated = {symbol: store.instruments(pack.name, symbol) for symbol in symbols}
    instruments = {
        symbol: complete_instrument(
            config, symbol, instrument_in_force(terms, moment) if terms else None, pack.rules_at(moment)
        )
        for symbol, terms in dated.items()
    }
    step = timeframe_ms(config.data.detail or str(config.data.timeframe))
    account = Account(pack.name, shared_settlement(instruments), step, tuple(symbols))
    return collateral_rows(config.collateral, store, account)


def _haircuts(
    config: RunConfig, symbols: Sequence[str], collateral: Sequence[CollateralRow]
) -> dict[str, float | None]:
    """Return each row's haircut, None where it is no collateral; refuse two of one row."""
    found = {symbol: config.instruments.get(symbol, InstrumentConfig()).haircut for symbol in symbols}
    for row in collateral:
        stated = found.get(row.name)
        if stated is not None and stated != row.haircut:
            raise ConfigError(
                f'instruments."{row.name}".haircut: {stated:g} differs from {row.haircut:g} of '
                f"collateral.{row.assets[0]}, which is the same position.",
                "Give both one haircut.",
            )
        found[row.name] = row.haircut
    return found


def _check_fee_tiers(config: RunConfig) -> None:
    """Refuse fee tiers that leave a volume without rates, or do not rise."""
    tiers = config.fees.tiers
    if tiers and tiers[0].volume:
        raise ConfigError(
            f"fees.tiers: the first tier begins at a volume of {tiers[0].volume:g}.", "Begin with volume = 0."
        )
    for place, (low, high) in enumerate(itertools.pairwise(tiers), 1):
        if high.volume <= low.volume:
            raise ConfigError(
                f"fees.tiers[{place}].volume: {high.volume:g} does not exceed the {low.volume:g} of the tier before.",
                "Order the tiers by rising volume.",
            )


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
    """Return the configured symbols, or all contracts of the venue; names in the other sections must be among them."""
    known = store_lookup.symbols(venue)
    symbols = list(config.data.symbols) or default_symbols(known)
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


def _close_fee(config: RunConfig, rules: VenueRules, instrument: Instrument) -> float:
    if instrument.kind is ContractKind.SPOT:
        return 0.0
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


def _leverage(tables: Sequence[TierTable], leverage: float, *, is_own: bool) -> list[Notice]:
    """Refuse a leverage that no table in force allows; tell where some do not."""
    symbol = tables[0].symbol
    largest = max(table.max_leverage for table in tables)
    if leverage > largest:
        raise AccountError(
            f"{symbol}: leverage {leverage:g} exceeds the maximum of {largest:g} that its margin tiers allow.",
            f'Set leverage = {largest:g} or less in [instruments."{symbol}"].'
            if is_own
            else f"Set --leverage {largest:g} or less.",
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
    config: RunConfig, pack: VenuePack, rules: VenueRules, instruments: Mapping[str, Instrument]
) -> list[Notice]:
    """Tell the rules of the venue that the run file replaces."""
    replaced = []
    for key, stated in config.liquidation.model_dump(exclude={"then", "close_fee"}, exclude_none=True).items():
        rule = "liquidation_fee" if key == "fee" else key
        if stated != getattr(rules, rule):
            replaced.append(rule)
    contracts = [instrument for instrument in instruments.values() if instrument.kind is not ContractKind.SPOT]
    own_fees = {rules.close_fee_rate(instrument.taker_fee or 0.0) for instrument in contracts}
    if contracts and config.liquidation.close_fee is not None and own_fees != {config.liquidation.close_fee}:
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
            f"{listed(symbols)}: unknown {', '.join(_INCREMENTS[field] for field in gap)}: none is applied. "
            "State them in the run file under "
            f'[instruments."{symbols[0]}"], such as {"lot" if "lot" in gap else gap[0]} = 0.001.',
        )
        for gap, symbols in by_gap.items()
    ]
    bare = [symbol for symbol, instrument in stored.items() if instrument is None]
    if bare:
        text = f"{listed(bare)}: the store describes no contract: kind and currency follow from the name."
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
        text = f"{listed(symbols)}: the margin tiers of {format_time(first)} are used before their date too."
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
    contracts = [symbol for symbol, instrument in instruments.items() if instrument.kind is not ContractKind.SPOT]
    shared = {close_fees[symbol] for symbol in contracts} or {0.0}
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
            "hedge_tier": rules.hedge_tier,
        },
    )
    for symbol, instrument in instruments.items():
        fields = instrument.model_dump(include=set(InstrumentConfig.model_fields))
        stated = tree["instruments"].get(symbol, {})  # leverage, margin mode and haircut are settings, no terms
        tree["instruments"][symbol] = {**stated, **fields, "kind": label(instrument.kind)}
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

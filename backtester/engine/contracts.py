"""Each contract and spot pair of a run, complete: what run file, store, name and rule pack say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from backtester.domain.config import InstrumentConfig, RunConfig
from backtester.domain.enums import ContractKind, MarginMode
from backtester.domain.instrument import Instrument, is_spot_name, quote_of
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.domain.venues import VenueRules
from backtester.engine.result import Notice
from backtester.errors import AccountError, ConfigError

T = TypeVar("T")


def complete_instrument(config: RunConfig, symbol: str, stored: Instrument | None, rules: VenueRules) -> Instrument:
    """Return a contract as run file, store, unified name and rule pack tell, the first that says something.

    Raises
    ------
    ConfigError
        A figure is out of bounds, or does not go with the kind that the name tells.
    """
    stated = config.instruments.get(symbol, InstrumentConfig())
    known = stored if stored is not None else Instrument(symbol=symbol, **_from_name(symbol, rules))
    values: dict[str, Any] = known.model_dump()
    figures = stated.model_dump(exclude_none=True, exclude={"leverage", "margin_mode", "haircut"})
    values["funding_interval_hours"] = first_known(known.funding_interval_hours, rules.funding_interval_hours)
    values |= figures
    if stated.kind is not None:
        values["kind"] = ContractKind[stated.kind.upper()]
    is_spot = is_spot_name(symbol)
    taker, maker = (rules.taker_fee, rules.maker_fee)
    if is_spot:
        taker = taker if rules.spot_taker_fee is None else rules.spot_taker_fee
        maker = maker if rules.spot_maker_fee is None else rules.spot_maker_fee
        values["funding_interval_hours"] = stated.funding_interval_hours
    values["taker_fee"] = first_known(stated.taker_fee, config.fees.taker, known.taker_fee, taker)
    values["maker_fee"] = first_known(stated.maker_fee, config.fees.maker, known.maker_fee, maker)
    try:
        instrument = Instrument.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in fault["loc"])
        raise ConfigError(f'instruments."{symbol}".{key}: {fault["msg"]} (given: {fault["input"]!r}).') from error
    _check_kind(instrument, stated)
    return instrument


def first_known(*values: T | None) -> T | None:
    """Return the first value that is known, None where none is."""
    return next((value for value in values if value is not None), None)


def _from_name(symbol: str, rules: VenueRules) -> dict[str, Any]:
    """Return kind and settlement currency as the unified name ``base/quote:settle`` or ``base/quote`` tells them."""
    if is_spot_name(symbol):
        return {"kind": ContractKind.SPOT, "settle": quote_of(symbol)}
    pair, _, settle = symbol.partition(":")
    base, _, quote = pair.partition("/")
    settle = settle or rules.settle
    inverse = settle == base and settle != quote
    return {"kind": ContractKind.INVERSE if inverse else ContractKind.LINEAR, "settle": settle}


def _check_kind(instrument: Instrument, stated: InstrumentConfig) -> None:
    """Refuse a kind against the name, which alone tells what series are needed, and settings that spot cannot have."""
    symbol, is_spot = instrument.symbol, instrument.kind is ContractKind.SPOT
    if is_spot != is_spot_name(symbol):
        what = "a perpetual contract's" if is_spot else "a spot pair's"
        raise ConfigError(
            f'instruments."{symbol}".kind: {instrument.kind.name.lower()} does not go with {what} name.',
            "Spot pairs are named BASE/QUOTE, contracts BASE/QUOTE:SETTLE.",
        )
    if not is_spot and stated.haircut is not None:
        raise ConfigError(
            f'instruments."{symbol}".haircut: a contract is no collateral.', "State it of a spot pair, BASE/QUOTE."
        )
    if is_spot and instrument.settle != quote_of(symbol):
        raise ConfigError(
            f'instruments."{symbol}".settle: a spot pair is paid in {quote_of(symbol)}, not in {instrument.settle}.'
        )
    if is_spot and (stated.leverage or 1.0) != 1.0:
        raise ConfigError(f'instruments."{symbol}".leverage: spot is paid in full.', "Leave the leverage out.")
    if is_spot and stated.margin_mode == "cross":
        raise ConfigError(
            f'instruments."{symbol}".margin_mode: spot has no margin.',
            "Leave it out; a haircut makes what is bought count as collateral.",
        )


def shared_settlement(instruments: Mapping[str, Instrument]) -> str:
    """Return the one settlement currency of all contracts.

    Raises
    ------
    AccountError
        There are several.
    """
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


def margin_mode_of(config: RunConfig, instrument: Instrument) -> MarginMode:
    """Return what backs a position: the run file's word on the contract, else the account's; spot stands for itself."""
    if instrument.kind is ContractKind.SPOT:
        return MarginMode.ISOLATED
    stated = config.instruments.get(instrument.symbol, InstrumentConfig()).margin_mode
    return MarginMode[(stated or config.account.margin_mode).upper()]


def leverage_of(config: RunConfig, instrument: Instrument, default: float) -> float:
    """Return the leverage setting: the run file's word on the contract, else the account's; 1 for spot."""
    if instrument.kind is ContractKind.SPOT:
        return 1.0
    return config.instruments.get(instrument.symbol, InstrumentConfig()).leverage or default


def spot_table(symbol: str) -> TierTable:
    """Return the margin table of a spot pair: paid in full, without a requirement or a cap."""
    return TierTable(
        symbol=symbol, tiers=(MarginTier(maintenance_margin_rate=0.0, max_leverage=1.0),), source="paid in full"
    )


def spot_fee_notices(
    config: RunConfig, stored: Mapping[str, Instrument | None], rules: VenueRules, title: str
) -> list[Notice]:
    """Tell spot pairs that are charged a contract's fee, since nothing states theirs."""
    if rules.spot_taker_fee is not None or config.fees.taker is not None:
        return []
    bare = [
        symbol
        for symbol, terms in stored.items()
        if is_spot_name(symbol)
        and (terms is None or terms.taker_fee is None)
        and config.instruments.get(symbol, InstrumentConfig()).taker_fee is None
    ]
    if not bare:
        return []
    text = (
        f"{', '.join(bare)}: no spot fee of {title} is known, that of its contracts is charged ({rules.taker_fee:g}). "
        f'State one in the run file under [instruments."{bare[0]}"], such as taker_fee = 0.001.'
    )
    return [Notice("spot_fee_assumed", "warning", text)]

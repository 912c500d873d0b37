"""One market and population cleared once for each set of rules, on linear contracts, inverse ones or both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backtester.clearing.account_runs import from_runs
from backtester.clearing.account_table import from_table
from backtester.clearing.file import AccountsConfig, ClearingFile, MarketConfig, ShockConfig
from backtester.clearing.made_up import made_up_markets
from backtester.clearing.market import ClearingMarket, load_market
from backtester.clearing.open_interest import from_open_interest
from backtester.clearing.population import Population
from backtester.clearing.result import ClearingResult
from backtester.clearing.rules import ClearingRules, clearing_rules
from backtester.clearing.simulate import simulate
from backtester.domain.enums import ContractKind
from backtester.domain.venues import load_pack, pack_names
from backtester.engine.run_file import parse_time
from backtester.errors import BacktesterError, ConfigError, StoreError, UnknownNameError, UsageError
from backtester.market.schema import BAR_SERIES, timeframe_ms

if TYPE_CHECKING:
    from backtester.engine.result import Notice
    from backtester.market.store import Store

Progress = Callable[[str, float | None], None]

ALL = "all"
DEFAULT_PACK = "binance"
"""Rules of a made-up crash that names none."""
DAY_MS = 86_400_000
_KINDS = {"linear": "linear", "inverse": "coin-margined"}
_UNKNOWN = ("generic", "synthetic")


@dataclass(frozen=True, eq=False)
class Case:
    """One clearing of a study.

    Attributes
    ----------
    name : str
        Of the rules, and of the contracts where both kinds are cleared.
    market : ClearingMarket
        What it was replayed over.
    population : Population
        Who was there at the first open.
    result : ClearingResult
        What came of it.
    """

    name: str
    market: ClearingMarket
    population: Population
    result: ClearingResult

    @property
    def is_inverse(self) -> bool:
        """Whether the contracts are settled in their coin."""
        return self.market.instruments[0].kind is ContractKind.INVERSE

    @property
    def summary(self) -> dict[str, Any]:
        """The figures of the result with the currency in which they are."""
        return {"case": self.name, "settle": self.result.settle, **self.result.summary}


@dataclass(frozen=True, eq=False)
class ClearingStudy:
    """What a call of `clear_study` made.

    Attributes
    ----------
    file : ClearingFile
        What was asked for.
    cases : tuple of Case
        The first is what the summary tells of.
    venue : str
        Of the series; ``made up`` for a shock.
    synthetic : bool
        Whether no venue traded these prices.
    notices : tuple of Notice
        What must be known.
    seconds : dict of str to float
        Time of each case.
    run_id, run_dir
        Name and folder, once written.
    """

    file: ClearingFile
    cases: tuple[Case, ...]
    venue: str
    synthetic: bool
    notices: tuple[Notice, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    run_id: str = ""
    run_dir: Path | None = None

    @property
    def span(self) -> tuple[int, int]:
        """First open and last close [ms since 1970, UTC]."""
        market = self.cases[0].market
        return int(market.open_time[0]), int(market.open_time[-1]) + market.bar_ms

    @property
    def summary(self) -> dict[str, Any]:
        """Figures of the first case, and of all in ``cases``; amounts are in each case's settlement currency."""
        market = self.cases[0].market
        start, end = self.span
        return {
            "kind": "clearing",
            "data_venue": self.venue,
            "synthetic": self.synthetic,
            "symbols": list(market.symbols),
            "timeframe_ms": market.bar_ms,
            "start": _iso(start),
            "end": _iso(end),
            **self.cases[0].summary,
            "conservation_error": max(float(case.summary["conservation_error"]) for case in self.cases),
            "cases": [case.summary for case in self.cases],
            "notices": [notice.text for notice in self.notices],
        }


def clear_study(file: ClearingFile, store: Store | None, progress: Progress) -> ClearingStudy:
    """Clear what a file describes.

    Parameters
    ----------
    file : ClearingFile
        Market or shock, accounts, rules.
    store : Store or None
        Market data; None goes with a shock.
    progress : callable
        Called with what is being done.

    Raises
    ------
    ConfigError, UnknownNameError, UsageError, DataError, AccountError
        The market cannot be loaded, the accounts cannot be made, or rules are refused.
    """
    import time  # noqa: PLC0415 - for the seconds alone

    names = rule_names(file)
    progress("Making the market" if file.shock is not None else "Loading the market data", None)
    market, past, notes = _markets(file, store)
    at = math.inf if file.shock is not None else float(market.open_time[0])
    rules = [clearing_rules(name, at, **file.clearing.rules) for name in names]
    progress("Making the accounts", None)
    cases: list[Case] = []
    seconds: dict[str, float] = {}
    kinds = ("linear", "inverse") if file.contracts == "both" else (file.contracts,)
    for kind in kinds:
        own, before = (market, past) if kind == "linear" else (market.as_inverse(), past and past.as_inverse())
        population = _population(file, own, before, unit=market)
        for one in rules:
            name = one.name if len(kinds) == 1 else f"{one.name}, {_KINDS[kind]}"
            progress(f"Clearing by the rules of {name}", len(cases) / (len(kinds) * len(rules)))
            begun = time.perf_counter()
            result = simulate(own, population, _in_currency(one, own, market))
            seconds[name] = round(time.perf_counter() - begun, 3)
            cases.append(Case(name, own, population, result))
    venue = "made up" if file.market is None else file.market.venue
    return ClearingStudy(
        file=file,
        cases=tuple(cases),
        venue=venue,
        synthetic=venue in ("made up", "synthetic"),
        notices=_notices(cases, notes),
        seconds=seconds,
    )


def rule_names(file: ClearingFile) -> list[str]:
    """Return the rule packs by which a file is cleared, the first being its own.

    Raises
    ------
    UnknownNameError
        There is no such pack.
    """
    own = file.clearing.venue or (DEFAULT_PACK if file.market is None else file.market.venue)
    wanted = [own, *file.clearing.compare]
    if own == ALL or ALL in file.clearing.compare:
        known = [name for name in pack_names() if _says_of_clearing(name)]
        wanted = [*(name for name in wanted if name != ALL), *known]
    return list(dict.fromkeys(wanted))


def _says_of_clearing(name: str) -> bool:
    """Return whether a shipped pack knows its venue's clearing, rather than taking the generic one."""
    return name not in _UNKNOWN and load_pack(name).clearing != load_pack("generic").clearing


def _in_currency(rules: ClearingRules, market: ClearingMarket, stated: ClearingMarket) -> ClearingRules:
    """Return rules whose fund is in the currency of the contracts: a stated balance is one of the linear ones."""
    if rules.fund_start is None or market.instruments[0].settle == stated.instruments[0].settle:
        return rules
    return rules.with_changes(fund_start=rules.fund_start / float(stated.mark_open[0, 0]))


def _markets(
    file: ClearingFile, store: Store | None
) -> tuple[ClearingMarket, ClearingMarket | None, tuple[tuple[str, str], ...]]:
    """Return the market, the bars before it, and what must be said of them, as code and text."""
    if file.shock is not None:
        market, past = made_up_markets(file.shock, _notional(file), file.clearing.past_days)
        return market, past, ()
    if file.market is None:
        raise ConfigError("There is no market to clear.", "Give [market] (a stored one) or [shock] (a made-up crash).")
    if store is None:
        raise UsageError("A stored market needs a store.")
    return _stored(file.market, file.clearing, store, with_past=file.model == "open_interest")


def _stored(
    wanted: MarketConfig, clearing: AccountsConfig, store: Store, *, with_past: bool
) -> tuple[ClearingMarket, ClearingMarket | None, tuple[tuple[str, str], ...]]:
    symbols, timeframe = _found(wanted, store)
    start = None if wanted.start is None else parse_time(wanted.start, "market.start")
    end = None if wanted.end is None else parse_time(wanted.end, "market.end")
    market = load_market(store, wanted.venue, symbols, timeframe, start=start, end=end)
    span = round(clearing.past_days * DAY_MS)
    if not span or not with_past:
        return market, None, ()
    first = int(market.open_time[0])
    try:
        past = load_market(store, wanted.venue, symbols, timeframe, start=first - span, end=first, tiers=market.tiers)
    except BacktesterError:
        text = (
            f"The {clearing.past_days:g} days before the market are not stored: all accounts enter at its first mark."
        )
        return market, None, (("no_past", text),)
    return market, past, ()


def _found(wanted: MarketConfig, store: Store) -> tuple[Sequence[str], str]:
    """Return the contracts and the bar of the replay, from the store where they are not named."""
    stored = store.keys()
    keys = [k for k in stored if k.venue == wanted.venue and k.series == "trade"]
    if not keys:
        venues = sorted({k.venue for k in stored if k.series in BAR_SERIES})
        if not venues:
            raise StoreError(
                f"There is no market data in {store.root}.",
                "Make some with `backtester data demo`, or try `backtester clearing demo`, which needs none.",
            )
        raise UnknownNameError("venue", wanted.venue, venues, f"in {store.root}")
    symbols = wanted.symbols or tuple(sorted({k.symbol for k in keys if ":" in k.symbol}))
    bars = sorted({k.timeframe for k in keys if k.symbol in symbols}, key=timeframe_ms)
    if wanted.timeframe is None and not bars:
        raise UnknownNameError("symbol", symbols[0], sorted({k.symbol for k in keys}), f"of {wanted.venue}")
    return symbols, wanted.timeframe or bars[0]


def _notional(file: ClearingFile) -> float:
    """Return the notional of a made-up crash, whose volumes are multiples of it."""
    shock, given = file.shock or ShockConfig(), file.clearing.open_interest
    if isinstance(given, dict):
        return shock.price * sum(given.values())
    return 1e9 if given is None else given


def _population(
    file: ClearingFile, market: ClearingMarket, past: ClearingMarket | None, *, unit: ClearingMarket
) -> Population:
    """Return the accounts of a market; ``unit`` is the one in whose currency the open interest is stated."""
    config = file.clearing
    if config.runs:
        from backtester.engine.folder import load_result  # noqa: PLC0415 - few clearings need runs

        return from_runs([load_result(run) for run in config.runs], int(market.open_time[0]))
    if config.file is not None:
        return from_table(config.file, market.symbols)
    interest = config.open_interest
    assert interest is not None
    if not isinstance(interest, dict) and market.instruments[0].settle != unit.instruments[0].settle:
        # equal notional: quote units of an inverse contract
        interest = {symbol: float(interest) for symbol in market.symbols}
    mix = {_leverage(key): share for key, share in config.leverage_mix.items()}
    return from_open_interest(
        market,
        interest,
        config.accounts,
        mix or None,
        config.seed,
        isolated_share=config.isolated_share,
        several_share=config.several_share,
        size_spread=config.size_spread,
        spare_wallet=config.spare_wallet,
        holding_hours=config.holding_hours,
        past=past,
    )


def _leverage(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(
            f"clearing.leverage_mix: {text!r} is no leverage.", 'Example: leverage_mix = {"5" = 0.6, "20" = 0.4}'
        ) from error


def _notices(cases: Sequence[Case], notes: Sequence[tuple[str, str]]) -> tuple[Notice, ...]:
    from backtester.engine.result import Notice  # noqa: PLC0415 - polars

    found = [Notice(code, "assumption", text) for code, text in notes]
    texts = list(dict.fromkeys(text for case in cases for text in case.result.notes))
    found += [Notice("clearing_model", "assumption", text) for text in texts]
    rules = cases[0].result.rules
    start = "its size is stated" if rules.fund_start is not None else f"{rules.fund_share:.2%} of the open interest"
    found.append(
        Notice(
            "fund_assumed",
            "assumption",
            f"No venue publishes how far it moves the market or how large its fund is for these contracts: the fund "
            f"begins with {start}, the engine takes up to {rules.volume_share:.0%} of a bar's volume and moves the "
            f"price by {rules.impact:.1%} for all of it. Accounts do not trade after the start.",
        )
    )
    return tuple(found)


def _iso(time_ms: int) -> str:
    return str(np.datetime64(time_ms, "ms")) + "Z"

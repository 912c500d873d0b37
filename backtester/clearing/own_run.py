"""The user's own run in a cleared market: what its venue would have taken from it.

The market is cleared with the account as its guest, the account is replayed with what that did to it, and so on until
nothing changes. It ends. In each bar, what is done to the account at the open depends on its trades of the bars
before; its trades of the bar on what was done to it up to the open; what is done inside the bar on its trades up to
then. Two rounds that agree on what is done in all bars before one therefore agree, a round later, in that bar too:
each round settles at least one bar more in which something happens, so that rounds are at most such bars and one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backtester.clearing.account_table import from_table
from backtester.clearing.market import ClearingMarket, load_market
from backtester.clearing.open_interest import from_open_interest
from backtester.clearing.own_path import contract_rows, own_guest, own_market
from backtester.clearing.population import Population
from backtester.clearing.result import ClearingResult
from backtester.clearing.rules import ClearingRules, clearing_rules
from backtester.clearing.simulate import light_step, simulate
from backtester.domain.config import ClearingConfig
from backtester.domain.enums import VenueEventKind
from backtester.engine.assembly import Inputs, Replayed
from backtester.engine.instructions import VenueEvents
from backtester.engine.result import Notice
from backtester.engine.run import Progress, Striker, Struck, replay_inputs, silent
from backtester.errors import BacktesterError, ConfigError, UsageError
from backtester.market.schema import timeframe_name

if TYPE_CHECKING:
    import polars as pl

    from backtester.market.store import Store

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


class OwnMarket:
    """A run's market with its population and rules, cleared as often as the account changes.

    Parameters
    ----------
    inputs : Inputs
        The run.
    config : ClearingConfig
        The population, and rules that differ from the venue's.
    store : Store
        Where bars before the run may lie, over which entries are spread.
    """

    def __init__(self, inputs: Inputs, config: ClearingConfig, store: Store) -> None:
        self.inputs, self.config, self.store = inputs, config, store
        _refuse_clashes(inputs, config)
        self.rules = _rules(inputs, config)
        self.market: ClearingMarket | None = None
        self.population: Population | None = None

    def cleared(self, run: Replayed) -> ClearingResult:
        """Clear the market with a replayed run as its guest."""
        if self.market is None or self.population is None:
            prepared = run.prepared
            self.market = own_market(self.inputs, prepared.schedule.settlements, prepared.setup.slots)
            self.population = self._population(self.market)
        return simulate(self.market, self.population, self.rules, guest=own_guest(run))

    def _population(self, market: ClearingMarket) -> Population:
        config = self.config
        if config.file is not None:
            return from_table(config.file, market.symbols)
        assert config.open_interest is not None
        mix = {_leverage(key): share for key, share in config.leverage_mix.items()}
        past = self._past(market)
        return from_open_interest(
            market,
            config.open_interest,
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

    def _past(self, market: ClearingMarket) -> ClearingMarket | None:
        """Return the bars before the run, None where they are not stored."""
        start, span = int(market.open_time[0]), round(self.config.past_days * DAY_MS)
        if span == 0:
            return None
        name = timeframe_name(market.bar_ms)
        try:
            return load_market(
                self.store,
                self.inputs.panel.venue,
                market.symbols,
                name,
                start=start - span,
                end=start,
                tiers=market.tiers,
            )
        except BacktesterError:
            return None


def clear_own_run(inputs: Inputs, config: ClearingConfig, store: Store, progress: Progress = silent) -> Struck:
    """Replay a run with what its market's clearing does to it.

    Parameters
    ----------
    inputs : Inputs
        The run, without events of the venue.
    config : ClearingConfig
        The market's population and rules.
    store : Store
        Market data.
    progress : callable
        Called with each round.

    Returns
    -------
    Struck
        The run that its own clearing confirms: cleared once more, nothing changes.

    Raises
    ------
    UsageError
        Events are given too, fills are at the close, or the rounds are used up.
    ConfigError, DataError, AccountError
        The population, the rules or the market cannot be cleared.
    """
    market = OwnMarket(inputs, config, store)
    progress("Replaying", None)
    run = first = replay_inputs(inputs, progress)
    events = VenueEvents()
    for number in range(1, config.most_rounds + 1):
        progress(f"Clearing the market, round {number}", None)
        cleared = market.cleared(run)
        found = guest_events(cleared, inputs)
        if _same(found, events):
            return _struck(run, first, cleared, rounds=number)
        events = found
        run = replay_inputs(replace(inputs, instructions=replace(inputs.instructions, venue_events=events)))
    raise UsageError(
        f"After {config.most_rounds} rounds the market's clearing and the run still change each other.",
        "Raise clearing.most_rounds, or shorten the run: each round settles one more bar that strikes the account.",
    )


def striker_of(config: ClearingConfig, store: Store) -> Striker:
    """Return what replays a run in the market that its venue clears."""

    def strike(inputs: Inputs, progress: Progress) -> Struck:
        return clear_own_run(inputs, config, store, progress)

    return strike


def _refuse_clashes(inputs: Inputs, config: ClearingConfig) -> None:
    resolved = inputs.resolved.config
    if inputs.instructions.venue_events.time.size or resolved.venue_events.deleverage or resolved.venue_events.clawback:
        raise UsageError(
            "A cleared market and events of the venue are both given.",
            "Leave out [clearing] (--clearing), or --deleverage and --clawback.",
        )
    if resolved.execution.fill == "close":
        raise ConfigError(
            "A cleared market does not go with execution.fill = 'close': it would know what is decided at a close.",
            "Set execution.fill = 'next_open'.",
        )
    if (config.open_interest is None) == (config.file is None):
        raise ConfigError(
            "clearing needs an open_interest or a file of accounts, and not both.",
            "Example: [clearing] open_interest = 50_000_000 (notional of each contract) and accounts = 10_000.",
        )
    if config.file is not None and not Path(config.file).is_file():
        raise UsageError(f"There is no file {config.file}.", "clearing.file names a CSV or Parquet file of accounts.")
    if not contract_rows(inputs):
        raise ConfigError("The run trades spot alone: there is nothing to clear.", "Leave out [clearing].")


def _rules(inputs: Inputs, config: ClearingConfig) -> ClearingRules:
    """Return the rules of the venue with what the run changes."""
    start = float(inputs.panel.open_time[0])
    return clearing_rules(config.venue or inputs.resolved.config.data.venue, start, **config.rules)


def _leverage(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(
            f"clearing.leverage_mix: {text!r} is no leverage.", 'Example: leverage_mix = {"5" = 0.6, "20" = 0.4}'
        ) from error


def guest_events(cleared: ClearingResult, inputs: Inputs) -> VenueEvents:
    """Return what a cleared market did to its guest as the replay takes it."""
    frame, rules = cleared.guest, cleared.rules
    panel = inputs.panel
    is_adl = (frame["kind"] == "auto_deleverage").to_numpy()
    opened = frame["open_time"].dt.epoch("ms").to_numpy().astype(np.int64)
    # What is not at the open is inside the bar, whose last millisecond stands for all of it.
    time = np.where(frame["at_open"].to_numpy(), opened, opened + panel.timeframe_ms - 1)
    quantity = frame["quantity"].fill_null(float("nan")).to_numpy().astype(np.float64)
    paid = -frame["amount"].to_numpy().astype(np.float64)
    places = {name: k for k, name in enumerate(panel.symbols)}
    period, offset = round(rules.sharing_hours * HOUR_MS), round(rules.sharing_offset_hours * HOUR_MS)
    since = np.maximum(offset + (opened - offset) // period * period, panel.open_time[0])
    nothing = np.full(opened.size, np.nan)
    return VenueEvents(
        kind=np.where(is_adl, VenueEventKind.DELEVERAGE, VenueEventKind.CLAWBACK).astype(np.int64),
        time=time.astype(np.int64),
        symbol=np.array([places.get(name, 0) for name in frame["symbol"].to_list()], np.int64),
        side=np.where(is_adl, np.sign(np.nan_to_num(quantity)), 0).astype(np.int64),
        fraction=nothing,
        quantity=np.abs(quantity),
        price=frame["price"].fill_null(float("nan")).to_numpy().astype(np.float64),
        mark=frame["mark_price"].fill_null(float("nan")).to_numpy().astype(np.float64),
        rate=nothing,
        amount=np.where(is_adl, np.nan, paid),
        since=np.where(is_adl, -1, since).astype(np.int64),
    )


def _same(one: VenueEvents, other: VenueEvents) -> bool:
    """Return whether two rounds did the very same."""
    names = ("kind", "time", "symbol", "side", "quantity", "price", "mark", "amount")
    return all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in names)


def _struck(run: Replayed, first: Replayed, cleared: ClearingResult, *, rounds: int) -> Struck:
    summary = cleared.summary
    many = "" if rounds == 1 else "s"
    text = (
        f"The account is one of {int(summary['accounts'] or 0) + 1:,} in a market cleared by the rules of "
        f"{cleared.rules.name}: {summary['liquidated_accounts']:,} were liquidated, "
        f"{summary['deleveraged_accounts']:,} deleveraged; settled in {rounds} round{many}. "
        f"{' '.join(cleared.notes)}"
    )
    return Struck(
        run,
        first.records.equity if rounds > 1 else None,
        light_frame(cleared, run),
        (Notice("market_cleared", "assumption", text),),
        {"clearing": {"rounds": rounds, "rules": cleared.rules.model_dump(mode="json"), "summary": dict(summary)}},
    )


def light_frame(cleared: ClearingResult, run: Replayed) -> pl.DataFrame:
    """Return the account's light and the funds' worth over time: at most 500 times, besides those of events.

    The last bar and that of the lowest worth are always there.

    The light of a bar in which the account was deleveraged is that with which it was, elsewhere that of the close.
    """
    import polars as pl  # noqa: PLC0415 - heavy

    bars = cleared.fund["open_time"].unique(maintain_order=True)
    worth = cleared.fund.group_by("open_time", maintain_order=True).agg(pl.col("worth").sum().alias("fund_worth"))
    looked_at = np.arange(len(bars)) % light_step(len(bars)) == 0
    looked_at[[int(worth["fund_worth"].arg_min() or 0), len(bars) - 1]] = True
    kept = bars.filter(pl.Series(looked_at) | bars.is_in(cleared.guest["open_time"].implode()))
    times = pl.DataFrame({"open_time": kept})
    names = pl.DataFrame({"symbol": [run.panel.symbols[k] for k in contract_rows(run)]}, schema={"symbol": pl.String})
    key = ["open_time", "symbol"]
    with_which = cleared.guest.drop_nulls("light").group_by(key, maintain_order=True).agg(pl.col("light").first())
    lights = cleared.lights.join(with_which.rename({"light": "with_which"}), on=key, how="full", coalesce=True)
    lights = lights.select(*key, pl.coalesce("with_which", "light").alias("light"))
    return (
        times.join(names, how="cross")
        .join(lights, on=key, how="left", maintain_order="left")
        .join(worth, on="open_time", how="left", maintain_order="left")
        .select("open_time", "symbol", "light", "fund_worth")
    )

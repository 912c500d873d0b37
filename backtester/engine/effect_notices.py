"""What a run must tell of its own settings and decisions: those without effect, those assumed, those that clash."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from backtester.domain.config import RunConfig
from backtester.domain.enums import ContractKind
from backtester.domain.instrument import is_spot_name
from backtester.engine.decisions import Decisions
from backtester.engine.resolve import ResolvedRun
from backtester.engine.result import Notice, listed
from backtester.strategy.columns import TARGETS

# Keys that count under another one alone: section, key, the section and key that decide, and the values under which.
_BOUND_KEYS = (
    ("sizing", "vol_target", "sizing", "unit", ("volatility",)),
    ("sizing", "vol_window", "sizing", "unit", ("volatility",)),
    ("costs", "half_spread_bps", "costs", "slippage", ("half_spread",)),
    ("costs", "volatility_factor", "costs", "slippage", ("volatility",)),
    ("costs", "impact_factor", "costs", "slippage", ("impact",)),
    ("costs", "window", "costs", "slippage", ("volatility", "impact")),
    ("execution", "band", "execution", "rebalance", ("band",)),
    ("funding", "rate", "funding", "source", ("constant",)),
)
# Keys that count for what a strategy decides: the key of [execution], and the columns of which one is needed.
_DECIDED_KEYS = (
    ("limit_bars", ("limit_price",)),
    ("post_only", ("limit_price",)),
    ("stop_limit_bps", ("stop_loss", "stop_price")),
    ("take_profit", ("take_profit", "take_profit_price")),
    ("trigger", ("stop_loss", "stop_price", "trailing_stop", "take_profit", "take_profit_price")),
)


def effect_notices(asked: RunConfig, resolved: ResolvedRun, decisions: Decisions) -> list[Notice]:
    """Return what is told of settings and decisions before the replay.

    Parameters
    ----------
    asked : RunConfig
        The configuration before it was resolved: it knows which keys were named.
    resolved : ResolvedRun
        The run.
    decisions : Decisions
        What is to be traded.
    """
    found = [
        _unused(resolved.config, decisions),
        _unnamed(asked, resolved, decisions),
        _leverages(asked, resolved, decisions),
        _restless_sizing(resolved.config, decisions),
        _short_spot(resolved, decisions),
    ]
    return [notice for notice in found if notice is not None]


def _unused(config: RunConfig, decisions: Decisions) -> Notice | None:
    """Tell keys that differ from their default and change nothing."""
    told = []
    for section, key, other, decisive, values in _BOUND_KEYS:
        if _is_changed(config, section, key) and getattr(getattr(config, other), decisive) not in values:
            told.append(f"{section}.{key} (counts with {other}.{decisive} = {' or '.join(values)})")
    if _is_changed(config, "fees", "volume_30d") and not config.fees.tiers:
        told.append("fees.volume_30d (counts with fees.tiers)")
    if _is_changed(config, "universe", "volume_days") and config.universe.top_volume is None:
        told.append("universe.volume_days (counts with universe.top_volume)")
    if decisions.loop is None:  # a loop sets its exits itself
        columns = set(decisions.targets.columns)
        for key, needed in _DECIDED_KEYS:
            if _is_changed(config, "execution", key) and not columns.intersection(needed):
                told.append(f"execution.{key} (counts where {' or '.join(needed)} is decided)")
    if not told:
        return None
    return Notice("settings_unused", "warning", f"Set, but without effect in this run: {', '.join(told)}.")


def _is_changed(config: RunConfig, section: str, key: str) -> bool:
    """Return whether a key differs from its default: a run's own config.toml names every key."""
    values = getattr(config, section)
    return bool(getattr(values, key) != type(values).model_fields[key].get_default(call_default_factory=True))


def _unnamed(asked: RunConfig, resolved: ResolvedRun, decisions: Decisions) -> Notice | None:
    """Tell which figures of the account were assumed because nobody named them."""
    account, named = resolved.config.account, asked.account.model_fields_set
    assumed = []
    if "balance" not in named:
        assumed.append(f"balance {account.balance:,.10g} {resolved.settle}")
    is_decided = "leverage" in decisions.targets.columns
    own = [symbol for symbol in resolved.symbols if _own_leverage(asked, symbol) is None]
    needs_leverage = any(resolved.instruments[symbol].kind is not ContractKind.SPOT for symbol in own)
    if "leverage" not in named and needs_leverage and not is_decided:
        assumed.append(f"leverage {account.leverage:g}")
    if "margin_mode" not in named:
        assumed.append(f"margin mode {account.margin_mode}")
    if not assumed:
        return None
    return Notice("account_assumed", "assumption", f"Not named, so assumed: {', '.join(assumed)}.")


def _own_leverage(config: RunConfig, symbol: str) -> float | None:
    stated = config.instruments.get(symbol)
    return None if stated is None else stated.leverage


def _leverages(asked: RunConfig, resolved: ResolvedRun, decisions: Decisions) -> Notice | None:
    """Tell which leverage wins where several are set."""
    account = resolved.config.account.leverage
    sources = []
    if "leverage" in decisions.targets.columns:
        sources.append("leverage() of the strategy" if decisions.bars is not None else "the column leverage")
    own = [symbol for symbol in resolved.symbols if _own_leverage(asked, symbol) is not None]
    if own:
        sources.append(f'leverage of [instruments."SYMBOL"] ({listed(own)})')
    # The venue's own figure is no second choice; a run's config.toml names it as the account's.
    if "leverage" in asked.account.model_fields_set and account != resolved.rules.leverage:
        sources.append(f"account.leverage = {account:g}")
    if len(sources) < 2:
        return None
    text = f"Leverage is set in {len(sources)} places, the first that says something wins: {'; '.join(sources)}."
    return Notice("leverage_chosen", "assumption", text)


def _restless_sizing(config: RunConfig, decisions: Decisions) -> Notice | None:
    """Tell that volatility moves every target, so that every bar trades."""
    if config.sizing.unit != "volatility" or config.execution.rebalance != "on_change" or decisions.loop is not None:
        return None
    text = (
        "Sizing by volatility moves every target at every bar, and under execution.rebalance = on_change each move is "
        'an order: rebalance = "band" trades when the drift exceeds execution.band.'
    )
    return Notice("volatility_trades_every_bar", "warning", text)


def _short_spot(resolved: ResolvedRun, decisions: Decisions) -> Notice | None:
    """Tell targets below zero on spot, which want nothing."""
    targets = decisions.targets
    spot = [symbol for symbol in resolved.symbols if resolved.instruments[symbol].kind is ContractKind.SPOT]
    columns = [name for name in TARGETS if name in targets.columns]
    if not spot or not columns:
        return None
    below = targets.filter(pl.col("symbol").is_in(spot) & pl.any_horizontal(pl.col(name) < 0 for name in columns))
    if below.is_empty():
        return None
    names = below["symbol"].unique(maintain_order=True).to_list()
    count = f"{below.height:,} target{'s' if below.height > 1 else ''} below 0 on spot ({listed(names)})"
    text = f"{count} {'want' if below.height > 1 else 'wants'} nothing: spot can be held, never sold short."
    return Notice("spot_short", "warning", text)


def idle_notices(
    decisions: Decisions, symbols: Iterable[str], orders: pl.DataFrame, fills: pl.DataFrame
) -> list[Notice]:
    """Return the warning that nothing was traded in the whole run, with what it may lack.

    Parameters
    ----------
    decisions : Decisions
        What was to be traded.
    symbols : iterable of str
        Contracts and spot pairs of the run.
    orders, fills : polars.DataFrame
        Records of the run.
    """
    if orders.height or fills.height:
        return []
    names = list(symbols)
    if decisions.loop is not None:
        why = f"{decisions.name} asked for none"
    elif decisions.targets.is_empty():
        why = f"{decisions.name} decided nothing"
    else:
        why = f"no target of {decisions.name} wanted anything but what was held"
    hints = []
    if len(names) == 1:
        hints.append("a strategy that compares symbols needs several")
    if not any(is_spot_name(name) for name in names):
        pair = names[0].partition(":")[0]
        hints.append(
            "a strategy that trades spot against contracts needs both named, since spot is left out where no symbols "
            f"are named (--symbols {pair},{names[0]})"
        )
    text = f"No order was made in the whole run: {why}."
    if hints:
        text = f"{text} {_sentence('; '.join(hints))}"
    return [Notice("no_orders", "warning", text)]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."

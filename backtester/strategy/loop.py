"""What an ``on_bar`` function reads and asks through: ``from backtester.strategy import loop``.

Every function takes the context first; ``i`` is the place of a contract in the run, ``back`` counts bars before the one
that has just closed. What is asked for takes effect at the next open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numba

from backtester.domain.enums import OrderKind, SettingField, TriggerPrice
from backtester.kernel.loop import (
    POST_ONLY,
    REDUCE_ONLY,
    LoopContext,
    amend,
    available_margin,
    bar_number,
    cancel,
    cancel_all,
    close_position,
    close_price,
    close_time,
    entry_price,
    equity,
    high_price,
    index_price,
    indicator,
    leg_entry_price,
    leg_quantity,
    low_price,
    mark_price,
    open_price,
    quantity,
    remaining,
    set_exit,
    submit_limit,
    submit_market,
    submit_order,
    submit_stop,
    submit_stop_limit,
    submit_take_profit,
    submit_trailing,
    symbol_count,
    volume,
    wallet_balance,
)
from backtester.strategy.compiled import (
    USER_OPTIONS,
    compiled_on_bar,
    failed_bar,
    loop_params,
    loop_state,
    python_on_bar,
)

Params: TypeAlias = Any  # a NamedTuple of floats, by the names of the strategy's own parameters
F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function of one's own, so that ``on_bar`` can call it: ``@loop.compiled`` above its ``def``."""
    decorated: F = numba.njit(**USER_OPTIONS)(function)
    return decorated


__all__ = [
    "POST_ONLY",
    "REDUCE_ONLY",
    "LoopContext",
    "OrderKind",
    "Params",
    "SettingField",
    "TriggerPrice",
    "amend",
    "available_margin",
    "bar_number",
    "cancel",
    "cancel_all",
    "close_position",
    "close_price",
    "close_time",
    "compiled",
    "compiled_on_bar",
    "entry_price",
    "equity",
    "failed_bar",
    "high_price",
    "index_price",
    "indicator",
    "leg_entry_price",
    "leg_quantity",
    "loop_params",
    "loop_state",
    "low_price",
    "mark_price",
    "open_price",
    "python_on_bar",
    "quantity",
    "remaining",
    "set_exit",
    "submit_limit",
    "submit_market",
    "submit_order",
    "submit_stop",
    "submit_stop_limit",
    "submit_take_profit",
    "submit_trailing",
    "symbol_count",
    "volume",
    "wallet_balance",
]

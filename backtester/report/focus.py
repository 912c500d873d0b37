"""Ways from a table or a card to the moment in a figure that it speaks of."""

from __future__ import annotations

from backtester.engine.result import Result

Place = tuple[str, int, int]
"""Name of a plot, first and last moment to show [ms since 1970, UTC]."""

CONTEXT_BARS = 12


def price_focus(result: Result, symbol: str, first: int, last: int) -> Place | None:
    """Return where the price chart shows a span with some bars around it; None where the contract has none.

    Parameters
    ----------
    result : Result
        The run.
    symbol : str
        The contract.
    first, last : int
        Span [ms since 1970, UTC].
    """
    if symbol not in result.symbols:
        return None
    around = CONTEXT_BARS * result.timeframe_ms
    return f"price-{result.symbols.index(symbol)}", first - around, last + around


def focus_text(focus: Place | None) -> str:
    """Return the attribute ``data-focus`` of an element that leads there; empty where there is nowhere to go."""
    return "" if focus is None else f"{focus[0]}:{focus[1]}:{focus[2]}"

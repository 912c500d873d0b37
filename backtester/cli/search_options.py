"""What the commands that search over many runs have in common: the options of a run, and how they become one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtester.cli.options import split_list

if TYPE_CHECKING:
    from backtester.domain.config import RunConfig

INTERRUPTED = 130
"""Exit code of what Ctrl-C ended."""

GridOption = Annotated[
    list[str] | None,
    typer.Option(
        "-g",
        "--grid",
        metavar="NAME=VALUES",
        help="Where a parameter is looked for (repeatable): fast=5:200:5, slow=log:50:2000, exposure=0.5:2.0, "
        "account.leverage=1,3,5.",
    ),
]
ObjectiveOption = Annotated[
    str | None,
    typer.Option(
        "--objective",
        metavar="METRIC",
        help="What is to be best (default: sharpe); max: or min: before it says where the better values lie.",
    ),
]
ConstraintOption = Annotated[
    list[str] | None,
    typer.Option("--constraint", metavar="SQL", help='What a set must fulfil (repeatable): "max_drawdown > -0.3".'),
]
SeedOption = Annotated[int | None, typer.Option("--seed", metavar="N", min=0, help="Of the sampler; default: drawn.")]
BatchOption = Annotated[
    int | None, typer.Option("--batch", metavar="N", min=1, help="Sets that are evaluated together.")
]


def given_options(
    *,
    venue: str | None,
    symbols: list[str] | None,
    timeframe: str | None,
    detail: str | None,
    start: str | None,
    end: str | None,
    leverage: float | None,
    margin_mode: str | None,
    position_mode: str | None,
    balance: float | None,
) -> dict[str, dict[str, Any]]:
    """Return the options of a run by section."""
    from backtester.errors import UsageError

    names = split_list(symbols) or None
    if symbols and not names:
        raise UsageError("--symbols names no contract.", "Leave it out to run all of the venue.")
    return {
        "data": {
            "venue": venue,
            "symbols": names,
            "timeframe": timeframe,
            "detail": detail,
            "start": start,
            "end": end,
        },
        "account": {
            "leverage": leverage,
            "margin_mode": margin_mode,
            "position_mode": position_mode,
            "balance": balance,
        },
    }


def search_config(
    strategy: str | None,
    config: Path | None,
    settings: list[str],
    params: list[str],
    options: dict[str, dict[str, Any]],
) -> RunConfig:
    """Return the configuration that all sets have in common."""
    from backtester.cli.output import say
    from backtester.cli.run import _tree
    from backtester.engine.run_file import build_config

    tree, unused = _tree(config, settings, {**options, "strategy": {"name": strategy}}, params)
    if unused:
        say(f"Note: {unused}")
    return build_config(tree)


def run_options_given(
    config: Path | None, settings: list[str] | None, params: list[str] | None, options: dict[str, dict[str, Any]]
) -> bool:
    """Return whether anything is said of the run that the sets have in common."""
    said = [value for section in options.values() for value in section.values()]
    return any(value is not None for value in [config, settings or None, params or None, *said])


def figure_cell(name: str, value: Any, settle: str) -> str:
    """Return a figure as the table of a run has it; a parameter, or a metric that such a table lacks, as a number."""
    from backtester.engine.result import KEY_FIGURES, figure_text

    for key, _, style in KEY_FIGURES:
        if key == name:
            return figure_text(value, style, settle)
    return cell(value)


def cell(value: Any) -> str:
    """Return a value as a table has it."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)

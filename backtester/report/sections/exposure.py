"""Exposure over time and by contract, turnover, time in the market."""

from __future__ import annotations

import numpy as np
import polars as pl

from backtester.analytics import holdings
from backtester.analytics.held import HeldAtCloses, held_at_closes
from backtester.analytics.value import FloatArray
from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.block import Block, block_section
from backtester.report.downsample import extremes
from backtester.report.figures.series import HELD_NOTE, held_rows, is_cut
from backtester.report.key_figures import money_decimals
from backtester.report.section import Plot, Section
from backtester.report.table import Column, build

STACKED = 8
"""Contracts with a colour of their own; others are summed."""
POINTS = 700


def exposure_section(result: Result) -> Section:
    """Return exposure, turnover and time in the market."""
    blocks: tuple[Block, ...] = ()
    if result.fills.height or result.positions.height:
        held = held_at_closes(result)
        blocks = (_course_block(result, held), *_symbol_block(result, held), _turnover_block(result))
    return block_section(
        blocks,
        id="exposure",
        title="Exposure and turnover",
        short="Exposure",
        lead="Notional as a multiple of equity at bar closes: gross adds longs and shorts, net sets them off; turnover "
        "is what was traded over mean equity.",
        empty="No position was held.",
    )


def _course_block(result: Result, held: list[HeldAtCloses]) -> Block:
    times, summary = holdings.market_time(result, held), result.summary

    def factor(key: str, *, signed: bool = False) -> str:
        value = summary[key]
        known = float(value) if isinstance(value, (int, float)) else None
        return numbers.decimal(known, signed=signed, unit=numbers.TIMES)

    return Block(
        "exposure-course",
        plots=(Plot("exposure", "Gross and net exposure over time.", figures.exposure_figure(result.equity)),),
        note=HELD_NOTE if is_cut(result.equity) else "",
        facts=(
            ("time_in_market", "Time in the market", numbers.percent(times["any"], 1, signed=False)),
            ("time_long", "Some long", numbers.percent(times["long"], 1, signed=False)),
            ("time_short", "Some short", numbers.percent(times["short"], 1, signed=False)),
            ("mean_exposure", "Mean gross exposure", factor("mean_exposure")),
            ("mean_net_exposure", "Mean net exposure", factor("mean_net_exposure", signed=True)),
            ("turnover", "Turnover", factor("turnover")),
            ("annual_turnover", "Turnover a year", factor("annual_turnover")),
        ),
    )


def _symbol_block(result: Result, held: list[HeldAtCloses]) -> tuple[Block, ...]:
    """Return the part of each contract; of a single one all is said above."""
    by_symbol = holdings.exposure_by_symbol(result, held)
    if by_symbol.height < 2:
        return ()
    times, stacked = stacked_exposures(result, held)
    plots: tuple[Plot, ...] = ()
    if stacked:
        figure = figures.exposure_symbols_figure(times, stacked)
        plots = (Plot("exposure-symbols", "Exposure of each contract over time, stacked.", figure),)
    digits = money_decimals(result)
    columns = [
        Column("symbol", "Symbol", lambda r: r["symbol"], is_number=False),
        Column("long_share", "Time long", lambda r: numbers.percent(r["long_share"], 1, signed=False)),
        Column("short_share", "Time short", lambda r: numbers.percent(r["short_share"], 1, signed=False)),
        Column("mean_exposure", "Mean while held", lambda r: numbers.decimal(r["mean_exposure"], unit=numbers.TIMES)),
        Column("largest_exposure", "Largest", lambda r: numbers.decimal(r["largest_exposure"], unit=numbers.TIMES)),
        Column("traded", f"Traded ({result.settle})", lambda r: numbers.decimal(r["traded"], digits)),
        Column("turnover", "Turnover", lambda r: numbers.decimal(r["turnover"], unit=numbers.TIMES)),
    ]
    return (
        Block(
            "exposure-by-symbol",
            title="By symbol",
            lead="Longs are stacked above zero, shorts below: the height of both together is the gross exposure.",
            plots=plots,
            tables=(build("exposure-symbols", "Exposure by contract", by_symbol, columns, page_size=10),),
            note=f"The {STACKED} contracts with the largest mean exposure have a colour, the others are grey together."
            if "others" in stacked
            else "",
        ),
    )


def stacked_exposures(
    result: Result, held: list[HeldAtCloses]
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], dict[str, tuple[FloatArray, FloatArray]]]:
    """Return closes that keep the extremes, and the exposure of each contract there, the largest first.

    Parameters
    ----------
    result : Result
        A replayed run.
    held : list of HeldAtCloses
        From `held_at_closes`.

    Returns
    -------
    tuple of ndarray and dict
        Closes [ms since 1970, UTC]; long and short exposure by contract, at most `STACKED` and ``others``.
    """
    shown = result.equity[held_rows(result.equity)]
    kept = extremes(shown["gross_exposure"].cast(pl.Float64).fill_null(np.nan).to_numpy(), POINTS)
    closes = shown["close_time"].gather(kept).cast(pl.Int64).to_numpy()
    equity = shown["equity"].gather(kept).cast(pl.Float64).to_numpy()
    found = holdings.exposure_at(held, closes, equity)
    order = sorted(found, key=lambda symbol: -float(np.nansum(found[symbol][0] - found[symbol][1])))
    if len(order) <= STACKED + 1:
        return closes, {symbol: found[symbol] for symbol in order}
    chosen = {symbol: found[symbol] for symbol in order[:STACKED]}
    rest = [found[symbol] for symbol in order[STACKED:]]
    chosen["others"] = (np.sum([long for long, _ in rest], axis=0), np.sum([short for _, short in rest], axis=0))
    return closes, chosen


def _turnover_block(result: Result) -> Block:
    monthly = holdings.monthly_turnover(result).drop_nulls("turnover")
    figure = figures.turnover_figure(monthly, result.settle, money_decimals(result))
    return Block(
        "exposure-turnover",
        title="Turnover by month",
        lead="Notional of all fills of a month over its mean equity; at 2\u00d7 the account was bought and sold once.",
        plots=(Plot("turnover", "Turnover of each month.", figure),) if monthly.height else (),
    )

"""Costs by kind: fees, slippage, funding, liquidation."""

from __future__ import annotations

import polars as pl

from backtester.analytics import costs as costing
from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.block import Block, block_section
from backtester.report.key_figures import money_decimals, money_plain
from backtester.report.section import Plot, Section
from backtester.report.table import Column, build

LABELS = {
    "taker_fees": "Taker fees",
    "maker_fees": "Maker fees",
    "slippage": "Slippage",
    "funding_paid": "Funding paid",
    "liquidation": "Liquidation",
}


def costs_section(result: Result) -> Section:
    """Return what the run cost, by kind and over time."""
    found = costing.costs(result)
    blocks: tuple[Block, ...] = ()
    if result.fills.height:
        shown = [k for k in costing.KINDS if found.amounts[k] or k in ("taker_fees", "slippage", "funding_paid")]
        blocks = (_table_block(result, found, shown), *_course_block(result, found, shown))
    return block_section(
        blocks,
        id="costs",
        title="Costs",
        short="Costs",
        lead="What trading and holding took, as positive amounts: in money, per traded notional, and as a part of the "
        "profit that prices brought before any cost.",
        empty="Nothing was traded, so nothing was paid.",
    )


def _table_block(result: Result, found: costing.Costs, shown: list[str]) -> Block:
    digits = money_decimals(result)
    rows = [
        (LABELS[k], found.amounts[k], found.in_bps(found.amounts[k]), found.of_profit(found.amounts[k])) for k in shown
    ]
    rows.append(("All costs", found.total, found.in_bps(found.total), found.of_profit(found.total)))
    schema = {"kind": pl.String, "amount": pl.Float64, "bps": pl.Float64, "share": pl.Float64}
    columns = [
        Column("kind", "Kind", lambda r: r["kind"], is_number=False),
        Column("amount", result.settle, lambda r: numbers.decimal(r["amount"], digits)),
        Column("bps", "bps of traded", lambda r: numbers.decimal(r["bps"])),
        Column("share", "of gross profit", lambda r: numbers.percent(r["share"], 1, signed=False)),
    ]
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return Block(
        "costs-kinds",
        facts=(
            ("costs", "All costs", money_plain(result, found.total)),
            ("gross_profit", "Gross profit (price)", money_plain(result, found.gross_profit)),
            ("traded", "Traded notional", money_plain(result, found.traded)),
            ("funding_back", "Funding received, not set off", money_plain(result, found.funding_received)),
        ),
        tables=(build("costs", "Costs by kind", frame, columns),),
        note=_note(found),
    )


def _note(found: costing.Costs) -> str:
    """Return what the figures include."""
    without = "" if found.gross_profit > 0 else " Prices brought no profit, so there is no share of it."
    return (
        "Traded are the account's own fills; liquidation is the fee, what of the margin went to the fund, and the "
        f"engine's slippage where the account bears it.{without}"
    )


def _course_block(result: Result, found: costing.Costs, shown: list[str]) -> tuple[Block, ...]:
    events = costing.cost_events(result)
    if events.is_empty():
        return ()
    figure = figures.cost_figure(events, {k: LABELS[k] for k in shown}, result.settle, (result.start, result.end))
    label = f"Running total of each kind of cost; together {money_plain(result, found.total)}."
    return (
        Block(
            "costs-course",
            title="Over time",
            lead="Running totals; a steep line is an expensive time.",
            plots=(Plot("costs", label, figure),),
        ),
    )

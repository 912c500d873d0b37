"""Round trips: what they have in common, and the table of all."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from backtester.analytics import trade_groups
from backtester.analytics.value import IntArray
from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.key_figures import money_decimals
from backtester.report.part import Part, parts_section
from backtester.report.section import Plot, Section
from backtester.report.table import Column, Focus, build, milliseconds

LIMIT = 20_000
_FEW = 3  # closed trips from which on they are compared


def trade_section(result: Result) -> Section:
    """Return what the round trips have in common, and all of them as a table."""
    lead = "From flat to flat, or to a flip. P&L is price profit alone, Net is after fees, funding and liquidation."
    if result.trades.is_empty():
        return parts_section("trades", "Trades", "Trades", lead, [Part("", empty="No trade was opened.")])
    frame = result.trades.with_columns((pl.col("exit_time") - pl.col("entry_time")).alias("held"))
    table = build("trades", "Round trips", frame, columns(result), LIMIT, focus=_on_price(result))
    cut = f" The first {LIMIT:,} of {table.total:,}; trades.parquet has all." if table.total > LIMIT else ""
    note = "Search, filter and sort; a row goes to its place on the price chart." + cut
    return parts_section(
        "trades", "Trades", "Trades", lead, [*_common(result), Part("All round trips", note, tables=(table,))]
    )


def _common(result: Result) -> list[Part]:
    """Return what closed trips have in common; that nothing can be told of none."""
    ended = trade_groups.closed(result.trades)
    if ended.is_empty():
        return [Part("", empty="No trade was closed yet.")]
    if ended.height < _FEW:
        return [Part("", empty=f"Of {ended.height} closed trip{'s' if ended.height > 1 else ''} nothing can be told.")]
    return [
        _streaks(result, ended),
        _excursions(ended),
        _results(result, ended),
        _holding(ended),
        _groups(result, ended),
    ]


def _streaks(result: Result, ended: pl.DataFrame) -> Part:
    """Return the longest runs of gains and losses."""
    found = trade_groups.streaks(ended)
    lost = numbers.decimal(found.loss_amount, money_decimals(result), signed=True, unit=f"\u00a0{result.settle}")
    facts = [
        ("", "Most gains in a row", numbers.count(found.longest_gain)),
        ("", "Most losses in a row", numbers.count(found.longest_loss)),
        ("", "About by chance", numbers.decimal(found.expected_loss, 0)),
        ("", "Costliest run of losses", lost),
    ]
    return Part(
        "Streaks", "By time of exit; by chance: the longest run of losses to expect at this hit rate.", facts=facts
    )


def _excursions(ended: pl.DataFrame) -> Part:
    """Return how far price went against and for each trip."""
    losers = ended.filter(pl.col("net_pnl") <= 0)
    said = ""
    if losers.height:
        was_ahead = float((losers["mfe"] > -losers["mae"]).to_numpy().mean())
        said = (
            f" {numbers.percent(was_ahead, 0, signed=False)} of the losing trips were at their best further ahead than "
            "they were behind at their worst."
        )
    plot = Plot(
        "excursions", "Worst against best price of each trip while it was held.", figures.excursion_figure(ended)
    )
    return Part(
        "How far price went",
        "Each point is a trip, by its worst and best traded price against the entry." + said,
        plots=(plot,),
        is_half=True,
    )


def _results(result: Result, ended: pl.DataFrame) -> Part:
    """Return the spread of net results."""
    net = ended["net_pnl"].to_numpy()
    best = np.sort(net)[::-1][: max(1, len(net) // 20)]
    total = float(net.sum())
    rest = total - float(best.sum())
    digits, unit = money_decimals(result), f"\u00a0{result.settle}"
    few = "one" if len(best) == 1 else f"{len(best):,}"
    note = (
        f"Net {numbers.decimal(total, digits, signed=True, unit=unit)} over {len(net):,} closed trips; without the "
        f"best {few} of them {numbers.decimal(rest, digits, signed=True, unit=unit)}."
    )
    plot = Plot(
        "results", "Histogram of the net results of closed trips.", figures.result_figure(net, result.settle, digits)
    )
    return Part("Results", note, plots=(plot,), is_half=True)


def _holding(ended: pl.DataFrame) -> Part:
    """Return how long trips were held."""
    labels, gains, losses = trade_groups.by_holding(ended)
    held = (ended["exit_time"] - ended["entry_time"]).dt.total_milliseconds()
    gain = (ended["net_pnl"] > 0).to_numpy()
    middles = [_half(name, held.to_numpy()[part]) for name, part in (("gains", gain), ("losses", ~gain))]
    note = " and ".join(middles)
    note = f"{note[0].upper()}{note[1:]}."
    plot = Plot(
        "holding",
        "Trips by holding time, gains and losses.",
        figures.holding_figure(labels, gains.tolist(), losses.tolist()),
    )
    return Part("Holding time", note, plots=(plot,), is_half=True)


def _half(name: str, held: IntArray) -> str:
    """Return how long half of the gains or losses were held, at least."""
    if not len(held):
        return f"there were no {name}"
    return f"half of the {name} were held for {numbers.duration(float(np.median(held)))} or more"


def _groups(result: Result, ended: pl.DataFrame) -> Part:
    """Return trips by side and reason of the exit."""
    digits = money_decimals(result)
    shown = [
        Column(
            "position_side",
            "Side, exit",
            lambda r: (r["position_side"], r["exit_reason"].replace("_", " ")),
            is_number=False,
            also="exit_reason",
        ),
        Column("trades", "Trips", lambda r: numbers.count(r["trades"])),
        Column("hit_rate", "Hit rate", lambda r: numbers.percent(r["hit_rate"], 1, signed=False)),
        Column("profit_factor", "Profit factor", lambda r: numbers.decimal(r["profit_factor"])),
        Column("average", "Mean", lambda r: numbers.decimal(r["average"], digits, signed=True), is_signed=True),
        Column("total", "Total", lambda r: numbers.decimal(r["total"], digits, signed=True), is_signed=True),
        Column("held", "Mean held", lambda r: numbers.duration(r["held"].total_seconds() * 1000)),
    ]
    table = build("exits", "Trips by side and exit", trade_groups.by_exit(ended), shown)
    return Part(
        "By side and exit",
        "What ended the trips, and what each way of ending brought net.",
        tables=(table,),
        is_half=True,
    )


def _on_price(result: Result) -> Focus:
    """Return where a round trip stands: from its entry to its exit on the price of its symbol."""
    plots = {symbol: f"price-{number}" for number, symbol in enumerate(result.symbols)}
    end = result.end

    def focus(row: dict[str, Any]) -> tuple[str, int, int] | None:
        plot = plots.get(row["symbol"])
        if plot is None:
            return None
        stop = end if row["exit_time"] is None else milliseconds(row["exit_time"])
        return plot, milliseconds(row["entry_time"]), stop

    return focus


def columns(result: Result) -> list[Column]:
    """Return the columns of the table; amounts are in the settlement currency."""
    digits = money_decimals(result)

    def money(key: str, label: str, *, signed: bool = False) -> Column:
        return Column(key, label, lambda r: numbers.decimal(r[key], digits, signed=True), is_signed=signed)

    return [
        Column(
            "symbol", "Position", lambda r: (r["symbol"], r["position_side"]), is_number=False, also="position_side"
        ),
        Column(
            "entry_time",
            "Entry",
            lambda r: (numbers.moment(r["entry_time"]), numbers.price(r["entry_price"])),
            also="entry_price",
        ),
        Column("exit_time", "Exit", _exit, also="exit_price"),
        Column("held", "Held, end", _held, also="exit_reason"),
        Column("quantity", "Size", lambda r: numbers.quantity(r["quantity"])),
        money("pnl", "P&L"),
        money("fees", "Fees"),
        money("funding", "Funding"),
        money("net_pnl", "Net", signed=True),
        Column("mae", "MAE, MFE", lambda r: (numbers.percent(r["mae"], 1), numbers.percent(r["mfe"], 1)), also="mfe"),
    ]


def _exit(row: dict[str, Any]) -> tuple[str, str]:
    """Return time and price of the exit; an open trip may have sold a part already."""
    if row["exit_time"] is None:
        return ("still open", numbers.price(row["exit_price"]) if row["exit_price"] else "")
    return (numbers.moment(row["exit_time"]), numbers.price(row["exit_price"]))


def _held(row: dict[str, Any]) -> tuple[str, str]:
    """Return the holding time and why it ended."""
    held = numbers.NONE if row["held"] is None else numbers.duration(row["held"].total_seconds() * 1000)
    return held, row["exit_reason"].replace("_", " ")

"""Round trips: what they have in common, and the table of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
from backtester.report.table import Column, build

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


def _on_price(result: Result) -> list[str | None]:
    """Return where each round trip stands: from its entry to its exit on the price of its symbol."""
    plots = {symbol: f"price-{number}" for number, symbol in enumerate(result.symbols)}
    places = result.trades.select(
        "symbol", pl.col("entry_time").dt.epoch("ms"), pl.col("exit_time").dt.epoch("ms").fill_null(result.end)
    )
    return [f"{plots[symbol]}:{start}:{end}" if symbol in plots else None for symbol, start, end in places.iter_rows()]


def columns(result: Result) -> list[Column]:
    """Return the columns of the table; amounts are in the settlement currency, and the net is their sum."""
    digits = money_decimals(result)

    def money(key: str, label: str, *, signed: bool = False) -> Column:
        return _bulk(key, label, lambda f: texts(f, key), is_signed=signed)

    def texts(frame: pl.DataFrame, key: str) -> list[str]:
        return numbers.decimals(frame[key].to_list(), digits, signed=True)

    funding = money("funding", "Funding")
    if (result.trades["liquidation"] != 0).any():
        funding = _bulk(
            "funding",
            "Funding, liquidation",
            lambda f: _pairs(texts(f, "funding"), _where(texts(f, "liquidation"), f["liquidation"] != 0)),
            also="liquidation",
        )
    return [
        _bulk(
            "symbol",
            "Position",
            lambda f: _pairs(f["symbol"], f["position_side"]),
            is_number=False,
            also="position_side",
        ),
        _bulk(
            "entry_time",
            "Entry",
            lambda f: _pairs(_moments(f["entry_time"]), _prices(f["entry_price"])),
            also="entry_price",
        ),
        _bulk("exit_time", "Exit", _exits, also="exit_price"),
        _bulk("held", "Held, end", _held, also="exit_reason"),
        _bulk("quantity", "Size", lambda f: [numbers.quantity(q) for q in f["quantity"].to_list()]),
        money("pnl", "P&L"),
        money("fees", "Fees"),
        funding,
        money("net_pnl", "Net", signed=True),
        _bulk("mae", "MAE, MFE", lambda f: _pairs(_percents(f["mae"]), _percents(f["mfe"])), also="mfe"),
    ]


def _bulk(key: str, label: str, texts: Callable[[pl.DataFrame], list[Any]], **more: Any) -> Column:
    """Return a column whose texts are made all at once; of one row they are those of a frame of it."""
    return Column(key, label, lambda row: texts(pl.DataFrame([row]))[0], bulk=texts, **more)


def _pairs(first: Iterable[str], second: Iterable[str]) -> list[tuple[str, str]]:
    """Return cells of two lines."""
    return list(zip(first, second, strict=True))


def _where(texts: Iterable[str], shown: Iterable[bool]) -> list[str]:
    """Return texts, empty ones where they are not to be shown."""
    return [text if is_shown else "" for text, is_shown in zip(texts, shown, strict=True)]


def _moments(times: pl.Series) -> list[str]:
    """Return times as `numbers.moment` writes them."""
    return times.dt.to_string("%Y-%m-%d %H:%M").to_list()


def _prices(prices: pl.Series) -> list[str]:
    """Return prices as `numbers.price` writes them."""
    return [numbers.price(price) for price in prices.to_list()]


def _percents(fractions: pl.Series) -> list[str]:
    """Return fractions as percent to one decimal."""
    return numbers.decimals((fractions * 100).to_list(), 1, signed=True, unit="\u00a0%")


def _exits(frame: pl.DataFrame) -> list[tuple[str, str]]:
    """Return time and price of the exits; an open trip may have sold a part already."""
    times, prices = _moments(frame["exit_time"]), frame["exit_price"].to_list()
    return [
        ("still open", numbers.price(price) if price else "") if time is None else (time, numbers.price(price))
        for time, price in zip(times, prices, strict=True)
    ]


def _held(frame: pl.DataFrame) -> list[tuple[str, str]]:
    """Return holding times and why they ended."""
    held = frame["held"].dt.total_milliseconds().to_list()
    return [
        (numbers.NONE if ms is None else numbers.duration(ms), reason.replace("_", " "))
        for ms, reason in zip(held, frame["exit_reason"].to_list(), strict=True)
    ]

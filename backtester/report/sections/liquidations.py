"""The story of each liquidation: why it happened, how it came to that, who paid what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from backtester.analytics.held import HeldAtCloses, held_at_closes
from backtester.analytics.liquidation_story import Story, event_count, liquidation_stories
from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.focus import Place, focus_text, price_focus
from backtester.report.key_figures import money_decimals
from backtester.report.liquidation_text import Fact, StoryText
from backtester.report.section import Plot, Section
from backtester.report.table import Column, Table, build

CARDS = 20
FIGURES = 3
OPEN_CARDS = 3
"""Cards that stand open; the others are folded up."""
BARS_BEFORE = 24
BARS_AFTER = 6
_LIMIT = 2000


@dataclass(frozen=True)
class Card:
    """One story as the page takes it.

    Attributes
    ----------
    heading, moment : str
        What was closed, when.
    sentences : tuple of tuple of str
        Question and answer.
    facts : tuple of Fact
        Figures by name.
    path : tuple of tuple of str
        Point, time, mark, leverage, distance in percent and in ATRs.
    others : tuple of tuple of str
        Other positions that the same test closed: name, size, price loss altogether.
    plot : Plot or None
        The bars around it.
    focus : str
        Where the price chart shows it.
    is_open : bool
        Whether it stands unfolded.
    """

    heading: str
    moment: str
    sentences: tuple[tuple[str, str], ...]
    facts: tuple[Fact, ...]
    path: tuple[tuple[str, ...], ...]
    others: tuple[tuple[str, ...], ...]
    plot: Plot | None
    focus: str
    is_open: bool


def liquidation_section(result: Result) -> Section:
    """Return the story of each liquidation."""
    held = held_at_closes(result) if result.liquidations.height else []
    stories = liquidation_stories(result, CARDS, held)
    cards = tuple(_card(result, story, number, held) for number, story in enumerate(stories))
    frame = result.liquidations
    count = event_count(result)
    return Section(
        id="liquidations",
        title="Liquidations",
        short="Liquidations",
        lead="Why each one happened: at the trigger the margin balance fell to the requirement; then who paid whom.",
        template="liquidations.html.j2",
        plots=tuple(card.plot for card in cards if card.plot is not None),
        tables=(_table(result),) if frame.height else (),
        context={
            "empty": "No position was liquidated.",
            "cards": cards,
            "told": f"The first {len(cards)} of {count:,} are told; the table has all." if count > len(cards) else "",
        },
        styles=("blocks.css", "liquidations.css"),
    )


def _card(result: Result, story: Story, number: int, held: list[HeldAtCloses]) -> Card:
    text = StoryText(story, result.settle, money_decimals(result), hedged=_is_hedged(result))
    first = max(story.opened or story.time, story.time - 10 * BARS_BEFORE * result.timeframe_ms)
    return Card(
        heading=text.heading(),
        moment=numbers.moment(story.time),
        sentences=text.sentences(),
        facts=text.facts(),
        path=text.path(),
        others=text.others(),
        plot=_plot(story, number, held) if number < FIGURES else None,
        focus=focus_text(price_focus(result, story.main.symbol, first, story.time)),
        is_open=number < OPEN_CARDS,
    )


def _is_hedged(result: Result) -> bool:
    return result.config.account.position_mode == "hedge"


def _plot(story: Story, number: int, held: list[HeldAtCloses]) -> Plot | None:
    """Return the bars around a liquidation; None where the contract's are not known."""
    main = story.main
    sign = 1.0 if main.side == "long" else -1.0
    slot = next((s for s in held if s.symbol == main.symbol and (s.quantity * sign > 0).any()), None)
    if slot is None:
        return None
    opens = slot.bars["open_time"].cast(pl.Int64).to_numpy()
    at = max(0, int(np.searchsorted(opens, story.time, side="right")) - 1)
    shown = slice(max(0, at - BARS_BEFORE), at + BARS_AFTER + 1)
    is_held = slot.quantity * sign > 0
    levels = np.where(is_held, slot.liquidation_price, np.nan)
    if main.liquidation_price is not None:
        levels[at] = main.liquidation_price
    figure = figures.liquidation_figure(
        slot.bars[shown], levels[shown], int(opens[at]), main.trigger_price, main.entry_price
    )
    label = f"Mark of {numbers.shorten(main.symbol)} around the liquidation, with liquidation price, entry and trigger."
    return Plot(f"liquidation-{number}", label, figure)


def _table(result: Result) -> Table:
    """Return all that the engine closed, a row each."""
    digits = money_decimals(result)

    def money(label: str, first: str, second: str = "") -> Column:
        def text(row: dict[str, Any]) -> tuple[str, str]:
            return numbers.decimal(row[first], digits), numbers.decimal(row[second], digits) if second else ""

        return Column(first, label, text, also=second)

    def prices(label: str, first: str, second: str) -> Column:
        return Column(first, label, lambda r: (numbers.price(r[first]), numbers.price(r[second])), also=second)

    columns = [
        Column("symbol", "Position", _position, is_number=False, also="position_side"),
        Column("time", "Time, kind", _time_and_kind, is_number=False, also="kind"),
        Column("tier", "Tier", lambda r: str(r["tier"] + 1)),
        money("Balance, requirement", "margin_balance", "requirement"),
        prices("Entry, bankruptcy", "entry_price", "bankruptcy_price"),
        prices("Trigger, executed", "trigger_price", "execution_price"),
        money("Lost, fee in it", "margin_lost", "liquidation_fee"),
        money("To the fund", "insurance_flow"),
    ]
    return build(
        "liquidations",
        "Liquidations",
        result.liquidations,
        columns,
        _LIMIT,
        page_size=15,
        focus=partial(liquidation_focus, result),
    )


def liquidation_focus(result: Result, row: dict[str, Any]) -> Place | None:
    """Return where the price chart shows a row of the table."""
    at = round(row["time"].timestamp() * 1000)
    return price_focus(result, row["symbol"], at, at)


def _position(row: dict[str, Any]) -> tuple[str, str]:
    """Return symbol, side and size of what the engine closed."""
    return row["symbol"], f"{row['position_side']} {numbers.quantity(row['quantity'])}"


def _time_and_kind(row: dict[str, Any]) -> tuple[str, str]:
    """Return when it happened and what the engine did."""
    return numbers.moment(row["time"]), row["kind"] + (", disputed" if row["disputed"] else "")

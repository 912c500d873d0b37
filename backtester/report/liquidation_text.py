"""A liquidation in plain sentences."""

from __future__ import annotations

from dataclasses import dataclass

from backtester.analytics.liquidation_story import Closed, Moment, Story
from backtester.report import numbers

_NAME = 40
_NBSP = "\u00a0"


@dataclass(frozen=True)
class Fact:
    """One figure of a card: name, text, what stands below it."""

    label: str
    text: str
    note: str = ""


@dataclass(frozen=True)
class StoryText:
    """Writes a story.

    Attributes
    ----------
    story : Story
        What happened.
    settle : str
        Settlement currency.
    digits : int
        Decimals of amounts.
    hedged : bool
        Whether the position is a leg.
    """

    story: Story
    settle: str
    digits: int
    hedged: bool = False

    def heading(self) -> str:
        """Return what was closed, in a line."""
        story, main = self.story, self.story.main
        more = len(story.closed) - 1
        also = f" and {more} other position{'s' if more > 1 else ''}" if more else ""
        done = "reduced by the engine" if story.kind == "step" else "liquidated"
        return f"{_name(main)}{also} {done}"

    def sentences(self) -> tuple[tuple[str, str], ...]:
        """Return questions and answers."""
        answers = (
            ("Why was it liquidated?", self._why()),
            ("How did it come to that?", self._path_text()),
            ("Who paid what?", self._paid()),
        )
        return tuple((question, text) for question, text in answers if text)

    def facts(self) -> tuple[Fact, ...]:
        """Return the figures of the main position and of the test."""
        main, story = self.story.main, self.story
        partly = f"of {numbers.quantity(main.held)}" if main.held > main.quantity * (1 + 1e-9) else ""
        stated = f"tier {main.tier + 1}" + (
            f", rate {numbers.percent(main.tier_rate, signed=False)}" if main.tier_rate is not None else ""
        )
        share = numbers.percent(story.effective_rate, signed=False)
        lost = f"of {self._money(sum(c.margin_lost for c in story.closed))} altogether" if story.closed[1:] else ""
        return (
            Fact("Position closed", f"{main.side} {numbers.quantity(main.quantity)}", partly),
            Fact("Entry", numbers.price(main.entry_price)),
            Fact("Trigger (mark)", numbers.price(main.trigger_price)),
            Fact("Liquidation price before", numbers.price(main.liquidation_price), "as last recorded"),
            Fact("Bankruptcy price", numbers.price(main.bankruptcy_price)),
            Fact("Executed at", numbers.price(main.execution_price)),
            Fact(
                "Margin balance",
                self._money(story.margin_balance),
                "of the position" if story.is_isolated else "of the account",
            ),
            Fact("Requirement", self._money(story.requirement), f"{share} of the notional, {stated}"),
            Fact("Lost by this position", self._money(main.margin_lost), lost),
            Fact("Liquidation fee", self._money(main.fee)),
            Fact(
                "To the insurance fund", numbers.decimal(main.insurance_flow, self.digits, signed=True, unit=self._unit)
            ),
        )

    def path(self) -> tuple[tuple[str, ...], ...]:
        """Return the rows of the way there: point, time, mark, leverage, distance in percent and in ATRs."""
        return tuple(
            (
                moment.label.capitalize(),
                numbers.moment(moment.time),
                numbers.price(moment.mark),
                numbers.decimal(moment.leverage, 1, unit=numbers.TIMES),
                numbers.percent(moment.distance, signed=False),
                "" if moment.ranges is None else numbers.decimal(moment.ranges, 1, unit=f"{_NBSP}ATRs"),
            )
            for moment in self.story.path
        )

    def others(self) -> tuple[tuple[str, ...], ...]:
        """Return other positions that were closed with it: name, size, mark, loss."""
        return tuple(
            (_name(one), numbers.quantity(one.quantity), numbers.price(one.trigger_price), self._money(one.margin_lost))
            for one in self.story.closed[1:9]
        )

    @property
    def _unit(self) -> str:
        return f"{_NBSP}{self.settle}"

    def _money(self, amount: float) -> str:
        return numbers.decimal(amount, self.digits, unit=self._unit)

    def _why(self) -> str:
        story, main = self.story, self.story.main
        whose = "the position's own margin balance" if story.is_isolated else "the margin balance of the account"
        what = "it" if story.is_isolated else "its positions"
        parts = [
            f"On {numbers.moment(story.time)} the mark of {_symbol(main)} reached {numbers.price(main.trigger_price)}. "
            f"There {whose} was down to {self._money(story.margin_balance)}, and the venue requires "
            f"{self._money(story.requirement)} to keep {what} open: "
            f"{numbers.percent(story.effective_rate, signed=False)} of a notional of {self._money(story.notional)}."
        ]
        if main.tier_rate is not None:
            rate = numbers.percent(main.tier_rate, signed=False)
            parts.append(f"The position stood in margin tier {main.tier + 1}, whose maintenance rate is {rate}.")
        if story.kind == "step":
            parts.append(
                f"The engine closed {numbers.quantity(main.quantity)} of {numbers.quantity(main.held)}, as much as the "
                "venue's rules take before all of it goes."
            )
        elif story.is_isolated:
            parts.append(
                "The engine took the whole position over; other positions and the free wallet were not touched."
            )
        elif story.closed[1:]:
            parts.append(f"Under cross margin all {len(story.closed)} positions went at once; {_name(main)} lost most.")
        if any(one.is_disputed for one in story.closed):
            parts.append("Only the worst order of the marks within the bar finds this liquidation: it is disputed.")
        return " ".join(parts)

    def _path_text(self) -> str:
        story, main = self.story, self.story.main
        if story.opened is None:
            return ""
        ago = numbers.duration(story.time - story.opened)
        grown = (
            f", was increased {_times(story.increases)} to {numbers.quantity(main.held)}"
            if story.increases
            else " and never increased"
        )
        parts = [
            f"It was opened {ago} before, with {numbers.quantity(story.first_quantity)}{grown}; "
            f"the mean entry is {numbers.price(main.entry_price)}."
        ]
        move = main.trigger_price / main.entry_price - 1.0
        parts.append(f"From there to the trigger the mark moved {numbers.percent(move, 1)}.")
        parts.extend(self._grown())
        received: list[str] = []
        paid: list[str] = []
        if self._is_shown(story.funding):
            (received if story.funding > 0 else paid).append(f"{self._money(abs(story.funding))} of funding")
        if self._is_shown(story.fees):
            (paid if story.fees < 0 else received).append(f"{self._money(abs(story.fees))} of trading fees")
        flows = [f"{verb} {' and '.join(what)}" for verb, what in (("received", received), ("paid", paid)) if what]
        if flows:
            parts.append(f"While it was held it {' and '.join(flows)}.")
        return " ".join(parts)

    def _grown(self) -> list[str]:
        """Return how leverage grew and how far the liquidation price was at closes before."""
        before = self.story.path[:-1]
        found = []
        known = [moment for moment in (*before[:1], self.story.path[-1]) if moment.leverage is not None]
        if len(known) == 2 and before:
            whose = "its" if self.story.is_isolated else "the account's"
            first, last = (numbers.decimal(m.leverage, 1, unit=numbers.TIMES) for m in known)
            found.append(f"Meanwhile {whose} effective leverage went from {first} to {last}.")
        far = [_distance_text(m) for m in before if m.distance is not None and m.label != "at the first close"]
        if far:
            found.append(f"The liquidation price was {', '.join(far)}.")
        return found

    def _paid(self) -> str:
        story = self.story
        lost = sum(one.margin_lost for one in story.closed)
        price = sum(one.price_loss for one in story.closed)
        fee = sum(one.fee for one in story.closed)
        flow = sum(one.insurance_flow for one in story.closed)
        rest = lost - price - fee
        subject = "The account" if not story.is_isolated else "The position"
        amounts = (
            (price, "{} by the price since the entry"),
            (fee, "{} as liquidation fee"),
            (rest, "{} that was left of the margin"),
            (-price, "less {} that the price had gained"),
            (-rest, "less {} that the fund covered"),
        )
        parts = [text.format(self._money(amount)) for amount, text in amounts if amount > 0 and self._is_shown(amount)]
        text = f"{subject} lost {self._money(lost)}" + (f": {', '.join(parts)}." if parts else ".")
        return f"{text} {self._engine_text()} {self._fund_text(flow)}"

    def _is_shown(self, amount: float) -> bool:
        return abs(amount) >= 0.5 * 10.0**-self.digits

    def _engine_text(self) -> str:
        main = self.story.main
        if main.bankruptcy_price is None:
            return f"The engine closed at {numbers.price(main.execution_price)}."
        sign = 1.0 if main.side == "long" else -1.0
        gain = sign * (main.execution_price - main.bankruptcy_price)
        than = "better than" if gain > 0 else "worse than" if gain < 0 else "exactly at"
        return (
            f"The engine closed {_name(main)} at {numbers.price(main.execution_price)}, {than} the bankruptcy price of "
            f"{numbers.price(main.bankruptcy_price)}."
        )

    def _fund_text(self, flow: float) -> str:
        if not self._is_shown(flow):
            return "The insurance fund neither gained nor paid."
        if flow > 0:
            return f"{self._money(flow)} went to the insurance fund."
        return f"The insurance fund paid {self._money(-flow)}."


def _distance_text(moment: Moment) -> str:
    far = numbers.percent(moment.distance, 1, signed=False)
    ranges = f" ({numbers.decimal(moment.ranges, 1)} ATRs)" if moment.ranges is not None else ""
    return f"{far}{ranges} away {moment.label}"


def _name(closed: Closed) -> str:
    return f"{_symbol(closed)} {closed.side}"


def _symbol(closed: Closed) -> str:
    return numbers.shorten(closed.symbol, _NAME)


def _times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count:,} times"

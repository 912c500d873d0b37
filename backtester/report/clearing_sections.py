"""The sections of a cleared market's page that tell of its first case."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from backtester.analytics.clearing_tables import (
    bucket_ms,
    crash_moment,
    disposals,
    fates,
    leverage_group,
    liquidated,
    notional,
    over_price,
    over_time,
    payers,
    queue,
    survival,
)
from backtester.clearing.study import Case, ClearingStudy
from backtester.report import numbers
from backtester.report.block import Block, block_section
from backtester.report.clearing_text import accounts_text, amount, share
from backtester.report.figures.clearing import (
    fund_figure,
    grouped_figure,
    inventory_figure,
    level_figure,
    light_figure,
    paid_figure,
    price_figure,
    survival_figure,
)
from backtester.report.section import Plot, Section
from backtester.report.table import Column, build

MOST_CONTRACTS = 6
"""Contracts or funds that have figures of their own."""
MOST_ROWS = 5_000
_PRICES = {
    "bankruptcy": "at the bankruptcy price of what was taken over",
    "mark": "at the mark",
    "previous_mark": "at the mark one bar before",
}


def outcome_section(case: Case) -> Section:
    """Return what happened in one sentence, who paid, and what became of the positions."""
    parts, where, settle = payers(case), disposals(case), case.result.settle
    who = Block(
        "paid",
        "Who paid",
        "Left what the liquidated could not pay; each step to the right is what somebody else paid of it.",
        empty="Nobody else paid: the margins of the liquidated covered all their losses.",
        facts=(("own_loss", "Lost by the liquidated themselves", amount(parts["own"], settle)),),
    )
    if parts["loss"] > 0:
        steps = [
            ("Beyond the margins", parts["loss"]),
            ("Insurance fund", parts["fund"]),
            ("Deleveraged", parts["deleveraged"]),
            ("Shared loss", parts["clawback"]),
            ("Nobody", parts["venue"]),
        ]
        plot = Plot("paid", "Who paid the losses beyond the margins", paid_figure(steps, settle))
        keys = ("loss", "paid_by_fund", "paid_by_deleveraged", "paid_by_clawback", "paid_by_venue")
        facts = tuple((key, name, amount(value, settle)) for key, (name, value) in zip(keys, steps, strict=True))
        who = Block(who.id, who.title, who.lead, plots=(plot,), facts=(*who.facts, *facts))
    sold = Block(
        "taken",
        "Where the positions went",
        "What the engine took over it sold to the market, closed against winners, or still held in the end.",
        facts=(
            ("sold_notional", "Sold at the market", amount(where["market"], settle)),
            ("deleveraged_notional", "Closed against winners", amount(where["deleveraged"], settle)),
            ("held_notional", "Still held", amount(where["held"], settle)),
        ),
    )
    return block_section(
        (who, sold), id="outcome", title="What happened", short="What happened", lead=verdict_text(case)
    )


def verdict_text(case: Case) -> str:
    """Return what happened in two or three sentences."""
    s, settle = case.result.summary, case.result.settle
    taken, struck = int(s["liquidated_accounts"] or 0), int(s["deleveraged_accounts"] or 0)
    if not taken:
        return "Nobody was liquidated: no account met its requirement, and neither the fund nor a winner paid anything."
    told = [
        f"{accounts_text(taken)} with a notional of {amount(s['liquidated_notional'], settle)} "
        f"{'was' if taken == 1 else 'were'} liquidated."
    ]
    low, start, end = (float(s[key] or 0.0) for key in ("fund_low", "fund_start", "fund_end"))
    if low < start:
        told.append(f"The fund fell from {amount(start)} to {amount(low)} and ended at {amount(end, settle)}.")
    else:
        told.append(f"The fund was never below its start and ended at {amount(end, settle)}.")
    if struck:
        whom = "it" if struck == 1 else "them"
        cost = (
            f"{amount(s['profit_lost'], settle)} against the mark"
            if s["profit_lost"]
            else "the position, but nothing against the mark"
        )
        told.append(
            f"{accounts_text(struck)} on the winning side {'was' if struck == 1 else 'were'} closed by force, "
            f"{_PRICES[case.result.rules.deleverage_price]}, which cost {whom} {cost}."
        )
    else:
        told.append("Nobody was deleveraged.")
    if float(s["clawed_back"] or 0.0) > 0:
        told.append(f"Winners gave back {amount(s['clawed_back'], settle)} of their profit.")
    if float(s["uncovered_loss"] or 0.0) > 0:
        told.append(f"{amount(s['uncovered_loss'], settle)} were covered by nobody: the venue's own loss.")
    return " ".join(told)


def fund_section(case: Case) -> Section:
    """Return the path of each fund with its peak and drawdown."""
    fund, settle, s = case.result.fund, case.result.settle, case.result.summary
    names = fund["fund"].unique(maintain_order=True).to_list()
    plots = tuple(
        Plot(
            f"fund-{place}",
            f"Worth of the insurance fund {numbers.shorten(name, 40)}, its peak and drawdown",
            fund_figure(fund.filter(pl.col("fund") == name), settle),
            numbers.shorten(name, 40) if len(names) > 1 else "",
        )
        for place, name in enumerate(names[:MOST_CONTRACTS])
    )
    flows = (
        ("fund_surplus", "Earned by closing positions"),
        ("fund_fees", "Liquidation fees"),
        ("fund_funding", "Funding of the inventory"),
        ("fund_deficit", "Paid for losses"),
        ("clawed_back", "Given back by winners"),
    )
    untouched = not float(s["fund_deficit"] or 0.0)
    rules = case.result.rules
    trigger = (
        "Its rules deleverage nobody."
        if not rules.deleverages
        else ", or ".join(
            [
                *(["once it is worth less than nothing"] if rules.exhausted else []),
                *(
                    [f"once it is {share(rules.drawdown, 0)} below its peak of {rules.drawdown_hours:g} hours"]
                    if rules.drawdown
                    else []
                ),
            ]
        )
    )
    note = trigger if not rules.deleverages else f"Winners are deleveraged {trigger}."
    return block_section(
        (
            Block(
                "fund-path",
                plots=plots,
                choice_label="Fund",
                facts=tuple((key, label, amount(s[key], settle)) for key, label in flows),
                note=("No loss reached the fund. " if untouched else "") + note,
            ),
        ),
        id="fund",
        title="Insurance fund",
        short="Insurance fund",
        lead="What the fund is worth, with what is not booked yet and the open profit of the positions that the engine "
        "holds. Where it falls, it pays for the bankrupt.",
    )


def liquidation_section(case: Case) -> Section:
    """Return prices with liquidations, and the liquidated notional over time and over the price."""
    settle, rows = case.result.settle, liquidated(case)
    symbols = case.market.symbols[:MOST_CONTRACTS]
    several = len(case.market.symbols) > 1

    def choice(symbol: str) -> str:
        return numbers.shorten(symbol, 40) if several else ""

    prices = tuple(
        Plot(
            f"price-{c}",
            f"Trades and mark of {numbers.shorten(symbol, 40)} with liquidations",
            price_figure(_prices(case, symbol), rows.filter(pl.col("symbol") == symbol), settle),
            choice(symbol),
        )
        for c, symbol in enumerate(symbols)
    )
    blocks = [
        Block(
            "price",
            "Price and liquidations",
            "Each triangle is a liquidation where the mark met its trigger, the larger the more it held; of many at "
            "the same time the largest are drawn.",
            plots=prices,
        )
    ]
    if rows.height:
        width = bucket_ms(case)
        stretch = numbers.duration(width)
        over = grouped_figure(over_time(case, rows, "group"), settle, stretch, width, _span(case))
        levels = tuple(
            Plot(
                f"level-{c}",
                f"Liquidated notional by mark of {numbers.shorten(symbol, 40)}",
                level_figure(over_price(own), settle),
                choice(symbol),
            )
            for c, symbol in enumerate(symbols)
            if (own := rows.filter(pl.col("symbol") == symbol)).height
        )
        blocks += [
            Block(
                "liquidated-time",
                "Over time",
                f"Notional liquidated in each {stretch}, by leverage: the highest leverage dies first.",
                plots=(Plot("liquidated-time", "Liquidated notional over time by leverage", over),),
            ),
            Block(
                "liquidated-price",
                "Over the price",
                "At which mark it happened: long bars are where many stood close together.",
                plots=levels,
            ),
        ]
    else:
        blocks.append(Block("liquidated-time", empty="No account was liquidated."))
    return block_section(
        blocks,
        id="liquidations",
        title="Liquidations",
        short="Liquidations",
        lead="Who met the maintenance requirement, when, and at which mark.",
    )


def _span(case: Case) -> tuple[int, int]:
    """Return the first open and the last close [ms since 1970, UTC]."""
    market = case.market
    return int(market.open_time[0]), int(market.open_time[-1]) + market.bar_ms


def _prices(case: Case, symbol: str) -> pl.DataFrame:
    """Return the closes of a contract: trades, mark, and the mark as the engine moved it where it did."""
    market, c = case.market, case.market.place(symbol)
    bars = case.result.bars.filter(pl.col("symbol") == symbol)
    shifted = bars["price_shift"].fill_null(0.0).to_numpy()
    moved = np.where(np.abs(shifted) > 1e-5, bars["mark_price"].to_numpy(), np.nan)
    return pl.DataFrame(
        {"open_time": bars["open_time"], "trade": market.close[c], "mark": market.mark_close[c], "moved": moved}
    )


def deleveraging_section(case: Case) -> Section:
    """Return deleveraging over time, the queue before and at the crash, and who was deleveraged or shared a loss."""
    rows, settle = case.result.deleveragings, case.result.settle
    at = crash_moment(case)
    blocks: list[Block] = []
    if rows.height:
        leverage = case.result.accounts["leverage"].gather(rows["account"]).to_numpy()
        sized = rows.with_columns(
            pl.Series("notional", notional(case, rows["symbol"], rows["quantity"], rows["mark_price"])),
            leverage_group(leverage),
        )
        width = bucket_ms(case)
        figure = grouped_figure(over_time(case, sized, "group"), settle, numbers.duration(width), width, _span(case))
        blocks.append(
            Block(
                "deleveraged-time",
                "Over time",
                f"Notional closed against winners in each {numbers.duration(width)}, by their leverage.",
                plots=(Plot("deleveraged-time", "Deleveraged notional over time", figure),),
            )
        )
    blocks.append(_queue_block(case, at))
    blocks.append(_deleveraged_block(case))
    blocks.append(_clawback_block(case))
    rules = case.result.rules
    lead = (
        f"Winners are ranked by {_RANKINGS[rules.ranking]} and closed {_PRICES[rules.deleverage_price]}, the first in "
        "the queue first, without a fee."
        if rules.deleverages
        else "These rules deleverage nobody; what the fund cannot pay is shared or stays with the venue."
    )
    return block_section(blocks, id="deleveraging", title="Deleveraging", short="Deleveraging", lead=lead)


_RANKINGS = {
    "roi": "profit on initial margin",
    "binance": "profit on the wallet times margin ratio",
    "bitmex": "profit ratio times effective leverage",
    "hyperliquid": "distance from the entry times leverage in use",
}


def _queue_block(case: Case, at: Any) -> Block:
    symbol = case.market.symbols[0]
    queues = {"Before the first bar": queue(case, symbol, None)}
    if at is not None:
        queues[f"At {numbers.moment(at)}"] = queue(case, symbol, at)
    queues = {title: frame for title, frame in queues.items() if frame.height}
    plots: tuple[Plot, ...] = ()
    if queues:
        plots = (Plot("lights", "Shares of leverage in each light of the deleveraging queue", light_figure(queues)),)
    struck = case.result.deleveragings.group_by("light").len().sort("light")
    facts = tuple(
        (f"light_{light}", f"Closed from light {light}", numbers.count(count)) for light, count in struck.iter_rows()
    )
    many = f" of {numbers.shorten(symbol, 40)}" if len(case.market.symbols) > 1 else ""
    return Block(
        "lights",
        f"The queue{many}",
        "Each light is a fifth of the winners' quantity: 1 is closed first, 5 last. Colours say at which leverage "
        "those in it stand; funding since the first bar is left out.",
        plots=plots,
        facts=facts,
        empty="Nobody held a position on that side.",
    )


def _deleveraged_block(case: Case) -> Block:
    rows, settle = case.result.deleveragings, case.result.settle
    columns = [
        Column("open_time", "Time", lambda r: numbers.moment(r["open_time"]), is_number=False),
        Column("label", "Account", lambda r: str(r["label"]), is_number=False, length=40),
        Column("symbol", "Symbol", lambda r: str(r["symbol"]), is_number=False, length=40),
        Column("rank", "Rank", lambda r: numbers.count(r["rank"])),
        Column("light", "Light", lambda r: numbers.count(r["light"])),
        Column(
            "quantity", "Closed", lambda r: (numbers.quantity(r["quantity"]), share(r["fraction"])), also="fraction"
        ),
        Column(
            "price", "Price", lambda r: (numbers.price(r["price"]), numbers.price(r["mark_price"])), also="mark_price"
        ),
        Column("profit_lost", f"Profit lost ({settle})", lambda r: amount(r["profit_lost"])),
    ]
    largest = rows.sort("profit_lost", descending=True, maintain_order=True).head(MOST_ROWS).sort("open_time")
    note = f"The {numbers.count(MOST_ROWS)} of {numbers.count(rows.height)} that lost most." * (rows.height > MOST_ROWS)
    tables = (build("deleveraged", "Deleveraged accounts", largest, columns, page_size=15),) if rows.height else ()
    return Block(
        "deleveraged",
        "Deleveraged accounts",
        "The second line has the part of the position that was closed, and the mark; profit is lost against that mark.",
        tables=tables,
        note=note,
        empty="Nobody was deleveraged.",
    )


def _clawback_block(case: Case) -> Block:
    rows, settle = case.result.clawbacks, case.result.settle
    columns = [
        Column("open_time", "Time", lambda r: numbers.moment(r["open_time"]), is_number=False),
        Column("label", "Account", lambda r: str(r["label"]), is_number=False, length=40),
        Column("profit", f"Profit of the period ({settle})", lambda r: amount(r["profit"])),
        Column("rate", "Rate", lambda r: share(r["rate"], 2)),
        Column("paid", f"Given back ({settle})", lambda r: amount(r["paid"])),
    ]
    shown = rows.sort("paid", descending=True, maintain_order=True).head(MOST_ROWS)
    tables = (build("clawbacks", "Shared losses", shown, columns, page_size=15),) if rows.height else ()
    return Block(
        "clawbacks",
        "Shared losses",
        "At the end of a settlement period winners give back the same part of their profit.",
        tables=tables,
        empty="No loss was shared."
        if case.result.rules.shares_losses
        else "These rules share no loss among the winners.",
    )


def survivor_section(case: Case) -> Section:
    """Return who survived, by leverage and side."""
    table = survival(case)
    sides = {
        f"{side.capitalize()}s": own
        for side in ("long", "short")
        if (own := table.filter(pl.col("side") == side)).height
    }
    plot = Plot("survivors", "Share of accounts that survived, by leverage and side", survival_figure(sides))
    columns = [
        Column("band", "Leverage", lambda r: str(r["band"]), is_number=False),
        Column("side", "Side", lambda r: str(r["side"]), is_number=False),
        Column("accounts", "Accounts", lambda r: numbers.count(r["accounts"])),
        Column("survivors", "Survivors", lambda r: numbers.count(r["survivors"])),
        Column("share", "Survived", lambda r: share(r["share"])),
        Column("notional", f"Notional ({case.result.settle})", lambda r: amount(r["notional"])),
        Column("notional_share", "Survived, by notional", lambda r: share(r["notional_share"])),
    ]
    counted = fates(case)
    return block_section(
        (
            Block(
                "survivor-shares",
                plots=(plot,),
                tables=(build("survivors", "Survivors by leverage and side", table, columns, page_size=25),),
                note=f"{numbers.count(int(counted['survived'].sum()))} of {accounts_text(counted.height)} were never "
                "taken over; a position that was only reduced counts as survived.",
            ),
        ),
        id="survivors",
        title="Survivors",
        short="Survivors",
        lead="Which part of the accounts was never taken over, by the leverage and the side with which they began.",
    )


def engine_section(case: Case) -> Section:
    """Return what the engine holds and how far it moves the price."""
    bars, several = case.result.bars, len(case.market.symbols) > 1
    plots = []
    for c, symbol in enumerate(case.market.symbols[:MOST_CONTRACTS]):
        own = bars.filter(pl.col("symbol") == symbol)
        if not (own["inventory"] != 0).any() and not (own["price_shift"] != 0).any():
            continue
        pair = symbol.partition(":")[0]
        unit = pair.partition("/")[2] if case.is_inverse else pair.partition("/")[0]
        plots.append(
            Plot(
                f"inventory-{c}",
                f"Inventory of the engine in {numbers.shorten(symbol, 40)} and its impact on the price",
                inventory_figure(own, numbers.shorten(unit, 12)),
                numbers.shorten(symbol, 40) if several else "",
            )
        )
    return block_section(
        (Block("inventory", plots=tuple(plots), empty="The engine never held a position over the end of a bar."),),
        id="engine",
        title="The venue's engine",
        short="The venue's engine",
        lead="Above what it has taken over and not yet sold, below how far its sales have moved the price: an "
        "inventory that grows is a market that no longer takes it.",
    )


def books_section(study: ClearingStudy) -> Section:
    """Return how well the books close."""
    rows = []
    for case in study.cases:
        bars = case.result.bars
        rows.append(
            {
                "case": case.name,
                "bars": case.result.summary["bars"],
                "conservation_error": case.result.summary["conservation_error"],
                "sum": float(np.abs(_sums(case)).max()),
                "interest": float(bars["open_interest"].max() or 0.0),  # type: ignore[arg-type]
            }
        )
    frame = pl.DataFrame(rows)
    columns = [
        Column("case", "Rules", lambda r: str(r["case"]), is_number=False, length=40),
        Column("bars", "Bars checked", lambda r: numbers.count(r["bars"])),
        Column(
            "conservation_error",
            "Money created or lost, share of the wallets",
            lambda r: _small(r["conservation_error"]),
        ),
        Column("sum", "Sum of the positions at the start", lambda r: _small(r["sum"])),
        Column("interest", "Largest open interest", lambda r: numbers.quantity(r["interest"])),
    ]
    return block_section(
        (Block("books-table", tables=(build("books", "Errors of the books", frame, columns),)),),
        id="books",
        title="The books",
        short="The books",
        lead="After every bar all wallets, margins, open profits, the fund and the outside market must add up to what "
        "they were, and the positions of each contract to zero; beyond 1e\u22129 the replay stops with an error.",
    )


def _sums(case: Case) -> Any:
    """Return what the first positions of each contract add up to, the outside market's included [units]."""
    population = case.population
    sums = np.bincount(population.contract, population.quantity, len(population.symbols))
    return sums + population.outside


def _small(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}".replace("-", numbers.MINUS)


def settings_section(study: ClearingStudy) -> Section:
    """Return what was cleared and by which rules."""
    file = study.file.model_dump(exclude_none=True)
    blocks = [
        (name, [(key, _text(value)) for key, value in section.items()])
        for name, section in file.items()
        if isinstance(section, dict) and section
    ]
    blocks += [
        (f"rules: {numbers.shorten(case.name, 40)}", [(k, _text(v)) for k, v in case.result.rules.model_dump().items()])
        for case in study.cases
    ]
    return Section(
        id="configuration",
        title="Configuration",
        short="Configuration",
        lead="What was cleared and by which rules; clearing.toml makes it again.",
        template="settings.html.j2",
        context={"settings": blocks},
    )


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return numbers.shorten(", ".join(f"{k} = {v}" for k, v in value.items()) or "none", 200)
    if isinstance(value, list | tuple):
        return numbers.shorten(", ".join(map(str, value)) or "none", 200)
    return numbers.shorten(f"{value:,}" if isinstance(value, float) and abs(value) >= 1000 else str(value), 200)

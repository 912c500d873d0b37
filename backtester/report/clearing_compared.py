"""The same crash side by side: under each venue's rules, and on coin-margined contracts."""

from __future__ import annotations

import polars as pl

from backtester.analytics.clearing_tables import falls, fates, survival
from backtester.clearing.study import Case, ClearingStudy
from backtester.report import numbers
from backtester.report.block import Block, block_section
from backtester.report.clearing_text import amount, share
from backtester.report.figures.clearing import fates_figure, multiples_figure, survival_figure
from backtester.report.section import Plot, Section
from backtester.report.table import Column, build

_FIGURES = (
    ("liquidated_accounts", "Liquidated accounts"),
    ("deleveraged_accounts", "Deleveraged accounts"),
    ("liquidated_notional", "Liquidated notional"),
    ("deleveraged_notional", "Deleveraged notional"),
    ("profit_lost", "Profit lost"),
    ("fund_start", "Fund before"),
    ("fund_low", "Fund, lowest"),
    ("fund_end", "Fund after"),
    ("clawed_back", "Shared loss"),
    ("uncovered_loss", "Covered by nobody"),
)


def compare_section(study: ClearingStudy) -> Section | None:
    """Return the same crash under each set of rules; None where there is one."""
    cases = [case for case in study.cases if case.is_inverse == study.cases[0].is_inverse]
    if len(cases) < 2:
        return None
    rows = [{"case": case.result.rules.name, "settle": case.result.settle, **_numbers(case)} for case in cases]
    frame = pl.DataFrame(rows)
    columns = [
        Column("case", "Rules", lambda r: (str(r["case"]), str(r["settle"])), is_number=False, length=40),
        *(_column(key, label) for key, label in _FIGURES),
    ]
    shares = pl.DataFrame(
        [
            {"case": case.result.rules.name, **{kind: _share(case, f"{kind}_notional") for kind in _KINDS}}
            for case in cases
        ]
    )
    funds = {case.result.rules.name: _fund(case) for case in cases}
    blocks = (
        Block(
            "compare-fates",
            "Liquidated and deleveraged",
            "Notional of the events as a share of the open interest at the start, at the mark of each event.",
            plots=(Plot("compare-fates", "Liquidated and deleveraged notional by rules", fates_figure(shares)),),
        ),
        Block(
            "compare-funds",
            "The fund under each",
            "Worth as a multiple of the start, all on one scale; crosses are bars in which the rules deleverage.",
            plots=(Plot("compare-funds", "Worth of the funds under each set of rules", multiples_figure(funds)),),
        ),
        Block("compare-table", "In numbers", tables=(build("compared", "Rules compared", frame, columns),)),
    )
    return block_section(
        blocks,
        id="compare",
        title="Under each venue's rules",
        short="Rules compared",
        lead="The same accounts and the same prices: whatever differs comes from the rules. Sizes of funds, volume "
        "shares and impact are assumed alike, since no venue publishes them.",
    )


_KINDS = ("liquidated", "deleveraged")


def _column(key: str, label: str) -> Column:
    if key.endswith("accounts"):
        return Column(key, label, lambda r: numbers.count(r[key]))
    return Column(key, label, lambda r: amount(r[key]))


def _numbers(case: Case) -> dict[str, float]:
    values = {key: case.result.summary[key] for key, _ in _FIGURES}
    return {key: float(value) if isinstance(value, int | float) else 0.0 for key, value in values.items()}


def _share(case: Case, key: str) -> float:
    """Return a notional as a share of the open interest at the first marks."""
    market = case.market
    first = abs(market.values(market.mark_open[:, :1])[:, 0])
    held = sum(
        float(abs(case.population.quantity[case.population.contract == c]).sum() / 2)
        * float(first[market.place(symbol)])
        for c, symbol in enumerate(case.population.symbols)
    )
    value = case.result.summary[key]
    return float(value) / held if held and isinstance(value, int | float) else 0.0


def _fund(case: Case) -> pl.DataFrame:
    """Return the worth of all funds of a case over time, as a multiple of the start."""
    start = case.result.summary["fund_start"]
    scale = float(start) if isinstance(start, int | float) and start else 1.0
    return (
        case.result.fund.group_by("open_time", maintain_order=True)
        .agg(pl.col("worth").sum(), pl.col("deleveraging").any())
        .with_columns(pl.col("worth") / scale)
    )


def coin_section(study: ClearingStudy) -> Section | None:
    """Return linear and coin-margined books of equal notional under the same rules; None without both."""
    linear = next((case for case in study.cases if not case.is_inverse), None)
    inverse = next((case for case in study.cases if case.is_inverse), None)
    if linear is None or inverse is None:
        return None
    longs = {
        name: survival(case).filter(pl.col("side") == "long")
        for name, case in (("Linear longs", linear), ("Coin-margined longs", inverse))
    }
    shorts = {
        name: survival(case).filter(pl.col("side") == "short")
        for name, case in (("Linear shorts", linear), ("Coin-margined shorts", inverse))
    }
    frame = _fall_table(linear, inverse)
    columns = [
        Column("band", "Leverage", lambda r: str(r["band"]), is_number=False),
        Column("linear_limit", "Bankrupt at a fall of, linear", lambda r: share(r["linear_limit"])),
        Column("inverse_limit", "Bankrupt at a fall of, coin", lambda r: share(r["inverse_limit"])),
        Column("linear_fall", "Taken over at (median), linear", lambda r: share(r["linear_fall"])),
        Column("inverse_fall", "Taken over at (median), coin", lambda r: share(r["inverse_fall"])),
        Column("linear_taken", "Longs taken over, linear", lambda r: numbers.count(r["linear_taken"])),
        Column("inverse_taken", "Longs taken over, coin", lambda r: numbers.count(r["inverse_taken"])),
    ]
    blocks = (
        Block(
            "coin-longs",
            "Longs that survived",
            "The lower bar of a pair is the side that dies sooner.",
            plots=(
                Plot("coin-longs", "Longs that survived on linear and coin-margined contracts", survival_figure(longs)),
            ),
        ),
        Block(
            "coin-shorts",
            "Shorts that survived",
            "A coin-margined short gains less coin the further the price falls, and can bear more of a rebound.",
            plots=(
                Plot(
                    "coin-shorts", "Shorts that survived on linear and coin-margined contracts", survival_figure(shorts)
                ),
            ),
        ),
        Block(
            "coin-falls",
            "Why: how far the price may fall",
            "Without maintenance margin a linear long of leverage L is bankrupt at a fall of 1/L, a coin-margined one "
            "at 1/(1 + L) already. The medians are those of this replay, from the entry to the mark at which the venue "
            "took over.",
            tables=(build("coin-falls", "Falls that longs could bear", frame, columns),),
            note=_why(frame),
        ),
    )
    return block_section(
        blocks,
        id="coin",
        title="Coin-margined contracts",
        short="Coin-margined",
        lead="The same accounts, entries, leverages and prices, with the margin in the coin instead of in dollars. A "
        "long's loss in coin is convex, N (1/price \u2212 1/entry), and the coin that should pay it is worth less with "
        "every step down.",
    )


def _fall_table(linear: Case, inverse: Case) -> pl.DataFrame:
    """Return for each leverage what a long can bear in theory, and the fall at which it was taken over."""
    both = [
        falls(case).select(
            pl.col("band").cast(pl.String),
            pl.col("taken").alias(f"{name}_taken"),
            pl.col("median_fall").alias(f"{name}_fall"),
        )
        for name, case in (("linear", linear), ("inverse", inverse))
    ]
    order = survival(linear).select(pl.col("band").cast(pl.String)).unique(maintain_order=True)
    mean = (
        _mean_leverage(linear)
        .with_columns(
            (1.0 / pl.col("leverage")).clip(upper_bound=1.0).alias("linear_limit"),
            (1.0 / (1.0 + pl.col("leverage"))).alias("inverse_limit"),
        )
        .select("band", "linear_limit", "inverse_limit")
    )
    out = order.join(mean, on="band", how="left", maintain_order="left")
    for one in both:
        out = out.join(one, on="band", how="left", maintain_order="left")
    return out.with_columns(pl.col("linear_taken", "inverse_taken").fill_null(0))


def _mean_leverage(case: Case) -> pl.DataFrame:
    """Return the mean leverage of each band: ``band, leverage``."""
    return fates(case).group_by(pl.col("band").cast(pl.String)).agg(pl.col("leverage").mean())


def _why(frame: pl.DataFrame) -> str:
    """Return the plainest pair of the table in a sentence."""
    known = frame.drop_nulls(["linear_fall", "inverse_fall"])
    if known.is_empty():
        return "No long was taken over on both."
    row = (
        known.with_columns((pl.col("linear_fall") - pl.col("inverse_fall")).alias("gap"))
        .sort("gap")
        .row(-1, named=True)
    )
    return (
        f"At {row['band']} a linear long was taken over at a fall of {share(row['linear_fall'])}, a coin-margined one "
        f"at {share(row['inverse_fall'])}: {share(row['gap'])} of the entry price sooner."
    )

"""Whether a run may be believed: what speaks against it, what flatters it, what it assumes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from backtester.engine.result import Notice, Result
from backtester.report import numbers
from backtester.report.key_figures import SHORT_DAYS, money_plain

Tone = Literal["error", "warning", "optimistic", "assumption"]

OPEN_ASSUMPTIONS = 3
"""More assumptions than this are folded up."""
OPEN_FINDINGS = 6
"""Two or more assumptions are folded up where there are more findings than this: the key figures come after them."""
FEW_TRADES = 30
"""Fewer round trips than this say little about the next ones."""

_GRAVITY: dict[Tone, int] = {"error": 0, "warning": 1, "optimistic": 2, "assumption": 3}
_WORDS: dict[Tone, str] = {
    "error": "Error",
    "warning": "Warning",
    "optimistic": "Optimistic",
    "assumption": "Assumption",
}
_FLATTERING = ("optimistic_fill", "extremes_untested", "favorable_path")
"""Notices of settings that make a run look better than a venue would have let it be."""
_REPAIRED = ("filled", "series_ended", "span_cut", "funding_unknown", "fills_without_bar")
_FIRST = ("ruined", "wiped_out", "liquidated", "synthetic")
"""What stands before all else that is as grave."""
_TOLD_HERE = ("liquidated", "synthetic")
"""Notices that findings of this module replace."""


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict.

    Attributes
    ----------
    code : str
        Stable snake_case name.
    tone : {"error", "warning", "optimistic", "assumption"}
        How grave it is.
    word : str
        What stands before it in bold.
    text : str
        One or two sentences.
    section : str
        Anchor of the section that shows more; empty: none.
    """

    code: str
    tone: Tone
    word: str
    text: str
    section: str = ""


def verdict(result: Result) -> list[Finding]:
    """Return what decides whether a run may be believed, the gravest first.

    Parameters
    ----------
    result : Result
        An analysed run.
    """
    found = from_notices(notice for notice in result.notices if notice.code not in _TOLD_HERE)
    if result.config.funding.source == "none":
        found = [_flattering(finding) if finding.code == "funding_assumed" else finding for finding in found]
    found += [*_data(result), *_liquidations(result), *_settings(result)]
    found += [*_short(result), *_few_trades(result), *_luck(result)]
    return sorted(found, key=_rank)


def from_notices(notices: Iterable[Notice]) -> list[Finding]:
    """Return notices as findings, the gravest first; that data is synthetic is the first line of a page already."""
    found = []
    for notice in notices:
        if notice.code == "synthetic":
            continue
        tone: Tone = "optimistic" if notice.code in _FLATTERING else notice.severity
        word = "Repaired data" if notice.code in _REPAIRED and tone == "warning" else _WORDS[tone]
        text = notice.text.removeprefix("Optimistic: ") if tone == "optimistic" else notice.text
        found.append(Finding(notice.code, tone, word, text[:1].upper() + text[1:]))
    return sorted(found, key=_rank)


def _flattering(finding: Finding) -> Finding:
    return replace(finding, tone="optimistic", word=_WORDS["optimistic"])


def _rank(finding: Finding) -> tuple[int, int]:
    """Return the place of a finding: by gravity, then what decides more than the rest."""
    place = _FIRST.index(finding.code) if finding.code in _FIRST else len(_FIRST)
    return _GRAVITY[finding.tone], place


def grouped(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings to show, the assumptions to fold up where there are many, and the sum of them in words."""
    assumed = [finding for finding in findings if finding.tone == "assumption"]
    is_long = len(assumed) > OPEN_ASSUMPTIONS or (len(assumed) > 1 and len(findings) > OPEN_FINDINGS)
    folded = assumed if is_long else []
    shown = [finding for finding in findings if finding not in folded]
    return {"shown": shown, "folded": folded, "headline": _headline(findings)}


def _headline(findings: Sequence[Finding]) -> str:
    """Return how many findings of each kind there are; empty where there are none."""
    names = {"error": "error", "warning": "warning", "optimistic": "optimistic setting", "assumption": "assumption"}
    counts = {tone: sum(finding.tone == tone for finding in findings) for tone in names}
    said = [f"{count:,} {names[tone]}{'s' if count != 1 else ''}" for tone, count in counts.items() if count]
    if not said:
        return ""
    return " and ".join([*([", ".join(said[:-1])] if said[1:] else []), said[-1]])


def _data(result: Result) -> list[Finding]:
    if not result.synthetic:
        return []
    text = "The market was made by a random process: the run shows how the strategy works, not what it earns."
    return [Finding("synthetic", "warning", "Synthetic data", text)]


def _liquidations(result: Result) -> list[Finding]:
    taken = int(result.summary.get("liquidations") or 0)
    steps = int(result.summary.get("liquidation_steps") or 0)
    if not taken and not steps:
        return []
    what = f"{taken:,} position{'s were' if taken != 1 else ' was'} taken over by the venue" if taken else ""
    reduced = f"{steps:,} time{'s' if steps != 1 else ''} a position was reduced by force" if steps else ""
    lost = money_plain(result, result.liquidations["margin_lost"].sum())
    text = (
        f"{', and '.join(part for part in (what, reduced) if part)}. That lost {lost}: what the price took since the "
        "entry, and what was left of the margin."
    )
    word = "Liquidated" if taken else "Partly liquidated"
    return [Finding("liquidated", "warning", word, text[:1].upper() + text[1:], section="liquidations")]


def _settings(result: Result) -> list[Finding]:
    """Return settings that cost the run nothing where a venue would have charged."""
    config, fills = result.config, result.fills
    if not fills.height or config.strategy.fills is not None:
        return []
    found = []
    own = fills.filter(fills["order_id"] >= 0)
    if own.height and not own["fee_paid"].abs().sum():
        found.append(Finding("no_fees", "optimistic", "", "No trading fee was charged on any fill."))
    if config.execution.slippage_bps == 0 and config.costs.slippage == "fixed":
        taker = own.filter(own["liquidity"] == "taker")
        if taker.height and not taker["slippage_paid"].abs().sum():
            text = "Market orders fill at the very price of the bar: no slippage is charged."
            found.append(Finding("no_slippage", "optimistic", "", text))
    if config.data.mark == "trade":
        text = "Margin is judged on traded prices (data.mark = trade), not on the venue's mark."
        found.append(Finding("mark_is_trade", "optimistic", "", text))
    if config.funding.source == "none" and not any(notice.code == "funding_assumed" for notice in result.notices):
        found.append(Finding("no_funding", "optimistic", "", "Funding is left out."))
    return [replace(finding, word=_WORDS[finding.tone]) for finding in found]


def _short(result: Result) -> list[Finding]:
    days = int(result.summary.get("days") or 0)
    if not result.fills.height or not 0 < days < SHORT_DAYS:
        return []
    text = f"{days} day{'s' if days != 1 else ''}: annual figures and ratios stretch them to a year and tell little."
    return [Finding("short_span", "warning", "Short span", text)]


def _few_trades(result: Result) -> list[Finding]:
    trades = int(result.summary.get("trades") or 0)
    if trades >= FEW_TRADES or not result.fills.height:
        return []
    count = f"{numbers.count(trades)} round trip{'s' if trades != 1 else ''}" if trades else "No round trip was closed"
    text = f"{count}: too few to tell skill from luck."
    return [Finding("few_trades", "warning", "Few trades", text, section="trades")]


def _luck(result: Result) -> list[Finding]:
    """Return that a good Sharpe ratio may be chance, as far as the run's own days tell."""
    told: Mapping[str, Any] = result.details.get("uncertainty", {})
    ratio, low = result.summary.get("sharpe"), told.get("sharpe_low")
    gained = (result.summary.get("total_return") or 0) > 0  # type: ignore[operator]
    if not gained or not isinstance(ratio, float) or ratio <= 0 or low is None or low > 0:
        return []
    low_text, high_text = (numbers.decimal(told[key]) for key in ("sharpe_low", "sharpe_high"))
    text = (
        f"The Sharpe ratio of {numbers.decimal(ratio)} may be chance: nine of ten draws of the run's own days give "
        f"{low_text} to {high_text}."
    )
    return [Finding("luck", "warning", "Luck", text, section="uncertainty")]

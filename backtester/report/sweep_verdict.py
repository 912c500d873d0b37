"""What a sweep says, in sentences: where its best set stands, what luck alone would show, how many sets fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from backtester.analytics.selection import expected_best_sharpe
from backtester.report import numbers
from backtester.report.sweep_data import Axis, Sweep
from backtester.report.sweep_metrics import Metric
from backtester.research.neighbourhood import Space, neighbourhood_medians, neighbours

Shape = Literal["plateau", "slope", "spike", "level", "alone"]

PLATEAU, SLOPE = 0.75, 0.5
"""Share of the best set's lead over the median set that its neighbours keep."""
_SOURCE = "Bailey and López de Prado 2014, The Deflated Sharpe Ratio"


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict: a word in bold, the text, and how grave it is (CSS class of a notice)."""

    code: str
    word: str
    text: str
    tone: Literal["assumption", "warning", "error"] = "assumption"


@dataclass(frozen=True, eq=False)
class Best:
    """The best set by one metric, among its neighbours.

    Attributes
    ----------
    metric : Metric
        What it is best by.
    row : int
        Its row among the sets that were done.
    value : float
        Its metric.
    median : float
        Median of all sets.
    neighbours : int
        Neighbours that have a value.
    around : float
        Their median; NaN without neighbours.
    lowest : float
        The worst of them.
    kept : float
        Share of the lead over the median that the neighbours keep; NaN where there is no lead.
    shape : Shape
        In a word.
    broadest : int or None
        Row of the set whose neighbourhood has the best median.
    broadest_value : float
        That median.
    """

    metric: Metric
    row: int
    value: float
    median: float
    neighbours: int
    around: float
    lowest: float
    kept: float
    shape: Shape
    broadest: int | None
    broadest_value: float


def best_of(sweep: Sweep, metric: Metric) -> Best | None:
    """Return the best set by a metric, of those that kept their account; None where no set has a value.

    Parameters
    ----------
    sweep : Sweep
        The sets.
    metric : Metric
        One of ``sweep.metrics``.
    """
    values = sweep.values(metric.key)
    alive = values
    if "total_return" in sweep.done.columns:
        alive = np.where(sweep.values("total_return") <= -1.0, np.nan, values)  # ratios of a lost account say nothing
    if not np.isfinite(alive).any():
        return None
    row = int(np.nanargmax(alive * metric.better))
    median = float(np.nanmedian(values))
    # A parameter without effect would make every set its own neighbour.
    idle = idle_axes(sweep, metric)
    space = Space(sweep.lattice.codes, [axis.is_ordered and axis not in idle for axis in sweep.axes])
    found = values[neighbours(space, row)]
    found = found[np.isfinite(found)]
    around = float(np.median(found)) if found.size else float("nan")
    lowest = float((found * metric.better).min() * metric.better) if found.size else float("nan")
    lead = (values[row] - median) * metric.better
    kept = (around - median) * metric.better / lead if lead > 0 else float("nan")
    medians = neighbourhood_medians(space, values)
    broadest, broadest_value = None, float("nan")
    if medians is not None and np.isfinite(medians).any():
        broadest = int(np.nanargmax(medians * metric.better))
        broadest_value = float(medians[broadest])
    shape: Shape = "alone"
    if lead <= 0 and values.size > 1:
        shape = "level"
    elif found.size:
        shape = "plateau" if kept >= PLATEAU else "slope" if kept >= SLOPE else "spike"
    return Best(
        metric, row, float(values[row]), median, found.size, around, lowest, kept, shape, broadest, broadest_value
    )


def findings(sweep: Sweep) -> list[Finding]:
    """Return the verdict of a sweep, sentence by sentence."""
    best = best_of(sweep, sweep.main) if sweep.main is not None else None
    if best is None:
        return [_failures(sweep)] if sweep.failed.height else []
    told = [
        _inexact(sweep),
        _unfinished(sweep),
        _shape(sweep, best),
        _edge(sweep, best),
        _idle(sweep, best.metric),
        _luck(sweep),
    ]
    told += [_losers(sweep), _liquidated(sweep), _failures(sweep) if sweep.failed.height else None]
    told.append(
        Finding(
            "in_sample",
            "In sample",
            "The best of many sets was chosen on the data that it is measured on: its figures are not an estimate of "
            "what it will earn. Test it on bars that no set has seen.",
            "warning",
        )
    )
    return [finding for finding in told if finding is not None]


def distinct_results(sweep: Sweep) -> int:
    """Return how many different results the sets have: sets that trade alike are one trial."""
    keys = [k for k in ("sharpe", "total_return", "trades", "max_drawdown") if k in sweep.done.columns]
    return sweep.done.select(keys).n_unique() if keys else sweep.done.height


def set_name(sweep: Sweep, row: int) -> str:
    """Return a set's number and parameters: ``set 17 (fast 48, slow 240)``."""
    values = ", ".join(f"{axis.title} {axis.labels[int(axis.codes[row])]}" for axis in sweep.axes[:6])
    more = f" and {len(sweep.axes) - 6} more" if len(sweep.axes) > 6 else ""
    number = f"set {numbers.count(sweep.done['set'][row])}"
    return f"{number} ({values}{more})" if values else number


def _shape(sweep: Sweep, best: Best) -> Finding:
    """Return whether the best set stands on a plateau."""
    metric, digits = best.metric, sweep.money_digits

    def text(value: float) -> str:
        return metric.text(value, digits)

    first = f"By {_lower(metric.label)} the best is {set_name(sweep, best.row)} with {text(best.value)}"
    if best.shape == "level":
        return Finding(
            "shape", "Level", f"{first}; no set is better than the median of {text(best.median)}.", "warning"
        )
    if best.shape == "alone":
        reason = "there is no neighbour to compare it with" if sweep.done.height > 1 else "nothing else was tried"
        return Finding("shape", "Alone", f"{first}; {reason}, so nothing tells luck from merit.", "warning")
    near = f"its {best.neighbours} neighbours" if best.neighbours > 1 else "its one neighbour"
    where = "one value away" if sweep.lattice.is_grid else "nearest in the parameters"
    kept = (
        f"{numbers.percent(min(best.kept, 1.0), 0, signed=False)} of its lead is kept"
        if best.kept > 0
        else "nothing of its lead is kept"
    )
    middle = (
        f"{first}. The median of {near}, {where}, is {text(best.around)} (worst {text(best.lowest)}), "
        f"that of all sets {text(best.median)}: {kept}."
    )
    words = {"plateau": "Plateau", "slope": "Slope", "spike": "Spike"}
    meaning = {
        "plateau": "",
        "slope": " It falls off around it; read the map before trusting it.",
        "spike": " A small change of the parameters loses it, which is the mark of chance.",
    }
    return Finding(
        "shape",
        words[best.shape],
        middle + meaning[best.shape] + _broadest(sweep, best),
        "assumption" if best.shape == "plateau" else "warning",
    )


def _broadest(sweep: Sweep, best: Best) -> str:
    """Return where the best neighbourhood is, if elsewhere."""
    if best.broadest is None or best.broadest == best.row or best.shape == "level":
        return ""
    own = best.metric.text(float(sweep.values(best.metric.key)[best.broadest]), sweep.money_digits)
    around = best.metric.text(best.broadest_value, sweep.money_digits)
    return f" The best neighbourhood is that of {set_name(sweep, best.broadest)}: median {around}, itself {own}."


def _edge(sweep: Sweep, best: Best) -> Finding | None:
    """Return the parameters whose best value is the outermost that was tried."""
    sides = []
    for axis in sweep.axes:
        code, last = int(axis.codes[best.row]), len(_ordered_values(axis)) - 1
        if axis.is_ordered and last >= 2 and code in {0, last}:
            sides.append(f"{axis.title} at its {'smallest' if code == 0 else 'largest'} value, {axis.labels[code]}")
    if not sides or not sweep.lattice.is_grid:
        return None
    text = f"The best set has {' and '.join(sides)}: what lies beyond was not tried."
    return Finding("edge", "Edge", text, "warning")


def _ordered_values(axis: Axis) -> list[Any]:
    return [v for v in axis.values if v is not None]


def idle_axes(sweep: Sweep, metric: Metric) -> list[Axis]:
    """Return the parameters that change nothing: sets that differ in one of them alone have the same metric.

    Parameters
    ----------
    sweep : Sweep
        The sets.
    metric : Metric
        What is compared, to twelve decimals.

    Returns
    -------
    list of Axis
        Empty where no parameter changes anything, or where no two sets differ in one parameter alone.
    """
    varying = [axis for axis in sweep.axes if len(axis.values) > 1]
    names = [f"p{place}" for place in range(len(sweep.axes))]
    frame = pl.DataFrame({name: axis.codes for name, axis in zip(names, sweep.axes, strict=True)}).with_columns(
        pl.Series("value", sweep.values(metric.key)).fill_nan(None).round(12)
    )
    idle = []
    for name, axis in zip(names, sweep.axes, strict=True):
        if axis not in varying:
            continue
        others = [other for other in names if other != name]
        groups = (frame.group_by(others) if others else frame.group_by(pl.lit(0))).agg(
            pl.len().alias("sets"), pl.col("value").n_unique().alias("results")
        )
        many = groups.filter(pl.col("sets") > 1)
        if many.height and (many["results"] == 1).all():
            idle.append(axis)
    return idle if len(idle) < len(varying) else []


def _idle(sweep: Sweep, metric: Metric) -> Finding | None:
    """Return the parameters that change nothing."""
    idle = idle_axes(sweep, metric)
    if not idle:
        return None
    names = " and ".join(axis.title for axis in idle)
    text = f"{names} changed nothing: sets that differ in it alone have the same {_lower(metric.label)}."
    return Finding("idle", "No effect", text)


def luck(sweep: Sweep) -> tuple[float, float, int, int] | None:
    """Return the highest Sharpe ratio, what luck alone would show, trials and days; None where it cannot be said."""
    if "sharpe" not in sweep.done.columns or "days" not in sweep.done.columns:
        return None
    values = sweep.values("sharpe")
    if not np.isfinite(values).any():
        return None
    row = int(np.nanargmax(values))
    days, trials = sweep.done["days"][row], distinct_results(sweep)
    expected = expected_best_sharpe(trials, int(days)) if days is not None else None
    return None if expected is None or trials < 2 else (float(values[row]), expected, trials, int(days))


def _luck(sweep: Sweep) -> Finding | None:
    """Return what the best of trials without skill would show."""
    found = luck(sweep)
    if found is None:
        return None
    highest, expected, trials, days = found
    beaten = highest > expected
    side = "above that" if beaten else "not above that, so that nothing here needs skill to explain it"
    text = (
        f"The highest Sharpe ratio is {numbers.decimal(highest)}. Of {trials:,} independent trials without skill on "
        f"{days:,} days the best would show about {numbers.decimal(expected)} ({_SOURCE}; independent normal daily "
        f"returns): it is {side}. Sets that resemble each other count for fewer trials, fat tails make luck larger."
    )
    return Finding("luck", "Luck", text, "assumption" if beaten else "warning")


def share_losing(sweep: Sweep) -> tuple[int, int] | None:
    """Return how many sets lose money, and of how many."""
    key = "total_return" if "total_return" in sweep.done.columns else "net_profit"
    if key not in sweep.done.columns:
        return None
    values = sweep.values(key)
    known = int(np.isfinite(values).sum())
    return (int((values < 0).sum()), known) if known else None


def share_liquidated(sweep: Sweep) -> tuple[int, int] | None:
    """Return how many sets were liquidated at least once, and of how many."""
    if "liquidations" not in sweep.done.columns:
        return None
    values = sweep.values("liquidations")
    known = int(np.isfinite(values).sum())
    return (int((values > 0).sum()), known) if known else None


def _losers(sweep: Sweep) -> Finding | None:
    found = share_losing(sweep)
    if found is None or not found[0]:
        return None
    part, whole = found
    text = (
        f"{_of(part, whole)} lose money on this span." if part > 1 else f"{_of(part, whole)} loses money on this span."
    )
    return Finding("losing", "Losses", text, "warning" if part * 2 > whole else "assumption")


def _liquidated(sweep: Sweep) -> Finding | None:
    found = share_liquidated(sweep)
    if found is None or not found[0]:
        return None
    part, whole = found
    verb = "were" if part > 1 else "was"
    return Finding("liquidated", "Liquidations", f"{_of(part, whole)} {verb} liquidated at least once.", "warning")


def _inexact(sweep: Sweep) -> Finding | None:
    """Return what an exact check found wrong."""
    found = sweep.manifest.get("exact_check")
    if not isinstance(found, dict) or "failed" not in found:
        return None
    return Finding("inexact", "Inexact", f"A set replayed in full gave another result. {found['failed']}", "error")


def _unfinished(sweep: Sweep) -> Finding | None:
    """Return that the sweep was interrupted."""
    asked, found = sweep.manifest.get("sets"), sweep.sets.height
    if not isinstance(asked, int) or asked <= found:
        return None
    text = f"The sweep was interrupted after {found:,} of {asked:,} sets: what is missing may be better or worse."
    return Finding("unfinished", "Unfinished", text, "warning")


def _failures(sweep: Sweep) -> Finding:
    part, whole = sweep.failed.height, sweep.sets.height
    if part == whole:
        return Finding(
            "failed", "Failed", f"None of the {whole:,} sets could be replayed; their errors are below.", "error"
        )
    return Finding("failed", "Failed", f"{_of(part, whole)} failed; the errors are listed below.", "warning")


def _of(part: int, whole: int) -> str:
    share = numbers.percent(part / whole, 1, signed=False)
    return f"{part:,} of {whole:,} sets ({share})"


def _lower(label: str) -> str:
    """Return a label in the middle of a sentence: names keep their capitals."""
    return label if label.startswith(("Sharpe", "Calmar", "Sortino")) else label[:1].lower() + label[1:]

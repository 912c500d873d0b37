"""Proof by trial that a strategy reads the past alone, and how much of it.

The same strategy is evaluated on histories cut short: what it said about the bars that remain must not change. Then on
histories that start later: after its warm-up it must say the same again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.errors import StrategyError, format_time
from backtester.kernel.state import REQUEST
from backtester.strategy.base import Strategy, kind_of
from backtester.strategy.coarse import bar_length
from backtester.strategy.columns import KEYS
from backtester.strategy.declared import declared_indicators
from backtester.strategy.drawn_account import REQUESTS, drawn_script, first_bars, request_column
from backtester.strategy.dry_run import Script, dry_run, loop_bars_of
from backtester.strategy.evaluate import Evaluator
from backtester.strategy.indicators import Indicator
from backtester.strategy.registry import source_of

SAME = 1e-9  # relative: a sum may round differently on another length of data
SETTLED = 1e-6  # relative: a recursion has forgotten its start
LEAST_BARS = 20
LAST_BARS = 200
STARTS = 6
MOST_EDGES = 60  # cuts at holes of one column, behind which a backward fill shows
ENOUGH = 25  # cuts that differ, after which the verdict stands


Kind = Literal["lookahead", "random", "start", "warmup", "short"]
_ERRORS = ("lookahead", "random")


@dataclass(frozen=True)
class Finding:
    """One thing that the check found.

    Attributes
    ----------
    kind : {"lookahead", "random", "start", "warmup", "short"}
        It reads the future; two evaluations differ; a later start never ceases to show; ``warmup`` is too small; it
        fails on a short history.
    column : str
        Name of the indicator, of what is decided (``target``, ``stop_loss`` and so on), or ``requests`` of a loop.
    symbol : str
        Where it was seen.
    bar : int
        ``open_time`` of the bar whose value changed [ms since 1970].
    text : str
        What is wrong, in a sentence.
    """

    kind: Kind
    column: str
    symbol: str
    bar: int
    text: str

    @property
    def severity(self) -> Literal["error", "warning"]:
        """``"error"`` where a backtest would be worthless."""
        return "error" if self.kind in _ERRORS else "warning"


@dataclass(frozen=True)
class CausalityReport:
    """What ``check`` found.

    Attributes
    ----------
    strategy : str
        Name of the strategy.
    symbols : tuple of str
        Symbols that it was evaluated on.
    bars : int
        Distinct bars.
    cuts : int
        Histories cut short that were compared.
    starts : int
        Later starts that were compared.
    warmup : int
        Bars after which a later start no longer shows.
    warmup_column : str
        The column that needs the most of them.
    findings : tuple of Finding
        Empty when all is well.
    """

    strategy: str
    symbols: tuple[str, ...]
    bars: int
    cuts: int
    starts: int
    warmup: int
    warmup_column: str
    findings: tuple[Finding, ...]

    @property
    def is_causal(self) -> bool:
        """Whether no finding is an error."""
        return not any(finding.severity == "error" for finding in self.findings)


def check(
    strategy: Strategy, bars: pl.DataFrame, *, cuts: int = 200, every_bar: bool = False, seed: int = 7
) -> CausalityReport:
    """Return whether a strategy's output about the past stays the same when the future is cut off.

    Parameters
    ----------
    strategy : Strategy
        The rule with its parameters.
    bars : polars.DataFrame
        History to try it on, as ``evaluate`` takes it.
    cuts : int
        Random cuts, beside one at each of the last 200 bars, a few at the start, and one at every hole of a column.
    every_bar : bool
        Cut at every bar instead.
    seed : int
        Seed of the random cuts.

    Returns
    -------
    CausalityReport
        With the first offending column, symbol and bar in each finding's text.

    Raises
    ------
    StrategyError
        When the strategy fails on the whole history, or there are too few bars to judge.
    """
    trial = _Trial(strategy, bars)
    if trial.clock.size >= LEAST_BARS and kind_of(type(strategy)) == "loop":
        trial.watch_requests(seed)
    if trial.clock.size < LEAST_BARS:
        raise StrategyError(
            f"{trial.clock.size} bars are too few to check strategy {strategy.name!r}.",
            f"Give it {LEAST_BARS} at least.",
        )
    places = trial.all_cuts() if every_bar else trial.some_cuts(cuts, seed)
    findings = trial.repeated() or trial.truncated(places)
    warmup, column = 0, ""
    if not any(finding.severity == "error" for finding in findings):
        warmup, column, late = trial.started_late()
        findings += late
    return CausalityReport(
        strategy=strategy.name,
        symbols=trial.symbols,
        bars=int(trial.clock.size),
        cuts=len(places),
        starts=len(trial.starts()),
        warmup=warmup,
        warmup_column=column,
        findings=tuple(findings),
    )


def measured_warmup(strategy: Strategy, bars: pl.DataFrame) -> int:
    """Return the bars after which a later start no longer shows; all of them when it always does.

    Parameters
    ----------
    strategy : Strategy
        The rule with its parameters.
    bars : polars.DataFrame
        History to measure on.

    Returns
    -------
    int
        At least what the indicators look back.
    """
    declared = declared_indicators(strategy).values()
    looks_back = max(
        (item.lookback_at(bar_length(bars)) for item in declared if isinstance(item, Indicator)), default=0
    )
    if bars["open_time"].n_unique() < LEAST_BARS:
        return looks_back
    trial = _Trial(strategy, bars)
    needs = [trial.agreement(start).bars for start in trial.starts()[::2]]
    return max([looks_back, *(int(trial.clock.size) if need is None else need for need in needs)])


class _Agreement(NamedTuple):
    """Bars after which values of a later start agree with the whole's; None: they do not up to the end."""

    bars: int | None
    column: str
    row: int


class _Trial:
    """A strategy, its history, and what it says about the whole of it."""

    def __init__(self, strategy: Strategy, bars: pl.DataFrame) -> None:
        self.strategy = strategy
        self.bars = bars
        evaluator = Evaluator(bars)
        self.bar_ms = evaluator.bar_ms
        self.symbols = tuple(rows.symbol for rows in evaluator.rows)
        self.times = bars["open_time"].dt.epoch("ms").to_numpy()
        times = bars["open_time"] if len(evaluator.rows) == 1 else bars["open_time"].unique().sort()
        self.clock: NDArray[np.int64] = times.dt.epoch("ms").to_numpy()
        self.whole = evaluator.columns(strategy)
        self.script: Script | None = None
        self.requests: NDArray[np.void] = np.zeros(0, REQUEST)
        self.names = [name for name in self.whole.columns if name not in KEYS]

    def watch_requests(self, seed: int) -> None:
        """Compare, from now on, what ``on_bar`` asks for on an account drawn at random.

        A later start is not compared: what a loop does depends on what it did before.
        """
        loop_bars = loop_bars_of(self.strategy, self.bars, self.symbols, self.whole, self.bar_ms)
        # a loop for one net position need not know what to do with two: both legs are shown to those that ask for them
        with_legs = "leg_" in source_of(type(self.strategy))
        self.script = drawn_script(loop_bars, seed, with_legs=with_legs)
        self.requests = dry_run(self.strategy, loop_bars, self.script)
        self.whole = self.whole.with_columns(request_column(self.requests, loop_bars, self.bars))
        self.names.append(REQUESTS)

    def _requests(self, said: pl.DataFrame, keep: NDArray[np.bool_], script: Script) -> pl.Series:
        """Return the column of requests of the bars that are kept; the whole's, where they are the same bit by bit."""
        bars = self.bars.filter(keep)
        loop_bars = loop_bars_of(self.strategy, bars, self.symbols, said, self.bar_ms)
        count = loop_bars.open_time.size
        requests = dry_run(self.strategy, loop_bars, first_bars(script, count))
        before = self.requests[self.requests["decision_bar"] < count]
        if requests.tobytes() == before.tobytes():
            return self.whole[REQUESTS].filter(keep)
        return request_column(requests, loop_bars, bars)

    def _said(self, keep: NDArray[np.bool_], *, is_tried: bool) -> pl.DataFrame:
        """Return what the strategy says about the bars that are kept, from the first one on."""
        evaluator = Evaluator(self.bars.filter(keep), is_tried=is_tried, bar_ms=self.bar_ms)
        said = evaluator.columns(self.strategy)
        return said if self.script is None else said.with_columns(self._requests(said, keep, self.script))

    def repeated(self) -> list[Finding]:
        """Return a finding when a second evaluation of the same bars differs."""
        again = self._said(np.ones(self.bars.height, bool), is_tried=False)
        for name in self.names:
            rows = np.flatnonzero(differing(self.whole[name], again[name], SAME))
            if rows.size:
                text = "differs between two evaluations of the same bars: give its random numbers a seed."
                return [self._finding("random", name, int(rows[0]), text)]
        return []

    def all_cuts(self) -> list[int]:
        """Return every cut: the first time that is left out [ms]."""
        return [int(time) for time in self.clock[1:]]

    def some_cuts(self, count: int, seed: int) -> list[int]:
        """Return random cuts, the last bars, the first ones, and the ends of holes, as times left out first."""
        size = self.clock.size
        random = np.random.default_rng(seed).choice(np.arange(1, size), min(count, size - 1), replace=False)
        last = np.arange(max(1, size - LAST_BARS), size)
        early = [2**power for power in range(size.bit_length()) if 2**power < size]
        holes = np.searchsorted(self.clock, self._hole_ends())
        places = {*random.tolist(), *last.tolist(), *early, *holes.tolist()} - {0}
        return [int(self.clock[place]) for place in sorted(places)]

    def _hole_ends(self) -> list[int]:
        """Return the times at which a column is known again."""
        ends: list[int] = []
        for name in self.bars.columns:
            known = self.bars[name].is_not_null().to_numpy()
            rows = np.flatnonzero(known[1:] & ~known[:-1]) + 1
            if rows.size > MOST_EDGES:
                rows = rows[np.linspace(0, rows.size - 1, MOST_EDGES).astype(np.int64)]
            ends += self.times[rows].tolist()
        return ends

    def truncated(self, places: list[int]) -> list[Finding]:
        """Return a finding for each column that changes when the bars from some cut on are left out."""
        first: dict[str, Finding] = {}
        reach: dict[str, int] = {}
        failed: StrategyError | None = None
        differing_cuts = 0
        for cut in reversed(places):
            keep = self.times < cut
            try:
                part = self._said(keep, is_tried=True)
            except StrategyError as error:
                failed = error
                continue
            seen = self._changed(part, keep, cut, first, reach)
            differing_cuts += seen
            if differing_cuts == ENOUGH:
                break
        found = [
            replace(first[name], text=first[name].text + _reach_text(reach[name], self.clock.size)) for name in first
        ]
        if failed is not None:
            found.append(
                Finding("short", "target", "", places[0], f"It fails on a history cut short: {failed.message}")
            )
        return found

    def _changed(
        self, part: pl.DataFrame, keep: NDArray[np.bool_], cut: int, first: dict[str, Finding], reach: dict[str, int]
    ) -> bool:
        """Note the columns that a cut changes, with the first bar at the first such cut; return whether any does."""
        before = self.whole.filter(keep)
        kept = np.flatnonzero(keep)
        seen = False
        for name in self.names:
            rows = np.flatnonzero(differing(before[name], part[name], SAME))
            if not rows.size:
                continue
            seen = True
            earliest = int(rows[np.argmin(self.times[kept[rows]])])
            row = int(kept[earliest])
            ahead = int(np.searchsorted(self.clock, cut) - np.searchsorted(self.clock, self.times[row]))
            reach[name] = max(reach.get(name, 0), ahead)
            if name not in first:
                values = f"{_shown(before[name][earliest])} with the bars from {format_time(cut)} on"
                text = f"is {values}, {_shown(part[name][earliest])} without them: it reads the future"
                first[name] = self._finding("lookahead", name, row, text)
        return seen

    def starts(self) -> list[int]:
        """Return the later starts that are tried, as times kept first [ms]."""
        size = self.clock.size
        places = {size * k // (2 * STARTS) for k in range(1, STARTS + 1)} - {0}
        return [int(self.clock[place]) for place in sorted(places)]

    def agreement(self, start: int) -> _Agreement:
        """Return after how many bars the values from a later start agree with those of the whole history."""
        keep = self.times >= start
        kept = np.flatnonzero(keep)
        part = Evaluator(self.bars.filter(keep), is_tried=True, bar_ms=self.bar_ms).columns(self.strategy)
        after = self.whole.filter(keep)
        origin = int(np.searchsorted(self.clock, start))
        worst = _Agreement(0, "", 0)
        for name in self.names:
            if name == REQUESTS:
                continue
            rows = np.flatnonzero(differing(after[name], part[name], SETTLED))
            if not rows.size:
                continue
            row = int(kept[rows[np.argmax(self.times[kept[rows]])]])
            need = int(np.searchsorted(self.clock, self.times[row])) - origin + 1
            if need > (worst.bars or 0):
                worst = _Agreement(need, name, row)
        left = self.clock.size - origin
        return worst._replace(bars=None) if worst.bars == left else worst

    def started_late(self) -> tuple[int, str, list[Finding]]:
        """Return the warm-up, the column that needs it, and what is wrong with it."""
        agreements = [self.agreement(start) for start in self.starts()]
        for each in agreements:
            if each.bars is None:
                text = (
                    "depends on where the history starts, however long ago (a cumulative sum, a mean of everything so "
                    "far?): the same dates give other results with more data before them."
                )
                return int(self.clock.size), each.column, [self._finding("start", each.column, each.row, text)]
        worst = max(agreements, key=lambda each: each.bars or 0, default=_Agreement(0, "", 0))
        need = worst.bars or 0
        declared = self.strategy.warmup
        if declared is not None and declared < need:
            text = f"needs {need} bars of warm-up, but the class states warmup = {declared}."
            return need, worst.column, [self._finding("warmup", worst.column, worst.row, text)]
        return need, worst.column, []

    def _finding(self, kind: Kind, name: str, row: int, what: str) -> Finding:
        symbol, bar = str(self.bars["symbol"][row]), int(self.times[row])
        return Finding(kind, name, symbol, bar, f"{name!r} of {symbol} at {format_time(bar)} {what}")


def differing(first: pl.Series, second: pl.Series, tolerance: float) -> NDArray[np.bool_]:
    """Return where two columns differ by more than rounding; null and null are the same.

    Parameters
    ----------
    first, second : polars.Series
        Of equal length.
    tolerance : float
        Relative to the larger value, plus a thousandth of it relative to the column's largest.

    Returns
    -------
    ndarray of bool
        True where they differ.
    """
    if not _is_number(first) or not _is_number(second):
        return first.cast(pl.String).ne_missing(second.cast(pl.String)).to_numpy()
    a, b = first.cast(pl.Float64).to_numpy(), second.cast(pl.Float64).to_numpy()
    different: NDArray[np.bool_] = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    rows = np.flatnonzero(different)
    if rows.size:
        size = np.maximum(np.abs(a), np.abs(b))
        largest = size[np.isfinite(size)].max(initial=0.0)
        with np.errstate(invalid="ignore"):
            near = np.abs(a[rows] - b[rows]) <= tolerance * size[rows] + 1e-3 * tolerance * largest
        different[rows[near]] = False
    return different


def _is_number(values: pl.Series) -> bool:
    return values.dtype.is_numeric() or values.dtype == pl.Null


def _shown(value: object) -> str:
    if value is None:
        return "null"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _reach_text(reach: int, size: int) -> str:
    if reach > size // 4:
        return ", far ahead (a statistic of the whole sample, or a backward fill?)."
    bars = "bar" if reach == 1 else "bars"
    return (
        f", {reach} {bars} ahead as far as seen (a negative shift, a centred window, a backward fill, a forward join?)."
    )

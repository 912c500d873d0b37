"""Walk forward: choose parameters on one span, run them on the next, carry the equity over, go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import polars as pl

from backtester.domain.config import RunConfig
from backtester.engine.frames import times
from backtester.engine.result import Notice
from backtester.engine.run import Progress, silent
from backtester.errors import BacktesterError, UsageError, format_time
from backtester.research.constraint import Constraint, violations
from backtester.research.dimension import Dimension
from backtester.research.evaluation import evaluated, spanned, with_values
from backtester.research.job import Job
from backtester.research.metrics import Objective, OwnMetric, own_value
from backtester.research.optimize import Optimization, Plan, clock
from backtester.research.rows import DONE, ParamValue, metrics_of
from backtester.research.study import opened_study
from backtester.research.trials import COMPLETE
from backtester.research.windows import Window

RUINED = 0.01
"""Share of the first balance below which the account counts as wiped out."""

_EQUITY = ("equity", "wallet_balance", "margin_ratio", "gross_exposure", "net_exposure")


class Search(Protocol):
    """How the sets of a training window are tried."""

    def rows(self, job: Job, window: Window, told: Callable[[float], None]) -> pl.DataFrame:
        """Return the sets that have metrics, with them; ``told`` hears the share that is done."""


@dataclass(frozen=True, eq=False)
class GridSearch:
    """Try every set.

    Attributes
    ----------
    sets : polars.DataFrame
        ``set`` and a column a parameter.
    own : mapping
        Own metrics.
    """

    sets: pl.DataFrame
    own: Mapping[str, OwnMetric]

    def rows(self, job: Job, window: Window, told: Callable[[float], None]) -> pl.DataFrame:  # noqa: ARG002 - a grid is the same in each window
        """Return the sets that have metrics, with them."""
        done = 0

        def tell(part: pl.DataFrame) -> None:
            nonlocal done
            done += part.height
            told(done / self.sets.height)

        return evaluated(job, self.sets, self.own, tell).filter(pl.col("status") == DONE)


@dataclass(frozen=True)
class SampledSearch:
    """Look for the best set with a sampler, anew in each window.

    Attributes
    ----------
    plan : Plan
        What is looked for; its seed is that of the first window.
    own : mapping
        Own metrics that constraints read.
    """

    plan: Plan
    own: Mapping[str, OwnMetric] = field(default_factory=dict)

    def rows(self, job: Job, window: Window, told: Callable[[float], None]) -> pl.DataFrame:
        """Return the sets that have metrics, with them."""
        plan = Plan(**{**vars(self.plan), "seed": self.plan.seed + window.number - 1})
        with opened_study(None, plan.objectives, prune=False) as study:
            search = Optimization(job, plan, study, (), dict(self.own))
            search.run(lambda _, done: told(done or 0.0))
            frame = search.frame()
        return frame.filter(pl.col("state") == COMPLETE).unique(plan.names, keep="first", maintain_order=True)


@dataclass(frozen=True)
class WalkPlan:
    """What is walked through and how.

    Attributes
    ----------
    names : tuple of str
        Parameters.
    objective : Objective
        What the best set is best in.
    constraints : tuple of Constraint
        What a set must fulfil in training.
    windows : tuple of Window
        The steps.
    optimizer : str
        ``grid`` or the name of a sampler.
    dimensions : tuple of Dimension
        The space of a sampler; empty for a grid.
    """

    names: tuple[str, ...]
    objective: Objective
    constraints: tuple[Constraint, ...]
    windows: tuple[Window, ...]
    optimizer: str
    dimensions: tuple[Dimension, ...] = ()


@dataclass(frozen=True)
class Choice:
    """The set that a training window chooses.

    Attributes
    ----------
    params : dict
        Its parameters; empty where no set counts.
    row : dict
        Its metrics in training.
    sets, counted, ties : int
        Sets with metrics; those with a value that keep the constraints; those with the best value.
    """

    params: dict[str, ParamValue]
    row: dict[str, Any]
    sets: int
    counted: int
    ties: int


@dataclass(frozen=True, eq=False)
class Step:
    """One window that is done.

    Attributes
    ----------
    window : Window
        When.
    choice : Choice
        What training chose.
    balance : float
        Equity at the begin of the test [settlement currency].
    equity : polars.DataFrame
        Bars of the test.
    row : dict
        Metrics of the test; empty where nothing was run.
    trades, transfers : polars.DataFrame
        Round trips of the test, and the ledger's entries of deposits and withdrawals.
    error : str or None
        Why the test was refused.
    """

    window: Window
    choice: Choice
    balance: float
    equity: pl.DataFrame
    row: dict[str, Any] = field(default_factory=dict)
    trades: pl.DataFrame = field(default_factory=pl.DataFrame)
    transfers: pl.DataFrame = field(default_factory=pl.DataFrame)
    error: str | None = None

    @property
    def final(self) -> float:
        """Equity at the end of the test [settlement currency]."""
        return float(self.equity["equity"][-1]) if self.equity.height else self.balance


def chosen(rows: pl.DataFrame, plan: WalkPlan) -> Choice:
    """Return the best set of a training window.

    Sets without a value of the objective, that break a constraint or that lost the account do not count. Of several
    with the best value the first one is taken: in the order of the grid, or of the trials.
    """
    metric = plan.objective.metric
    if rows.is_empty() or metric not in rows.columns:
        return Choice({}, {}, rows.height, 0, 0)
    broken = violations(plan.constraints, rows)
    keeps = broken.select(pl.all_horizontal(pl.all() == 0))[:, 0] if plan.constraints else pl.lit(value=True)
    counted = rows.filter(keeps & pl.col(metric).is_not_null())
    floors = {"total_return": -1, "final_equity": 0}
    lost = [pl.col(name) <= floor for name, floor in floors.items() if name in counted.columns]
    counted = counted.filter(~pl.coalesce(*lost, pl.lit(value=False)))
    if counted.is_empty():
        return Choice({}, {}, rows.height, 0, 0)
    values = counted[metric]
    best = values.max() if plan.objective.direction == "max" else values.min()
    tied = counted.filter(pl.col(metric) == best)
    row = tied.row(0, named=True)
    params: dict[str, ParamValue] = {name: row[name] for name in plan.names}
    metrics = {key: value for key, value in row.items() if key not in params}
    return Choice(params, metrics, rows.height, counted.height, tied.height)


class Walk:
    """A walk forward under way.

    Parameters
    ----------
    job : Job
        The market and the strategy, on the whole span.
    plan : WalkPlan
        Windows and what is looked for.
    search : Search
        How sets are tried.
    make : callable
        Configuration to job.
    own : mapping
        Own metrics that the tests report too.
    """

    def __init__(
        self,
        job: Job,
        plan: WalkPlan,
        search: Search,
        make: Callable[[RunConfig], Job],
        own: Mapping[str, OwnMetric],
    ) -> None:
        self._job, self._plan, self._search, self._make, self._own = job, plan, search, make, own
        self.first_balance = job.base.resolved.config.account.balance
        self.steps: list[Step] = []

    def run(self, progress: Progress = silent) -> tuple[Notice, ...]:
        """Walk through the windows; `steps` grows with each that is done.

        Returns
        -------
        tuple of Notice
            What happened on the way.
        """
        balance, windows, begun = self.first_balance, self._plan.windows, time.monotonic()
        for place, window in enumerate(windows):

            def told(share: float, place: int = place, window: Window = window) -> None:
                done = (place + share) / len(windows)
                spent = time.monotonic() - begun
                left = f", {clock(spent / done - spent)} left" if done > 0 else ""
                number = f"Window {window.number} of {len(windows)}"
                progress(f"{number}, test from {format_time(window.test_start)}{left}", min(done, 0.999))

            told(0.0)
            self.steps.append(self._step(window, balance, told))
            balance = self.steps[-1].final
            if balance < RUINED * self.first_balance:
                if place + 1 < len(windows):
                    return (*self.notices(), _wiped_out(window, balance, len(windows)))
                break
        progress(f"Window {len(self.steps)} of {len(windows)} done", 1.0)
        return self.notices()

    def _step(self, window: Window, balance: float, told: Callable[[float], None]) -> Step:
        """Train in a window and test what it chooses."""
        base = self._job.base.config
        train = self._make(spanned(base, window.train_start, window.train_end))
        choice = chosen(self._search.rows(train, window, told), self._plan)
        tested = with_values(spanned(base, window.test_start, window.test_end), {"account.balance": balance})
        job = self._make(tested)
        if not choice.params:
            return Step(window, choice, balance, _flat(job, window, balance))
        try:
            result = job.result(choice.params)
            values = {name: own_value(name, function, result) for name, function in self._own.items()}
        except BacktesterError as error:
            return Step(window, choice, balance, _flat(job, window, balance), error=str(error))
        number = pl.lit(window.number, pl.Int64).alias("window")
        return Step(
            window,
            choice,
            balance,
            result.equity.select(number, "open_time", "close_time", *_EQUITY),
            {**metrics_of(result), **values},
            result.trades.select(number, pl.all()),
            result.ledger.filter(pl.col("kind") == "transfer"),
        )

    def notices(self) -> tuple[Notice, ...]:
        """Return what the reader must know of the windows that are done."""
        found = []
        idle = [str(step.window.number) for step in self.steps if not step.choice.params]
        if idle:
            metric = self._plan.objective.metric
            text = (
                f"In {_windows(idle)} no set counted in training (none had a value of {metric}, kept the "
                "constraints and kept its account): the account stayed flat in the test."
            )
            found.append(Notice("window_without_set", "warning", text))
        for step in self.steps:
            if step.error is not None:
                text = f"The test of window {step.window.number} was refused, and the account stayed flat: {step.error}"
                found.append(Notice("window_failed", "warning", text))
        tied = [str(step.window.number) for step in self.steps if step.choice.ties > 1]
        if tied:
            text = f"In {_windows(tied)} several sets were best in training; the first of them was taken."
            found.append(Notice("window_ties", "assumption", text))
        return tuple(found)


def windows_frame(steps: Sequence[Step], plan: WalkPlan) -> pl.DataFrame:
    """Return the windows that are done, one row each.

    Returns
    -------
    polars.DataFrame
        ``window, train_start, train_end, test_start, test_end`` (UTC, ends excluded), ``sets`` (with metrics),
        ``counted`` (with a value, within the constraints), ``ties``, ``error``, ``balance``, ``final_balance``
        [settlement currency], the chosen parameters (null where no set counted), and every metric of the chosen set as
        ``train_…`` and ``test_…``.
    """
    names = ("train_start", "train_end", "test_start", "test_end")
    columns = [
        pl.Series("window", [step.window.number for step in steps], pl.Int64),
        *(times(np.array([getattr(s.window, name) for s in steps], dtype=np.int64)).alias(name) for name in names),
        *(
            pl.Series(name, [getattr(step.choice, name) for step in steps], pl.Int64)
            for name in ("sets", "counted", "ties")
        ),
        pl.Series("error", [step.error for step in steps], pl.String),
        pl.Series("balance", [step.balance for step in steps], pl.Float64),
        pl.Series("final_balance", [step.final for step in steps], pl.Float64),
        *(pl.Series(name, [step.choice.params.get(name) for step in steps]) for name in plan.names),
    ]
    metrics = dict.fromkeys(key for step in steps for key, value in step.row.items() if not isinstance(value, str))
    for kind, rows in (("train", [s.choice.row for s in steps]), ("test", [s.row for s in steps])):
        columns += [pl.Series(f"{kind}_{key}", [_number(row.get(key)) for row in rows], pl.Float64) for key in metrics]
    return pl.DataFrame(columns)


def _flat(job: Job, window: Window, balance: float) -> pl.DataFrame:
    """Return the equity of an account that holds nothing through a window."""
    panel = job.base.panel
    return pl.DataFrame(
        {
            "open_time": times(panel.open_time),
            "close_time": times(panel.open_time + panel.timeframe_ms),
        }
    ).select(
        pl.lit(window.number, pl.Int64).alias("window"),
        "open_time",
        "close_time",
        pl.lit(balance).alias("equity"),
        pl.lit(balance).alias("wallet_balance"),
        *(pl.lit(0.0).alias(name) for name in _EQUITY[2:]),
    )


def refuse_held(config: RunConfig) -> None:
    """Refuse accounts whose equity cannot be carried over as a balance."""
    if config.collateral:
        raise UsageError(
            "An account that holds collateral cannot be walked forward: its equity is carried over as cash.",
            "Leave [collateral] out.",
        )


def _wiped_out(window: Window, balance: float, count: int) -> Notice:
    text = (
        f"The account was wiped out in window {window.number} (equity {balance:,.2f} at its end): the walk ends there, "
        f"{count - window.number} windows before its last."
    )
    return Notice("wiped_out", "warning", text)


def _windows(numbers: Sequence[str]) -> str:
    shown = ", ".join(numbers[:8]) + (", …" if len(numbers) > 8 else "")
    return f"window {shown}" if len(numbers) == 1 else f"{len(numbers)} windows ({shown})"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None

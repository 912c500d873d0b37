"""What a walk forward hands back: the stitched account, its figures, and how steady the choices were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from backtester.analytics import drawdown, returns, trades
from backtester.domain.config import RunConfig
from backtester.engine.result import Notice, SummaryValue
from backtester.errors import format_time
from backtester.research.search_folder import MANIFEST, write_frame, write_json, write_search
from backtester.research.walk_forward import Step, WalkPlan, windows_frame

PLAN_FILE = "walk_forward.toml"
SECTION = "walk_forward"
_LEAST_PAIRS = 4  # windows from which a rank correlation is told
_SUMMED = (
    "price", "slippage", "fees", "funding", "liquidation", "auto_deleverage", "socialized_loss", "transfer",
    "fills", "settlements", "liquidations", "liquidation_steps",
)  # fmt: skip
STABILITY = pl.Schema(
    {
        "parameter": pl.String(),
        "values": pl.Int64(),
        "most_frequent": pl.String(),
        "share": pl.Float64(),
        "changes": pl.Int64(),
        "smallest": pl.Float64(),
        "largest": pl.Float64(),
        "mean": pl.Float64(),
        "deviation": pl.Float64(),
    }
)


@dataclass(frozen=True, eq=False)
class WalkForwardResult:
    """A walk forward.

    Attributes
    ----------
    run_id : str
        Its name and that of its folder.
    config : RunConfig
        What all windows have in common, with the whole span.
    strategy_name : str
        The strategy.
    plan : WalkPlan
        Windows and what was looked for.
    settings : dict
        What was asked for, as ``walk_forward.toml`` has it.
    windows : polars.DataFrame
        One row a window; see `windows_frame`.
    equity : polars.DataFrame
        ``window, open_time, close_time, equity, drawdown, wallet_balance, margin_ratio, gross_exposure,
        net_exposure``: the tests one after the other, each begun with the equity at which the one before ended.
    trades : polars.DataFrame
        Round trips of the tests, with their ``window``.
    summary : dict
        Figures of the stitched account, and of training against test.
    stability : polars.DataFrame
        How often each parameter's choice changed: ``parameter, values`` (different ones)``, most_frequent, share``
        (of windows with it)``, changes`` (from one window to the next)``, smallest, largest, mean, deviation`` (null
        where the values are no numbers).
    notices : tuple of Notice
        What the reader must know.
    symbols : tuple of str
        Contracts that were traded.
    span : tuple of int
        First open and end of the last bar [ms since 1970, UTC].
    synthetic : bool
        Whether the market was made up.
    settle : str
        Settlement currency.
    interrupted : bool
        Whether it was ended before its last window.
    manifest : dict
        Hashes, versions and times.
    run_dir : Path or None
        The folder, where one was written.
    """

    run_id: str
    config: RunConfig
    strategy_name: str
    plan: WalkPlan
    settings: dict[str, Any]
    windows: pl.DataFrame
    equity: pl.DataFrame
    trades: pl.DataFrame
    summary: dict[str, SummaryValue]
    stability: pl.DataFrame
    notices: tuple[Notice, ...]
    symbols: tuple[str, ...]
    span: tuple[int, int]
    synthetic: bool
    settle: str
    interrupted: bool = False
    manifest: dict[str, Any] = field(default_factory=dict)
    run_dir: Path | None = None

    def __repr__(self) -> str:
        total = self.summary.get("total_return")
        shown = f", out of sample {total:+.2%}" if isinstance(total, float) else ""
        return f"<WalkForwardResult {self.run_id}: {self.windows.height} windows{shown}>"

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows."""
        metric = self.plan.objective.metric
        shown = ["window", "test_start", *self.plan.names, f"train_{metric}", f"test_{metric}"]
        kept = [name for name in shown if name in self.windows.columns]
        return f"<div><p><b>{escape(self.run_id)}</b></p>{self.windows.select(kept)._repr_html_()}</div>"


def stitched(steps: Sequence[Step], first_balance: float) -> pl.DataFrame:
    """Return the bars of all tests in order, with the drawdown of the whole.

    Parameters
    ----------
    steps : sequence of Step
        Windows that are done.
    first_balance : float
        Equity before the first test [settlement currency].
    """
    parts = [step.equity for step in steps if step.equity.height]
    if not parts:
        return pl.DataFrame()
    whole = pl.concat(parts, how="vertical_relaxed")
    grown = returns.time_weighted(whole, _transfers(steps), first_balance)
    below = drawdown.underwater(grown["equity"].to_numpy(), first_balance)
    return whole.select("window", "open_time", "close_time", "equity", pl.Series("drawdown", below), *whole.columns[4:])


def stitched_trades(steps: Sequence[Step]) -> pl.DataFrame:
    """Return the round trips of all tests; one that is open at the end of its test stays open in the list."""
    parts = [step.trades for step in steps if step.trades.width]
    return pl.concat(parts, how="vertical_relaxed") if parts else pl.DataFrame()


def walk_summary(steps: Sequence[Step], first_balance: float, plan: WalkPlan) -> dict[str, SummaryValue]:
    """Return the figures of the stitched account, by the names of a run's summary, and those of training against test.

    ``train_objective`` and ``test_objective`` are means over the windows that have both; ``efficiency`` is the mean
    logarithmic return a day in the tests over that in training (None where training lost); ``rank_correlation`` is
    Spearman's, of the objective in training and in test.
    """
    whole = stitched(steps, first_balance)
    values: dict[str, SummaryValue] = {"windows": len(steps)}
    if whole.is_empty():
        return values
    grown = returns.time_weighted(whole, _transfers(steps), first_balance)
    daily = returns.daily_returns(grown, first_balance)["return"].to_numpy()
    total = returns.total_return(first_balance, float(grown["equity"][-1]))
    annual = returns.annual_return(total, len(daily))
    episodes = drawdown.episodes(grown, first_balance).sort("depth", maintain_order=True)
    deepest = float(episodes["depth"][0]) if episodes.height else 0.0
    sums = {key: _sum(step.row.get(key) for step in steps) for key in _SUMMED}
    final = float(whole["equity"][-1])
    ran = [step for step in steps if step.row]
    trips = stitched_trades(steps)
    return {
        **values,
        "start": format_time(int(whole["open_time"].cast(pl.Int64)[0])),
        "end": format_time(int(whole["close_time"].cast(pl.Int64)[-1])),
        "bars": whole.height,
        "days": len(daily),
        "initial_balance": first_balance,
        "final_equity": final,
        "net_profit": final - first_balance - (sums["transfer"] or 0.0),
        "total_return": total,
        "annual_return": annual,
        "volatility": returns.volatility(daily),
        "sharpe": returns.sharpe(daily),
        "sortino": returns.sortino(daily),
        "calmar": returns.calmar(annual, deepest),
        "max_drawdown": deepest,
        "best_day": float(daily.max()),
        "worst_day": float(daily.min()),
        "positive_days": float(np.mean(daily > 0)),
        **(trades.statistics(trips) if trips.width else {}),
        **sums,
        "profitable_windows": sum(step.final > step.balance for step in steps) / len(steps),
        **_against(ran, plan),
    }


def stability_frame(steps: Sequence[Step], names: Sequence[str]) -> pl.DataFrame:
    """Return how steady the choice of each parameter was over the windows that chose a set."""
    choices = [step.choice.params for step in steps if step.choice.params]
    rows = []
    for name in names if choices else ():
        values = [params[name] for params in choices]
        counts = pl.Series(name, values).value_counts(sort=True, name="count")
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        known = len(numbers) == len(values)
        rows.append(
            {
                "parameter": name,
                "values": counts.height,
                "most_frequent": _text(counts[name][0]),
                "share": float(counts["count"][0]) / len(values),
                "changes": sum(a != b for a, b in pairwise(values)),
                "smallest": float(min(numbers)) if known else None,
                "largest": float(max(numbers)) if known else None,
                "mean": float(np.mean(numbers)) if known else None,
                "deviation": float(np.std(numbers, ddof=1)) if known and len(numbers) > 1 else None,
            }
        )
    return pl.DataFrame(rows, schema=STABILITY)


def write_walk(result: WalkForwardResult, folder: Path) -> None:
    """Write the files of a walk forward but its page."""
    write_search(folder / PLAN_FILE, result.config, SECTION, result.settings)
    write_frame(folder / "windows.parquet", result.windows)
    write_frame(folder / "equity.parquet", result.equity)
    write_frame(folder / "trades.parquet", result.trades)
    write_json(folder / MANIFEST, result.manifest)


def _against(steps: Sequence[Step], plan: WalkPlan) -> dict[str, SummaryValue]:
    """Return training against test."""
    frame = windows_frame(steps, plan) if steps else pl.DataFrame()
    train, test = f"train_{plan.objective.metric}", f"test_{plan.objective.metric}"
    if train not in frame.columns or test not in frame.columns:
        return {}
    pairs = frame.select(train, test).drop_nulls()
    if pairs.is_empty():
        return {"train_objective": None, "test_objective": None, "degradation": None}
    means = [float(np.mean(pairs[name].to_numpy())) for name in (train, test)]
    spread = all(pairs[name].n_unique() > 1 for name in (train, test))
    ranks = pairs.select(pl.corr(train, test, method="spearman"))[0, 0] if spread else None
    return {
        "train_objective": means[0],
        "test_objective": means[1],
        "degradation": means[1] - means[0],
        "rank_correlation": float(ranks) if ranks is not None and pairs.height >= _LEAST_PAIRS else None,
        "efficiency": _efficiency(frame),
    }


def _efficiency(frame: pl.DataFrame) -> float | None:
    """Return the mean logarithmic return a day in test over that in training."""
    needed = ("train_total_return", "test_total_return")
    if any(name not in frame.columns for name in needed):
        return None
    kept = (
        frame.select(*needed, *_lengths(frame))
        .drop_nulls()
        .filter(pl.min_horizontal("train_total_return", "test_total_return") > -1)
    )
    if kept.is_empty():
        return None
    train = float((kept["train_total_return"].log1p() / kept["train_days"]).mean())  # type: ignore[arg-type]
    test = float((kept["test_total_return"].log1p() / kept["test_days"]).mean())  # type: ignore[arg-type]
    return test / train if train > 0 else None


def _lengths(frame: pl.DataFrame) -> list[pl.Series]:
    """Return how long training and test of each window are [days]; a day that a window only touches is no whole one."""
    ends = {kind: frame[f"{kind}_end"] - frame[f"{kind}_start"] for kind in ("train", "test")}
    return [(length.dt.total_seconds() / 86_400).alias(f"{kind}_days") for kind, length in ends.items()]


def _transfers(steps: Sequence[Step]) -> pl.DataFrame:
    """Return deposits and withdrawals of all tests, as a ledger."""
    parts = [step.transfers for step in steps if step.transfers.height]
    if not parts:
        return pl.DataFrame(schema={"kind": pl.String})
    return pl.concat(parts, how="vertical_relaxed")


def _sum(values: Any) -> float | int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, float) else str(value)

"""Figures of a sweep show the frame's numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtester.report.figures import sweep as figures
from backtester.report.sweep_cells import colour_range, smoothed
from backtester.report.sweep_data import Sweep
from backtester.report.sweep_metrics import KNOWN
from tests.unit.report import sweep_sample

SHARPE, RATIO = KNOWN["sharpe"], KNOWN["worst_margin_ratio"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return sweep_sample.read(tmp_path_factory.mktemp("small"), sweep_sample.small())


def shown(figure: object) -> dict[tuple[str, str], float]:
    """The cells of a heatmap."""
    heat = figure.data[0]
    return {
        (x, y): heat.z[r][c] for r, y in enumerate(heat.y) for c, x in enumerate(heat.x) if heat.z[r][c] is not None
    }


@pytest.mark.parametrize("collapse", ["best", "median", "worst"])
@pytest.mark.parametrize("metric", [SHARPE, RATIO])
def test_heatmap_equals_grouping_the_frame(small: Sweep, collapse: str, metric: object) -> None:
    fast, slow, _ = small.axes
    figure = figures.heatmap_figure(small, fast, slow, metric, collapse)
    value = pl.col(metric.key)
    best_is_max = metric.better > 0
    wanted = {
        "median": value.median(),
        "best": value.max() if best_is_max else value.min(),
        "worst": value.min() if best_is_max else value.max(),
    }[collapse]
    grouped = small.done.group_by("fast", "slow").agg(wanted.alias("value"))
    assert shown(figure) == pytest.approx({(str(f), str(s)): v for f, s, v in grouped.iter_rows()})
    best = max(shown(figure), key=lambda cell: shown(figure)[cell] * metric.better)
    assert (figure.data[1].x[0], figure.data[1].y[0]) == best


def test_colours_meet_at_zero(small: Sweep) -> None:
    heat = figures.heatmap_figure(small, *small.axes[:2], SHARPE).data[0]
    assert heat.zmin == -heat.zmax
    assert heat.meta["scale"] == "diverging"


def test_one_spike_hides_nothing() -> None:
    values = np.concatenate([np.linspace(-1, 1, 400), [500.0, np.nan]])
    assert colour_range(values, is_centred=True)[1] < 1.1
    assert colour_range(np.full(3, 2.0), is_centred=False) == (1.5, 2.5)
    assert colour_range(np.array([np.nan]), is_centred=True) == (-1.0, 1.0)


def test_smoothing_is_the_median_of_three_by_three() -> None:
    matrix = np.random.default_rng(0).normal(size=(5, 4))
    matrix[2, 1] = np.nan
    found = smoothed(matrix, along_x=True, along_y=True)
    for row in range(5):
        for column in range(4):
            around = matrix[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            if np.isnan(matrix[row, column]):
                assert np.isnan(found[row, column])
            else:
                assert found[row, column] == pytest.approx(np.nanmedian(around))
    across = smoothed(matrix, along_x=True, along_y=False)
    assert across[0, 0] == pytest.approx(np.median(matrix[0, :2]))
    np.testing.assert_array_equal(smoothed(matrix, along_x=False, along_y=False), matrix)


def test_lines_hold_each_set_once(small: Sweep) -> None:
    figure = figures.parallel_figure(small, SHARPE)
    axes = len(figure.layout.xaxis.ticktext)
    points = sum(len(trace.y) for trace in figure.data[:-1])
    assert points == small.done.height * (axes + 1)
    assert list(figure.layout.xaxis.ticktext[:4]) == ["fast", "slow", "account.leverage", "Sharpe ratio"]
    best = int(np.argmax(small.values("sharpe")))
    assert figure.data[-1].y[0] == pytest.approx(small.axes[0].codes[best] / 5)
    assert figure.data[-1].y[3] == 1.0
    texts = [note.text for note in figure.layout.annotations]
    assert SHARPE.text(float(small.values("sharpe").max())) in texts


def test_only_so_many_lines_are_drawn() -> None:
    values = np.random.default_rng(1).normal(size=20_000)
    values[7] = np.nan
    order = figures.line_order(values, 1)
    assert len(order) == figures.ALL_LINES == len(set(order.tolist()))
    assert 7 not in order
    ranks = np.argsort(-values, kind="stable")
    assert order[: figures.BEST_LINES].tolist() == ranks[: figures.BEST_LINES].tolist()
    assert np.nanmin(values[order]) < -2.5  # the rest is not left out
    assert figures.line_order(values, -1)[0] == np.nanargmin(values)


def test_distribution_counts_every_set(small: Sweep) -> None:
    figure = figures.distribution_figure(small, SHARPE)
    values = small.values("sharpe")
    assert sum(figure.data[0].y) == len(values)
    assert figure.layout.shapes[0].x0 == pytest.approx(np.median(values))
    assert figure.layout.shapes[1].x0 == values.max()


def test_boxes_are_the_quartiles(small: Sweep) -> None:
    axis = small.axes[0]
    box = figures.against_figure(small, axis, SHARPE).data[0]
    for place, label in enumerate(box.x):
        values = small.done.filter(pl.col("fast") == int(label))["sharpe"].to_numpy()
        found = [box[k][place] for k in ("lowerfence", "q1", "median", "q3", "upperfence")]
        assert found == pytest.approx(np.quantile(values, [0, 0.25, 0.5, 0.75, 1]), abs=1e-8)


def test_sampled_parameters_are_gathered(tmp_path: Path) -> None:
    sweep = sweep_sample.read(tmp_path, sweep_sample.sampled())
    fast, slow, mode = sweep.axes
    assert 4 <= len(slow.cells) <= 20
    assert mode.cells == ["both", "long", "short"]
    assert not mode.is_ordered
    figure = figures.heatmap_figure(sweep, fast, slow, SHARPE, "worst")
    low, high = (sweep.done["slow"].min(), sweep.done["slow"].max())
    ends = np.geomspace(low, high, len(slow.cells) + 1)  # drawn evenly on a log scale
    cell = np.clip(np.searchsorted(ends, sweep.done["slow"].to_numpy(), side="right") - 1, 0, len(slow.cells) - 1)
    for row in range(len(slow.cells)):
        found = [z for z in figure.data[0].z[row] if z is not None]
        assert min(found) == pytest.approx(sweep.values("sharpe")[cell == row].min())


def test_texts_of_figures_are_no_markup(tmp_path: Path) -> None:
    sweep = sweep_sample.read(tmp_path, sweep_sample.hostile())
    fast, text, _ = sweep.axes
    figure = figures.heatmap_figure(sweep, fast, text, SHARPE)
    assert "<script" not in str(figure)
    assert "<i>" not in str(figure)
    assert "&lt;i&gt;c&lt;/i&gt;" in figure.data[0].y


def test_a_value_that_is_not_defined_is_left_out(small: Sweep) -> None:
    metric = KNOWN["profit_factor"]
    assert small.done["profit_factor"].null_count() > 0
    figure = figures.heatmap_figure(small, *small.axes[:2], metric, "best")
    assert all(math.isfinite(v) for v in shown(figure).values())

"""The page of a sweep: its data equal the frame, its verdict the numbers, its texts stay texts."""

from __future__ import annotations

import base64
import json
import re
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtester.engine.run_file import parse_setting
from backtester.errors import StoreError
from backtester.report.html_file import plotly_script
from backtester.report.sweep_data import Sweep, read_sweep
from backtester.report.sweep_metrics import KNOWN
from backtester.report.sweep_page import render_sweep_page, write_sweep_page
from backtester.report.sweep_payload import kept_rows, packed, payload, set_command
from backtester.report.sweep_sections import facts, tiles
from backtester.report.sweep_verdict import best_of, findings, luck
from backtester.strategy.params import parse_assignments
from tests.unit.report import sweep_sample

KINDS = {"i1": "<i1", "i2": "<i2", "i4": "<i4", "f8": "<f8"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return sweep_sample.read(tmp_path_factory.mktemp("small"), sweep_sample.small())


def unpacked(column: dict, count: int) -> np.ndarray:
    """A column as the page's script unpacks it."""
    if column["t"] == "c":
        return np.full(count, np.nan if column["d"] is None else column["d"])
    raw = np.frombuffer(base64.b64decode(column["d"]), KINDS[column["t"]])
    if column["t"] == "f8":
        return raw.copy()
    none = np.iinfo(raw.dtype).min
    return np.where(raw == none, np.nan, raw / 10.0 ** column["k"])


def without_plotly(page: str) -> str:
    return page.replace(str(plotly_script()), "")


def said(sweep: Sweep) -> dict[str, str]:
    return {finding.code: finding.text for finding in findings(sweep)}


# -- data ------------------------------------------------------------------------------------------------------------


def test_columns_of_the_page_equal_the_frame(small: Sweep) -> None:
    data = payload(small)
    count = small.done.height
    assert data["count"] == count
    assert unpacked(data["set"], count).tolist() == small.done["set"].to_list()
    for axis in data["axes"]:
        values = [axis["values"][int(code)] for code in unpacked(axis["codes"], count)]
        assert values == small.done[axis["name"]].to_list()
    keys = [metric["key"] for metric in data["metrics"]]
    assert set(keys) == {n for n in small.done.columns[7:] if small.done[n].dtype.is_numeric()}
    for metric, column in zip(small.metrics, data["metrics"], strict=True):
        found, wanted = unpacked(column, count), small.values(metric.key)
        assert [metric.text(v) for v in found] == [metric.text(v) for v in wanted]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-8 * np.nanmax(np.abs(wanted)))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.0, 1.0], "c"),
        ([np.nan, np.nan], "c"),
        ([1.0, -5.0, np.nan], "i1"),
        ([-128.0, 5.0], "i2"),
        ([0.0, 40_000.0], "i4"),
        ([0.1, -0.25, np.nan], "i4"),
        ([0.5, 1e7], "f8"),
        ([3e9, 1.0], "f8"),
    ],
)
def test_columns_are_packed_no_wider_than_needed(values: list[float], kind: str) -> None:
    column = packed(np.array(values), KNOWN["total_return"], 2)
    assert column["t"] == kind
    np.testing.assert_allclose(unpacked(column, len(values)), values, rtol=1e-8)


def test_packed_amounts_round_as_the_frame_does() -> None:
    rng = np.random.default_rng(8)
    near = rng.integers(-200_000, 200_000, 20_000) / 100 + 0.005 + rng.normal(0, 1e-6, 20_000)
    column = packed(near, KNOWN["net_profit"], 2)
    assert column["t"] == "i4"
    metric = KNOWN["net_profit"]
    assert [metric.text(v) for v in unpacked(column, near.size)] == [metric.text(v) for v in near]
    exact = rng.integers(-200_000, 200_000, 5_000) / 100
    assert unpacked(packed(exact, metric, 2), exact.size).tolist() == exact.tolist()


def test_ten_thousand_sets_take_little(tmp_path: Path) -> None:
    sweep = sweep_sample.read(tmp_path, sweep_sample.large())
    assert sweep.sets.height == 10_000
    assert len(render_sweep_page(sweep)) - len(plotly_script()) < 3_000_000


def test_very_many_sets_carry_what_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backtester.report.sweep_data.ALL_METRICS", 5_000)
    monkeypatch.setattr("backtester.report.sweep_sections.ALL_METRICS", 5_000)
    monkeypatch.setattr("backtester.report.sweep_payload.MOST_SETS", 6_000)
    sweep = sweep_sample.read(tmp_path, sweep_sample.large(), metric="average_holding_hours")
    data = payload(sweep)
    assert data["count"] == 6_000
    keys = {metric["key"] for metric in data["metrics"]}
    assert {"sharpe", "average_holding_hours"} <= keys
    assert "own_metric" not in keys
    kept = kept_rows(sweep)
    assert set(np.argsort(-sweep.values("average_holding_hours"))[:1_000].tolist()) <= set(kept.tolist())
    assert len(set(kept.tolist())) == 6_000
    assert "sets.parquet holds all" in render_sweep_page(sweep)


def test_commands_give_back_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = sweep_sample.grid(
        {
            "fast": [8],
            "mode": ["a b", "it's", "3", "$HOME"],
            "flag": [True],
            "account.margin_mode": ["cross"],
            "execution.slippage_bps": [0.5],
            "instruments.BTC/USDT:USDT": ["true"],
        }
    )
    monkeypatch.chdir(tmp_path)
    sweep = sweep_sample.read(tmp_path / "reports" / "s1", sweep_sample.rows(params, np.zeros(4)))
    for row in sweep.done.iter_rows(named=True):
        words = shlex.split(set_command(sweep, row))
        assert words[:4] == ["backtester", "run", "--config", "reports/s1/sweep.toml"]
        pairs = list(zip(words[4::2], words[5::2], strict=True))
        given = parse_assignments(text for kind, text in pairs if kind == "-p")
        assert given == {"fast": "8", "mode": row["mode"], "flag": "true"}
        trees = [parse_setting(text) for kind, text in pairs if kind == "--set"]
        assert trees[0] == {"account": {"margin_mode": "cross"}}
        assert trees[1] == {"execution": {"slippage_bps": 0.5}}
        assert trees[2] == {"instruments": {"BTC/USDT:USDT": "true"}}


def test_commands_name_the_folders(tmp_path: Path) -> None:
    folders = {"--store": str(tmp_path / "data"), "--strategies": [str(tmp_path / "a b")]}
    sweep = sweep_sample.read(tmp_path / "elsewhere" / "s1", sweep_sample.one_set(), folders=folders)
    words = shlex.split(payload(sweep)["command"])
    assert words[words.index("--store") + 1] == str(tmp_path / "data")
    assert words[words.index("--strategies") + 1] == str(tmp_path / "a b")
    assert words[words.index("--out") + 1] == str(tmp_path / "elsewhere")


def test_labels_of_values_are_told_apart(tmp_path: Path) -> None:
    params = sweep_sample.grid({"step": [0.1, 0.10000001, 1e-9, 0.0], "text": ["x" * 50 + "a", "x" * 50 + "b", ""]})
    sweep = sweep_sample.read(tmp_path, sweep_sample.rows(params, np.zeros(12)))
    for axis in sweep.axes:
        assert len(set(axis.labels)) == len(axis.values)


# -- verdict ---------------------------------------------------------------------------------------------------------


def with_sharpe(folder: Path, sharpe: np.ndarray, axes: dict | None = None) -> Sweep:
    params = sweep_sample.grid(axes or {"fast": range(9), "slow": range(100, 109)})
    return sweep_sample.read(folder, sweep_sample.rows(params, sharpe, noise=0.0))


def test_a_plateau_and_a_spike(tmp_path: Path) -> None:
    x, y = np.meshgrid(np.arange(9), np.arange(9), indexing="ij")
    smooth = with_sharpe(tmp_path / "smooth", np.exp(-((x - 4) ** 2 + (y - 4) ** 2) / 20.0).ravel())
    best = best_of(smooth, KNOWN["sharpe"])
    assert best is not None
    assert (best.shape, best.neighbours, best.row) == ("plateau", 8, 40)
    assert best.around == pytest.approx(np.median([np.exp(-1 / 20)] * 4 + [np.exp(-2 / 20)] * 4))
    text = said(smooth)["shape"]
    assert "8 neighbours" in text
    assert KNOWN["sharpe"].text(best.around) in text
    lone = np.random.default_rng(0).normal(0, 0.1, 81)
    lone[40] = 3.0
    spike = with_sharpe(tmp_path / "spike", lone)
    best = best_of(spike, KNOWN["sharpe"])
    assert best is not None
    assert best.shape == "spike"
    assert best.kept < 0.1
    assert best.broadest != best.row


def test_lower_is_better_where_it_is(tmp_path: Path) -> None:
    sweep = sweep_sample.read(tmp_path, sweep_sample.small(), metric="worst_margin_ratio")
    assert sweep.main is KNOWN["worst_margin_ratio"]
    best = best_of(sweep, sweep.main)
    assert best is not None
    assert best.value == sweep.values("worst_margin_ratio").min()
    assert best.lowest >= best.around >= best.value


def test_level_and_alone(tmp_path: Path) -> None:
    level = best_of(with_sharpe(tmp_path / "level", np.zeros(81)), KNOWN["sharpe"])
    assert level is not None
    assert level.shape == "level"
    alone = sweep_sample.read(tmp_path / "one", sweep_sample.one_set())
    assert "nothing else was tried" in said(alone)["shape"]


def test_edge_and_idle_parameters(tmp_path: Path) -> None:
    params = sweep_sample.grid({"fast": range(6), "account.leverage": [1.0, 2.0, 3.0]})
    frame = sweep_sample.rows(params, params["fast"].to_numpy() * 0.1, noise=0.0)
    sweep = sweep_sample.read(tmp_path, frame)
    texts = said(sweep)
    assert "fast at its largest value, 5" in texts["edge"]
    assert texts["idle"].startswith("account.leverage changed nothing")
    best = best_of(sweep, KNOWN["sharpe"])
    assert best is not None
    assert best.neighbours == 1  # those that differ in leverage alone are the same set again


def test_luck_is_said_with_its_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    sweep = with_sharpe(tmp_path, rng.normal(0, 0.2, 81))
    found = luck(sweep)
    assert found is not None
    highest, expected, trials, days = found
    assert (trials, days) == (81, 731)
    assert highest == sweep.values("sharpe").max()
    assert expected > highest
    assert "not above that" in said(sweep)["luck"]
    tile = next(t for t in tiles(sweep) if t.key == "luck")
    assert tile.text == f"{expected:.2f}"


def test_sets_that_repeat_each_other_are_one_trial(tmp_path: Path) -> None:
    frame = sweep_sample.one_parameter()
    keys = ["sharpe", "total_return", "trades", "max_drawdown"]
    frame = frame.with_columns(pl.col(key).gather(pl.int_range(pl.len()) // 2) for key in keys)
    found = luck(sweep_sample.read(tmp_path, frame))
    assert found is not None
    assert found[2] == 15


def test_losses_liquidations_and_failures_are_counted(tmp_path: Path) -> None:
    frame = sweep_sample.liquidated()
    sweep = sweep_sample.read(tmp_path / "a", frame)
    losers = int((frame["total_return"] < 0).sum())
    assert said(sweep)["losing"].startswith(f"{losers} of 20 sets")
    assert said(sweep)["liquidated"].startswith("16 of 20 sets (80.0")
    failed = sweep_sample.read(tmp_path / "b", sweep_sample.small())
    assert said(failed)["failed"].startswith(f"{failed.failed.height} of 72 sets")
    assert "not an estimate" in said(failed)["in_sample"]


def test_an_interrupted_and_an_inexact_sweep_say_so(tmp_path: Path) -> None:
    frame = sweep_sample.small()
    sweep = sweep_sample.read(tmp_path, frame, sets=500, exact_check={"failed": "Set 3: sharpe differs."})
    assert "72 of 500 sets" in said(sweep)["unfinished"]
    assert "Set 3: sharpe differs." in said(sweep)["inexact"]
    assert dict(facts(sweep))["Sets"].startswith("72 of 500 so far")


# -- page ------------------------------------------------------------------------------------------------------------


def test_every_sweep_has_a_page(tmp_path: Path) -> None:
    for make in (
        sweep_sample.small,
        sweep_sample.sampled,
        sweep_sample.one_parameter,
        sweep_sample.one_set,
        sweep_sample.liquidated,
    ):
        page = render_sweep_page(sweep_sample.read(tmp_path / make.__name__, make()))
        for section in ("map", "parallel", "spread", "sets", "configuration"):
            assert f'<section class="panel" id="{section}"' in page
    assert "A map needs two parameters" in render_sweep_page(
        sweep_sample.read(tmp_path / "again", sweep_sample.one_parameter())
    )


def test_a_sweep_in_which_every_set_failed(tmp_path: Path) -> None:
    page = render_sweep_page(sweep_sample.read(tmp_path, sweep_sample.all_failed()))
    assert "None of the 4 sets could be replayed" in page
    assert sweep_sample.REFUSED in page
    assert 'id="map"' not in page


def test_names_and_values_stay_text(tmp_path: Path) -> None:
    frame = sweep_sample.hostile()
    base = {**sweep_sample.BASE, "strategy": {"name": sweep_sample.HOSTILE, "params": {"k": sweep_sample.HOSTILE}}}
    sweep = read_sweep(sweep_sample.write(tmp_path, frame, base, note=sweep_sample.HOSTILE))
    page = without_plotly(render_sweep_page(sweep))
    assert "<script>alert" not in page
    assert "<b>bold" not in page
    assert page.count("</script>") == page.count("<script")


def test_the_data_in_the_page_is_the_payload(small: Sweep) -> None:
    page = render_sweep_page(small)
    found = re.search(r'<script type="application/json" id="sweep-data">(.*?)</script>', page, re.S)
    assert found is not None
    assert json.loads(found[1]) == json.loads(json.dumps(payload(small)))


def test_the_head_says_what_was_swept(small: Sweep) -> None:
    shown = dict(facts(small))
    assert shown["Span (UTC)"] == "2023-01-01 00:00 to 2025-01-01 00:00"
    assert shown["fast"] == "8 to 64, 6 values"
    assert shown["account.leverage"] == "2, 5"
    assert shown["Filter"] == "slow > 2 * fast"
    assert shown["Took"].startswith("12\u00a0s") or shown["Took"].startswith("13\u00a0s")
    first = tiles(small)[0]
    assert first.text == KNOWN["sharpe"].text(float(small.values("sharpe").max()))


def test_the_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = sweep_sample.write(tmp_path / "s", sweep_sample.small())
    target = tmp_path / "deep" / "report.html"
    write_sweep_page(folder, target)
    assert target.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [p.name for p in target.parent.iterdir()] == ["report.html"]


def test_folders_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"sets\.parquet is missing"):
        read_sweep(tmp_path)
    (tmp_path / "sets.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(StoreError, match="not a whole Parquet file"):
        read_sweep(tmp_path)
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "sets.parquet")
    with pytest.raises(StoreError, match="no column 'status'"):
        read_sweep(tmp_path)
    sweep_sample.write(tmp_path, sweep_sample.one_set())
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match=r"manifest\.json cannot be read"):
        read_sweep(tmp_path)


def test_a_folder_without_its_other_files_still_has_a_page(tmp_path: Path) -> None:
    sweep_sample.small().write_parquet(tmp_path / "sets.parquet")
    sweep = read_sweep(tmp_path)
    assert payload(sweep)["command"].startswith("backtester run")
    assert "Sweep of " in render_sweep_page(sweep)


def test_the_page_says_what_kind_it_is(small: Sweep) -> None:
    page = render_sweep_page(small)
    assert '<p class="brand">Parameter sweep</p>' in page
    assert re.search(r"<title>[^<]*Sweep of [^<]* · parameter sweep</title>", page)


def test_a_lost_account_is_never_the_best(tmp_path: Path) -> None:
    frame = sweep_sample.liquidated().with_columns(
        sharpe=pl.when(pl.col("total_return") <= -1.0).then(9.0).otherwise(pl.col("sharpe"))
    )
    sweep = sweep_sample.read(tmp_path, frame)
    sharpe = next(metric for metric in sweep.metrics if metric.key == "sharpe")
    best = best_of(sweep, sharpe)
    assert best is not None
    assert sweep.values("total_return")[best.row] > -1.0

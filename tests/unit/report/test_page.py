"""The page as text: order, escaping, figures, empty states, writing."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtester import analytics
from backtester.engine.result import Notice, Result
from backtester.errors import StoreError
from backtester.report import figures, theme
from backtester.report.figures.price import at_bar_open
from backtester.report.page import render_page, write_page
from backtester.report.provenance import setting_rows
from backtester.report.shelf_page import write_shelf
from tests.unit.report import sample

ATTACK = "<script>alert('x')</script>\"'&</style>" + "a" * 10_000


class Body(HTMLParser):
    """Collects visible text, scripts by id and the metrics on the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.metrics: dict[str, str] = {}
        self.scripts = 0
        self.stack: list[str] = []
        self.metric = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.metric = named.get("data-metric") or ""
        self.scripts += tag == "script" and "data-pack" not in named
        if tag in {"script", "style", "title", "head", "body"}:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.stack and tag in self.stack:
            if self.stack.pop() == tag:
                break

    def handle_data(self, data: str) -> None:
        if self.stack == ["body"] and data.strip():
            self.text.append(data.strip())
            if self.metric:
                self.metrics[self.metric] = data.strip()
                self.metric = ""


@pytest.fixture(scope="module")
def result() -> Result:
    return analytics.complete(sample.make(2, 24 * 60))


def test_first_line_says_synthetic(result: Result) -> None:
    assert Body(render_page(result)).text[0] == "Synthetic data."
    real = Body(render_page(replace(result, synthetic=False, notices=())))
    assert "ynthetic data" not in " ".join(real.text)


def test_warnings_come_before_assumptions_and_figures(result: Result) -> None:
    text = " ".join(Body(render_page(result)).text)
    places = [text.index(part) for part in ("mark and trade differ", "Margin tiers of", "Total return")]
    assert places == sorted(places)


def test_the_head_shows_the_leverage_and_the_bars_that_were_used(result: Result) -> None:
    def head(run: Result) -> str:
        return " ".join(Body(render_page(run)).text).split("Total return")[0]

    times = "\u00d7"
    account = result.config.account.leverage
    assert f"{account:g}{times}" in head(result)
    first = result.symbols[0]
    decided = pl.DataFrame(
        {"open_time": result.equity["open_time"].head(3), "symbol": [first] * 3, "leverage": [None, 3.0, 2.0]}
    )
    one = replace(result, symbols=(first,), targets=decided)
    assert f"2{times} to 3{times}, set by the strategy" in head(one)
    data = result.config.data.model_copy(update={"timeframe": "4h", "detail": "1h"})
    finer = replace(result, config=result.config.model_copy(update={"data": data}))
    assert "4h, replayed on 1h" in head(finer)
    assert "replayed on" not in head(result)


def test_moments_of_the_drawdown_fit_their_column(result: Result) -> None:
    shown = Body(render_page(result)).metrics
    assert shown["max_drawdown_start"] == str(result.summary["max_drawdown_start"])[:10]


def test_many_assumptions_fold_up_and_warnings_never_do(result: Result) -> None:
    result = replace(result, summary={**result.summary, "days": 90, "trades": 80})
    three = (*(Notice("a", "assumption", f"Assumed {i}.") for i in range(3)), Notice("w", "warning", "Beware."))
    assert "</summary>" not in _notices(render_page(replace(result, notices=three)))
    four = _notices(render_page(replace(result, notices=(*three, Notice("a", "assumption", "Assumed 3.")))))
    assert "<strong>4 assumptions</strong></summary>" in four
    assert four.index("Beware.") < four.index("<details>") < four.index("Assumed 0.") < four.index("Assumed 3.")
    warned = tuple(Notice("w", "warning", f"Beware of {i}.") for i in range(5))
    many = _notices(render_page(replace(result, notices=(*three, *warned))))
    assert "<strong>3 assumptions</strong></summary>" in many
    assert many.index("Beware of 4.") < many.index("<details>")


def _notices(page: str) -> str:
    """Return the part of a page that tells warnings and assumptions."""
    return page.split('id="verdict"')[1].split("</section>", maxsplit=1)[0]


def test_the_total_has_the_colour_of_its_sign() -> None:
    for amount, colour in ((5.0, theme.GAIN), (-5.0, theme.LOSS), (-1.0, theme.MUTED)):
        figure = figures.waterfall_figure([("Price", amount), ("Fees", 1.0)], "USDT")
        assert figure.data[0].totals.marker.color == colour


def test_many_markers_let_the_price_show_through() -> None:
    run = analytics.complete(sample.one_trade())
    few = figures.price_figure(run.bars, run.trades, run.liquidations)
    many = figures.price_figure(run.bars, pl.concat([run.trades] * 200), run.liquidations)
    shown = [next(t.marker for t in f.data if t.name == "Exit") for f in (few, many)]
    assert shown[1].size < shown[0].size
    assert (shown[0].opacity, shown[1].opacity) == (None, 0.6)


def test_hostile_names_stay_text(result: Result) -> None:
    plain = Body(render_page(result)).scripts
    config = result.config.model_copy(
        update={"strategy": result.config.strategy.model_copy(update={"params": {ATTACK: ATTACK}})}
    )
    hostile = replace(
        result,
        config=config,
        strategy_name=ATTACK,
        run_id=ATTACK,
        symbols=(ATTACK, *result.symbols),
        trades=result.trades.with_columns(pl.lit(ATTACK).alias("symbol")),
        notices=(Notice("odd", "warning", ATTACK),),
        manifest={"command": ATTACK},
    )
    page = render_page(hostile)
    assert "<script>alert" not in page
    assert Body(page).scripts == plain


def test_figures_on_the_page_are_the_summary(result: Result) -> None:
    shown, summary = Body(render_page(result)).metrics, result.summary
    for key in ("total_return", "max_drawdown", "annual_return", "hit_rate"):
        assert float(shown[key].replace("\u2212", "-").rstrip("\u00a0%")) == pytest.approx(
            100 * summary[key], abs=0.005
        )
    for key in ("net_profit", "price", "funding", "fees", "slippage", "liquidation"):
        number = re.sub(r"[^\d.\-]", "", shown[key].replace("\u2212", "-"))
        assert float(number) == pytest.approx(summary[key], abs=0.005)
    assert int(shown["trades"]) == summary["trades"]


def test_figure_data_is_json_and_adds_up(result: Result) -> None:
    page = render_page(result)
    found = re.findall(
        r'<figure class="plot" data-plot="([\w-]+)".*?<script type="application/json">(.*?)</script>', page, re.S
    )
    specs = {name: json.loads(text) for name, text in found}
    assert set(specs) >= {"equity", "price-0", "price-1", "margin", "waterfall", "funding", "costs", "exposure"}
    assert all("template" not in spec["layout"] for spec in specs.values())
    amounts = specs["waterfall"]["data"][0]["x"]
    assert sum(amounts[:-1]) == pytest.approx(amounts[-1])
    assert amounts[-1] == pytest.approx(result.summary["net_profit"])


def test_only_the_symbol_that_is_shown_carries_its_overview(result: Result) -> None:
    found = re.findall(
        r'data-plot="(price-\d)".*?<script type="application/json">(.*?)</script>', render_page(result), re.S
    )
    shown, hidden = (json.loads(text) for _, text in found)
    assert any("x" in trace for trace in shown["data"])
    assert not any("x" in trace or "y" in trace or "open" in trace for trace in hidden["data"])
    slots = [{trace["meta"]["slot"] for trace in spec["data"]} for spec in (shown, hidden)]
    assert {"low", "high", "close", "candles", "mark", "entry-long", "held-short"} <= slots[0] & slots[1]
    assert hidden["layout"]["meta"] == {"explore": "price", "lean": True}


def test_nothing_is_loaded(result: Result) -> None:
    page = re.sub(r"<script>.*?</script>", "", render_page(result), flags=re.S)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)""", page)
    assert "default-src 'none'" in page


def test_a_shared_library_is_written_once_and_nothing_else_is_let_in(result: Result, tmp_path: Path) -> None:
    pages = [
        write_page(result, tmp_path / name / "report.html", "shared").read_text(encoding="utf-8") for name in ("a", "b")
    ]
    (library,) = (tmp_path / "assets").iterdir()
    assert re.fullmatch(r"plotly-[\d.]+-[0-9a-f]{10}\.min\.js", library.name)
    assert pages[0] == pages[1]
    assert re.findall(r'src="([^"]*)"', pages[0]) == [f"../assets/{library.name}"]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', pages[0])
    assert policy is not None
    mark = re.search(r"script-src &#39;nonce-([0-9a-f]{32})&#39;;|script-src 'nonce-([0-9a-f]{32})';", policy[1])
    assert mark is not None
    nonce = mark[1] or mark[2]
    scripts = re.findall(r"<script(?![^>]*type=)([^>]*)>", re.sub(r">[^<]*<", "><", pages[0]))
    assert all(f'nonce="{nonce}"' in attributes for attributes in scripts)
    assert "unsafe-inline'; style" not in policy[1].split("style-src")[0]
    whole = library.read_bytes()
    for damaged in (b"broken", bytes(len(whole))):
        library.write_bytes(damaged)
        write_page(result, tmp_path / "c" / "report.html", "shared")
        assert library.read_bytes() == whole


@pytest.mark.parametrize("make", [sample.flat, sample.one_trade, sample.one_day, sample.liquidated])
def test_edges_have_a_page(make: object, tmp_path: Path) -> None:
    run = analytics.complete(make())  # type: ignore[operator]
    page = write_page(run, tmp_path / "deep" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"\b(nan|None|inf)\b", " ".join(Body(page).text))
    assert "No position was liquidated." in page or run.liquidations.height


def test_empty_states() -> None:
    page = render_page(analytics.complete(sample.flat()))
    for text in ("No trade was opened.", "No position was held at a bar close.", "Nothing was traded"):
        assert text in page


def test_a_failed_write_leaves_nothing(result: Result, tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StoreError, match="report cannot be written"):
        write_page(result, tmp_path / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_long_series_are_thinned() -> None:
    count = 200_000
    opens = np.arange(count) * 60_000
    equity = pl.DataFrame(
        {
            "open_time": opens,
            "close_time": opens + 60_000,
            "equity": 100 + np.random.default_rng(3).normal(size=count).cumsum() / 50,
        }
    ).with_columns(pl.col("open_time", "close_time").cast(sample.TIME))
    figure = figures.equity_figure(equity, equity, 100.0, "USDT")
    assert all(len(trace.x) < 4_000 for trace in figure.data)
    assert max(figure.data[0].y) == equity["equity"].max()
    assert min(figure.data[0].y) == equity["equity"].min()


def test_path_events_stand_at_their_own_candle() -> None:
    hours = pl.datetime_range(
        pl.datetime(2025, 1, 1), pl.datetime(2025, 1, 1, 3), "1h", time_unit="ms", time_zone="UTC"
    )
    bars = pl.select(hours.alias("open_time"))
    opens = bars["open_time"]
    moments = pl.Series("time", [opens[1].timestamp() * 1000 + 3_599_999, opens[2].timestamp() * 1000, None])
    rows = pl.DataFrame({"time": moments.cast(pl.Int64).cast(pl.Datetime("ms", "UTC"))})
    assert at_bar_open(rows, "time", bars)["time"].to_list() == [opens[1], opens[2], None]


def test_settings_are_numbers_without_exponents() -> None:
    settings = {"tick": 1e-8, "rate": 0.0005, "odd": 0.1 + 0.2, "gap": 1.28e-15, "none": float("nan"), "all": -math.inf}
    assert [text for _, text in setting_rows(settings)] == [
        "0.00000001",
        "0.0005",
        "0.3",
        "below 0.000000000001",
        "not a number",
        "minus infinite",
    ]


def test_a_page_says_what_is_missing_without_scripts(result: Result, tmp_path: Path) -> None:
    for page in (render_page(result), write_shelf(tmp_path).read_text(encoding="utf-8")):
        said = page.partition("<noscript>")[2].partition("</noscript>")[0]
        assert "Scripts are switched off" in said

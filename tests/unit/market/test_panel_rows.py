"""Rows of a panel that are no perpetuals that go on: spot pairs, hidden series, delisted symbols, ended data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtester.domain.instrument import Instrument
from backtester.errors import DataError
from backtester.market.frame import signal_bars
from backtester.market.panel import Panel, load_panel
from backtester.market.schema import TIME, DatasetKey, instrument_frame, timeframe_ms
from backtester.market.span import HiddenSeries
from backtester.market.store import Store

H = 3_600_000
T0 = 1_735_689_600_000  # 2025-01-01
VENUE = "test"
PERP, SPOT, OTHER = "A/USDT:USDT", "A/USDT", "B/USDT:USDT"


def bars(first: int, count: int, step: int = H, *, volume: bool = True, level: float = 100.0) -> pl.DataFrame:
    """Bars whose open is the level plus the hours since T0."""
    times = first + np.arange(count, dtype=np.int64) * step
    open_ = level + (times - T0) / H
    frame = pl.DataFrame({"open_time": pl.Series(times).cast(TIME), "open": open_})
    frame = frame.with_columns(high=pl.col("open") + 2, low=pl.col("open") - 1, close=pl.col("open") + 0.5)
    return frame.with_columns(volume=pl.lit(3.0)) if volume else frame


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def put(store: Store, symbol: str, series: str, timeframe: str, frame: pl.DataFrame) -> None:
    store.write(DatasetKey(VENUE, symbol, series, timeframe), frame, source="test", replace=True)


def put_perp(store: Store, symbol: str = PERP, first: int = T0, count: int = 48) -> None:
    put(store, symbol, "trade", "1h", bars(first, count))
    put(store, symbol, "mark", "1h", bars(first, count, volume=False, level=100.25))
    hours = [h for h in range((first - T0) // H, (first - T0) // H + count) if h % 8 == 0]
    frame = pl.DataFrame({"funding_time": [T0 + h * H for h in hours], "funding_rate": [0.0001] * len(hours)})
    put(store, symbol, "funding", "event", frame)


def put_spot(store: Store, count: int = 48, timeframe: str = "1h", first: int = T0) -> None:
    put(store, SPOT, "trade", timeframe, bars(first, count, timeframe_ms(timeframe), level=90.0))


def put_delisted(store: Store, symbol: str, time: int) -> None:
    put(store, symbol, "instrument", "event", instrument_frame(Instrument(symbol=symbol, delisted=time)))


def load(store: Store, symbols: tuple[str, ...], timeframe: str = "1h", **options: object) -> Panel:
    return load_panel(store, VENUE, symbols, timeframe, **options)  # type: ignore[arg-type]


def test_a_spot_pair_needs_its_trades_alone(store: Store) -> None:
    put_spot(store)
    panel = load(store, (SPOT,), index=True)
    assert panel.mark is panel.trade
    assert panel.settlements[0].time.size == 0
    assert panel.index is None
    assert panel.notes == ()
    assert panel.last_bar.tolist() == [-1]


def test_perpetual_and_spot_stand_side_by_side(store: Store) -> None:
    put_perp(store)
    put_spot(store)
    put(store, PERP, "index", "1h", bars(T0, 48, volume=False, level=99.0))
    panel = load(store, (SPOT, PERP), index=True)
    assert panel.trade.open[:, 5].tolist() == [95.0, 105.0]
    assert panel.mark.open[:, 5].tolist() == [95.0, 105.25]  # the spot's mark is its trade
    assert panel.mark.high[0, 5] == 97.0
    assert panel.index is not None
    assert panel.index.close[:, 5].tolist() == [95.5, 104.5]
    assert [s.time.size for s in panel.settlements] == [0, 6]
    assert not panel.mark_is_trade


def test_under_a_coarse_mark_that_of_spot_is_built_from_its_trades(store: Store) -> None:
    put_perp(store)
    put(store, PERP, "trade", "15m", bars(T0, 192, H // 4))
    put_spot(store, 191, "15m")  # the last hour lacks its last quarter
    panel = load(store, (PERP, SPOT), "15m", end=T0 + 191 * H // 4)
    assert panel.open_time.size == 191
    assert panel.mark_timeframe_ms == H
    row = [getattr(panel.mark, name)[1, 2] for name in ("open", "high", "low", "close")]
    assert row == [92.0, 94.75, 91.0, 93.25]  # opens 92, 92.25, 92.5, 92.75
    assert panel.mark.close[1, 47] == 137.5 + 0.5  # of the three quarters that there are


def test_holes_of_spot_are_bridged_in_its_mark_too(store: Store) -> None:
    put_perp(store)
    frame = bars(T0, 48, level=90.0)
    put(store, SPOT, "trade", "1h", pl.concat([frame[:10], frame[11:]]))
    with pytest.raises(DataError, match="A/USDT trade 1h"):
        load(store, (PERP, SPOT))
    panel = load(store, (PERP, SPOT), allow_gaps=True)
    assert panel.trade.open[1, 10] == panel.mark.high[1, 10] == 99.5  # the close before the hole
    assert panel.volume is not None
    assert panel.volume[1, 10] == 0.0
    assert [n for n in panel.notes if "missing" in n] == [
        "A/USDT: 1 bar of the trade series missing, first at 2025-01-01 10:00 UTC. The run goes on over them "
        "(allow_gaps): positions are held and nothing trades meanwhile."
    ]


def test_a_hidden_series_takes_the_last_row(store: Store) -> None:
    put_perp(store)
    put(store, OTHER, "index", "1h", bars(T0, 48, volume=False, level=50.0))
    panel = load(store, (PERP,), hidden=[HiddenSeries("B/USDT", OTHER, "index")])
    assert panel.symbols == (PERP, "B/USDT")
    assert panel.traded_symbols == (PERP,)
    assert panel.hidden == 1
    assert panel.trade.open[1, 5] == panel.mark.open[1, 5] == 55.0
    assert panel.volume is not None
    assert np.isnan(panel.volume[1]).all()


def test_a_hidden_series_must_be_there_from_the_start(store: Store) -> None:
    put_perp(store)
    put(store, OTHER, "index", "1h", bars(T0 + 3 * H, 45, volume=False, level=50.0))
    row = HiddenSeries("B/USDT", OTHER, "index")
    assert load(store, (PERP,), hidden=[row]).start == T0 + 3 * H
    with pytest.raises(DataError) as caught:
        load(store, (PERP,), hidden=[row], start=T0)
    assert "--start 2025-01-01T03:00" in str(caught.value)
    with pytest.raises(DataError, match="there are no bars that value B/USDT"):
        load(store, (PERP,), hidden=[HiddenSeries("B/USDT", OTHER, "mark")])


@pytest.mark.parametrize("allow_gaps", [False, True])
def test_a_delisted_symbol_ends_and_bounds_nobody_else(store: Store, *, allow_gaps: bool) -> None:
    put_perp(store)
    put_perp(store, OTHER, count=20)
    put_delisted(store, OTHER, T0 + 20 * H)
    panel = load(store, (PERP, OTHER), allow_gaps=allow_gaps)
    assert panel.open_time.size == 48
    assert panel.last_bar.tolist() == [-1, 19]
    for values in (panel.trade.close, panel.mark.open):
        assert np.isfinite(values[1, :20]).all()
        assert np.isnan(values[1, 20:]).all()
    assert [s.time.size for s in panel.settlements] == [6, 3]
    assert panel.notes == ("B/USDT:USDT was delisted: its last bar ends at 2025-01-01 20:00 UTC.",)
    assert load(store, (PERP, OTHER), end=T0 + 30 * H).last_bar.tolist() == [-1, 19]
    assert load(store, (PERP, OTHER), end=T0 + 20 * H).last_bar.tolist() == [-1, -1]


def test_bars_after_the_delisting_are_left_out(store: Store) -> None:
    put_perp(store)
    put_perp(store, OTHER)
    put_delisted(store, OTHER, T0 + 20 * H + H // 2)  # inside a bar, which is the last one
    panel = load(store, (PERP, OTHER))
    assert panel.last_bar.tolist() == [-1, 20]
    assert np.isnan(panel.trade.close[1, 21:]).all()


def test_a_strategy_sees_no_bar_after_the_delisting(store: Store) -> None:
    put_perp(store)
    put_spot(store)
    put_delisted(store, PERP, T0 + 20 * H + H // 2)
    frame = signal_bars(store, VENUE, (PERP, SPOT), "1h", T0)
    assert dict(frame.group_by("symbol").len().iter_rows()) == {PERP: 21, SPOT: 48}
    spot = frame.filter(pl.col("symbol") == SPOT)
    assert spot["mark_close"].to_list() == spot["close"].to_list()
    for column in ("funding_rate", "hours_to_funding", "premium"):
        assert spot[column].null_count() == 48


def test_a_delisted_symbol_whose_last_days_are_missing_is_refused(store: Store) -> None:
    put_perp(store)
    put_perp(store, OTHER, count=10)
    put_delisted(store, OTHER, T0 + 40 * H)  # 30 h of bars are missing
    with pytest.raises(DataError, match="B/USDT:USDT trade 1h: it ends before"):
        load(store, (PERP, OTHER), end=T0 + 48 * H)
    assert load(store, (PERP, OTHER)).end == T0 + 10 * H


def test_symbols_that_are_all_delisted_run_to_the_last_end(store: Store) -> None:
    for symbol, hours in ((PERP, 20), (OTHER, 30)):
        put_perp(store, symbol, count=hours)
        put_delisted(store, symbol, T0 + hours * H)
    panel = load(store, (PERP, OTHER), funding=False)
    assert panel.end == T0 + 30 * H
    assert panel.last_bar.tolist() == [19, -1]


def test_a_symbol_delisted_before_the_start_is_refused_by_name(store: Store) -> None:
    put_perp(store)
    put_perp(store, OTHER, count=20)
    put_delisted(store, OTHER, T0 + 20 * H)
    with pytest.raises(DataError, match="B/USDT:USDT trade 1h: it has no bar in the range"):
        load(store, (PERP, OTHER), start=T0 + 24 * H)


def test_data_that_ends_without_a_delisting_needs_leave(store: Store) -> None:
    put_perp(store)
    put_perp(store, OTHER, count=20)
    with pytest.raises(DataError) as caught:
        load(store, (PERP, OTHER), end=T0 + 48 * H)
    assert "data.allow_gaps = true it ends with its data" in str(caught.value)
    panel = load(store, (PERP, OTHER), end=T0 + 48 * H, allow_gaps=True)
    assert panel.last_bar.tolist() == [-1, 19]
    assert "B/USDT:USDT: its data ends before the run does, at 2025-01-01 20:00 UTC" in panel.notes[0]
    assert load(store, (PERP, OTHER), allow_gaps=True).end == T0 + 20 * H  # no longer span was asked for


def test_under_a_coarse_mark_a_delisting_inside_a_mark_bar_ends_the_trades(store: Store) -> None:
    for symbol in (PERP, OTHER):
        put_perp(store, symbol)
        put(store, symbol, "trade", "15m", bars(T0, 192, H // 4))
    put_delisted(store, OTHER, T0 + 20 * H + H // 2)
    for allow_gaps in (False, True):
        panel = load(store, (PERP, OTHER), "15m", allow_gaps=allow_gaps)
        assert panel.last_bar.tolist() == [-1, 81]
        assert np.isnan(panel.trade.close[1, 82:]).all()
        assert np.isfinite(panel.mark.close[1, :21]).all()
        assert np.isnan(panel.mark.close[1, 21:]).all()

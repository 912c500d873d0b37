"""The panel: what it holds, what it refuses, what it says it cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtester.errors import BacktesterError, DataError, StoreError, UnknownNameError, UsageError
from backtester.market import bar_columns, clock
from backtester.market.admission import BarArrays, check_bars, check_times
from backtester.market.panel import Panel, load_panel
from backtester.market.schema import TIME, DatasetKey, timeframe_ms
from backtester.market.series import bar_source
from backtester.market.store import Store

H = 3_600_000
T0 = 1_735_689_600_000  # 2025-01-01
VENUE = "test"
A, B = "A/USDT:USDT", "B/USDT:USDT"


def times(first: int, count: int, step: int = H) -> pl.Series:
    return pl.Series("open_time", first + np.arange(count, dtype=np.int64) * step).cast(TIME)


def bars(first: int, count: int, step: int = H, *, volume: bool = True, level: float = 100.0) -> pl.DataFrame:
    """Bars whose prices tell their time: the open is the level plus the hours since T0."""
    open_ = level + (first - T0) / H + np.arange(count) * step / H
    frame = pl.DataFrame({"open_time": times(first, count, step), "open": open_})
    frame = frame.with_columns(high=pl.col("open") + 2, low=pl.col("open") - 1, close=pl.col("open") + 0.5)
    return frame.with_columns(volume=pl.lit(3.0)) if volume else frame


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def put(store: Store, symbol: str, series: str, timeframe: str, frame: pl.DataFrame) -> None:
    store.write(DatasetKey(VENUE, symbol, series, timeframe), frame, source="test", replace=True)


def put_funding(store: Store, symbol: str, hours: list[float], rate: float = 0.0001) -> None:
    frame = pl.DataFrame({"funding_time": [T0 + int(h * H) for h in hours], "funding_rate": [rate] * len(hours)})
    put(store, symbol, "funding", "event", frame)


def put_symbol(store: Store, symbol: str = A, first: int = T0, count: int = 48, mark_step: str = "1h") -> None:
    put(store, symbol, "trade", "1h", bars(first, count))
    step = timeframe_ms(mark_step)
    put(store, symbol, "mark", mark_step, bars(first, count * H // step, step, volume=False, level=100.25))
    begin = (first - T0) // H
    put_funding(store, symbol, [h for h in range(begin, begin + count) if h % 8 == 0])


def load(store: Store, symbols: tuple[str, ...] = (A,), timeframe: str = "1h", **options: object) -> Panel:
    return load_panel(store, VENUE, symbols, timeframe, **options)  # type: ignore[arg-type]


def refused(store: Store, **options: object) -> DataError:
    with pytest.raises(DataError) as caught:
        load(store, **options)  # type: ignore[arg-type]
    return caught.value


def test_equal_grids_share_one_clock(store: Store) -> None:
    put_symbol(store)
    panel = load(store)
    assert panel.trade.open.shape == (1, 48)
    assert panel.open_time.dtype == np.int64
    assert panel.start == T0
    assert panel.end == T0 + 48 * H
    assert panel.mark_open_time is panel.open_time
    assert panel.mark_timeframe_ms == panel.timeframe_ms == H
    assert panel.trade.close[0, 5] == 105.5
    assert panel.mark.open[0, 5] == 105.25
    assert panel.volume is not None
    assert panel.volume[0, 7] == 3.0
    assert panel.notes == ()
    assert panel.index is None
    for values in (panel.trade.open, panel.trade.low, panel.mark.high, panel.volume, panel.settlements[0].rate):
        assert values.dtype == np.float64
        assert values.flags.c_contiguous
        assert values.flags.writeable


def test_settlements_lie_within_the_range(store: Store) -> None:
    put_symbol(store)
    records = load(store, start=T0 + 8 * H, end=T0 + 24 * H).settlements[0]
    assert ((records.time - T0) // H).tolist() == [8, 16]
    assert records.interval_hours.tolist() == [8.0, 8.0]
    assert np.isnan(records.mark_price).all()


def test_without_a_span_the_longest_common_one_is_taken(store: Store) -> None:
    put_symbol(store)
    put_symbol(store, B, T0 + 5 * H, 30)
    panel = load(store, (A, B))
    assert (panel.start, panel.end) == (T0 + 5 * H, T0 + 35 * H)
    assert not np.isnan(panel.trade.open).any()
    assert "B/USDT:USDT trade 1h begins" in panel.notes[0]
    assert "earlier bars, from 2025-01-01 00:00 UTC on, are left out" in panel.notes[0]
    assert "The run ends at 2025-01-02 11:00 UTC" in panel.notes[1]


def test_the_longest_span_ends_with_the_known_settlements(store: Store) -> None:
    put_symbol(store, count=48)
    put_funding(store, A, [0, 8, 16, 24])
    panel = load(store)
    assert panel.end == T0 + 32 * H
    assert "funding ends" in panel.notes[0]


def test_a_symbol_joins_late_when_a_start_is_given(store: Store) -> None:
    put_symbol(store)
    put_symbol(store, B, T0 + 5 * H, 43)
    panel = load(store, (A, B), start=T0)
    assert np.isnan(panel.trade.open[1, :5]).all()
    assert np.isnan(panel.mark.close[1, :5]).all()
    assert panel.trade.open[1, 5] == 105.0
    assert not np.isnan(panel.trade.open[0]).any()
    assert panel.notes == (f"{B} joins at its first bar, 2025-01-01 05:00 UTC.",)


def test_someone_must_be_there_from_the_start(store: Store) -> None:
    put_symbol(store)
    error = refused(store, start=T0 - H)
    assert "data begins 2025-01-01 00:00 UTC, after the start 2024-12-31 23:00 UTC" in str(error)
    assert error.hint == "Use --start 2025-01-01T00:00 or later."


def test_the_way_on_does_not_lead_into_the_next_refusal(store: Store) -> None:
    put_symbol(store)
    before = refused(store, start=T0 - 4 * H, end=T0)
    assert before.hint == "Use --start 2025-01-01T00:00 or later, and a later --end."
    put(store, A, "mark", "1h", bars(T0, 40, volume=False))
    after = refused(store, start=T0 + 1000 * H)
    assert after.hint == "Start earlier."
    both = refused(store, start=T0 + 1000 * H, end=T0 + 1010 * H)
    assert "--end" not in both.hint


def test_a_series_that_ends_too_early_is_refused(store: Store) -> None:
    put_symbol(store)
    put(store, A, "mark", "1h", bars(T0, 40, volume=False))
    error = refused(store, end=T0 + 48 * H)
    assert error.series == f"{VENUE} {A} mark 1h"
    assert error.at == T0 + 40 * H
    assert "--end 2025-01-02T16:00" in str(error)


def test_a_symbol_without_a_bar_before_the_end_is_refused(store: Store) -> None:
    put_symbol(store)
    put_symbol(store, B, T0 + 40 * H, 8)
    with pytest.raises(DataError, match="no bar before the end"):
        load(store, (A, B), start=T0, end=T0 + 24 * H)


def test_times_off_the_grid_move_inward_and_are_noted(store: Store) -> None:
    put_symbol(store)
    panel = load(store, start=T0 + 60_000, end=T0 + 24 * H + 60_000)
    assert (panel.start, panel.end) == (T0 + H, T0 + 24 * H)
    assert "is no bar's open" in panel.notes[0]
    assert "is no bar's end" in panel.notes[1]


def test_an_empty_range_is_a_usage_error(store: Store) -> None:
    put_symbol(store)
    with pytest.raises(UsageError, match="empty"):
        load(store, start=T0 + H, end=T0 + H)
    with pytest.raises(UsageError, match="No symbol"):
        load(store, ())


def test_unknown_names_are_met_with_the_nearest(store: Store) -> None:
    put_symbol(store)
    with pytest.raises(UnknownNameError, match="A/USDT:USDT"):
        load(store, ("A/USDT",))
    with pytest.raises(UnknownNameError, match="The store holds: test; use --venue test"):
        load_panel(store, "tset", (A,), "1h")
    with pytest.raises(
        DataError, match=r"no bars of this venue\.\nBring it in with `backtester data fetch --venue okx"
    ):
        load_panel(store, "okx", (A,), "1h")


def test_no_one_is_sent_from_a_real_market_to_the_made_up_one(store: Store) -> None:
    put_symbol(store)
    for venue in ("binance", "synthetic"):
        store.write(DatasetKey(venue, A, "trade", "1h"), bars(T0, 4), source="test")
    for name in ("A/USDT", "B/USDT:USDT"):
        store.write(DatasetKey("synthetic", name, "trade", "1h"), bars(T0, 4), source="test")
    with pytest.raises(
        UnknownNameError, match=r"the contract A/USDT:USDT; the spot pair is .*--symbols A/USDT "
    ) as spot:
        load_panel(store, "binance", ("A/USDT",), "1h")
    with pytest.raises(UnknownNameError, match="data fetch --venue binance --symbols B/USDT:USDT") as other:
        load_panel(store, "binance", ("B/USDT:USDT",), "1h")
    assert "--venue synthetic" not in spot.value.hint + other.value.hint
    store.write(DatasetKey("okx", "B/USDT:USDT", "trade", "1h"), bars(T0, 4), source="test")
    with pytest.raises(UnknownNameError, match="okx has it: use --venue okx"):
        load_panel(store, "binance", ("B/USDT:USDT",), "1h")


def test_bars_that_leave_their_grid_are_refused(store: Store) -> None:
    put_symbol(store)
    put(store, A, "trade", "1h", pl.concat([bars(T0, 20), bars(T0 + 20 * H + 60_000, 28)]))
    for options in ({}, {"allow_gaps": True}):
        assert refused(store, **options).at == T0 + 20 * H + 60_000
        inside = refused(store, start=T0 + 24 * H, end=T0 + 40 * H, **options)
        assert inside.at == T0 + 24 * H + 60_000
        assert "does not open on the grid" in str(inside)


# ---- mark


def test_no_mark_names_the_way_on(store: Store) -> None:
    put(store, A, "trade", "1h", bars(T0, 24))
    put_funding(store, A, [0, 8, 16])
    assert 'data.mark = "trade"' in str(refused(store))
    panel = load(store, mark="trade")
    assert panel.mark_is_trade
    assert panel.mark is panel.trade
    assert panel.mark_open_time is panel.open_time
    assert "traded prices" in panel.notes[0]


def test_a_coarse_mark_keeps_its_own_grid(store: Store) -> None:
    put_symbol(store, mark_step="4h")
    panel = load(store, start=T0 + 3 * H, end=T0 + 14 * H)
    assert panel.start == T0 + 4 * H
    assert panel.end == T0 + 14 * H
    assert ((panel.mark_open_time - T0) // H).tolist() == [4, 8, 12]
    assert panel.mark_timeframe_ms == 4 * H
    assert panel.mark.open.shape == (1, 3)
    assert "known at 4h only" in panel.notes[-1]


def test_late_joiners_begin_with_a_coarse_mark_bar(store: Store) -> None:
    put_symbol(store, mark_step="4h")
    put(store, B, "trade", "1h", bars(T0 + 5 * H, 43))
    put(store, B, "mark", "4h", bars(T0 + 4 * H, 11, 4 * H, volume=False))
    put_funding(store, B, [8, 16, 24, 32, 40])
    panel = load(store, (A, B), start=T0)
    assert np.isnan(panel.trade.open[1]).sum() == 8
    assert np.isnan(panel.mark.open[1]).sum() == 2


def test_the_mark_of_the_trades_is_preferred_to_a_coarser_one(store: Store) -> None:
    put_symbol(store)
    put(store, A, "mark", "4h", bars(T0, 12, 4 * H, volume=False))
    assert load(store).mark_timeframe_ms == H
    assert load(store, mark_timeframe="4h").mark_timeframe_ms == 4 * H


def test_a_mark_on_no_multiple_is_refused(store: Store) -> None:
    put_symbol(store)
    put(store, A, "trade", "2h", bars(T0, 24, 2 * H))
    error = refused(store, timeframe="2h", mark_timeframe="3h")
    assert "neither that of the 2h trades nor an exact multiple" in str(error)
    put(store, B, "trade", "2h", bars(T0, 24, 2 * H))
    put(store, B, "mark", "3h", bars(T0, 16, 3 * H, volume=False))
    with pytest.raises(DataError, match=r"mark \(3h\): its grid is neither"):
        load(store, (B,), "2h", funding=False)


def test_grids_that_are_shifted_are_refused(store: Store) -> None:
    put_symbol(store)
    put(store, A, "mark", "1h", bars(T0 + H // 2, 40, volume=False))
    assert refused(store).at == T0 + H // 2


# ---- timeframes that are built


def test_a_timeframe_is_built_from_the_finest_that_divides_it(store: Store) -> None:
    put_symbol(store, first=T0 + H, count=50)
    panel = load(store, timeframe="4h", start=T0 + 4 * H)
    assert panel.start == T0 + 4 * H
    assert panel.trade.open[0, 0] == 104.0
    assert panel.trade.high[0, 0] == 109.0
    assert panel.trade.low[0, 0] == 103.0
    assert panel.trade.close[0, 0] == 107.5
    assert panel.volume is not None
    assert panel.volume[0, 0] == 12.0
    assert any("4h bars of the trade series are built from the stored 1h bars" in note for note in panel.notes)


def test_incomplete_built_bars_are_left_out(store: Store) -> None:
    put_symbol(store, first=T0 + H, count=48)
    panel = load(store, timeframe="4h")
    assert (panel.start, panel.end) == (T0 + 4 * H, T0 + 48 * H)


@pytest.mark.parametrize("series", ["trade", "mark", "index"])
def test_every_series_is_built_of_whole_bars_only(store: Store, series: str) -> None:
    for name, level in (("trade", 100.0), ("mark", 100.25), ("index", 99.0)):
        ragged = name == series
        fine = bars(T0 + 15 * 60_000 * ragged, 192 - 2 * ragged, H // 4, volume=name == "trade", level=level)
        put(store, A, name, "15m", fine)
    put_funding(store, A, [0, 8, 16, 24, 32, 40])
    panel = load(store, index=True)
    assert (panel.start, panel.end) == (T0 + H, T0 + 47 * H)  # the ragged hours at both ends are no bars
    assert panel.index is not None
    assert panel.mark_open_time is panel.open_time
    for built, level in ((panel.trade, 100.0), (panel.mark, 100.25), (panel.index, 99.0)):
        assert [v[0, 1] for v in (built.open, built.high, built.low, built.close)] == [
            level + 2,
            level + 2.75 + 2,
            level + 1,
            level + 2.75 + 0.5,
        ]
    for name in ("trade", "mark", "index"):
        assert f"The 1h bars of the {name} series are built from the stored 15m bars, whole ones only." in panel.notes
    hole = bars(T0, 192, H // 4, volume=False).filter(pl.col("open") != 120.25)
    put(store, A, series, "15m", hole)
    error = refused(store, index=True)
    assert error.series == f"{VENUE} {A} {series} 15m"
    assert error.at == T0 + 20 * H
    over = load(store, index=True, allow_gaps=True)
    assert f"1 bar of the {series} series missing, first at 2025-01-01 20:00 UTC" in " ".join(over.notes)
    assert len(over.open_time) == (48 if series != "trade" else 47)


def test_a_timeframe_that_nothing_divides_is_refused(store: Store) -> None:
    put_symbol(store)
    error = refused(store, timeframe="30m")
    assert "no stored timeframe (1h) divides it" in str(error)
    assert "--timeframe 1h" in str(error)


# ---- gaps


def without(frame: pl.DataFrame, *hours: int) -> pl.DataFrame:
    return frame.filter(~pl.col("open_time").is_in(pl.Series([T0 + h * H for h in hours]).cast(TIME).implode()))


def test_a_gap_is_refused_with_its_first_bar(store: Store) -> None:
    put_symbol(store)
    put(store, A, "trade", "1h", without(bars(T0, 48), 20, 21))
    error = refused(store)
    assert error.at == T0 + 20 * H
    assert "2 bars are missing" in str(error)
    assert "allow_gaps" in str(error)
    assert load(store, end=T0 + 20 * H).end == T0 + 20 * H


def test_a_permitted_gap_of_the_only_symbol_leaves_the_clock(store: Store) -> None:
    put_symbol(store)
    put(store, A, "trade", "1h", without(bars(T0, 48), 20, 21))
    panel = load(store, allow_gaps=True)
    assert len(panel.open_time) == 46
    assert np.diff(panel.open_time).max() == 3 * H
    assert panel.mark.open.shape == (1, 46)
    assert len(panel.settlements[0].time) == 6
    assert "2 bars of the trade series missing, first at 2025-01-01 20:00 UTC" in panel.notes[0]


def test_a_permitted_gap_of_one_of_two_is_bridged_without_trading(store: Store) -> None:
    put_symbol(store)
    put_symbol(store, B)
    put(store, B, "trade", "1h", without(bars(T0, 48, volume=False), 20, 21))
    panel = load(store, (A, B), allow_gaps=True)
    assert len(panel.open_time) == 48
    assert panel.trade.low[1, 20] == panel.trade.high[1, 21] == panel.trade.close[1, 19]
    assert panel.volume is not None
    assert panel.volume[1, 20:22].tolist() == [0.0, 0.0]
    assert np.isnan(panel.volume[1, [19, 22]]).all()
    assert panel.volume[0, 20] == 3.0
    assert not np.isnan(panel.mark.open).any()


def test_a_permitted_gap_of_the_mark_keeps_the_last_mark(store: Store) -> None:
    put_symbol(store)
    put(store, A, "mark", "1h", without(bars(T0, 48, volume=False, level=100.25), 7))
    panel = load(store, allow_gaps=True)
    assert panel.mark.open[0, 7] == panel.mark.close[0, 6]
    assert panel.trade.open[0, 7] == 107.0
    assert "mark series" in panel.notes[0]


def test_gaps_under_a_coarse_mark_take_whole_mark_bars(store: Store) -> None:
    put_symbol(store, mark_step="4h")
    put(store, A, "trade", "1h", without(bars(T0, 48), 4, 5, 6, 7, 13))
    panel = load(store, allow_gaps=True)
    assert ((panel.mark_open_time - T0) // H).tolist() == [0, *range(8, 48, 4)]
    assert ((panel.open_time - T0) // H).tolist() == [*range(4), *range(8, 48)]
    place = int(np.searchsorted(panel.open_time, T0 + 13 * H))
    assert panel.volume is not None
    assert panel.volume[0, place] == 0.0


def test_allow_gaps_changes_nothing_where_there_are_none(store: Store) -> None:
    put_symbol(store)
    put_symbol(store, B, T0 + 5 * H, 43)
    plain, lenient = load(store, (A, B), start=T0), load(store, (A, B), start=T0, allow_gaps=True)
    for name in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(plain.trade, name), getattr(lenient.trade, name))
        np.testing.assert_array_equal(getattr(plain.mark, name), getattr(lenient.mark, name))
    assert plain.notes == lenient.notes


# ---- reading


@pytest.mark.parametrize("rows", [1, 7, 1_000])
def test_blocks_leave_no_trace(store: Store, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    first = T0 - 20 * H  # two files
    put_symbol(store, first=first, count=68)
    put(store, B, "trade", "1h", without(bars(first, 68, volume=False), -19, -3, 0, 1, 30))
    put(store, B, "mark", "1h", bars(first, 68, volume=False))
    expected = [load(store, (A, B), allow_gaps=True, funding=False, start=s) for s in (None, first + 5 * H, T0 + H)]
    monkeypatch.setattr(bar_columns, "BLOCK_ROWS", rows)
    monkeypatch.setattr(clock, "BLOCK_BARS", rows)
    for start, panel in zip((None, first + 5 * H, T0 + H), expected, strict=True):
        again = load(store, (A, B), allow_gaps=True, funding=False, start=start)
        assert again.notes == panel.notes
        for one, two in ((again.trade, panel.trade), (again.mark, panel.mark)):
            for name in ("open", "high", "low", "close"):
                np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        np.testing.assert_array_equal(again.volume, panel.volume)  # type: ignore[arg-type]
        assert panel.volume is not None
        assert panel.volume[0].tolist() == [3.0] * len(panel.open_time)
    at = pl.col("open_time") == pl.lit(T0 + 3 * H).cast(TIME)
    put(store, A, "trade", "1h", bars(first, 68).with_columns(low=pl.when(at).then(-1.0).otherwise("low")))
    assert refused(store).at == T0 + 3 * H


def test_a_file_that_is_replaced_while_it_is_read_is_refused(store: Store) -> None:
    put_symbol(store)
    source = bar_source(store, VENUE, A, "trade", H)
    assert source is not None

    def read(*, and_write: bool) -> int:
        with source.columns(store, T0, T0 + 48 * H) as columns:
            next(columns.floats("open"))
            if and_write:
                Store(store.root).write(source.key, bars(T0, 49), source="test")
            return len(columns)

    with pytest.raises(StoreError, match=r"2025\.parquet was replaced while it was read"):
        read(and_write=True)
    assert read(and_write=False) == 49  # nothing is cut where the source knew no later bar


def test_a_damaged_file_is_refused(store: Store) -> None:
    put_symbol(store)
    path = store.folder(DatasetKey(VENUE, A, "mark", "1h")) / "2025.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"mark 1h: the file .* is damaged"):
        load(Store(store.root))


# ---- bars that no market can have made


def _set(column: str, value: float | None) -> Callable[[pl.DataFrame], pl.DataFrame]:
    at = pl.col("open_time") == pl.lit(T0 + 3 * H).cast(TIME)
    return lambda f: f.with_columns(pl.when(at).then(value).otherwise(pl.col(column)).alias(column))


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("low", 0.0, "the low is 0"),
        ("open", -1.0, "the open is -1"),
        ("high", float("inf"), "the high is missing or not a number"),
        ("low", 103.2, "an impossible bar"),
        ("high", 103.2, "an impossible bar"),
        ("volume", -1.0, "the volume is -1"),
    ],
)
def test_impossible_bars_are_refused(store: Store, column: str, value: float, words: str) -> None:
    put_symbol(store)
    put(store, A, "trade", "1h", _set(column, value)(bars(T0, 48)))
    error = refused(store)
    assert words in str(error)
    assert error.at == T0 + 3 * H
    assert error.series == f"{VENUE} {A} trade 1h"
    assert load(store, start=T0 + 4 * H).start == T0 + 4 * H  # outside the range it does not matter


def arrays(time: list[int], **changes: list[float]) -> BarArrays:
    count = len(time)
    columns = {"open": [2.0] * count, "high": [3.0] * count, "low": [1.0] * count, "close": [2.0] * count} | changes
    values = {name: np.array(column) for name, column in columns.items()}
    return BarArrays(np.array(time, dtype=np.int64), **values, volume=None)


@pytest.mark.parametrize(
    ("time", "words", "at"),
    [
        ([0, 2 * H, H], "out of order", H),
        ([0, H, H], "there twice", H),
        ([0, H, 2 * H + 1], "does not open on the grid", 2 * H + 1),
    ],
)
def test_times_are_checked(time: list[int], words: str, at: int) -> None:
    with pytest.raises(DataError, match=words) as caught:
        check_bars("x", arrays(time), H)
    assert caught.value.at == at


def test_a_grid_that_moved_is_refused() -> None:
    with pytest.raises(DataError, match="does not open on the grid") as caught:
        check_times("x", np.array([60_000, 60_000 + H]), H, 0)
    assert caught.value.at == 60_000


def test_nan_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="the close is missing or not a number") as caught:
        check_bars("x", arrays([0, H], close=[2.0, float("nan")]), H)
    assert caught.value.at == H


# ---- funding


def test_no_records_at_all(store: Store) -> None:
    put(store, A, "trade", "1h", bars(T0 + H, 24))
    put(store, A, "mark", "1h", bars(T0 + H, 24, volume=False))
    error = refused(store)
    assert "no funding records" in str(error)
    assert 'funding.source = "none"' in str(error)
    assert error.at == T0 + 8 * H
    assert load(store, funding=False).settlements[0].time.size == 0
    assert load(store, start=T0 + H, end=T0 + 8 * H).settlements[0].time.size == 0  # none is due there


@pytest.mark.parametrize(
    ("hours", "missing"),
    [
        ([0, 8, 24, 32, 40], 16),
        ([0, 8, 32, 40], 16),
        ([8, 16, 24, 32, 40], 0),
        ([0, 8, 16, 24, 32], 40),
        ([0, 8, 12, 16, 24, 28, 32, 36, 40, 44], 20),
        ([0, 1, 2, 3, 5, 6, 7, 8, 9, *range(10, 48)], 4),
    ],
)
def test_a_hole_names_the_first_missing_settlement(store: Store, hours: list[float], missing: int) -> None:
    put_symbol(store)
    put_funding(store, A, hours)
    error = refused(store, start=T0, end=T0 + 48 * H)
    assert error.at == T0 + missing * H
    assert "settlement is missing" in str(error)


@pytest.mark.parametrize(
    "hours",
    [
        [0, 8, 16, 20, 24, 28, 32, 36, 40, 44],
        [0, 4, 5, 6, 8, 12, 16, 24, 32, 40],
        [*range(7), 8, 12, 16, 24, 32, 40],
    ],
)
def test_intervals_may_change(store: Store, hours: list[float]) -> None:
    put_symbol(store)
    put_funding(store, A, hours)
    assert len(load(store, start=T0, end=T0 + 48 * H).settlements[0].time) == len(hours)


def test_a_hole_outside_the_range_does_not_matter(store: Store) -> None:
    put_symbol(store)
    put_funding(store, A, [0, 8, 24, 32, 40])
    assert len(load(store, start=T0 + 17 * H, end=T0 + 48 * H).settlements[0].time) == 3
    assert len(load(store, start=T0, end=T0 + 16 * H).settlements[0].time) == 2


def test_index_bars_come_on_the_trade_grid(store: Store) -> None:
    put_symbol(store)
    assert "no index series" in str(refused(store, index=True))
    put(store, A, "index", "4h", bars(T0, 12, 4 * H, volume=False))
    put(store, A, "index", "1h", bars(T0, 48, volume=False, level=99.0))
    panel = load(store, index=True)
    assert panel.index is not None
    assert panel.index.close[0, 2] == 101.5
    assert panel.notes == ()


def test_series_on_one_grid_are_taken_as_they_are(store: Store) -> None:
    put_symbol(store)
    put(store, A, "index", "1h", bars(T0, 48, volume=False, level=99.0))
    panel = load(store, index=True)
    assert panel.index is not None
    for series, taken in (("trade", panel.trade), ("mark", panel.mark), ("index", panel.index)):
        stored = store.read(DatasetKey(VENUE, A, series, "1h"))
        for column in ("open", "high", "low", "close"):
            assert getattr(taken, column)[0].tobytes() == stored[column].to_numpy().tobytes()


# ---- an index on another grid than the trades


def known_index(panel: Panel) -> list[tuple[float, ...]]:
    """Open, high, low and close of the first symbol's index, bar by bar."""
    assert panel.index is not None
    return list(zip(*(getattr(panel.index, c)[0].tolist() for c in ("open", "high", "low", "close")), strict=True))


def test_a_coarser_index_looks_back_only(store: Store) -> None:
    put_symbol(store)
    put(store, A, "index", "4h", bars(T0, 12, 4 * H, volume=False))
    panel = load(store, index=True)
    assert panel.start == T0 + 4 * H  # the first index bar has closed
    assert panel.end == T0 + 48 * H
    # the bars of 00:00, 04:00 and 08:00 open at 100, 104 and 108, and close at 100.5, 104.5 and 108.5
    assert known_index(panel)[:9] == [
        (104.0, 104.0, 100.5, 100.5),  # 04:00: an index bar opens; at 05:00 the last close is that of 04:00
        (100.5, 100.5, 100.5, 100.5),
        (100.5, 100.5, 100.5, 100.5),
        (100.5, 104.5, 100.5, 104.5),  # 07:00: ends with the index bar
        (108.0, 108.0, 104.5, 104.5),
        (104.5, 104.5, 104.5, 104.5),
        (104.5, 104.5, 104.5, 104.5),
        (104.5, 108.5, 104.5, 108.5),
        (112.0, 112.0, 108.5, 108.5),
    ]
    at_settlement = int(np.searchsorted(panel.open_time, T0 + 16 * H))
    assert panel.index is not None
    assert panel.index.open[0, at_settlement] == 116.0
    (note,) = (n for n in panel.notes if "index" in n and "stored at 4h" in n)
    assert "grid of the 1h trades" in note
    assert "up to 4h old" in note


def test_an_index_that_ended_serves_for_one_of_its_bars(store: Store) -> None:
    put_symbol(store)
    put(store, A, "index", "4h", bars(T0, 10, 4 * H, volume=False))
    panel = load(store, index=True)
    assert panel.end == T0 + 44 * H
    assert known_index(panel)[-1] == (136.5, 136.5, 136.5, 136.5)
    assert refused(store, index=True, end=T0 + 45 * H).at == T0 + 44 * H


def test_a_shifted_index_looks_back_too(store: Store) -> None:
    put_symbol(store)
    put(store, A, "index", "1h", bars(T0 + H // 2, 40, volume=False))
    panel = load(store, index=True)
    assert (panel.start, panel.end) == (T0 + 2 * H, T0 + 41 * H)
    assert known_index(panel)[0] == (101.0, 102.0, 101.0, 102.0)  # closes of the bars of 00:30 and 01:30


def test_an_index_finer_than_the_trades_that_does_not_divide_them(store: Store) -> None:
    put_symbol(store)
    put(store, A, "index", "40m", bars(T0, 72, 2 * H // 3, volume=False))
    panel = load(store, index=True)
    assert panel.start == T0 + H
    open_, _, _, close = known_index(panel)[0]
    assert open_ == 100.5  # closed at 00:40
    assert close == pytest.approx(101.0 + 1 / 3 + 0.5)  # the bar that opened at 01:20 closed at 02:00
    assert known_index(panel)[1][0] == 102.0  # a bar opens at 02:00
    hole = bars(T0, 72, 2 * H // 3, volume=False)
    put(store, A, "index", "40m", hole.filter(~pl.int_range(pl.len()).is_in([1, 2])))
    assert refused(store, index=True).at == T0 + 2 * H // 3
    assert known_index(load(store, index=True, start=T0 + 2 * H))[0][0] == 102.0  # nothing older is needed


def test_each_symbol_has_its_own_index(store: Store) -> None:
    put_symbol(store)
    put_symbol(store, B)
    put(store, A, "index", "1h", bars(T0, 48, volume=False))
    put(store, B, "index", "4h", bars(T0, 12, 4 * H, volume=False))
    panel = load(store, (A, B), index=True, start=T0)
    assert panel.index is not None
    assert panel.index.close[0, :2].tolist() == [100.5, 101.5]
    assert np.isnan(panel.index.close[1, :4]).all()
    assert np.isnan(panel.trade.close[1, :4]).all()
    assert panel.index.close[1, 4:8].tolist() == [100.5, 100.5, 100.5, 104.5]


def test_a_hole_of_a_carried_index_is_refused(store: Store) -> None:
    put_symbol(store)
    put(store, A, "index", "4h", without(bars(T0, 12, 4 * H, volume=False), 20, 36))
    error = refused(store, index=True)
    assert error.at == T0 + 20 * H
    assert error.series == f"{VENUE} {A} index 4h"
    assert "8 bars of the run would use a value more than 4h old" in str(error)
    assert "allow_gaps" in error.hint
    assert load(store, index=True, end=T0 + 24 * H).end == T0 + 24 * H  # the close of 20:00 is 4 hours old, no more
    assert refused(store, index=True, end=T0 + 25 * H).at == T0 + 20 * H
    assert refused(store, index=True, start=T0 + 24 * H, end=T0 + 36 * H).at == T0 + 20 * H
    assert load(store, index=True, start=T0 + 28 * H, end=T0 + 36 * H).start == T0 + 28 * H


def test_over_a_permitted_hole_a_carried_index_keeps_its_last_value(store: Store) -> None:
    put_symbol(store)
    put(store, A, "index", "4h", without(bars(T0, 12, 4 * H, volume=False), 20))
    panel = load(store, index=True, allow_gaps=True)
    assert len(panel.open_time) == 44
    assert known_index(panel)[19] == (116.5, 116.5, 116.5, 116.5)
    assert known_index(panel)[20] == (124.0, 124.0, 116.5, 116.5)  # 24:00: an index bar opens, and has not closed
    assert known_index(panel)[23][3] == 124.5
    (note,) = (n for n in panel.notes if "allow_gaps" in n)
    assert "first at 2025-01-01 20:00 UTC: 4 bars of the run used a value more than 4h old" in note


def test_over_a_permitted_hole_a_symbol_joins_when_its_index_is_known(store: Store) -> None:
    put_symbol(store)
    put(store, A, "index", "4h", without(bars(T0, 12, 4 * H, volume=False), 20, 24))
    panel = load(store, index=True, allow_gaps=True, start=T0 + 30 * H)
    assert panel.start == T0 + 32 * H
    assert known_index(panel)[0] == (132.0, 132.0, 128.5, 128.5)


def test_impossible_bars_of_a_carried_index_are_refused(store: Store) -> None:
    put_symbol(store)
    frame = bars(T0, 12, 4 * H, volume=False)
    put(store, A, "index", "4h", frame.with_columns(low=pl.when(pl.col("open") == 108.0).then(0.0).otherwise("low")))
    assert refused(store, index=True).at == T0 + 8 * H


@pytest.mark.parametrize("cut", range(8, 48, 5))
@pytest.mark.parametrize("shift", [0, H // 2])
def test_what_comes_after_a_bars_close_never_changes_its_index(
    store: Store, tmp_path: Path, cut: int, shift: int
) -> None:
    put_symbol(store)
    rng = np.random.default_rng(cut)
    level = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, 13)))
    index = pl.DataFrame({"open_time": times(T0 + shift, 12, 4 * H), "open": level[:-1], "close": level[1:]})
    extremes = {"high": pl.max_horizontal("open", "close"), "low": pl.min_horizontal("open", "close")}
    put(store, A, "index", "4h", index.with_columns(**extremes))
    whole = load(store, index=True, end=T0 + 47 * H)
    now = T0 + cut * H
    opened = pl.col("open_time").dt.epoch("ms")
    # of the bar that is open then the open is known, and nothing else: the rest might come out otherwise
    then = index.filter(opened <= now).with_columns(
        close=pl.when(opened + 4 * H > now).then(pl.col("open") * 2).otherwise("close")
    )
    known = Store(tmp_path / "known")
    for key in store.keys(symbol=A):
        known.write(key, store.read(key, None, now + (key.series == "funding")), source="test")
    put(known, A, "index", "4h", then.with_columns(**extremes))
    before = load(known, index=True, end=now)
    count = len(before.open_time)
    assert count == cut - (4 if shift == 0 else 5)
    assert known_index(before) == known_index(whole)[:count]


def test_no_volume_at_all_is_none(store: Store) -> None:
    put_symbol(store)
    put(store, A, "trade", "1h", bars(T0, 48, volume=False))
    assert load(store).volume is None


# ---- real data


@pytest.fixture(scope="module")
def real(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    for name in ("BTC", "RIVER", "ORCA"):
        symbol = f"{name}/USDT:USDT"
        for suffix, series, timeframe in (
            ("5m-futures", "trade", "5m"),
            ("1h-futures", "trade", "1h"),
            ("1h-mark", "mark", "1h"),
        ):
            frame = pl.read_ipc(real_data / "binance" / f"{name}_USDT_USDT-{suffix}.feather")
            key = DatasetKey("binance", symbol, series, timeframe)
            store.write(key, frame.rename({"date": "open_time"}), source="test")
        funding = pl.read_ipc(real_data / "binance" / f"{name}_USDT_USDT-1h-funding_rate.feather")
        rows = funding.select(funding_time="date", funding_rate="open")
        store.write(DatasetKey("binance", symbol, "funding", "event"), rows, source="test")
    return store


SYMBOLS = tuple(f"{name}/USDT:USDT" for name in ("BTC", "RIVER", "ORCA"))
FROM, TO = 1_735_603_200_000, 1_771_459_200_000  # 2024-12-31, 2026-02-19


@pytest.mark.real_data
def test_real_hours(real: Store) -> None:
    panel = load_panel(real, "binance", SYMBOLS, "1h", FROM, TO)
    assert panel.trade.open.shape == (3, 9_960)
    assert np.isnan(panel.trade.open).sum(axis=1).tolist() == [0, 6_974, 0]
    assert [len(s.time) for s in panel.settlements] == [1_245, 1_732, 3_217]
    assert panel.notes == ("RIVER/USDT:USDT joins at its first bar, 2025-10-17 14:00 UTC.",)


@pytest.mark.real_data
def test_real_five_minutes_with_hourly_mark(real: Store) -> None:
    panel = load_panel(real, "binance", SYMBOLS, "5m", FROM, TO)
    assert panel.trade.open.shape == (3, 119_520)
    assert panel.mark.open.shape == (3, 9_960)
    assert np.isnan(panel.trade.open).sum(axis=1).tolist() == [0, 12 * 6_975, 0]  # joins at 15:00, a mark bar's open


@pytest.mark.real_data
def test_real_ends_are_ragged(real: Store) -> None:
    with pytest.raises(BacktesterError, match="RIVER/USDT:USDT mark 1h: it ends before"):
        load_panel(real, "binance", SYMBOLS[1:2], "1h", None, 1_771_459_200_000 + 6 * H)

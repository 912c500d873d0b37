"""The bars that strategies read: columns, joins, and nothing from the future."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from backtester.domain.config import FeatureConfig
from backtester.errors import ConfigError, DataError, UnknownNameError
from backtester.market.forecast import clamped_rate, known_intervals
from backtester.market.frame import COLUMNS, MARKET_COLUMNS, signal_bars
from backtester.market.schema import TIME, DatasetKey, timeframe_ms
from backtester.market.store import Store

H = 3_600_000
T0 = 1_735_689_600_000  # 2025-01-01
VENUE = "test"
A, B = "A/USDT:USDT", "B/USDT:USDT"


def bars(first: int, count: int, step: int = H, *, seed: int = 1, scale: float = 100.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    path = scale * np.exp(np.cumsum(rng.normal(0, 0.01, count + 1)))
    frame = pl.DataFrame(
        {
            "open_time": pl.Series(first + np.arange(count, dtype=np.int64) * step).cast(TIME),
            "open": path[:-1],
            "close": path[1:],
            "volume": rng.random(count) + 1.0,
        }
    )
    return frame.with_columns(
        high=pl.max_horizontal("open", "close") * 1.001, low=pl.min_horizontal("open", "close") * 0.999
    )


def premiums(first: int, count: int, step: int = H, seed: int = 5) -> pl.DataFrame:
    values = np.random.default_rng(seed).normal(0, 0.0008, count)
    frame = pl.DataFrame({"open_time": pl.Series(first + np.arange(count, dtype=np.int64) * step).cast(TIME)})
    return frame.with_columns(pl.Series(name, values) for name in ("open", "high", "low", "close"))


def put(store: Store, symbol: str, series: str, timeframe: str, frame: pl.DataFrame) -> None:
    store.write(DatasetKey(VENUE, symbol, series, timeframe), frame, source="test", replace=True)


def put_funding(store: Store, symbol: str, hours: list[int]) -> None:
    rates = [0.0001 * (1 + k) for k in range(len(hours))]
    frame = pl.DataFrame({"funding_time": [T0 + h * H for h in hours], "funding_rate": rates})
    put(store, symbol, "funding", "event", frame)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A with everything, 8 h then 4 h then 1 h; B younger and bare. For reading only."""
    store = Store(tmp_path_factory.mktemp("store"))
    put(store, A, "trade", "1h", bars(T0, 72))
    put(store, A, "mark", "1h", bars(T0, 72, seed=2))
    put(store, A, "index", "1h", bars(T0, 72, seed=3))
    put(store, A, "premium", "1h", premiums(T0, 72))
    put_funding(store, A, [0, 8, 16, 24, 28, 32, 36, 37, 38, *range(39, 60), 60, 64, 68])
    put(store, B, "trade", "1h", bars(T0 + 10 * H, 62, seed=4))
    return store


@pytest.fixture
def own_store(store: Store, tmp_path: Path) -> Store:
    """A copy to write to."""
    shutil.copytree(store.root, tmp_path / "store")
    return Store(tmp_path / "store")


def hour(frame: pl.DataFrame, h: int, symbol: str = A) -> dict[str, object]:
    """Return the row of the bar that opens ``h`` hours after T0."""
    at = datetime.fromtimestamp((T0 + h * H) / 1000, UTC)
    return frame.filter((pl.col("open_time") == at) & (pl.col("symbol") == symbol)).row(0, named=True)


def test_columns_and_order(store: Store) -> None:
    frame = signal_bars(store, VENUE, (B, A), "1h")
    assert tuple(frame.columns) == COLUMNS
    assert frame["symbol"].unique(maintain_order=True).to_list() == [B, A]
    assert frame.height == 62 + 72
    assert frame.schema["open_time"] == TIME
    assert all(frame.schema[c] == pl.Float64 for c in MARKET_COLUMNS)


def test_what_is_not_stored_is_null(store: Store) -> None:
    frame = signal_bars(store, VENUE, (B,), "1h")
    assert_frame_equal(frame.select(pl.col("mark_close").alias("close")), frame.select("close"))
    for column in ("index_close", "premium", "funding_rate", "predicted_funding_rate", "hours_to_funding"):
        assert frame[column].null_count() == frame.height


def test_trade_may_serve_as_mark(store: Store) -> None:
    frame = signal_bars(store, VENUE, (A,), "1h", mark="trade")
    assert frame["mark_close"].equals(frame["close"])


def test_range_and_warm_up(store: Store) -> None:
    frame = signal_bars(store, VENUE, (A, B), "1h", T0 + 12 * H, T0 + 20 * H, warmup_bars=5)
    opens = frame.group_by("symbol").agg(pl.col("open_time").min().dt.epoch("ms"), pl.len()).sort("symbol")
    assert [(t - T0) // H for t in opens["open_time"]] == [7, 10]
    assert opens["len"].to_list() == [13, 10]
    with pytest.raises(UnknownNameError):
        signal_bars(store, VENUE, (A, "C/USDT:USDT"), "1h")
    assert signal_bars(store, VENUE, (A,), "1h", T0 - 20 * H, T0 - 10 * H).height == 0


def test_the_rate_is_the_last_settled_by_the_bars_end(store: Store) -> None:
    frame = signal_bars(store, VENUE, (A,), "1h")
    assert hour(frame, 6)["funding_rate"] == pytest.approx(0.0001)  # ends at 07:00: the settlement of 00:00
    assert hour(frame, 7)["funding_rate"] == pytest.approx(0.0002)  # ends at 08:00: settled then
    assert hour(frame, 8)["funding_rate"] == pytest.approx(0.0002)


def test_hours_to_funding_follow_the_interval_known_then(store: Store) -> None:
    frame = signal_bars(store, VENUE, (A,), "1h")
    left = {h: hour(frame, h)["hours_to_funding"] for h in range(72)}
    assert left[6] == 1.0
    assert left[7] == 8.0
    assert left[24] == 7.0  # at 01:00 nobody knows that the next settlement comes at 04:00
    assert left[27] == 4.0  # at 04:00 everybody does
    assert left[36] == 1.0
    assert left[59] == 1.0  # the change back to 4 h at 00:00 is not known at 00:00
    assert left[60] == 1.0  # nothing was settled at 01:00: the hour rolls on
    assert left[63] == 4.0


def test_the_forecast_is_the_formula_on_the_mean_so_far(store: Store) -> None:
    frame = signal_bars(store, VENUE, (A,), "1h")
    premium = premiums(T0, 72)["close"].to_numpy()

    def formula(mean: float, hours: float) -> float:
        return (mean + max(-0.0005, min(0.0005, 0.0001 - mean))) / (8 / hours)

    assert hour(frame, 14)["predicted_funding_rate"] == pytest.approx(formula(premium[8:15].mean(), 8))
    assert hour(frame, 15)["predicted_funding_rate"] == pytest.approx(formula(premium[15], 8))  # settled just now
    assert hour(frame, 16)["predicted_funding_rate"] == pytest.approx(formula(premium[16], 8))
    assert hour(frame, 30)["predicted_funding_rate"] == pytest.approx(formula(premium[28:31].mean(), 4))
    assert hour(frame, 62)["predicted_funding_rate"] == pytest.approx(formula(premium[60:63].mean(), 1))


def test_clamped_rate_has_its_dead_zone_and_caps() -> None:
    assert clamped_rate(0.0006, 8) == pytest.approx(0.0001)
    assert clamped_rate(-0.0004, 8) == pytest.approx(0.0001)
    assert clamped_rate(0.0016, 8) == pytest.approx(0.0011)
    assert clamped_rate(0.0016, 4) == pytest.approx(0.00055)
    assert clamped_rate(-0.05, 8, 0.003) == pytest.approx(-0.003)


def test_known_intervals_take_only_what_divides_the_day() -> None:
    time = np.array([0, 8, 16, 20, 24, 40, 48, 49, 54]) * H
    assert (known_intervals(time, 8 * H) // H).tolist() == [8, 8, 8, 4, 4, 4, 8, 1, 1]


def test_premium_falls_back_to_mark_over_index(own_store: Store) -> None:
    own_store.write(DatasetKey(VENUE, B, "index", "1h"), bars(T0 + 10 * H, 62, seed=6), source="test")
    frame = signal_bars(own_store, VENUE, (B,), "1h")
    expected = frame.select((pl.col("close") / pl.col("index_close") - 1).alias("premium"))
    assert_frame_equal(frame.select("premium"), expected)


def test_a_coarser_premium_is_the_last_closed_one(own_store: Store) -> None:
    put(own_store, A, "trade", "15m", bars(T0, 72 * 4, H // 4))
    frame = signal_bars(own_store, VENUE, (A,), "15m", T0, T0 + 4 * H)
    hourly = premiums(T0, 72)["close"]
    assert frame["premium"].to_list() == [None] * 3 + [hourly[0]] * 4 + [hourly[1]] * 4 + [hourly[2]] * 4 + [hourly[3]]


def test_a_coarser_index_is_the_last_closed_one(own_store: Store) -> None:
    put(own_store, A, "trade", "15m", bars(T0, 72 * 4, H // 4))
    frame = signal_bars(own_store, VENUE, (A,), "15m", T0, T0 + 4 * H)
    closes = bars(T0, 72, seed=3)["close"]
    assert frame["index_close"].to_list() == [None] * 3 + [c for c in closes[:3] for _ in range(4)] + [closes[3]]


def test_an_index_older_than_one_of_its_bars_is_null(own_store: Store) -> None:
    put(own_store, A, "trade", "15m", bars(T0, 72 * 4, H // 4))
    index = bars(T0, 72, seed=3)
    put(own_store, A, "index", "1h", index.filter(pl.int_range(pl.len()) != 5))
    frame = signal_bars(own_store, VENUE, (A,), "15m", T0 + 5 * H, T0 + 8 * H)
    # bars that close at 05:15 to 06:00: the index of 05:00, an hour old at most; then a bar must be missing
    assert frame["index_close"].to_list() == [index["close"][4]] * 4 + [None] * 3 + [index["close"][6]] * 4 + [
        index["close"][7]
    ]


def test_a_shifted_index_is_the_last_closed_one(own_store: Store) -> None:
    put(own_store, A, "index", "1h", bars(T0 - H // 2, 72, seed=3))
    frame = signal_bars(own_store, VENUE, (A,), "1h")
    assert frame["index_close"].to_list() == bars(T0, 72, seed=3)["close"].to_list()


def test_over_a_coarser_index_the_premium_is_that_of_the_shared_closes(own_store: Store) -> None:
    shutil.rmtree(own_store.folder(DatasetKey(VENUE, A, "premium", "1h")))
    put(own_store, A, "trade", "15m", bars(T0, 72 * 4, H // 4))
    put(own_store, A, "mark", "15m", bars(T0, 72 * 4, H // 4, seed=2))
    frame = signal_bars(own_store, VENUE, (A,), "15m")
    marks, index = bars(T0, 72 * 4, H // 4, seed=2)["close"], bars(T0, 72, seed=3)["close"]
    expected = [marks[4 * k + 3] / index[k] - 1.0 for k in range(72)]
    assert frame["premium"].to_list() == [None] * 3 + [p for p in expected[:-1] for _ in range(4)] + [expected[-1]]
    for begin in (1, 7, 50, 133):
        later = signal_bars(own_store, VENUE, (A,), "15m", T0 + begin * H // 4)
        assert_frame_equal(frame.tail(later.height), later, check_exact=True)


def test_a_coarser_mark_follows_the_trades_between_its_opens(own_store: Store) -> None:
    put(own_store, A, "trade", "15m", bars(T0, 72 * 4, H // 4))
    frame = signal_bars(own_store, VENUE, (A,), "15m", T0 + 5 * H // 2, T0 + 4 * H)
    trades, marks = bars(T0, 72 * 4, H // 4), bars(T0, 72, seed=2)
    for place, (fine, coarse) in enumerate([(10, 2), (11, 2), (12, 3), (13, 3)]):
        expected = trades["close"][fine] * marks["open"][coarse] / trades["open"][4 * coarse]
        assert frame["mark_close"][place] == pytest.approx(expected, rel=1e-15)


def test_references_stand_on_every_row(store: Store) -> None:
    frame = signal_bars(store, VENUE, (A,), "1h", reference=(B, B))
    assert tuple(frame.columns) == (*COLUMNS, *(f"ref:{B}:{c}" for c in MARKET_COLUMNS))
    assert frame[f"ref:{B}:close"].null_count() == 10
    assert hour(frame, 30)[f"ref:{B}:close"] == bars(T0 + 10 * H, 62, seed=4)["close"][20]


# ---- features


def feature(**columns: list[object]) -> pl.DataFrame:
    return pl.DataFrame(columns)


def test_a_feature_is_seen_from_the_first_close_at_or_after_its_time(store: Store) -> None:
    at = [T0 + 5 * H, T0 + 5 * H, T0 + 9 * H + 1]
    frame = signal_bars(store, VENUE, (A, B), "1h", features={"x": feature(available_time=at, mood=[1.0, 2.0, 3.0])})
    assert hour(frame, 3)["mood"] is None
    assert hour(frame, 4)["mood"] == 2.0  # closes at 05:00; the later of two rows of one time
    assert hour(frame, 8)["mood"] == 2.0
    assert hour(frame, 9)["mood"] == 3.0
    assert hour(frame, 11, B)["mood"] == 3.0
    assert frame["symbol"].unique(maintain_order=True).to_list() == [A, B]


def test_features_by_symbol_and_by_file(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        "available_time,symbol,mood,other\n2025-01-01,A/USDT:USDT,1,9\n2025-01-01 12:00:00Z,B/USDT:USDT,2,9\n"
    )
    frame = signal_bars(store, VENUE, (A, B), "1h", features={"x": FeatureConfig(path=str(path), columns=("mood",))})
    assert "other" not in frame.columns
    assert hour(frame, 40)["mood"] == 1
    assert hour(frame, 40, B)["mood"] == 2
    assert hour(frame, 10, B)["mood"] is None
    whole = tmp_path / "own.parquet"
    pl.read_csv(path).write_parquet(whole)
    frame = signal_bars(store, VENUE, (A,), "1h", features={"x": FeatureConfig(path=str(whole))})
    assert hour(frame, 40)["other"] == 9


@pytest.mark.parametrize(
    ("table", "error", "words"),
    [
        ({"mood": [1.0]}, DataError, "no column available_time"),
        ({"available_time": [T0], "close": [1.0]}, ConfigError, "'close' is there already"),
        ({"available_time": ["soon"], "mood": [1.0]}, DataError, "unreadable in 1 rows"),
        ({"available_time": [1.5], "mood": [1.0]}, DataError, "not a time"),
    ],
)
def test_features_that_cannot_be_joined(store: Store, table: dict[str, list[object]], error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        signal_bars(store, VENUE, (A,), "1h", features={"x": pl.DataFrame(table)})


def test_feature_files_that_do_not_exist(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.features\.x\.path: there is no file"):
        signal_bars(store, VENUE, (A,), "1h", features={"x": FeatureConfig(path=str(tmp_path / "no.csv"))})
    path = tmp_path / "own.csv"
    path.write_text("available_time,mood\n2025-01-01,1\n")
    with pytest.raises(ConfigError, match="there is no column 'food'"):
        signal_bars(store, VENUE, (A,), "1h", features={"x": FeatureConfig(path=str(path), columns=("food",))})
    broken = tmp_path / "own.parquet"
    broken.write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read"):
        signal_bars(store, VENUE, (A,), "1h", features={"x": FeatureConfig(path=str(broken))})


# ---- nothing from the future


def truncated(store: Store, root: Path, end: int) -> Store:
    """Return a store that holds what was known at ``end``: bars closed, settlements settled by then."""
    cut = Store(root)
    for key in store.keys():  # noqa: SIM118 - a store is no mapping
        last = end + 1 if key.series == "funding" else end
        frame = store.read(key, None, last)
        if frame.height:
            cut.write(key, frame, source="test")
    return cut


@pytest.mark.parametrize("cut", [3, 8, 9, 24, 25, 28, 31, 37, 60, 61, 63, 64, 70])
def test_truncating_the_store_never_changes_earlier_rows(store: Store, tmp_path: Path, cut: int) -> None:
    at = [T0 + int(h * H) for h in (1, 7.5, 24, 60.1)]
    options = {"reference": (B,), "features": {"x": feature(available_time=at, mood=[1.0, 2.0, 3.0, 4.0])}}
    end = T0 + cut * H
    before = truncated(store, tmp_path / "cut", end)
    options = options if cut > 10 else {"features": options["features"]}  # B has no bar before
    whole = signal_bars(store, VENUE, (A,), "1h", **options)  # type: ignore[arg-type]
    known = signal_bars(before, VENUE, (A,), "1h", **options)  # type: ignore[arg-type]
    assert known.height == cut
    assert_frame_equal(whole.head(cut), known, check_exact=True)


@pytest.mark.parametrize("cut", [5, 12, 13, 98, 99, 100, 101, 250])
@pytest.mark.parametrize("has_premium", [True, False])
def test_truncating_coarser_companions_never_changes_earlier_rows(
    own_store: Store, tmp_path: Path, cut: int, has_premium: bool
) -> None:
    put(own_store, A, "trade", "15m", bars(T0, 72 * 4, H // 4))
    put(own_store, A, "mark", "15m", bars(T0, 72 * 4, H // 4, seed=2))
    if not has_premium:
        shutil.rmtree(own_store.folder(DatasetKey(VENUE, A, "premium", "1h")))
    whole = signal_bars(own_store, VENUE, (A,), "15m")
    end = T0 + cut * H // 4
    before = Store(tmp_path / "cut")
    for key in own_store.keys(symbol=A):
        length = timeframe_ms(key.timeframe) if key.series != "funding" else 0
        frame = own_store.read(key, None, end - length + 1)  # closed by the end
        if frame.height:
            before.write(key, frame, source="test")
    known = signal_bars(before, VENUE, (A,), "15m")
    assert known.height == cut
    assert known["index_close"].count() == cut - 3
    assert_frame_equal(whole.head(cut), known, check_exact=True)


@pytest.mark.parametrize("begin", [1, 5, 9, 27, 40, 61, 66])
def test_a_later_start_never_changes_later_rows(store: Store, begin: int) -> None:
    whole = signal_bars(store, VENUE, (A,), "1h")
    later = signal_bars(store, VENUE, (A,), "1h", T0 + begin * H)
    assert_frame_equal(whole.tail(72 - begin), later, check_exact=True)


def test_a_later_start_agrees_under_a_coarse_mark(own_store: Store) -> None:
    put(own_store, A, "trade", "15m", bars(T0, 72 * 4, H // 4))
    whole = signal_bars(own_store, VENUE, (A,), "15m")
    later = signal_bars(own_store, VENUE, (A,), "15m", T0 + 30 * H + H // 2)
    assert_frame_equal(whole.tail(later.height), later, check_exact=True)


def test_a_built_timeframe_serves_too(store: Store) -> None:
    frame = signal_bars(store, VENUE, (A,), "4h")
    assert frame.height == 18
    hourly = bars(T0, 72)
    assert frame["close"].to_list() == hourly["close"][3::4].to_list()
    assert frame["mark_close"].to_list() == bars(T0, 72, seed=2)["close"][3::4].to_list()
    assert frame["volume"][0] == pytest.approx(hourly["volume"][:4].sum())

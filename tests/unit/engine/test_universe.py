"""Which symbols may be held when."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from backtester.domain.config import RunConfig
from backtester.domain.instrument import Instrument
from backtester.engine.run_file import build_config
from backtester.engine.universe import first_bars, has_universe, universe_members, universe_warmup
from backtester.errors import ConfigError, DataError
from backtester.market.schema import TIME, DatasetKey
from backtester.market.store import Store

DAY = 86_400_000
T0 = 1_735_689_600_000  # 2025-01-01
A, B, C = "A/USDT:USDT", "B/USDT:USDT", "C/USDT:USDT"


def config(**universe: object) -> RunConfig:
    return build_config({"data": {"timeframe": "1d"}, "universe": universe})


def bars(**volumes: list[float | None]) -> pl.DataFrame:
    """Daily bars at a close of 2; a symbol with fewer volumes joins later."""
    days = max(len(values) for values in volumes.values())
    frames = []
    for name, values in volumes.items():
        opens = [T0 + (days - len(values) + k) * DAY for k in range(len(values))]
        frame = pl.DataFrame(
            {"open_time": opens, "volume": values}, schema={"open_time": pl.Int64, "volume": pl.Float64}
        )
        frames.append(frame.with_columns(pl.lit(f"{name}/USDT:USDT").alias("symbol"), pl.lit(2.0).alias("close")))
    return pl.concat(frames).with_columns(pl.col("open_time").cast(TIME))


def members(asked: RunConfig, rows: pl.DataFrame, **more: object) -> dict[str, list[bool]]:
    flags = universe_members(asked, rows, more.pop("instruments", {}), **more)  # type: ignore[arg-type]
    assert (flags.name, flags.dtype, flags.null_count()) == ("universe", pl.Boolean, 0)
    found = rows.with_columns(flags).group_by("symbol", maintain_order=True).agg("universe")
    return dict(found.iter_rows())


def test_without_bounds_all_are_members() -> None:
    assert not has_universe(config().universe)
    assert members(config(), bars(A=[1, 1], B=[1])) == {A: [True, True], B: [True]}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_rows_of_a_file_hold_from_the_first_close_at_or_after_them(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"members.{ending}"
    table = pl.DataFrame(
        {
            # A from the very close of the first bar, out just after the close of the second; B never by a row
            "time": ["2025-01-02", "2025-01-03T00:00:01", "2025-01-02", "2025-01-01"],
            "symbol": [A, A, C, "Z/USDT:USDT"],
            "member": [True, False, False, True],
        }
    )
    table.write_csv(path) if ending == "csv" else table.write_parquet(path)
    found = members(config(file=str(path)), bars(A=[1, 1, 1], B=[1, 1, 1], C=[1, 1, 1]))
    assert found == {A: [True, True, False], B: [False] * 3, C: [False] * 3}


def test_age_counts_from_the_listing_else_from_the_first_bar() -> None:
    rows = bars(A=[1, 1, 1, 1], B=[1, 1, 1, 1], C=[1, 1, 1])
    listed = {A: Instrument(symbol=A, listed=T0 - 10 * DAY), B: Instrument(symbol=B, listed=T0 + DAY // 2)}
    found = members(config(min_age_days=2.0), rows, instruments=listed)
    # B is 0.5, 1.5, 2.5 days old at the closes; C's first bar opens a day after T0 and closes at the age of one
    assert found == {A: [True] * 4, B: [False, False, True, True], C: [False, True, True]}
    stored = members(config(min_age_days=2.0), rows, instruments=listed, begun={C: T0 - 30 * DAY})
    assert stored[C] == [True] * 3


def test_the_first_stored_bar_of_any_timeframe_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    frame = bars(A=[1, 1]).select(
        "open_time", "volume", *(pl.lit(2.0).alias(p) for p in ("open", "high", "low", "close"))
    )
    store.write(DatasetKey("test", A, "trade", "1d"), frame, source="test")
    earlier = frame.with_columns(pl.col("open_time").dt.offset_by("-3d"))
    store.write(DatasetKey("test", A, "trade", "4h"), earlier, source="test")
    assert first_bars(store, "test", (A, B)) == {A: T0 - 3 * DAY}


def test_the_largest_of_the_days_before_are_members() -> None:
    rows = bars(A=[5, 5, 0, 0], B=[1, 1, 4, 4], C=[9, None])
    found = members(config(top_volume=1, volume_days=2), rows)
    # sums of two days: A 5 10 5 0, B 1 2 5 8, C (from the third day) 9 9; the closes are all 2
    assert found == {A: [True, True, False, False], B: [False] * 4, C: [True, True]}
    assert members(config(top_volume=2, volume_days=2), rows)[A] == [True, True, True, False]  # the tie is A's, first


def test_the_rank_is_among_those_let_through(tmp_path: Path) -> None:
    path = tmp_path / "members.csv"
    path.write_text(f"time,symbol,member\n2025-01-01,{A},0\n2025-01-01,{B},1\n")
    assert members(config(file=str(path), top_volume=1), bars(A=[9, 9], B=[1, 1])) == {A: [False] * 2, B: [True] * 2}


def test_no_bar_sees_what_comes_after_it() -> None:
    rows = bars(A=[5, 1, 7, 2, 8], B=[2, 6, 3, 9, 1], C=[4, 4, 4])
    asked = config(top_volume=1, volume_days=2, min_age_days=1.0)
    whole = rows.with_columns(universe_members(asked, rows, {}))
    for day in range(1, 5):
        until = rows.filter(pl.col("open_time").dt.epoch("ms") < T0 + day * DAY)
        cut = until.with_columns(universe_members(asked, until, {}))
        assert cut.equals(whole.filter(pl.col("open_time").dt.epoch("ms") < T0 + day * DAY))


def test_warm_up_is_what_the_rank_looks_back() -> None:
    assert universe_warmup(config(top_volume=3, volume_days=30)) == 30
    hourly = build_config({"data": {"timeframe": "1h"}, "universe": {"top_volume": 3, "volume_days": 2}})
    assert universe_warmup(hourly) == 48
    assert universe_warmup(config(min_age_days=5.0)) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,symbol\n2025-01-01,x\n", "there is no column member"),
        ("time,symbol,member\n2025-01-01,x,maybe\n", "row 1 has no true or false in the column member: 'maybe'"),
        ("time,symbol,member\n2025-01-01,x,1\nnever,x,0\n", "row 2 has no time"),
        ("time,symbol,member\n2025-01-01,x,1\n2025-01-01,x,0\n", "x has two rows at 2025-01-01 00:00 UTC"),
        ("time,symbol,member\n", "no rows"),
    ],
)
def test_a_wrong_file_is_refused_with_its_row(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "members.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        universe_members(config(file=str(path)), bars(A=[1]), {})
    assert said in str(caught.value)
    assert "members.csv" in str(caught.value)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"universe\.file: there is no file"):
        universe_members(config(file=str(tmp_path / "no.csv")), bars(A=[1]), {})
    with pytest.raises(DataError, match="no volume of any symbol is known"):
        universe_members(config(top_volume=1), bars(A=[None]), {})

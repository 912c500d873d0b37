"""The sets of a sweep: axes from texts and values, products, filters, samples."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import polars as pl
import pytest

from backtester.domain.config import RunConfig
from backtester.errors import ConfigError, UnknownNameError, UsageError
from backtester.research.axes import Axis, build_axis, parse_axis
from backtester.research.space import Sample, Space
from backtester.strategy import Param, Strategy


class Ranged(Strategy):
    """A strategy with a parameter of each kind."""

    fast: int = Param(10, ge=2, le=2_000_000_000)
    slow: int = Param(50, ge=3)
    width: float = Param(1.0, ge=0, le=100)
    mode: str = Param("a", choices=["a", "b"])
    label: str = Param("x")
    flag: bool = Param(False)
    end: int = Param(1)

    def check_params(self) -> None:
        if self.fast >= self.slow:
            raise ValueError("fast must be below slow")

    def target(self) -> pl.Expr:
        return pl.lit(1.0)


BASE = RunConfig()


def axis(text: str) -> Axis:
    return build_axis(*parse_axis(text), Ranged, BASE)


def values(text: str) -> list[object]:
    found = axis(text)
    return found.values.take(np.arange(found.count)).to_list()


def space(*texts: str, where: str | None = None, sample: Sample | None = None) -> Space:
    return Space([axis(text) for text in texts], where, sample)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fast=5:20:5", [5, 10, 15, 20]),
        ("fast=5:19:5", [5, 10, 15]),
        ("fast=20:5:-5", [20, 15, 10, 5]),
        ("fast=7:7:1", [7]),
        ("width=0.1:0.5:0.1", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("width=1:3:1", [1.0, 2.0, 3.0]),
        ("width=1e-3:3e-3:1e-3", [0.001, 0.002, 0.003]),
        ("fast=2:10:2.0", [2, 4, 6, 8, 10]),
        ("width=lin:0:1:3", [0.0, 0.5, 1.0]),
        ("slow=log:10:1000:3", [10, 100, 1000]),
        ("slow=log:3:6:10", [3, 4, 5, 6]),
        ("width=log:0.01:1:3", [0.01, 0.1, 1.0]),
        ("fast=5, 8,13", [5, 8, 13]),
        ("fast=5,5,8", [5, 8]),
        ("width=1,2.5", [1.0, 2.5]),
        ("mode=a,b", ["a", "b"]),
        ("label=1,2", ["1", "2"]),
        ("flag=true,false", [True, False]),
        ("account.leverage=1,3,5", [1.0, 3.0, 5.0]),
        ("account.leverage=1:2:0.5", [1.0, 1.5, 2.0]),
        ("account.margin_mode=cross,isolated", ["cross", "isolated"]),
        ("costs.window=log:1:100:3", [1, 10, 100]),
        ('instruments."BTC/USDT:USDT".leverage=2,4', [2.0, 4.0]),
        ("data.start=2024-01-01T08:00,2024-02-01", ["2024-01-01T08:00", "2024-02-01"]),
    ],
)
def test_values_of_an_axis(text: str, expected: list[object]) -> None:
    found = values(text)
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


@pytest.mark.parametrize(
    ("given", "expected"),
    [(range(5, 20, 5), [5, 10, 15]), ((3, 2), [3, 2]), (np.array([2, 4]), [2, 4]), ("2:6:2", [2, 4, 6]), ([7], [7])],
)
def test_values_from_python(given: object, expected: list[int]) -> None:
    found = build_axis("fast", given, Ranged, BASE)  # type: ignore[arg-type]  # every kind on purpose
    assert found.values.take(np.arange(found.count)).to_list() == expected
    again = build_axis("fast", found.written, Ranged, BASE)  # what sweep.toml holds stands for the same values
    assert again.values.take(np.arange(again.count)).to_list() == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fast", "is not an axis"),
        ("=5", "is not an axis"),
        ("fast=", "the grid is empty"),
        ("fast=,", "the grid is empty"),
        ("fast=5:200", "has 2 numbers between colons"),
        ("fast=5:200:0", "do not lead from 5 to 200"),
        ("fast=200:5:5", "do not lead from 200 to 5"),
        ("slow=log:50:2000", "is not log:FIRST:LAST:COUNT"),
        ("slow=log:0:10:3", "two ends above 0"),
        ("slow=lin:1:10:2.5", "the count is 2.5"),
        ("slow=lin:1:10:0", "the count is 0"),
        ("width=0:1:1e-20", "too long to be exact"),
    ],
)
def test_malformed_axes_are_shown_an_example(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        axis(text)
    assert words in caught.value.message
    assert "5:200:5" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fast=0:10:1", "it must be at least 2"),
        ("fast=5:7:0.5", "it must be a whole number"),
        ("fast=5:2x:1", "it must be a whole number"),
        ("mode=a,c", "it must be one of a, b"),
        ("flag=perhaps", "it must be true or false"),
        ("width=90:110:10", "it must be at most 100"),
        ("account.leverage=1,-1", "account.leverage must be greater than 0"),
        ("account.leverage=lots", "account.leverage must be a number"),
        ("account.margin_mode=crossed", "must be 'cross' or 'isolated'"),
        ("data.symbols=BTC/USDT:USDT", "data.symbols must be a list"),
        ("data.timeframe=1h,3", "data.timeframe must be a text"),
    ],
)
def test_values_that_the_parameter_refuses(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match="must be") as caught:
        axis(text)
    assert words in caught.value.message


def test_a_key_that_does_not_exist_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"account\.leverag'") as caught:
        axis("account.leverag=1")
    assert "account.leverage" in caught.value.hint


def test_sets_are_the_product_in_order() -> None:
    frame = space("fast=2:4:1", "width=0.5,1", "account.leverage=1,3").sets()
    assert frame.schema == {"set": pl.Int64, "fast": pl.Int64, "width": pl.Float64, "account.leverage": pl.Float64}
    rows = list(itertools.product([2, 3, 4], [0.5, 1.0], [1.0, 3.0]))
    assert frame.rows() == [(number, *row) for number, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("slow > 2*fast", lambda f, s, m, e, v: s > 2 * f),
        ("slow > 2*fast and account.leverage < 5", lambda f, s, m, e, v: s > 2 * f and v < 5),
        ('"account.leverage" = 5 OR fast IN (2, 4)', lambda f, s, m, e, v: v == 5 or f in (2, 4)),
        ("mode = 'a' and not end = 1", lambda f, s, m, e, v: m == "a" and e != 1),
        ("end between 1 and 1", lambda f, s, m, e, v: e == 1),
        ("mode <> 'account.leverage'", lambda f, s, m, e, v: True),
        ("abs(fast - slow) % 2 = 0", lambda f, s, m, e, v: (s - f) % 2 == 0),
        ("true", lambda *_: True),
    ],
)
def test_filters_read_names_as_they_are_written(where: str, kept) -> None:
    texts = ("fast=2:4:1", "slow=4:10:3", "mode=a,b", "end=1,2", "account.leverage=1,5")
    everything = space(*texts).sets().drop("set").rows()
    filtered = space(*texts, where=where)
    frame = filtered.sets()
    assert frame.drop("set").rows() == [row for row in everything if kept(*row)]
    assert frame["set"].to_list() == list(range(frame.height))
    assert filtered.count == frame.height


def test_a_symbols_key_in_a_filter() -> None:
    key = 'instruments."BTC/USDT:USDT".leverage'
    for where in (f"{key} > 2", "instruments.BTC/USDT:USDT.leverage > 2"):
        assert space(f"{key}=2,4", where=where).sets().rows() == [(0, 4.0)]


@pytest.mark.parametrize(
    ("where", "error", "words"),
    [
        ("slo > 3", UnknownNameError, "Did you mean 'slow'"),
        ("account.leverage > 3", UnknownNameError, "'account.leverage'"),
        ("fast >", UsageError, "cannot be read"),
        ("fast > 3; drop table x", UsageError, "cannot be read"),
        ("fast + slow", UsageError, "neither true nor false"),
        ("fast > 'a'", UsageError, "cannot be read"),
        ("fast = max(fast)", UsageError, "looks at several sets at once"),
        ("count(*) > 1", UsageError, "looks at several sets at once"),
        ("row_number() over (order by fast) > 1", UsageError, "looks at several sets at once"),
        ("fast in (select 1)", UsageError, "holds a query"),
        ("__import__('os')", UsageError, "cannot be read"),
    ],
)
def test_filters_that_are_none(where: str, error: type[UsageError], words: str) -> None:
    with pytest.raises(error) as caught:
        space("fast=2:4:1", "slow=4:10:3", where=where)
    assert words in str(caught.value)


def test_a_filter_that_leaves_nothing_says_of_how_many() -> None:
    for sample in (None, Sample(3), Sample(3, "sobol")):
        with pytest.raises(UsageError, match=r"leaves none of the 9 sets"):
            _ = space("fast=2:4:1", "slow=4:10:3", where="fast > slow", sample=sample).count


def test_a_spread_holds_the_ends_of_every_axis() -> None:
    assert space("fast=2:5:1", "mode=a,b").spread().height == 8
    spread = space("fast=2:1000001:1", "slow=3:1002:1", "mode=a,b").spread()
    assert spread.height <= 512
    ends = spread.select(pl.all().min().name.suffix("_least"), pl.all().max().name.suffix("_most")).row(0, named=True)
    assert (ends["fast_least"], ends["fast_most"], ends["slow_least"], ends["slow_most"]) == (2, 1_000_001, 3, 1002)
    assert ((spread["fast"] == 1_000_001) & (spread["slow"] == 1002) & (spread["mode"] == "b")).any()


def test_no_axis_is_an_empty_grid() -> None:
    with pytest.raises(UsageError, match="The grid is empty"):
        Space([])


def test_a_large_grid_is_counted_and_filtered_without_being_held() -> None:
    large = space("fast=2:10001:1", "slow=3:202:1", where="fast = 77 and slow % 50 = 0")  # 2 million sets
    assert large.grid_size == 2_000_000
    tracemalloc.start()
    frame = large.sets()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert frame.rows() == [(0, 77, 50), (1, 77, 100), (2, 77, 150), (3, 77, 200)]
    assert peak < 40e6  # one chunk of numpy's arrays; all places alone would take 16 MB, all rows far more


def test_counting_holds_nothing() -> None:
    assert space("fast=2:1000000001:1").count == 1_000_000_000
    huge = space("fast=2:1000000001:1", "slow=3:1000000002:1", "end=1:1000000000:1")
    assert huge.count == 10**27
    with pytest.raises(UsageError, match="too many to number"):
        next(huge.chunks())


@pytest.mark.parametrize("method", ["random", "sobol"])
@pytest.mark.parametrize("texts", [("fast=2:101:1", "slow=3:102:1"), ("fast=2:1000000:1", "slow=3:1000000:1")])
def test_samples_are_distinct_repeatable_and_filtered(method, texts) -> None:
    drawn = space(*texts, where="slow > 2 * fast", sample=Sample(500, method, 7))
    frame = drawn.sets()
    assert drawn.count == frame.height == 500
    assert frame["set"].to_list() == list(range(500))
    assert frame.drop("set").unique().height == 500
    assert (frame["slow"] > 2 * frame["fast"]).all()
    assert frame.equals(space(*texts, where="slow > 2 * fast", sample=Sample(500, method, 7)).sets())
    assert not frame.equals(space(*texts, where="slow > 2 * fast", sample=Sample(500, method, 8)).sets())


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_a_sample_of_more_than_there_is_takes_all(method) -> None:
    assert (
        space("fast=2:9:1", "mode=a,b", sample=Sample(100, method))
        .sets()
        .equals(space("fast=2:9:1", "mode=a,b").sets())
    )
    almost = space("fast=2:9:1", "mode=a,b", sample=Sample(15, method)).sets()
    assert almost.drop("set").unique().height == 15


def test_sobol_points_cover_the_grid_evenly() -> None:
    drawn = space("fast=2:65:1", "slow=3:66:1", sample=Sample(256, "sobol", 1)).sets()
    cells = drawn.select((pl.col("fast") - 2) // 8, (pl.col("slow") - 3) // 8).group_by("fast", "slow").len()
    assert cells.height == 64
    assert cells["len"].max() <= 6  # 4 expected; chance alone would put more than 6 into some


def test_too_strict_a_filter_for_a_sample_of_a_huge_grid() -> None:
    where = "fast = 5 and slow = 7"
    with pytest.raises(UsageError, match=r"drawn|drawn from"):
        _ = space("fast=2:1000000:1", "slow=3:1000000:1", where=where, sample=Sample(5)).count

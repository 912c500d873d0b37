"""``strategy new``: a working module and its test, to start from."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from backtester.errors import UsageError

_MODULE = '''\
"""What {name} does, in one line."""

import polars as pl

from backtester.strategy import Indicator, Param, Strategy, sma


class {class_name}(Strategy):
    """Hold a long position while the close stands above its average, none below.

    Hypothesis
    ----------
    Why should this earn money, and who loses it?

    Source
    ------
    Where the idea comes from: a paper, a book, an observation.

    Limits
    ------
    When it fails, and what the backtest cannot see.
    """

    length: int = Param(48, ge=2, description="Bars of the average.")
    exposure: float = Param(1.0, gt=0, description="Size of the position as a fraction of equity.")

    def indicators(self) -> dict[str, Indicator | pl.Expr]:
        """Return what is computed of each symbol's own history."""
        return {{"average": sma("close", self.length)}}

    def target(self) -> pl.Expr:
        """Return the wanted exposure as a signed fraction of equity; null keeps what is there."""
        return pl.when(pl.col("close") > pl.col("average")).then(self.exposure).otherwise(0.0)
'''

_LOOP_MODULE = '''\
"""What {name} does, in one line."""

import polars as pl

from backtester.strategy import Indicator, Param, Strategy, loop, sma


class {class_name}(Strategy):
    """Bid below the average, and take the profit above the entry.

    Hypothesis
    ----------
    Why should this earn money, and who loses it?

    Source
    ------
    Where the idea comes from: a paper, a book, an observation.

    Limits
    ------
    When it fails, and what the backtest cannot see.
    """

    length: int = Param(48, ge=2, description="Bars of the average.")
    below: float = Param(0.01, gt=0, lt=1, description="Distance of the bid from the average, as a fraction of it.")
    profit: float = Param(0.01, gt=0, description="Distance of the offer from the entry, as a fraction of it.")
    stake: float = Param(0.2, gt=0, description="Size of an order as a fraction of equity.")

    def indicators(self) -> dict[str, Indicator | pl.Expr]:
        """Return what is computed of each symbol's own history; on_bar asks for it by its place here."""
        return {{"average": sma("close", self.length)}}

    @staticmethod
    def on_bar(ctx: loop.LoopContext, params: loop.Params) -> None:
        """Ask for one order a symbol: a bid while flat, an offer while long."""
        for i in range(loop.symbol_count(ctx)):
            average = loop.indicator(ctx, 0, i)
            held = loop.quantity(ctx, i)
            loop.cancel_all(ctx, i)
            if held > 0:
                loop.submit_limit(ctx, i, -held, loop.entry_price(ctx, i) * (1 + params.profit))
            elif average > 0:  # false where there is no average yet
                price = average * (1 - params.below)
                loop.submit_limit(ctx, i, params.stake * loop.equity(ctx) / price, price)
'''

_HEAD = '''\
"""Tests of {name}: ``pytest {folder}``."""

import math
from pathlib import Path

import polars as pl
import pytest

{imports}
from backtester.strategy.registry import load_file

START_MS = 1_735_689_600_000  # 2025-01-01 00:00 UTC
HOUR_MS = 3_600_000
({class_name},) = load_file(Path(__file__).with_name("{name}.py"))


@pytest.fixture
def bars() -> pl.DataFrame:
    """Return a month of hourly bars of one symbol that swings around 100."""
    close = [100 + 10 * math.sin(i / 40) + 2 * math.sin(i / 5) for i in range(720)]
    return pl.DataFrame(
        {{
            "open_time": pl.Series([START_MS + i * HOUR_MS for i in range(720)]).cast(pl.Datetime("ms", "UTC")),
            "symbol": ["BTC/USDT:USDT"] * 720,
            "open": [close[0], *close[:-1]],
            "high": [value + 1 for value in close],
            "low": [value - 1 for value in close],
            "close": close,
            "volume": [1.0] * 720,
        }}
    )
'''

_TEST = """

def test_targets_are_what_the_rule_says(bars: pl.DataFrame) -> None:
    strategy = {class_name}(length=10, exposure=0.5)
    targets = evaluate(strategy, bars)["target"]
    above = bars["close"] > bars["close"].rolling_mean(10)
    assert targets[:9].null_count() == 9, "nothing is decided before the average is there"
    assert targets[9:].to_list() == [0.5 if is_above else 0.0 for is_above in above[9:]]


def test_it_reads_the_past_alone(bars: pl.DataFrame) -> None:
    report = check({class_name}(), bars)
    assert report.is_causal, [finding.text for finding in report.findings]
"""

_LOOP_TEST = """

def test_it_bids_below_the_average_while_flat(bars: pl.DataFrame) -> None:
    strategy = {class_name}(length=10, below=0.02, stake=0.5)
    bids = requests_of(strategy, bars, equity=1_000.0).filter(pl.col("ask") == "submit")
    averages = bars["close"].rolling_mean(10)[9:]
    assert bids.height == 711, "nothing is asked for before the average is there"
    assert bids["limit"].to_list() == pytest.approx((averages * 0.98).to_list())
    assert (bids["limit"] * bids["quantity"]).to_list() == pytest.approx([500.0] * 711)


def test_it_offers_what_it_holds_above_the_entry(bars: pl.DataFrame) -> None:
    symbol = "BTC/USDT:USDT"
    asked = requests_of({class_name}(profit=0.05), bars, held={{symbol: 3.0}}, entry_price={{symbol: 100.0}})
    offers = asked.filter(pl.col("ask") == "submit")
    assert offers["quantity"].unique().to_list() == [-3.0]
    assert offers["limit"].to_list() == pytest.approx([105.0] * 720)


def test_it_reads_the_past_alone(bars: pl.DataFrame) -> None:
    report = check({class_name}(), bars, cuts=20)
    assert report.is_causal, [finding.text for finding in report.findings]
"""

_CHECK = "from backtester.strategy.causality import check"
_IMPORTS = f"from backtester.strategy import evaluate\n{_CHECK}"
_LOOP_IMPORTS = f"{_CHECK}\nfrom backtester.strategy.dry_run import requests_of"


def write_strategy(name: str, folder: Path, *, is_loop: bool = False) -> tuple[Path, Path]:
    """Write a new strategy and its test.

    Parameters
    ----------
    name : str
        What the command line will call it: lower case, ``my_strategy``.
    folder : Path
        Where plugins live; made when it is not there.
    is_loop : bool
        Whether it decides by ``on_bar`` in place of ``target``.

    Returns
    -------
    tuple of Path
        The module and the test beside it.

    Raises
    ------
    UsageError
        When the name cannot be one, or a file of that name is there already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} cannot be the name of a strategy.", "Use lower-case words joined by underscores: my_strategy."
        )
    if name.startswith("test_"):
        raise UsageError(f"{name!r} would be taken for a test.", "Choose a name that does not begin with test_.")
    class_name = "".join(word.capitalize() for word in name.split("_"))
    module, test = folder / f"{name}.py", folder / f"test_{name}.py"
    for path in (module, test):
        if path.exists():
            raise UsageError(f"{path} exists already.", "Choose another name, or remove it first.")
    names = {"name": name, "class_name": class_name, "folder": folder}
    body = _LOOP_MODULE if is_loop else _MODULE
    tests = _HEAD + (_LOOP_TEST if is_loop else _TEST)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        module.write_text(body.format(**names), encoding="utf-8")
        imports = _LOOP_IMPORTS if is_loop else _IMPORTS
        test.write_text(tests.format(**names, imports=imports), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}.", "Name another with --strategies.") from None
    return module, test

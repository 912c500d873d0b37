"""A run of one's own as the guest of a cleared market, by numbers worked by hand."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import backtester
from backtester import MarginTier, Strategy
from backtester.errors import BacktesterError, ConfigError, UsageError

SYMBOL = "BTC/USDT:USDT"
HOUR, START = 3_600_000, 1_735_689_600_000  # 2025-01-01
TIERS = (MarginTier(maintenance_margin_rate=0.01, max_leverage=50),)
RULES = {"fund_start": 0.0, "volume_share": 0.0, "ranking": "roi", "deleverage_price": "bankruptcy", "close_fee": 0.0}
# The long at 10x is bankrupt at 90, the one at 2.5x at 60; the short has 1x, so that the run (5x) comes before it.
ACCOUNTS = f"""account,symbol,quantity,entry_price,wallet,mode,leverage
a,{SYMBOL},20,100,200,isolated,10
b,{SYMBOL},20,100,800,isolated,2.5
c,{SYMBOL},-40,100,100000,cross,1
"""


class Short(Strategy):
    """Be short by the whole equity."""

    def target(self) -> pl.Expr:
        """Return the target."""
        return pl.lit(-1.0)


def bars(*closes: float) -> pl.DataFrame:
    """Return hours that open where they close, whatever came before."""
    price = list(closes)
    return pl.DataFrame(
        {
            "open_time": pl.Series([START + k * HOUR for k in range(len(price))]).cast(pl.Datetime("ms", "UTC")),
            "symbol": [SYMBOL] * len(price),
            **dict.fromkeys(("open", "high", "low", "close"), price),
            "volume": [1_000.0] * len(price),
        }
    )


CRASH = bars(*[100.0] * 6, *[80.0] * 4, *[50.0] * 3)


@pytest.fixture
def accounts(tmp_path: Path) -> str:
    path = tmp_path / "accounts.csv"
    path.write_text(ACCOUNTS)
    return str(path)


def run(accounts: str, **sections: dict[str, object]) -> backtester.Result:
    clearing = {"file": accounts, "rules": RULES, **sections.pop("clearing", {})}
    settings = {"fees": {"taker": 0.0}, **sections, "clearing": clearing}
    return backtester.run(Short(), data=CRASH, tiers=TIERS, balance=1_000.0, leverage=5.0, settings=settings, out=None)


def struck(result: backtester.Result) -> list[tuple[object, ...]]:
    rows = result.fills.filter(pl.col("reason") == "auto_deleverage")
    return rows.select("bar", "quantity", "price", "realized_pnl", "slippage_paid").rows()


def test_the_winner_is_deleveraged_at_the_price_of_the_bankrupt(accounts: str) -> None:
    """10 short from 100. At 80 the first long is gone at 90: 10 * 20 realised at the mark, 10 * 10 lost."""
    result = run(accounts)
    assert struck(result) == [(6, 10.0, pytest.approx(90.0), 200.0, pytest.approx(100.0))]
    assert result.equity["equity"][-1] == pytest.approx(1_100.0)
    assert result.unstruck["equity"][-1] == pytest.approx(1_500.0), "without it 10 * 50 were won"
    assert result.manifest["clearing"]["rounds"] == 2  # type: ignore[index]
    assert result.summary["auto_deleverage"] == pytest.approx(-100.0)
    codes = {notice.code for notice in result.notices}
    assert {"market_cleared", "auto_deleveraged"} <= codes
    lights = result.clearing.drop_nulls("light")["light"].to_list()
    assert lights == [5] * 5 + [1], "the last of equals while nobody wins; at the crash the first"


def test_what_the_first_took_decides_what_the_second_finds(accounts: str) -> None:
    """Opened again at 80 (1,100 / 80 = 13.75), deleveraged at 60 with the mark at 50, and opened again there."""
    result = run(accounts, execution={"rebalance": "every_bar"})
    assert struck(result) == [
        (6, 10.0, pytest.approx(90.0), 200.0, pytest.approx(100.0)),
        (10, 13.75, pytest.approx(60.0), 412.5, pytest.approx(137.5)),
    ]
    assert result.equity["equity"][-1] == pytest.approx(1_375.0)
    assert result.manifest["clearing"]["rounds"] == 3  # type: ignore[index]


def test_a_run_is_the_fixed_point_of_its_own_clearing(accounts: str) -> None:
    """Its events, given as rows, give the run again: each round settled what came before it."""
    result = run(accounts, execution={"rebalance": "every_bar"})
    fills = result.fills.filter(pl.col("reason") == "auto_deleverage")
    rows = fills.select("time", "symbol", "quantity", "price").to_dicts()
    again = backtester.run(
        Short(),
        data=CRASH,
        tiers=TIERS,
        balance=1_000.0,
        leverage=5.0,
        settings={"fees": {"taker": 0.0}, "execution": {"rebalance": "every_bar"}},
        deleverage=rows,
        out=None,
    )
    assert again.fills.equals(result.fills)
    assert again.equity.equals(result.equity)
    assert again.unstruck.equals(result.unstruck)


def test_the_light_is_known_wherever_a_long_run_shows_it(accounts: str) -> None:
    """1,250 bars are looked at every third bar, by the clearing as by the frame that shows it, and at the last."""
    data = bars(*[100.0] * 1_240, *[80.0] * 10)
    settings = {"fees": {"taker": 0.0}, "clearing": {"file": accounts, "rules": RULES}}
    result = backtester.run(Short(), data=data, tiers=TIERS, balance=1_000.0, leverage=5.0, settings=settings, out=None)
    shown = result.clearing.with_columns(hour=(pl.col("open_time").dt.epoch("ms") - START) // HOUR)
    assert shown["hour"].to_list() == sorted({*range(0, 1_250, 3), 1_240, 1_249})
    assert shown.filter(pl.col("light").is_null() & (pl.col("hour") < 1_240))["hour"].to_list() == [0]  # not yet held


def test_shared_losses_are_clawed_back(accounts: str) -> None:
    """No deleveraging: the two losses of 200 at each crash are shared when the day ends.

    At the last close the engine holds 20 from 90 and 20 from 60 at a mark of 50: 1,000 short. The winners are the run
    (500) and the short (2,000): 40 % of each profit.
    """
    day = bars(*[100.0] * 6, *[80.0] * 4, *[50.0] * 14)
    rules = {**RULES, "waterfall": ["market", "fund", "share"]}
    settings = {"fees": {"taker": 0.0}, "clearing": {"file": accounts, "rules": rules}}
    result = backtester.run(Short(), data=day, tiers=TIERS, balance=1_000.0, leverage=5.0, settings=settings, out=None)
    paid = result.ledger.filter(pl.col("kind") == "socialized_loss")
    assert paid["bar"].to_list() == [23]
    assert paid["amount"].to_list() == [pytest.approx(-200.0)]
    assert result.equity["equity"][-1] == pytest.approx(1_300.0)


@pytest.mark.parametrize(
    ("sections", "error", "said"),
    [
        ({"clearing": {"open_interest": 1e6}}, ConfigError, "an open_interest or a file of accounts, and not both"),
        ({"clearing": {"file": "nowhere.csv"}}, UsageError, "There is no file nowhere.csv"),
        ({"clearing": {"rules": {"fund": "mine"}}}, ConfigError, "clearing.fund"),
        (
            {"clearing": {"leverage_mix": {"x": 1.0}, "open_interest": 1e6, "file": None}},
            ConfigError,
            "'x' is no leverage",
        ),
        ({"execution": {"fill": "close"}}, ConfigError, "does not go with execution.fill = 'close'"),
        (
            {"venue_events": {"clawback": [{"time": "2025-01-01T02:00", "rate": 0.1}]}},
            UsageError,
            "A cleared market and events of the venue are both given",
        ),
        ({"clearing": {"most_rounds": 2}, "execution": {"rebalance": "every_bar"}}, UsageError, "After 2 rounds"),
    ],
)
def test_what_cannot_be_cleared_is_refused(
    accounts: str, sections: dict[str, dict[str, object]], error: type[BacktesterError], said: str
) -> None:
    with pytest.raises(error, match=said):
        run(accounts, **sections)


def test_hedge_legs_are_deleveraged_by_their_net(accounts: str, tmp_path: Path) -> None:
    """A long leg of 4 and a short one of 10: the market sees 6 short, and takes them from the short leg."""
    signals = tmp_path / "signals.parquet"
    CRASH.select(
        "open_time", "symbol", pl.lit(4.0).alias("target_long"), pl.lit(-10.0).alias("target_short")
    ).write_parquet(signals)
    settings = {
        "fees": {"taker": 0.0},
        "sizing": {"unit": "quantity"},
        "account": {"position_mode": "hedge"},
        "strategy": {"signals": str(signals)},
        "clearing": {"file": accounts, "rules": RULES},
    }
    config = backtester.RunConfig.model_validate({"strategy": {"signals": str(signals)}})
    result = backtester.run(config, data=CRASH, tiers=TIERS, balance=1_000.0, leverage=5.0, settings=settings, out=None)
    rows = result.fills.filter(pl.col("reason") == "auto_deleverage")
    assert rows.select("bar", "position_side", "quantity").rows() == [(6, "short", 6.0)]

"""``on_bar``: what it reads and asks for, compiled and plain, and how its faults are told."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numba
import numpy as np
import polars as pl
import pytest

from backtester.errors import StrategyError
from backtester.kernel.loop import SIGNATURE, NoFunction
from backtester.strategy import Param, Strategy, causality, dry_run, evaluate, lag, loop, sma
from backtester.strategy.causality import check
from backtester.strategy.compiled import _compiled
from backtester.strategy.drawn_account import drawn_script, first_bars
from backtester.strategy.dry_run import RING, loop_bars_of, requests_of

HERE = Path(__file__).name
SYMBOLS = ("A/USDT:USDT", "B/USDT:USDT")


@loop.compiled
def below(price, share):
    return price * (1 - share)


class Dip(Strategy):
    """Bids below the close while flat and below the mean; a stop at cost once held."""

    step: float = Param(0.25, gt=0)
    lots: int = Param(2, ge=1)
    eager: bool = Param(True)

    def indicators(self):
        return {"before": lag("close"), "mean": sma("close", 3)}

    @staticmethod
    def on_bar(ctx, params):
        for i in range(loop.symbol_count(ctx)):
            price = loop.close_price(ctx, i)
            if loop.quantity(ctx, i) != 0:
                loop.cancel(ctx, int(ctx.state[i, 0]))
                loop.set_exit(ctx, i, loop.SettingField.STOP_PRICE, loop.entry_price(ctx, i))
            elif price < loop.indicator(ctx, 1, i):
                if loop.remaining(ctx, int(ctx.state[i, 0])) == 0 or params.eager == 0:
                    ctx.state[i, 0] = loop.submit_limit(ctx, i, params.lots, below(price, params.step))
                else:
                    loop.amend(ctx, int(ctx.state[i, 0]), limit=below(price, params.step))

    def state(self, symbols):
        return np.full((symbols, 1), -1)


def closes(make_bars, *values, symbol="A/USDT:USDT") -> pl.DataFrame:
    return make_bars(len(values), (symbol,)).with_columns(close=pl.Series(values, dtype=pl.Float64))


def test_what_it_asks_for_by_hand(make_bars) -> None:
    # means of three: -, -, 8, 8, 6, 6; below them at the third, fifth and sixth bar
    bars = closes(make_bars, 10.0, 8.0, 6.0, 10.0, 2.0, 4.0)
    asked = requests_of(Dip(), bars)
    hours = asked["open_time"].dt.hour().to_list()
    shown = list(zip(hours, asked["ask"], asked["quantity"], asked["limit"], asked["request"], strict=True))
    assert shown == [
        (2, "submit", 2.0, 4.5, None),
        (4, "amend", None, 1.5, 0),
        (5, "amend", None, 3.0, 0),
    ]
    assert asked["kind"].to_list() == ["limit", None, None]
    assert asked["symbol"].to_list() == ["A/USDT:USDT", None, None], "an amendment names the order alone"


def test_the_account_that_is_given_is_what_it_reads(make_bars) -> None:
    bars = closes(make_bars, 10.0, 8.0, 6.0, 5.0)
    held = {"A/USDT:USDT": [0.0, 0.0, 0.0, -2.0]}
    asked = requests_of(Dip(), bars, held=held, entry_price={"A/USDT:USDT": 4.5})
    assert asked["ask"].to_list() == ["submit", "cancel", "set"]
    assert asked["request"].to_list() == [None, 0, None]
    assert (asked["setting"][2], asked["value"][2]) == ("stop_price", 4.5)


def test_symbols_keep_apart(make_bars) -> None:
    bars = pl.concat([closes(make_bars, 10.0, 8.0, 6.0), closes(make_bars, 1.0, 2.0, 3.0, symbol="B/USDT:USDT")])
    assert requests_of(Dip(), bars)["symbol"].to_list() == ["A/USDT:USDT"]


@pytest.mark.parametrize("params", [{}, {"eager": False}, {"step": 0.001, "lots": 7}])
def test_plain_and_compiled_ask_for_the_same(params, make_bars) -> None:
    bars = make_bars(200, SYMBOLS)
    held = {SYMBOLS[0]: [float(i // 20 % 3 - 1) for i in range(200)]}
    given = {"held": held, "entry_price": {SYMBOLS[0]: 101.0}}
    compiled = requests_of(Dip(**params), bars, **given)
    assert compiled.height > 50
    assert compiled.equals(requests_of(Dip(**params), bars, **given, is_compiled=False))


def test_parameters_come_by_name_as_numbers() -> None:
    assert loop.loop_params(Dip(lots=3, eager=False)).tolist() == [0.25, 3.0, 0.0]


class Everything(Strategy):
    """Asks in every way."""

    @staticmethod
    def on_bar(ctx, params):
        if loop.bar_number(ctx) == 1:
            loop.submit_market(ctx, 0, -1.0)
            loop.submit_stop(ctx, 0, 1.0, 110.0)
            loop.submit_stop_limit(ctx, 0, 1.0, 110.0, 111.0)
            loop.submit_take_profit(ctx, 0, 1.0, 90.0)
            loop.submit_trailing(ctx, 0, 1.0, 0.05)
            loop.submit_order(
                ctx, 0, loop.OrderKind.LIMIT, 1.0, 95.0, flags=loop.POST_ONLY | loop.REDUCE_ONLY, good_for=4, group=7
            )
            loop.cancel_all(ctx)
            loop.cancel_all(ctx, 0)
            loop.close_position(ctx, 0)


def test_every_way_to_ask(make_bars) -> None:
    asked = requests_of(Everything(), make_bars(3))
    assert asked["number"].to_list() == list(range(9))
    assert asked["kind"].drop_nulls().to_list() == [
        "market",
        "stop",
        "stop_limit",
        "take_profit",
        "trailing_stop",
        "limit",
    ]
    assert asked["ask"].to_list()[6:] == ["cancel_all", "cancel_all", "close"]
    assert asked["symbol"].to_list()[6:] == [None, "BTC/USDT:USDT", "BTC/USDT:USDT"]
    assert asked.row(2, named=True)["trigger"] == 110.0
    assert asked.row(2, named=True)["limit"] == 111.0
    assert asked.row(4, named=True)["fraction"] == 0.05
    last = asked.row(5, named=True)
    assert [last[name] for name in ("reduce_only", "post_only", "good_for", "group", "limit")] == [1, 1, 4, 7, 95.0]


def test_settings_of_expressions_stand_beside_a_loop(make_bars) -> None:
    class Guarded(Everything):
        def stop_loss(self):
            return 0.1

    assert evaluate(Guarded(), make_bars(3)).columns == ["open_time", "symbol", "stop_loss"]
    assert evaluate(Everything(), make_bars(3)).columns == ["open_time", "symbol"]


def test_the_replay_takes_it_as_it_takes_no_function() -> None:
    function = loop.compiled_on_bar(Dip())
    assert numba.typeof(function) == numba.typeof(NoFunction())
    assert numba.typeof(function).signature == SIGNATURE
    assert loop.compiled_on_bar(Dip(lots=5)) is function, "one for all parameters"


def test_compiling_is_quick() -> None:
    loop.compiled_on_bar(Everything())  # whatever it calls is compiled and stored
    _compiled.cache_clear()
    began = time.process_time()
    loop.compiled_on_bar(Everything())
    assert time.process_time() - began < 3


def failing(body, **fields) -> type[Strategy]:
    """Strategy with a body for ``on_bar``."""
    return type("Made", (Strategy,), {"on_bar": staticmethod(body), **fields})


def helper(price):
    return price


def uses_a_plain_function(ctx, params):
    loop.submit_market(ctx, 0, helper(1.0))


def uses_no_such_function(ctx, params):
    loop.submit_market(ctx, 0, loop.close_prize(ctx, 0))


def uses_no_such_name(ctx, params):
    loop.submit_market(ctx, 0, size)  # noqa: F821


def changes_the_type(ctx, params):
    size = 1.0 if loop.bar_number(ctx) else "one"
    loop.submit_market(ctx, 0, size)


def forgets_an_argument(ctx, params):
    loop.submit_market(ctx, 0)


def imports_inside(ctx, params):
    import math

    loop.submit_market(ctx, 0, math.pi)


@pytest.mark.parametrize(
    ("body", "problem", "hint"),
    [
        (uses_a_plain_function, "Untyped global name 'helper'", "@loop.compiled above def helper"),
        (uses_no_such_function, "no attribute 'close_prize'", "close_prize(ctx, 0)"),
        (uses_no_such_name, "name 'size' is not defined", "loop.submit_market(ctx, 0, size)"),
        (changes_the_type, "cannot be compiled", 'size = 1.0 if loop.bar_number(ctx) else "one"'),
        (forgets_an_argument, "missing a required argument: 'quantity'", "loop.submit_market(ctx, 0)"),
        (imports_inside, "unsupported opcode", "import math"),
    ],
)
def test_what_cannot_be_compiled_is_told_with_its_line(body, problem, hint) -> None:
    with pytest.raises(StrategyError, match=re.escape(problem)) as caught:
        loop.compiled_on_bar(failing(body)())
    assert caught.value.message.startswith("on_bar() of strategy 'made' cannot be compiled: ")
    assert len(caught.value.message) < 400
    assert hint in caught.value.hint
    assert HERE in caught.value.hint


def test_an_unknown_parameter_names_the_nearest() -> None:
    class Wrong(Strategy):
        step: float = Param(1.0)

        @staticmethod
        def on_bar(ctx, params):
            loop.submit_market(ctx, 0, params.stepp)

    with pytest.raises(StrategyError, match="Unknown attribute 'stepp'") as caught:
        loop.compiled_on_bar(Wrong())
    assert "Did you mean 'step'?" in caught.value.hint
    assert "params.stepp" in caught.value.hint


def beyond_its_state(ctx, params):
    if loop.bar_number(ctx) == 2:
        ctx.state[0, 8] = 1.0


def raises_by_itself(ctx, params):
    if loop.bar_number(ctx) == 2:
        raise ValueError("too bad")


def divides_by_zero(ctx, params):
    if loop.bar_number(ctx) == 2:
        ctx.state[0, 1] = 1.0 / ctx.state[0, 0]


def divides_nothing_by_zero(ctx, params):
    if loop.bar_number(ctx) == 2:
        ctx.state[0, 1] = loop.close_price(ctx, 0, 9) / ctx.state[0, 0]


def asks_for_no_indicator(ctx, params):
    if loop.bar_number(ctx) == 2:
        ctx.state[0, 1] = loop.indicator(ctx, 1, 0)


def asks_for_an_earlier_indicator(ctx, params):
    ctx.state[0, 1] = loop.indicator(ctx, -1, 0)


def asks_for_no_contract(ctx, params):
    ctx.state[0, 1] = loop.close_price(ctx, 1)


def asks_what_no_contract_holds(ctx, params):
    ctx.state[0, 1] = loop.quantity(ctx, 3)


def asks_for_the_next_bar(ctx, params):
    ctx.state[0, 1] = loop.close_price(ctx, 0, -1)


@pytest.mark.parametrize(
    ("body", "told", "line"),
    [
        (beyond_its_state, "raised IndexError in on_bar() at the close at", "ctx.state[0, 8] = 1.0"),
        (
            raises_by_itself,
            "raised ValueError in on_bar() at the close at 2025-01-01 03:00 UTC: too bad",
            'raise ValueError("too bad")',
        ),
        (divides_by_zero, "raised ZeroDivisionError in on_bar()", "1.0 / ctx.state[0, 0]"),
        (divides_nothing_by_zero, "raised ZeroDivisionError in on_bar()", "loop.close_price(ctx, 0, 9) / ctx.state"),
        (asks_for_no_indicator, "IndexError in on_bar() at the close at 2025-01-01 03:00 UTC", "loop.indicator(ctx, 1"),
        (asks_for_an_earlier_indicator, "raised IndexError in on_bar()", "loop.indicator(ctx, -1"),
        (asks_for_no_contract, "there is no contract of this number", "loop.close_price(ctx, 1)"),
        (asks_what_no_contract_holds, "there is no contract of this number", "loop.quantity(ctx, 3)"),
        (asks_for_the_next_bar, "later ones are not known", "loop.close_price(ctx, 0, -1)"),
    ],
)
def test_what_it_raises_is_told_with_its_line(body, told, line, make_bars) -> None:
    for is_compiled in (True, False):
        with pytest.raises(StrategyError) as caught:
            requests_of(failing(body)(), make_bars(5), is_compiled=is_compiled)
        assert told in caught.value.message
        assert line in caught.value.hint


def test_a_function_that_raised_is_not_called_again(make_bars) -> None:
    def body(ctx, params):
        ctx.state[0, 0] += 1.0
        if loop.bar_number(ctx) == 3:
            ctx.state[0, 9] = 1.0

    strategy = failing(body)()
    bars = loop_bars_of(strategy, make_bars(9))
    ctx = dry_run._context(strategy, bars)
    assert loop.failed_bar(ctx) is None
    script = first_bars(drawn_script(bars, 1), 9)
    dry_run._drive(loop.compiled_on_bar(strategy), ctx, bars.open_time, script, np.zeros(1, ctx.requests.dtype))
    assert loop.failed_bar(ctx) == 3
    assert ctx.state[0, 0] == 4.0


class Odd(Strategy):
    """Asks at the fifth bar for something odd."""

    case: int = Param(0)

    @staticmethod
    def on_bar(ctx, params):
        if loop.bar_number(ctx) != 4:
            return
        nothing = loop.close_price(ctx, 0, 99)
        loop.submit_market(ctx, 0, 1.0)
        if params.case == 0:
            loop.submit_market(ctx, 2, 1.0)
        elif params.case == 1:
            loop.submit_market(ctx, -1, 1.0)
        elif params.case == 2:
            loop.submit_market(ctx, 1, 1.0 / nothing)
        elif params.case == 3:
            loop.submit_limit(ctx, 1, 1.0, nothing)
        elif params.case == 4:
            loop.submit_stop(ctx, 1, 1.0, 0.0)
        elif params.case == 5:
            loop.submit_trailing(ctx, 1, 1.0, 0.0)
        elif params.case == 6:
            loop.set_exit(ctx, 1, loop.SettingField.STOP_LOSS, nothing)
        elif params.case == 7:
            loop.close_position(ctx, 5)
        else:
            loop.submit_limit(ctx, 1, 1.0, 5.0)


class Unfit(Odd):
    """Asks for other odd things, and for something sound before."""

    @staticmethod
    def on_bar(ctx, params):
        if loop.bar_number(ctx) != 4:
            return
        loop.submit_market(ctx, 0, 1.0)
        if params.case == 10:
            loop.amend(ctx, 0, limit=0.0)
        elif params.case == 11:
            loop.submit_trailing(ctx, 0, -1.0, 5.0)
        elif params.case == 12:
            loop.submit_order(ctx, 0, 7, 1.0)
        elif params.case == 13:
            loop.set_exit(ctx, 0, loop.SettingField.STOP_LOSS, 0.05, 1)
        elif params.case == 14:
            loop.set_exit(ctx, 0, loop.SettingField.TAKE_PROFIT, 0.05, 4)
        elif params.case == 15:
            loop.set_exit(ctx, 0, 10, 0.05)


@pytest.mark.parametrize(
    ("case", "text", "line"),
    [
        (0, "asks for contract number 2 of 2, counted from 0,", "loop.submit_market(ctx, 2, 1.0)"),
        (1, "asks for contract number -1 of 2, counted from 0,", "loop.submit_market(ctx, -1, 1.0)"),
        (2, "asks for a market order of nan units", "loop.submit_market(ctx, 1, 1.0 / nothing)"),
        (3, "asks for a limit order at nan", "loop.submit_limit(ctx, 1, 1.0, nothing)"),
        (4, "asks for a stop order with its trigger at 0.0", "loop.submit_stop(ctx, 1, 1.0, 0.0)"),
        (5, "asks for a trailing stop at a distance of 0.0", "loop.submit_trailing(ctx, 1, 1.0, 0.0)"),
        (6, "sets STOP_LOSS to nan", "loop.set_exit(ctx, 1, loop.SettingField.STOP_LOSS, nothing)"),
        (7, "asks for contract number 5 of 2, counted from 0,", "loop.close_position(ctx, 5)"),
        (10, "changes the limit of an order to 0.0", "loop.amend(ctx, 0, limit=0.0)"),
        (11, "asks for a trailing stop at a distance of 5.0", "loop.submit_trailing(ctx, 0, -1.0, 5.0)"),
        (12, "asks for an order of kind 7, which there is not,", "loop.submit_order(ctx, 0, 7, 1.0)"),
        (13, "sets rung 1 of STOP_LOSS, which there is not,", "loop.SettingField.STOP_LOSS, 0.05, 1)"),
        (14, "sets rung 4 of TAKE_PROFIT, which there is not,", "loop.SettingField.TAKE_PROFIT, 0.05, 4)"),
        (15, "sets the setting number 10, which there is not,", "loop.set_exit(ctx, 0, 10, 0.05)"),
    ],
)
def test_what_no_order_can_be_is_refused(case, text, line, make_bars) -> None:
    for is_compiled in (True, False):
        with pytest.raises(StrategyError, match=re.escape(f"{text} at the close at 2025-01-01 05:00 UTC")) as caught:
            requests_of((Odd, Unfit)[case // 10](case=case), make_bars(6, SYMBOLS), is_compiled=is_compiled)
        assert f"{HERE}:" in caught.value.hint
        assert line in caught.value.hint
        assert ("loop.symbol_count(ctx)" in caught.value.hint) == ("contract number" in text)


class Setter(Strategy):
    """Sets one field at every bar."""

    field: int = Param(0)
    value: float = Param(0.0)

    @staticmethod
    def on_bar(ctx, params):
        loop.set_exit(ctx, 0, int(params.field), params.value)


F = loop.SettingField


@pytest.mark.parametrize(
    ("field", "wrong", "right"),
    [
        (F.STOP_LOSS, (5.0, 1.0, -0.05), (0.0, 0.05, 0.999)),
        (F.TRAILING_STOP, (1.0, -0.05), (0.0, 0.5)),
        (F.TAKE_PROFIT, (-1.0,), (0.0, 0.5, 3.0)),
        (F.STOP_PRICE, (-1.0,), (0.0, 50_000.0)),
        (F.TAKE_PROFIT_PRICE, (-1.0,), (0.0, 50_000.0)),
        (F.TAKE_PROFIT_SHARE, (0.0, 1.1, -0.5), (0.5, 1.0)),
        (F.HOLD_BARS, (-1.0, 2.5), (0.0, 24.0)),
        (F.COOLDOWN_BARS, (-1.0, 0.5), (0.0, 24.0)),
        (F.ACTIVE, (2.0, -1.0), (0.0, 1.0)),
        (F.LEVERAGE, (0.0, -2.0), (0.5, 500.0)),
    ],
)
def test_a_setting_has_the_range_of_an_expression(field, wrong, right, make_bars) -> None:
    for value in wrong:
        told = re.escape(f"sets {field.name} to {value:g} at the close at 2025-01-01 01:00 UTC")
        for is_compiled in (True, False):
            with pytest.raises(StrategyError, match=told) as caught:
                requests_of(Setter(field=field, value=value), make_bars(3), is_compiled=is_compiled)
            assert "loop.set_exit(ctx, 0, int(params.field), params.value)" in caught.value.hint
            assert "It must be" in caught.value.hint
    for value in right:
        assert requests_of(Setter(field=field, value=value), make_bars(3))["value"].to_list() == [value] * 3


def test_a_leverage_beyond_the_tiers_is_refused(make_bars) -> None:
    strategy = Setter(field=F.LEVERAGE, value=500.0)
    ctx = dry_run._context(strategy, loop_bars_of(strategy, make_bars(3)))
    with pytest.raises(StrategyError, match="sets LEVERAGE to 500") as caught:
        loop.python_on_bar(strategy)(ctx._replace(most_leverage=np.array([125.0])))
    assert "The contract's margin tiers allow 125 at most." in caught.value.hint
    assert "loop.set_exit(ctx, 0" in caught.value.hint


def test_rung_and_leg_of_a_setting_are_shown(make_bars) -> None:
    def body(ctx, params):
        loop.set_exit(ctx, 0, loop.SettingField.TAKE_PROFIT, 0.05, 2, -1)

    asked = requests_of(failing(body)(), make_bars(1))
    assert asked.select("setting", "rung", "value", "side").rows() == [("take_profit", 2, 0.05, -1)]


def test_requests_of_a_bar_that_failed_are_taken_back(make_bars) -> None:
    for case, asked in ((2, 0), (9, 2)):
        strategy = Odd(case=case)
        bars = loop_bars_of(strategy, make_bars(6, SYMBOLS))
        ctx = dry_run._context(strategy, bars)
        script = first_bars(drawn_script(bars, 1), 6)
        drive, log = dry_run._drive, np.zeros(1, ctx.requests.dtype)
        assert drive(loop.compiled_on_bar(strategy), ctx, bars.open_time, script, log) == asked
        assert loop.failed_bar(ctx) == (None if asked else 4)


def test_more_requests_than_a_bar_may_make(make_bars) -> None:
    def body(ctx, params):
        for _ in range(2000):
            loop.submit_market(ctx, 0, 1.0)

    with pytest.raises(StrategyError, match=f"makes more than {RING} requests in a bar"):
        requests_of(failing(body)(), make_bars(3))


def test_many_requests_are_all_logged(make_bars) -> None:
    def body(ctx, params):
        for _ in range(1000):
            loop.submit_market(ctx, 0, 1.0 + loop.bar_number(ctx))

    asked = requests_of(failing(body)(), make_bars(7))
    assert asked.height == 7000
    assert asked["quantity"].to_list()[::1000] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (
            lambda self, symbols: np.zeros(symbols),
            "must return an array of numbers with two dimensions, got 1 of float64",
        ),
        (lambda self, symbols: [[0.0]], r"got \[\[0.0\]\]"),
        (lambda self, symbols: np.full((1, 1), "a"), "got 2 of <U1"),
        (lambda self, symbols: 1 / 0, r"raised ZeroDivisionError in state\(\)"),
    ],
)
def test_states_of_a_wrong_kind(state, problem) -> None:
    with pytest.raises(StrategyError, match=problem) as caught:
        loop.loop_state(failing(beyond_its_state, state=state)(), 2)
    assert HERE in caught.value.hint


def test_the_state_is_a_copy_and_zeros_by_default() -> None:
    assert loop.loop_state(Everything(), 3).shape == (3, 8)
    assert not loop.loop_state(Everything(), 3).any()
    kept = np.ones((2, 2))
    strategy = failing(beyond_its_state, state=lambda self, symbols: kept)()
    loop.loop_state(strategy, 2)[0, 0] = 5.0
    assert kept[0, 0] == 1.0


def test_texts_are_no_parameters_of_a_loop() -> None:
    class Wrong(Everything):
        side: str = Param("long")

    with pytest.raises(StrategyError, match="'side' of strategy 'wrong' is 'long'") as caught:
        loop.loop_params(Wrong())
    assert "Make it a number" in caught.value.hint


def test_wrong_arguments_are_refused_at_once() -> None:
    with pytest.raises(StrategyError, match=r"has an on_bar\(ctx\)") as caught:
        failing(lambda ctx: None)
    assert "on_bar(ctx, params)" in caught.value.hint


def test_series_stand_by_symbol_and_time(make_bars) -> None:
    bars = make_bars(6, SYMBOLS).filter((pl.col("symbol") == SYMBOLS[0]) | (pl.int_range(pl.len()) > 8))
    made = loop_bars_of(Dip(), bars, tuple(reversed(SYMBOLS)))
    assert made.series["close"].shape == (2, 6)
    assert made.indicators.shape == (2, 2, 6)
    assert np.isnan(made.series["close"][0, :3]).all()
    assert made.series["mark"][1].tolist() == bars["mark_close"][:6].to_list()
    assert made.indicators[0, 0, 4] == made.series["close"][0, 3]
    assert made.bar_ms == 3_600_000


def test_the_check_passes_what_reads_the_past(make_bars, monkeypatch) -> None:
    monkeypatch.setattr(causality, "source_of", lambda strategy: "")  # this file speaks of legs, the strategy does not
    report = check(Dip(), make_bars(400, SYMBOLS), cuts=40)
    assert report.findings == ()
    assert (report.bars, report.warmup_column) == (400, "mean")


def reads_the_next_bar(ctx, params):
    bar = ctx.clock[0] + 1
    if bar < ctx.bars.shape[2] and ctx.bars[3, 0, bar] > ctx.bars[3, 0, bar - 1]:
        loop.submit_market(ctx, 0, 1.0)


def knows_how_many_bars_there_are(ctx, params):
    if loop.bar_number(ctx) == ctx.bars.shape[2] - 1:
        loop.close_position(ctx)


@pytest.mark.parametrize("body", [reads_the_next_bar, knows_how_many_bars_there_are])
def test_the_check_catches_a_loop_that_reads_ahead(body, make_bars) -> None:
    report = check(failing(body)(), make_bars(200, SYMBOLS))
    assert not report.is_causal
    finding = report.findings[0]
    assert (finding.kind, finding.column) == ("lookahead", "requests")
    assert "1 bar ahead" in finding.text or "far ahead" in finding.text


def test_the_check_catches_dice(make_bars) -> None:
    def body(ctx, params):
        if np.random.random() < 0.5:  # noqa: NPY002
            loop.submit_market(ctx, 0, 1.0)

    (finding,) = check(failing(body)(), make_bars(60)).findings
    assert (finding.kind, finding.column) == ("random", "requests")


def test_drawn_accounts_open_turn_and_close(make_bars) -> None:
    bars = loop_bars_of(Dip(), make_bars(500, SYMBOLS))
    script = drawn_script(bars, 3)
    assert (script.quantity > 0).any()
    assert (script.quantity < 0).any()
    assert (script.quantity == 0).any()
    assert np.isfinite(script.entry_price[script.quantity != 0]).all()
    assert first_bars(script, 7).quantity.shape == (7, 2)
    again = drawn_script(bars, 3)
    assert (again.quantity == script.quantity).all()


class PeeksWhenRich(Strategy):
    """Looks at the next bar, but on an account that a simple draw would seldom show."""

    case: int = Param(0, ge=0, le=4)

    @staticmethod
    def on_bar(ctx, params):
        bar = loop.bar_number(ctx) + 1
        held = loop.quantity(ctx, 0) * loop.close_price(ctx, 0)
        both = loop.leg_quantity(ctx, 0, 1) > 0.0 and loop.leg_quantity(ctx, 0, -1) < 0.0
        is_shown = (
            (params.case == 0.0 and held > 5_000.0)
            or (params.case == 1.0 and both)
            or (params.case == 2.0 and loop.equity(ctx) < 7_000.0)
            or (params.case == 3.0 and loop.wallet_balance(ctx) > 15_000.0)
            or (params.case == 4.0 and held < -30_000.0)
        )
        if is_shown and bar < ctx.bars.shape[2] and ctx.bars[3, 0, bar] > loop.close_price(ctx, 0):
            loop.submit_market(ctx, 0, 1.0)


@pytest.mark.parametrize("case", range(5))
def test_the_check_shows_accounts_of_every_kind(case: int, make_bars) -> None:
    assert not check(PeeksWhenRich(case=case), make_bars(400, SYMBOLS)).is_causal

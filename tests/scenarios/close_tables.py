"""Fills at the close that decided (``execution.fill = "close"``)."""

from tests.scenarios.table import Scenario

CLOSE = {"fill": "close"}

SCENARIOS = (
    # Bought at bar 0's close of 100 with the stop at 95, which bar 1 reaches.
    Scenario(
        name="a stop is attached at the close that opens",
        bars="""
            open  high  low  close  target  stop_loss
            99    101   98   100    1       0.05
            100   101   94   96     .       .
        """,
        rules=CLOSE,
        fills="""
            bar  side  qty  price  pnl  why
            0    buy   10   100    0    target
            1    sell  10   95     -50  stop_loss
        """,
        orders="""
            bar  kind    origin     trigger  wanted  filled  status
            0    market  target     none     10      10      filled
            0    stop    stop_loss  95       -10     -10     filled
        """,
        wallet="1000  950",
    ),
    # The stop moves up to 98 at bar 1's close and fires at bar 2's open of 97.
    Scenario(
        name="a setting takes effect at its close",
        bars="""
            open  high  low  close  target  stop_price
            99    101   98   100    1       90
            100   101   99   100    .       98
            97    101   97   100    .       .
        """,
        rules=CLOSE,
        fills="""
            bar  side  qty  price  pnl  why
            0    buy   10   100    0    target
            2    sell  10   97     -30  stop_loss
        """,
    ),
    # Placed at bar 0's close; bar 1 comes down to it.
    Scenario(
        name="a limit order of the close rests from the next open on",
        bars="""
            open  high  low  close  target  limit
            99    101   90   100    1       98
            100   101   97   99     .       .
        """,
        rules=CLOSE,
        fills="""
            bar  side  qty  price  why     liq
            1    buy   10   98     target  maker
        """,
    ),
    # One bar from bar 1's open, where it begins to rest: bar 2's 97 comes too late.
    Scenario(
        name="the time of a limit order of the close runs from the next open",
        bars="""
            open  high  low  close  target  limit
            99    101   98   100    1       98
            100   101   99   100    .       .
            100   101   97   99     .       .
        """,
        rules={**CLOSE, "limit_bars": 1},
        orders="""
            bar  kind   limit  wanted  filled  status   reason
            0    limit  98     10      0       expired  none
        """,
    ),
    # Two bars from the open of bar 0, in which it was opened: closed at bar 2's open.
    Scenario(
        name="a time exit comes at an open",
        bars="""
            open  high  low  close  target  hold_bars
            99    101   98   100    1       2
            100   101   99   100    .       .
            102   103   99   100    .       .
        """,
        rules=CLOSE,
        fills="""
            bar  side  qty  price  pnl  why
            0    buy   10   100    0    target
            2    sell  10   102    20   time_exit
        """,
    ),
    # 20*(94-100) = -120 of 1000 at bar 1's close: closed at bar 2's open of 95.
    Scenario(
        name="a drawdown stop closes at the next open",
        bars="""
            open  high  low  close  target
            99    101   98   100    2
            100   101   93   94     .
            95    96    94   95     1
        """,
        rules={**CLOSE, "max_drawdown_stop": 0.1},
        fills="""
            bar  side  qty  price  pnl   why
            0    buy   20   100    0     target
            2    sell  20   95     -100  drawdown_stop
        """,
        wallet="1000  1000  900",
    ),
)

"""What ends with a position or with trading, what comes back after a liquidation, and what fills in parts."""

from tests.scenarios.table import Scenario, brackets

ISOLATED = {"margin_mode": "isolated"}
STEPS = (brackets((0, 0.01), (2000, 0.02), (4000, 0.05), form="flat"),)

SCENARIOS = (
    # The stop at 95 closes in bar 2 what the limit of 110 was to sell; bar 3's 112 finds nothing.
    Scenario(
        name="a stop cancels the limit order of an exit",
        bars="""
            open  high  low  close  target  limit  stop_loss
            100   100   100  100    1       .      0.05
            100   101   99   100    0       110    .
            100   101   94   96     .       .      .
            96    112   96   110    .       .      .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   95     -50  stop_loss
        """,
        orders="""
            bar  kind    origin     limit  trigger  wanted  filled  status     reason
            0    market  target     none   none     10      10      filled     none
            .    stop    stop_loss  none   95       -10     -10     filled     none
            1    limit   target     110    none     -10     0       cancelled  position_closed
        """,
        wallet="950",
    ),
    # 20 wanted, 10 held: 10 more at 90. The stop at 95 comes first, and bar 3's 85 buys nothing.
    Scenario(
        name="a stop cancels the limit order of an entry",
        bars="""
            open  high  low  close  target  limit  stop_loss
            100   100   100  100    1       .      0.05
            100   101   99   100    2       90     .
            100   101   94   96     .       .      .
            96    97    85   90     .       .      .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   95     -50  stop_loss
        """,
        orders="""
            bar  kind    origin     limit  wanted  filled  status     reason
            0    market  target     none   10      10      filled     none
            .    stop    stop_loss  none   -10     -10     filled     none
            1    limit   target     90     10      0       cancelled  position_closed
        """,
        wallet="950",
    ),
    # Two bars after bar 1's open the time is over, before 110 was reached.
    Scenario(
        name="a time exit cancels the limit order of an exit",
        bars="""
            open  high  low  close  target  limit  hold_bars
            100   100   100  100    1       .      2
            100   101   99   100    0       110    .
            100   101   99   100    .       .      .
            101   112   99   110    .       .      .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            3    sell  10   101    10   time_exit
        """,
        orders="""
            bar  kind    origin     limit  wanted  filled  status     reason
            0    market  target     none   10      10      filled     none
            1    limit   target     110    -10     0       cancelled  position_closed
            .    market  time_exit  none   -10     -10     filled     none
        """,
        wallet="1010",
    ),
    # The order of the on_bar function is nobody's target: it buys at 90 after the stop.
    Scenario(
        name="a stop leaves the orders of requests",
        bars="""
            open  high  low  close  target  stop_loss
            100   100   100  100    1       0.05
            100   101   99   100    .       .
            100   101   94   96     .       .
            96    97    89   92     .       .
        """,
        requests="""
            bar  do   qty  kind   limit
            1    buy  10   limit  90
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   95     -50  stop_loss
            3    buy   10   90     0    order
        """,
        wallet="950",
    ),
    # 1000 + 50*(M-100) = 2.5*M at M = 4000/47.5 = 84.21: 23 of 50 stay. The stop at 80 went with the step and comes
    # back for 23 at bar 3's open, where it fires: 23*(80-100) = -460.
    Scenario(
        name="what a step leaves has its stop again at the next open",
        bars="""
            open  high  low  close  target  stop_price
            100   100   100  100    5       80
            100   100   100  100    .       .
            100   100   84   90     .       .
            90    91    79   85     .       .
        """,
        terms={"tables": STEPS},
        rules={"step": "tier", "step_tiers": 2, "step_from_tier": 3},
        fills="""
            bar  side  qty  price      pnl                 why
            1    buy   50   100        0                   target
            2    sell  27   4000/47.5  27*(4000/47.5-100)  liquidation_step
            3    sell  23   80         -460                stop_loss
        """,
        liquidations="""
            bar  kind  qty
            2    step  27
        """,
        orders="""
            bar  kind    origin     trigger  wanted  filled  status     reason
            0    market  target     none     50      50      filled     none
            .    stop    stop_loss  80       -50     0       cancelled  liquidation
            .    stop    stop_loss  80       -23     -23     filled     none
        """,
        wallet="1000+27*(4000/47.5-100)-460",
    ),
    # Cross: 40 of the first and half a unit of the second. Both orders go at 1000 + 40*(M-100) = 0.4*M + 0.5, where
    # M = 3000.5/39.6 = 75.77. The 40 are sold there, which leaves 30.8 for the half unit: it goes on, and its stop is
    # back at bar 3's open and sells at 98.
    Scenario(
        name="what a liquidation spares has its stop again at the next open",
        bars=(
            """
            open  high  low  close  target
            100   100   100  100    4
            100   100   100  100    .
            100   100   70   72     .
            72    72    72   72     .
            """,
            """
            open  high  low  close  target  stop_price
            100   100   100  100    0.05    98
            100   100   100  100    .       .
            100   100   100  100    .       .
            100   100   97   99     .       .
            """,
        ),
        terms=({"lot": 1.0}, {"lot": 0.5}),
        rules={"takeover": "market", "intrabar": "color"},
        fills="""
            bar  sym  side  qty  price        pnl                   why
            1    0    buy   40   100          0                     target
            1    1    buy   0.5  100          0                     target
            2    0    sell  40   3000.5/39.6  40*(3000.5/39.6-100)  liquidation
            3    1    sell  0.5  98           -1                    stop_loss
        """,
        liquidations="""
            bar  sym  kind      qty
            2    0    takeover  40
        """,
        orders="""
            bar  sym  kind    origin     wanted  filled  status     reason
            0    0    market  target     40      40      filled     none
            0    1    market  target     0.5     0.5     filled     none
            .    1    stop    stop_loss  -0.5    0       cancelled  liquidation
            .    1    stop    stop_loss  -0.5    -0.5    filled     none
        """,
    ),
    # Liquidated at bar 2's open; the bar goes on: 500/80 = 6 are sold there. What bar 2 decides comes too late.
    Scenario(
        name="trading ends with the bar of the liquidation, not before",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    -1
            80    80    80   80     3
            80    80    80   80     .
        """,
        terms=ISOLATED,
        rules={"then": "stop"},
        fills="""
            bar  side  qty  price  why
            1    buy   50   100    target
            2    sell  50   80     liquidation
            2    sell  6    80     target
        """,
        liquidations="""
            bar  kind      trigger  lost
            2    takeover  80       500
        """,
        orders="""
            bar  target  filled  status     reason
            0    5       50      filled     none
            1    -1      -6      filled     none
            2    3       0       cancelled  stopped
        """,
        wallet="500",
    ),
    # A tenth of 20 lets 2 of the rung's 5 fill. 1020*2/100 = 20 wanted, 12 bought: half of the new base are 10 again.
    Scenario(
        name="an increase gives a rung that filled in part its whole share again",
        bars="""
            open  high  low  close  volume  target  take_profit  take_profit_share  take_profit_2
            100   100   100  100    1000    1       0.1          0.5                0.5
            100   101   99   100    1000    .       .            .                  .
            100   111   100  100    20      2       .            .                  .
            100   111   99   100    1000    .       .            .                  .
        """,
        rules={"take_profit": "limit", "volume_share": 0.1},
        fills="""
            bar  side  qty  price  pnl  why          liq
            1    buy   10   100    0    target       taker
            2    sell  2    110    20   take_profit  maker
            3    buy   12   100    0    target       taker
            3    sell  10   110    100  take_profit  maker
        """,
        orders="""
            bar  kind    origin       limit  wanted  filled  status   reason
            0    market  target       none   10      10      filled   none
            .    limit   take_profit  110    -12     -12     filled   none
            .    limit   take_profit  150    -10     0       pending  none
            2    market  target       none   12      12      filled   none
        """,
        wallet="1120",
    ),
    # Half a unit of volume is no lot, and still the open has passed 102.
    Scenario(
        name="a new post-only order is rejected whatever the volume",
        bars="""
            open  high  low  close  volume  target  limit
            100   100   100  100    1000    1       102
            100   101   99   100    5       .       .
        """,
        rules={"post_only": True, "volume_share": 0.1},
        orders="""
            bar  kind   limit  wanted  filled  status    reason
            0    limit  102    10      0       rejected  post_only
        """,
    ),
    # Bar 1 does not trade: the target waits one bar, once for both rungs.
    Scenario(
        name="a ladder that waited has waited once",
        bars="""
            open  high  low  close  volume  target  limit
            100   100   100  100    10      1       99:0.5/98:0.5
            100   101   99   100    0       .       .
            100   101   97   100    10      .       .
        """,
        fills="""
            bar  side  qty  price  liq
            2    buy   5    99     maker
            2    buy   5    98     maker
        """,
        orders="""
            bar  limit  wanted  filled  status  reason  waited
            0    99     5       5       filled  none    1
            0    98     5       5       filled  none    0
        """,
        counts={"bars_waited": 1},
    ),
    # The band's target of 1 stands when the request closes at bar 2's open: that is no stop, so the band buys back.
    # 1000/100 = 10 again at bar 3.
    Scenario(
        name="a close by request does not hold the band back",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            100   100   100  100    1
            100   100   100  100    1
            100   100   100  100    .
        """,
        requests="""
            bar  do     sym
            1    close  0
        """,
        rules={"rebalance": "band", "band": 0.1},
        fills="""
            bar  side  qty  price  why
            1    buy   10   100    target
            2    sell  10   100    close
            3    buy   10   100    target
        """,
    ),
    # Bought elsewhere at 101 in bar 1: the stop at 101*0.95 = 95.95 stands from there and fires on the way to 95.
    Scenario(
        name="an own fill brings its stop",
        bars="""
            open  high  low  close  stop_loss
            100   100   100  100    0.05
            100   102   95   100    .
        """,
        own_fills="""
            hour  qty  price
            1.5   10   101
        """,
        fills="""
            bar  side  qty  price  pnl    why
            1    buy   10   101    0      own
            1    sell  10   95.95  -50.5  stop_loss
        """,
        wallet="949.5",
    ),
    # Below 2000 both legs together may have 10x: 19 units, of which the long leg takes 15.
    Scenario(
        name="legs that share a bracket share its cap",
        bars="""
            open  high  low  close  target_long  target_short
            100   100   100  100    1.5          -1.5
            100   100   100  100    .            .
        """,
        terms={"tables": (brackets((0, 0.01, 10), (2000, 0.02, 5), form="flat"),)},
        rules={"position_mode": "hedge", "hedge_tier": "gross"},
        fills="""
            bar  pos    side  qty  price
            1    long   buy   15   100
            1    short  sell  4    100
        """,
        orders="""
            bar  pos    wanted  filled  status   reason
            0    long   15      15      filled   none
            0    short  -15     -4      clipped  tier_cap
        """,
    ),
    # A tenth of 100 is all that is held: the limit order to sell 15 has nothing left to reduce after it.
    Scenario(
        name="a reduce-only order ends when nothing is held, though the volume was the bound",
        bars="""
            open  high  low  close  volume  target
            100   100   100  100    1000    1
            100   100   100  100    1000    .
            100   111   100  110    100     .
            110   111   109  110    1000    .
        """,
        requests="""
            bar  do    qty  kind   limit  reduce_only
            1    sell  15   limit  110    yes
        """,
        rules={"volume_share": 0.1},
        fills="""
            bar  side  qty  price  pnl  why     liq
            1    buy   10   100    0    target  taker
            2    sell  10   110    100  order   maker
        """,
        orders="""
            bar  kind    wanted  filled  status   reason
            0    market  10      10      filled   none
            1    limit   -15     -10     clipped  reduce_only
        """,
    ),
)

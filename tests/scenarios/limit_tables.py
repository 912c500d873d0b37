"""Limit orders of targets: when they fill, at which price, as maker or taker, and when they end.

The account has 1000; a target of 1 is 10 units at an open of 100, whatever the limit says.
"""

from tests.scenarios.table import Scenario

COSTS = {"slippage": 0.01, "taker_fee": 0.001, "maker_fee": 0.0002}

SCENARIOS = (
    # Bar 1 does not come down to 98, bar 2 does: filled at 98 without slippage, fee 10*98*0.0002.
    Scenario(
        name="a limit order rests until its price comes",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    1       98
            100   101   99   100    .       .
            100   101   97   99     .       .
        """,
        terms=COSTS,
        fills="""
            bar  side  qty  price  fee    slip  why     liq
            2    buy   10   98     0.196  0     target  maker
        """,
        orders="""
            bar  kind   origin  limit  target  wanted  filled  status  reason
            0    limit  target  98     1       10      10      filled  none
        """,
        wallet="1000  1000  999.804",
        equity="1000  1000  999.804+10",
    ),
    # The open of 100 has passed the new limit of 102: taken at 100*1.01.
    Scenario(
        name="a new limit order that the open has passed takes",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    1       102
            100   101   99   100    .       .
        """,
        terms=COSTS,
        fills="""
            bar  side  qty  price  fee   slip  liq
            1    buy   10   101    1.01  10    taker
        """,
        equity="1000  1000-1.01-10",
    ),
    # With 3 % of slippage it would be 103; the limit of 102 holds.
    Scenario(
        name="slippage never passes a limit",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    1       102
            100   101   99   100    .       .
        """,
        terms={"slippage": 0.03},
        fills="""
            bar  side  qty  price  slip  liq
            1    buy   10   102    20    taker
        """,
    ),
    # It rested at 98 through bar 1; bar 2 opens at 95. It was first in line: filled at its own 98.
    Scenario(
        name="an older limit order that the open has passed fills at its limit",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    1       98
            100   101   99   100    .       .
            95    96    94   95     .       .
        """,
        terms=COSTS,
        fills="""
            bar  side  qty  price  fee    slip  liq
            2    buy   10   98     0.196  0     maker
        """,
        equity="1000  1000  1000-0.196-30",
    ),
    # The first would take at once and is rejected. The second, 9 units at 98, rests and is filled.
    Scenario(
        name="a post-only order that would cross is rejected",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    1       102
            100   101   99   100    0.9     98
            100   101   97   99     .       .
        """,
        rules={"post_only": True},
        fills="""
            bar  side  qty  price  liq
            2    buy   9    98     maker
        """,
        orders="""
            bar  limit  wanted  filled  status    reason
            0    102    10      0       rejected  post_only
            1    98     9       9       filled    none
        """,
    ),
    # Touching is enough.
    Scenario(
        name="a touched limit fills where no tick beyond is asked for",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    1       98
            100   101   98   100    .       .
            100   101   97.5 100    .       .
        """,
        terms={"tick": 0.5},
        rules={"through_ticks": 0},
        fills="""
            bar  side  qty  price  liq
            1    buy   10   98     maker
        """,
    ),
    # One tick of 0.5 beyond: 98 and 97.6 are not enough, 97.5 is. The price stays 98.
    Scenario(
        name="a limit fills when the price trades through it",
        bars="""
            open  high  low   close  target  limit
            100   100   100   100    1       98
            100   101   98    100    .       .
            100   101   97.6  100    .       .
            100   101   97.5  100    .       .
        """,
        terms={"tick": 0.5},
        rules={"through_ticks": 1},
        fills="""
            bar  side  qty  price  liq
            3    buy   10   98     maker
        """,
    ),
    # A sale at 103 in the same way: 103.4 is not enough, 103.5 is.
    Scenario(
        name="a sell limit fills when the price trades through it",
        bars="""
            open  high   low  close  target  limit
            100   100    100  100    -1      103
            100   103.4  99   100    .       .
            100   103.5  99   100    .       .
        """,
        terms={"tick": 0.5},
        rules={"through_ticks": 1},
        fills="""
            bar  side  qty  price  liq
            2    sell  10   103    maker
        """,
    ),
    # Ticks of 0.5: a buy at 98.3 becomes 98, a sale at 104.3 becomes 104.5. Profit 10*6.5.
    Scenario(
        name="limits are rounded away from the market",
        bars="""
            open  high   low   close  target  limit
            100   100    100   100    1       98.3
            100   101    98.2  100    .       .
            100   101    98    100    0       104.3
            100   104.4  99    100    .       .
            100   104.5  99    100    .       .
        """,
        terms={"tick": 0.5},
        fills="""
            bar  side  qty  price  pnl  liq
            2    buy   10   98     0    maker
            4    sell  10   104.5  65   maker
        """,
        orders="""
            bar  limit  wanted  filled  status
            0    98     10      10      filled
            2    104.5  -10     -10     filled
        """,
        wallet="1065",
    ),
    # Placed at bar 1's open for two bars: gone at bar 3's open, before bar 3 comes down to it.
    Scenario(
        name="a limit order expires",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    1       98
            100   101   99   100    .       .
            100   101   99   100    .       .
            100   101   97   100    .       .
        """,
        rules={"limit_bars": 2},
        orders="""
            bar  limit  wanted  filled  status
            0    98     10      0       expired
        """,
        wallet="1000",
    ),
    # With three bars it lives through bar 3.
    Scenario(
        name="a limit order fills in its last bar",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    1       98
            100   101   99   100    .       .
            100   101   99   100    .       .
            100   101   97   100    .       .
        """,
        rules={"limit_bars": 3},
        fills="""
            bar  side  qty  price
            3    buy   10   98
        """,
    ),
    # 11 units: 5.5 -> 5 at 99, 3.3 -> 3 at 98, the other 3 at 97. Spent 495+294+291 = 1080.
    Scenario(
        name="a ladder scales in",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    1.1     99:0.5/98:0.3/97:0.2
            100   101   98   100    .       .
            100   101   96   98     .       .
        """,
        fills="""
            bar  side  qty  price  liq
            1    buy   5    99     maker
            1    buy   3    98     maker
            2    buy   3    97     maker
        """,
        orders="""
            bar  limit  target  wanted  filled  status
            0    99     1.1     5       5       filled
            0    98     1.1     3       3       filled
            0    97     1.1     3       3       filled
        """,
        equity="1000  1000+8*100-789  1000+11*98-1080",
    ),
    # The order at 95 never fills; the next target, at the market, ends it and buys 5.
    Scenario(
        name="a newer target ends a resting limit order",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    1       95
            100   101   99   100    0.5     .
            100   101   94   100    .       .
        """,
        fills="""
            bar  side  qty  price  liq
            2    buy   5    100    taker
        """,
        orders="""
            bar  limit  target  wanted  filled  status
            0    95     1       10      0       superseded
            1    none   0.5     5       5       filled
        """,
    ),
    # Half of a ladder is filled; the target 0 ends the other half and sells the 5 that are held.
    Scenario(
        name="a newer target ends the rest of a ladder",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    1       99:0.5/95:0.5
            100   101   98   100    0       .
            100   101   90   100    .       .
        """,
        fills="""
            bar  side  qty  price  pnl
            1    buy   5    99     0
            2    sell  5    100    5
        """,
        orders="""
            bar  limit  wanted  filled  status
            0    99     5       5       filled
            0    95     5       0       superseded
            1    none   -5      -5      filled
        """,
        wallet="1005",
    ),
    # Nothing fills in bar 2, where nothing is traded; bar 3 opens below the limit.
    Scenario(
        name="a limit order rests through a bar without volume",
        bars="""
            open  high  low  close  volume  target  limit
            100   100   100  100    50      1       98
            100   101   99   100    50      .       .
            100   100   96   97     0       .       .
            97    98    96   97     50      .       .
        """,
        fills="""
            bar  side  qty  price  liq
            3    buy   10   98     maker
        """,
    ),
    # Its two bars are bar 1 and bar 2, although nothing could fill in bar 2.
    Scenario(
        name="a limit order's time runs on without volume",
        bars="""
            open  high  low  close  volume  target  limit
            100   100   100  100    50      1       98
            100   101   99   100    50      .       .
            100   100   96   97     0       .       .
            97    98    96   97     50      .       .
        """,
        rules={"limit_bars": 2},
        orders="""
            bar  limit  filled  status
            0    98     0       expired
        """,
    ),
    # 120 units wanted; each takes 98/10 of 1000 at its fill: 102.04 -> 102. The other 18 are cancelled. At the close
    # of 99 the 102 units have won 102.
    Scenario(
        name="a limit order is clipped by the margin at its fill",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    12      98
            100   101   97   99     .       .
            99    99    97   99     .       .
        """,
        fills="""
            bar  side  qty  price
            1    buy   102  98
        """,
        orders="""
            bar  wanted  filled  status   reason
            0    120     102     clipped  margin
        """,
        equity="1000  1102  1102",
    ),
    # A tenth of 60 is 6 for both rungs together: 5 at 99 and 1 at 98; the other 4 in the next bar.
    Scenario(
        name="the orders of a symbol share the volume",
        bars="""
            open  high  low  close  volume  target  limit
            100   100   100  100    60      1       99:0.5/98:0.5
            100   101   97   100    60      .       .
            100   101   97   100    60      .       .
        """,
        rules={"volume_share": 0.1},
        fills="""
            bar  side  qty  price
            1    buy   5    99
            1    buy   1    98
            2    buy   4    98
        """,
        orders="""
            bar  limit  wanted  filled  status
            0    99     5       5       filled
            0    98     5       5       filled
        """,
    ),
    # An equity of 1 coin at 21000: 21000 dollars. Half of a volume of 1 coin is 10000 dollars at the limit of 20000:
    # 10000, 10000, 1000.
    Scenario(
        name="the volume of an inverse contract counts in coins",
        bars="""
            open   high   low    close  volume  target  limit
            21000  21000  21000  21000  1       1       20000
            21000  21000  19500  21000  1       .       .
            21000  21000  19500  21000  1       .       .
            21000  21000  19500  21000  1       .       .
        """,
        terms={"kind": "inverse", "leverage": 2.0},
        rules={"balance": 1.0, "volume_share": 0.5},
        fills="""
            bar  side  qty    price
            1    buy   10000  20000
            2    buy   10000  20000
            3    buy   1000   20000
        """,
        equity="1  1+10000*(1/20000-1/21000)  1+20000*(1/20000-1/21000)  1+21000*(1/20000-1/21000)",
    ),
    # 10 long, then wanted 10 short at 105: one order for 20 that closes 10 (+50) and opens 10. The long's stop goes,
    # the short gets its own at 105*1.05 = 110.25.
    Scenario(
        name="a limit order turns a position round",
        bars="""
            open  high  low  close  target  limit  stop_loss
            100   100   100  100    1       .      0.05
            100   101   99   100    -1      105    .
            100   106   99   104    .       .      .
            104   111   103  110    .       .      .
        """,
        fills="""
            bar  side  qty  price   pnl    why        liq
            1    buy   10   100     0      target     taker
            2    sell  10   105     50     target     maker
            2    sell  10   105     0      target     maker
            3    buy   10   110.25  -52.5  stop_loss  taker
        """,
        equity="1000  1000  1060  997.5",
    ),
    # The target's order waits through bar 1 and is new at bar 2's open of 97, which has passed its limit: 1000/97 ->
    # 10, taken at 97.
    Scenario(
        name="a limit target that waited for volume is new where it is placed",
        bars="""
            open  high  low  close  volume  target  limit
            100   100   100  100    5       1       98
            99    100   97   97     0       .       .
            97    98    96   97     5       .       .
        """,
        fills="""
            bar  side  qty  price  liq
            2    buy   10   97     taker
        """,
    ),
    # Every bar places the order anew: the one of bar 1 is superseded, the one of bar 2 filled.
    Scenario(
        name="every bar replaces the resting limit order",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    1       97
            100   101   99   100    1       98
            100   101   97.5 100    .       .
        """,
        rules={"rebalance": "every_bar"},
        fills="""
            bar  side  qty  price
            2    buy   10   98
        """,
        orders="""
            bar  limit  filled  status
            0    97     0       superseded
            1    98     10      filled
        """,
    ),
    # At 1x the account carries one of the two. The second contract meets its 99 after a quarter of the leg, the first
    # its 98 after half of it: there 990 of equity stand against 980, and the 10 left carry nothing.
    Scenario(
        name="the limit that is reached first takes the margin",
        bars=(
            """
            open  high  low  close  target  limit
            100   100   100  100    1       98
            100   101   96   100    .       .
            """,
            """
            open  high  low  close  target  limit
            100   100   100  100    1       99
            100   101   96   100    .       .
            """,
        ),
        terms={"leverage": 1.0},
        fills="""
            bar  sym  side  qty  price
            1    1    buy   10   99
        """,
        orders="""
            bar  sym  wanted  filled  status    reason
            0    0    10      0       rejected  margin
            0    1    10      10      filled    none
        """,
    ),
    # Both at 98, at the same point: the lower number is the first contract's. 1000-980 = 20 carry nothing.
    Scenario(
        name="at the same point the lower number takes the margin",
        bars=(
            """
            open  high  low  close  target  limit
            100   100   100  100    1       98
            100   101   96   100    .       .
            """,
            """
            open  high  low  close  target  limit
            100   100   100  100    1       98
            100   101   96   100    .       .
            """,
        ),
        terms={"leverage": 1.0},
        fills="""
            bar  sym  side  qty  price
            1    0    buy   10   98
        """,
    ),
    # 98.3 is 982.99999... ticks of 0.1 in floats: it is a tick.
    Scenario(
        name="a limit on a tick is not rounded",
        bars="""
            open  high  low   close  target  limit
            100   100   100   100    1       98.3
            100   101   98.3  100    .       .
        """,
        terms={"tick": 0.1},
        fills="""
            bar  side  qty  price
            1    buy   10   98.3
        """,
    ),
    # Signal bars of two hours, an order for one of them: placed at bar 2's open, gone at bar 4's.
    Scenario(
        name="expiry counts signal bars",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    .       .
            100   100   100  100    1       98
            100   101   99   100    .       .
            100   101   99   100    .       .
            100   101   97   100    .       .
        """,
        signal_bars=2,
        rules={"limit_bars": 1},
        orders="""
            bar  filled  status
            1    0       expired
        """,
    ),
)

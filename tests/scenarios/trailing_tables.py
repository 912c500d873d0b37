"""Trailing stops: the best price since they were placed, by a fraction or by a distance.

The account has 1000 and holds 10 units, long or short, from 100.
"""

from tests.scenarios.table import Scenario

SCENARIOS = (
    # Best 110 in bar 1 (level 104.5; the close of 108 stays above), 120 in bar 2 (114; the low of 105 came first and
    # stayed above 104.5). Bar 3 falls through 114, then the price rises without us.
    Scenario(
        name="a trailing stop follows a long up, down, up",
        bars="""
            open  high  low  close  target  trailing_stop
            100   100   100  100    1       0.05
            100   110   97   108    .       .
            108   120   105  118    .       .
            118   119   112  115    .       .
            115   130   115  130    .       .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            3    sell  10   114    140  trailing_stop
        """,
        equity="1000  1080  1180  1140  1140",
    ),
    # Best 90 (94.5), then 80 (84): bar 3 rises through 84.
    Scenario(
        name="a trailing stop follows a short down, up, down",
        bars="""
            open  high  low  close  target  trailing_stop
            100   100   100  100    -1      0.05
            100   103   90   92     .       .
            92    93    80   82     .       .
            82    86    81   85     .       .
            85    85    70   70     .       .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    sell  10   100    0    target
            3    buy   10   84     160  trailing_stop
        """,
        equity="1000  1080  1180  1160  1160",
    ),
    # Placed at bar 2's open of 102: level 97. After 110 it is 105; bar 3 falls through it.
    Scenario(
        name="a trailing stop by distance follows a long",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            100   103   99   102    .
            102   110   98   108    .
            108   109   104  106    .
        """,
        requests="""
            bar  do    qty  kind           distance  reduce_only
            1    sell  10   trailing_stop  5         yes
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            3    sell  10   105    50   order
        """,
        wallet="1050",
    ),
    # Placed at bar 2's open of 98: level 103. After 90 it is 95; bar 3 rises through it.
    Scenario(
        name="a trailing stop by distance follows a short",
        bars="""
            open  high  low  close  target
            100   100   100  100    -1
            100   101   97   98     .
            98    102   90   92     .
            92    96    91   94     .
        """,
        requests="""
            bar  do   qty  kind           distance  reduce_only
            1    buy  10   trailing_stop  5         yes
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    sell  10   100    0    target
            3    buy   10   95     50   order
        """,
        wallet="1050",
    ),
    # By colour a falling bar goes to 110 first: the level of 104.5 is reached on the way down in the same bar.
    Scenario(
        name="a trailing stop rises and fires in one bar",
        bars="""
            open  high  low  close  target  trailing_stop
            100   100   100  100    1       0.05
            100   110   98   99     .       .
        """,
        rules={"intrabar": "color"},
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            1    sell  10   104.5  45   trailing_stop
        """,
        wallet="1000  1045",
    ),
    # Best 104 in bar 1: level 98.8. The 130 of bar 2 were not traded. Bar 3 falls through 98.8.
    Scenario(
        name="a bar without volume moves no trailing stop",
        bars="""
            open  high  low  close  volume  target  trailing_stop
            100   100   100  100    10      1       0.05
            100   104   99   103    10      .       .
            103   130   103  104    0       .       .
            104   105   98   99     10      .       .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            3    sell  10   98.8   -12  trailing_stop
        """,
        wallet="988",
    ),
    # On the mark: best 108, level 102.6. In bar 2 the mark falls from 107 to 97 and meets it after 0.44 of the leg,
    # where the trades are at 109-9*0.44 = 105.04.
    Scenario(
        name="a trailing stop on the mark fills at the traded price",
        bars="""
            open  high  low  close  m_open  m_high  m_low  m_close  target  trailing_stop
            100   100   100  100    100     100     100    100      1       0.05
            100   110   99   109    100     108     99     107      .       .
            109   110   100  104    107     108     97     103      .       .
        """,
        rules={"trigger": "mark"},
        fills="""
            bar  side  qty  price   pnl   why
            1    buy   10   100     0     target
            2    sell  10   105.04  50.4  trailing_stop
        """,
        wallet="1050.4",
    ),
    # Level 104.5, the market opens at 101.
    Scenario(
        name="a trailing stop that the open has jumped over fills at the open",
        bars="""
            open  high  low  close  target  trailing_stop
            100   100   100  100    1       0.05
            100   110   98   108    .       .
            101   104   100  103    .       .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   101    10   trailing_stop
        """,
        wallet="1010",
    ),
    # The fixed stop stays at 95, the trailing one has risen to 110*0.92 = 101.2 and is met first.
    Scenario(
        name="of a fixed and a trailing stop the nearer one fires",
        bars="""
            open  high  low  close  target  stop_loss  trailing_stop
            100   100   100  100    1       0.05       0.08
            100   110   98   108    .       .          .
            108   109   94   96     .       .          .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   101.2  12   trailing_stop
        """,
        wallet="1012",
    ),
    # A buyer pays 100*1.01. The trailing stop starts from the open of 100, not from the 101 that were paid: 95.
    Scenario(
        name="a trailing stop starts from the market, not from the entry",
        bars="""
            open  high  low  close  target  trailing_stop
            100   100   100  100    1       0.05
            100   100   95.5 96     .       .
            96    97    94   95     .       .
        """,
        terms={"slippage": 0.01},
        fills="""
            bar  side  qty  price  pnl     why
            1    buy   10   101    0       target
            2    sell  10   94.05  -69.5   trailing_stop
        """,
        wallet="930.5",
    ),
    # Ticks of 1: the level of 110*0.95 = 104.5 stays as it is.
    Scenario(
        name="a trailing stop's own level is not rounded",
        bars="""
            open  high  low  close  target  trailing_stop
            100   100   100  100    1       0.05
            100   110   98   108    .       .
            108   109   104  105    .       .
        """,
        terms={"tick": 1.0},
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   104.5  45   trailing_stop
        """,
    ),
)

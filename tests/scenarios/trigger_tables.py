"""Triggers: the series that they watch, gaps, bars without volume, ties.

Where nothing else is said the account has 1000 and holds 10 units from 100.
"""

from tests.scenarios.table import Scenario

SCENARIOS = (
    # Down to the low first: the mark falls from 100 to 94 and meets 95 after 5/6 of the leg, where the trades are at
    # 100-4*5/6 = 96.667.
    Scenario(
        name="a stop on the mark fills at the traded price",
        bars="""
            open  high  low  close  m_open  m_high  m_low  m_close  target  stop_loss
            100   100   100  100    100     100     100    100      1       0.05
            100   101   99   100    100     101     99     100      .       .
            100   101   96   98     100     101     94     97       .       .
        """,
        rules={"trigger": "mark"},
        fills="""
            bar  side  qty  price      pnl     why
            1    buy   10   100        0       target
            2    sell  10   100-20/6   -200/6  stop_loss
        """,
        wallet="1000-200/6",
    ),
    # The trades fall to 90, the mark to 96: a stop on the mark sees nothing.
    Scenario(
        name="a stop on the mark ignores the trades",
        bars="""
            open  high  low  close  m_open  m_high  m_low  m_close  target  stop_loss
            100   100   100  100    100     100     100    100      1       0.05
            100   101   99   100    100     101     99     100      .       .
            100   101   90   98     100     101     96     99       .       .
        """,
        rules={"trigger": "mark"},
        fills="""
            bar  side  qty  price
            1    buy   10   100
        """,
        equity="1000  1000  990",
    ),
    # The index falls from 100 to 94: 95 after 5/6 of the leg, the trades are at 100-3*5/6 = 97.5.
    Scenario(
        name="a stop on the index fills at the traded price",
        bars="""
            open  high  low  close  i_open  i_high  i_low  i_close  target  stop_loss
            100   100   100  100    100     100     100    100      1       0.05
            100   101   99   100    100     101     99     100      .       .
            100   101   97   98     100     101     94     97       .       .
        """,
        rules={"trigger": "index"},
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   97.5   -25  stop_loss
        """,
        wallet="975",
    ),
    # A short's target of 95 on the mark. After the high the mark falls from 101 to 93 and meets 95 after 3/4 of the
    # leg; the trades have come from 102 to 102-8*3/4 = 96.
    Scenario(
        name="a target on the mark fills at the traded price",
        bars="""
            open  high  low  close  m_open  m_high  m_low  m_close  target  take_profit
            100   100   100  100    100     100     100    100      -1      0.05
            100   101   99   100    100     101     99     100      .       .
            100   102   94   97     100     101     93     96       .       .
        """,
        rules={"trigger": "mark"},
        fills="""
            bar  side  qty  price  pnl  why
            1    sell  10   100    0    target
            2    buy   10   96     40   take_profit
        """,
        wallet="1040",
    ),
    # The mark opens at 94, below 95, while the trades open at 96: sold at the traded open.
    Scenario(
        name="a mark that opens beyond the trigger fills at the traded open",
        bars="""
            open  high  low  close  m_open  m_high  m_low  m_close  target  stop_loss
            100   100   100  100    100     100     100    100      1       0.05
            100   101   99   100    100     101     99     100      .       .
            96    97    95   96     94      97      93     96       .       .
        """,
        rules={"trigger": "mark"},
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   96     -40  stop_loss
        """,
        wallet="960",
    ),
    # Nothing trades in bar 2, so its 90 do not stop; bar 3 opens at 92.
    Scenario(
        name="a stop rests through a bar without volume",
        bars="""
            open  high  low  close  volume  target  stop_loss
            100   100   100  100    10      1       0.05
            100   101   98   99     10      .       .
            98    98    90   91     0       .       .
            92    93    91   92     10      .       .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            3    sell  10   92     -80  stop_loss
        """,
        equity="1000  990  910  920",
    ),
    # A buy stop at 105 with 1 % of slippage: 106.05.
    Scenario(
        name="a stop order opens on a breakout",
        bars="""
            open  high  low  close
            100   100   100  100
            100   104   99   103
            103   106   102  105
        """,
        terms={"slippage": 0.01},
        requests="""
            bar  do   qty  kind  trigger
            0    buy  10   stop  105
        """,
        fills="""
            bar  side  qty  price   slip  why    liq
            2    buy   10   106.05  10.5  order  taker
        """,
        orders="""
            bar  kind  origin  trigger  wanted  filled  status
            0    stop  order   105      10      10      filled
        """,
        equity="1000  1000  989.5",
    ),
    # Bar 2 opens at 108: bought there.
    Scenario(
        name="a stop order that the open has jumped over fills at the open",
        bars="""
            open  high  low  close
            100   100   100  100
            100   104   99   103
            108   109   107  108
        """,
        requests="""
            bar  do   qty  kind  trigger
            0    buy  10   stop  105
        """,
        fills="""
            bar  side  qty  price  why
            2    buy   10   108    order
        """,
    ),
    # A buy stop at 95 is reached by an open of 100 where it is placed.
    Scenario(
        name="a stop order that is passed when it is placed fills at once",
        bars="""
            open  high  low  close
            100   100   100  100
            100   104   99   103
        """,
        requests="""
            bar  do   qty  kind  trigger
            0    buy  10   stop  95
        """,
        fills="""
            bar  side  qty  price  why
            1    buy   10   100    order
        """,
    ),
    # Triggered at 105 on the way up in bar 2; its limit of 104 is below the market. Bar 3 goes down through it.
    Scenario(
        name="a stop limit order waits for its limit",
        bars="""
            open  high  low  close
            100   100   100  100
            100   104   99   103
            103   106   102  105
            105   106   103  104
        """,
        requests="""
            bar  do   qty  kind        trigger  limit
            0    buy  10   stop_limit  105      104
        """,
        fills="""
            bar  side  qty  price  why    liq
            3    buy   10   104    order  maker
        """,
        orders="""
            bar  origin  limit  trigger  filled  status
            0    order   104    105      10      filled
        """,
    ),
    # Triggered at 105, sold at its limit of 106 further up on the same leg.
    Scenario(
        name="a take profit limit order rests above its trigger",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            100   101   99   100    .
            100   107   99   104    .
        """,
        requests="""
            bar  do    qty  kind               trigger  limit  reduce_only
            1    sell  10   take_profit_limit  105      106    yes
        """,
        fills="""
            bar  side  qty  price  pnl  why     liq
            1    buy   10   100    0    target  taker
            2    sell  10   106    60   order   maker
        """,
        wallet="1060",
    ),
    # The trigger of 105 is reached, the limit of 106 is not.
    Scenario(
        name="a take profit limit order that was triggered rests on",
        bars="""
            open  high   low  close  target
            100   100    100  100    1
            100   101    99   100    .
            100   105.5  99   104    .
        """,
        requests="""
            bar  do    qty  kind               trigger  limit  reduce_only
            1    sell  10   take_profit_limit  105      106    yes
        """,
        fills="""
            bar  side  qty  price
            1    buy   10   100
        """,
        equity="1040",
    ),
    # Two stops at 95 for 6 each: the older one sells 6, the younger one the 4 that are left.
    Scenario(
        name="at one price the older order fills first",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            100   101   99   100    .
            100   101   94   96     .
        """,
        requests="""
            bar  do    qty  kind  trigger  reduce_only
            1    sell  6    stop  95       yes
            1    sell  6    stop  95       yes
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  6    95     -30  order
            2    sell  4    95     -20  order
        """,
        wallet="950",
    ),
    # Ticks of 0.5: the level of 95.2 is a sale, rounded up to 95.5; a low of 95.4 reaches it.
    Scenario(
        name="a stop's level is rounded to the tick",
        bars="""
            open  high  low   close  target  stop_price
            100   100   100   100    1       95.2
            100   101   99    100    .       .
            100   101   95.4  98     .       .
        """,
        terms={"tick": 0.5},
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   95.5   -45  stop_loss
        """,
    ),
    # The path is straight in 1/price. The mark falls from 20000 to 16000 and meets 18000 after (1/18000-1/20000) of
    # (1/16000-1/20000): 4/9 of the leg. The trades fall to 15000 and are worth 1/20000+4/9*(1/15000-1/20000) there.
    Scenario(
        name="an inverse stop on the mark",
        bars="""
            open   high   low    close  m_open  m_high  m_low  m_close  target  stop_loss
            20000  20000  20000  20000  20000   20000   20000  20000    1       0.1
            20000  20000  20000  20000  20000   20000   20000  20000    .       .
            20000  20000  15000  16000  20000   20000   16000  17000    .       .
        """,
        terms={"kind": "inverse", "leverage": 2.0},
        rules={"balance": 1.0, "trigger": "mark"},
        fills="""
            bar  side  qty    price                                  pnl                            why
            1    buy   20000  20000                                  0                              target
            2    sell  20000  1/(1/20000+4/9*(1/15000-1/20000))      -20000*4/9*(1/15000-1/20000)   stop_loss
        """,
    ),
    # Marks of two hours, 1 % below the trades at bar 2's open: the mark reaches 95 where the trades are at 95/0.99.
    Scenario(
        name="a stop on a coarse mark",
        bars="""
            open  high  low  close  target  stop_price
            100   100   100  100    1       95
            100   100   100  100    .       .
            100   101   95   97     .       .
            97    97    97   97     .       .
        """,
        marks="""
            open  high  low  close
            99    99    99   99
            99    100   94   96
        """,
        mark_hours=2,
        rules={"trigger": "mark"},
        fills="""
            bar  side  qty  price    pnl              why
            1    buy   10   100      0                target
            2    sell  10   95/0.99  10*(95/0.99-100) stop_loss
        """,
    ),
)

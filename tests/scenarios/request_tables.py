"""Requests of an ``on_bar`` function: submit, amend, cancel, close."""

from tests.scenarios.table import Scenario

SCENARIOS = (
    # Long 10, then 15 sold at the market: 10 close, 5 open a short.
    Scenario(
        name="market orders fill at the next open and flip",
        bars="""
            open  high  low  close
            100   101   99   100
            100   103   99   102
            102   103   100  101
        """,
        requests="""
            bar  do    qty
            0    buy   10
            1    sell  15
        """,
        fills="""
            bar  side  qty  price  pnl  why    liq
            1    buy   10   100    0    order  taker
            2    sell  10   102    20   order  taker
            2    sell  5    102    0    order  taker
        """,
        orders="""
            bar  kind    origin  wanted  filled  status
            0    market  order   10      10      filled
            1    market  order   -15     -15     filled
        """,
        equity="1000  1020  1025",
    ),
    # Moved from 95 to 98 with effect at bar 2's open; bar 2's low is 97.
    Scenario(
        name="an amended limit order fills at its new limit",
        bars="""
            open  high  low  close
            100   101   99   100
            100   101   97   100
            100   101   97   100
        """,
        requests="""
            bar  do     of  qty  kind   limit
            0    buy    .   10   limit  95
            1    amend  0   .    .      98
        """,
        fills="""
            bar  side  qty  price  why    liq
            2    buy   10   98     order  maker
        """,
        orders="""
            bar  kind   limit  wanted  filled  status
            0    limit  98     10      10      filled
        """,
    ),
    # Moved to 102 it is new at an open of 100 that has passed it.
    Scenario(
        name="an amended limit order that the open has passed takes",
        bars="""
            open  high  low  close
            100   101   99   100
            100   101   97   100
            100   101   97   100
        """,
        requests="""
            bar  do     of  qty  kind   limit
            0    buy    .   10   limit  95
            1    amend  0   .    .      102
        """,
        fills="""
            bar  side  qty  price  why    liq
            2    buy   10   100    order  taker
        """,
    ),
    # 10 become 4 before the price comes.
    Scenario(
        name="an amended quantity is what is still to be filled",
        bars="""
            open  high  low  close
            100   101   99   100
            100   101   97   100
            100   101   94   100
        """,
        requests="""
            bar  do     of  qty  kind   limit
            0    buy    .   10   limit  95
            1    amend  0   4    .      .
        """,
        fills="""
            bar  side  qty  price
            2    buy   4    95
        """,
    ),
    # A stop moved from 90 to 96.
    Scenario(
        name="an amended stop fires at its new trigger",
        bars="""
            open  high  low  close  target
            100   101   99   100    1
            100   101   97   100    .
            100   101   97   100    .
            100   101   95   97     .
        """,
        requests="""
            bar  do     of  qty  kind  trigger  reduce_only
            1    sell   .   10   stop  90       yes
            2    amend  0   .    .     96       .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            3    sell  10   96     -40  order
        """,
    ),
    # Cancelled at bar 2's open, before bar 2 comes down to it.
    Scenario(
        name="a cancelled order does not fill",
        bars="""
            open  high  low  close
            100   101   99   100
            100   101   97   100
            100   101   90   100
        """,
        requests="""
            bar  do      of  qty  kind   limit
            0    buy     .   10   limit  95
            1    cancel  0   .    .      .
        """,
        orders="""
            bar  filled  status     reason
            0    0       cancelled  requested
        """,
        wallet="1000",
    ),
    # Everything of the first contract is cancelled, the second one's order stays and fills.
    Scenario(
        name="all orders of one contract are cancelled",
        bars=(
            """
            open  high  low  close
            100   101   99   100
            100   101   97   100
            100   101   90   100
            """,
            """
            open  high  low  close
            100   101   99   100
            100   101   97   100
            100   101   90   100
            """,
        ),
        requests="""
            bar  do      sym  qty  kind   limit
            0    buy     0    10   limit  95
            0    buy     0    10   limit  94
            0    buy     1    10   limit  93
            1    cancel  0    .    .      .
        """,
        fills="""
            bar  sym  side  qty  price
            2    1    buy   10   93
        """,
        orders="""
            bar  sym  filled  status     reason
            0    0    0       cancelled  requested
            0    0    0       cancelled  requested
            0    1    10      filled     none
        """,
    ),
    # A long of 10 and a short of 5, both closed at 102.
    Scenario(
        name="everything is closed",
        bars=(
            """
            open  high  low  close  target
            100   101   99   100    1
            100   102   99   102    .
            102   103   100  101    .
            """,
            """
            open  high  low  close  target
            100   101   99   100    -0.5
            100   102   99   102    .
            102   103   100  101    .
            """,
        ),
        requests="""
            bar  do
            1    close
        """,
        fills="""
            bar  sym  side  qty  price  pnl  why
            1    0    buy   10   100    0    target
            1    1    sell  5    100    0    target
            2    0    sell  10   102    20   close
            2    1    buy   5    102    -10  close
        """,
        wallet="1010",
    ),
    # 25 to sell, 10 are held.
    Scenario(
        name="a reducing order never exceeds the position",
        bars="""
            open  high  low  close  target
            100   101   99   100    1
            100   101   99   100    .
            100   101   99   100    .
        """,
        requests="""
            bar  do    qty  reduce_only
            1    sell  25   yes
        """,
        fills="""
            bar  side  qty  price  why
            1    buy   10   100    target
            2    sell  10   100    order
        """,
        wallet="1000",
    ),
    # Nothing is held: cancelled.
    Scenario(
        name="a reducing order with nothing to reduce is cancelled",
        bars="""
            open  high  low  close
            100   101   99   100
            100   101   99   100
        """,
        requests="""
            bar  do    qty  reduce_only
            0    sell  25   yes
        """,
        orders="""
            bar  filled  status     reason
            0    0       cancelled  reduce_only
        """,
    ),
    # A sale at 99 that must not take meets an open of 100.
    Scenario(
        name="a post-only request that would cross is rejected",
        bars="""
            open  high  low  close
            100   101   99   100
            100   101   99   100
        """,
        requests="""
            bar  do    qty  kind   limit  post_only
            0    sell  10   limit  99     yes
        """,
        orders="""
            bar  kind   filled  status    reason
            0    limit  0       rejected  post_only
        """,
    ),
    # Good for two bars from bar 1's open; bar 3 would have filled it.
    Scenario(
        name="a request's order expires",
        bars="""
            open  high  low  close
            100   101   99   100
            100   101   99   100
            100   101   99   100
            100   101   94   100
        """,
        requests="""
            bar  do   qty  kind   limit  good_for
            0    buy  10   limit  95     2
        """,
        orders="""
            bar  filled  status
            0    0       expired
        """,
    ),
    # A breakout at 105 or a dip at 95: the breakout comes and cancels the dip, which bar 3 would have reached.
    Scenario(
        name="one entry cancels the other",
        bars="""
            open  high  low  close
            100   101   99   100
            100   101   99   100
            100   106   99   105
            105   105   94   95
        """,
        requests="""
            bar  do   qty  kind   trigger  limit  group
            0    buy  10   stop   105      .      1
            0    buy  10   limit  .        95     1
        """,
        fills="""
            bar  side  qty  price  why
            2    buy   10   105    order
        """,
        orders="""
            bar  kind   filled  status     reason
            0    stop   10      filled     none
            0    limit  0       cancelled  oco
        """,
        equity="900",
    ),
    # Stop at 95 and limit at 110 in one bar, adverse: the stop first.
    Scenario(
        name="one exit cancels the other",
        bars="""
            open  high  low  close  target
            100   101   99   100    1
            100   101   99   100    .
            100   111   94   100    .
        """,
        requests="""
            bar  do    qty  kind   trigger  limit  group  reduce_only
            1    sell  10   limit  .        110    7      yes
            1    sell  10   stop   95       .      7      yes
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   95     -50  order
        """,
        orders="""
            bar  origin  filled  status     reason
            0    target  10      filled     none
            1    order   0       cancelled  oco
            1    order   -10     filled     none
        """,
    ),
    # Decided at one close: the target's 5 at the open, then the request's 3.
    Scenario(
        name="a target fills before a request",
        bars="""
            open  high  low  close  target
            100   101   99   100    0.5
            100   101   99   100    .
        """,
        requests="""
            bar  do   qty
            0    buy  3
        """,
        fills="""
            bar  side  qty  price  why
            1    buy   5    100    target
            1    buy   3    100    order
        """,
    ),
    # A tenth of 40 fills 4 of the limit order: the stop order of its group is cancelled all the same, the other 6 rest.
    Scenario(
        name="a partial fill cancels the others of its group",
        bars="""
            open  high  low  close  volume
            100   101   99   100    40
            100   101   99   100    40
            100   100   95   96     40
            96    106   96   105    60
        """,
        rules={"volume_share": 0.1},
        requests="""
            bar  do   qty  kind   trigger  limit  group
            0    buy  10   stop   105      .      3
            0    buy  10   limit  .        95     3
        """,
        fills="""
            bar  side  qty  price
            2    buy   4    95
        """,
        orders="""
            bar  kind   filled  status     reason
            0    stop   0       cancelled  oco
            0    limit  4       pending    none
        """,
    ),
    # Nothing is traded in bar 1.
    Scenario(
        name="a market order waits for volume",
        bars="""
            open  high  low  close  volume
            100   101   99   100    40
            100   100   100  100    0
            102   103   101  102    40
        """,
        requests="""
            bar  do   qty
            0    buy  10
        """,
        fills="""
            bar  side  qty  price
            2    buy   10   102
        """,
    ),
    # One bar of latency: decided at bar 0's close, filled at bar 2's open.
    Scenario(
        name="requests have the same latency as targets",
        bars="""
            open  high  low  close
            100   101   99   100
            101   101   101  101
            102   103   101  102
        """,
        rules={"latency_bars": 1},
        requests="""
            bar  do   qty
            0    buy  10
        """,
        fills="""
            bar  side  qty  price
            2    buy   10   102
        """,
    ),
)

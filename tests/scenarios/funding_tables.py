"""Funding: who pays, when, on which price, out of which pocket."""

from tests.reference.case import Ohlc
from tests.scenarios.table import Scenario

SCENARIOS = (
    # Target 2 of 1000 at 100: 20 units. The settlement at bar 1's open comes before the position is opened, the one
    # at bar 4's open before it is closed. Paid at the mark open: 20*102*0.001 = 2.04, received 20*98*0.002 = 3.92,
    # paid 20*101*0.001 = 2.02. Fees 20*100*0.001 = 2 and 20*101*0.001 = 2.02; price profit 20*(101-100) = 20.
    Scenario(
        name="a long pays and receives funding",
        bars="""
            open  high  low  close  target  rate
            100   101   99   100    2       .
            100   103   99   102    .       0.01
            102   102   97   98     .       0.001
            98    101   97   101    0       -0.002
            101   102   100  101    .       0.001
        """,
        terms={"taker_fee": 0.001},
        fills="""
            bar  side  qty  price  fee   pnl  why
            1    buy   20   100    2     0    target
            4    sell  20   101    2.02  20   target
        """,
        funding="""
            bar  mark  held  received
            2    102   20    -2.04
            3    98    20    3.92
            4    101   20    -2.02
        """,
        wallet="1000  1000-2  1000-2-2.04  1000-2-2.04+3.92  1000-2-2.04+3.92-2.02+20-2.02",
        equity="1000  998+20*2  995.96-20*2  999.88+20*1  1015.84",
    ),
    # The same market seen from the other side: every funding payment and the price profit change their sign.
    Scenario(
        name="a short receives what the long pays",
        bars="""
            open  high  low  close  target  rate
            100   101   99   100    -2      .
            100   103   99   102    .       0.01
            102   102   97   98     .       0.001
            98    101   97   101    0       -0.002
            101   102   100  101    .       0.001
        """,
        terms={"taker_fee": 0.001},
        fills="""
            bar  side  qty  price  fee   pnl  why
            1    sell  20   100    2     0    target
            4    buy   20   101    2.02  -20  target
        """,
        funding="""
            bar  mark  held  received
            2    102   -20   2.04
            3    98    -20   -3.92
            4    101   -20   2.02
        """,
        wallet="1000-2+2.04-3.92+2.02-20-2.02",
    ),
    # 20 units at a mark of 100 all the time. Eight-hourly 0.0001 costs 0.2, then four-hourly 0.0004 costs 0.8.
    Scenario(
        name="the funding interval changes from eight to four hours",
        bars="""
            open  high  low  close  target
            100   100   100  100    2
            100   100   100  100    .
            100   100   100  100    .
            100   100   100  100    .
            100   100   100  100    .
            100   100   100  100    .
            100   100   100  100    .
        """,
        hours=4,
        settled=((8, 0.0001, None), (16, 0.0001, None), (20, 0.0004, None), (24, 0.0004, None)),
        fills="""
            bar  side  qty  price
            1    buy   20   100
        """,
        funding="""
            bar  received
            2    -0.2
            4    -0.2
            5    -0.8
            6    -0.8
        """,
        wallet="1000  1000  999.8  999.8  999.6  998.8  998",
    ),
    # Bars of eight hours. Hour 8 comes before the position is opened. Hour 10 is paid at the record's own mark 104,
    # hour 12 has none: the bar's mark close 110. Hour 16 is bar 2's open: its mark open 111.
    Scenario(
        name="several settlements fall into one long bar",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            100   112   100  110    .
            111   113   110  112    .
        """,
        hours=8,
        settled=((8, 0.01, None), (10, 0.001, 104), (12, 0.002, None), (16, 0.001, None)),
        fills="""
            bar  side  qty  price
            1    buy   10   100
        """,
        funding="""
            bar  mark  received
            1    104   -10*104*0.001
            1    110   -10*110*0.002
            2    111   -10*111*0.001
        """,
        wallet="1000  1000-1.04-2.2  1000-1.04-2.2-1.11",
        equity="1000  996.76+10*10  995.65+10*12",
    ),
    # 50 units at 100 with a margin of 500; 500 stays free. 250 comes from the free wallet; of 400 the free wallet has
    # 250 left, 150 come out of the margin (now 350); 50 are received into the free wallet.
    # Trigger: 350 + 50*(M-100) = 50*M*0.01, so M = 4650/49.5. Taken there: the margin is lost, the free 50 stay.
    Scenario(
        name="funding is paid by the free wallet first",
        bars="""
            open  high  low  close  target  rate
            100   100   100  100    5       .
            100   100   100  100    .       .
            100   100   100  100    .       0.05
            100   100   100  100    .       0.08
            100   100   100  100    .       -0.01
            100   100   93   95     .       .
        """,
        terms={"margin_mode": "isolated"},
        rules={"funding_paid_from": "wallet_first"},
        fills="""
            bar  side  qty  price      pnl                  why
            1    buy   50   100        0                    target
            5    sell  50   4650/49.5  50*(4650/49.5-100)   liquidation
        """,
        funding="""
            bar  received
            2    -250
            3    -400
            4    50
        """,
        liquidations="""
            bar  kind      qty  trigger    bankrupt  lost
            5    takeover  50   4650/49.5  93        350
        """,
        wallet="1000  1000  750  350  400  50",
    ),
    # Asked for 50*100*0.2 = 1000, the margin of 500 has to keep its requirement of 50 (and a billionth of it, so that
    # the payment alone never liquidates): 450 - 0.00000005 is paid, and the position lives.
    Scenario(
        name="capped funding leaves the requirement",
        bars="""
            open  high  low  close  target  rate
            100   100   100  100    5       .
            100   100   100  100    .       .
            100   104   100  103    .       0.2
            103   105   103  104    .       .
        """,
        terms={"margin_mode": "isolated"},
        rules={"funding_paid_from": "capped"},
        fills="""
            bar  side  qty  price
            1    buy   50   100
        """,
        funding="""
            bar  received
            2    -(450-50e-9)
        """,
        wallet="1000  1000  550+50e-9  550+50e-9",
        equity="550+50e-9+50*4",
    ),
    # Paid from the margin, 50*100*0.095 = 475 leave 25 <= 50 required: the engine takes the position at the same
    # open, at the unmoved mark of 100, with the 25 that are left. The free 500 stay.
    Scenario(
        name="funding out of the margin can liquidate",
        bars="""
            open  high  low  close  target  rate
            100   100   100  100    5       .
            100   100   100  100    .       .
            100   100   100  100    .       0.095
        """,
        terms={"margin_mode": "isolated"},
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   50   100    0    target
            2    sell  50   100    0    liquidation
        """,
        funding="""
            bar  received
            2    -475
        """,
        liquidations="""
            bar  kind      qty  trigger  bankrupt  balance  required  lost  fund
            2    takeover  50   100      99.5      25       50        25    25
        """,
        wallet="1000  1000  500",
    ),
    # The venue pays on its oracle: 10*98*0.01 at bar 2's open (index open 98), 10*97*0.01 inside the bar (index close
    # 97), whatever mark the record carries. The account is still valued at the mark of 100.
    Scenario(
        name="funding on the index price",
        bars="""
            open  high  low  close  target  rate
            100   100   100  100    1       .
            100   100   100  100    .       .
            100   100   100  100    .       0.01
        """,
        terms={"index": Ohlc((99.0, 99.0, 98.0), (99.0, 99.0, 98.0), (99.0, 99.0, 97.0), (99.0, 99.0, 97.0))},
        rules={"funding_price": "index"},
        settled=((2.5, 0.01, 120.0),),
        fills="""
            bar  side  qty  price
            1    buy   10   100
        """,
        funding="""
            bar  mark  received
            2    98    -9.8
            2    97    -9.7
        """,
        equity="1000  1000  980.5",
    ),
    # A capped payment looks at the whole account: a trade between two settlements of a bar counts at its mark.
    # 10 * 100 * 0.01 = 10 twice, and 5 * 50 * 0.01 = 2.5 once.
    Scenario(
        name="a trade between two capped settlements counts at its mark",
        bars=(
            """
                open  high  low  close  target
                100   100   100  100    1
                100   100   100  100    .
                100   100   100  100    .
            """,
            """
                open  high  low  close
                50    50    50   50
                50    50    50   50
                50    50    50   50
            """,
        ),
        rules={"funding_paid_from": "capped"},
        settled=((2.1, 0.01, None), (2.5, 0.01, None)),
        own_fills="""
            hour  sym  qty  price
            2.25  1    5    50
        """,
        fills="""
            bar  sym  side  qty  price
            1    0    buy   10   100
            2    1    buy   5    50
        """,
        funding="""
            bar  sym  mark  held  received
            2    0    100   10    -10
            2    0    100   10    -10
            2    1    50    5     -2.5
        """,
        wallet="1000  1000  977.5",
    ),
)

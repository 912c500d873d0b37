"""The same markets on coin-margined contracts: sizes in dollars, money in coins.

The usual case: account 0 is long 1000 at 100, 10 coins' worth, with 2.6 coins. A dollar is worth 0.01 coins at 100,
0.0125 at 80 and 0.016 at 62.5; the account is bankrupt where it is worth 0.0126, at 79.365.
"""

from tests.scenarios.clearing_table import ClearingScenario

FALL_TO_80 = """
    open  high  low  close
    100   100   100  100
    80    80    80   80
"""
DEEP_FALL = """
    open  high  low   close
    100   100   100   100
    62.5  62.5  62.5  62.5
"""
NO_TRADES = """
    open  high  low   close  volume
    100   100   100   100    1000
    62.5  62.5  62.5  62.5   0
"""
PAIR = """
    acc  wallet  size   entry
    0    2.6     1000   100
    1    10      -1000  100
"""
COIN = {"inverse": True}

SCENARIOS = (
    # 2.6 - 1000*(0.0125-0.01) = 0.1 coins are left against a requirement of 0.125.
    ClearingScenario(
        name="inverse: a surplus feeds the fund",
        bars=FALL_TO_80,
        accounts=PAIR,
        terms=COIN,
        rules={"fund_start": 1.0},
        events="""
            bar  kind      acc  size  trigger  bust      lost  realized  price  result
            1    takeover  0    1000  80       1/0.0126  0.1   -2.5      .      .
            1    sale      .    1000  .        .         .     .         80     0.1
        """,
        wallet="0 10",
        equity="0 12.5",
        held="0 -1000",
        fund="1 1.1",
    ),
    # 2.6 - 1000*0.006 = -3.4
    ClearingScenario(
        name="inverse: a deficit that the fund covers",
        bars=DEEP_FALL,
        accounts=PAIR,
        terms=COIN,
        rules={"fund_start": 5.0},
        events="""
            bar  kind      acc  size  trigger  bust      lost  price  result
            1    takeover  0    1000  62.5     1/0.0126  -3.4  .      .
            1    sale      .    1000  .        .         .     62.5   -3.4
        """,
        wallet="0 10",
        equity="0 16",
        fund="5 1.6",
    ),
    # 0.0034 coins a dollar: 0.85 pay for 250 of them, 750 are closed against the short at 79.365.
    ClearingScenario(
        name="inverse: a deficit beyond the fund",
        bars=DEEP_FALL,
        accounts=PAIR,
        terms=COIN,
        rules={"fund_start": 0.85},
        events="""
            bar  kind        acc  size  price     result  realized  taken
            1    takeover    0    1000  .         .       -6        .
            1    sale        .    250   62.5      -0.85   .         .
            1    deleverage  1    -750  1/0.0126  0       4.5       -2.55
        """,
        wallet="0 11.95",
        equity="0 13.45",
        held="0 -250",
        fund="0.85 0",
    ),
    ClearingScenario(
        name="inverse: deleveraging at the mark leaves the loss with the fund",
        bars=DEEP_FALL,
        accounts=PAIR,
        terms=COIN,
        rules={"fund_start": 0.85, "deleverage_price": "mark"},
        events="""
            bar  kind        acc  size  price  result  realized  taken
            1    takeover    0    1000  .      .       -6        .
            1    sale        .    250   62.5   -0.85   .         .
            1    deleverage  1    -750  62.5   -2.55   4.5       0
        """,
        wallet="0 14.5",
        fund="0.85 -2.55",
    ),
    # BitMEX: account 1 gained 2.4/4 at 6.4/3.4 = 1.129, account 2 2.4/2.4 at 4.8/3.4 = 1.412, account 3
    # 4.8/8 at 12.8/24.8 = 0.310: account 2 comes first here.
    ClearingScenario(
        name="inverse: deleveraging across three accounts, the last in part",
        bars=NO_TRADES,
        accounts="""
            acc  wallet  size  entry
            0    2.6     1000  100
            1    1       -400  100
            2    1       -300  125
            3    20      -800  100
            4    100     500   100
        """,
        terms=COIN,
        events="""
            bar  kind        acc  size  price     realized  taken  result
            1    takeover    0    1000  .         -6        .      .
            1    deleverage  2    -300  1/0.0126  2.4       -1.02  0
            1    deleverage  1    -400  1/0.0126  2.4       -1.36  0
            1    deleverage  3    -300  1/0.0126  1.8       -1.02  0
        """,
        wallet="0  2.04  2.38  20.78  100",
        equity="0  2.04  2.38  20.78+3  97",
        held="0  0  0  -500  500",
        fund="0 0",
        inventory="0",
    ),
    # Shorts pay 0.0016 a dollar, so that 0.4 coins become -1.2, with 4.8 behind a thousand at the mark. Closed at 100
    # the isolated thousand would leave -1.2. Under cross margin the 200 that are needed cost 1.2 of 4.8.
    ClearingScenario(
        name="inverse: who could not bear the price is passed over",
        bars="""
            open  high  low   close  volume  rate
            100   100   100   100    1000    .
            62.5  62.5  62.5  62.5   0       -0.1
        """,
        accounts="""
            acc  wallet  size   entry  margin
            0    0.5     200    100    .
            1    0.4     -1000  100    0.4
            2    0.4     -1000  100    .
            3    100     1800   100    .
        """,
        terms=COIN,
        rules={"deleverage_price": "previous_mark"},
        events="""
            bar  kind        acc  size  price  bust      realized  taken  result
            1    takeover    0    200   .      1/0.0141  -1.2      .      .
            1    deleverage  2    -200  100    .         1.2       -1.2   0.82
        """,
        wallet="0  -1.2  -1.2  102.88",
        equity="0  4.8  3.6  102.88-10.8",
        held="0 -1000 -800 1800",
        fund="0 0.82",
    ),
    # 3.4 lost; winners made 3.6 and 2.4.
    ClearingScenario(
        name="inverse: winners share a loss",
        bars=DEEP_FALL,
        accounts="""
            acc  wallet  size  entry
            0    2.6     1000  100
            1    10      -600  100
            2    5       -400  100
            3    7       .     .
        """,
        terms=COIN,
        rules={"waterfall": "market, fund, share", "sharing_hours": 2.0},
        events="""
            bar  kind      acc  amount  rate    price  result
            1    takeover  0    .       .       .      .
            1    sale      .    .       .       62.5   -3.4
            1    share     1    2.04    3.4/6   .      .
            1    share     2    1.36    3.4/6   .      .
        """,
        wallet="0  7.96  3.64  7",
        equity="0  11.56  6.04  7",
        fund="0 0",
    ),
    # A surplus of 0.1 in contract 0, a deficit of 0.1 in contract 1, where a dollar costs 0.0127 coins.
    ClearingScenario(
        name="inverse: two contracts share a fund",
        bars=(FALL_TO_80, FALL_TO_80.replace("80", "1/0.0127")),
        accounts="""
            acc  wallet  sym  size   entry
            0    2.6     0    1000   100
            1    2.6     1    1000   100
            2    10      0    -1000  100
            3    10      1    -1000  100
        """,
        terms=COIN,
        rules={"fund_start": 0.01},
        events="""
            bar  kind      acc  sym  size  price     result
            1    takeover  0    0    1000  .         .
            1    sale      .    0    1000  80        0.1
            1    takeover  1    1    1000  .         .
            1    sale      .    1    1000  1/0.0127  -0.1
        """,
        wallet="0 0 10 10",
        fund="0.01 0.01",
    ),
)

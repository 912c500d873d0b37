"""Whole markets: what the fund earns and pays, who is deleveraged, how losses are shared, on linear contracts.

The usual case: account 0 is long 10 at 100 with 155, so that it is bankrupt at 84.5; one percent of the worth is
required. The price jumps at the open of bar 1, past all triggers.
"""

from tests.scenarios.clearing_table import ClearingScenario

FALL_TO_85 = """
    open  high  low  close
    100   100   100  100
    85    85    85   85
"""
FALL_TO_75 = """
    open  high  low  close
    100   100   100  100
    75    75    75   75
"""
NO_TRADES = """
    open  high  low  close  volume
    100   100   100  100    1000
    75    75    75   75     0
"""
PAIR = """
    acc  wallet  size  entry
    0    155     10    100
    1    1000    -10   100
"""

SCENARIOS = (
    # 155 - 10*15 = 5 are left against a requirement of 8.5. The engine sells at 85 what it got at 84.5.
    ClearingScenario(
        name="a surplus feeds the fund",
        bars=FALL_TO_85,
        accounts=PAIR,
        rules={"fund_start": 100.0},
        events="""
            bar  kind      acc  size  trigger  bust  lost  realized  price  result
            1    takeover  0    10    85       84.5  5     -150      .      .
            1    sale      .    10    .        .     .     .         85     5
        """,
        wallet="0 1000",
        equity="0 1150",
        held="0 -10",
        fund="100 105",
    ),
    # 155 - 250 = -95: the account is lifted to nothing, the fund pays.
    ClearingScenario(
        name="a deficit that the fund covers",
        bars=FALL_TO_75,
        accounts=PAIR,
        rules={"fund_start": 100.0},
        events="""
            bar  kind      acc  size  trigger  bust  lost  price  result
            1    takeover  0    10    75       84.5  -95   .      .
            1    sale      .    10    .        .     .     75     -95
        """,
        wallet="0 1000",
        equity="0 1250",
        fund="100 5",
    ),
    # Each unit sold at 75 costs 9.5: 38 pay for 4, and 6 are closed against the short at 84.5 instead of 75.
    ClearingScenario(
        name="a deficit beyond the fund",
        bars=FALL_TO_75,
        accounts=PAIR,
        rules={"fund_start": 38.0},
        events="""
            bar  kind        acc  size  price  result  realized  taken
            1    takeover    0    10    .      .       -250      .
            1    sale        .    4     75     -38     .         .
            1    deleverage  1    -6    84.5   0       150       -57
        """,
        wallet="0 1093",
        equity="0 1193",
        held="0 -4",
        fund="38 0",
    ),
    # The same where deleveraging is done at the mark: the short loses nothing, the fund owes the rest.
    ClearingScenario(
        name="deleveraging at the mark leaves the loss with the fund",
        bars=FALL_TO_75,
        accounts=PAIR,
        rules={"fund_start": 38.0, "deleverage_price": "mark"},
        events="""
            bar  kind        acc  size  price  result  realized  taken
            1    takeover    0    10    .      .       -250      .
            1    sale        .    4     75     -38     .         .
            1    deleverage  1    -6    75     -57     150       0
        """,
        wallet="0 1150",
        held="0 -4",
        fund="38 -57",
    ),
    # ... and at the previous mark, 100: what the engine got at 84.5 it gives at 100 and earns 6*15.5.
    ClearingScenario(
        name="deleveraging at the previous mark",
        bars=FALL_TO_75,
        accounts=PAIR,
        rules={"fund_start": 38.0, "deleverage_price": "previous_mark"},
        events="""
            bar  kind        acc  size  price  result  realized  taken
            1    takeover    0    10    .      .       -250      .
            1    sale        .    4     75     -38     .         .
            1    deleverage  1    -6    100    93      150       -150
        """,
        wallet="0 1000",
        held="0 -4",
        fund="38 93",
    ),
    # Nobody is deleveraged and nobody shares: the fund owes 95 - 38.
    ClearingScenario(
        name="a fund that may owe",
        bars=FALL_TO_75,
        accounts=PAIR,
        rules={"fund_start": 38.0, "waterfall": "market, fund"},
        events="""
            bar  kind      acc  size  price  result
            1    takeover  0    10    .      .
            1    sale      .    10    75     -95
        """,
        wallet="0 1000",
        held="0 -10",
        fund="38 -57",
    ),
    # Nothing trades in bar 1. BitMEX: account 1 gained 25 % at 300/200 = 0.375, account 2 105/330 at 225/195 = 0.367,
    # account 3 25 % at 600/1200 = 0.125. At 84.5 they lose 9.5 a unit to the mark; the last gives 3 of its 8.
    ClearingScenario(
        name="deleveraging across three accounts, the last in part",
        bars=NO_TRADES,
        accounts="""
            acc  wallet  size  entry
            0    155     10    100
            1    100     -4    100
            2    90      -3    110
            3    1000    -8    100
            4    10000   5     100
        """,
        events="""
            bar  kind        acc  size  price  trigger  realized  taken  result
            1    takeover    0    10    .      75       -250      .      .
            1    deleverage  1    -4    84.5   .        100       -38    0
            1    deleverage  2    -3    84.5   .        105       -28.5  0
            1    deleverage  3    -3    84.5   .        75        -28.5  0
        """,
        wallet="0  100+62  90+76.5  1000+46.5  10000",
        equity="0  162  166.5  1046.5+125  10000-125",
        held="0  0  0  -5  5",
        fund="0 0",
        inventory="0",
    ),
    # The same queue by Binance: profit over wallet times requirement over balance. 100/100*3/200 = 0.015,
    # 105/90*2.25/195 = 0.01346, 200/1000*6/1200 = 0.001: the same order here.
    ClearingScenario(
        name="deleveraging in Binance's order",
        bars=NO_TRADES,
        accounts="""
            acc  wallet  size  entry
            0    155     10    100
            1    1000    -8    100
            2    90      -3    110
            3    100     -4    100
            4    10000   5     100
        """,
        rules={"ranking": "binance"},
        events="""
            bar  kind        acc  size
            1    takeover    0    10
            1    deleverage  3    -4
            1    deleverage  2    -3
            1    deleverage  1    -3
        """,
    ),
    # Isolated: the margin of what is closed comes free. Half of account 1 is left with half of its margin.
    ClearingScenario(
        name="an isolated winner is deleveraged with its margin",
        bars=NO_TRADES,
        accounts="""
            acc  wallet  size  entry  margin
            0    155     10    100    155
            1    500     -20   100    400
            2    9999    10    100    .
        """,
        events="""
            bar  kind        acc  size  realized  taken
            1    takeover    0    10    -250      .
            1    deleverage  1    -10   250       -95
        """,
        wallet="0  655  9999",
        equity="0  655+250  9999-250",
        held="0 -10 10",
    ),
    # Shorts pay 7.5 a unit, so that 40 become -35, with 215 behind ten at the mark of 75. Closed at 100 the isolated
    # ten of account 1 would leave -35: no part is taken, since margin comes free in proportion. The same ten under
    # cross margin bear the two that are needed: they cost 50.
    ClearingScenario(
        name="who could not bear the price is passed over",
        bars="""
            open  high  low  close  volume  rate
            100   100   100  100    1000    .
            75    75    75   75     0       -0.1
        """,
        accounts="""
            acc  wallet  size  entry  margin
            0    20      2     100    .
            1    40      -10   100    40
            2    40      -10   100    .
            3    10000   18    100    .
        """,
        rules={"deleverage_price": "previous_mark"},
        events="""
            bar  kind        acc  size  price  bust  realized  taken  result
            1    takeover    0    2     .      82.5  -50       .      .
            1    deleverage  2    -2    100    .     50        -50    35
        """,
        wallet="0  -35  -35  10135",
        equity="0  215  165  10135-450",
        held="0 -10 -8 18",
        fund="0 35",
    ),
    # Bybit: of the 30 due at bar 1 the free wallet pays its 20, the margin of 100 the rest; it fails where of 90 no
    # more than one percent of the worth is left. What the isolated short receives is free.
    ClearingScenario(
        name="funding from the free wallet first",
        bars="""
            open  high  low  close  rate
            100   100   100  100    .
            100   100   100  100    0.03
            100   100   91   91     .
        """,
        accounts="""
            acc  wallet  size  entry  margin
            0    120     10    100    100
            1    100     -10   100    100
        """,
        rules={"funding_paid_from": "wallet_first"},
        events="""
            bar  kind      acc  size  trigger  bust  price    result
            2    takeover  0    10    910/9.9  91    .        .
            2    sale      .    10    .        .     910/9.9  91/9.9
        """,
        wallet="0 130",
        equity="0 220",
        fund="0  0  91/9.9",
    ),
    # OKX: 25 stand against a requirement of 10, so that 15 of 30 are paid, less a hair; the fund pays the other 15.
    ClearingScenario(
        name="funding cut to what is above the requirement",
        bars="""
            open  high  low  close  rate
            100   100   100  100    .
            100   100   100  100    0.03
        """,
        accounts="""
            acc  wallet  size  entry
            0    25      10    100
            1    1000    -10   100
        """,
        rules={"funding_paid_from": "capped", "fund_start": 100.0},
        events="",
        wallet="10+1e-8  1030",
        held="10 -10",
        fund="100  85-1e-8",
    ),
    # The day ends with bar 1. Fund -95; winners made 150 and 100, so that 38 % of each is taken.
    ClearingScenario(
        name="winners share a loss",
        bars=FALL_TO_75,
        accounts="""
            acc  wallet  size  entry
            0    155     10    100
            1    1000    -6    100
            2    50      -4    100
            3    70      .     .
        """,
        rules={"waterfall": "market, fund, share", "sharing_hours": 2.0},
        events="""
            bar  kind      acc  amount  rate  price  result
            1    takeover  0    .       .     .      .
            1    sale      .    .       .     75     -95
            1    share     1    57      0.38  .      .
            1    share     2    38      0.38  .      .
        """,
        wallet="0  943  12  70",
        equity="0  1093  112  70",
        fund="0 0",
    ),
    # 95 against profits of 50 alone (account 2 has lost): all of the profit goes, 45 stay with the fund.
    ClearingScenario(
        name="nobody pays more than the profit",
        bars=FALL_TO_75,
        accounts="""
            acc  wallet  size  entry
            0    155     10    100
            1    1000    -2    100
            2    1000    3     100
        """,
        rules={"waterfall": "market, fund, share", "sharing_hours": 2.0},
        events="""
            bar  kind      acc  amount  rate
            1    takeover  0    .       .
            1    sale      .    .       .
            1    share     1    50      1
        """,
        wallet="0 950 1000",
        fund="0 -45",
    ),
    # Contract 0 leaves a surplus of 5, contract 1 a deficit of 5 in the same bar: one fund bears both.
    ClearingScenario(
        name="two contracts share a fund",
        bars=(FALL_TO_85, FALL_TO_85.replace("85", "84")),
        accounts="""
            acc  wallet  sym  size  entry
            0    155     0    10    100
            1    155     1    10    100
            2    1000    0    -10   100
            3    1000    1    -10   100
        """,
        events="""
            bar  kind      acc  sym  size  price  result
            1    takeover  0    0    10    .      .
            1    sale      .    0    10    85     5
            1    takeover  1    1    10    .      .
            1    sale      .    1    10    84     -5
        """,
        wallet="0 0 1000 1000",
        fund="0 0",
    ),
    # With a fund each, that of contract 1 has nothing: its short is deleveraged.
    ClearingScenario(
        name="two contracts with a fund each",
        bars=(FALL_TO_85, FALL_TO_85.replace("85", "84")),
        accounts="""
            acc  wallet  sym  size  entry
            0    155     0    10    100
            1    155     1    10    100
            2    1000    0    -10   100
            3    1000    1    -10   100
        """,
        rules={"fund": "contract"},
        events="""
            bar  kind        acc  sym  size  price  result  realized  taken
            1    takeover    0    0    10    .      .       .         .
            1    sale        .    0    10    85     5       .         .
            1    takeover    1    1    10    .      .       .         .
            1    deleverage  3    1    -10   84.5   0       160       -5
        """,
        wallet="0 0 1000 1155",
        funds="5 0",
    ),
)

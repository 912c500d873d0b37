"""Cascades, partial steps and margin by entry in whole markets, on linear and on coin-margined contracts.

In a cascade what the engine sells moves the price: by ``impact`` times its part of the bar's volume, itself at half of
that; the mark follows, and the next account fails where without the sale it would have lived.
"""

from tests.scenarios.clearing_table import ClearingScenario
from tests.scenarios.table import brackets

DROP_TO_90 = """
    open  high  low  close  volume
    100   100   100  100    100
    90    90    90   90     100
    90    90    90   90     100
"""
THREE_LONGS = """
    acc  wallet  size  entry
    0    105     10    100
    1    150     10    100
    2    400     10    100
    3    1000    -30   100
"""
DROP_TO_80 = """
    open  high  low  close  volume
    100   100   100  100    10000
    80    80    80   80     10000
    80    80    80   80     10000
"""
THREE_INVERSE_LONGS = """
    acc  wallet  size   entry
    0    2.55    1000   100
    1    5.7     1000   100
    2    20      1000   100
    3    10      -3000  100
"""
TWO = brackets((0, 0.01), (1000, 0.02))
COIN = {"inverse": True}

SCENARIOS = (
    # Account 0 has 105 - 100 = 5 against 9. Ten of 100 move the price by 5 %: sold at 90*0.975 for 89.5. At 85.5
    # account 1 has 150 - 145 = 5 against 8.55, at 90 it had 50. Its ten are sold at 90*(0.95 - 0.025) for 85, the
    # mark is 81. In the next hour half of the move is left: 85.5.
    ClearingScenario(
        name="a liquidation moves the price into the next",
        bars=DROP_TO_90,
        accounts=THREE_LONGS,
        rules={"fund_start": 100.0, "impact": 0.5, "half_life_minutes": 60.0},
        events="""
            bar  kind      acc  size  trigger  bust  lost  price  result
            1    takeover  0    10    90       89.5  5     .      .
            1    sale      .    10    .        .     .     87.75  -17.5
            1    takeover  1    10    85.5     85    5     .      .
            1    sale      .    10    .        .     .     83.25  -17.5
        """,
        wallet="0 0 400 1000",
        equity="0  0  400-145  1000+435",
        held="0 0 10 -30",
        fund="100 65 65",
    ),
    # Without the impact the second one lives.
    ClearingScenario(
        name="no impact, no cascade",
        bars=DROP_TO_90,
        accounts=THREE_LONGS,
        rules={"fund_start": 100.0},
        events="""
            bar  kind      acc  size  trigger  bust  lost  price  result
            1    takeover  0    10    90       89.5  5     .      .
            1    sale      .    10    .        .     .     90     5
        """,
        equity="0  50  300  1300",
        fund="100 105 105",
    ),
    # Ten of 80 move it by a sixteenth: the first ten cost 23.125, account 1 has 161.25 - 156.25 = 5 at 84.375. 11.5625
    # are left for its ten, at 83.875 - 81.5625 = 2.3125 each: five are sold, which brings the mark to 90*(1 - 3/32),
    # and five are closed against the short at 83.875.
    ClearingScenario(
        name="a cascade that exhausts the fund",
        bars="""
            open  high  low  close  volume
            100   100   100  100    80
            90    90    90   90     80
        """,
        accounts="""
            acc  wallet  size  entry
            0    105     10    100
            1    161.25  10    100
            2    400     10    100
            3    1000    -30   100
        """,
        rules={"fund_start": 34.6875, "impact": 0.5, "half_life_minutes": 60.0},
        events="""
            bar  kind        acc  size  trigger  bust    price    result    realized  taken
            1    takeover    0    10    90       89.5    .        .         -100      .
            1    sale        .    10    .        .       87.1875  -23.125   .         .
            1    takeover    1    10    84.375   83.875  .        .         -156.25   .
            1    sale        .    5     .        .       81.5625  -11.5625  .         .
            1    deleverage  3    -5    .        .       83.875   0         92.1875   -11.5625
        """,
        wallet="0  0  400  1080.625",
        held="0 0 10 -25",
        fund="34.6875 0",
        inventory="0",
    ),
    # 2.55 - 2.5 = 0.05 coins against 0.125. A tenth of the volume moves the price by 20 %: sold at 72 for 1/0.01255.
    # At 64 account 1 has 5.7 - 5.625 = 0.075 against 0.15625; its thousand are sold at 80*(1 - 0.2 - 0.1) = 56, the
    # mark is 48. In the next hour it is 64 again.
    ClearingScenario(
        name="inverse: a liquidation moves the price into the next",
        bars=DROP_TO_80,
        accounts=THREE_INVERSE_LONGS,
        terms=COIN,
        rules={"fund_start": 10.0, "impact": 2.0, "half_life_minutes": 60.0},
        events="""
            bar  kind      acc  size  trigger  bust      lost   price  result
            1    takeover  0    1000  80       1/0.01255 0.05   .      .
            1    sale      .    1000  .        .         .      72     12.55-1000/72
            1    takeover  1    1000  64       1/0.0157  0.075  .      .
            1    sale      .    1000  .        .         .      56     15.7-1000/56
        """,
        wallet="0 0 20 10",
        equity="0  0  20-5.625  10+16.875",
        held="0 0 1000 -3000",
        fund="10  38.25-1000/72-1000/56  38.25-1000/72-1000/56",
    ),
    # Binance: 24 are left against 1800*0.02 - 10 = 26. With a fee of 1 % three lots restore: 24 - 2.7 = 21.3 against
    # 17*90*0.02 - 10 = 20.6; two would leave 22.2 against 22.4. At 89 there are 4.3 left, and no size is small enough.
    ClearingScenario(
        name="the smallest step that restores, then the takeover",
        bars="""
            open  high  low  close
            100   100   100  100
            90    90    90   90
            89    89    89   89
        """,
        accounts="""
            acc  wallet  size  entry
            0    224     20    100
            1    1000    -20   100
        """,
        terms={"table": TWO, "lot": 1.0},
        rules={"step": "restore", "liquidation_fee": 0.01, "fund_start": 100.0},
        events="""
            bar  kind      acc  size  trigger  bust       realized  fee  price  result
            1    step      0    3     90       .          -30       2.7  .      .
            1    sale      .    3     .        .          .         .    90     0
            2    takeover  0    17    89       89-4.3/17  -187      .    .      .
            2    sale      .    17    .        .          .         .    89     4.3
        """,
        wallet="0 1000",
        equity="0 1220",
        fund="100 102.7 107",
    ),
    # Isolated: 0.1875 coins are left against 12.5*0.02 - 0.05 = 0.2. The step's loss of 0.15 and fee of 0.00075 come
    # out of the margin, of which nothing comes free: 0.18675 against 0.185 for 940. Closing 50 alone would leave
    # 0.186875 against 0.1875.
    ClearingScenario(
        name="inverse: the smallest step that restores, from an isolated margin",
        bars=DROP_TO_80,
        accounts="""
            acc  wallet  size   entry  margin
            0    3       1000   100    2.6875
            1    10      -1000  100    .
        """,
        terms={"table": brackets((0, 0.01), (5, 0.02)), "lot": 10.0, **COIN},
        rules={"step": "restore", "liquidation_fee": 0.001, "fund_start": 1.0},
        events="""
            bar  kind  acc  size  trigger  realized  fee      price  result
            1    step  0    60    80       -0.15     0.00075  .      .
            1    sale  .    60    .        .         .        80     0
        """,
        wallet="3-0.15075  10",
        equity="0.3125+0.18675  12.5",
        held="940 -1000",
        fund="1 1.00075 1.00075",
    ),
    # BitMEX, flat: 335 - 300 = 35 are left against 2700*0.03. 22 lots are below 2000, where 39.6 are required; 11 are
    # below 1000, where 9.9 are.
    ClearingScenario(
        name="two steps down the brackets",
        bars=DROP_TO_90,
        accounts="""
            acc  wallet  size  entry
            0    335     30    100
            1    1000    -30   100
        """,
        terms={"table": brackets((0, 0.01), (1000, 0.02), (2000, 0.03), form="flat"), "lot": 1.0},
        rules={"step": "tier", "fund_start": 100.0},
        events="""
            bar  kind  acc  size  trigger  realized  fee  price  result
            1    step  0    8     90       -80       0    .      .
            1    step  0    11    90       -110      0    .      .
            1    sale  .    19    .        .         .    90     0
        """,
        wallet="145 1000",
        equity="35 1300",
        held="11 -30",
        fund="100 100 100",
    ),
    # At 110 there are 40 against 1650*0.03; nine of 15 lots are below 1000, and the bracket from 900 binds until the
    # bar ends. At 95 their 855 ask for one percent only, but from 100 on they are worth 900 again and ask for two: they
    # fail at (130 + 900)/9.18, where eight lots are below 900.
    ClearingScenario(
        name="the bracket of a step binds again after a lower one",
        bars="""
            open  high   low  close
            100   100    100  100
            110   112.5  95   112.5
        """,
        accounts="""
            acc  wallet  size  entry
            0    190     -15   100
            1    1000    15    100
        """,
        terms={"table": brackets((0, 0.01), (900, 0.02), (1000, 0.03), form="flat"), "lot": 1.0},
        rules={"step": "tier", "fund_start": 100.0},
        events="""
            bar  kind  acc  size  trigger    realized       fee  price      result
            1    step  0    -6    110        -60            0    .          .
            1    sale  .    -6    .          .              .    110        0
            1    step  0    -1    1030/9.18  100-1030/9.18  0    .          .
            1    sale  .    -1    .          .              .    1030/9.18  0
        """,
        wallet="230-1030/9.18  1000",
        equity="130-1030/9.18  1187.5",
        held="-8 15",
        fund="100 100",
    ),
    # 0.2 coins are left against 12.5*0.02. 400 dollars are worth 5 coins and belong to the upper bracket: 390 remain.
    ClearingScenario(
        name="inverse: a step to the lower bracket",
        bars=DROP_TO_80,
        accounts="""
            acc  wallet  size   entry
            0    2.7     1000   100
            1    10      -1000  100
        """,
        terms={"table": brackets((0, 0.01), (5, 0.02), form="flat"), "lot": 10.0, **COIN},
        rules={"step": "tier"},
        events="""
            bar  kind  acc  size  trigger  realized  fee  price  result
            1    step  0    610   80       -1.525    0    .      .
            1    sale  .    610   .        .         .    80     0
        """,
        wallet="1.175 10",
        equity="0.2 12.5",
        held="390 -1000",
        fund="0 0 0",
    ),
    # By the entry's notional of 990 one percent is required whatever the mark: 9.9. At 100 the mark's notional of 1100
    # would ask for 55, and 40 are left. It fails at 90 + (150 - 9.9)/11.
    ClearingScenario(
        name="the entry chooses the bracket",
        bars="""
            open  high  low  close
            90    90    90   90
            100   100   100  100
            100   103   100  103
        """,
        accounts="""
            acc  wallet  size  entry
            0    150     -11   90
            1    1000    11    90
        """,
        terms={"table": brackets((0, 0.01), (1000, 0.05), form="flat")},
        rules={"mmr_basis": "entry", "fund_start": 100.0},
        events="""
            bar  kind      acc  size  trigger      bust       lost  price        result
            2    takeover  0    -11   90+140.1/11  90+150/11  9.9   .            .
            2    sale      .    -11   .            .          .     90+140.1/11  9.9
        """,
        wallet="0 1000",
        equity="0 1143",
        fund="100 100 109.9",
    ),
    # 990 dollars at 200 are 4.95 coins, of which one percent is required. At 160 the mark's 6.1875 coins would ask for
    # 0.309, and 1.5 - 1.2375 are left.
    ClearingScenario(
        name="inverse: the entry chooses the bracket",
        bars="""
            open  high  low  close
            200   200   200  200
            160   160   160  160
            160   160   150  150
        """,
        accounts="""
            acc  wallet  size  entry
            0    1.5     990   200
            1    10      -990  200
        """,
        terms={"table": brackets((0, 0.01), (5, 0.05), form="flat"), **COIN},
        rules={"mmr_basis": "entry", "fund_start": 1.0},
        events="""
            bar  kind      acc  size  trigger               bust               lost    price                 result
            2    takeover  0    990   1/(0.005+1.4505/990)  1/(0.005+1.5/990)  0.0495  .                     .
            2    sale      .    990   .                     .                  .       1/(0.005+1.4505/990)  0.0495
        """,
        wallet="0 10",
        equity="0  10+1.65",
        fund="1 1 1.0495",
    ),
)

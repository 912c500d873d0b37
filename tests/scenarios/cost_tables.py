"""Costs: fee tiers by volume, maker and taker, models of slippage."""

from tests.scenarios.table import Scenario

# The trades close at 100, 110, 99: returns of +10 % and -10 %, a root mean square of 10 %.
SWINGS = """
            open  high  low  close  volume  target
            100   100   100  100    1000    .
            100   110   100  110    1000    .
            110   110   99   99     1000    1
            100   100   100  100    1000    .
"""

SCENARIOS = (
    # Bars of a day. Before the run 3000 were traded in 30 days, 100 a day. On day 1 the 30 days before it hold 29 of
    # them: 2900, below 2950, so 0.1 % of 1000. On day 2: 2800+1000, so 0.04 % of the 6 sold (0.5*999/100 = 4.995 -> 4
    # are kept). The contract's own 1 % does not count.
    Scenario(
        name="the volume before the run fades out and own fills come in",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            100   100   100  100    0.5
            100   100   100  100    .
        """,
        hours=24,
        terms={"taker_fee": 0.01},
        rules={"fee_tiers": ((0.0, 0.001, 0.0005), (2950.0, 0.0004, 0.0001)), "volume_30d": 3000.0},
        fills="""
            bar  side  qty  price  fee
            1    buy   10   100    1
            2    sell  6    100    0.24
        """,
        wallet="1000  999  998.76",
    ),
    # Bars of half a day. Bar 1 is day 0, bars 2 and 3 are day 1. Before day 1: 1000, so still 0.1 %. Before day 2:
    # 1000+1000+900 (998/100 = 9.98 -> 9), so 0.05 %.
    Scenario(
        name="a fee tier is reached the day after",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            100   100   100  100    0
            100   100   100  100    1
            100   100   100  100    0
            100   100   100  100    .
        """,
        hours=12,
        rules={"fee_tiers": ((0.0, 0.001, 0.001), (1500.0, 0.0005, 0.0005))},
        fills="""
            bar  side  qty  price  fee
            1    buy   10   100    1
            2    sell  10   100    1
            3    buy   9    100    0.9
            4    sell  9    100    0.45
        """,
        wallet="1000  999  998  997.1  996.65",
    ),
    # The tier's maker rate for the limit order, its taker rate for the exit.
    Scenario(
        name="a tier has a rate for makers",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    1       99
            100   100   98   100    0       .
            100   100   100  100    .       .
        """,
        terms={"taker_fee": 0.01, "maker_fee": 0.01},
        rules={"fee_tiers": ((0.0, 0.001, -0.0002),)},
        fills="""
            bar  side  qty  price  fee     pnl  liq
            1    buy   10   99     -0.198  0    maker
            2    sell  10   100    1       10   taker
        """,
        wallet="1000  1000.198  1009.198",
    ),
    # 10 bps fixed and 20 bps of half spread: 100*1.003 and 110*0.997.
    Scenario(
        name="half a spread is added",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            100   110   100  110    0
            110   110   110  110    .
        """,
        terms={"slippage": 0.001},
        rules={"slippage_model": "half_spread", "half_spread_bps": 20.0},
        fills="""
            bar  side  qty  price   slip  pnl
            1    buy   10   100.3   3     0
            2    sell  10   109.67  3.3   93.7
        """,
        wallet="1093.7",
    ),
    # 10 bps fixed and a tenth of 10 %: 100*1.011.
    Scenario(
        name="slippage by volatility",
        bars=SWINGS,
        terms={"slippage": 0.001},
        rules={"slippage_model": "volatility", "volatility_factor": 0.1},
        fills="""
            bar  side  qty  price  slip
            3    buy   10   101.1  11
        """,
        equity="1000  1000  1000  989",
    ),
    # A window of 2 has seen the returns of -10 % and 0: 0.1*sqrt(0.01/2).
    Scenario(
        name="volatility looks back as far as its window",
        bars="""
            open  high  low  close  target
            100   100   100  100    .
            100   110   100  110    .
            110   110   99   99     .
            99    100   99   99     1
            100   100   100  100    .
        """,
        rules={"slippage_model": "volatility", "volatility_factor": 0.1, "cost_window": 2},
        fills="""
            bar  side  qty  price
            4    buy   10   100*(1+0.1*0.005**0.5)
        """,
    ),
    # Before bar 1 there is one close and no return.
    Scenario(
        name="without a return there is no volatility",
        bars="""
            open  high  low  close  target
            100   120   80   110    1
            100   100   100  100    .
        """,
        rules={"slippage_model": "volatility", "volatility_factor": 0.1},
        fills="""
            bar  side  qty  price  slip
            1    buy   10   100    0
        """,
    ),
    # 10 of a volume of 1000 at 10 %: 0.1*sqrt(0.01) = 1 %.
    Scenario(
        name="slippage by impact",
        bars=SWINGS,
        rules={"slippage_model": "impact", "impact_factor": 1.0},
        fills="""
            bar  side  qty  price  slip
            3    buy   10   101    10
        """,
    ),
    # Wanted are 100 of a volume of 1600: 0.1*sqrt(100/1600) = 2.5 %. At 102.5 each unit takes 10.25 and 2.5 of loss
    # to the mark, 12.75 of 1000: 78.43 -> 78. These 78 cost 0.1*sqrt(78/1600).
    Scenario(
        name="a clipped order pays the impact of what is left of it",
        bars="""
            open  high  low  close  volume  target
            100   100   100  100    1600    .
            100   110   100  110    1600    .
            110   110   99   99     1600    10
            100   100   100  100    1600    .
        """,
        rules={"slippage_model": "impact", "impact_factor": 1.0},
        fills="""
            bar  side  qty  price
            3    buy   78   100*(1+0.1*(78/1600)**0.5)
        """,
        orders="""
            bar  wanted  filled  status   reason
            2    100     78      clipped  margin
        """,
    ),
    # 0.1*7.5 would be 75 %: cut at 50 %. A sale of 2 at 50.
    Scenario(
        name="slippage is cut at half the price",
        bars=SWINGS.replace("    1\n", "    -0.2\n"),
        terms={"leverage": 1.0},
        rules={"slippage_model": "volatility", "volatility_factor": 7.5},
        fills="""
            bar  side  qty  price  slip
            3    sell  2    50     100
        """,
    ),
    # Bought at 101 as above. Before bar 4 the closes are 100, 110, 99, 100: returns 0.1, -0.1 and 1/99.
    Scenario(
        name="a stop pays the slippage of its bar",
        bars="""
            open  high  low  close  target  stop_price
            100   100   100  100    .       .
            100   110   100  110    .       .
            110   110   99   99     1       95
            100   100   100  100    .       .
            100   100   94   96     .       .
        """,
        rules={"slippage_model": "volatility", "volatility_factor": 0.1},
        fills="""
            bar  side  qty  price                                         why
            3    buy   10   101                                           target
            4    sell  10   95*(1-0.1*((0.02+1/99**2)/3)**0.5)            stop_loss
        """,
    ),
    # A resting limit order pays none of it.
    Scenario(
        name="a maker pays no slippage",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    .       .
            100   110   100  110    .       .
            110   110   99   99     1       95
            100   100   94   96     .       .
        """,
        terms={"slippage": 0.01},
        rules={"slippage_model": "volatility", "volatility_factor": 0.1},
        fills="""
            bar  side  qty  price  slip  liq
            3    buy   10   95     0     maker
        """,
    ),
)

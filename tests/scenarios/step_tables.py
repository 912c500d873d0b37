"""Partial liquidations, and marks on a coarser clock than the trades."""

from tests.scenarios.table import Scenario, brackets

ISOLATED = {"margin_mode": "isolated"}
OKX_LIKE = (brackets((0, 0.01), (2000, 0.02), (4000, 0.05), form="flat"),)

SCENARIOS = (
    # 50 at 100 in the third bracket (5 % on the whole): 1000 + 50*(M-100) = 2.5*M at M = 4000/47.5 = 84.21, worth
    # 4210.5. Two brackets down means below 2000: 2000/84.21 = 23.75, so 23 stay and 27 are closed at the mark, at a
    # loss of 27*15.789 and a fee of 0.1 % of 27*84.21. Then 1 % on 23 units is far below the balance.
    Scenario(
        name="a step goes two brackets down",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   84   90     .
        """,
        terms={"tables": OKX_LIKE},
        rules={
            "step": "tier",
            "step_tiers": 2,
            "step_from_tier": 3,
            "step_above_first": True,
            "liquidation_fee": 0.001,
        },
        fills="""
            bar  side  qty  price      pnl                 fee  why
            1    buy   50   100        0                   0    target
            2    sell  27   4000/47.5  27*(4000/47.5-100)  0    liquidation_step
        """,
        liquidations="""
            bar  kind  qty  trigger    balance        required       tier  fee
            2    step  27   4000/47.5  2.5*4000/47.5  2.5*4000/47.5  2     0.027*4000/47.5
        """,
        wallet="1000+27*(4000/47.5-100)-0.027*4000/47.5",
        equity="1000+27*(4000/47.5-100)-0.027*4000/47.5-23*10",
        maintenance="0  250  23*0.9",
    ),
    # From the second bracket (2 %) the same venue does not step: 30 at 100 fail at 300+30*(M-100) = 0.6*M, 2700/29.4,
    # where they are worth 2755: all is taken.
    Scenario(
        name="below the bracket where steps begin all is taken",
        bars="""
            open  high  low  close  target
            100   100   100  100    3
            100   100   100  100    .
            100   100   90   95     .
        """,
        terms={**ISOLATED, "tables": OKX_LIKE},
        rules={"step": "tier", "step_tiers": 2, "step_from_tier": 3},
        fills="""
            bar  side  qty  price      why
            1    buy   30   100        target
            2    sell  30   2700/29.4  liquidation
        """,
        liquidations="""
            bar  kind      qty  trigger    tier  lost
            2    takeover  30   2700/29.4  1     300
        """,
        wallet="700",
    ),
    # Isolated, 30 at 100, margin 300, 2 % from 2000 on: trigger at 2700/29.4 = 91.84. One bracket down: 2000/91.84 =
    # 21.78, so 21 stay, 9 are closed; their loss of 73.47 comes out of the margin, nothing is released. The 21 then
    # fail where 300-9*8.163 + 21*(M-100) = 0.21*M (the lower bracket), at (1800+9*(100-2700/29.4))/20.79 = 90.11:
    # taken there.
    Scenario(
        name="a step under isolated margin, then the takeover",
        bars="""
            open  high  low  close  target
            100   100   100  100    3
            100   100   100  100    .
            100   100   89   95     .
        """,
        terms={**ISOLATED, "tables": (brackets((0, 0.01), (2000, 0.02), form="flat"),)},
        rules={"step": "tier"},
        fills="""
            bar  side  qty  price                                pnl                why
            1    buy   30   100                                  0                  target
            2    sell  9    2700/29.4                            9*(2700/29.4-100)  liquidation_step
            2    sell  21   (1800+9*(100-2700/29.4))/20.79       21*((1800+9*(100-2700/29.4))/20.79-100)  liquidation
        """,
        liquidations="""
            bar  kind      qty  trigger                          tier  lost
            2    step      9    2700/29.4                        1     9*(100-2700/29.4)
            2    takeover  21   (1800+9*(100-2700/29.4))/20.79   0     300-9*(100-2700/29.4)
        """,
        wallet="700",
    ),
    # Progressive 1 %, from 1000 on 10 % less 90. The mark gaps to 86: 1000-50*14 = 300 against 50*8.6-90 = 340.
    # Closing n costs 0.86*n of fee and saves 8.6*n: 300-0.86*n > 340-8.6*n from n = 6 on (40/7.74 = 5.2).
    Scenario(
        name="a restoring step closes the fewest lots",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            86    95    86   94     .
        """,
        terms={"tables": (brackets((0, 0.01), (1000, 0.1)),)},
        rules={"step": "restore", "step_once": True, "liquidation_fee": 0.01},
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   50   100    0    target
            2    sell  6    86     -84  liquidation_step
        """,
        liquidations="""
            bar  kind  qty  trigger  balance  required  tier  lost   fee   fund
            2    step  6    86       300      340       1     89.16  5.16  5.16
        """,
        wallet="1000  1000  910.84",
        equity="1000  1000  910.84-44*6",
    ),
    # The same, and the price falls on: 44 left with 910.84 fail again where 910.84+44*(M-100) = 44*M*0.1-90, at
    # (4400-910.84-90)/39.6 = 85.84. The one try is used up: all is taken.
    Scenario(
        name="the second failure in a bar is a takeover",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            86    95    85   94     .
        """,
        terms={"tables": (brackets((0, 0.01), (1000, 0.1)),)},
        rules={"step": "restore", "step_once": True, "liquidation_fee": 0.01},
        fills="""
            bar  side  qty  price          pnl                     why
            1    buy   50   100            0                       target
            2    sell  6    86             -84                     liquidation_step
            2    sell  44   3399.16/39.6   44*(3399.16/39.6-100)   liquidation
        """,
        liquidations="""
            bar  kind      qty  trigger       lost
            2    step      6    86            89.16
            2    takeover  44   3399.16/39.6  910.84
        """,
        wallet="0",
    ),
    # Marks of four hours over trades of one. Opened in the first mark bar; in the second the trades have a wick to
    # 80, scaled by 99/99: the mark bar's low of 92 bounds it, above the trigger of 90.909. Nothing happens.
    Scenario(
        name="a coarse mark bounds a wick of the trades",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   100  100    .
            100   100   100  100    .
            99    99    96   97     .
            97    98    80   96     .
            96    97    96   96     .
            96    97    95   95     .
        """,
        terms=ISOLATED,
        marks="""
            open  high  low  close
            100   100   100  100
            99    100   92   95
        """,
        mark_hours=4,
        fills="""
            bar  side  qty  price
            1    buy   50   100
        """,
        equity="1000  1000  1000  1000  850  800  800  750",
        counts={"coarse_unchecked": 1},  # opened inside the first mark bar
    ),
    # The trades never fall below 95, the mark bar does: to 90. It is walked once it is over, since the position has
    # not changed since its open: taken at 90.909 in bar 7.
    Scenario(
        name="a coarse mark bar is walked on its own path",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   100  100    .
            100   100   100  100    .
            99    99    96   97     .
            97    98    96   96     .
            96    97    96   96     .
            96    97    95   95     .
        """,
        terms=ISOLATED,
        marks="""
            open  high  low  close
            100   100   100  100
            99    100   90   95
        """,
        mark_hours=4,
        fills="""
            bar  side  qty  price      why
            1    buy   50   100        target
            7    sell  50   4500/49.5  liquidation
        """,
        liquidations="""
            bar  kind      trigger    lost
            7    takeover  4500/49.5  500
        """,
        equity="1000  1000  1000  1000  850  800  800  500",
        counts={"coarse_unchecked": 1},
    ),
    # The marks stand 2 % above the trades: value 100*1.02 at the close of bar 1. 10 bought at 100 are worth 1020.
    Scenario(
        name="a coarse mark is scaled from the trades",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            100   105   100  105    .
        """,
        marks="""
            open  high  low  close
            102   110   102  108
        """,
        mark_hours=2,
        fills="""
            bar  side  qty  price
            1    buy   10   100
        """,
        equity="1000  1000+10*(105*1.02-100)",
        counts={"coarse_unchecked": 1},
    ),
)

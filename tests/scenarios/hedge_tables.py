"""Hedge mode: a long and a short leg of one contract beside each other."""

from tests.scenarios.table import Scenario, brackets

HEDGE = {"position_mode": "hedge"}
ISOLATED = {"margin_mode": "isolated"}
TWO_FLAT = (brackets((0, 0.01), (3000, 0.05), form="flat"),)

SCENARIOS = (
    # A target of 1 is the long leg's, -1 the short leg's: the first closes before the second opens.
    Scenario(
        name="a plain target in hedge mode moves from leg to leg",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            100   100   100  100    -1
            100   100   100  100    .
        """,
        rules=HEDGE,
        fills="""
            bar  pos    side  qty  price
            1    long   buy   10   100
            2    long   sell  10   100
            2    short  sell  10   100
        """,
    ),
    # 20 long and 10 short. At 110: +200-100. Maintenance 1 % of 30*110; gross 3300 and net 1100 of 1100.
    Scenario(
        name="both legs are held",
        bars="""
            open  high  low  close  target_long  target_short
            100   100   100  100    2            -1
            100   110   99   110    .            .
        """,
        rules=HEDGE,
        fills="""
            bar  pos    side  qty  price
            1    long   buy   20   100
            1    short  sell  10   100
        """,
        orders="""
            bar  pos    target  wanted  filled  status
            0    long   2       20      20      filled
            0    short  -1      -10     -10     filled
        """,
        equity="1000  1100",
        maintenance="0  33",
        gross="0  3",
        net="0  1",
    ),
    # 60 long, 10 short: 1000+50*(M-100) = 0.7*M at M = 4000/49.3 = 81.136. What is left goes over by requirement, 0.6*M
    # and 0.1*M: the bankruptcy prices lie 1 % below and above the mark.
    Scenario(
        name="both legs are liquidated together under cross",
        bars="""
            open  high  low  close  target_long  target_short
            100   100   100  100    6            -1
            100   100   100  100    .            .
            100   100   80   85     .            .
        """,
        rules=HEDGE,
        fills="""
            bar  pos    side  qty  price      pnl                  why
            1    long   buy   60   100        0                    target
            1    short  sell  10   100        0                    target
            2    long   sell  60   4000/49.3  60*(4000/49.3-100)   liquidation
            2    short  buy   10   4000/49.3  -10*(4000/49.3-100)  liquidation
        """,
        liquidations="""
            bar  pos    kind      qty  trigger    bankrupt         balance         required        lost                            fund
            2    long   takeover  60   4000/49.3  0.99*4000/49.3   0.7*4000/49.3   0.7*4000/49.3   6000-59.4*4000/49.3             0.6*4000/49.3
            2    short  takeover  10   4000/49.3  1.01*4000/49.3   0.7*4000/49.3   0.7*4000/49.3   -1000+10.1*4000/49.3            0.1*4000/49.3
        """,  # noqa: E501
        wallet="1000  1000  0",
    ),
    # 40 against 40: at 50 and at 150 the equity is what it was, the requirement at most 120.
    Scenario(
        name="legs of equal size back each other under cross",
        bars="""
            open  high  low  close  target_long  target_short
            100   100   100  100    4            -4
            100   100   50   60     .            .
            60    150   60   150    .            .
        """,
        rules=HEDGE,
        fills="""
            bar  pos    side  qty  price
            1    long   buy   40   100
            1    short  sell  40   100
        """,
        equity="1000  1000  1000",
        maintenance="0  48  120",
    ),
    # Isolated, the long's 500 are its own: lost at 4500/49.5 although the short wins. The short has won 200 at 90.
    Scenario(
        name="an isolated leg is liquidated alone",
        bars="""
            open  high  low  close  target_long  target_short
            100   100   100  100    5            -2
            100   100   100  100    .            .
            100   100   85   90     .            .
        """,
        terms=ISOLATED,
        rules=HEDGE,
        fills="""
            bar  pos    side  qty  price      why
            1    long   buy   50   100        target
            1    short  sell  20   100        target
            2    long   sell  50   4500/49.5  liquidation
        """,
        liquidations="""
            bar  pos   kind      qty  trigger    bankrupt  lost
            2    long  takeover  50   4500/49.5  90        500
        """,
        wallet="1000  1000  500",
        equity="1000  1000  700",
    ),
    # Flat brackets, 5 % from 3000 on. Each leg of 2000 alone is in the first: 20+20 ...
    Scenario(
        name="each leg chooses its own bracket",
        bars="""
            open  high  low  close  target_long  target_short
            100   100   100  100    2            -2
            100   100   100  100    .            .
        """,
        terms={"tables": TWO_FLAT},
        rules={**HEDGE, "hedge_tier": "leg"},
        fills="""
            bar  pos    side  qty  price
            1    long   buy   20   100
            1    short  sell  20   100
        """,
        maintenance="0  40",
        margin_ratio="0  0.04",
    ),
    # ... together they are in the second: 100+100.
    Scenario(
        name="both legs together choose the bracket",
        bars="""
            open  high  low  close  target_long  target_short
            100   100   100  100    2            -2
            100   100   100  100    .            .
        """,
        terms={"tables": TWO_FLAT},
        rules={**HEDGE, "hedge_tier": "gross"},
        fills="""
            bar  pos    side  qty  price
            1    long   buy   20   100
            1    short  sell  20   100
        """,
        maintenance="0  200",
        margin_ratio="0  0.2",
    ),
    # Isolated at 10x, both in the second bracket down to 3000/40 = 75: the long has 200+20*(M-100) against M, its
    # 20 units at 5 %: M = 1800/19 = 94.737. With its own bracket it would live until 1800/19.8 = 90.909.
    Scenario(
        name="a leg is liquidated in the bracket of both",
        bars="""
            open  high  low  close  target_long  target_short
            100   100   100  100    2            -2
            100   100   100  100    .            .
            100   100   92   93     .            .
        """,
        terms={**ISOLATED, "tables": TWO_FLAT},
        rules={**HEDGE, "hedge_tier": "gross"},
        fills="""
            bar  pos    side  qty  price    why
            1    long   buy   20   100      target
            1    short  sell  20   100      target
            2    long   sell  20   1800/19  liquidation
        """,
        liquidations="""
            bar  pos   kind      qty  trigger  bankrupt  required  tier  lost
            2    long  takeover  20   1800/19  90        1800/19   1     200
        """,
        wallet="1000  1000  800",
        equity="1000  1000  940",
        maintenance="0  200  18.6",
    ),
    # The long leg's stop closes the long leg. The short goes on: +40 at 96.
    Scenario(
        name="a stop closes its own leg",
        bars="""
            open  high  low  close  target_long  target_short  stop_loss_long
            100   100   100  100    1            -1            0.05
            100   100   100  100    .            .             .
            100   101   94   96     .            .             .
        """,
        rules=HEDGE,
        fills="""
            bar  pos    side  qty  price  pnl  why
            1    long   buy   10   100    0    target
            1    short  sell  10   100    0    target
            2    long   sell  10   95     -50  stop_loss
        """,
        equity="1000  1000  990",
    ),
    # Equal legs hurt neither way first: by colour, so a rising bar goes down first and stops the long, then the short.
    Scenario(
        name="equal legs go by colour, rising",
        bars="""
            open  high  low  close  target_long  target_short  stop_loss
            100   100   100  100    1            -1            0.05
            100   100   100  100    .            .             .
            100   106   94   103    .            .             .
        """,
        rules=HEDGE,
        fills="""
            bar  pos    side  qty  price  pnl  why
            1    long   buy   10   100    0    target
            1    short  sell  10   100    0    target
            2    long   sell  10   95     -50  stop_loss
            2    short  buy   10   105    -50  stop_loss
        """,
        wallet="900",
    ),
    # A falling bar goes up first.
    Scenario(
        name="equal legs go by colour, falling",
        bars="""
            open  high  low  close  target_long  target_short  stop_loss
            100   100   100  100    1            -1            0.05
            100   100   100  100    .            .             .
            100   106   94   97     .            .             .
        """,
        rules=HEDGE,
        fills="""
            bar  pos    side  qty  price  pnl  why
            1    long   buy   10   100    0    target
            1    short  sell  10   100    0    target
            2    short  buy   10   105    -50  stop_loss
            2    long   sell  10   95     -50  stop_loss
        """,
        wallet="900",
    ),
    # 25 are sold from a long leg of 10: no short leg appears.
    Scenario(
        name="an order does not carry a leg through zero",
        bars="""
            open  high  low  close  target_long
            100   100   100  100    1
            100   100   100  100    .
            100   100   100  100    .
        """,
        rules=HEDGE,
        requests="""
            bar  do    qty  pos
            1    sell  25   long
        """,
        fills="""
            bar  pos   side  qty  price  why
            1    long  buy   10   100    target
            2    long  sell  10   100    order
        """,
    ),
    # Both legs receive and pay the same funding at 100: 20 units pay 20*100*0.001 = 2, 10 receive 1.
    Scenario(
        name="each leg settles its funding",
        bars="""
            open  high  low  close  target_long  target_short  rate
            100   100   100  100    2            -1            .
            100   100   100  100    .            .             .
            100   100   100  100    .            .             0.001
        """,
        rules=HEDGE,
        fills="""
            bar  pos    side  qty  price
            1    long   buy   20   100
            1    short  sell  10   100
        """,
        funding="""
            bar  held  received
            2    20    -2
            2    -10   1
        """,
        wallet="1000  1000  999",
    ),
    # A limit entry of the short leg while the long leg is held.
    Scenario(
        name="a leg enters by a limit order",
        bars="""
            open  high  low  close  target_long  target_short  limit_short
            100   100   100  100    1            -0.5          103
            100   102   99   100    .            .             .
            100   104   99   100    .            .             .
        """,
        rules=HEDGE,
        fills="""
            bar  pos    side  qty  price  liq
            1    long   buy   10   100    taker
            2    short  sell  5    103    maker
        """,
        equity="1000  1000  1015",
    ),
    # Half of the equity a symbol, legs netted: 5 long; then 10 short bring the net from 500 to -500.
    Scenario(
        name="a symbol's limit counts its legs against each other",
        bars="""
            open  high  low  close  target_long  target_short
            100   100   100  100    1            -1
            100   100   100  100    .            .
        """,
        rules={**HEDGE, "symbol_limit": 0.5},
        fills="""
            bar  pos    side  qty  price
            1    long   buy   5    100
            1    short  sell  10   100
        """,
        gross="0  1.5",
        net="0  -0.5",
    ),
    # Requests close every leg.
    Scenario(
        name="closing a contract closes both legs",
        bars="""
            open  high  low  close  target_long  target_short
            100   100   100  100    1            -0.5
            100   102   99   102    .            .
            102   102   102  102    .            .
        """,
        rules=HEDGE,
        requests="""
            bar  do     sym
            1    close  0
        """,
        fills="""
            bar  pos    side  qty  price  pnl  why
            1    long   buy   10   100    0    target
            1    short  sell  5    100    0    target
            2    long   sell  10   102    20   close
            2    short  buy   5    102    -10  close
        """,
        wallet="1010",
    ),
    # A sale for the short leg opens it beside the long one; a purchase for it closes a part.
    Scenario(
        name="requests name their leg",
        bars="""
            open  high  low  close
            100   100   100  100
            100   100   100  100
            98    98    98   98
        """,
        rules=HEDGE,
        requests="""
            bar  do    qty  pos
            0    buy   10   long
            0    sell  8    short
            1    buy   3    short
        """,
        fills="""
            bar  pos    side  qty  price  pnl
            1    long   buy   10   100    0
            1    short  sell  8    100    0
            2    short  buy   3    98     6
        """,
        equity="1000  1000  1006-20+10",
    ),
)

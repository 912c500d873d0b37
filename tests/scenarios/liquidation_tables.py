"""Liquidation in one piece: triggers, marks, takeovers, shares.

Where nothing else is said the account has 1000 and opens 50 units at 100 with leverage 10: 500 of margin under isolated
margin. At a maintenance rate of 1 % the isolated position fails where 500 + 50*(M-100) = 0.5*M: at M = 4500/49.5, which
is 90.909; its margin is used up at 90. Under cross margin: 1000 + 50*(M-100) = 0.5*M, at 4000/49.5 = 80.808.
"""

from tests.scenarios.table import Scenario, brackets

ISOLATED = {"margin_mode": "isolated"}
OPENED = """
            bar  side  qty  price
            1    buy   50   100
"""

SCENARIOS = (
    # Opened at 100 the mark is at 88 already: taken at 88, where 500-50*12 = -100 is left. The fund pays the 100, the
    # account has lost its margin and no more.
    Scenario(
        name="a gap jumps over the trigger",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            88    95    87   95     .
        """,
        terms=ISOLATED,
        fills="""
            bar  side  qty  price  pnl   why
            1    buy   50   100    0     target
            2    sell  50   88     -600  liquidation
        """,
        liquidations="""
            bar  kind      qty  trigger  bankrupt  exec  balance  required  lost  fund
            2    takeover  50   88       90        88    -100     44        500   -100
        """,
        wallet="1000  1000  500",
    ),
    # Down to 85 and back: the isolated position is gone at 90.909 ...
    Scenario(
        name="an isolated position is lost in a dip",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   85   100    .
        """,
        terms=ISOLATED,
        fills="""
            bar  side  qty  price      pnl                 why
            1    buy   50   100        0                   target
            2    sell  50   4500/49.5  50*(4500/49.5-100)  liquidation
        """,
        liquidations="""
            bar  kind      qty  trigger    bankrupt  balance           required        tier  lost  fund
            2    takeover  50   4500/49.5  90        50*4500/49.5-4500  50*45/49.5      0     500   50*(4500/49.5-90)
        """,
        equity="1000  1000  500",
    ),
    # ... while the cross account backs it with all of its 1000.
    Scenario(
        name="a cross position survives the same dip",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   85   100    .
        """,
        fills=OPENED,
        equity="1000  1000  1000",
    ),
    # A short of 50: 500 - 50*(M-100) = 0.5*M, M = 5500/50.5 = 108.911.
    Scenario(
        name="a short is liquidated by a rise",
        bars="""
            open  high  low  close  target
            100   100   100  100    -5
            100   100   100  100    .
            100   112   99   100    .
        """,
        terms=ISOLATED,
        fills="""
            bar  side  qty  price      pnl                  why
            1    sell  50   100        0                    target
            2    buy   50   5500/50.5  -50*(5500/50.5-100)  liquidation
        """,
        liquidations="""
            bar  kind      qty  trigger    bankrupt  lost
            2    takeover  50   5500/50.5  110       500
        """,
        wallet="1000  1000  500",
    ),
    # The trades stand still at 100, the mark falls to 88: liquidated all the same.
    Scenario(
        name="the mark moves while the trades stand still",
        bars="""
            open  high  low  close  m_open  m_high  m_low  m_close  target
            100   100   100  100    100     100     100    100      5
            100   100   100  100    100     100     100    100      .
            100   100   100  100    100     100     88     97       .
        """,
        terms=ISOLATED,
        fills="""
            bar  side  qty  price      why
            1    buy   50   100        target
            2    sell  50   4500/49.5  liquidation
        """,
        liquidations="""
            bar  kind      qty  trigger    lost
            2    takeover  50   4500/49.5  500
        """,
        wallet="1000  1000  500",
    ),
    # The trades crash to 50, the mark stays above 99: nothing happens.
    Scenario(
        name="the trades crash while the mark stands still",
        bars="""
            open  high  low  close  m_open  m_high  m_low  m_close  target
            100   100   100  100    100     100     100    100      5
            100   100   100  100    100     100     100    100      .
            100   100   50   100    100     100     99     100      .
        """,
        terms=ISOLATED,
        fills=OPENED,
        equity="1000  1000  1000",
    ),
    # With opens and closes alone the low of 85 is never seen.
    Scenario(
        name="a path of closes does not see the low",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   85   99     .
        """,
        terms=ISOLATED,
        rules={"intrabar": "close"},
        fills=OPENED,
        equity="1000  1000  950",
    ),
    # Closed at the market for the trader: 500-50*9.0909 = 45.45 is left at 90.909, less 0.5 % of the 4545.45 closed =
    # 22.73 for the fund. The other 22.73 go back to the free wallet.
    Scenario(
        name="a market takeover gives back what is left",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   85   100    .
        """,
        terms=ISOLATED,
        rules={"takeover": "market", "liquidation_fee": 0.005},
        fills="""
            bar  side  qty  price      pnl                 why
            1    buy   50   100        0                   target
            2    sell  50   4500/49.5  50*(4500/49.5-100)  liquidation
        """,
        liquidations="""
            bar  kind      qty  trigger    lost                      fee                    fund
            2    takeover  50   4500/49.5  500-50*4500/49.5*0.005     50*4500/49.5*0.005     50*4500/49.5*0.005
        """,
        wallet="1000  1000  500+50*4500/49.5*0.005",
    ),
    # 1 coin at 20000, a position of 20000 dollars. 4000 up: 20000*(1/20000-1/24000) = 1/6 coin. 4000 down: 1/4 coin.
    Scenario(
        name="an inverse long loses more on the way down than it wins on the way up",
        bars="""
            open   high   low    close  target
            20000  20000  20000  20000  1
            20000  24000  20000  24000  .
            24000  24000  16000  16000  0
            16000  16000  16000  16000  .
        """,
        terms={"kind": "inverse", "leverage": 2.0},
        rules={"balance": 1.0},
        fills="""
            bar  side  qty    price  pnl    why
            1    buy   20000  20000  0      target
            3    sell  20000  16000  -0.25  target
        """,
        equity="1  1+1/6  0.75  0.75",
        maintenance="0  20000/24000*0.01  20000/16000*0.01  0",
    ),
    # 20000 dollars at 20000 (1 coin), then 40000 more at 25000 (1.6 coins): the average entry is 60000/2.6 = 23077,
    # below the arithmetic mean of 23333. Equity at 25000: 2+20000*(1/20000-1/25000) = 2.2 coins = 55000 dollars;
    # 60000 wanted.
    Scenario(
        name="an inverse entry is averaged harmonically",
        bars="""
            open   high   low    close  target
            20000  20000  20000  20000  0.5
            20000  25000  20000  25000  12/11
            25000  25000  25000  25000  0
            25000  25000  25000  25000  .
        """,
        terms={"kind": "inverse", "leverage": 2.0},
        rules={"balance": 2.0},
        fills="""
            bar  side  qty    price  pnl
            1    buy   20000  20000  0
            2    buy   40000  25000  0
            3    sell  60000  25000  60000*(2.6/60000-1/25000)
        """,
        wallet="2  2  2  2.2",
    ),
    # An inverse short of 1x never fails upwards: 1 coin - 20000*(1/20000-1/M) = 20000/M always covers 1 % of 20000/M.
    Scenario(
        name="an inverse short of the whole balance cannot be liquidated",
        bars="""
            open   high    low    close   target
            20000  20000   20000  20000   -1
            20000  900000  20000  800000  .
        """,
        terms={"kind": "inverse", "leverage": 2.0},
        rules={"balance": 1.0},
        fills="""
            bar  side  qty    price
            1    sell  20000  20000
        """,
        equity="1  20000/800000",
    ),
    # Flat brackets: 1 % below 6000, 30 % on everything from 6000 on. The long earns, but at M = 6000/50 = 120 the
    # requirement jumps from 60 to 1800 above the balance of 500+50*20 = 1500: the boundary itself is the trigger.
    Scenario(
        name="a flat bracket's boundary liquidates on a favourable move",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   125   99   124    .
        """,
        terms={**ISOLATED, "tables": (brackets((0, 0.01), (6000, 0.3), form="flat"),)},
        fills="""
            bar  side  qty  price  pnl   why
            1    buy   50   100    0     target
            2    sell  50   120    1000  liquidation
        """,
        liquidations="""
            bar  kind      qty  trigger  balance  required  tier  lost  fund
            2    takeover  50   120      1500     1800      1     500   1500
        """,
        wallet="1000  1000  500",
    ),
    # Progressive brackets, 1 % and from 4000 on 2 % less 40: 500 + 50*(M-100) = 50*M*0.02 - 40, M = 4460/49 = 91.02.
    Scenario(
        name="a progressive bracket's deduction moves the trigger",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   91   95     .
        """,
        terms={**ISOLATED, "tables": (brackets((0, 0.01), (4000, 0.02)),)},
        fills="""
            bar  side  qty  price    why
            1    buy   50   100      target
            2    sell  50   4460/49  liquidation
        """,
        liquidations="""
            bar  kind      qty  trigger  balance       tier  lost
            2    takeover  50   4460/49  4460/49-40    1     500
        """,
        maintenance="0  60  0",
    ),
    # From hour 3 on the rate is 20 %: 50*100*0.2 = 1000 >= 500 of margin, at an unmoved price.
    Scenario(
        name="dated tiers change the maintenance of an open position",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   100  100    .
            100   100   100  100    .
        """,
        terms={**ISOLATED, "tables": (brackets((0, 0.01)), brackets((0, 0.2), since_hour=3))},
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   50   100    0    target
            3    sell  50   100    0    liquidation
        """,
        liquidations="""
            bar  kind      qty  trigger  bankrupt  exec  balance  required  tier  lost  fund
            3    takeover  50   100      90        100   500      1000      0     500   500
        """,
        maintenance="0  50  50  0",
        margin_ratio="0  0.1  0.1  0",
        wallet="1000  1000  1000  500",
    ),
    # Bybit's classic rules: maintenance on the entry value, the fee to close reserved at the bankruptcy price of 90.
    # Margin 100 + 10*90*0.00055 = 100.495, requirement 10*100*0.005 + 0.495 = 5.495. Trigger where 10*(100-M) = 95:
    # M = 90.5, the published 100*(1-1/10+0.005). The opening fee of 0.55 is paid by the free wallet.
    Scenario(
        name="maintenance on entry with the closing fee at bankruptcy",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            100   100   100  100    .
            100   100   90   95     .
        """,
        terms={**ISOLATED, "tables": (brackets((0, 0.005)),), "taker_fee": 0.00055},
        rules={"mmr_basis": "entry", "close_fee": 0.00055, "close_fee_basis": "bankruptcy"},
        fills="""
            bar  side  qty  price  fee   pnl  why
            1    buy   10   100    0.55  0    target
            2    sell  10   90.5   0     -95  liquidation
        """,
        liquidations="""
            bar  kind      trigger  bankrupt     balance  required  lost     fund
            2    takeover  90.5     100-10.0495  5.495    5.495     100.495  5.495
        """,
        maintenance="0  5  0",
        wallet="1000  999.45  999.45-100.495",
    ),
    # The closing fee in the test: 500 + 50*(M-100) = 50*M*(0.01+0.0006), M = 4500/49.47. Shown maintenance leaves it
    # out.
    Scenario(
        name="a closing fee at the mark brings the trigger nearer",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   85   100    .
        """,
        terms=ISOLATED,
        rules={"close_fee": 0.0006},
        fills="""
            bar  side  qty  price       why
            1    buy   50   100         target
            2    sell  50   4500/49.47  liquidation
        """,
        liquidations="""
            bar  kind      trigger     lost
            2    takeover  4500/49.47  500
        """,
        maintenance="0  50  0",
        margin_ratio="0  53/500  0",
    ),
    # The mark falls from 100 to 88 while the trades fall to 80. The mark meets 90.909 after f = 9.0909/12 of the leg;
    # the trades are at 100-20*f = 84.848 there: the engine sells at that, and the fund pays 50*(90-84.848).
    Scenario(
        name="the engine sells at the worse traded price",
        bars="""
            open  high  low  close  m_open  m_high  m_low  m_close  target
            100   100   100  100    100     100     100    100      5
            100   100   100  100    100     100     100    100      .
            100   100   80   95     100     100     88     97       .
        """,
        terms=ISOLATED,
        rules={"engine_price": "trade"},
        fills="""
            bar  side  qty  price                         pnl                 slip  why
            1    buy   50   100                           0                   0     target
            2    sell  50   100-20*(100-4500/49.5)/12     50*(4500/49.5-100)  0     liquidation
        """,
        liquidations="""
            bar  kind      trigger    exec                       lost  fund
            2    takeover  4500/49.5  100-20*(100-4500/49.5)/12  500   50*(10-20*(100-4500/49.5)/12)
        """,
        wallet="1000  1000  500",
    ),
    # After the liquidation nothing is traded: the order decided at the close of bar 2 is cancelled, bar 3's target
    # leaves no trace.
    Scenario(
        name="a run can stop after a liquidation",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   85   100    3
            100   100   100  100    1
            100   100   100  100    .
        """,
        terms=ISOLATED,
        rules={"then": "stop"},
        fills="""
            bar  side  qty  price      why
            1    buy   50   100        target
            2    sell  50   4500/49.5  liquidation
        """,
        liquidations="""
            bar  kind      trigger    lost
            2    takeover  4500/49.5  500
        """,
        orders="""
            bar  target  filled  status     reason
            0    5       50      filled     none
            2    3       0       cancelled  stopped
        """,
        wallet="500",
    ),
    # The target stays 5 after the liquidation: flat until another one comes. 4*500/100 = 20.
    Scenario(
        name="after a liquidation the symbol stays flat until the target changes",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    5
            100   100   85   100    5
            100   100   100  100    5
            100   100   100  100    4
            100   100   100  100    .
        """,
        terms=ISOLATED,
        rules={"rebalance": "band", "band": 0.1},
        fills="""
            bar  side  qty  price      why
            1    buy   50   100        target
            2    sell  50   4500/49.5  liquidation
            5    buy   20   100        target
        """,
        liquidations="""
            bar  kind      trigger    lost
            2    takeover  4500/49.5  500
        """,
        wallet="500",
    ),
)

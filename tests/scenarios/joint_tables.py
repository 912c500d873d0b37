"""Several contracts under cross margin: saved together, taken together, and the order in which their marks move.

The account has 1000; 50 units at 100 alone fail where 1000 + 50*(M-100) = 0.5*M, at M = 4000/49.5 = 80.808.
"""

from tests.scenarios.table import Scenario

SCENARIOS = (
    # Alone, 50 units are lost at 80.808 on the way to 80 ...
    Scenario(
        name="a cross position alone is lost",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   80   81     .
        """,
        terms={"leverage": 20.0},
        fills="""
            bar  side  qty  price      why
            1    buy   50   100        target
            2    sell  50   4000/49.5  liquidation
        """,
        liquidations="""
            bar  kind      qty  trigger    bankrupt  lost  fund
            2    takeover  50   4000/49.5  80        1000  50*4000/49.5-4000
        """,
        wallet="1000  1000  0",
    ),
    # ... but the second contract has earned 20*30 = 600 before: at 80 there are 1000-1000+600 = 600 against 40+26.
    Scenario(
        name="one contract's profit saves the other",
        bars=(
            """
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   80   81     .
            """,
            """
            open  high  low  close  target
            100   100   100  100    2
            100   130   100  130    .
            130   130   130  130    .
            """,
        ),
        terms={"leverage": 20.0},
        fills="""
            bar  sym  side  qty  price
            1    0    buy   50   100
            1    1    buy   20   100
        """,
        equity="1000  1600  1600-950",
        maintenance="0  76  50*0.81+26",
    ),
    # Both gap down: 1000-50*15-20*11 = 30 against 42.5+17.8 = 60.3. The 30 are handed over in proportion to what each
    # required: 30*42.5/60.3 and 30*17.8/60.3; each bankruptcy price lies that much below its mark.
    Scenario(
        name="two contracts are taken together and share what is left",
        bars=(
            """
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            85    90    85   90     .
            """,
            """
            open  high  low  close  target
            100   100   100  100    2
            100   100   100  100    .
            89    90    89   90     .
            """,
        ),
        terms={"leverage": 20.0},
        fills="""
            bar  sym  side  qty  price  pnl   why
            1    0    buy   50   100    0     target
            1    1    buy   20   100    0     target
            2    0    sell  50   85     -750  liquidation
            2    1    sell  20   89     -220  liquidation
        """,
        liquidations="""
            bar  sym  kind      qty  bankrupt             balance  required  lost               fund
            2    0    takeover  50   85-30*42.5/60.3/50   30       60.3      750+30*42.5/60.3   30*42.5/60.3
            2    1    takeover  20   89-30*17.8/60.3/20   30       60.3      220+30*17.8/60.3   30*17.8/60.3
        """,
        wallet="1000  1000  0",
    ),
    # The same gap, closed at the market: the larger requirement first. 50 at 85 loses 750; then 250-220 = 30 > 17.8
    # and the second contract stays.
    Scenario(
        name="a cross takeover at the market stops as soon as the rest is safe",
        bars=(
            """
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            85    90    85   90     .
            """,
            """
            open  high  low  close  target
            100   100   100  100    2
            100   100   100  100    .
            89    90    89   90     .
            """,
        ),
        terms={"leverage": 20.0},
        rules={"takeover": "market"},
        fills="""
            bar  sym  side  qty  price  pnl   why
            1    0    buy   50   100    0     target
            1    1    buy   20   100    0     target
            2    0    sell  50   85     -750  liquidation
        """,
        liquidations="""
            bar  sym  kind      qty  balance  required  lost  fee  fund
            2    0    takeover  50   30       60.3      750   0    0
        """,
        wallet="1000  1000  250",
        equity="250-200",
    ),
    # A long and a short of 40 units in two contracts that move together: 1000 stays 1000 on the common path. If each
    # contract went its own bad way first, 40*20+40*20 = 1600 would be lost: only the worst path liquidates. Worst
    # path: 1000-40*d-40*d = 0.4*(100-d)+0.4*(100+d) = 80 at d = 11.5.
    Scenario(
        name="the worst joint path finds a liquidation that the common one does not",
        bars=(
            """
            open  high  low  close  target
            100   100   100  100    4
            100   100   100  100    .
            100   120   80   100    .
            """,
            """
            open  high  low  close  target
            100   100   100  100    -4
            100   100   100  100    .
            100   120   80   100    .
            """,
        ),
        rules={"joint": "worst"},
        fills="""
            bar  sym  side  qty  price  why
            1    0    buy   40   100    target
            1    1    sell  40   100    target
            2    0    sell  40   88.5   liquidation
            2    1    buy   40   111.5  liquidation
        """,
        liquidations="""
            bar  sym  kind      trigger  balance  required  lost                disputed
            2    0    takeover  88.5     80       80        460+80*35.4/80      true
            2    1    takeover  111.5    80       80        460+80*44.6/80      true
        """,
        wallet="1000  1000  0",
        counts={"disputed_bars": 1},
    ),
    Scenario(
        name="the common joint path counts the dispute and goes on",
        bars=(
            """
            open  high  low  close  target
            100   100   100  100    4
            100   100   100  100    .
            100   120   80   100    .
            """,
            """
            open  high  low  close  target
            100   100   100  100    -4
            100   100   100  100    .
            100   120   80   100    .
            """,
        ),
        fills="""
            bar  sym  side  qty  price  why
            1    0    buy   40   100    target
            1    1    sell  40   100    target
        """,
        equity="1000  1000  1000",
        counts={"disputed_bars": 1},
    ),
)

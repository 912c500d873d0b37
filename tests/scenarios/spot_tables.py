"""Spot beside perpetual contracts: bought in full, and as collateral."""

from tests.scenarios.table import Scenario

SPOT = {"kind": "spot"}

SCENARIOS = (
    # Each unit takes 100*(1+0.001) of 1000: 9.99 -> 9 of the 10 wanted. Fee 0.9. From 100 to 1 nothing is liquidated.
    Scenario(
        name="spot is paid in full and never liquidated",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            100   100   50   50     .
            50    50    1    1      .
        """,
        terms={**SPOT, "taker_fee": 0.001},
        fills="""
            bar  side  qty  price  fee
            1    buy   9    100    0.9
        """,
        orders="""
            bar  wanted  filled  status   reason
            0    10      9       clipped  margin
        """,
        wallet="1000  999.1  999.1",
        equity="1000  999.1-450  999.1-891",
        maintenance="0  0  0",
    ),
    # A short target sells what is held and no more.
    Scenario(
        name="spot is never short",
        bars="""
            open  high  low  close  target
            100   100   100  100    0.5
            100   110   100  110    -1
            110   110   110  110    .
        """,
        terms=SPOT,
        fills="""
            bar  side  qty  price  pnl
            1    buy   5    100    0
            2    sell  5    110    50
        """,
        wallet="1050",
    ),
    # Stopped at 90.
    Scenario(
        name="spot has stops",
        bars="""
            open  high  low  close  target  stop_loss
            100   100   100  100    0.5     0.1
            100   101   99   100    .       .
            100   101   88   95     .       .
        """,
        terms=SPOT,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   5    100    0    target
            2    sell  5    90     -50  stop_loss
        """,
        wallet="950",
    ),
    # 10 bought at 100, 10 sold short at 102 (0.51*2000/102). Funding received: 10*103*0.001 and 10*105*0.001. The basis
    # closes at 105: +50 and -30. Nothing else happened: 20 of basis and 2.08 of funding.
    Scenario(
        name="cash and carry",
        bars=(
            """
            open  high  low  close  target
            100   100   100  100    0.5
            100   102   99   101    .
            101   104   100  103    .
            104   106   103  105    0
            105   105   105  105    .
            """,
            """
            open  high  low  close  target  rate
            102   102   102  102    -0.51   .
            102   104   101  103    .       .
            103   105   102  104    .       0.001
            105   107   104  106    0       0.001
            105   105   105  105    .       .
            """,
        ),
        terms=({**SPOT}, {}),
        rules={"balance": 2000.0},
        fills="""
            bar  sym  side  qty  price  pnl
            1    0    buy   10   100    0
            1    1    sell  10   102    0
            4    0    sell  10   105    50
            4    1    buy   10   105    -30
        """,
        funding="""
            bar  sym  held  received
            2    1    -10   1.03
            3    1    -10   1.05
        """,
        wallet="2000  2000  2001.03  2002.08  2022.08",
        equity="2000  2000  2001.03+30-20  2002.08+50-40  2022.08",
    ),
    # 10 coins at 100 come in as 1000. With a haircut of 10 % they add 900 to the free 100. 50 contracts from 100: 100
    # + 9*M + 50*(M-100) = 0.5*M at M = 4900/58.5 = 83.761. The coins are sold at 0.9*M, then the contracts are taken;
    # 0.5*M was left and goes to the fund.
    Scenario(
        name="collateral falls with the position until both are gone",
        bars=(
            """
            open  high  low  close
            100   100   100  100
            100   100   100  100
            100   100   80   82
            """,
            """
            open  high  low  close  target
            100   100   100  100    50
            100   100   100  100    .
            100   100   80   82     .
            """,
        ),
        terms=({**SPOT, "haircut": 0.1, "holding": 10.0}, {}),
        rules={"balance": 100.0, "sizing": "quantity"},
        fills="""
            bar  sym  side  qty  price            pnl                      why
            1    1    buy   50   100              0                        target
            2    0    sell  10   0.9*4900/58.5    10*(0.9*4900/58.5-100)   collateral
            2    1    sell  50   4900/58.5        50*(4900/58.5-100)       liquidation
        """,
        liquidations="""
            bar  sym  kind      qty  trigger    bankrupt         balance         required        lost                   fund
            2    1    takeover  50   4900/58.5  0.99*4900/58.5   0.5*4900/58.5   0.5*4900/58.5   5000-49.5*4900/58.5    0.5*4900/58.5
        """,  # noqa: E501
        wallet="1100  1100  0",
        equity="1100  1100  0",
    ),
    # Without the collateral 100 would carry 10 contracts, with half of 1000 beside them 600 carry 60.
    Scenario(
        name="collateral backs openings",
        bars=(
            """
            open  high  low  close
            100   100   100  100
            100   100   100  100
            """,
            """
            open  high  low  close  target
            100   100   100  100    100
            100   100   100  100    .
            """,
        ),
        terms=({**SPOT, "haircut": 0.5, "holding": 10.0}, {}),
        rules={"balance": 100.0, "sizing": "quantity"},
        fills="""
            bar  sym  side  qty  price
            1    1    buy   60   100
        """,
        orders="""
            bar  sym  wanted  filled  status   reason
            0    1    100     60      clipped  margin
        """,
        ledger="""
            bar  kind      amount
            0    transfer  1000
        """,
        wallet="1100  1100",
    ),
    # Bought in the run, with a haircut of 20 %: 5 coins leave 500 free and count 400. 900 carry 90 contracts.
    Scenario(
        name="spot that was bought counts as collateral",
        bars=(
            """
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   100  100    .
            """,
            """
            open  high  low  close  target
            100   100   100  100    .
            100   100   100  100    100
            100   100   100  100    .
            """,
        ),
        terms=({**SPOT, "haircut": 0.2}, {}),
        rules={"sizing": "quantity"},
        fills="""
            bar  sym  side  qty  price
            1    0    buy   5    100
            2    1    buy   90   100
        """,
    ),
    # The contracts lose 150, more than the free 100. 900 of collateral stand behind that: the debt of 50 is neither
    # lifted nor a bar to buying again.
    Scenario(
        name="collateral carries a free wallet below zero",
        bars=(
            """
            open  high  low  close
            100   100   100  100
            100   100   100  100
            100   100   100  100
            100   100   100  100
            """,
            """
            open  high  low  close  target
            100   100   100  100    10
            100   100   85   85     0
            85    85    85   85     10
            85    86    85   86     .
            """,
        ),
        terms=({**SPOT, "haircut": 0.1, "holding": 10.0}, {}),
        rules={"balance": 100.0, "sizing": "quantity"},
        fills="""
            bar  sym  side  qty  price  pnl
            1    1    buy   10   100    0
            2    1    sell  10   85     -150
            3    1    buy   10   85     0
        """,
        wallet="1100  1100  950  950",
        equity="1100  950  950  960",
    ),
)

"""The whole account: contracts that back each other, sizing, limits, the drawdown stop, deposits and withdrawals."""

from tests.scenarios.table import Scenario

FLAT = """
            open  high  low  close  target
            100   100   100  100    {}
            100   100   100  100    .
"""


def still(target: str) -> str:
    """Return two bars at an unmoved 100 with one target."""
    return FLAT.format(target)


FALLS = """
            open  high  low  close  target  stop_price
            100   100   100  100    5       {}
            100   100   100  100    .       .
            100   100   88   90     .       .
"""

SCENARIOS = (
    # The second contract has won 20*30 = 600. 1600-50*d = 0.5*(100-d)+26 at d = 1524/49.5 = 30.79: down to 65 that is
    # not enough. Each contract hands over what it required: 0.5*M and 26.
    Scenario(
        name="one contract's profit does not save the other",
        bars=(
            """
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   65   70     .
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
            bar  sym  side  qty  price          pnl               why
            1    0    buy   50   100            0                 target
            1    1    buy   20   100            0                 target
            2    0    sell  50   100-1524/49.5  -50*1524/49.5     liquidation
            2    1    sell  20   130            600               liquidation
        """,
        liquidations="""
            bar  sym  kind      trigger        bankrupt                balance                   lost
            2    0    takeover  100-1524/49.5  0.99*(100-1524/49.5)    0.5*(100-1524/49.5)+26    50*1524/49.5+50-0.5*1524/49.5
            2    1    takeover  130            128.7                   0.5*(100-1524/49.5)+26    26-600
        """,  # noqa: E501
        wallet="1000  1000  0",
    ),
    # Two longs of 50 that fall together: 1000-100*d = 100-d at d = 900/99, where both are taken. Each had required
    # half of what was left, M in all.
    Scenario(
        name="two falling contracts are liquidated together",
        bars=(FALLS.format("."), FALLS.format(".")),
        terms={"leverage": 20.0},
        fills="""
            bar  sym  side  qty  price       why
            1    0    buy   50   100         target
            1    1    buy   50   100         target
            2    0    sell  50   100-900/99  liquidation
            2    1    sell  50   100-900/99  liquidation
        """,
        liquidations="""
            bar  sym  kind      trigger     balance     required    lost
            2    0    takeover  100-900/99  100-900/99  100-900/99  500
            2    1    takeover  100-900/99  100-900/99  100-900/99  500
        """,
        wallet="1000  1000  0",
    ),
    # The first one's stop at 95 comes before that: 750+50*(M-100) is left for the second one, enough down to 88.
    Scenario(
        name="a stop on one contract saves the other",
        bars=(FALLS.format("95"), FALLS.format(".")),
        terms={"leverage": 20.0},
        fills="""
            bar  sym  side  qty  price  pnl   why
            1    0    buy   50   100    0     target
            1    1    buy   50   100    0     target
            2    0    sell  50   95     -250  stop_loss
        """,
        wallet="1000  1000  750",
        equity="1000  1000  250",
        maintenance="0  100  45",
    ),
    # 505/100 = 5.05 -> 5 units, whatever the equity.
    Scenario(
        name="sizing by notional",
        bars=still("505"),
        rules={"sizing": "notional"},
        fills="""
            bar  side  qty  price
            1    buy   5    100
        """,
    ),
    # 0.03534 coins at 20000 are 706.8 dollars, a lot is one dollar.
    Scenario(
        name="sizing by notional of an inverse contract",
        bars="""
            open   high   low    close  target
            20000  20000  20000  20000  -0.03534
            20000  20000  20000  20000  .
        """,
        terms={"kind": "inverse", "leverage": 2.0},
        rules={"sizing": "notional", "balance": 1.0},
        fills="""
            bar  side  qty  price
            1    sell  706  20000
        """,
    ),
    # 7.3 units in steps of 0.5: 7.
    Scenario(
        name="sizing by quantity",
        bars=still("7.3"),
        terms={"contract_size": 0.5},
        rules={"sizing": "quantity"},
        fills="""
            bar  side  qty  price
            1    buy   7    100
        """,
    ),
    # 1.25 % of 1000 are 12.5; each unit loses 5 at the stop: 2.5 -> 2. The level of 96 in the second: 12.5/4 -> 3. A
    # short with a level of 104: 3. A trailing stop of 3 %: 12.5/3 -> 4. Without a stop nothing opens.
    Scenario(
        name="sizing by risk",
        bars=(
            """
            open  high  low  close  target  stop_loss
            100   100   100  100    0.0125  0.05
            100   100   100  100    .       .
            """,
            """
            open  high  low  close  target  stop_loss  stop_price
            100   100   100  100    0.0125  0.05       96
            100   100   100  100    .       .          .
            """,
            """
            open  high  low  close  target   stop_price
            100   100   100  100    -0.0125  104
            100   100   100  100    .        .
            """,
            """
            open  high  low  close  target  trailing_stop
            100   100   100  100    0.0125  0.03
            100   100   100  100    .       .
            """,
            still("0.0125"),
        ),
        rules={"sizing": "risk"},
        fills="""
            bar  sym  side  qty  price
            1    0    buy   2    100
            1    1    buy   3    100
            1    2    sell  3    100
            1    3    buy   4    100
        """,
    ),
    Scenario(
        name="sizing by risk without a stop opens nothing",
        bars=still("0.0125"),
        rules={"sizing": "risk"},
        orders="""
            bar  filled  reason
            0    0       no_stop
        """,
    ),
    # 1.5 times the equity in all: the second contract gets what the first has left.
    Scenario(
        name="the gross limit cuts what comes last",
        bars=(still("1"), still("1")),
        rules={"gross_limit": 1.5},
        fills="""
            bar  sym  side  qty  price
            1    0    buy   10   100
            1    1    buy   5    100
        """,
        orders="""
            bar  sym  wanted  filled  status   reason
            0    0    10      10      filled   none
            0    1    10      5       clipped  limit
        """,
        gross="0  1.5",
    ),
    # Half the equity net: the long gets 5; the short of 10 brings the net from 500 to -500, just allowed.
    Scenario(
        name="the net limit counts longs against shorts",
        bars=(still("1"), still("-1")),
        rules={"net_limit": 0.5},
        fills="""
            bar  sym  side  qty  price
            1    0    buy   5    100
            1    1    sell  10   100
        """,
        orders="""
            bar  sym  wanted  filled  status   reason
            0    0    10      5       clipped  limit
            0    1    -10     -10     filled   none
        """,
        gross="0  1.5",
        net="0  -0.5",
    ),
    # 0.35 of the equity for each: 3.5 -> 3.
    Scenario(
        name="a symbol's limit",
        bars=(still("1"), still("-0.2")),
        rules={"symbol_limit": 0.35},
        fills="""
            bar  sym  side  qty  price
            1    0    buy   3    100
            1    1    sell  2    100
        """,
        orders="""
            bar  sym  wanted  filled  status   reason
            0    0    10      3       clipped  limit
            0    1    -2      -2      filled   none
        """,
    ),
    # At 110 the equity is 1100: 1.5*1100/110 = 15 are wanted, the limit of 1.1*1100 = 1210 allows 11.
    Scenario(
        name="limits follow the equity",
        bars="""
            open  high  low  close  target
            100   110   100  110    1
            100   110   100  110    1.5
            110   110   110  110    .
        """,
        rules={"gross_limit": 1.1},
        fills="""
            bar  side  qty  price
            1    buy   10   100
            2    buy   1    110
        """,
    ),
    # 40 units: at 94 the equity is 760 <= 800. Sold at the next open of 96: -160. Later targets open nothing.
    Scenario(
        name="the drawdown stop closes everything",
        bars="""
            open  high  low  close  target
            100   100   100  100    4
            100   101   99   100    .
            100   100   93   94     .
            96    97    95   96     1
            96    97    95   96     .
        """,
        rules={"max_drawdown_stop": 0.2},
        fills="""
            bar  side  qty  price  pnl   why
            1    buy   40   100    0     target
            3    sell  40   96     -160  drawdown_stop
        """,
        equity="1000  1000  760  840  840",
        drawdown="0  0  -0.24  -0.16  -0.16",
    ),
    # Its resting orders are cancelled: the buy limit at 90 is not filled in bar 3.
    Scenario(
        name="the drawdown stop cancels resting orders",
        bars="""
            open  high  low  close  target
            100   100   100  100    4
            100   101   99   100    .
            100   100   93   94     .
            96    97    85   96     .
        """,
        rules={"max_drawdown_stop": 0.2},
        requests="""
            bar  do   qty  kind   limit
            0    buy  1    limit  90
        """,
        fills="""
            bar  side  qty  price  why
            1    buy   40   100    target
            3    sell  40   96     drawdown_stop
        """,
        wallet="840",
    ),
    # 500 come in at bar 2's open, before the target of 1 is sized there: 1500/100 = 15. The 300 that leave at hour
    # 2.5 are booked at bar 3's open. Neither is a gain or a loss: no drawdown.
    Scenario(
        name="deposits and withdrawals",
        bars="""
            open  high  low  close  target
            100   100   100  100    .
            100   100   100  100    1
            100   100   100  100    .
            100   100   100  100    .
        """,
        transfers=((2, 500.0), (2.5, -300.0)),
        fills="""
            bar  side  qty  price
            2    buy   15   100
        """,
        ledger="""
            bar  sym  kind      amount
            2    -1   transfer  500
            3    -1   transfer  -300
        """,
        wallet="1000  1000  1500  1200",
        drawdown="0  0  0  0",
        counts={"transfers_cut": 0},
    ),
    # 50 units bind 500 at 10x: of the 800 asked for, 500 leave.
    Scenario(
        name="a withdrawal is cut to what is available",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   100  100    .
        """,
        transfers=((2, -800.0),),
        fills="""
            bar  side  qty  price
            1    buy   50   100
        """,
        ledger="""
            bar  sym  kind      amount
            2    -1   transfer  -500
        """,
        wallet="1000  1000  500",
        counts={"transfers_cut": 1},
    ),
    # 20 units at 10x bind 200*1.1 = 220 at 110 and have won 200: 1000+200-220 = 980 are available and in the wallet.
    Scenario(
        name="a withdrawal may count on unrealised profit",
        bars="""
            open  high  low  close  target
            100   100   100  100    2
            100   110   100  110    .
            110   110   110  110    .
        """,
        transfers=((2, -1000.0),),
        fills="""
            bar  side  qty  price
            1    buy   20   100
        """,
        wallet="1000  1000  20",
        equity="1000  1200  220",
        counts={"transfers_cut": 1},
    ),
    # 0.01 coins are at risk; a dollar loses 1/16000-1/20000 of a coin at the stop: 0.01/0.0000125 = 800.
    Scenario(
        name="sizing by risk of an inverse contract",
        bars="""
            open   high   low    close  target  stop_loss
            20000  20000  20000  20000  0.01    0.2
            20000  20000  20000  20000  .       .
        """,
        terms={"kind": "inverse", "leverage": 2.0},
        rules={"sizing": "risk", "balance": 1.0},
        fills="""
            bar  side  qty  price
            1    buy   800  20000
        """,
    ),
    # Nothing trades in bar 3: the position is closed at bar 4's open.
    Scenario(
        name="the drawdown stop waits for volume",
        bars="""
            open  high  low  close  volume  target
            100   100   100  100    9       4
            100   101   99   100    9       .
            100   100   93   94     9       .
            96    96    95   95     0       .
            97    97    97   97     9       .
        """,
        rules={"max_drawdown_stop": 0.2},
        fills="""
            bar  side  qty  price  pnl   why
            1    buy   40   100    0     target
            4    sell  40   97     -120  drawdown_stop
        """,
        wallet="880",
    ),
    # At bar 2's open the mark is 80 and the loss of 1000 has used up the account; the 500 come before the check.
    Scenario(
        name="a deposit at the open comes before the liquidation check",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            80    82    79   81     .
        """,
        transfers=((2, 500.0),),
        fills="""
            bar  side  qty  price
            1    buy   50   100
        """,
        equity="1000  1000  550",
    ),
    # Half an hour later it is too late.
    Scenario(
        name="a deposit inside the bar comes too late",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            80    82    79   81     .
            81    81    81   81     .
        """,
        transfers=((2.5, 500.0),),
        fills="""
            bar  side  qty  price  why
            1    buy   50   100    target
            2    sell  50   80     liquidation
        """,
        liquidations="""
            bar  kind      trigger  balance  required  lost
            2    takeover  80       0        40        1000
        """,
        wallet="1000  1000  0  500",
    ),
    # 20 isolated units hold 200; the 800 of the free wallet may leave, the 200 won may not.
    Scenario(
        name="a withdrawal leaves isolated margins alone",
        bars="""
            open  high  low  close  target
            100   100   100  100    2
            100   110   100  110    .
            110   110   110  110    .
        """,
        terms={"margin_mode": "isolated"},
        transfers=((2, -1000.0),),
        fills="""
            bar  side  qty  price
            1    buy   20   100
        """,
        wallet="1000  1000  200",
        equity="1000  1200  400",
        counts={"transfers_cut": 1},
    ),
    # 300 leave a flat account that stops at a loss of 20 %: no loss. The next target opens 0.5*700/100 = 3.5 -> 3.
    Scenario(
        name="a withdrawal is no drawdown",
        bars="""
            open  high  low  close  target
            100   100   100  100    .
            100   100   100  100    .
            100   100   100  100    0.5
            100   100   100  100    .
        """,
        rules={"max_drawdown_stop": 0.2},
        transfers=((1, -300.0),),
        fills="""
            bar  side  qty  price
            3    buy   3    100
        """,
        wallet="1000  700  700  700",
    ),
    # 500 of spot leave 700 of 1.2 times 1000 to the contracts.
    Scenario(
        name="spot counts in the gross limit",
        bars=(still("0.5"), still("1")),
        terms=({"kind": "spot"}, {}),
        rules={"gross_limit": 1.2},
        fills="""
            bar  sym  side  qty  price
            1    0    buy   5    100
            1    1    buy   7    100
        """,
        gross="0  1.2",
    ),
)

"""Deleveraging and clawbacks: what the venue takes from an account that did nothing."""

from tests.scenarios.table import Scenario

ISOLATED = {"margin_mode": "isolated"}
HEDGE = {"position_mode": "hedge"}

SCENARIOS = (
    # Short 10 from 100, the mark falls to 90: half of it goes at the open of bar 2, at the mark.
    # 5 * (100 - 90) = 50. No fee, though takers pay: the entry alone cost 1000 * 0.001 = 1.
    Scenario(
        name="a short is deleveraged by half at the mark of an open",
        terms={"taker_fee": 0.001},
        bars="""
            open  high  low  close  target
            100   100   100  100    -1
            100   100   90   90     .
            90    90    90   90     .
            90    90    80   80     .
        """,
        venue="""
            hour  do          fraction
            2     deleverage  0.5
        """,
        fills="""
            bar  side  qty  price  fee  pnl  slip  why
            1    sell  10   100    1    0    0     target
            2    buy   5    90     0    50   0     auto_deleverage
        """,
        ledger="""
            bar  kind          amount
            1    trading_fee   -1
            2    realized_pnl  50
        """,
        equity="1000 1099 1099 1149",
    ),
    # The mark stood at 70 when it happened, between the open of 90 and the close of 85: 4 * 30 realised, 4 * 5 lost.
    Scenario(
        name="a quantity at the mark of its own moment",
        bars="""
            open  high  low  close  target
            100   100   100  100    -1
            100   100   90   90     .
            90    90    70   85     .
        """,
        venue="""
            hour  do          quantity  price  mark
            2.5   deleverage  4         75     70
            2.75  deleverage  99        .      .
        """,
        fills="""
            bar  side  qty  price  pnl  slip  why
            1    sell  10   100    0    0     target
            2    buy   4    75     120  20    auto_deleverage
            2    buy   6    85     90   0     auto_deleverage
        """,
        wallet="1190",
    ),
    # The bankruptcy price of the long that was taken over is 95, the mark 90: realised at 90, 5 * 10 lost to the price.
    Scenario(
        name="what the price takes is an entry of its own",
        bars="""
            open  high  low  close  target
            100   100   100  100    -1
            100   100   90   90     .
            90    90    90   90     .
        """,
        venue="""
            hour  do          price
            2     deleverage  95
        """,
        fills="""
            bar  side  qty  price  pnl  slip  why
            1    sell  10   100    0    0     target
            2    buy   10   95     100  50    auto_deleverage
        """,
        ledger="""
            bar  kind             amount
            2    realized_pnl     100
            2    auto_deleverage  -50
        """,
        wallet="1050",
    ),
    # A price better than the mark: 85 for a short at a mark of 90 brings 50 more.
    Scenario(
        name="a price may be better than the mark",
        bars="""
            open  high  low  close  target
            100   100   100  100    -1
            100   100   90   90     .
            90    90    90   90     .
        """,
        venue="""
            hour  do          price
            2     deleverage  85
        """,
        fills="""
            bar  side  qty  price  pnl  slip  why
            1    sell  10   100    0    0     target
            2    buy   10   85     100  -50   auto_deleverage
        """,
        wallet="1150",
    ),
    # Half an hour into bar 1: at its close, after the path, which took the second contract by its stop at 52.5.
    Scenario(
        name="inside a bar it happens at the close, and a stop that the path reached was first",
        bars=(
            """
            open  high  low  close  target  stop_loss
            100   100   100  100    -1      0.05
            100   101   80   80     .       .
            80    80    80   80     .       .
            """,
            """
            open  high  low  close  target  stop_loss
            50    50    50   50     -1      0.05
            50    55    40   40     .       .
            40    40    40   40     .       .
            """,
        ),
        venue="""
            hour  do          sym
            1.5   deleverage  0
            1.5   deleverage  1
        """,
        fills="""
            bar  sym  side  qty  price  pnl  why
            1    0    sell  10   100    0    target
            1    1    sell  20   50     0    target
            1    1    buy   20   52.5   -50  stop_loss
            1    0    buy   10   80     200  auto_deleverage
        """,
        orders="""
            bar  sym  kind    origin     filled  status     reason
            0    0    market  target     -10     filled     none
            0    1    market  target     -20     filled     none
            .    0    stop    stop_loss  0       cancelled  position_closed
            .    1    stop    stop_loss  20      filled     none
        """,
        counts={"deleverages_idle": 1},
        wallet="1150",
    ),
    # Both legs of a hedge under cross: what the long of 20 loses the short wins. With the short gone at 80 (400 of
    # profit, a wallet of 1400), the fall goes on against the long alone.
    Scenario(
        name="a hedged long is liquidated after its short was deleveraged",
        rules=HEDGE,
        bars="""
            open  high  low  close  target_long  target_short
            100   100   100  100    2            -2
            100   100   80   80     .            .
            80    80    80   80     .            .
            80    80    20   20     .            .
        """,
        venue="""
            hour  do          pos
            2     deleverage  short
        """,
        # v_liq = (20 * 100 - 1400) / (20 * 0.99)
        fills="""
            bar  pos    side  qty  price             pnl                    why
            1    long   buy   20   100               0                      target
            1    short  sell  20   100               0                      target
            2    short  buy   20   80                400                    auto_deleverage
            3    long   sell  20   600/(20*0.99)     20*(600/(20*0.99)-100)  liquidation
        """,
        liquidations="""
            bar  pos   kind      qty  trigger
            3    long  takeover  20   600/(20*0.99)
        """,
        wallet="0",
    ),
    # Isolated at 10: 10 units at 100 lock 100. Half at 90: 50 of margin and 50 of profit go to the free wallet.
    Scenario(
        name="an isolated margin is released in proportion",
        terms=ISOLATED,
        bars="""
            open  high  low  close  target
            100   100   100  100    -1
            100   100   90   90     .
            90    90    90   90     .
            90    200   90   200    .
        """,
        venue="""
            hour  do          fraction
            2     deleverage  0.5
        """,
        # left: 5 short from 100 on a margin of 50: v_liq = (-500 - 50) / (-5 - 0.05)
        fills="""
            bar  side  qty  price       pnl                why
            1    sell  10   100         0                  target
            2    buy   5    90          50                 auto_deleverage
            3    buy   5    550/5.05    -5*(550/5.05-100)  liquidation
        """,
        liquidations="""
            bar  pos    kind      qty  trigger
            3    short  takeover  5    550/5.05
        """,
        wallet="1000",
    ),
    # Isolated: 100 of margin and 100 of profit at 90 bear a price up to 110; at 111 nothing is closed.
    Scenario(
        name="an isolated margin bears the whole or nothing",
        terms=ISOLATED,
        bars="""
            open  high  low  close  target
            100   100   100  100    -1
            100   100   90   90     .
            90    90    90   90     .
            90    90    90   90     .
        """,
        venue="""
            hour  do          price
            2     deleverage  111
            3     deleverage  110
        """,
        fills="""
            bar  side  qty  price  pnl  slip  why
            1    sell  10   100    0    0     target
            3    buy   10   110    100  200   auto_deleverage
        """,
        counts={"deleverages_cut": 1},
        wallet="900",
    ),
    # Cross: 1000 + 50 * 10 = 1500 of balance at the mark of 90. At 125 each unit loses 35: 42 lots of 42.86.
    Scenario(
        name="a cross balance bears as many lots as leave it above zero",
        bars="""
            open  high  low  close  target
            100   100   100  100    -5
            100   100   90   90     .
            90    90    90   90     .
        """,
        venue="""
            hour  do          price
            2     deleverage  125
        """,
        fills="""
            bar  side  qty  price  pnl  slip    why
            1    sell  50   100    0    0       target
            2    buy   42   125    420  42*35   auto_deleverage
        """,
        # left: a wallet of 1000 + 420 - 1470 = -50 and 8 * 10 of profit: 30 > 8 * 90 * 0.01 = 7.2
        counts={"deleverages_cut": 1},
        wallet="-50",
    ),
    # Lots of 1: a quarter of 3 is none.
    Scenario(
        name="less than a lot is not closed",
        bars="""
            open  high  low  close  target
            100   100   100  100    0.3
            100   110   100  110    .
            110   110   110  110    .
        """,
        venue="""
            hour  do          fraction
            2     deleverage  0.25
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   3    100    0    target
        """,
        counts={"deleverages_cut": 1},
        wallet="1000",
    ),
    # Nothing is held, or the other side: the event finds nothing.
    Scenario(
        name="an event that finds nothing is counted",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            100   110   100  110    .
            110   110   110  110    .
        """,
        venue="""
            hour  do          pos
            0     deleverage  .
            2     deleverage  short
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
        """,
        counts={"deleverages_idle": 2},
        wallet="1000",
    ),
    # on_change: the target of -1 stays what it is, and the contract flat; -0.5 differs, of 1100 at 100: 5.
    Scenario(
        name="on_change leaves the contract alone until the target differs",
        bars="""
            open  high  low  close  target
            100   100   100  100    -1
            100   100   90   90     -1
            90    100   90   100    -1
            100   100   100  100    -0.5
            100   100   100  100    -0.5
        """,
        venue="""
            hour  do
            2     deleverage
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    sell  10   100    0    target
            2    buy   10   90     100  auto_deleverage
            4    sell  5    100    0    target
        """,
        wallet="1100",
    ),
    # band: as after a liquidation, nothing is done until another target is decided; after a half the drift acts.
    Scenario(
        name="band waits for another target after a whole position is gone",
        rules={"rebalance": "band", "band": 0.2},
        bars="""
            open  high  low  close  target
            100   100   100  100    -1
            100   100   100  100    -1
            100   100   100  100    -1
            100   100   100  100    -0.5
            100   100   100  100    -0.5
        """,
        venue="""
            hour  do
            2     deleverage
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    sell  10   100    0    target
            2    buy   10   100    0    auto_deleverage
            4    sell  5    100    0    target
        """,
        wallet="1000",
    ),
    Scenario(
        name="every_bar opens again what was deleveraged",
        rules={"rebalance": "every_bar"},
        bars="""
            open  high  low  close  target
            100   100   100  100    -1
            100   100   100  100    -1
            100   100   100  100    -1
            100   100   100  100    .
        """,
        venue="""
            hour  do
            2     deleverage
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    sell  10   100    0    target
            2    buy   10   100    0    auto_deleverage
            2    sell  10   100    0    target
        """,
        wallet="1000",
    ),
    # What is attached follows: the stop closes the 6 that are left.
    Scenario(
        name="a stop follows the size that is left",
        bars="""
            open  high  low  close  target  stop_loss
            100   100   100  100    -1      0.05
            100   100   90   90     .       .
            90    90    90   90     .       .
            90    106   90   100    .       .
        """,
        venue="""
            hour  do          fraction
            2.5   deleverage  0.4
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    sell  10   100    0    target
            2    buy   4    90     40   auto_deleverage
            3    buy   6    105    -30  stop_loss
        """,
        orders="""
            bar  kind    origin     wanted  filled  status
            0    market  target     -10     -10     filled
            .    stop    stop_loss  6       6       filled
        """,
        wallet="1010",
    ),
    # Funding at the open comes first, of the whole 10: -10 * 90 * 0.01 = 9 received. The check comes after: the gap to
    # 112 would have liquidated 80 short on 1000; the half that is left is safe.
    Scenario(
        name="after the funding of an open and before its liquidation check",
        bars="""
            open  high  low  close  target  rate
            100   100   100  100    -8      .
            100   100   100  100    .       .
            112   112   112  112    .       0.01
        """,
        # at 112: 1000 + 89.6 - 960 = 129.6 > 89.6 of requirement for 80
        venue="""
            hour  do          fraction
            2     deleverage  0.5
        """,
        fills="""
            bar  side  qty  price  pnl   why
            1    sell  80   100    0     target
            2    buy   40   112    -480  auto_deleverage
        """,
        funding="""
            bar  held  mark  received
            2    -80   112   89.6
        """,
        wallet="1000+89.6-480",
    ),
    # Inverse: 1000 quote units short from 100, at 80: 1000 * (1/80 - 1/100) = 2.5 coins; at 90 against the mark of 80
    # 1000 * (1/80 - 1/90) = 1.388... less.
    Scenario(
        name="an inverse short",
        terms={"kind": "inverse"},
        bars="""
            open  high  low  close  target
            100   100   100  100    -0.01
            100   100   80   80     .
            80    80    80   80     .
        """,
        venue="""
            hour  do          price
            2     deleverage  90
        """,
        fills="""
            bar  side  qty   price  pnl                  slip               why
            1    sell  1000  100    0                    0                  target
            2    buy   1000  90     1000*(1/80-1/100)    1000*(1/80-1/90)   auto_deleverage
        """,
        ledger="""
            bar  kind             amount
            2    realized_pnl     1000*(1/80-1/100)
            2    auto_deleverage  -1000*(1/80-1/90)
        """,
        wallet="1000+1000*(1/90-1/100)",
    ),
    # Profit since the start: 10 * 10 = 100, a deposit of 200 left out. 30 % of it: 30.
    Scenario(
        name="a clawback takes its share of the period's profit",
        bars="""
            open  high  low  close  target
            100   100   100  100    -1
            100   100   90   90     .
            90    90    90   90     .
        """,
        transfers=((1, 200),),
        venue="""
            hour  do        rate
            2     clawback  0.3
        """,
        fills="""
            bar  side  qty  price  why
            1    sell  12   100    target
        """,
        # sized at 1200: 12 units, 120 of profit
        ledger="""
            bar  kind             amount
            1    transfer         200
            2    socialized_loss  -36
        """,
        equity="1000 1320 1284",
    ),
    # The second one looks at what was won since the first: 90 -> 80, 100; the third at all since hour 0: 200.
    Scenario(
        name="a period begins with the clawback before, or when it is said to",
        bars="""
            open  high  low  close  target
            100   100   100  100    -1
            100   100   90   90     .
            90    90    80   80     .
            80    80    80   80     .
        """,
        venue="""
            hour  do        rate  since
            2     clawback  0.1   .
            3     clawback  0.2   .
            3.5   clawback  0.05  0
        """,
        fills="""
            bar  side  qty  price  why
            1    sell  10   100    target
        """,
        ledger="""
            bar  kind             amount
            2    socialized_loss  -10
            3    socialized_loss  -20
            3    socialized_loss  -10
        """,
        wallet="960",
    ),
    # An amount is cut to the profit; without profit nothing is taken.
    Scenario(
        name="never more than the profit",
        bars="""
            open  high  low  close  target
            100   100   100  100    -1
            100   100   90   90     .
            90    110   90   110    .
            110   110   110  110    .
        """,
        venue="""
            hour  do        amount
            2     clawback  150
            3     clawback  1
        """,
        fills="""
            bar  side  qty  price  why
            1    sell  10   100    target
        """,
        ledger="""
            bar  kind             amount
            2    socialized_loss  -100
        """,
        counts={"clawbacks_cut": 2},
        wallet="900",
    ),
    # A quarter of an hour into detail bar 2: at that bar's close, not at the signal bar's; the target is the same.
    Scenario(
        name="a detail bar's close deleverages before the next signal",
        signal_bars=2,
        bars="""
            open  high  low  close  target
            100   100   100  100    .
            100   100   100  100    -1
            100   100   90   90     .
            90    90    90   90     -1
            90    90    90   90     .
            90    90    90   90     .
        """,
        venue="""
            hour  do
            2.25  deleverage
        """,
        fills="""
            bar  side  qty  price  pnl  why
            2    sell  10   100    0    target
            2    buy   10   90     100  auto_deleverage
        """,
        wallet="1100",
    ),
    # fill = close: deleveraged at the close of bar 1, then the target decided there acts on what is left.
    Scenario(
        name="under fills at the close the target decided there comes after",
        rules={"fill": "close"},
        bars="""
            open  high  low  close  target
            100   100   100  100    -1
            100   100   90   90     -0.5
            90    90    90   90     .
        """,
        venue="""
            hour  do
            1.5   deleverage
        """,
        # 1100 of equity at 90: 550 / 90 = 6.1
        fills="""
            bar  side  qty  price  pnl  why
            0    sell  10   100    0    target
            1    buy   10   90     100  auto_deleverage
            1    sell  6    90     0    target
        """,
        wallet="1100",
    ),
    # What was to buy the short back at 85 has nothing to buy any more.
    Scenario(
        name="the limit orders of a target go with the position",
        bars="""
            open  high  low  close  target  limit
            100   100   100  100    -1      .
            100   100   90   90     0       85
            90    90    90   90     .       .
            90    90    80   80     .       .
        """,
        venue="""
            hour  do
            2.5   deleverage
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    sell  10   100    0    target
            2    buy   10   90     100  auto_deleverage
        """,
        orders="""
            bar  kind    origin  wanted  filled  status     reason
            0    market  target  -10     -10     filled     none
            1    limit   target  10      0       cancelled  position_closed
        """,
        wallet="1100",
    ),
)

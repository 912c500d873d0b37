"""Stops and targets that are attached to a position.

Where nothing else is said the account has 1000 and opens 10 units at 100 with leverage 10 under cross margin.
"""

from tests.scenarios.table import Scenario, brackets

ISOLATED = {"margin_mode": "isolated"}
COSTS = {"slippage": 0.01, "taker_fee": 0.001, "maker_fee": 0.0002}
JUMP = brackets((0, 0.01), (5200, 0.08), form="flat")

SCENARIOS = (
    # Bought at 100*1.01 = 101: the stop lies at 101*0.95 = 95.95 and fills at 95.95*0.99 = 94.9905. Fees 10*101*0.001
    # = 1.01 and 0.949905; loss 10*(94.9905-101) = -60.095; slippage 10*1 and 10*0.9595.
    Scenario(
        name="a stop follows the entry and fills with slippage and fee",
        bars="""
            open  high  low  close  target  stop_loss
            100   100   100  100    1       0.05
            100   102   98   100    .       .
            100   101   95   97     .       .
        """,
        terms=COSTS,
        fills="""
            bar  side  qty  price    fee       pnl      slip   why        liq
            1    buy   10   101      1.01      0        10     target     taker
            2    sell  10   94.9905  0.949905  -60.095  9.595  stop_loss  taker
        """,
        orders="""
            bar  kind    origin     trigger  wanted  filled  status  reason
            0    market  target     none     10      10      filled  none
            .    stop    stop_loss  95.95    -10     -10     filled  none
        """,
        wallet="1000  998.99  998.99-60.095-0.949905",
    ),
    # A short of 10 at 100 with a stop at 105.
    Scenario(
        name="a short's stop lies above",
        bars="""
            open  high  low  close  target  stop_loss
            100   100   100  100    -1      0.05
            100   104   98   100    .       .
            100   106   99   101    .       .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    sell  10   100    0    target
            2    buy   10   105    -50  stop_loss
        """,
        wallet="950",
    ),
    # Stop at 95, the market opens at 90: sold there, 10*(90-100).
    Scenario(
        name="a stop that the open has jumped over fills at the open",
        bars="""
            open  high  low  close  target  stop_loss
            100   100   100  100    1       0.05
            100   101   98   99     .       .
            90    96    89   95     .       .
        """,
        fills="""
            bar  side  qty  price  pnl   why
            1    buy   10   100    0     target
            2    sell  10   90     -100  stop_loss
        """,
        wallet="900",
    ),
    # 50 units, isolated at 10x: liquidated where 500+50*(M-100) = 0.5*M, at 90.909. The stop at 92 comes first.
    Scenario(
        name="a stop before the liquidation saves the margin",
        bars="""
            open  high  low  close  target  stop_price
            100   100   100  100    5       92
            100   101   98   99     .       .
            99    99    85   90     .       .
        """,
        terms=ISOLATED,
        fills="""
            bar  side  qty  price  pnl   why
            1    buy   50   100    0     target
            2    sell  50   92     -400  stop_loss
        """,
        wallet="600",
    ),
    # The same with the stop at 90.5, below 90.909: the engine comes first and the stop is cancelled.
    Scenario(
        name="a liquidation before the stop cancels it",
        bars="""
            open  high  low  close  target  stop_price
            100   100   100  100    5       90.5
            100   101   98   99     .       .
            99    99    85   90     .       .
        """,
        terms=ISOLATED,
        fills="""
            bar  side  qty  price      pnl                 why
            1    buy   50   100        0                   target
            2    sell  50   4500/49.5  50*(4500/49.5-100)  liquidation
        """,
        liquidations="""
            bar  kind      trigger    bankrupt  lost
            2    takeover  4500/49.5  90        500
        """,
        orders="""
            bar  origin     trigger  filled  status     reason
            0    target     none     50      filled     none
            .    stop_loss  90.5     0       cancelled  liquidation
        """,
        wallet="500",
    ),
    # 50 units at 4x: margin 1250, rate 1/16. 1250+50*(M-100) = 3.125*M at M = 3750/46.875 = 80, half of the way from
    # 100 to 60. The stop lies at 80 too: liquidation first. Balance and requirement there: 250.
    Scenario(
        name="at the same point the liquidation comes before the stop",
        bars="""
            open  high  low  close  target  stop_price
            100   100   100  100    2.5     80
            100   100   100  100    .       .
            100   100   60   90     .       .
        """,
        terms={**ISOLATED, "leverage": 4.0, "tables": (brackets((0, 0.0625)),)},
        rules={"balance": 2000.0},
        fills="""
            bar  side  qty  price  pnl    why
            1    buy   50   100    0      target
            2    sell  50   80     -1000  liquidation
        """,
        liquidations="""
            bar  kind      trigger  bankrupt  balance  required  lost  fund
            2    takeover  80       75        250      250       1250  250
        """,
        wallet="750",
    ),
    # A short of 50 with flat brackets, 8 % on everything from 5200 on: at M = 104 the requirement jumps from 52 to
    # 416, above the balance of 500-50*4 = 300. A stop at 103 leaves before: -150.
    Scenario(
        name="a stop below a flat bracket's boundary saves a short",
        bars="""
            open  high  low  close  target  stop_price
            100   100   100  100    -5      103
            100   100   100  100    .       .
            100   108   100  101    .       .
        """,
        terms={**ISOLATED, "tables": (JUMP,)},
        fills="""
            bar  side  qty  price  pnl   why
            1    sell  50   100    0     target
            2    buy   50   103    -150  stop_loss
        """,
        wallet="850",
    ),
    # The stop on the boundary itself: the engine is first and keeps the 300 that were left.
    Scenario(
        name="a stop on a flat bracket's boundary comes too late",
        bars="""
            open  high  low  close  target  stop_price
            100   100   100  100    -5      104
            100   100   100  100    .       .
            100   108   100  101    .       .
        """,
        terms={**ISOLATED, "tables": (JUMP,)},
        fills="""
            bar  side  qty  price  pnl   why
            1    sell  50   100    0     target
            2    buy   50   104    -200  liquidation
        """,
        liquidations="""
            bar  kind      qty  trigger  bankrupt  balance  required  tier  lost  fund
            2    takeover  50   104      110       300      416       1     500   300
        """,
        wallet="500",
    ),
    # A long of 50, 30 % from 6000 on: the boundary at 120 would liquidate on the way up. The target at 118 is first.
    Scenario(
        name="a target below a flat bracket's boundary takes the profit",
        bars="""
            open  high  low  close  target  take_profit
            100   100   100  100    5       0.18
            100   100   100  100    .       .
            100   125   99   124    .       .
        """,
        terms={**ISOLATED, "tables": (brackets((0, 0.01), (6000, 0.3), form="flat"),)},
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   50   100    0    target
            2    sell  50   118    900  take_profit
        """,
        wallet="1900",
    ),
    # Sized at the open: 1000/100 = 10 units, bought at 98; the stop at 98*0.98 = 96.04 lies on the same leg.
    Scenario(
        name="a limit entry is stopped in the same bar",
        bars="""
            open  high  low  close  target  limit  stop_loss
            100   100   100  100    1       98     0.02
            100   103   95   101    .       .      .
            101   102   100  101    .       .      .
        """,
        fills="""
            bar  side  qty  price  pnl    why        liq
            1    buy   10   98     0      target     maker
            1    sell  10   96.04  -19.6  stop_loss  taker
        """,
        orders="""
            bar  kind   origin     limit  trigger  wanted  filled  status
            0    limit  target     98     none     10      10      filled
            .    stop   stop_loss  none   96.04    -10     -10     filled
        """,
        wallet="1000  980.4  980.4",
    ),
    # A tenth of the volume: 4, then 4, then the last 2 of 10. The stop at 99*0.9 = 89.1 grows with the position and
    # sells 10 on the leg on which the last 2 were bought: 10*(89.1-99).
    Scenario(
        name="a stop grows with a position that fills in parts",
        bars="""
            open  high  low  close  volume  target  limit  stop_loss
            100   100   100  100    100     1       99     0.1
            100   101   98   100    40      .       .      .
            100   101   98   100    40      .       .      .
            100   101   88   90     100     .       .      .
        """,
        rules={"volume_share": 0.1},
        fills="""
            bar  side  qty  price  pnl  why        liq
            1    buy   4    99     0    target     maker
            2    buy   4    99     0    target     maker
            3    buy   2    99     0    target     maker
            3    sell  10   89.1   -99  stop_loss  taker
        """,
        orders="""
            bar  kind   wanted  filled  status
            0    limit  10      10      filled
            .    stop   -10     -10     filled
        """,
        wallet="1000  1000  1000  901",
        equity="1000  1004  1008  901",
    ),
    # Half of 10 at 102; a quarter, 2.5 -> 2, at 104; the last rung takes the 3 that are left at 106.
    Scenario(
        name="a position leaves in rungs",
        bars="""
            open  high   low  close  target  stop_loss  take_profit  take_profit_share  take_profit_2  take_profit_share_2  take_profit_3  take_profit_share_3
            100   100    100  100    1       0.05       0.02         0.5                0.04           0.25                 0.06           0.25
            100   101    99   100    .       .          .            .                  .              .                    .              .
            100   102.5  99   102    .       .          .            .                  .              .                    .              .
            102   106.5  101  106    .       .          .            .                  .              .                    .              .
        """,  # noqa: E501
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  5    102    10   take_profit
            3    sell  2    104    8    take_profit
            3    sell  3    106    18   take_profit
        """,
        wallet="1000  1000  1010  1036",
    ),
    # Half at 102, then the stop at 95 closes the other 5.
    Scenario(
        name="the stop closes what a rung has left",
        bars="""
            open  high   low  close  target  stop_loss  take_profit  take_profit_share  take_profit_2  take_profit_share_2
            100   100    100  100    1       0.05       0.02         0.5                0.08           1
            100   102.5  99   102    .       .          .            .                  .              .
            102   103    94   96     .       .          .            .                  .              .
            96    120    96   120    .       .          .            .                  .              .
        """,  # noqa: E501
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            1    sell  5    102    10   take_profit
            2    sell  5    95     -25  stop_loss
        """,
        wallet="985",
    ),
    # A tenth of 3 units is less than a lot: one lot. The rung with share 1 closes the other 2.
    Scenario(
        name="a rung takes at least one lot",
        bars="""
            open  high  low  close  target  take_profit  take_profit_share  take_profit_2  take_profit_share_2
            100   100   100  100    0.3     0.02         0.1                0.05           1
            100   106   99   105    .       .            .                  .              .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   3    100    0    target
            1    sell  1    102    2    take_profit
            1    sell  2    105    10   take_profit
        """,
        wallet="1012",
    ),
    # Bought at 101, target 106.05. As a market order it is sold at 106.05*0.99 = 104.9895 with the taker's fee ...
    Scenario(
        name="a target at the market pays slippage",
        bars="""
            open  high  low  close  target  take_profit
            100   100   100  100    1       0.05
            100   102   99   101    .       .
            101   107   100  106    .       .
        """,
        terms=COSTS,
        fills="""
            bar  side  qty  price     fee       pnl     why          liq
            1    buy   10   101       1.01      0       target       taker
            2    sell  10   104.9895  1.049895  39.895  take_profit  taker
        """,
        wallet="1000-1.01+39.895-1.049895",
    ),
    # ... as a limit order at 106.05 with the maker's.
    Scenario(
        name="a target as a limit order is a maker",
        bars="""
            open  high  low  close  target  take_profit
            100   100   100  100    1       0.05
            100   102   99   101    .       .
            101   107   100  106    .       .
        """,
        terms=COSTS,
        rules={"take_profit": "limit"},
        fills="""
            bar  side  qty  price   fee     pnl   slip  why          liq
            1    buy   10   101     1.01    0     10    target       taker
            2    sell  10   106.05  0.2121  50.5  0     take_profit  maker
        """,
        orders="""
            bar  kind   origin       limit   filled  status
            0    .      target       none    10      filled
            .    limit  take_profit  106.05  -10     filled
        """,
        wallet="1000-1.01+50.5-0.2121",
    ),
    # The market opens at 110, beyond the target of 105: an order at the market gets 110 ...
    Scenario(
        name="an open beyond the target pays a market order more",
        bars="""
            open  high  low  close  target  take_profit
            100   100   100  100    1       0.05
            100   102   99   101    .       .
            110   111   108  109    .       .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   110    100  take_profit
        """,
        wallet="1100",
    ),
    # ... and a limit order that rested its own 105.
    Scenario(
        name="an open beyond the target pays a limit order its limit",
        bars="""
            open  high  low  close  target  take_profit
            100   100   100  100    1       0.05
            100   102   99   101    .       .
            110   111   108  109    .       .
        """,
        rules={"take_profit": "limit"},
        fills="""
            bar  side  qty  price  pnl  why          liq
            1    buy   10   100    0    target       taker
            2    sell  10   105    50   take_profit  maker
        """,
        wallet="1050",
    ),
    # Stop 95 and target 105 inside one bar. Adverse for a long: the low first.
    Scenario(
        name="stop and target in one bar, adverse, long",
        bars="""
            open  high  low  close  target  stop_loss  take_profit
            100   100   100  100    1       0.05       0.05
            100   101   99   100    .       .          .
            100   107   94   99     .       .          .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   95     -50  stop_loss
        """,
        orders="""
            bar  origin       trigger  filled  status     reason
            0    target       none     10      filled     none
            .    stop_loss    95       -10     filled     none
            .    take_profit  105      0       cancelled  position_closed
        """,
        wallet="950",
    ),
    # Adverse for a short: the high first.
    Scenario(
        name="stop and target in one bar, adverse, short",
        bars="""
            open  high  low  close  target  stop_loss  take_profit
            100   100   100  100    -1      0.05       0.05
            100   101   99   100    .       .          .
            100   107   94   101    .       .          .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    sell  10   100    0    target
            2    buy   10   105    -50  stop_loss
        """,
        wallet="950",
    ),
    # By colour: a falling bar goes up first, which gives the long its target.
    Scenario(
        name="stop and target in one falling bar, by colour, long",
        bars="""
            open  high  low  close  target  stop_loss  take_profit
            100   100   100  100    1       0.05       0.05
            100   101   99   100    .       .          .
            100   107   94   99     .       .          .
        """,
        rules={"intrabar": "color"},
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   105    50   take_profit
        """,
        wallet="1050",
    ),
    # A rising bar goes down first, which gives the short its target.
    Scenario(
        name="stop and target in one rising bar, by colour, short",
        bars="""
            open  high  low  close  target  stop_loss  take_profit
            100   100   100  100    -1      0.05       0.05
            100   101   99   100    .       .          .
            100   107   94   101    .       .          .
        """,
        rules={"intrabar": "color"},
        fills="""
            bar  side  qty  price  pnl  why
            1    sell  10   100    0    target
            2    buy   10   95     50   take_profit
        """,
        wallet="1050",
    ),
    # Flat, so adverse goes by colour. Not falling: 100, 96, 103, 100. Bought at 98 on the way down, sold at 98*1.03 =
    # 100.94 on the way up.
    Scenario(
        name="a flat symbol's limit entry reaches its target in a rising bar",
        bars="""
            open  high  low  close  target  limit  stop_loss  take_profit
            100   100   100  100    1       98     0.03       0.03
            100   103   96   100    .       .      .          .
        """,
        fills="""
            bar  side  qty  price   pnl   why
            1    buy   10   98      0     target
            1    sell  10   100.94  29.4  take_profit
        """,
        wallet="1029.4",
    ),
    # Falling: 100, 103, 96, 99. Bought at 98 after the high: the target is not seen any more.
    Scenario(
        name="a flat symbol's limit entry misses its target in a falling bar",
        bars="""
            open  high  low  close  target  limit  stop_loss  take_profit
            100   100   100  100    1       98     0.03       0.03
            100   103   96   99     .       .      .          .
        """,
        fills="""
            bar  side  qty  price  why
            1    buy   10   98     target
        """,
        equity="1000  1010",
    ),
    # From 95 to 101, taking effect at bar 3's open: the same order with another trigger.
    Scenario(
        name="a stop is moved up",
        bars="""
            open  high  low  close  target  stop_price
            100   100   100  100    1       95
            100   102   99   101    .       .
            101   105   100  104    .       101
            104   105   100  102    .       .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            3    sell  10   101    10   stop_loss
        """,
        orders="""
            bar  kind    trigger  filled  status
            0    market  none     10      filled
            .    stop    101      -10     filled
        """,
        wallet="1010",
    ),
    # Moved to 103 where the next bar opens at 102: passed already, sold at the open.
    Scenario(
        name="a stop that is moved beyond the open fills there",
        bars="""
            open  high  low  close  target  stop_price
            100   100   100  100    1       95
            100   105   99   104    .       103
            102   106   101  105    .       .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   102    20   stop_loss
        """,
        wallet="1020",
    ),
    # The level of 97 wins over 5 %. Switched off at bar 2's open it gives way to 95 again, which bar 3 reaches.
    Scenario(
        name="a level wins over a fraction until it is switched off",
        bars="""
            open  high  low  close  target  stop_loss  stop_price
            100   100   100  100    1       0.05       97
            100   101   98   99     .       .          0
            99    100   96   98     .       .          .
            98    99    94   96     .       .          .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            3    sell  10   95     -50  stop_loss
        """,
        wallet="950",
    ),
    # 10 at 100, then at 110 the equity of 1100 wants 20: 10 more at 110. Average 105, stop 105*0.9 = 94.5.
    Scenario(
        name="a stop by fraction follows the average entry",
        bars="""
            open  high  low  close  target  stop_loss
            100   100   100  100    1       0.1
            100   110   99   110    2       .
            110   111   100  105    .       .
            105   106   94   96     .       .
        """,
        fills="""
            bar  side  qty  price  pnl   why
            1    buy   10   100    0     target
            2    buy   10   110    0     target
            3    sell  20   94.5   -210  stop_loss
        """,
        wallet="790",
    ),
    # Stop 95, limit 95*0.99 = 94.05. The market opens at 93: the stop has become a limit order that nobody meets at
    # 93 or 92; on the way up to 96 it is filled at 94.05.
    Scenario(
        name="a stop limit that is jumped over fills later",
        bars="""
            open  high  low  close  target  stop_loss
            100   100   100  100    1       0.05
            100   101   98   99     .       .
            93    96    92   95     .       .
        """,
        rules={"stop_limit_bps": 100.0},
        fills="""
            bar  side  qty  price  pnl    why        liq
            1    buy   10   100    0      target     taker
            2    sell  10   94.05  -59.5  stop_loss  maker
        """,
        wallet="940.5",
    ),
    # As above, but the market stays below: the position is still held, 10*(91-100) below its entry.
    Scenario(
        name="a stop limit that is jumped over leaves the position",
        bars="""
            open  high  low  close  target  stop_loss
            100   100   100  100    1       0.05
            100   101   98   99     .       .
            93    94    90   91     .       .
        """,
        rules={"stop_limit_bps": 100.0},
        fills="""
            bar  side  qty  price
            1    buy   10   100
        """,
        orders="""
            bar  origin     limit  trigger  filled  status
            0    target     none   none     10      filled
            .    stop_loss  94.05  95       0       pending
        """,
        equity="910",
    ),
    # Bought at 102. At the trigger of 95 the limit of 94.05 is passed already: taken with 2 % of slippage, 93.1, but
    # never below the limit.
    Scenario(
        name="a stop limit takes at its trigger, no worse than its limit",
        bars="""
            open  high  low  close  target  stop_price
            100   100   100  100    1       95
            100   101   98   99     .       .
            99    100   90   92     .       .
        """,
        terms={"slippage": 0.02},
        rules={"stop_limit_bps": 100.0},
        fills="""
            bar  side  qty  price  pnl    slip  why        liq
            1    buy   10   102    0      20    target     taker
            2    sell  10   94.05  -79.5  9.5   stop_loss  taker
        """,
        wallet="920.5",
    ),
    # The position is closed by its target: the stop goes with it.
    Scenario(
        name="a stop is cancelled when its position is closed",
        bars="""
            open  high  low  close  target  stop_loss
            100   100   100  100    1       0.05
            100   101   99   100    0       .
            100   101   90   95     .       .
        """,
        fills="""
            bar  side  qty  price  why
            1    buy   10   100    target
            2    sell  10   100    target
        """,
        orders="""
            origin     target  filled  status     reason
            target     1       10      filled     none
            stop_loss  none    0       cancelled  position_closed
            target     0       -10     filled     none
        """,
        wallet="1000",
    ),
    # 20000 dollars at 20000. Stopped at 16000: 20000*(1/20000-1/16000) = -0.25 coins.
    Scenario(
        name="an inverse stop loses a quarter of a coin",
        bars="""
            open   high   low    close  target  stop_loss  take_profit
            20000  20000  20000  20000  1       0.2        0.25
            20000  21000  19000  20000  .       .          .
            20000  20000  15000  16000  .       .          .
        """,
        terms={"kind": "inverse", "leverage": 2.0},
        rules={"balance": 1.0},
        fills="""
            bar  side  qty    price  pnl    why
            1    buy   20000  20000  0      target
            2    sell  20000  16000  -0.25  stop_loss
        """,
        wallet="0.75",
    ),
    # The target at 25000: 20000*(1/20000-1/25000) = 0.2 coins.
    Scenario(
        name="an inverse target wins a fifth of a coin",
        bars="""
            open   high   low    close  target  stop_loss  take_profit
            20000  20000  20000  20000  1       0.2        0.25
            20000  21000  19000  20000  .       .          .
            20000  26000  19000  25000  .       .          .
        """,
        terms={"kind": "inverse", "leverage": 2.0},
        rules={"balance": 1.0},
        fills="""
            bar  side  qty    price  pnl  why
            1    buy   20000  20000  0    target
            2    sell  20000  25000  0.2  take_profit
        """,
        wallet="1.2",
    ),
    # 20000 dollars at 20000 and 40000 at 25000: 2.6 coins, average entry 60000/2.6. The stop 10 % below that price
    # pays 2.6/0.9 coins for them: the loss is 2.6-2.6/0.9.
    Scenario(
        name="an inverse stop follows the harmonic entry",
        bars="""
            open   high   low    close  target  stop_loss
            20000  20000  20000  20000  0.5     0.1
            20000  25000  20000  25000  12/11   .
            25000  25000  20000  21000  .       .
        """,
        terms={"kind": "inverse", "leverage": 2.0},
        rules={"balance": 2.0},
        fills="""
            bar  side  qty    price            pnl          why
            1    buy   20000  20000            0            target
            2    buy   40000  25000            0            target
            2    sell  60000  0.9*60000/2.6    2.6-2.6/0.9  stop_loss
        """,
        wallet="2+2.6-2.6/0.9",
    ),
    # The target of 1 stays; stopped in bar 2 the band does not buy back. 0.5 is another target: 0.5*950/95 = 5.
    Scenario(
        name="a band stays flat after a stop until the target differs",
        bars="""
            open  high  low  close  target  stop_loss
            100   100   100  100    1       0.05
            100   101   98   100    1       .
            100   100   94   95     1       .
            95    96    94   95     1       .
            95    96    94   95     0.5     .
            95    96    94   95     .       .
        """,
        rules={"rebalance": "band", "band": 0.1},
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   95     -50  stop_loss
            5    buy   5    95     0    target
        """,
        wallet="950",
    ),
    # The same with on_change.
    Scenario(
        name="a changed target is needed after a stop",
        bars="""
            open  high  low  close  target  stop_loss
            100   100   100  100    1       0.05
            100   101   98   100    1       .
            100   100   94   95     1       .
            95    96    94   95     1       .
            95    96    94   95     0.5     .
            95    96    94   95     .       .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   95     -50  stop_loss
            5    buy   5    95     0    target
        """,
        wallet="950",
    ),
    # A target's level for a short: 90. The path goes up first (101), then down to 89.
    Scenario(
        name="a short takes its profit at a level",
        bars="""
            open  high  low  close  target  take_profit  take_profit_price
            100   100   100  100    -1      0.02         90
            100   101   97   98     .       .            .
            98    99    89   91     .       .            .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    sell  10   100    0    target
            2    buy   10   90     100  take_profit
        """,
        wallet="1100",
    ),
    # 50 units with 500 of their own. The trades open at 88, the mark at 95: the stop at 92 sells at 88 and loses 600,
    # 100 of it out of the free wallet.
    Scenario(
        name="an isolated stop may lose more than its margin",
        bars="""
            open  high  low  close  m_open  m_high  m_low  m_close  target  stop_price
            100   100   100  100    100     100     100    100      5       92
            100   100   99   99     100     100     99     99       .       .
            88    90    87   89     95      96      94     95       .       .
        """,
        terms=ISOLATED,
        fills="""
            bar  side  qty  price  pnl   why
            1    buy   50   100    0     target
            2    sell  50   88     -600  stop_loss
        """,
        wallet="1000  1000  400",
    ),
    # Half leaves at 102 with +50 and releases half of the margin. The other 25 fail where 250+25*(M-100) = 0.25*M, at
    # the same 90.909, and take 250 with them.
    Scenario(
        name="a rung releases its part of an isolated margin",
        bars="""
            open  high  low  close  target  take_profit  take_profit_share  take_profit_2  take_profit_share_2
            100   100   100  100    5       0.02         0.5                0.5            1
            100   103   99   100    .       .            .                  .              .
            100   100   85   90     .       .            .                  .              .
        """,
        terms=ISOLATED,
        fills="""
            bar  side  qty  price      pnl                 why
            1    buy   50   100        0                   target
            1    sell  25   102        50                  take_profit
            2    sell  25   2250/24.75 25*(2250/24.75-100) liquidation
        """,
        liquidations="""
            bar  kind      qty  trigger     bankrupt  lost
            2    takeover  25   2250/24.75  90        250
        """,
        wallet="1000  1050  800",
    ),
    # The same stop limit, triggered in bar 2 and still resting at 94.05. Bar 3 opens at 97: an older
    # order by now, filled at its own limit.
    Scenario(
        name="a triggered stop limit is an older order at the next open",
        bars="""
            open  high  low  close  target  stop_loss
            100   100   100  100    1       0.05
            100   101   98   99     .       .
            93    94    90   91     .       .
            97    98    96   97     .       .
        """,
        rules={"stop_limit_bps": 100.0},
        fills="""
            bar  side  qty  price  pnl    why        liq
            1    buy   10   100    0      target     taker
            3    sell  10   94.05  -59.5  stop_loss  maker
        """,
    ),
    # A tenth of 40 at a time: 4, 4 and 2 at 105.
    Scenario(
        name="a target as a limit order leaves in parts",
        bars="""
            open  high  low  close  volume  target  take_profit
            100   100   100  100    40      1       0.05
            100   106   99   104    40      .       .
            104   106   103  104    40      .       .
            104   106   103  104    40      .       .
        """,
        rules={"take_profit": "limit", "volume_share": 0.1},
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            1    sell  4    105    20   take_profit
            2    sell  4    105    20   take_profit
            3    sell  2    105    10   take_profit
        """,
        equity="1000  1020+24  1040+8  1050",
    ),
    # Ticks of 1: 105 is only touched in bar 2; in bar 3 it is traded through.
    Scenario(
        name="a target as a limit order wants to be traded through",
        bars="""
            open  high  low  close  target  take_profit
            100   100   100  100    1       0.05
            100   104   99   104    .       .
            104   105   103  104    .       .
            104   106   103  104    .       .
        """,
        terms={"tick": 1.0},
        rules={"take_profit": "limit", "through_ticks": 1},
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            3    sell  10   105    50   take_profit
        """,
    ),
    # Bought by a stop order at 105 in a bar that goes up first (falling): the stop at 105*0.98 = 102.9 is met on the
    # way down.
    Scenario(
        name="a breakout is stopped in the same bar",
        bars="""
            open  high  low  close  stop_loss
            100   100   100  100    0.02
            100   104   99   103    .
            103   106   102  102.5  .
        """,
        requests="""
            bar  do   qty  kind  trigger
            0    buy  10   stop  105
        """,
        fills="""
            bar  side  qty  price  pnl  why
            2    buy   10   105    0    order
            2    sell  10   102.9  -21  stop_loss
        """,
        wallet="979",
    ),
    # Filled at bar 0's close, so the stop is there from bar 1 on.
    Scenario(
        name="a fill at the close is protected from the next open on",
        bars="""
            open  high  low  close  target  stop_loss
            100   101   90   100    1       0.05
            100   101   94   96     .       .
        """,
        rules={"fill": "close"},
        fills="""
            bar  side  qty  price  pnl  why
            0    buy   10   100    0    target
            1    sell  10   95     -50  stop_loss
        """,
    ),
    # The engine cancels what rests on a contract that it takes: the buy at 80 is not filled at 80.
    Scenario(
        name="a liquidation cancels resting entries",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
            100   100   78   85     .
        """,
        terms=ISOLATED,
        requests="""
            bar  do   qty  kind   limit
            1    buy  10   limit  80
        """,
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
            bar  origin  filled  status     reason
            0    target  50      filled     none
            1    order   0       cancelled  liquidation
        """,
        wallet="500",
    ),
    # Held since bar 1; the stop decided at bar 1's close is in force from bar 2 on.
    Scenario(
        name="a stop can be attached while a position is held",
        bars="""
            open  high  low  close  target  stop_loss
            100   100   100  100    1       .
            100   101   90   100    .       0.05
            100   101   94   96     .       .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   95     -50  stop_loss
        """,
    ),
    # Switched off at bar 2's open.
    Scenario(
        name="a stop can be switched off while a position is held",
        bars="""
            open  high  low  close  target  stop_loss
            100   100   100  100    1       0.05
            100   101   96   100    .       0
            100   101   90   92     .       .
        """,
        fills="""
            bar  side  qty  price
            1    buy   10   100
        """,
        equity="920",
    ),
    # 10, reduced to 6 at bar 2's open. The first rung is 30 % of the last increase: 3 of 10; the stop has the other 3.
    Scenario(
        name="rungs keep their base and the stop follows the size",
        bars="""
            open  high  low  close  target  stop_loss  take_profit  take_profit_share  take_profit_2  take_profit_share_2
            100   100   100  100    1       0.05       0.02         0.3                0.2            1
            100   101   99   100    0.6     .          .            .                  .              .
            100   103   99   100    .       .          .            .                  .              .
            100   100   94   96     .       .          .            .                  .              .
        """,  # noqa: E501
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  4    100    0    target
            2    sell  3    102    6    take_profit
            3    sell  3    95     -15  stop_loss
        """,
        wallet="991",
    ),
    # Half is taken at 105; the other half waits for its stop at 95.
    Scenario(
        name="a single target of half leaves the other half to the stop",
        bars="""
            open  high  low  close  target  stop_loss  take_profit  take_profit_share
            100   100   100  100    1       0.05       0.05         0.5
            100   106   100  106    .       .          .            .
            106   106   94   94     .       .          .            .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            1    sell  5    105    25   take_profit
            2    sell  5    95     -25  stop_loss
        """,
        wallet="1000  1025  1000",
    ),
)

"""Time: holding, cooling down, latency, listings, delistings, trades executed elsewhere, leverage and activity."""

from tests.scenarios.table import Scenario

ISOLATED = {"margin_mode": "isolated"}

SCENARIOS = (
    # Opened in bar 1, closed at the open two bars later.
    Scenario(
        name="a position is closed when its time is over",
        bars="""
            open  high  low  close  target  hold_bars
            100   100   100  100    1       2
            100   103   99   102    .       .
            102   104   101  103    .       .
            104   105   103  104    .       .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            3    sell  10   104    40   time_exit
        """,
        wallet="1040",
    ),
    # Filled inside bar 1 by a limit order: the two bars count from that bar's open.
    Scenario(
        name="holding counts from the open of the bar of entry",
        bars="""
            open  high  low  close  target  limit  hold_bars
            100   100   100  100    1       99     2
            100   103   98   102    .       .      .
            102   104   101  103    .       .      .
            104   105   103  104    .       .      .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   99     0    target
            3    sell  10   104    50   time_exit
        """,
    ),
    # A target acts at bar 3's open: half is kept, nothing is closed by time there.
    Scenario(
        name="a target goes before the time exit",
        bars="""
            open  high  low  close  target  hold_bars
            100   100   100  100    1       2
            100   100   100  100    .       .
            100   100   100  100    0.5     .
            100   100   100  100    .       .
        """,
        fills="""
            bar  side  qty  price  why
            1    buy   10   100    target
            3    sell  5    100    target
        """,
    ),
    # Nothing is traded in bar 3: the exit waits for bar 4.
    Scenario(
        name="a time exit waits for volume",
        bars="""
            open  high  low  close  volume  target  hold_bars
            100   100   100  100    9       1       2
            100   100   100  100    9       .       .
            100   100   100  100    9       .       .
            101   101   101  101    0       .       .
            102   102   102  102    9       .       .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            4    sell  10   102    20   time_exit
        """,
    ),
    # Signal bars of two hours: decided at the close of bar 1, opened in bar 2, closed one signal bar later.
    Scenario(
        name="holding counts signal bars",
        bars="""
            open  high  low  close  target  hold_bars
            100   100   100  100    .       .
            100   100   100  100    1       1
            101   101   101  101    .       .
            102   102   102  102    .       .
            103   103   103  103    .       .
            104   104   104  104    .       .
        """,
        signal_bars=2,
        fills="""
            bar  side  qty  price  pnl  why
            2    buy   9    101    0    target
            4    sell  9    103    18   time_exit
        """,
    ),
    # Stopped in bar 2: nothing opens at opens before bar 4's. 0.6*950/95 = 6.
    Scenario(
        name="after a stop it is cooling down",
        bars="""
            open  high  low  close  target  stop_loss  cooldown_bars
            100   100   100  100    1       0.05       2
            100   101   98   100    .       .          .
            100   100   94   95     0.5     .          .
            95    96    94   95     0.6     .          .
            95    96    94   95     .       .          .
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    target
            2    sell  10   95     -50  stop_loss
            4    buy   6    95     0    target
        """,
        orders="""
            origin     filled  reason
            target     10      none
            stop_loss  -10     none
            target     0       cooldown
            target     6       none
            stop_loss  0       none
        """,
    ),
    # Not opened in bar 1; opened in bar 2; in bar 3 reduced; in bar 4 not increased.
    Scenario(
        name="an inactive slot only reduces",
        bars="""
            open  high  low  close  target  active
            100   100   100  100    1       0
            100   100   100  100    0.5     1
            100   100   100  100    0.2     0
            100   100   100  100    0.9     .
            100   100   100  100    .       .
        """,
        fills="""
            bar  side  qty  price
            2    buy   5    100
            3    sell  3    100
        """,
        orders="""
            bar  wanted  filled  reason
            0    10      0       inactive
            1    5       5       none
            2    -3      -3      none
            3    7       0       inactive
        """,
    ),
    # 100 of margin for the first 10 at 10x, 200 for the second 10 at 5x: 300+20*(M-100) = 0.2*M at M = 1700/19.8.
    Scenario(
        name="a new leverage counts for what is opened later",
        bars="""
            open  high  low  close  target  leverage
            100   100   100  100    1       .
            100   100   100  100    2       5
            100   100   100  100    .       .
            100   100   80   90     .       .
        """,
        terms=ISOLATED,
        fills="""
            bar  side  qty  price      why
            1    buy   10   100        target
            2    buy   10   100        target
            3    sell  20   1700/19.8  liquidation
        """,
        liquidations="""
            bar  kind      qty  trigger    bankrupt  lost
            3    takeover  20   1700/19.8  85        300
        """,
        wallet="1000  1000  1000  700",
    ),
    # 50 units at 10x bind 500; at 5x all of 1000: nothing is left for 10 more.
    Scenario(
        name="a lower leverage binds more of a cross account",
        bars="""
            open  high  low  close  target  leverage
            100   100   100  100    5       .
            100   100   100  100    6       5
            100   100   100  100    .       .
        """,
        fills="""
            bar  side  qty  price
            1    buy   50   100
        """,
        orders="""
            bar  wanted  filled  status    reason
            0    50      50      filled    none
            1    10      0       rejected  margin
        """,
    ),
    # Signal bars of four hours, an hour and a half of latency: decided at hour 4, due at 5:30, filled at bar 6's open.
    Scenario(
        name="latency in milliseconds is met by the first detail bar after it",
        bars="""
            open  high  low  close  target
            100   100   100  100    .
            100   100   100  100    .
            100   100   100  100    .
            100   100   100  100    1
            101   101   101  101    .
            102   102   102  102    .
            104   104   104  104    .
            105   105   105  105    .
        """,
        signal_bars=4,
        rules={"latency_ms": 5_400_000},
        fills="""
            bar  side  qty  price
            6    buy   9    104
        """,
        equity="1009",
    ),
    # A latency of exactly one detail bar is met at that bar's open.
    Scenario(
        name="latency that ends at an open is met there",
        bars="""
            open  high  low  close  target
            100   100   100  100    .
            100   100   100  100    1
            101   101   101  101    .
            102   102   102  102    .
        """,
        signal_bars=2,
        rules={"latency_ms": 3_600_000},
        fills="""
            bar  side  qty  price
            3    buy   9    102
        """,
    ),
    # Gone after bar 2: settled at the mark of 96, not at the traded 95, without fee: 10*(96-100).
    Scenario(
        name="a delisting settles at the mark",
        bars="""
            open  high  low  close  m_open  m_high  m_low  m_close  target
            100   100   100  100    100     100     100    100      1
            100   100   100  100    100     100     100    100      .
            98    98    95   95     98      98      96     96       .
            .     .     .    .      .       .       .      .        .
        """,
        terms={"taker_fee": 0.001, "last_bar": 2},
        fills="""
            bar  side  qty  price  fee  pnl  why
            1    buy   10   100    1    0    target
            2    sell  10   96     0    -40  delisting
        """,
        wallet="1000  999  959  959",
        equity="1000  999  959  959",
    ),
    # A resting order ends with its contract.
    Scenario(
        name="a delisting cancels what rests",
        bars="""
            open  high  low  close
            100   100   100  100
            100   100   100  100
            .     .     .    .
        """,
        terms={"last_bar": 1},
        requests="""
            bar  do   qty  kind   limit
            0    buy  10   limit  90
        """,
        orders="""
            bar  filled  status     reason
            0    0       cancelled  delisted
        """,
    ),
    # The second contract's first bar is bar 2. Its order waits for it: 0.5*1000/50 = 10.
    Scenario(
        name="an order waits for a listing",
        bars=(
            """
            open  high  low  close  target
            100   100   100  100    0.5
            100   100   100  100    .
            100   100   100  100    .
            """,
            """
            open  high  low  close  target
            .     .     .    .      0.5
            .     .     .    .      .
            50    52    50   52     .
            """,
        ),
        fills="""
            bar  sym  side  qty  price
            1    0    buy   5    100
            2    1    buy   10   50
        """,
        orders="""
            bar  sym  filled  status  waited
            0    0    5       filled  0
            0    1    10      filled  1
        """,
        equity="1000  1000  1020",
    ),
    # 10 bought at 98 in bar 1 with a stated fee of 0.5. In bar 2 a maker sells 15 at 103: 10 close with +50, 5 open a
    # short; the fee is 0.0002 of 1030 and of 515. At 101: 5*2 won.
    Scenario(
        name="trades executed elsewhere are booked",
        bars="""
            open  high  low  close
            100   100   100  100
            100   101   97   100
            100   104   99   101
        """,
        terms={"taker_fee": 0.001, "maker_fee": 0.0002},
        own_fills="""
            hour  qty  price  fee  liq
            1.5   10   98     0.5  taker
            2.25  -15  103    .    maker
        """,
        fills="""
            bar  side  qty  price  fee    pnl  why  liq
            1    buy   10   98     0.5    0    own  taker
            2    sell  10   103    0.206  50   own  maker
            2    sell  5    103    0.103  0    own  maker
        """,
        wallet="1000  999.5  1049.191",
        equity="1000  1019.5  1049.191+10",
    ),
    # 300 units at 100 bind 3000 at 10x, which 1000 would not carry: booked all the same. On the path 1000+300*(M-100)
    # = 3*M at M = 29000/297 = 97.643.
    Scenario(
        name="a trade executed elsewhere asks for no margin and can be liquidated",
        bars="""
            open  high  low  close
            100   100   100  100
            100   101   97   99
        """,
        own_fills="""
            hour  qty  price
            1     300  100
        """,
        fills="""
            bar  side  qty  price      why
            1    buy   300  100        own
            1    sell  300  29000/297  liquidation
        """,
        liquidations="""
            bar  kind      qty  trigger    lost
            1    takeover  300  29000/297  1000
        """,
        wallet="1000  0",
    ),
    # One bar of latency: decided at bar 0's close, in force from bar 2's open. The stop at 99, decided at bar 2's
    # close, is in force from bar 4 on: bar 3's 97 does not fire it.
    Scenario(
        name="settings wait as long as the orders beside them",
        bars="""
            open  high  low  close  target  stop_price
            100   100   100  100    1       95
            100   100   90   100    .       .
            100   101   98   100    .       99
            100   101   97   100    .       .
            100   101   98   100    .       .
        """,
        rules={"latency_bars": 1},
        fills="""
            bar  side  qty  price  pnl  why
            2    buy   10   100    0    target
            4    sell  10   99     -10  stop_loss
        """,
    ),
    # A trade executed elsewhere opens, and the stop in force protects it.
    Scenario(
        name="a trade executed elsewhere gets its stop",
        bars="""
            open  high  low  close  stop_loss
            100   100   100  100    0.05
            100   101   94   96     .
        """,
        own_fills="""
            hour  qty  price
            1     10   100
        """,
        fills="""
            bar  side  qty  price  pnl  why
            1    buy   10   100    0    own
            1    sell  10   95     -50  stop_loss
        """,
        wallet="1000  950",
    ),
    # Closed by its target in bar 2: nothing opens before bar 4.
    Scenario(
        name="cooling down follows any close",
        bars="""
            open  high  low  close  target  cooldown_bars
            100   100   100  100    1       2
            100   100   100  100    0       .
            100   100   100  100    0.5     .
            100   100   100  100    -0.5    .
            100   100   100  100    .       .
        """,
        fills="""
            bar  side  qty  price
            1    buy   10   100
            2    sell  10   100
            4    sell  5    100
        """,
        orders="""
            bar  filled  reason
            0    10      none
            1    -10     none
            2    0       cooldown
            3    -5      none
        """,
    ),
    # The order rests when the slot becomes inactive; it may not open when its price comes.
    Scenario(
        name="an inactive slot's resting order does not open",
        bars="""
            open  high  low  close  target  limit  active
            100   100   100  100    1       98     1
            100   101   99   100    .       .      0
            100   101   97   100    .       .      .
        """,
        orders="""
            bar  filled  reason
            0    0       inactive
        """,
    ),
    # The trade comes after the settlement at 1:06 and before the one at 1:30: only that one is paid, 10*100*0.001.
    Scenario(
        name="trades executed elsewhere and funding go by time",
        bars="""
            open  high  low  close
            100   100   100  100
            100   100   100  100
        """,
        settled=((1.1, 0.01, 100.0), (1.5, 0.001, 100.0)),
        own_fills="""
            hour  qty  price
            1.25  10   100
        """,
        fills="""
            bar  side  qty  price  why
            1    buy   10   100    own
        """,
        funding="""
            bar  held  received
            1    10    -1
        """,
        wallet="1000  999",
    ),
)

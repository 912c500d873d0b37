"""Orders: sizing, clipping, minimums, waiting, rebalancing, and fills at the close."""

from tests.scenarios.table import Scenario, brackets

SCENARIOS = (
    # 10 at 100. At 110 the equity is 1000-1+100 = 1099, so the short is 1099/110 = 9.99 -> 9 and the order sells 19:
    # 10 close with a profit of 100, 9 open at 110. They are bought back at 99: 9*11 = 99.
    Scenario(
        name="a flip through zero closes first and then opens",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            100   110   100  110    -1
            110   110   99   99     0
            99    99    99   99     .
        """,
        terms={"taker_fee": 0.001},
        fills="""
            bar  side  qty  price  fee    pnl  why
            1    buy   10   100    1      0    target
            2    sell  10   110    1.1    100  target
            2    sell  9    110    0.99   0    target
            3    buy   9    99     0.891  99   target
        """,
        orders="""
            bar  wanted  filled  status  reason
            0    10      10      filled  none
            1    -19     -19     filled  none
            2    9       9       filled  none
        """,
        wallet="1000  999  1096.91  1000-1+100-1.1-0.99+99-0.891",
        equity="1000  1099  1096.91+9*11  1195.019",
    ),
    # Six times the equity at leverage 5: each unit takes 100*(1/5+0.001) = 20.1 of 1000, that is 49.75 -> 49 units.
    Scenario(
        name="an order that the margin does not carry is clipped",
        bars="""
            open  high  low  close  target
            100   100   100  100    6
            100   100   100  100    .
        """,
        terms={"leverage": 5.0, "taker_fee": 0.001},
        fills="""
            bar  side  qty  price  fee
            1    buy   49   100    4.9
        """,
        orders="""
            bar  wanted  filled  status   reason
            0    60      49      clipped  margin
        """,
        wallet="995.1",
    ),
    Scenario(
        name="an order that the margin does not carry is rejected whole",
        bars="""
            open  high  low  close  target
            100   100   100  100    6
            100   100   100  100    .
        """,
        terms={"leverage": 5.0, "taker_fee": 0.001},
        rules={"insufficient_margin": "reject"},
        orders="""
            bar  wanted  filled  status    reason
            0    60      0       rejected  margin
        """,
        wallet="1000",
    ),
    # Buying 50 at 101 with the mark at 100: each unit takes 101/10 of margin and 1 of loss to the mark, 11.1 of 1000.
    # Wanted 10*1000/101 = 99.01 -> 99; carried 1000/11.1 = 90.09 -> 90. Then the equity is 1000-90.
    Scenario(
        name="the loss to the mark counts against the margin",
        bars="""
            open  high  low  close  m_open  m_high  m_low  m_close  target
            100   100   100  100    100     100     100    100      10
            101   101   101  101    100     100     100    100      .
        """,
        fills="""
            bar  side  qty  price
            1    buy   90   101
        """,
        orders="""
            bar  wanted  filled  status   reason
            0    99      90      clipped  margin
        """,
        equity="1000  910",
    ),
    # 10 -> 8 sells 2, fewer than the minimum of 5, but it only reduces. Back to 10 would open 2: dropped.
    Scenario(
        name="a reduction below the minimum fills, an increase does not",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            100   100   100  100    0.8
            100   100   100  100    1
            100   100   100  100    .
        """,
        terms={"min_quantity": 5.0},
        fills="""
            bar  side  qty  price
            1    buy   10   100
            2    sell  2    100
        """,
        orders="""
            bar  wanted  filled  status   reason
            0    10      10      filled   none
            1    -2      -2      filled   none
            2    2       0       dropped  min_quantity
        """,
        wallet="1000",
    ),
    # 3 units are worth 300 < 500: dropped. 6 units are worth 600.
    Scenario(
        name="an order below the minimum notional is dropped",
        bars="""
            open  high  low  close  target
            100   100   100  100    0.3
            100   100   100  100    0.6
            100   100   100  100    .
        """,
        terms={"min_notional": 500.0},
        fills="""
            bar  side  qty  price
            2    buy   6    100
        """,
        orders="""
            bar  wanted  filled  status   reason
            0    3       0       dropped  min_notional
            1    6       6       filled   none
        """,
    ),
    # Long 6, then a short of 4 that is worth 400 < 500: the long closes, the short does not open.
    Scenario(
        name="a flip whose new side is too small closes only",
        bars="""
            open  high  low  close  target
            100   100   100  100    0.6
            100   100   100  100    -0.4
            100   100   100  100    .
        """,
        terms={"min_notional": 500.0},
        fills="""
            bar  side  qty  price
            1    buy   6    100
            2    sell  6    100
        """,
        orders="""
            bar  wanted  filled  status   reason
            0    6       6       filled   none
            1    -10     -6      clipped  min_notional
        """,
    ),
    # Nothing trades in bar 1: the order waits and is sized at bar 2's open: 1.05*1000/105 = 10. The mark goes on.
    Scenario(
        name="an order waits for a bar with volume",
        bars="""
            open  high  low  close  volume  target
            100   100   100  100    5       1.05
            102   102   102  102    0       .
            105   105   105  105    5       .
        """,
        fills="""
            bar  side  qty  price
            2    buy   10   105
        """,
        orders="""
            bar  wanted  filled  status  reason  waited
            0    10      10      filled  none    1
        """,
        counts={"bars_waited": 1},
    ),
    # The second target comes before the first could fill.
    Scenario(
        name="a newer target supersedes a waiting order",
        bars="""
            open  high  low  close  volume  target
            100   100   100  100    5       1
            100   100   100  100    0       -1
            100   100   100  100    5       .
        """,
        fills="""
            bar  side  qty  price
            2    sell  10   100
        """,
        orders="""
            bar  target  filled  status      reason     waited
            0    1       0       superseded  no_volume  1
            1    -1      -10     filled      none       0
        """,
    ),
    # Exposure at bar 1's close: 20*104/1080 = 1.926, within 0.1 of 2: nothing. At bar 2's close: 20*110/1200 = 1.833,
    # 0.167 away: at bar 3's open 2*1200/110 = 21.8 -> 21, buy 1.
    Scenario(
        name="a band lets small drifts pass",
        bars="""
            open  high  low  close  target
            100   100   100  100    2
            100   104   100  104    2
            104   110   104  110    2
            110   110   110  110    .
        """,
        rules={"rebalance": "band", "band": 0.1},
        fills="""
            bar  side  qty  price
            1    buy   20   100
            3    buy   1    110
        """,
        orders="""
            bar  wanted  filled  status
            0    20      20      filled
            2    1       1       filled
        """,
    ),
    # 104: 2*1080/104 = 20.8 -> 20, no order. 110: 2*1200/110 = 21.8 -> 21, buy 1. 100: the average entry is 2110/21,
    # the equity 1000+21*100-2110 = 990, 19.8 -> 19, sell 2 at a loss of 2*(2110/21-100) = 20/21.
    Scenario(
        name="every bar is rebalanced",
        bars="""
            open  high  low  close  target
            100   100   100  100    2
            100   104   100  104    2
            104   110   104  110    2
            110   110   100  100    2
            100   100   100  100    .
        """,
        rules={"rebalance": "every_bar"},
        fills="""
            bar  side  qty  price  pnl
            1    buy   20   100    0
            3    buy   1    110    0
            4    sell  2    100    -20/21
        """,
        wallet="1000-20/21",
        equity="1000  1080  1200  990  990",
    ),
    # One bar of latency: decided at bar 0's close, due at bar 2's open, sized at its prices. The last order is too
    # late.
    Scenario(
        name="latency delays an order by whole bars",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            110   110   110  110    .
            125   125   125  125    0
            130   130   130  130    .
        """,
        rules={"latency_bars": 1},
        fills="""
            bar  side  qty  price
            2    buy   8    125
        """,
        orders="""
            bar  target  filled  status   reason
            0    1       8       filled   none
            2    0       0       pending  none
        """,
        equity="1000  1000  1000  1040",
    ),
    # Decided and filled at bar 0's close: 1.02*1000/102 = 10 at the trade's 102, valued at the mark's 101 in the same
    # bar.
    Scenario(
        name="fills at the close",
        bars="""
            open  high  low  close  m_open  m_high  m_low  m_close  target
            100   102   100  102    100     101     100    101      1.02
            103   106   103  106    102     105     102    105      0
        """,
        rules={"fill": "close"},
        fills="""
            bar  side  qty  price  pnl
            0    buy   10   102    0
            1    sell  10   106    40
        """,
        wallet="1000  1040",
        equity="990  1040",
    ),
    # Above 2000 the leverage is limited to 5; at leverage 10 a position has to stay below: 19 units, not 20.
    Scenario(
        name="the tiers cap what a leverage may open",
        bars="""
            open  high  low  close  target
            100   100   100  100    5
            100   100   100  100    .
        """,
        terms={"tables": (brackets((0, 0.01, 20), (2000, 0.02, 5)),)},
        fills="""
            bar  side  qty  price
            1    buy   19   100
        """,
        orders="""
            bar  wanted  filled  status   reason
            0    50      19      clipped  tier_cap
        """,
    ),
    # A buyer pays 100*1.01, a seller gets 110*0.99. Equity 1000-10*1 = 990 at the mark of bar 1.
    Scenario(
        name="slippage is paid on both ways",
        bars="""
            open  high  low  close  target
            100   100   100  100    1
            100   110   100  110    0
            110   110   110  110    .
        """,
        terms={"slippage": 0.01},
        fills="""
            bar  side  qty  price  slip  pnl
            1    buy   10   101    10    0
            2    sell  10   108.9  11    79
        """,
        wallet="1000  1000  1079",
    ),
    # Closing at the market's 75 while the mark still says 95 loses 50*25 = 1250 of 1000: once flat, the fund lifts
    # the wallet to zero.
    Scenario(
        name="a negative wallet is cleared once flat",
        bars="""
            open  high  low  close  m_open  m_high  m_low  m_close  target
            100   100   100  100    100     100     100    100      5
            100   100   100  100    100     100     95     95       0
            75    76    75   75     95      95      95     95       .
        """,
        terms={"leverage": 20.0},
        fills="""
            bar  side  qty  price  pnl    why
            1    buy   50   100    0      target
            2    sell  50   75     -1250  target
        """,
        wallet="1000  1000  0",
        equity="1000  750  0",
    ),
    # The first contract closes as above and leaves 1000-1250 = -250 of free wallet. The second, 10 at 100, wants
    # 5*750/100 = 37: nothing opens on debt. On the path the account has -250 <= 10 required: the engine takes the
    # second contract at 100, and the fund pays the 250.
    Scenario(
        name="nothing opens while the free wallet is in debt",
        bars=(
            """
            open  high  low  close  m_open  m_high  m_low  m_close  target
            100   100   100  100    100     100     100    100      5
            100   100   100  100    100     100     95     95       0
            75    76    75   75     95      95      95     95       .
            """,
            """
            open  high  low  close  m_open  m_high  m_low  m_close  target
            100   100   100  100    100     100     100    100      1
            100   100   100  100    100     100     100    100      5
            100   100   100  100    100     100     100    100      .
            """,
        ),
        terms={"leverage": 20.0},
        fills="""
            bar  sym  side  qty  price  pnl    why
            1    0    buy   50   100    0      target
            1    1    buy   10   100    0      target
            2    0    sell  50   75     -1250  target
            2    1    sell  10   100    0      liquidation
        """,
        liquidations="""
            bar  sym  kind      qty  trigger  bankrupt  balance  required  lost  fund
            2    1    takeover  10   100      125       -250     10        -250  -250
        """,
        orders="""
            bar  sym  wanted  filled  status    reason
            0    0    50      50      filled    none
            0    1    10      10      filled    none
            1    0    -50     -50     filled    none
            1    1    27      0       rejected  debt
        """,
        wallet="1000  1000  0",
    ),
)

"""Doubling down."""

from backtester.strategy import Param, Strategy, loop


class Martingale(Strategy):
    """Buy, buy twice as much after each further fall, and sell all a little above the average entry.

    It is here to be seen failing: the report shows a long row of gains and the liquidation that takes them back.

    Hypothesis
    ----------
    After a fall comes a rise, and with a large enough purchase at the low a small one is enough to win back everything.

    Source
    ------
    Harrison, Kreps (1979), "Martingales and Arbitrage in Multiperiod Securities Markets", Journal of Economic Theory
    20(3), 381-408: doubling wins for certain if wealth and credit have no bound, which is why theory rules it out.

    Limits
    ------
    Wealth has a bound. The size grows by ``factor`` with each step, the margin does not: some fall is always deep
    enough. Gains before it say nothing. Sizes are those of linear contracts.
    """

    stake: float = Param(0.1, gt=0, description="Size of the first purchase as a fraction of equity.")
    step: float = Param(0.02, gt=0, lt=1, description="Fall below the last purchase that makes the next one.")
    factor: float = Param(2.0, ge=1, description="Size of a purchase in units of the one before.")
    profit: float = Param(0.01, gt=0, description="Rise above the average entry at which all is sold, as a fraction.")

    @staticmethod
    def on_bar(ctx: loop.LoopContext, params: loop.Params) -> None:
        """Buy while flat, and more below the last purchase; the profit target follows the average entry by itself.

        The state of a symbol: price and size of the last purchase, and the number of its request plus one.
        """
        for i in range(loop.symbol_count(ctx)):
            price = loop.close_price(ctx, i)
            if loop.bar_number(ctx) == 0:
                loop.set_exit(ctx, i, loop.SettingField.TAKE_PROFIT, params.profit)
            if not price > 0.0 or loop.equity(ctx) <= 0.0:
                continue
            if ctx.state[i, 2] > 0.0 and loop.remaining(ctx, int(ctx.state[i, 2]) - 1) > 0.0:
                continue  # the last purchase is still on its way
            if loop.quantity(ctx, i) == 0.0:
                ctx.state[i, 1] = params.stake * loop.equity(ctx) / price
            elif price <= ctx.state[i, 0] * (1.0 - params.step):
                ctx.state[i, 1] *= params.factor
            else:
                continue
            ctx.state[i, 0] = price
            ctx.state[i, 2] = loop.submit_market(ctx, i, ctx.state[i, 1]) + 1

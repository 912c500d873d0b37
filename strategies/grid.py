"""A grid of limit orders around the first price."""

from backtester.strategy import Param, Strategy, loop


class Grid(Strategy):
    """Buy a unit at each level below the first price, sell one at each level above, and take each unit back a level on.

    Levels stand at ``first price * (1 + k * spacing)`` for k from -levels to levels. At level k the position wanted is
    -k units, so that each fill is undone one level further. The orders are placed anew whenever the position changed.

    Hypothesis
    ----------
    Prices swing around a level more often than they leave it: each swing over one spacing earns it on one unit.

    Source
    ------
    Taranto, Khan (2020), "Gambler's ruin problem and bi-directional grid constrained trading and investment
    strategies", Investment Management and Financial Innovations 17(3), 54-66, doi:10.21511/imfi.17(3).2020.05.

    Limits
    ------
    Many small gains against one large loss: beyond the last level it holds the largest position on the wrong side,
    without a stop. Fills at a limit assume that the queue before the order was traded too. A unit that is bought inside
    a bar is offered from the next open on. Sizes are those of linear contracts.
    """

    levels: int = Param(5, ge=1, le=50, description="Levels on each side of the first price.")
    spacing: float = Param(0.01, gt=0, lt=1, description="Distance of two levels, as a fraction of the first price.")
    stake: float = Param(0.1, gt=0, description="Size of a unit as a fraction of the first equity.")

    def check_params(self) -> None:
        """Refuse levels at or below zero."""
        if self.levels * self.spacing >= 1:
            raise ValueError(f"levels * spacing = {self.levels * self.spacing:g} must be less than 1")

    @staticmethod
    def on_bar(ctx: loop.LoopContext, params: loop.Params) -> None:
        """Place the orders of both sides anew where the position is another than at the bar before.

        The state of a symbol: first price, unit, and the units held when the orders were placed (plus one: 0 is none).
        """
        for i in range(loop.symbol_count(ctx)):
            price = loop.close_price(ctx, i)
            if ctx.state[i, 0] == 0.0 and price > 0.0:
                ctx.state[i, 0] = price
                ctx.state[i, 1] = params.stake * loop.equity(ctx) / price
            first, unit = ctx.state[i, 0], ctx.state[i, 1]
            if unit <= 0.0:
                continue
            held = round(loop.quantity(ctx, i) / unit)
            if ctx.state[i, 2] > 0.0 and held == int(ctx.state[i, 3]):
                continue
            ctx.state[i, 2], ctx.state[i, 3] = 1.0, held
            loop.cancel_all(ctx, i)
            for k in range(-int(params.levels), int(params.levels) + 1):
                level = first * (1.0 + k * params.spacing)
                if k < -held:
                    loop.submit_limit(ctx, i, unit, level)
                elif k > -held:
                    loop.submit_limit(ctx, i, -unit, level)

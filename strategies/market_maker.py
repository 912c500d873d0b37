"""Quotes on both sides, leaning against the inventory."""

from backtester.strategy import Param, Strategy, loop


class MarketMaker(Strategy):
    """Quote a bid and an offer around the last price for one bar, shifted so that the inventory shrinks.

    Hypothesis
    ----------
    Who stands ready on both sides earns the spread from those who want to trade at once. The quotes are moved against
    the inventory, since holding it is the risk.

    Source
    ------
    Avellaneda, Stoikov (2008), "High-frequency trading in a limit order book", Quantitative Finance 8(3), 217-224,
    doi:10.1080/14697680701381228; here with a linear shift in place of their reservation price.

    Limits
    ------
    On bars a quote fills whenever the price reaches it, and the worst fills are those that a real queue would have
    been first to get: state ``execution.through_ticks = 1`` and a ``volume_share``. A trend fills one side alone, up to
    the limit of the inventory, which is then held without a stop. It lives on maker fees at or near zero. Sizes are
    those of linear contracts.
    """

    half_spread: float = Param(0.002, gt=0, lt=0.5, description="Distance of a quote from the middle, as a fraction.")
    skew: float = Param(1.0, ge=0, description="Half spreads by which the middle moves at the full inventory.")
    stake: float = Param(0.1, gt=0, description="Size of a quote as a fraction of equity.")
    limit: float = Param(0.5, gt=0, description="Largest inventory on either side, as a fraction of equity.")

    @staticmethod
    def on_bar(ctx: loop.LoopContext, params: loop.Params) -> None:
        """Quote for the next bar; what is not filled in it expires."""
        equity = loop.equity(ctx)
        if equity <= 0.0:
            return
        for i in range(loop.symbol_count(ctx)):
            price = loop.close_price(ctx, i)
            if not price > 0.0:
                continue
            held = loop.quantity(ctx, i)
            most = params.limit * equity / price
            middle = price * (1.0 - params.skew * params.half_spread * max(-1.0, min(1.0, held / most)))
            size = params.stake * equity / price
            _quote(ctx, i, 1.0, min(size, most - held), middle * (1.0 - params.half_spread))
            _quote(ctx, i, -1.0, min(size, most + held), middle * (1.0 + params.half_spread))


@loop.compiled
def _quote(ctx: loop.LoopContext, i: int, side: float, size: float, price: float) -> None:
    """Ask for a maker order of one bar; nothing on the side on which the inventory is full."""
    if size > 0.0:
        loop.submit_order(ctx, i, loop.OrderKind.LIMIT, side * size, price, flags=loop.POST_ONLY, good_for=1)

"""Bybit v5."""

from tests.exchange.answer import Answer, Request
from tests.exchange.market import Market


def answer(market: Market, request: Request) -> Answer:
    return Answer({}, 404)

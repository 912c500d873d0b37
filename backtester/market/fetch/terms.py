"""Contracts and margin tiers as they are today, stored with the date from which they are known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backtester.domain.instrument import Instrument
from backtester.errors import ExchangeError
from backtester.market.fetch.bring import Brought
from backtester.market.fetch.watch import Task
from backtester.market.schema import instrument_frame, tier_frame
from backtester.market.sources.ccxt_json import market_instrument, tier_table

if TYPE_CHECKING:
    from backtester.domain.margin_tiers import TierTable
    from backtester.market.merge import WriteReport
    from backtester.market.sources.ccxt_client import Client
    from backtester.market.store import Store

_DAY_MS = 86_400_000


class TermsDesk:
    """Answers for all symbols of an exchange at once, where the exchange does.

    Parameters
    ----------
    store : Store
        Where to.
    clients : mapping of str to Client
        The exchanges by id.
    tasks : sequence of Task
        Everything that is fetched; those of terms are answered together.
    note : callable
        Told what the user should know.
    """

    def __init__(
        self, store: Store, clients: Mapping[str, Client], tasks: Sequence[Task], note: Callable[[str], None]
    ) -> None:
        self._store = store
        self._note = note
        self._refused: set[str] = set()
        self._clients = clients
        self._symbols = {
            (series, exchange): [t.key.symbol for t in tasks if t.key.series == series and t.exchange == exchange]
            for series in ("tiers", "instrument")
            for exchange in clients
        }
        self._answers: dict[tuple[str, str], asyncio.Task[Any]] = {}

    async def bring(self, task: Task) -> Brought:
        """Store the terms of one contract, where the exchange publishes them."""
        client = self._clients[task.exchange]
        answer = await self._answer(task)
        today = client.now() // _DAY_MS * _DAY_MS
        if task.key.series == "tiers":
            brackets = answer.get(task.key.symbol)
            if not brackets and task.key.symbol not in self._refused:
                self._note(f"{client.id} has no margin tiers of {task.key.symbol} in ccxt: import or state them")
            return Brought(await asyncio.to_thread(self._write_tiers, task, client.source, brackets, today))
        return Brought(await asyncio.to_thread(self._write_contract, task, client, answer, today))

    async def _answer(self, task: Task) -> Any:
        """Return the exchange's answer for all contracts, asked for once."""
        place = task.key.series, task.exchange
        if place not in self._answers:
            client = self._clients[task.exchange]
            asked = client.tiers(self._symbols[place]) if task.key.series == "tiers" else client.funding_terms()
            self._answers[place] = asyncio.ensure_future(asked)
        try:
            return await asyncio.shield(self._answers[place])
        except ExchangeError as error:
            if task.key.symbol == self._symbols[place][0]:
                raise type(error)(error.message, _offer(error.hint)) from error
            self._refused.add(task.key.symbol)
            return {}  # said once is enough

    def _write_tiers(
        self, task: Task, source: str, brackets: Sequence[Mapping[str, Any]] | None, today: int
    ) -> WriteReport | None:
        key = task.key
        if not brackets:
            return None
        table = tier_table(key.symbol, brackets, today, task.exchange)
        stored = self._store.tier_tables(key.venue, key.symbol)
        if stored and _brackets(stored[-1]) == _brackets(table):
            return None
        return self._store.write(key, tier_frame([table]), source=source)

    def _write_contract(
        self, task: Task, client: Client, funding: Mapping[str, Mapping[str, float]], today: int
    ) -> WriteReport | None:
        symbol = task.key.symbol
        instrument = market_instrument(client.contracts[symbol], valid_from=today, source=task.exchange)
        if instrument is None:
            return None
        terms = Instrument(**{**instrument.model_dump(), **funding.get(symbol, {})})
        return self._store.write(task.key, instrument_frame(terms), source=client.source)


def _brackets(table: TierTable) -> list[tuple[float, float, float, float]]:
    return [(t.notional_floor, t.notional_cap, t.maintenance_margin_rate, t.max_leverage) for t in table.tiers]


def _offer(hint: str) -> str:
    way = "Or import a file: `backtester data import FILE --format ccxt-tiers --venue NAME`."
    return f"{hint} {way}".strip()

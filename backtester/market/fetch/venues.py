"""The exchanges behind a venue, opened, and what each of them can give."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from backtester.domain.instrument import is_spot_name
from backtester.domain.venues import load_pack, pack_names
from backtester.errors import UnknownNameError, UsageError
from backtester.market.fetch.request import is_pattern
from backtester.market.retry import RetryPolicy
from backtester.market.schema import EVENT
from backtester.market.sources.ccxt_client import Client, known_exchanges, spot_id

_POLICY = RetryPolicy(attempts=9)
_LINEAR = ("USDT", "USDC", "BUSD", "FDUSD", "USD")


@dataclass(frozen=True)
class VenueExchanges:
    """A venue and its exchanges in ccxt.

    Attributes
    ----------
    venue : str
        Name under which the store keeps its data.
    ids : tuple of str
        Ids in ccxt, the one of the linear contracts first.
    spot : str
        Id of the one that serves spot pairs.
    """

    venue: str
    ids: tuple[str, ...]
    spot: str


@dataclass(frozen=True)
class Route:
    """How exchanges are reached.

    Attributes
    ----------
    base_url : str or None
        Scheme and host in place of the exchanges' own: a mirror or a proxy.
    pause_ms : float or None
        Pause between requests in place of the exchanges' rate limits [ms].
    timeout_ms : int
        How long an answer is waited for [ms].
    policy : RetryPolicy
        How failed requests are repeated.
    """

    base_url: str | None = None
    pause_ms: float | None = None
    timeout_ms: int = 20_000
    policy: RetryPolicy = _POLICY


def venue_exchanges(name: str) -> VenueExchanges:
    """Return the exchanges of a venue: those that its rule pack names, else the exchange of that id in ccxt.

    Raises
    ------
    UnknownNameError
        Neither a pack nor ccxt knows the name.
    UsageError
        The pack's venue is served by no exchange of ccxt.
    """
    if name.endswith(".toml") or name in pack_names():
        pack = load_pack(name)
        if not pack.exchanges:
            raise UsageError(
                f"ccxt serves no exchange for the venue {pack.name!r}: nothing can be fetched.",
                "Import files with `backtester data import`, or name another --venue.",
            )
        return VenueExchanges(pack.name, pack.exchanges, pack.spot_exchange or pack.exchanges[0])
    exchanges = known_exchanges()
    if name not in exchanges:
        raise UnknownNameError("venue", name, [*pack_names(), *exchanges])
    return VenueExchanges(name, (name,), name)


def needed_ids(exchanges: VenueExchanges, symbols: Iterable[str]) -> tuple[str, ...]:
    """Return the exchanges that have to be opened, by the ids that `Client` takes.

    The later ones (coin-margined) are opened only where a name asks for them, that of spot pairs where one is named
    (``BTC/USDT``, ``*/USDT``), and it alone where nothing else is.
    """
    names = list(symbols)
    spot = [s for s in names if is_spot_name(s) and not s.endswith("*")]  # 'BTC/*' means contracts
    pairs = [s.rpartition(":") for s in names if ":" in s]
    # '*/USD:*' means coins, '*/USDT:*' does not
    is_linear_only = all(
        settle in _LINEAR or (is_pattern(settle) and not pair.endswith("/USD")) for pair, _, settle in pairs
    )
    ids = exchanges.ids[:1] if is_linear_only else exchanges.ids
    if not spot:
        return ids
    return (*(ids if len(spot) < len(names) else ()), spot_id(exchanges.spot))


@asynccontextmanager
async def opened(ids: Sequence[str], route: Route) -> AsyncIterator[list[Client]]:
    """Open exchanges, and close them whatever happens."""
    clients = [
        Client(i, route.base_url, pause_ms=route.pause_ms, timeout_ms=route.timeout_ms, policy=route.policy)
        for i in ids
    ]
    try:
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.open())
        yield clients
    except* Exception as errors:  # noqa: BLE001 - one exception is raised as itself, whichever it is
        raise first_of(errors) from None
    finally:
        for client in clients:
            await client.close()


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first single exception of a group."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def lacks(client: Client, wanted: Iterable[tuple[str, str]]) -> list[str]:
    """Return what an exchange cannot give of the wanted pairs of series and timeframe, a sentence each.

    Raises
    ------
    UsageError
        Nothing of it.
    """
    wanted = list(wanted)
    known = client.timeframes
    texts = [
        *(
            f"{client.id} has no {series} series in ccxt: it is left out"
            for series in dict.fromkeys(series for series, _ in wanted)
            if not client.has(series)
        ),
        *(
            f"{client.id} has no bars of {timeframe} (it has {', '.join(known)}): they are left out"
            for timeframe in dict.fromkeys(timeframe for _, timeframe in wanted if timeframe != EVENT)
            if timeframe not in known
        ),
    ]
    if wanted and not any(client.has(s) and (t == EVENT or t in known) for s, t in wanted):
        raise UsageError(f"There is nothing to fetch: {'; '.join(texts)}.", "Choose other --series or --timeframes.")
    return texts

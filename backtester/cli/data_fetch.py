"""``backtester data fetch``: from an exchange into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backtester.cli.options import (
    DEFAULT_STORE,
    EndOption,
    JsonOption,
    QuietOption,
    StartOption,
    StoreOption,
    SymbolsOption,
    series_names,
    split_list,
)

if TYPE_CHECKING:
    from backtester.market.fetch import Route

BaseUrlOption = Annotated[
    str | None,
    typer.Option("--base-url", metavar="URL", help="Scheme and host of a mirror or proxy of the exchange."),
]
PauseOption = Annotated[
    float | None,
    typer.Option("--pause", metavar="MS", min=0, help="Between requests, in place of the exchange's rate limit."),
]


def fetch_data(
    *,
    venue: Annotated[
        str,
        typer.Option(
            "--venue", metavar="NAME", help="binance, bybit, okx, blofin, hyperliquid, gate, bitget, or any id of ccxt."
        ),
    ],
    symbols: SymbolsOption = None,
    top: Annotated[
        int | None,
        typer.Option("--top", metavar="N", min=1, help="The N contracts with the largest volume today (hindsight!)."),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Extend everything that is stored of the venue until now.")
    ] = False,
    series: Annotated[
        list[str] | None,
        typer.Option(
            "--series",
            metavar="A,B",
            help="trade, mark, index, premium, funding, tiers, instruments; default: all but premium.",
        ),
    ] = None,
    timeframes: Annotated[
        list[str] | None,
        typer.Option("--timeframes", "--timeframe", metavar="1m,1h", help="Bars to fetch; default: 1h."),
    ] = None,
    start: StartOption = None,
    end: EndOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Ask also for holes that the exchange could not fill before.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched, and fetch nothing.")] = False,
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=1, max=64, help="Datasets at a time.")] = 8,
    base_url: BaseUrlOption = None,
    pause_ms: PauseOption = None,
    store_dir: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch what is missing from an exchange: bars, funding, margin tiers, contracts.

    What is stored is not asked for again, so an interrupted fetch goes on where it ended: run the same command once
    more. Without a start, everything since the listing is fetched; --dry-run says how much that is.
    """
    from backtester.cli.fetch_output import FetchScreen, print_fetch
    from backtester.engine.run_file import parse_time
    from backtester.market.fetch import FetchRequest, fetch
    from backtester.market.store import Store

    request = FetchRequest(
        venue=venue,
        symbols=split_list(symbols),
        series=series_names(series),
        timeframes=_timeframes(split_list(timeframes)),
        start=None if start is None else parse_time(start, "--start"),
        end=None if end is None else parse_time(end, "--end"),
        top=top,
        update=update,
        again=again,
        workers=workers,
    )
    store = Store(store_dir, lock_timeout=1.0)
    with FetchScreen(store, quiet=quiet) as screen:
        result = fetch(store, request, watch=screen, route=route(base_url, pause_ms), dry_run=dry_run)
    print_fetch(store, result, dry_run=dry_run, as_json=as_json, quiet=quiet)
    if result.failures:
        raise typer.Exit(1)


def _timeframes(names: tuple[str, ...]) -> tuple[str, ...]:
    from backtester.market.schema import timeframe_ms, timeframe_name

    return tuple(timeframe_name(timeframe_ms(name)) for name in names)


def route(base_url: str | None, pause_ms: float | None) -> Route:
    """Return how exchanges are reached, as the command line says."""
    from urllib.parse import urlsplit

    from backtester.errors import UsageError
    from backtester.market.fetch import Route

    if base_url is not None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/"):
            raise UsageError(
                f"{base_url!r} is no address of a server.", "Write scheme and host: https://mirror.example."
            )
    return Route(base_url, pause_ms)

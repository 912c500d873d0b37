"""What ``backtester data list`` and ``backtester data show`` print."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import typer

from backtester.cli.datasets import by_venue, days, iso, key_json, minute, name_cells, size_text, span_json
from backtester.cli.output import print_json, print_table, say
from backtester.errors import StoreError
from backtester.market.manifest import Manifest
from backtester.market.quality.finding import counted, length
from backtester.market.schema import BAR_SERIES, EVENT, DatasetKey, timeframe_ms
from backtester.market.store import Store

_TERMS = {"tiers": "margin tiers", "instrument": "contract terms"}
"""Series that come for hundreds of symbols without bars, and what they are called."""


def print_list(store: Store, keys: Sequence[DatasetKey], *, everything: bool, as_json: bool) -> None:
    """Print what is stored; symbols with tiers or terms alone are counted, not listed, unless all are wanted."""
    now = _now()
    if as_json:
        print_json([_listed_json(store, key, now) for key in keys])
        return
    if not keys:
        say(
            f"There is no data in {store.root} yet. `backtester data demo` makes a synthetic market, "
            "`backtester data fetch` asks an exchange, `backtester data import` brings in your own files."
        )
        return
    with_bars = {(k.venue, k.symbol) for k in keys if k.series not in _TERMS}
    shown = [k for k in keys if everything or (k.venue, k.symbol) in with_bars]
    for venue, group in by_venue(shown, lambda k: k):
        rows = [_listed_row(store, key, now) for key in group]
        columns = ("symbol", "series", "from", "to", "size", "age", "lag")
        print_table(columns, rows, f"{venue} in {store.root}", right=(4, 5, 6), whole=(0, 1, 2, 3))
    _tell_waiting(store, keys)
    hidden = [] if everything else [k for k in keys if (k.venue, k.symbol) not in with_bars]
    for venue, group in by_venue(hidden, lambda k: k):
        has = {k.series for k in group}
        what = " and ".join(name for series, name in _TERMS.items() if series in has)
        count = counted(len({k.symbol for k in group}), "further symbol")
        typer.echo(f"{venue}: {what} alone for {count} (--all shows them).")


def _tell_waiting(store: Store, keys: Sequence[DatasetKey]) -> None:
    """Say which datasets have pages of an interrupted download that are not among their rows yet."""
    waiting = [key for key in keys if store.waiting_pages(key)]
    if waiting:
        shown = ", ".join(map(str, waiting[:3])) + (", …" if len(waiting) > 3 else "")
        say(f"Note: a download is under way, or ended just now, whose last pages are not counted yet: {shown}.")


def _listed_row(store: Store, key: DatasetKey, now: int) -> tuple[str, ...]:
    try:
        manifest = store.manifest(key)
    except StoreError:
        return (*name_cells(key), "damaged", "", "", "", "")
    lag = _lag(key, manifest, now)
    return (
        *name_cells(key),
        *days(manifest.span),
        size_text(manifest.size),
        length(now - _written(manifest)),
        "" if lag is None else length(max(lag, 0)),
    )


def _listed_json(store: Store, key: DatasetKey, now: int) -> dict[str, Any]:
    try:
        manifest = store.manifest(key)
    except StoreError as e:
        return {**key_json(key), "error": e.message}
    lag = _lag(key, manifest, now)
    return {
        **key_json(key),
        "rows": manifest.rows,
        "filled": manifest.filled,
        **span_json(manifest.span),
        "bytes": manifest.size,
        "files": len(manifest.parts),
        "fingerprint": manifest.fingerprint,
        "sources": sorted({i.source for i in manifest.imports}),
        "imported_at": max(i.imported_at for i in manifest.imports),
        "age_seconds": (now - _written(manifest)) // 1000,
        "lag_seconds": None if lag is None else lag // 1000,
    }


def _written(manifest: Manifest) -> int:
    """Return the time of the last write [ms]."""
    return int(datetime.fromisoformat(max(i.imported_at for i in manifest.imports)).timestamp() * 1000)


def _lag(key: DatasetKey, manifest: Manifest, now: int) -> int | None:
    """Return the time from the end of the last bar, or from the last settlement, to now [ms]; None for terms."""
    if manifest.span is None or key.series not in (*BAR_SERIES, "funding"):
        return None
    return now - manifest.span[1] - (timeframe_ms(key.timeframe) if key.timeframe != EVENT else 0)


def _now() -> int:
    return int(time.time() * 1000)


def print_dataset(
    store: Store, key: DatasetKey, start: int | None, end: int | None, rows: int, *, as_json: bool
) -> None:
    """Print one dataset's origin and the rows at both ends of a range."""
    manifest, frame = store.manifest(key), store.read(key, start, end)
    some = frame if frame.height <= 2 * rows else frame.head(rows).vstack(frame.tail(rows))
    if as_json:
        values = [{c: _iso_time(v) for c, v in row.items()} for row in some.iter_rows(named=True)]
        print_json(
            {
                **_listed_json(store, key, _now()),
                "imports": [
                    {"source": i.source, "imported_at": i.imported_at, "rows": i.rows} for i in manifest.imports
                ],
                "in_range": frame.height,
                "shown": values,
            }
        )
        return
    span = " to ".join(dict.fromkeys(_span_text(manifest.span))) if manifest.span is not None else "no times"
    typer.echo(f"{key}: {counted(manifest.rows, 'row')}, {span}, {size_text(manifest.size)}, in {store.folder(key)}")
    for entry in manifest.imports[-5:]:
        typer.echo(f"  {entry.imported_at}  {entry.source}: {counted(entry.rows, 'row')}")
    cells = [tuple(_cell(c, v) for c, v in row.items()) for row in some.iter_rows(named=True)]
    if frame.height > len(some):
        cells.insert(rows, tuple("…" for _ in frame.columns))
    if key.series == "instrument":  # many figures of few dates: a column a date
        columns = ["", *(str(k) if frame.height > 1 else "" for k in range(1, len(cells) + 1))]
        print_table(columns, zip(frame.columns, *cells, strict=True), right=tuple(range(1, len(columns))))
        return
    print_table(frame.columns, cells, right=tuple(range(1, frame.width)))


def _span_text(span: tuple[int, int] | None) -> tuple[str, str]:
    return ("", "") if span is None else (minute(span[0]), minute(span[1]))


def _iso_time(value: object) -> object:
    return iso(int(value.timestamp() * 1000)) if isinstance(value, datetime) else value


def _cell(column: str, value: object) -> str:
    if value is None:
        return "always" if column == "valid_from" else "unknown"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    return f"{value:.10g}" if isinstance(value, float) else str(value)

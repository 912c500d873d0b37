"""What ``backtester data`` prints: tables for people, the same content as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import typer

from backtester.cli.output import print_json, print_table, say
from backtester.errors import StoreError
from backtester.market.finding import Finding, counted
from backtester.market.intake import Imported, Refusal
from backtester.market.schema import EVENT, DatasetKey
from backtester.market.store import Store

_T = TypeVar("_T")
_MANY = 40
_SHOWN_PER_KIND = 3
_TERMS = {"tiers": "margin tiers", "instrument": "contract terms"}
"""Series that come for hundreds of symbols without bars, and what they are called."""


def print_imports(
    store: Store, done: Sequence[Imported | Refusal], notes: Iterable[str], *, as_json: bool, quiet: bool
) -> int:
    """Print what an import did and return how many files were refused."""
    imported = [d for d in done if isinstance(d, Imported)]
    refused = [d for d in done if isinstance(d, Refusal)]
    said = [*notes, *(f"{i.intake.key}: {note}" for i in imported for note in i.intake.notes)]
    if as_json:
        print_json(
            {
                "store": str(store.root),
                "imported": [_imported_json(i) for i in imported],
                "refused": [{"file": r.name, "error": r.error.message, "hint": r.error.hint} for r in refused],
                "notes": said,
            }
        )
    if not quiet:
        for note in said:
            say(f"Note: {note}.")
    for refusal in refused:
        say(f"Refused: {refusal.error}")
    if not (as_json or quiet):
        _print_import_table(imported)
        end = "`backtester data check` says whether they can be trusted."
        if refused:
            end = f"{counted(len(refused), 'file')} refused, see above."
        typer.echo(f"{len(imported):,} series imported into {store.root}. {end}")
    return len(refused)


def _print_import_table(imported: Sequence[Imported]) -> None:
    if not imported:
        return
    if len(imported) > _MANY:
        kinds = Counter((i.report.key.venue, i.report.key.series, i.report.key.timeframe) for i in imported)
        summary = [
            (venue, counted(count, "symbol"), " ".join((series, timeframe)).removesuffix(EVENT))
            for (venue, series, timeframe), count in sorted(kinds.items())
        ]
        print_table(("venue", "symbols", "series"), summary)
        return
    for venue, items in _by_venue(imported, lambda i: i.report.key):
        rows = []
        for item in items:
            key, report = item.report.key, item.report
            rows.append((*_name(key), f"{report.added:,}", f"{report.changed:,}", *_days(report.span)))
        print_table(("symbol", "series", "new", "changed", "from", "to"), rows, venue, right=(2, 3))


def _imported_json(item: Imported) -> dict[str, Any]:
    report = item.report
    return {
        **_key_json(report.key),
        "source": item.intake.source,
        "brought": report.rows,
        "added": report.added,
        "changed": report.changed,
        "unchanged": report.unchanged,
        "rows": report.total,
        **_span_json(report.span),
        "notes": list(item.intake.notes),
    }


def print_list(store: Store, keys: Sequence[DatasetKey], *, everything: bool, as_json: bool) -> None:
    """Print what is stored; symbols with tiers or terms alone are counted, not listed, unless all are wanted."""
    if as_json:
        print_json([_listed_json(store, key) for key in keys])
        return
    if not keys:
        say(
            f"There is no data in {store.root} yet. `backtester data demo` makes a synthetic market, "
            "`backtester data import` brings in your own files."
        )
        return
    with_bars = {(k.venue, k.symbol) for k in keys if k.series not in _TERMS}
    shown = [k for k in keys if everything or (k.venue, k.symbol) in with_bars]
    for venue, group in _by_venue(shown, lambda k: k):
        rows = [_listed_row(store, key) for key in group]
        print_table(("symbol", "series", "rows", "from", "to", "size"), rows, f"{venue} in {store.root}", right=(2, 5))
    hidden = [] if everything else [k for k in keys if (k.venue, k.symbol) not in with_bars]
    for venue, group in _by_venue(hidden, lambda k: k):
        has = {k.series for k in group}
        what = " and ".join(name for series, name in _TERMS.items() if series in has)
        count = counted(len({k.symbol for k in group}), "further symbol")
        typer.echo(f"{venue}: {what} alone for {count} (--all shows them).")


def _listed_row(store: Store, key: DatasetKey) -> tuple[str, ...]:
    try:
        manifest = store.manifest(key)
    except StoreError:
        return (*_name(key), "damaged", "", "", "")
    return (*_name(key), f"{manifest.rows:,}", *_days(manifest.span), _size(manifest.size))


def _listed_json(store: Store, key: DatasetKey) -> dict[str, Any]:
    try:
        manifest = store.manifest(key)
    except StoreError as e:
        return {**_key_json(key), "error": e.message}
    return {
        **_key_json(key),
        "rows": manifest.rows,
        **_span_json(manifest.span),
        "bytes": manifest.size,
        "files": len(manifest.parts),
        "fingerprint": manifest.fingerprint,
        "sources": sorted({i.source for i in manifest.imports}),
        "imported_at": max(i.imported_at for i in manifest.imports),
    }


def print_findings(
    store: Store,
    keys: Sequence[DatasetKey],
    findings: Sequence[Finding],
    *,
    everything: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Print what a check found, the worst first."""
    counts = Counter(f.severity for f in findings)
    if as_json:
        print_json(
            {
                "store": str(store.root),
                "datasets": len(keys),
                "errors": counts["error"],
                "warnings": counts["warning"],
                "findings": [_finding_json(f) for f in findings],
            }
        )
        return
    if quiet:
        for finding in findings:
            if finding.severity == "error":
                say(f"Error: {finding.key}: {finding.text}.")
        return
    shown, left = _worth_showing(findings, everything=everything)
    for venue, group in _by_venue(shown, lambda f: f.key):
        rows = [(f.severity, " ".join(_name(f.key)).strip(), f"{f.text}.") for f in group]
        print_table(("", "dataset", "finding"), rows, f"{venue} in {store.root}", whole=(0, 1))
    hints = {f.code: f.hint for f in reversed(shown) if f.hint}
    if hints:
        typer.echo("What to do:")
        for code in dict.fromkeys(f.code for f in shown if f.hint):
            typer.echo(f"  {code.replace('_', ' ')}: {hints[code]}")
    summary = f"{counted(len(keys), 'dataset')} checked: {counted(counts['error'], 'error')}, "
    summary += f"{counted(counts['warning'], 'warning')}, {counts['info']:,} for information."
    typer.echo(summary + (f" {left:,} more with --all." if left else ""))


def _worth_showing(findings: Sequence[Finding], *, everything: bool) -> tuple[list[Finding], int]:
    """Return a few findings of each kind and dataset, none that only inform, and how many are left out."""
    if everything:
        return list(findings), 0
    seen: Counter[tuple[DatasetKey, str]] = Counter()
    shown = []
    for finding in findings:
        seen[finding.key, finding.code] += 1
        if finding.severity != "info" and seen[finding.key, finding.code] <= _SHOWN_PER_KIND:
            shown.append(finding)
    return shown, len(findings) - len(shown)


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity,
        "code": finding.code,
        **_key_json(finding.key),
        "start": _iso(finding.start),
        "end": _iso(finding.end),
        "count": finding.count,
        "text": finding.text,
        "hint": finding.hint,
    }


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
                **_listed_json(store, key),
                "imports": [
                    {"source": i.source, "imported_at": i.imported_at, "rows": i.rows} for i in manifest.imports
                ],
                "in_range": frame.height,
                "shown": values,
            }
        )
        return
    span = " to ".join(_span_text(manifest.span)) if manifest.span is not None else "no times"
    typer.echo(f"{key}: {manifest.rows:,} rows, {span}, {_size(manifest.size)}, in {store.folder(key)}")
    for entry in manifest.imports[-5:]:
        typer.echo(f"  {entry.imported_at}  {entry.source}: {entry.rows:,} rows")
    cells = [tuple(_cell(v) for v in row) for row in some.iter_rows()]
    if frame.height > len(some):
        cells.insert(rows, tuple("…" for _ in frame.columns))
    print_table(frame.columns, cells, right=tuple(range(1, frame.width)))


def _key_json(key: DatasetKey) -> dict[str, str]:
    return {"venue": key.venue, "symbol": key.symbol, "series": key.series, "timeframe": key.timeframe}


def _span_json(span: tuple[int, int] | None) -> dict[str, str | None]:
    return {"first": _iso(span[0] if span else None), "last": _iso(span[1] if span else None)}


def _name(key: DatasetKey) -> tuple[str, str]:
    """Return symbol and series with bar, as the tables of one venue show them."""
    return key.symbol, key.series if key.timeframe == EVENT else f"{key.series} {key.timeframe}"


def _by_venue(items: Iterable[_T], key: Callable[[_T], DatasetKey]) -> list[tuple[str, list[_T]]]:
    """Return the items of each venue, venues sorted, the order within kept."""
    groups: dict[str, list[_T]] = {}
    for item in items:
        groups.setdefault(key(item).venue, []).append(item)
    return sorted(groups.items())


def _days(span: tuple[int, int] | None) -> tuple[str, str]:
    return ("", "") if span is None else (_minute(span[0])[:10], _minute(span[1])[:10])


def _span_text(span: tuple[int, int] | None) -> tuple[str, str]:
    return ("", "") if span is None else (_minute(span[0]), _minute(span[1]))


def _minute(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _iso(ms: int | None) -> str | None:
    if ms is None:
        return None
    text = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds" if ms % 1000 else "seconds")
    return text.replace("+00:00", "Z")


def _iso_time(value: object) -> object:
    return _iso(int(value.timestamp() * 1000)) if isinstance(value, datetime) else value


def _cell(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"

"""What ``backtester data`` prints: tables for people, the same content as JSON."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import typer

from backtester.cli.output import print_json, print_table, say
from backtester.errors import StoreError
from backtester.market.coverage import Coverage
from backtester.market.finding import Finding, counted, length
from backtester.market.intake import Imported, Refusal
from backtester.market.manifest import Manifest
from backtester.market.quality import Check
from backtester.market.repair import Repair
from backtester.market.schema import BAR_SERIES, EVENT, DatasetKey, timeframe_ms
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
    for venue, group in _by_venue(shown, lambda k: k):
        rows = [_listed_row(store, key, now) for key in group]
        columns = ("symbol", "series", "from", "to", "size", "age", "lag")
        print_table(columns, rows, f"{venue} in {store.root}", right=(4, 5, 6))
    hidden = [] if everything else [k for k in keys if (k.venue, k.symbol) not in with_bars]
    for venue, group in _by_venue(hidden, lambda k: k):
        has = {k.series for k in group}
        what = " and ".join(name for series, name in _TERMS.items() if series in has)
        count = counted(len({k.symbol for k in group}), "further symbol")
        typer.echo(f"{venue}: {what} alone for {count} (--all shows them).")


def _listed_row(store: Store, key: DatasetKey, now: int) -> tuple[str, ...]:
    try:
        manifest = store.manifest(key)
    except StoreError:
        return (*_name(key), "damaged", "", "", "", "")
    lag = _lag(key, manifest, now)
    return (
        *_name(key),
        *_days(manifest.span),
        _size(manifest.size),
        length(now - _written(manifest)),
        "" if lag is None else length(max(lag, 0)),
    )


def _listed_json(store: Store, key: DatasetKey, now: int) -> dict[str, Any]:
    try:
        manifest = store.manifest(key)
    except StoreError as e:
        return {**_key_json(key), "error": e.message}
    lag = _lag(key, manifest, now)
    return {
        **_key_json(key),
        "rows": manifest.rows,
        "filled": manifest.filled,
        **_span_json(manifest.span),
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


def print_check(
    store: Store,
    keys: Sequence[DatasetKey],
    check: Check,
    repairs: Sequence[Repair] | None,
    *,
    everything: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Print what was repaired, what is stored against what should be, and what a check found, the worst first."""
    counts = Counter(f.severity for f in check.findings)
    if as_json:
        print_json(
            {
                "store": str(store.root),
                "datasets": len(keys),
                "errors": counts["error"],
                "warnings": counts["warning"],
                **({} if repairs is None else {"repairs": [_repair_json(r) for r in repairs]}),
                "coverage": [_coverage_json(c) for c in check.coverage],
                "findings": [_finding_json(f) for f in check.findings],
            }
        )
        return
    if quiet:
        for finding in check.findings:
            if finding.severity == "error":
                say(f"Error: {finding.key}: {finding.text}.")
        return
    if repairs is not None:
        _print_repairs(store, repairs)
    _print_coverage(store, check.coverage)
    left = _print_findings(store, check.findings, everything=everything)
    summary = f"{counted(len(keys), 'dataset')} checked: {counted(counts['error'], 'error')}, "
    summary += f"{counted(counts['warning'], 'warning')}, {counts['info']:,} for information."
    typer.echo(summary + (f" {left:,} more with --all." if left else ""))


def _print_repairs(store: Store, repairs: Sequence[Repair]) -> None:
    if not repairs:
        typer.echo("There is nothing that can be repaired.")
    for venue, group in _by_venue(repairs, lambda r: r.key):
        rows = [(r.outcome, " ".join(_name(r.key)).strip(), f"{r.text}.") for r in group]
        print_table(("", "dataset", "repair"), rows, f"{venue} in {store.root}: repairs", whole=(0, 1))
    for hint in dict.fromkeys(r.hint for r in repairs if r.hint and r.outcome == "left"):
        typer.echo(f"  {hint}")


def _print_coverage(store: Store, coverage: Sequence[Coverage]) -> None:
    """Print how many bars and settlements are there of those that should be; many symbols as one line a series."""
    for venue, group in _by_venue(coverage, lambda c: c.key):
        title = f"{venue} in {store.root}: stored of expected"
        if len(group) <= _MANY:
            rows = [(*_name(c.key), _stored(c.present, c.expected), *_days(_ends(c))) for c in group]
            print_table(("symbol", "series", "stored", "from", "to"), rows, title, right=(2,))
            continue
        kinds: dict[tuple[str, str], list[Coverage]] = {}
        for c in group:
            kinds.setdefault((c.key.series, c.key.timeframe), []).append(c)
        lines = []
        for (series, timeframe), some in sorted(kinds.items()):
            stored = _stored(sum(c.present for c in some), sum(c.expected for c in some))
            whole = sum(c.missing == 0 for c in some)
            lines.append((f"{series} {timeframe}".removesuffix(f" {EVENT}"), f"{len(some):,}", stored, f"{whole:,}"))
        print_table(("series", "symbols", "stored", "complete"), lines, title, right=(1, 2, 3))


def _stored(present: int, expected: int) -> str:
    return f"{present:,} of {expected:,}"


def _ends(coverage: Coverage) -> tuple[int, int] | None:
    return None if coverage.first is None or coverage.last is None else (coverage.first, coverage.last)


def _print_findings(store: Store, findings: Sequence[Finding], *, everything: bool) -> int:
    """Print findings and the ways on; return how many are left out."""
    shown, left = _worth_showing(findings, everything=everything)
    for venue, group in _by_venue(shown, lambda f: f.key):
        rows = [(f.severity, " ".join(_name(f.key)).strip(), f"{f.text}.") for f in group]
        print_table(("", "dataset", "finding"), rows, f"{venue} in {store.root}: findings", whole=(0, 1))
    hints = {f.code: f.hint for f in reversed(shown) if f.hint}
    if hints:
        typer.echo("What to do:")
        for code in dict.fromkeys(f.code for f in shown if f.hint):
            typer.echo(f"  {code.replace('_', ' ')}: {hints[code]}")
    return left


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
        "places": [_window_json(p) for p in finding.places],
    }


def _coverage_json(coverage: Coverage) -> dict[str, Any]:
    intervals = [{"from": _iso(start), "hours": hours} for start, hours in coverage.intervals]
    return {
        **_key_json(coverage.key),
        "expected": coverage.expected,
        "present": coverage.present,
        "missing": coverage.missing,
        "filled": coverage.filled,
        **_span_json(_ends(coverage)),
        **({"intervals": intervals} if coverage.key.series == "funding" else {}),
    }


def _repair_json(repair: Repair) -> dict[str, Any]:
    return {
        "outcome": repair.outcome,
        **_key_json(repair.key),
        "rows": repair.rows,
        "windows": [_window_json(w) for w in repair.windows],
        "text": repair.text,
        "hint": repair.hint,
    }


def _window_json(window: tuple[int, int]) -> dict[str, str | None]:
    return {"start": _iso(window[0]), "end": _iso(window[1])}


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

"""What ``backtester data check`` prints: the proof of completeness, findings, repairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import typer

from backtester.cli.datasets import MANY, by_venue, days, iso, key_json, name_cells, span_json
from backtester.cli.output import print_json, print_table, say
from backtester.market.quality import Check
from backtester.market.quality.coverage import Coverage
from backtester.market.quality.finding import Finding, counted
from backtester.market.quality.repair import Repair
from backtester.market.schema import EVENT, DatasetKey
from backtester.market.store import Store

_SHOWN_PER_KIND = 3
_SYMBOLS_OF_AN_EVENT = 3


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
    for venue, group in by_venue(repairs, lambda r: r.key):
        rows = [(r.outcome, " ".join(name_cells(r.key)).strip(), f"{r.text}.") for r in group]
        print_table(("", "dataset", "repair"), rows, f"{venue} in {store.root}: repairs", whole=(0, 1))
    for hint in dict.fromkeys(r.hint for r in repairs if r.hint and r.outcome == "left"):
        typer.echo(f"  {hint}")


def _print_coverage(store: Store, coverage: Sequence[Coverage]) -> None:
    """Print how many bars and settlements are there of those that should be; many symbols as one line a series."""
    for venue, group in by_venue(coverage, lambda c: c.key):
        title = f"{venue} in {store.root}: stored of expected"
        if len(group) <= MANY:
            rows = [(*name_cells(c.key), _stored(c.present, c.expected), *days(_ends(c))) for c in group]
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
    for venue, group in by_venue(shown, lambda f: f.key):
        rows = [_finding_row(alike) for alike in _alike(group)]
        print_table(("", "dataset", "finding"), rows, f"{venue} in {store.root}: findings", whole=(0, 1))
    hints = {f.code: f.hint for f in reversed(shown) if f.hint}
    if hints:
        typer.echo("What to do:")
        for code in dict.fromkeys(f.code for f in shown if f.hint):
            typer.echo(f"  {code.replace('_', ' ')}: {hints[code]}")
    return left


def _alike(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Return findings grouped: the same thing at the same moments in several symbols is one event of the venue."""
    groups: dict[object, list[Finding]] = {}
    for place, finding in enumerate(findings):
        kind = finding.severity, finding.code, finding.key.series, finding.key.timeframe
        groups.setdefault((*kind, finding.windows or place), []).append(finding)
    return [
        part
        for group in groups.values()
        for part in ([group] if len(group) >= _SYMBOLS_OF_AN_EVENT else [[finding] for finding in group])
    ]


def _finding_row(alike: Sequence[Finding]) -> tuple[str, str, str]:
    first = alike[0]
    symbol, series = name_cells(first.key)
    if len(alike) == 1:
        return first.severity, f"{symbol} {series}".strip(), f"{first.text}."
    others = ", ".join(f.key.symbol.partition("/")[0] for f in alike)
    return first.severity, f"{len(alike)} symbols {series}", f"{first.text} ({symbol}; in {others} alike)."


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
        **key_json(finding.key),
        "start": iso(finding.start),
        "end": iso(finding.end),
        "count": finding.count,
        "text": finding.text,
        "hint": finding.hint,
        "places": [_window_json(p) for p in finding.places],
    }


def _coverage_json(coverage: Coverage) -> dict[str, Any]:
    intervals = [{"from": iso(start), "hours": hours} for start, hours in coverage.intervals]
    return {
        **key_json(coverage.key),
        "expected": coverage.expected,
        "present": coverage.present,
        "missing": coverage.missing,
        "filled": coverage.filled,
        **span_json(_ends(coverage)),
        **({"intervals": intervals} if coverage.key.series == "funding" else {}),
    }


def _repair_json(repair: Repair) -> dict[str, Any]:
    return {
        "outcome": repair.outcome,
        **key_json(repair.key),
        "rows": repair.rows,
        "windows": [_window_json(w) for w in repair.windows],
        "text": repair.text,
        "hint": repair.hint,
    }


def _window_json(window: tuple[int, int]) -> dict[str, str | None]:
    return {"start": iso(window[0]), "end": iso(window[1])}

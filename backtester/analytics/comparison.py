"""Runs beside each other: figures, equity, daily returns, causes of profit and settings, on one clock."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tsdownsample import MinMaxDownsampler

from backtester.analytics import drawdown, returns
from backtester.analytics.attribution import PARTS
from backtester.analytics.directions import direction
from backtester.engine.result import Notice, Result, SummaryValue
from backtester.errors import UsageError, format_time

MOST_RUNS = 50
KEPT_BARS = 20_000
"""Longer runs keep so many points of their equity; the extremes of equity and of drawdown are among them."""

_LEAST_DAYS = 3
_PARAMETERS = "strategy.params."
_PART = 16  # characters of a parameter in a label
_MONEY = frozenset(
    {
        *("initial_balance", "final_equity", "net_profit", "average_trade", "average_win", "average_loss"),
        *("funding_received", "funding_paid", "insurance_flow"),
        *PARTS,
    }
)
"""Metrics in the settlement currency, which two currencies cannot share."""

# Of the manifest: what may differ between runs that are the same, or is said elsewhere.
_FIRST_SECTIONS = (
    "strategy",
    "account",
    "data",
    "fees",
    "costs",
    "execution",
    "funding",
    "liquidation",
    "sizing",
    "limits",
)
_OF_CONTRACTS = ("instruments.", "tiers.", "hashes.data.")
_VOLATILE = (
    "created",
    "command",
    "seconds",
    "duration",
    "hashes.config",
    "hashes.strategy",
    "hashes.all",
    "identities",
    "run_id",
    "holdout",
)
_Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Read:
    """What a comparison keeps of one run."""

    name: str
    label: str
    facts: dict[str, Any]
    start: int
    end: int
    summary: Mapping[str, SummaryValue]
    curve: pl.DataFrame
    daily: pl.DataFrame
    settings: dict[str, str]
    source: str
    digest: str


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs beside each other; each has a column under its name, the first is what the others are measured against.

    Attributes
    ----------
    runs : polars.DataFrame
        A row a run: ``run, label, strategy, symbols, timeframe, start, end`` (UTC), ``settle, initial_balance,
        synthetic, trades, path``.
    metrics : polars.DataFrame
        A row a metric: ``metric``, ``better`` (``max``, ``min``, null where neither is), ``best`` (names of the runs
        with the best value; empty where they do not differ or cannot be compared; never one without a fill, whose risk
        and costs are least for that reason alone), then a column a run; null where it is not defined. Each run over
        its own span.
    common_metrics : polars.DataFrame
        The same of returns, drawdown, costs and events over the span that all runs share; without rows where every
        run has the same span or they share none.
    differences, common_differences : polars.DataFrame
        ``metric``, then a column for each run but the first: its value less the first's.
    equity : polars.DataFrame
        ``run, time`` (UTC, bar closes), ``growth`` (equity over the initial balance, deposits and withdrawals taken
        out), ``drawdown`` (fraction, <= 0). Of long runs the extremes are kept.
    common_equity : polars.DataFrame
        The same over the common span, as if each run had begun there with what it had; without rows where
        ``common_metrics`` has none.
    returns : polars.DataFrame
        ``day``, then a column a run: its return of that calendar day (fraction); null where it did not run.
    correlation : polars.DataFrame
        ``run``, then a column a run: correlation of daily returns over the days that both have; null where it is not
        defined (fewer than three days, or a run that never moved).
    months : polars.DataFrame
        ``month`` (its first day), then a column a run: compounded return; null where it did not run.
    attribution : polars.DataFrame
        ``part``, then a column a run: amounts in its settlement currency that add up to the change of its equity,
        the last row ``total``.
    settings : polars.DataFrame
        ``key`` (dotted), then a column a run: text of the value; null where a run has no such key. Only keys that
        differ.
    equal_settings : int
        Number of keys that every run has with the same value.
    sources : dict of str to str
        Source text of each run's strategy.
    common_span : tuple of int or None
        First open and last close that all runs share [ms since 1970, UTC]; None where they share no bar.
    notices : tuple of Notice
        What stands in the way of comparing: other spans, currencies, bars, equal runs, runs without a trade.
    """

    runs: pl.DataFrame
    metrics: pl.DataFrame
    common_metrics: pl.DataFrame
    differences: pl.DataFrame
    common_differences: pl.DataFrame
    equity: pl.DataFrame
    common_equity: pl.DataFrame
    returns: pl.DataFrame
    correlation: pl.DataFrame
    months: pl.DataFrame
    attribution: pl.DataFrame
    settings: pl.DataFrame
    equal_settings: int
    sources: dict[str, str]
    common_span: tuple[int, int] | None
    notices: tuple[Notice, ...]

    @classmethod
    def of(cls, results: Iterable[Result]) -> Self:
        """Return the comparison of analysed runs.

        Parameters
        ----------
        results : iterable of Result
            Between 2 and `MOST_RUNS`; each is let go before the next is taken.

        Raises
        ------
        UsageError
            Too few or too many runs.
        """
        # Two passes would need every record of every run at once: spans are known only after the last.
        reads: list[_Read] = []
        events: list[dict[str, pl.DataFrame]] = []
        for number, result in enumerate(results):
            if number == MOST_RUNS:
                raise UsageError(f"More than {MOST_RUNS} runs are given.", f"A comparison takes 2 to {MOST_RUNS} runs.")
            reads.append(_read(result, number, [one.name for one in reads]))
            events.append(_events(result))
        if len(reads) < 2:
            raise UsageError("A comparison takes at least two runs.", "Name another run.")
        return cls(**_compared(_labelled(reads), events))

    @property
    def names(self) -> list[str]:
        """Names of the runs, in the order in which they were given."""
        return self.runs["run"].to_list()

    @property
    def is_one_span(self) -> bool:
        """Whether all runs begin and end at the same times."""
        return self.runs["start"].n_unique() == 1 and self.runs["end"].n_unique() == 1

    @property
    def is_one_currency(self) -> bool:
        """Whether all runs settle in the same currency."""
        return self.runs["settle"].n_unique() == 1

    @property
    def labels(self) -> dict[str, str]:
        """Short label of each run: ``A trend``."""
        return dict(self.runs.select("run", "label").iter_rows())


def is_money(metric: str) -> bool:
    """Return whether a metric is an amount of the settlement currency."""
    return metric in _MONEY


def letters(number: int) -> str:
    """Return A, B … Z, AA, AB … for 0, 1 …."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("A") + rest) + text
    return text


def _labelled(reads: Sequence[_Read]) -> list[_Read]:
    """Return the runs with labels that tell those of one strategy apart by the parameters that differ."""
    made = []
    for one in reads:
        alike = [other for other in reads if other.facts["strategy"] == one.facts["strategy"]]
        keys = [key for key in one.settings if key.startswith(_PARAMETERS)]
        varied = [key for key in keys if len({other.settings.get(key) for other in alike}) > 1]
        parts = [f"{key.removeprefix(_PARAMETERS)}={one.settings[key]}"[:_PART] for key in varied[:2]]
        made.append(replace(one, label=" ".join([one.label, *parts])))
    return made


def _read(result: Result, number: int, taken: Sequence[str]) -> _Read:
    """Return what is kept of a run."""
    name, again = result.run_id, 1
    while name in taken:
        again += 1
        name = f"{result.run_id} ({again})"
    balance = result.config.account.balance
    grown = returns.time_weighted(result.equity, result.ledger, balance)
    values = grown["equity"].cast(pl.Float64).to_numpy() if grown.height else np.empty(0)
    daily = returns.daily_returns(grown, balance).select("day", "return")
    curve = pl.DataFrame(
        {
            "open_time": grown["open_time"],
            "time": grown["close_time"],
            "growth": values / balance,
            "drawdown": drawdown.underwater(values, balance),
        }
    )
    plain = {key: value for key, value in result.summary.items() if key not in {"run_id", "data_warnings"}}
    digest = hashlib.sha256(repr(sorted(plain.items(), key=lambda item: item[0])).encode())
    digest.update(np.ascontiguousarray(values).tobytes())
    facts = {
        "strategy": result.strategy_name or "Signals",
        "symbols": ", ".join(result.symbols),
        "timeframe_ms": result.timeframe_ms,
        "timeframe": result.config.data.timeframe,
        "settle": result.settle,
        "initial_balance": float(balance),
        "synthetic": result.synthetic,
        "trades": result.summary.get("trades"),
        "fills": int(result.fills.height),
        "path": None if result.run_dir is None else str(result.run_dir),
    }
    return _Read(
        name=name,
        label=f"{letters(number)} {result.strategy_name or 'Signals'}",
        facts=facts,
        start=result.start,
        end=result.end,
        summary=result.summary,
        curve=curve,
        daily=daily,
        settings=run_settings(result),
        source=result.strategy_source,
        digest=digest.hexdigest(),
    )


def _events(result: Result) -> dict[str, pl.DataFrame]:
    """Return the events that are counted over the common span."""
    exits = result.trades.select("exit_time", "net_pnl") if "exit_time" in result.trades.columns else pl.DataFrame()
    return {
        "ledger": result.ledger.select("time", "kind", "amount"),
        "liquidations": result.liquidations.select("time", "kind"),
        "fills": result.fills.select("time", "notional"),
        "exits": exits,
    }


def run_settings(result: Result) -> dict[str, str]:
    """Return everything that determines a run, dotted key to text: configuration, source, data, versions.

    Margin tiers have a key for each contract, the data's hashes one for each series.
    """
    tree: dict[str, Any] = result.config.model_dump(mode="json")
    tree.pop("report", None)  # how the page is written changes no run
    tiers: Any = tree.pop("tiers", None) or {}
    found: dict[str, str] = {}
    _flatten(tree, "", found)
    for symbol, brackets in tiers.items():
        found[f"tiers.{symbol}"] = setting_text(brackets)
    found["strategy.source"] = _short_hash(result.strategy_source)
    _flatten(dict(result.manifest), "", found)
    return {key: text for key, text in found.items() if not key.startswith(_VOLATILE)}


def setting_text(value: Any) -> str:
    """Return one setting as text: of a list of tables their number and a hash, of a hash its beginning."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list | tuple):
        if any(isinstance(one, Mapping | list) for one in value):
            return f"{len(value)} entries, {_short_hash(repr(value))}"
        return ", ".join(map(setting_text, value)) or "none"
    text = str(value)
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def _flatten(value: Any, name: str, into: dict[str, str]) -> None:
    if isinstance(value, Mapping):
        for key, below in value.items():
            _flatten(below, f"{name}.{key}" if name else str(key), into)
        return
    into[name] = setting_text(value)


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _compared(reads: Sequence[_Read], events: Sequence[Mapping[str, pl.DataFrame]]) -> dict[str, Any]:
    """Return the fields of a comparison."""
    names = [one.name for one in reads]
    traded = {one.name for one in reads if one.facts["fills"]}
    span = _common_span(reads)
    one_span = len({(one.start, one.end) for one in reads}) == 1
    one_currency = len({one.facts["settle"] for one in reads}) == 1
    own = _metric_frame(
        _own_keys(reads), {one.name: one.summary for one in reads}, traded=traded, comparable=one_currency
    )
    common = own.clear()
    shared = None if one_span else span
    if shared is not None:
        figures = {one.name: _over(one, found, shared) for one, found in zip(reads, events, strict=True)}
        common = _metric_frame(list(figures[names[0]]), figures, traded=traded, comparable=one_currency)
    daily = _beside([one.daily.rename({"return": one.name}) for one in reads], "day")
    settings, equal = _settings({one.name: one.settings for one in reads})
    return {
        "runs": _runs(reads),
        "metrics": own,
        "common_metrics": common,
        "differences": _differences(own, names),
        "common_differences": _differences(common, names),
        "equity": pl.concat([_thinned(one.name, one.curve) for one in reads]),
        "common_equity": pl.concat(
            _thinned(one.name, _within(one, shared) if shared else one.curve.clear()) for one in reads
        ),
        "returns": daily,
        "correlation": _correlation(daily, names),
        "months": _months(reads),
        "attribution": _attribution(reads),
        "settings": settings,
        "equal_settings": equal,
        "sources": {one.name: one.source for one in reads},
        "common_span": span,
        "notices": _notices(reads, span, settings),
    }


def _runs(reads: Sequence[_Read]) -> pl.DataFrame:
    time = pl.Datetime("ms", "UTC")
    kept = ("strategy", "symbols", "timeframe", "settle", "initial_balance", "synthetic", "trades", "path")
    rows = [
        {"run": one.name, "label": one.label, "start": one.start, "end": one.end} | {k: one.facts[k] for k in kept}
        for one in reads
    ]
    schema = {
        **dict.fromkeys(("run", "label", "strategy", "symbols", "timeframe"), pl.String),
        **dict.fromkeys(("start", "end"), pl.Int64),
        "settle": pl.String,
        "initial_balance": pl.Float64,
        "synthetic": pl.Boolean,
        "trades": pl.Int64,
        "path": pl.String,
    }
    return pl.DataFrame(rows, schema=schema).with_columns(pl.col("start", "end").cast(time))


def _own_keys(reads: Sequence[_Read]) -> list[str]:
    """Return the metrics that are numbers in some run, in the order of the summaries."""
    found: dict[str, None] = {}
    for one in reads:
        for key, value in one.summary.items():
            if isinstance(value, int | float) and key not in {"schema_version", "synthetic"}:
                found[key] = None
    # What a summary may lack, such as an order's reason that no order had, is looked for in all of them.
    return list(found)


def _metric_frame(
    keys: Sequence[str], figures: Mapping[str, Mapping[str, Any]], *, traded: Set[str], comparable: bool
) -> pl.DataFrame:
    """Return the rows of `Comparison.metrics`."""
    names = list(figures)
    rows: list[dict[str, Any]] = []
    for key in keys:
        values = {name: _number(figures[name].get(key)) for name in names}
        better = direction(key)
        judged = better if comparable or key not in _MONEY else None
        rows.append(
            {
                "metric": key,
                "better": better,
                "best": _best({name: value for name, value in values.items() if name in traded}, judged),
            }
            | values
        )
    schema: dict[str, Any] = {
        "metric": pl.String,
        "better": pl.String,
        "best": pl.List(pl.String),
        **dict.fromkeys(names, pl.Float64),
    }
    return pl.DataFrame(rows, schema=schema)


def _best(values: Mapping[str, float | None], better: str | None) -> list[str]:
    """Return the runs with the best value; none where no value is better than another."""
    known = {name: value for name, value in values.items() if value is not None}
    if better is None or len(known) < 2:
        return []
    best, worst = max(known.values()), min(known.values())
    if math.isclose(best, worst, rel_tol=1e-12, abs_tol=0.0):
        return []
    wanted = best if better == "max" else worst
    return [name for name, value in known.items() if math.isclose(value, wanted, rel_tol=1e-12, abs_tol=0.0)]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _differences(metrics: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    first, *others = names
    return metrics.select("metric", *((pl.col(name) - pl.col(first)).alias(name) for name in others))


def _common_span(reads: Sequence[_Read]) -> tuple[int, int] | None:
    start, end = max(one.start for one in reads), min(one.end for one in reads)
    return (start, end) if start < end else None


def _within(one: _Read, span: tuple[int, int]) -> pl.DataFrame:
    """Return the curve over a span, as growth of what the run had at its first open; no row where that was nothing."""
    first, last = span
    opened, closed = (one.curve[name].cast(pl.Int64) for name in ("open_time", "time"))
    before = one.curve.filter(opened < first)
    base = float(before["growth"][-1]) if before.height else 1.0
    within = one.curve.filter((opened >= first) & (closed <= last) & (base > 0))
    growth = within["growth"].to_numpy() / (base if base > 0 else 1.0)
    return within.with_columns(pl.Series("growth", growth), pl.Series("drawdown", drawdown.underwater(growth, 1.0)))


def _over(one: _Read, events: Mapping[str, pl.DataFrame], span: tuple[int, int]) -> dict[str, Any]:
    """Return the figures of a run over a span: as if it had begun with what it had at its first open."""
    equity = _within(one, span).select(
        "open_time", pl.col("time").alias("close_time"), pl.col("growth").alias("equity")
    )
    if equity.is_empty():
        return dict.fromkeys(_SPAN_METRICS) | _counts(events, span)
    base = 1.0
    changes = returns.daily_returns(equity, base)["return"].to_numpy()
    falls = drawdown.episodes(equity, base)
    total = returns.total_return(base, float(equity["equity"][-1]))
    annual = returns.annual_return(total, len(changes))
    depths, lengths = falls["depth"].to_numpy(), falls["length"].dt.total_milliseconds().to_numpy()
    depth = float(depths.min()) if len(depths) else 0.0
    return {
        "days": len(changes),
        "total_return": total,
        "annual_return": annual,
        "volatility": returns.volatility(changes),
        "sharpe": returns.sharpe(changes),
        "sortino": returns.sortino(changes),
        "calmar": returns.calmar(annual, depth),
        "best_day": float(changes.max()),
        "worst_day": float(changes.min()),
        "positive_days": float(np.mean(changes > 0)),
        "max_drawdown": depth,
        "longest_drawdown_days": float(lengths.max()) / 86_400_000 if len(lengths) else 0.0,
    } | _counts(events, span)


_SPAN_METRICS = (
    "days", "total_return", "annual_return", "volatility", "sharpe", "sortino", "calmar", "best_day", "worst_day",
    "positive_days", "max_drawdown", "longest_drawdown_days",
)  # fmt: skip


def _counts(events: Mapping[str, pl.DataFrame], span: tuple[int, int]) -> dict[str, Any]:
    """Return costs and events within a span."""

    def within(frame: pl.DataFrame, column: str = "time") -> pl.DataFrame:
        return frame.filter(pl.col(column).cast(pl.Int64).is_between(*span, closed="left")) if frame.width else frame

    ledger, steps = within(events["ledger"]), within(events["liquidations"])
    exits = within(events["exits"], "exit_time")
    gains = exits["net_pnl"].drop_nulls() if exits.width else pl.Series([], dtype=pl.Float64)

    def booked(kind: str) -> float:
        return float(ledger.filter(pl.col("kind") == kind)["amount"].sum()) + 0.0

    return {
        "funding": booked("funding"),
        "fees": booked("trading_fee"),
        "fills": within(events["fills"]).height,
        "trades": len(gains),
        "hit_rate": float((gains > 0).sum()) / len(gains) if len(gains) else None,
        "liquidations": int((steps["kind"] == "takeover").sum()),
        "liquidation_steps": int((steps["kind"] == "step").sum()),
    }


def _thinned(name: str, curve: pl.DataFrame) -> pl.DataFrame:
    """Return the curve of a run, of a long one the extremes."""
    frame = curve.select("time", "growth", "drawdown")
    if frame.height > KEPT_BARS:
        downsampler = MinMaxDownsampler()  # type: ignore[no-untyped-call]
        kept = [
            downsampler.downsample(np.ascontiguousarray(frame[column].to_numpy()), n_out=KEPT_BARS // 2).astype(
                np.int64
            )
            for column in ("growth", "drawdown")
        ]
        frame = frame[np.unique(np.concatenate([*kept, [0, frame.height - 1]]))]
    return frame.insert_column(0, pl.repeat(name, frame.height, dtype=pl.String, eager=True).alias("run"))


def _beside(frames: Sequence[pl.DataFrame], key: str) -> pl.DataFrame:
    """Return frames joined by a key that is sorted then; null where one has no row."""
    first, *others = frames
    for other in others:
        first = first.join(other, on=key, how="full", coalesce=True)
    return first.sort(key)


def _correlation(daily: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    values = (
        daily.select(names).cast(pl.Float64).to_numpy().astype(np.float64)
        if daily.height
        else np.empty((0, len(names)))
    )
    found = np.full((len(names), len(names)), np.nan)
    for i in range(len(names)):
        for j in range(i, len(names)):
            found[i, j] = found[j, i] = correlation(values[:, i], values[:, j])
    columns = {name: pl.Series(found[:, place]).fill_nan(None) for place, name in enumerate(names)}
    return pl.DataFrame({"run": pl.Series(names, dtype=pl.String), **columns})


def correlation(one: _Floats, other: _Floats) -> float:
    """Return Pearson's correlation over the rows that both have.

    Parameters
    ----------
    one, other : ndarray of float64
        NaN: no value.

    Returns
    -------
    float
        NaN with fewer than three rows, or where one of them does not vary beyond rounding.
    """
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < _LEAST_DAYS:
        return math.nan
    x, y = one[both] - one[both].mean(), other[both] - other[both].mean()
    size = math.sqrt(float(x @ x)) * math.sqrt(float(y @ y))
    if not size > 1e-24:
        return math.nan
    return float(np.clip((x @ y) / size, -1.0, 1.0))


def _months(reads: Sequence[_Read]) -> pl.DataFrame:
    frames = [
        returns.monthly_returns(one.daily).select(
            pl.date(pl.col("year"), pl.col("month"), 1).alias("month"), pl.col("return").alias(one.name)
        )
        for one in reads
    ]
    return _beside(frames, "month")


def _attribution(reads: Sequence[_Read]) -> pl.DataFrame:
    """Return the parts of each run's change of equity and their sum."""
    columns: dict[str, list[float]] = {}
    for one in reads:
        parts = [_number(one.summary.get(part)) or 0.0 for part in PARTS]
        columns[one.name] = [*parts, math.fsum(parts)]
    return pl.DataFrame({"part": [*PARTS, "total"], **columns})


def _settings(settings: Mapping[str, Mapping[str, str]]) -> tuple[pl.DataFrame, int]:
    """Return the keys that differ, those that decide first, and how many do not differ.

    Keys of contracts that only some runs have are left out where those agree: that the contracts differ is said once.
    """
    keys = list(dict.fromkeys(key for own in settings.values() for key in own))
    rows: list[dict[str, str | None]] = []
    equal = 0
    for key in sorted(keys, key=_section_place):
        values = {name: own.get(key) for name, own in settings.items()}
        different = set(values.values())
        if key.startswith(_OF_CONTRACTS) and len(different - {None}) == 1:
            equal += len(different) == 1
        elif len(different) > 1:
            rows.append({"key": key, **values})
        else:
            equal += 1
    return pl.DataFrame(rows, schema=dict.fromkeys(("key", *settings), pl.String)), equal


def _section_place(key: str) -> int:
    section = key.partition(".")[0]
    if section in _FIRST_SECTIONS:
        return _FIRST_SECTIONS.index(section)
    return len(_FIRST_SECTIONS) + key.startswith(_OF_CONTRACTS)


def _notices(reads: Sequence[_Read], span: tuple[int, int] | None, settings: pl.DataFrame) -> tuple[Notice, ...]:
    """Return what the reader of a comparison must know."""
    found: list[Notice] = []

    def warn(code: str, text: str) -> None:
        found.append(Notice(code, "warning", text))

    def assume(code: str, text: str) -> None:
        found.append(Notice(code, "assumption", text))

    if span is None:
        warn(
            "no_common_span",
            "The runs share no bar: their returns lie in different times and cannot be set against each other.",
        )
    elif len({(one.start, one.end) for one in reads}) > 1:
        shown = f"{format_time(span[0])} to {format_time(span[1])}"
        warn("spans_differ", f"The runs cover different spans; what they share is {shown}. Compare over that.")
    for key, name, code in (("settle", "settle in different currencies", "currencies_differ"),
                            ("timeframe_ms", "were replayed on bars of different length", "bars_differ"),
                            ("initial_balance", "begin with different balances", "balances_differ")):  # fmt: skip
        values = list(dict.fromkeys(one.facts[key] for one in reads))
        if len(values) > 1:
            text = f"The runs {name}"
            if key == "settle":
                warn(
                    code,
                    f"{text} ({_named([str(value) for value in values])}): amounts are not set against each other.",
                )
            elif key == "timeframe_ms":
                assume(code, f"{text}: drawdowns are measured at bar closes, so that longer bars hide more of them.")
            else:
                assume(code, f"{text}: compare returns rather than amounts.")
    if len({one.facts["synthetic"] for one in reads}) > 1:
        made_up = [one.label for one in reads if one.facts["synthetic"]]
        warn("synthetic_mixed", f"Synthetic data beside real data: made up is the market of {_named(made_up)}.")
    for same in _equal(reads):
        names = _named([one.label for one in same])
        chosen = settings.select(one.name for one in same)
        as_well = not chosen.height or all(len(set(row)) == 1 for row in chosen.iter_rows())
        more = "their settings are equal too." if as_well else "though their settings differ."
        warn("equal_runs", f"{names} are equal: the same figures and the same equity at every bar, {more}")
    idle = [one.label for one in reads if not one.facts["fills"]]
    if idle:
        warn(
            "no_trades", f"{_named(idle)} never traded and {'is' if len(idle) == 1 else 'are'} marked best in nothing."
        )
    return tuple(found)


def _equal(reads: Sequence[_Read]) -> list[list[_Read]]:
    """Return groups of runs with the same figures and equity."""
    groups: dict[str, list[_Read]] = {}
    for one in reads:
        groups.setdefault(one.digest, []).append(one)
    return [group for group in groups.values() if len(group) > 1]


def _named(labels: Sequence[str]) -> str:
    """Return labels as a sentence has them, of many the first."""
    shown = [label if len(label) <= 40 else label[:39] + "\u2026" for label in labels[:6]]
    if len(labels) > 6:
        return f"{', '.join(shown)} and {len(labels) - 6} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"

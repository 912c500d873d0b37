"""Runs the kernel over prepared inputs and hands its records back, completed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtester.domain import records
from backtester.domain.enums import CloseFeeBasis, MarginMode
from backtester.engine.prepare import Prepared
from backtester.kernel import replay as kernel
from backtester.kernel import state

CHUNK = 1 << 18  # bars between two reports of progress, and two chances to interrupt


@dataclass(frozen=True, eq=False)
class ReplayRecords:
    """What a replay recorded.

    Attributes
    ----------
    fills, funding, liquidations, ledger, positions, orders : structured arrays
        Rows of ``domain.records``.
    equity, wallet, maintenance, margin_ratio, gross_exposure, net_exposure, drawdown : arrays, shape (T,)
        At each bar's mark close. Money in the settlement currency, the others fractions; ``margin_ratio`` is 0 when
        flat and infinite when nothing is left; exposures are NaN when equity is not positive and something is held.
    counts : dict
        ``disputed_bars``, ``coarse_unchecked``, ``bars_waited``, ``takeovers``.
    """

    fills: NDArray[np.void]
    funding: NDArray[np.void]
    liquidations: NDArray[np.void]
    ledger: NDArray[np.void]
    positions: NDArray[np.void]
    orders: NDArray[np.void]
    equity: NDArray[np.float64]
    wallet: NDArray[np.float64]
    maintenance: NDArray[np.float64]
    margin_ratio: NDArray[np.float64]
    gross_exposure: NDArray[np.float64]
    net_exposure: NDArray[np.float64]
    drawdown: NDArray[np.float64]
    counts: dict[str, int]


def replay(prepared: Prepared, progress: Callable[[int, int], None] | None = None) -> ReplayRecords:
    """Replay an account through all bars.

    Parameters
    ----------
    prepared : Prepared
        From ``prepare``; its book is changed, so it serves once.
    progress : callable, optional
        Called with bars done and bars in all.
    """
    journal, columns = run_kernel(prepared, progress)
    return _records(prepared, journal, columns)


def run_kernel(
    prepared: Prepared, progress: Callable[[int, int], None] | None = None
) -> tuple[state.Journal, state.Columns]:
    """Run the compiled loop; the journal grows as it must."""
    bars = prepared.bars
    columns = _columns(bars, prepared.book.positions.size)
    journal = _first_journal(prepared)
    setup, market, schedule, book, _ = _parts(prepared)
    bar = 0
    while bar < bars:
        reached = kernel.replay(setup, market, schedule, book, journal, columns, bar, min(bar + CHUNK, bars))
        if reached < min(bar + CHUNK, bars):
            journal = _grown(journal, prepared)
        bar = reached
        if progress is not None:
            progress(bar, bars)
    if not kernel.has_room(setup, book, journal):
        journal = _grown(journal, prepared)
    kernel.finish(market, schedule, book, journal)
    return journal, columns


def _parts(prepared: Prepared) -> tuple[state.Setup, state.Market, state.Schedule, state.Book, float]:
    return prepared.setup, prepared.market, prepared.schedule, prepared.book, prepared.balance


def _columns(bars: int, symbols: int) -> state.Columns:
    some = 0 if symbols == 1 else bars
    wide = [np.empty(bars) for _ in range(3)] + [np.empty(some) for _ in range(4)]
    return state.Columns(*wide, *(np.empty(state.BLOCK) for _ in range(4)))


_DTYPES = {
    "fills": records.FILL,
    "funding": records.FUNDING,
    "liquidations": records.LIQUIDATION,
    "ledger": records.LEDGER,
    "positions": records.POSITION,
    "orders": records.ORDER,
}


def _first_journal(prepared: Prepared) -> state.Journal:
    """Return a journal for what is scheduled; untouched pages of it cost nothing."""
    rows = int(prepared.setup.rules[0]["rows_per_bar"])
    targets = prepared.schedule.targets.size
    settlements = prepared.schedule.settlements.size
    sizes = {
        "fills": 2 * targets,
        "funding": settlements,
        "liquidations": 0,
        "ledger": 4 * targets + settlements,
        "positions": 2 * targets + settlements,
        "orders": targets,
    }
    room = {name: rows * (5 if name == "ledger" else 2) + min(size, 1 << 20) for name, size in sizes.items()}
    return state.Journal(**{name: np.empty(room[name], dtype) for name, dtype in _DTYPES.items()})


def _grown(journal: state.Journal, prepared: Prepared) -> state.Journal:
    """Return a journal with twice the room, holding the same rows."""
    rows = int(prepared.setup.rules[0]["rows_per_bar"])
    account = prepared.book.account[0]
    parts = {}
    for name, dtype in _DTYPES.items():
        old = getattr(journal, name)
        used = int(account[name])
        need = rows * (4 if name == "ledger" else 1)
        if used + need <= old.size:
            parts[name] = old
            continue
        parts[name] = np.empty(2 * old.size + need, dtype)
        parts[name][:used] = old[:used]
    return state.Journal(**parts)


def _records(prepared: Prepared, journal: state.Journal, columns: state.Columns) -> ReplayRecords:
    account = prepared.book.account[0]
    rows = {name: getattr(journal, name)[: int(account[name])] for name in _DTYPES}
    if prepared.book.positions.size == 1:
        maintenance, ratio, gross, net = _single_columns(prepared, rows["positions"], columns)
    else:
        maintenance, ratio, gross, net = columns.maintenance, columns.margin_ratio, columns.gross, columns.net
    equity = columns.equity
    held = gross > 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        per_equity = np.where(equity > 0.0, 1.0 / equity, np.nan)
    per_equity[~held] = 0.0
    peak = np.maximum.accumulate(np.maximum(equity, prepared.balance))
    counts = {name: int(account[name]) for name in ("disputed_bars", "coarse_unchecked", "bars_waited", "takeovers")}
    return ReplayRecords(
        **rows,
        equity=equity,
        wallet=columns.wallet,
        maintenance=maintenance,
        margin_ratio=ratio,
        gross_exposure=gross * per_equity,
        net_exposure=net * per_equity,
        drawdown=equity / peak - 1.0,
        counts=counts,
    )


def _single_columns(
    prepared: Prepared, positions: NDArray[np.void], columns: state.Columns
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return maintenance margin, margin ratio, gross and net notional of a run with one instrument.

    They follow from the steps of its position, so the replay need not write them.
    """
    instrument = prepared.setup.instruments[0]
    sign = float(instrument["sign"])
    is_last = np.append(positions["bar"][1:] != positions["bar"][:-1], np.ones(min(positions.size, 1), bool))
    steps = positions[is_last]
    quantity = _expanded(steps, "position_quantity", prepared.bars)
    value = np.abs(prepared.market.mark_close[0])
    notional = np.where(quantity != 0.0, np.abs(quantity) * value, 0.0)
    if prepared.setup.rules[0]["close_fee_basis"] == CloseFeeBasis.BANKRUPTCY:
        entry = _expanded(steps, "entry_price", prepared.bars)
        entry = np.where(quantity != 0.0, entry if sign > 0 else -1.0 / np.where(entry == 0.0, 1.0, entry), 0.0)
        bankruptcy = np.abs(entry - np.sign(quantity) * np.abs(entry) / float(instrument["leverage"]))
        reserve = np.abs(quantity) * bankruptcy * float(instrument["close_fee"])
    else:
        reserve = notional * float(instrument["close_fee"])
    balance = columns.equity
    if instrument["margin_mode"] == MarginMode.ISOLATED:
        balance = _expanded(steps, "margin", prepared.bars) + columns.equity - columns.wallet
    held = quantity != 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(balance > 0.0, columns.requirement / balance, np.inf)
    ratio = np.where(held, ratio, 0.0)
    return columns.requirement - reserve, ratio, notional, np.sign(quantity) * notional


def _expanded(steps: NDArray[np.void], field: str, bars: int) -> NDArray[np.float64]:
    """Return a field of the position's steps on every bar, 0 before the first."""
    values = np.concatenate(([0.0], steps[field].astype(np.float64)))
    lengths = np.diff(np.concatenate(([0], steps["bar"], [bars])))
    return np.repeat(values, lengths)

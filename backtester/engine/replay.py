"""Runs the kernel over prepared inputs and hands its records back, completed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtester.domain import records
from backtester.domain.enums import CloseFeeBasis, LedgerKind, MarginMode, SettingField
from backtester.engine.prepare import Prepared, chain_free
from backtester.kernel import replay as kernel
from backtester.kernel import state, views
from backtester.kernel._jit import is_cold
from backtester.kernel.loop import BACK_FIGURES, LOST, LoopContext, NoFunction, empty_context
from backtester.kernel.plain_replay import is_plain, replay_plainly
from backtester.numba_start import load_arrays

load_arrays()  # before the first call of a compiled function

CHUNK = 1 << 18  # bars between two reports of progress, and two chances to interrupt
CRUMB = 1e-12  # of the balance: a peak below it is what rounding leaves of money that was all withdrawn


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
        ``disputed_bars``, ``coarse_unchecked``, ``bars_waited``, ``takeovers``, ``transfers_cut``, ``requests_lost``;
        where the venue deleverages or claws back ``deleverages_cut``, ``deleverages_idle``, ``clawbacks_cut`` too.
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


@dataclass(frozen=True, eq=False)
class Loop:
    """An ``on_bar`` function and what it is called with.

    Attributes
    ----------
    context : LoopContext
        Series of the signal bars, parameters and state; its ring of requests is the account's.
    compiled : object or None
        The function as the kernel takes it, from ``strategy.loop.compiled_on_bar``.
    python : callable or None
        The uncompiled function; called instead where given.
    """

    context: LoopContext
    compiled: Any = None
    python: Callable[[LoopContext], None] | None = None


def replay(
    prepared: Prepared, progress: Callable[[int, int], None] | None = None, loop: Loop | None = None
) -> ReplayRecords:
    """Replay an account through all bars.

    Parameters
    ----------
    prepared : Prepared
        From ``prepare``; its book is changed, so it serves once.
    progress : callable, optional
        Called with bars done and bars in all.
    loop : Loop, optional
        An ``on_bar`` function to call at the closes of the schedule's signal bars.
    """
    journal, columns, lost = run_kernel(prepared, progress, loop)
    return _records(prepared, journal, columns, lost)


def run_kernel(
    prepared: Prepared, progress: Callable[[int, int], None] | None = None, loop: Loop | None = None
) -> tuple[state.Journal, state.Columns, int]:
    """Run the compiled loop; the journal and the table of orders grow as they must.

    Returns
    -------
    journal, columns
        What was recorded.
    lost : int
        Requests of an ``on_bar`` function that did not fit into the ring.
    """
    run = _Run(prepared, loop)
    bars = prepared.bars
    while run.bar < bars:
        run.advance(min(run.bar + CHUNK, bars))
        if progress is not None:
            progress(run.bar, bars)
    while not kernel.has_room(run.setup, run.book, run.journal):
        run.grow()
    kernel.finish(run.setup, run.market, run.schedule, run.book, run.journal)
    return run.journal, run.columns, int(run.context.clock[LOST])


class _Run:
    """A replay under way: what the kernel is handed at each call, and how far it has come."""

    def __init__(self, prepared: Prepared, loop: Loop | None) -> None:
        self.setup, self.market, self.schedule, self.book = (
            prepared.setup,
            prepared.market,
            prepared.schedule,
            prepared.book,
        )
        self.prepared = prepared
        self.columns = _columns(prepared)
        self.journal = _first_journal(prepared)
        self.context = empty_context()
        if loop is not None:
            backing = np.zeros((prepared.book.positions.size, BACK_FIGURES))
            self.context = loop.context._replace(requests=prepared.book.requests, backing=backing)
        self.function = NoFunction() if loop is None or loop.compiled is None else loop.compiled
        self.python = None if loop is None else loop.python
        self.setup.rules[0]["has_loop"] = int(loop is not None and self.python is None)
        self.is_plain = _is_plain(prepared) and loop is None
        self.bar = 0

    def advance(self, stop: int) -> None:
        """Replay up to a bar; an uncompiled function is called between the kernel's calls."""
        while self.bar < stop:
            call = self.book.account[0]["call"]
            is_called = self.python is not None and call < self.schedule.calls.size
            goal = min(stop, int(self.schedule.calls[call]) + 1) if is_called else stop
            self.bar = self.plain_to(goal) if self.is_plain else self.full_to(goal)
            if self.bar < goal:
                self.grow()
            elif is_called and self.bar == int(self.schedule.calls[call]) + 1:
                self.call_python()

    def full_to(self, stop: int) -> int:
        """Take bars step by step, up to the one before which the journal must grow."""
        return int(
            kernel.replay(
                self.setup,
                self.market,
                self.schedule,
                self.book,
                self.journal,
                self.columns,
                self.context,
                self.function,
                self.bar,
                stop,
            )
        )

    def plain_to(self, stop: int) -> int:
        """Take bars by the short way, and those that it hands back step by step: ever more of them, while it does."""
        span = 1
        while self.bar < stop:
            before = self.bar
            self.bar = int(
                replay_plainly(
                    self.setup, self.market, self.schedule, self.book, self.journal, self.columns, self.bar, stop
                )
            )
            if self.bar == stop or not kernel.has_room(self.setup, self.book, self.journal):
                return self.bar
            span = min(2 * span, CHUNK) if self.bar - before < span else 1
            until = min(self.bar + span, stop)
            self.bar = self.full_to(until)
            if self.bar < until:
                return self.bar
        return self.bar

    def call_python(self) -> None:
        """Call the uncompiled function at the signal bar that has just ended."""
        assert self.python is not None
        views.show_account(self.setup, self.market, self.schedule, self.book, self.columns, self.context)
        self.python(self.context)
        self.book.account[0]["call"] += 1
        kernel.take_requests(self.book, self.context)

    def grow(self) -> None:
        """Give the journal and the table of orders more room."""
        self.journal = _grown(self.journal, self.prepared)
        account = self.book.account[0]
        asked = min(int(account["requested"] - account["request"]), self.book.requests.size)
        if account["resting_count"] + asked + 12 * self.book.positions.size <= self.book.resting.size:
            return
        old = self.book.resting
        wider = np.zeros(2 * old.size + asked, state.RESTING)
        wider[: old.size] = old
        chain_free(wider, old.size)
        wider["next"][-1] = account["free_order"]
        account["free_order"] = old.size
        self.book = self.book._replace(resting=wider)


def _columns(prepared: Prepared) -> state.Columns:
    """Return the columns; those that a single position's steps tell are left empty."""
    some = 0 if _is_single(prepared) else prepared.bars
    wide = [np.empty(prepared.bars) for _ in range(3)] + [np.empty(some) for _ in range(4)]
    return state.Columns(*wide, *(np.empty(state.BLOCK) for _ in range(5)))


def _is_plain(prepared: Prepared) -> bool:
    """Return whether the shorter loop can replay the run."""
    return _is_single(prepared) and is_plain(prepared.setup, prepared.market, prepared.schedule)


def compiles_first(prepared: Prepared, *, is_loop: bool) -> bool:
    """Return whether what replays a run, with an ``on_bar`` function or without, is yet to be compiled here."""
    return is_cold(replay_plainly if not is_loop and _is_plain(prepared) else kernel.replay)


def _is_single(prepared: Prepared) -> bool:
    """Return whether all columns follow from the steps of one position with one leverage."""
    instruments, settings = prepared.setup.instruments, prepared.schedule.settings
    has_leverage = bool((settings["setting"] == SettingField.LEVERAGE).any()) or bool(prepared.schedule.calls.size)
    return instruments.size == 1 and instruments[0]["is_spot"] == 0 and not has_leverage


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
        "fills": 4 * targets,
        "funding": settlements,
        "liquidations": 0,
        "ledger": 8 * targets + settlements,
        "positions": 4 * targets + settlements,
        "orders": 4 * targets,
    }
    room = {name: rows * (5 if name == "ledger" else 2) + min(size, 1 << 20) for name, size in sizes.items()}
    return state.Journal(**{name: np.empty(room[name], dtype) for name, dtype in _DTYPES.items()})


def _grown(journal: state.Journal, prepared: Prepared) -> state.Journal:
    """Return a journal with twice the room, holding the same rows."""
    account = prepared.book.account[0]
    asked = min(int(account["requested"] - account["request"]), prepared.book.requests.size)
    rows = int(prepared.setup.rules[0]["rows_per_bar"]) + 16 * (int(account["resting_count"]) + asked)
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


def _records(prepared: Prepared, journal: state.Journal, columns: state.Columns, lost: int) -> ReplayRecords:
    account = prepared.book.account[0]
    rows = {name: getattr(journal, name)[: int(account[name])] for name in _DTYPES}
    if _is_single(prepared):
        maintenance, ratio, gross, net = _single_columns(prepared, rows["positions"], columns)
    else:
        maintenance, ratio, gross, net = columns.maintenance, columns.margin_ratio, columns.gross, columns.net
    equity = columns.equity
    held = gross > 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        per_equity = np.where(equity > 0.0, 1.0 / equity, np.nan)
    per_equity[~held] = 0.0
    moved = _transferred(rows["ledger"], prepared.bars)
    peak = np.maximum.accumulate(np.maximum(equity - moved, prepared.balance)) + moved
    names: tuple[str, ...] = ("disputed_bars", "coarse_unchecked", "bars_waited", "takeovers", "transfers_cut")
    if prepared.schedule.venue_events.size:
        names += ("deleverages_cut", "deleverages_idle", "clawbacks_cut")
    counts = {name: int(account[name]) for name in names} | {"requests_lost": lost}
    with np.errstate(divide="ignore", invalid="ignore"):
        is_money = peak > CRUMB * prepared.balance  # else nothing was ever there, or all was withdrawn
        drawdown = np.where(is_money, equity / peak - 1.0, 0.0)
    return ReplayRecords(
        **rows,
        equity=equity,
        wallet=columns.wallet,
        maintenance=maintenance,
        margin_ratio=ratio,
        gross_exposure=gross * per_equity,
        net_exposure=net * per_equity,
        drawdown=drawdown,
        counts=counts,
    )


def _transferred(ledger: NDArray[np.void], bars: int) -> NDArray[np.float64]:
    """Return what was deposited, less what was withdrawn, up to each bar: the peak of equity moves with it."""
    rows = ledger[ledger["kind"] == LedgerKind.TRANSFER]
    by_bar = np.zeros(bars)
    np.add.at(by_bar, rows["bar"], rows["amount"])
    total: NDArray[np.float64] = np.cumsum(by_bar)
    return total


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

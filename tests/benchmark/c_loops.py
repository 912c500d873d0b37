"""The C loops: built with the compiler of this machine, called on the inputs of a case."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtester.domain.margin_tiers import TierTable

HERE = Path(__file__).resolve().parent
SOURCES = ("limit_plain.c", "limit_segments.c", "limit_sweep.c", "bandwidth.c")
WARNINGS = ("-std=c11", "-Wall", "-Werror")
# Inputs are finite and no sign of a zero matters: without these two minima do not become vector instructions.
OPTIONS = ("-O3", "-march=native", "-ffinite-math-only", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno")
WIDEST = "-mprefer-vector-width=512"  # known on x86 alone

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Terms:
    """What contract and account state."""

    tiers: TierTable
    lot: float
    leverage: float
    fee: float
    balance: float

    def arguments(self) -> list[Any]:
        """Return the arguments that every loop takes, from the table on."""
        rows = [
            (t.notional_floor, t.notional_cap, t.maintenance_margin_rate, deduction, t.max_leverage)
            for t, deduction in zip(self.tiers.tiers, self.tiers.deductions(), strict=True)
        ]
        numbers = (1.0 / self.lot, self.leverage, self.fee, self.balance)
        return [np.array(rows), ctypes.c_int(len(rows)), *(ctypes.c_double(number) for number in numbers)]


@dataclass(frozen=True, eq=False)
class Market:
    """The columns that a replay reads, each of shape (T,), and what is settled at which bar's open."""

    trade_open: Floats
    mark_open: Floats
    low: Floats
    high: Floats
    close: Floats
    settled: Whole
    rates: Floats

    @property
    def bars(self) -> int:
        """Number of bars."""
        return self.close.size

    def columns(self) -> tuple[Floats, ...]:
        """Return the columns in the order in which the loops take them."""
        return self.trade_open, self.mark_open, self.low, self.high, self.close


class Loops:
    """The compiled loops.

    Parameters
    ----------
    folder : Path
        Where the library is written.
    """

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("gcc")
        if compiler is None:
            raise FileNotFoundError("no gcc: the C loops cannot be built")
        target = folder / "limit.so"
        command = [compiler, *OPTIONS, *WARNINGS, "-shared", "-fPIC", "-o", str(target)]
        sources = [str(HERE / name) for name in SOURCES]
        for extra in ((WIDEST,), ()):
            done = subprocess.run([*command, *extra, *sources, "-lm"], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                break
        else:
            raise RuntimeError(done.stderr)
        self._library = ctypes.CDLL(str(target))

    def replay(self, name: str, market: Market, due: Whole, target: Floats, terms: Terms) -> tuple[Floats, ...]:
        """Run a loop over one account and return equity, wallet and requirement at each close.

        Parameters
        ----------
        name : {"replay", "replay_segments"}
            The plain loop, or the one by segments.
        due, target : arrays, shape (N,)
            Bar at whose open each order fills, rising, and its exposure.
        """
        columns = tuple(np.empty(market.bars) for _ in range(3))
        orders = [ctypes.c_long(due.size), due, target]
        settlements = [ctypes.c_long(market.settled.size), market.settled, market.rates]
        bars = [ctypes.c_long(market.bars), *market.columns()]
        done = self._call(name, [*bars, *orders, *settlements, *terms.arguments(), *columns])
        assert done == market.bars, f"{name} stopped at bar {done}: the case reaches a liquidation"
        return columns

    def sweep(
        self, market: Market, orders: Sequence[tuple[Whole, Floats]], terms: Terms
    ) -> tuple[Floats, Floats, Whole]:
        """Run sets of orders and return the final equity, the largest drawdown and the count of trades of each."""
        first = np.cumsum([0, *(due.size for due, _ in orders)], dtype=np.int64)
        due = np.concatenate([due for due, _ in orders])
        target = np.concatenate([target for _, target in orders])
        results = np.empty(len(orders)), np.empty(len(orders)), np.empty(len(orders), np.int64)
        arguments = [ctypes.c_long(market.bars), *market.columns(), ctypes.c_long(len(orders)), first, due, target]
        settlements = [ctypes.c_long(market.settled.size), market.settled, market.rates]
        lost = self._call("sweep", [*arguments, *settlements, *terms.arguments(), *results])
        assert lost == 0, f"{lost} sets were lost: the case reaches a liquidation"
        return results

    def read(self, market: Market) -> int:
        """Read the columns of a market and do nothing with them."""
        return self._call(
            "read_columns", [ctypes.c_long(market.bars), *market.columns(), ctypes.c_double(np.finfo(float).max)]
        )

    def copy(self, market: Market, into: Sequence[Floats]) -> int:
        """Read three columns and write three."""
        columns = [market.low, market.high, market.close]
        return self._call("read_and_write", [ctypes.c_long(market.bars), *columns, ctypes.c_double(0.5), *into])

    def _call(self, name: str, arguments: Sequence[Any]) -> int:
        function: Callable[..., int] = getattr(self._library, name)
        function.restype = ctypes.c_long  # type: ignore[attr-defined]
        given = [a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else a for a in arguments]
        return function(*given)

"""A strategy whose sets do to their workers what the tests of executors need."""

from __future__ import annotations

import io
from collections.abc import Iterable

import polars as pl

from backtester.research.rows import joined

SOURCE = '''
import os
import signal
import time
from pathlib import Path

import polars as pl

from backtester.strategy import Param, Strategy, ref

CALM, RAISES, KILLS, KILLS_ONCE, SLEEPS, READS = range(6)


class Probe(Strategy):
    """Holds what its parameters say, and does to its worker what they say."""

    warmup = 40
    lookback: int = Param(10, ge=2, le=40)
    act: int = Param(0, ge=0)

    def indicators(self):
        columns = {"mean": pl.col("close").rolling_mean(self.lookback)}
        return columns | ({"other": pl.col("close") - ref("ETH/USDT:USDT", "close")} if self.act == READS else {})

    def target(self):
        folder = Path(os.environ["PROBE_FOLDER"])
        if self.act == RAISES:
            raise ValueError("this set raises")
        if os.environ["PROBE_DRIVER"] != str(os.getpid()):
            (folder / f"node-{os.getppid()}").touch()
            fuse = folder / f"killed-{self.lookback}"
            if self.act == SLEEPS:
                give_up = time.monotonic() + 30
                while len(list(folder.glob("node-*"))) < 2 and time.monotonic() < give_up:
                    time.sleep(0.05)
                time.sleep(0.3)
            if self.act == KILLS or (self.act == KILLS_ONCE and not fuse.exists()):
                fuse.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return pl.when(pl.col("close") > pl.col("mean")).then(1.0).otherwise(-0.5)
'''
CALM, RAISES, KILLS, KILLS_ONCE, SLEEPS, READS = range(6)


def sets_of(acts: list[int]) -> pl.DataFrame:
    """Return a set for each act, each with its own lookback and one of two leverages."""
    return pl.DataFrame(
        {
            "set": range(len(acts)),
            "lookback": [2 + k for k in range(len(acts))],
            "act": acts,
            "account.leverage": [1.0 + k % 2 for k in range(len(acts))],
        }
    )


def parts_of(sets: pl.DataFrame, size: int) -> list[pl.DataFrame]:
    """Return sets in parts."""
    return [sets[first : first + size] for first in range(0, sets.height, size)]


def in_order(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return the rows of all parts by set."""
    return joined(sorted(frames, key=lambda rows: rows["set"][0])).sort("set")


def parquet(rows: pl.DataFrame) -> bytes:
    """Return rows as the bytes of a Parquet file."""
    out = io.BytesIO()
    rows.rechunk().write_parquet(out)
    return out.getvalue()

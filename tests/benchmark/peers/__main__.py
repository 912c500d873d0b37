"""Other backtesters on the same bars: parity first, then time, and ours in the mode that the peer can do.

Run as ``python -m tests.benchmark.peers [NAME …]`` (``make bench-peers``). Each peer is installed from its pins into an
environment of its own and driven as a process. A moving-average cross on bars that all of them read, the same fee, no
funding and no liquidation. Where the semantics can agree, final equity must agree to 1e-6, and only then are the times
compared; a peer that cannot be installed, or does not agree, is a row with the reason.

Times are processor seconds, so that other work on the machine does not count; wall seconds stand beside them. "whole"
is averages, signals, simulation and, on our side, every metric of the summary; "simulation" starts from signals that
are there. Peers are warmed up first: what is compiled is compiled.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmark.market import walk
from tests.benchmark.peers.environments import Environment, PeerError
from tests.benchmark.peers.ours import Ours
from tests.benchmark.sweep_case import BALANCE, HUNDRED

BARS = 1_000_000
FEE = 0.0005
FAST, SLOW = 50, 600
REPEATS = 5
THREADS = 2
AGREES = 1e-6

Compare = Callable[[str, Environment, Path, Ours], None]


@dataclass(frozen=True)
class Peer:
    """What is compared.

    Attributes
    ----------
    name : str
        Of its environment and driver.
    mode : str or None
        Ours that does the same; None where nothing is driven.
    reason : str
        Why nothing is driven.
    """

    name: str
    mode: str | None
    reason: str = ""


PEERS = (
    Peer("vectorbt", "half"),
    Peer("phasor", "half"),
    Peer("raptorbt", "all or flat"),
    Peer("backtesting", "half or flat"),
    Peer("nautilus", "quantity"),
    Peer(
        "freqtrade",
        None,
        reason="installs, is not driven: a backtest asks the exchange for its markets first, and stakes are amounts "
        "of a wallet split over slots, not an exposure",
    ),
)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def asked(fast: list[int], slow: list[int], repeats: int) -> dict[str, Any]:
    """Return the request of a driver."""
    return {"fast": fast, "slow": slow, "fee": FEE, "cash": BALANCE, "repeats": repeats, "threads": THREADS}


def compared(label: str, ours: tuple[float, float], theirs: tuple[float, float]) -> str:
    """Return the cells of a time: processor seconds, wall seconds, and how many times ours."""
    return (
        f"   {label}: theirs {theirs[1]:.3g} s (wall {theirs[0]:.3g}), ours {ours[1]:.3g} s (wall {ours[0]:.3g}): "
        f"{theirs[1] / ours[1]:.2f} times ours"
    )


def agreement(ours: list[float], theirs: list[float]) -> float:
    """Return the largest relative difference."""
    pairs = zip(ours, theirs, strict=True)
    return max(abs(a / b - 1.0) for a, b in pairs)


def single(mode: str, environment: Environment, bars: Path, ours: Ours) -> None:
    """Compare one run."""
    answer = environment.drive(bars, asked([FAST], [SLOW], REPEATS))
    for row in answer["rows"]:
        equity, whole, simulation = ours.single(mode, row["bar"], FAST, SLOW)
        apart = agreement([equity], row["equity"])
        say(f"{row['name']} {answer['version']}: {row['convention']}")
        if apart > AGREES:
            say(f"   final equity {row['equity'][0]:.6f}, ours {equity:.6f}: they differ by {apart:.1e}; not timed")
            continue
        say(f"   final equity agrees to {apart:.0e}")
        say(compared("one run, simulation", simulation, row["simulation"]))
        say(compared("one run, whole", whole, row["whole"]))


def sweep(mode: str, environment: Environment, bars: Path, ours: Ours) -> None:
    """Compare the hundred sets."""
    answer = environment.drive(bars, asked(HUNDRED["fast"].to_list(), HUNDRED["slow"].to_list(), 1))
    for row in answer["rows"]:
        done = ours.sweep(mode, row["bar"])
        places = {(f, s): k for k, (f, s) in enumerate(HUNDRED.iter_rows()) if k < len(row["equity"])}
        shared = [
            (places[f, s], e)
            for f, s, e in done.rows.select("fast", "slow", "final_equity").iter_rows()
            if (f, s) in places
        ]
        apart = agreement([e for _, e in shared], [row["equity"][k] for k, _ in shared])
        if apart > AGREES:
            say(f"{row['name']}: final equity of a set differs by {apart:.1e}; not timed")
            continue
        factor = HUNDRED.height / len(row["equity"])
        theirs = (row["whole"][0] * factor, row["whole"][1] * factor)
        notes = [f"{len(shared)} sets agree to {apart:.0e}", f"ours by {done.path}"]
        notes += [f"ours {done.note}"] if done.note else []
        notes += [f"theirs extrapolated from {len(row['equity'])}"] if factor > 1 else []
        say(f"{row['name']}: {'; '.join(notes)}")
        say(compared(f"{HUNDRED.height} sets, whole", (done.wall, done.processor), theirs))


def compare_peer(peer: Peer, compare: Compare, bars: Path, ours: Ours) -> None:
    """Install a peer and compare it."""
    environment = Environment(peer.name)
    environment.install()
    if peer.mode is None:
        raise PeerError(peer.reason)
    compare(peer.mode, environment, bars, ours)


def main(names: list[str]) -> int:
    """Print the tables; a peer that fails is a row with its reason."""
    open_, high, low, close = walk(BARS)
    prices = {"open": open_, "high": high, "low": low, "close": close}
    chosen = [peer for peer in PEERS if not names or peer.name in names]
    with tempfile.TemporaryDirectory() as folder:
        bars = Path(folder) / "bars.npz"
        np.savez(bars, **prices)
        ours = Ours(Path(folder), prices, FEE, THREADS)
        failed: set[str] = set()
        for title, compare in ((f"One run, fast {FAST}, slow {SLOW}", single), ("Sweep", sweep)):
            say(f"{title}, {BARS:,} bars, fee {FEE}, no funding, no liquidation")
            for peer in chosen:
                if peer.name in failed:
                    continue
                try:
                    compare_peer(peer, compare, bars, ours)
                except PeerError as error:
                    failed.add(peer.name)
                    say(f"{peer.name}: {error}")
            say("")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

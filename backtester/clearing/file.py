"""The file of a clearing, ``clearing.toml``: market, accounts and rules, decoded as strictly as a run file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import Field, ValidationError

from backtester.domain.config import ClearingConfig, Names, Section
from backtester.engine.run_file import explained, read_whole_tree
from backtester.errors import ConfigError

Tree = dict[str, Any]


class MarketConfig(Section):
    """Stored series that the accounts are replayed over.

    Attributes
    ----------
    venue : str
        Name of the store's venue, and of the rule pack where ``clearing.venue`` names none.
    symbols : tuple of str
        Contracts of one settlement currency; empty: all of the venue that have bars.
    timeframe : str or None
        Bar of the replay, ``"1m"``; None: the finest stored.
    start, end : str or None
        UTC, end excluded; None: the longest span that all series cover.
    """

    venue: str = "synthetic"
    symbols: Names = ()
    timeframe: str | None = None
    start: str | None = None
    end: str | None = None


class ShockConfig(Section):
    """A made-up crash in place of a stored market: hours of calm, a fall, a partial rebound, calm again.

    Attributes
    ----------
    price : float
        Price at the first bar [quote].
    fall : float
        Fall of the mark from there to the low [fraction].
    fall_minutes, rebound_minutes : int
        Length of the fall and of the rebound.
    rebound : float
        Part of the fall that is regained [fraction].
    calm_hours : float
        Before the fall and after the rebound.
    undercut : float
        How far the trades go below the mark at the low [fraction].
    volatility : float
        Annual, outside the fall [fraction].
    daily_turnover : float
        Volume of a calm day [times the open interest].
    crash_volume : float
        Volume in fall and rebound [times the calm one].
    funding_rate : float
        Rate of each settlement, every 8 hours [fraction of notional].
    seed : int
        Of the path's noise.
    """

    price: float = Field(100_000.0, gt=0)
    fall: float = Field(0.21, gt=0, lt=1)
    fall_minutes: int = Field(40, ge=1, le=100_000)
    rebound_minutes: int = Field(90, ge=1, le=100_000)
    rebound: float = Field(0.5, ge=0, le=1)
    calm_hours: float = Field(4.0, gt=0, le=1000)
    undercut: float = Field(0.01, ge=0, lt=0.5)
    volatility: float = Field(0.2, ge=0)
    daily_turnover: float = Field(8.0, gt=0)
    crash_volume: float = Field(8.0, gt=0)
    funding_rate: float = Field(0.0001, gt=-1, lt=1)
    seed: int = Field(7, ge=0)


class AccountsConfig(ClearingConfig):
    """The section ``clearing`` of a run file, in which accounts may also be runs of one's own.

    Attributes
    ----------
    runs : tuple of str
        Folders of runs that are the accounts; the outside market holds the other side.
    compare : tuple of str
        Rule packs under which the same market is cleared too; ``all``: every venue whose clearing is known.
    """

    runs: Names = ()
    compare: Names = ()


class ClearingFile(Section):
    """What a clearing replays.

    Attributes
    ----------
    market : MarketConfig or None
        Stored series.
    shock : ShockConfig or None
        A made-up crash; one of the two is given.
    clearing : AccountsConfig
        Accounts and rules.
    contracts : {"linear", "inverse", "both"}
        ``inverse``: the same prices on coin-margined contracts, ``both``: one after the other.
    """

    market: MarketConfig | None = None
    shock: ShockConfig | None = None
    clearing: AccountsConfig = AccountsConfig()
    contracts: Literal["linear", "inverse", "both"] = "linear"

    @property
    def model(self) -> str:
        """Return where the accounts come from: ``open_interest``, ``file`` or ``runs``."""
        return "runs" if self.clearing.runs else "file" if self.clearing.file is not None else "open_interest"


def read_clearing(path: Path | str) -> ClearingFile:
    """Read the file of a clearing.

    Parameters
    ----------
    path : Path or str
        TOML with ``[market]`` or ``[shock]``, and ``[clearing]``, which ``backtester run --clearing`` reads too; a
        file without sections holds the keys of ``[clearing]``.

    Raises
    ------
    UsageError, UnknownNameError
        It cannot be read, or a key does not exist (with the nearest one).
    ConfigError
        It is no TOML, or a value is out of bounds.
    """
    return build_clearing(clearing_tree(Path(path)))


def clearing_tree(path: Path) -> Tree:
    """Return the content of a clearing's file by sections, not yet checked; paths in it are relative to its folder."""
    tree = read_whole_tree(path)
    if not set(tree) & set(ClearingFile.model_fields):
        tree = {"clearing": tree}
    own = tree.get("clearing")
    if isinstance(own, dict):
        if isinstance(own.get("file"), str):
            own["file"] = str(path.parent / own["file"])
        if isinstance(own.get("runs"), list):
            own["runs"] = [str(path.parent / run) if isinstance(run, str) else run for run in own["runs"]]
    return tree


def build_clearing(tree: Mapping[str, Any]) -> ClearingFile:
    """Return the checked content of a clearing's file.

    Raises
    ------
    UnknownNameError
        A key does not exist.
    ConfigError
        A value is out of bounds, or sections contradict each other.
    """
    try:
        file = ClearingFile.model_validate(_plain(tree))
    except ValidationError as error:
        raise explained(error, ClearingFile) from error
    if file.market is not None and file.shock is not None:
        raise ConfigError("market and shock are both given.", "Leave one of the two sections out.")
    own = file.clearing
    given = [name for name in ("open_interest", "file", "runs") if getattr(own, name) not in (None, ())]
    if len(given) > 1:
        raise ConfigError(f"clearing.{given[0]} and clearing.{given[1]} are both given.", "Accounts come from one.")
    if not given:
        raise ConfigError(
            "clearing says nothing of its accounts.",
            "Give clearing.open_interest (notional of each contract), clearing.file or clearing.runs.",
        )
    if file.contracts != "linear" and file.model != "open_interest":
        raise ConfigError(
            f"contracts = {file.contracts!r} needs accounts drawn from an open interest.",
            "Give clearing.open_interest.",
        )
    if isinstance(own.open_interest, dict) and file.contracts != "linear":
        raise ConfigError(
            "clearing.open_interest by symbol does not go with inverse contracts.",
            "Give one number: the notional of each contract.",
        )
    return file


def clearing_text(file: ClearingFile) -> str:
    """Return the file as TOML; what is None is left out."""
    tree = json.loads(file.model_dump_json(exclude_none=True))
    return tomli_w.dumps({key: value for key, value in tree.items() if value not in ({}, [])})


def _plain(tree: Mapping[str, Any]) -> Tree:
    """Return the tree with TOML's own dates as text."""
    return {
        key: _plain(value)
        if isinstance(value, Mapping)
        else value.isoformat()
        if isinstance(value, date | datetime | time)
        else value
        for key, value in tree.items()
    }

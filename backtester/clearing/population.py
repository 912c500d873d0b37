"""Who holds what when the replay begins: accounts and their positions, checked where they enter."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backtester.errors import AccountError, UsageError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ZERO_SUM = 1e-9


@dataclass(frozen=True, eq=False)
class Population:
    """Accounts and positions at the first bar's open.

    Attributes
    ----------
    symbols : tuple of str
        Contracts that are held.
    wallet : ndarray of float64, shape (accounts,)
        Wallet balances, isolated margins included [settlement currency].
    isolated : ndarray of bool, shape (accounts,)
        Whether each position of the account stands on a margin of its own; else all are under cross margin.
    leverage : ndarray of float64, shape (accounts,)
        Leverage setting; groups survivors, ranks by return on initial margin, and sets Bybit's fee at bankruptcy.
    account : ndarray of int64, shape (positions,)
        Account of each position.
    contract : ndarray of int64, shape (positions,)
        Place of its contract in ``symbols``.
    quantity : ndarray of float64, shape (positions,)
        Signed size [base units; quote units for inverse contracts].
    entry_price : ndarray of float64, shape (positions,)
        Average entry [quote].
    margin : ndarray of float64, shape (positions,)
        Isolated margin [settlement currency]; 0 under cross margin.
    outside : ndarray of float64, shape (symbols,)
        What the outside market holds, so that each contract sums to zero.
    labels : tuple of str
        Names of the accounts; empty: their numbers.
    notes : tuple of str
        How the population was made.
    """

    symbols: tuple[str, ...]
    wallet: Floats
    isolated: NDArray[np.bool_]
    leverage: Floats
    account: Ints
    contract: Ints
    quantity: Floats
    entry_price: Floats
    margin: Floats
    outside: Floats = field(default_factory=lambda: np.empty(0))
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.outside) == 0:
            object.__setattr__(self, "outside", np.zeros(len(self.symbols)))
        _check_columns(self)
        _check_accounts(self)
        _check_sums(self)

    @property
    def accounts(self) -> int:
        """Number of accounts."""
        return len(self.wallet)

    @property
    def positions(self) -> int:
        """Number of positions."""
        return len(self.quantity)

    def label(self, account: int) -> str:
        """Return the name of an account."""
        return self.labels[account] if self.labels else str(account)


def _check_columns(population: Population) -> None:
    accounts, positions = len(population.wallet), len(population.quantity)
    if accounts == 0:
        raise UsageError("The population has no account.")
    for names, length in (
        (("isolated", "leverage"), accounts),
        (("account", "contract", "entry_price", "margin"), positions),
        (("outside",), len(population.symbols)),
    ):
        for name in names:
            if len(getattr(population, name)) != length:
                raise UsageError(f"The population's {name} has {len(getattr(population, name))} entries, not {length}.")
    if population.labels and len(population.labels) != accounts:
        raise UsageError(f"The population has {len(population.labels)} labels for {accounts} accounts.")
    if positions and (population.account.min() < 0 or population.account.max() >= accounts):
        raise UsageError("A position belongs to an account that does not exist.")
    if positions and (population.contract.min() < 0 or population.contract.max() >= len(population.symbols)):
        raise UsageError("A position is in a contract that does not exist.")


def _check_accounts(population: Population) -> None:
    for name in ("wallet", "leverage"):
        values = getattr(population, name)
        bad = ~(np.isfinite(values) & (values > 0))
        if bad.any():
            at = int(np.argmax(bad))
            raise AccountError(
                f"Account {population.label(at)} has a {name} of {values[at]:g}.", "Give a positive number."
            )
    for name in ("quantity", "entry_price", "margin"):
        values = getattr(population, name)
        bad = ~np.isfinite(values) | ((values <= 0) if name == "entry_price" else (values < 0) & (name == "margin"))
        if bad.any():
            at = int(np.argmax(bad))
            who = population.label(int(population.account[at]))
            raise AccountError(f"Account {who} has a position with {name} = {values[at]:g}.", "Give a valid number.")
    key = population.account * len(population.symbols) + population.contract
    if len(np.unique(key)) < len(key):
        values, counts = np.unique(key, return_counts=True)
        twice = int(values[np.argmax(counts > 1)])
        who = population.label(twice // len(population.symbols))
        symbol = population.symbols[twice % len(population.symbols)]
        raise AccountError(f"Account {who} has two positions in {symbol}.", "Sum them up: accounts are one-way.")
    used = np.bincount(population.account, population.margin, population.accounts)
    bad = used > population.wallet * (1 + 1e-9)
    if bad.any():
        at = int(np.argmax(bad))
        raise AccountError(
            f"Account {population.label(at)} has margins of {used[at]:g} and a wallet of {population.wallet[at]:g}.",
            "The wallet includes the isolated margins.",
        )


def _check_sums(population: Population) -> None:
    count = len(population.symbols)
    net = np.bincount(population.contract, population.quantity, count) + population.outside
    gross = np.bincount(population.contract, np.abs(population.quantity), count) + np.abs(population.outside)
    bad = np.abs(net) > ZERO_SUM * gross
    if bad.any():
        c = int(np.argmax(bad))
        raise AccountError(
            f"{population.symbols[c]}: the positions sum to {net[c]:g}, not to zero.",
            "Every long has a short on the other side: complete the accounts, or let the outside market hold the rest.",
        )

"""What holds one position: a contract, a leg of one in hedge mode, or a spot instrument."""

from __future__ import annotations

from dataclasses import dataclass

from tests.reference.case import Case


@dataclass(frozen=True)
class Slot:
    """A place for one position; ``leg`` is +1 or -1 in hedge mode, 0 where the position is the contract's net one."""

    symbol: int
    leg: int
    is_spot: bool

    @property
    def only_side(self) -> int:
        """Return the one side that it can hold, 0 where it can hold both."""
        return 1 if self.is_spot else self.leg

    @property
    def shown_side(self) -> str:
        """Return how an order names the leg."""
        return {1: "long", -1: "short", 0: "flat"}[self.leg]


def slots_of(case: Case) -> list[Slot]:
    """Return the slots of a run in the contracts' order, the long leg before the short one."""
    found = []
    for symbol, contract in enumerate(case.contracts):
        is_spot = contract.kind == "spot"
        legs = (1, -1) if case.settings.position_mode == "hedge" and not is_spot else (0,)
        found += [Slot(symbol, leg, is_spot) for leg in legs]
    return found


def chosen(slots: list[Slot], symbol: int, side: int) -> list[int]:
    """Return the slots of a symbol, or the one of a leg that has a name of its own."""
    return [i for i, s in enumerate(slots) if s.symbol == symbol and (side == 0 or s.leg in {0, side})]

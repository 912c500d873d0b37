"""What a strategy has set for a slot beside its target."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

EXITS = {"stop_loss", "stop_price", "trailing_stop", "take_profit", "take_profit_price", "take_profit_share"}
RUNGS = ("take_profit", "take_profit_price", "take_profit_share")
NONE = Fraction(0)


@dataclass
class Terms:
    """Values in force by name, take-profits by name and rung; what was never set or set to 0 is off."""

    first_leverage: Fraction
    values: dict[tuple[str, int], Fraction] = field(default_factory=lambda: {("active", 0): Fraction(1)})

    def change(self, name: str, rung: int, value: Fraction) -> bool:
        """Set a value and tell whether it is another one."""
        key = (name, rung if name in RUNGS else 0)
        differs = self.values.get(key, NONE) != value
        self.values[key] = value
        return differs

    def get(self, name: str, rung: int = 0) -> Fraction:
        return self.values.get((name, rung), NONE)

    def rungs(self) -> list[int]:
        """Return the take-profits that are on."""
        numbers = {rung for name, rung in self.values if name in {"take_profit", "take_profit_price"}}
        return sorted(r for r in numbers if self.get("take_profit", r) > 0 or self.get("take_profit_price", r) > 0)

    def share(self, rung: int) -> Fraction:
        """Return the share of the position that a take-profit closes."""
        return self.get("take_profit_share", rung) or Fraction(1)

    def current_leverage(self, is_spot: bool) -> Fraction:
        return Fraction(1) if is_spot else self.get("leverage") or self.first_leverage

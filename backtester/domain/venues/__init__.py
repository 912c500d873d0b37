"""Rule packs: what each venue does, as data with a source and a date beside every figure."""

from __future__ import annotations

from backtester.domain.venues.loader import load_pack, pack_for, pack_names
from backtester.domain.venues.pack import EVIDENCE, Figure, RuleBlock, VenueClearing, VenuePack, VenueRules

__all__ = [
    "EVIDENCE",
    "Figure",
    "RuleBlock",
    "VenueClearing",
    "VenuePack",
    "VenueRules",
    "load_pack",
    "pack_for",
    "pack_names",
]

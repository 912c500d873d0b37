"""Backtesting of crypto perpetual contracts, settled as the exchange would.

The names below load when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

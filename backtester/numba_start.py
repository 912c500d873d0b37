"""Loads numba's array functions without scipy's linear algebra, of which a backtest uses none.

numba asks whether a BLAS is there by importing ``scipy.linalg`` when the first compiled function is called: a quarter
of a second of every cold process. The answer serves ``np.dot`` and its kin alone, which import it again where compiled
code uses them; so it is given here without looking, and what uses them works as before.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any, cast

_ARRAYS = "numba.np.arraymath"
_BLAS = "scipy.linalg.cython_blas"


def load_arrays() -> None:
    """Load numba's array functions; nothing where they are loaded, or where scipy's part is."""
    if _ARRAYS in sys.modules or _BLAS in sys.modules or find_spec("scipy") is None:
        return
    cast("dict[str, ModuleType | None]", sys.modules)[_BLAS] = None  # an import of it fails at once
    try:
        import numba.np.arraymath as arrays  # noqa: PLC0415
    finally:
        del sys.modules[_BLAS]
    found: Any = arrays
    found._HAVE_BLAS = True  # scipy is installed

"""The first call of compiled code leaves scipy's linear algebra alone, and code that needs it still finds it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WITHOUT = """
import sys
import numpy as np
from numba import njit
from backtester.numba_start import load_arrays

load_arrays()

@njit
def total(values):
    return values.sum()

assert total(np.ones(3)) == 3.0
assert "scipy.linalg" not in sys.modules
"""
WITH = """
@njit
def product(a, b):
    return np.dot(a, b), np.linalg.solve(a, b)

a, b = np.array([[2.0, 0.0], [0.0, 4.0]]), np.array([[1.0], [2.0]])
dot, solved = product(a, b)
assert dot.tolist() == [[2.0], [8.0]]
assert solved.tolist() == [[0.5], [0.5]]
assert "scipy.linalg" in sys.modules
import scipy.linalg.cython_blas
"""


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled")
@pytest.mark.parametrize("program", [WITHOUT, WITHOUT + WITH], ids=["not needed", "needed"])
def test_scipy_is_imported_where_it_is_needed(program: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

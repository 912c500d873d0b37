# Each target does its own set-up: a virtual environment in .venv, from the pins in constraints.txt.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PINS := pyproject.toml constraints.txt
CORE := $(VENV)/.installed-core
DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
MARKET := data/.synthetic
WORKERS ?= 2
# Numeric tests that run again without the compiler (for coverage of the source) and with bounds checks.
NUMERIC := $(wildcard tests/unit/kernel) tests/scenarios

.PHONY: help demo test test-numeric test-long check bench bench-limit bench-peers bench-growth format clean

help:
	@echo "make demo         build the synthetic market, run a strategy, write its report"
	@echo "make test         run every test"
	@echo "make test-long    run the long tests too (installation into a fresh environment, large searches)"
	@echo "make check        formatting, lint, types, import rules"
	@echo "make bench        time replays, sweeps and whole runs against their targets"
	@echo "make bench-limit  time the replay against the same loop in C; the last line is their ratio"
	@echo "make bench-peers  time other backtesters on the same bars, each in an environment of its own"
	@echo "make bench-growth time and memory over bars, sets, symbols and trades"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The build backend stands in the environment, so that nothing is fetched beside the pins.
$(CORE): $(PINS) | $(BIN)/python
	$(PIP) install -q -c constraints.txt setuptools
	$(PIP) install -q -c constraints.txt --no-build-isolation -e .
	@touch $@

$(DEV): $(PINS) | $(BIN)/python
	$(PIP) install -q -c constraints.txt setuptools
	$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@ $(CORE)

demo: $(CORE) $(MARKET)
	@$(BIN)/backtester run cross_momentum --venue synthetic --margin-mode isolated --leverage 10

$(MARKET): backtester/market/synthetic.py backtester/market/synthetic_paths.py | $(CORE)
	@echo "Making the synthetic market (once) ..."
	@$(BIN)/backtester data demo --quiet
	@touch $@

test: test-numeric
	$(BIN)/python -m pytest -n $(WORKERS) -m "not long"

test-numeric: $(DEV)
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q -n $(WORKERS) -m "not long" $(NUMERIC) tests/unit/clearing
	NUMBA_BOUNDSCHECK=1 BACKTESTER_CACHE_DIR=$(CURDIR)/build/boundscheck-cache \
	  $(BIN)/python -m pytest -q -n $(WORKERS) -m "not long" $(NUMERIC)

test-long: test
	$(BIN)/python -m pytest -m long

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV)
	$(BIN)/python -m pytest -q -p no:xdist tests/benchmark

bench-limit: $(DEV)
	@$(BIN)/python -m tests.benchmark.limit

bench-peers: $(DEV)
	@$(BIN)/python -m tests.benchmark.peers

bench-growth: $(DEV)
	@$(BIN)/python -m tests.benchmark.growth

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

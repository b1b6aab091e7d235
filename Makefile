# SPDX-License-Identifier: GPL-2.0-only
# make check   check the specification and the implementation
# make test    what a change must pass: lint, format, types, tests
# make soak    random programs on whole machines, for MINUTES minutes
# make bench   ratios against named references
# make clean   remove what the other goals made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

.PHONY: check test lint types pytest soak bench clean
.DELETE_ON_ERROR:

check: $(READY)
	$(BIN)/irqproof check

test: lint types pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# One test compares state counts with SPIN's. A machine without SPIN can pass all the others;
# .ci/run installs it.
SPIN := $(shell command -v spin)
WITHOUT_SPIN := $(if $(SPIN),,--ignore=tests/proofs/test_spin.py)

# -n auto is one worker a core.
pytest: $(READY)
	@$(if $(SPIN),:,echo "spin is not installed: the state counts are compared only with the pinned ones")
	$(BIN)/python -m pytest -n auto --dist worksteal $(WITHOUT_SPIN)

MINUTES ?= 10

soak: $(READY)
	$(BIN)/irqproof soak --minutes $(MINUTES)

bench: $(READY)
	@set -e; for file in benchmarks/*.py; do echo "$$file"; $(BIN)/python "$$file"; done

# One target for both steps: a virtual environment cut short by Ctrl-C has no stamp and is made anew.
$(READY): pyproject.toml
	@echo "installing irqproof and its tests' tools into $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

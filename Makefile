# Two commands do everything on a fresh machine: `make demo` and `make test`.
# `make PYTHON=python3.13 VENV=/tmp/other test` chooses the interpreter and the place.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST = $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench docs faults slow clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.stamp-demo ## search Python's standard library by meaning (needs no network once installed)
	@$(BIN)/vicinal demo

test: $(VENV)/.stamp-dev ## the fast tests
	$(PYTEST) -q

slow: $(VENV)/.stamp-dev ## the tests that take minutes, benchmarks excepted
	$(PYTEST) -q -m slow

faults: $(VENV)/.stamp-dev ## crashes, full disks, cut writes, hostile files
	$(PYTEST) -q -m faults

lint: $(VENV)/.stamp-dev ## style, types, the rooms' borders, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(VENV)/.stamp-dev ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.stamp-dev ## run every example and check that everything is documented
	$(PYTEST) -q tests/docs
	$(PYTEST) -q --doctest-modules src/vicinal

bench: $(VENV)/.stamp-bench ## measure speed and recall against other databases
	$(BIN)/python benchmarks/ingest.py
	$(BIN)/python benchmarks/exact.py
	$(BIN)/python benchmarks/filters.py
	$(BIN)/python benchmarks/open.py
	$(BIN)/python benchmarks/approximate.py

clean: ## remove what the other targets made
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is newer than pyproject.toml when its packages are installed.

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.stamp-demo: pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --editable '.[embed]'
	@touch $@

$(VENV)/.stamp-dev: pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $(VENV)/.stamp-demo $@

$(VENV)/.stamp-bench: pyproject.toml $(VENV)/.stamp-dev
	$(PIP_INSTALL) --editable '.[bench,dev]'
	@touch $@

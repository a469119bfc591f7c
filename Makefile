# Everything happens in .venv; nothing but a Python 3.11 or newer with pip is needed.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
INSTALL := -m pip --disable-pip-version-check install -qq --editable

# Tests start hundreds of processes, and without its bytecode each would compile the library anew.
unexport PYTHONDONTWRITEBYTECODE

# Each of these files says that .venv has been filled from the pyproject.toml of its date.
CORE := $(VENV)/.installed-core
DEV := $(VENV)/.installed-dev
BENCH := $(VENV)/.installed-bench

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: venv
venv: $(DEV) ## Make .venv with the library (editable) and every tool

.PHONY: run
run: $(CORE) ## Run the example that analyses Python's own standard library
	$(BIN)/python examples/analyse_stdlib.py

.PHONY: test
test: $(DEV) ## The gate: style, types, layers, tests with coverage, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --cov
	site=$$(mktemp -d) && trap 'rm -rf "$$site"' EXIT && $(MKDOCS) build --strict --site-dir "$$site"

.PHONY: stress
stress: $(DEV) ## Try the properties on many more examples; half an hour each at most
	TASK_PIPELINE_STRESS=1 $(BIN)/python -m pytest -m stress --timeout=1800

.PHONY: bench
bench: $(BENCH) ## Measure against other libraries
	$(BIN)/python -m benchmarks

.PHONY: docs
docs: $(DEV) ## Build the documentation into site/
	$(MKDOCS) build --strict --site-dir site

.PHONY: format
format: $(DEV) ## Let ruff mend and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: clean
clean: ## Remove .venv, all caches and everything built
	rm -rf .venv .venv-* build dist site htmlcov stdlib-report .coverage .coverage.*
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, and $(PYTHON) is " + sys.version.split()[0] + "; try make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(CORE): pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/python $(INSTALL) .
	@touch $(CORE)

$(DEV): pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/python $(INSTALL) '.[dev]'
	@touch $(CORE) $(DEV)

$(BENCH): pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/python $(INSTALL) '.[bench]'
	@touch $(CORE) $(BENCH)

# The tests alone, each Python in a venv of its own.

VERSIONS := 3.11 3.12 3.13 3.14

# Only what can make a venv counts: a pyenv shim on PATH may stand for nothing.
find-python = $(shell for python in python$(1) "$$HOME"/.pyenv/versions/$(1).*/bin/python; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit("%d.%d" % sys.version_info[:2] != "$(1)")' \
	>/dev/null 2>&1 && command -v "$$python" && break; done)

.PHONY: test-all $(VERSIONS:%=test-%)
test-all: ## Run the tests on each Python 3.11 to 3.14 on PATH or under ~/.pyenv
	$(eval FOUND := $(strip $(foreach version,$(VERSIONS),$(if $(call find-python,$(version)),$(version)))))
	@echo "Found: $(or $(FOUND),none). Not found: $(or $(filter-out $(FOUND),$(VERSIONS)),none)."
	@$(if $(FOUND),$(MAKE) --no-print-directory --keep-going $(FOUND:%=test-%),false)
	@echo "The tests pass on Python $(FOUND)."

$(VERSIONS:%=test-%): test-%: .venv-%/.installed
	@echo "== $$(.venv-$*/bin/python --version), in .venv-$*"
	.venv-$*/bin/python -m pytest -q

.PRECIOUS: .venv-%/.installed
.venv-%/.installed: pyproject.toml
	$(or $(call find-python,$*),$(error Python $* was not found)) -m venv .venv-$*
	.venv-$*/bin/python $(INSTALL) '.[test]'
	@touch $@

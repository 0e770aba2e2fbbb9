# Two commands do all the set-up: `make run` (the main lane on the built-in sample) and `make test` (all checks and tests).
SHELL := /bin/bash
PYTHON ?= python3
HERE := . ./activate &&

# `make quick` runs the fast unit tests alone, in under a minute.
.PHONY: run test suite quick check environment ui mlflow docs clean

environment: .venv/.complete

.venv/.complete: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:3]; sys.exit(0 if v >= (3, 11, 4) else f"ProxyAno needs Python 3.11.4 or newer, got {v}: set PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --progress-bar off --constraint constraints.txt --editable '.[dev]'
	touch $@

run: environment
	$(HERE) proxyano run

check: environment
	$(HERE) ruff check . && ruff format --check . && mypy && lint-imports

# The checks take one core for a minute: they run beside the first tests.
test: environment
	@$(MAKE) --no-print-directory --jobs 2 check suite

# Tests start a hundred Python processes: bytecode is kept, whatever the shell says.
suite: environment
	$(HERE) PYTHONDONTWRITEBYTECODE= pytest -n 2

quick: environment
	$(HERE) PYTHONDONTWRITEBYTECODE= pytest -n 2 -m "not slow" tests/unit tests/property

ui: environment
	$(HERE) dagster dev

mlflow: environment
	$(HERE) proxyano mlflow

docs: environment
	$(HERE) NO_MKDOCS_2_WARNING=1 mkdocs build --strict

clean:
	rm -rf .venv site build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis

# One entry for everything; `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ALONE := tests/integration/test_live_calls_on_processes.py tests/integration/test_stream_route.py

# The tests start the program two hundred times: compiled anew each time that is a minute.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format lint types bench chaos audit lock clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/' | expand -t 16

setup: $(READY) ## .venv with the locked dependencies and the command relevo

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Relevo needs Python 3.11 or later; try make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## a call, its WhatsApp opening, and you as the customer
	@$(BIN)/relevo demo

# Three files at a time, for half of them wait for processes; a file stays whole, since its tests may share a daemon. Of calls in
# real time there are two at once, and nothing else.
test: $(READY) ## every test but the five long ones
	$(BIN)/python -m pytest -q -n 3 --dist loadfile $(ALONE:%=--ignore=%) -m "not long"
	$(BIN)/python -m pytest -q -n 2 --maxschedchunk 1 $(ALONE)

check: format lint types test ## what CI runs

format: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

bench: $(READY) ## speed and size, beside a program that does the same I/O and nothing else
	$(BIN)/python -m tests.bench

chaos: $(READY) ## the fault suite on real processes; audits the store against the lab's books
	$(BIN)/python -m tests.chaos

# The auditor's two dozen packages are none of ours: they have a place of their own, made where an audit is wanted.
audit: $(READY) ## known vulnerabilities in requirements.lock, where PyPI's advisories can be reached
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/python -m pip install \
		--quiet --disable-pip-version-check 'pip-audit==2.*'; } || echo "audit: pip-audit is not to be had here"
	@$(BIN)/python .ci/audit $(VENV)/audit/bin/pip-audit requirements.lock

lock: $(READY) ## requirements.lock anew from pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-header --extra embedded --extra plot --group dev pyproject.toml -o requirements.lock

clean: ## everything that was made here
	rm -rf $(VENV) build dist var .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

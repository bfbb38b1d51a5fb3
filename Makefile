# `make help` lists the targets; `make train` and `make test` work on a fresh machine.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help env train test lint format clean
.DEFAULT_GOAL := help

help: ## what can be typed
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

env: $(READY) ## the Python environment in .venv, remade when the pins change

$(READY): pyproject.toml constraints.txt
	[ ! -e $@ ] || rm -rf $(VENV)  # the pins changed: anew; a .venv that you prepared is kept
	python3 -c 'import sys; sys.exit("Python 3.11 or newer is needed, found " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	[ -x $(BIN)/python ] || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

train: env ## train the 2M model on real SPY data
	snakemake results/daily/threshold_1pct/2m.ckpt

test: env ## run the tests
	pytest

lint: env ## ruff, snakefmt, snakemake --lint and mypy
	ruff check .
	ruff format --check .
	snakefmt --check workflow
	snakemake --lint
	mypy

format: env ## rewrite the code in the house format
	ruff check --fix .
	ruff format .
	snakefmt workflow

# .snakemake/ stays: it is what Snakemake knows of results/, and without it a changed setting would
# retrain nothing.
clean: ## remove the environment and caches; results/, data/ and .snakemake/ stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

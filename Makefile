# `make` lists the targets. Each sees to its own set-up, and a set-up that is up to date costs a fraction of a second.
#   ARGS=...           arguments for the command that the target runs
#   VENV=...           folder of the virtual environment (default .venv)
#   TROUPE_PYTHON=...  interpreter to make it with (default: the first on PATH that is new enough)

VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
export TROUPE_PYTHON

.DEFAULT_GOAL := help
.PHONY: help demo test check formatting lint types format bench storm mutants fuzz pins clean setup redis

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: setup ## show pooling at work on real MCP servers
	@$(BIN)/troupe demo $(ARGS)

test: setup redis ## run the tests
	@$(BIN)/pytest $(ARGS)

check: formatting lint types test ## formatting, lint, types and tests: what CI runs

formatting: setup
	@$(BIN)/ruff format --check

lint: setup
	@$(BIN)/ruff check

types: setup
	@$(BIN)/pyright --pythonpath $(BIN)/python

format: setup ## format, and mend what ruff can mend safely
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

bench: setup redis ## run the benchmarks
	@$(BIN)/python -m benchmarks $(ARGS)

storm: setup redis ## kill, stall and cut off workers of a cluster for two minutes (ARGS="--seconds 60 --seed 7")
	@$(BIN)/python -m tests.integration.storm $(ARGS)

mutants: setup ## see whether the tests of protocol/ notice changes in it (ARGS=protocol/child.py for one file)
	@$(BIN)/python -m tests.mutation $(ARGS)

fuzz: setup ## look for bytes that what reads the wire does not stand (ARGS="--seconds 600")
	@.ci/fuzz "$(VENV)" $(ARGS)

pins: setup ## bring constraints.txt up to date with pyproject.toml (ARGS=--upgrade for the newest versions)
	@.ci/pins "$(VENV)" $(ARGS)

clean: ## remove the virtual environments, caches and builds
	rm -rf .venv .venv-newest build dist mutants .fuzz .pytest_cache .ruff_cache .hypothesis
	find actors protocol tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@.ci/setup "$(VENV)"

# Without a server the tests that need one fail by name, and the rest still run.
redis:
	@.ci/redis "$(VENV)" || true

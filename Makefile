# Everything from a fresh clone: `make demo` and `make test` create the environment in .venv first.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

# Compiled programs are kept between runs: most of a second test run's time is saved.
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0.2

.PHONY: help env demo test lint format bench clean

help:
	@echo "make demo    train, quantize and evaluate on real data; prints a table, writes a picture"
	@echo "make test    all tests"
	@echo "make lint    ruff, mypy and the import rules"
	@echo "make bench   one training step against float Flax and qwix"

env: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: env
	$(BIN)/linger-jax demo

test: env
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: env
	$(BIN)/python benchmarks/qat_step.py

clean:
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache

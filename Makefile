# Everything from a fresh clone: `make demo` and `make test` create the environment in .venv first.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# The tests that a release of JAX or Flax breaks first.
BREAKS_FIRST := tests/compat tests/plan/test_primitives_canary.py tests/plan/test_operators.py tests/api/test_initialising.py \
	tests/staging/test_lifted_transforms.py tests/interpret/test_control_flow.py tests/export/coverage/test_unstacked.py
STAMP := $(VENV)/.installed
WORKERS ?= 2
NEWEST_VENV := .venv-newest
NEWEST_STAMP := $(NEWEST_VENV)/.installed
PACK_VENV := .venv-pack
PACK_STAMP := $(PACK_VENV)/.installed

.PHONY: help env newest-env pack-env demo test test-newest sample-newest lint format bench clean

help:
	@echo "make demo    train, quantize, export and run on real data; prints a table, writes a picture"
	@echo "make test    all tests"
	@echo "make test-newest  all tests with the newest JAX, Flax and Python that are supported (.venv-newest)"
	@echo "make sample-newest  those of them that a release of JAX or Flax breaks first"
	@echo "make lint    ruff, mypy and the import rules"
	@echo "make pack-env  the vendor's packer, in an environment of its own (.venv-pack)"
	@echo "make bench   one training step against float Flax and qwix"

env: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,demo,bench]'
	@touch $@

newest-env: $(NEWEST_STAMP)

$(NEWEST_STAMP): pyproject.toml constraints-newest.txt
	"$$(.ci/newest-python)" -m venv $(NEWEST_VENV)
	$(NEWEST_VENV)/bin/python -m pip install --quiet --constraint constraints-newest.txt --editable '.[dev]'
	@touch $@

pack-env: $(PACK_STAMP)

$(PACK_STAMP): requirements-pack.txt
	$(PYTHON) -m venv $(PACK_VENV)
	$(PACK_VENV)/bin/python -m pip install --quiet --no-deps --requirement requirements-pack.txt
	@touch $@

demo: env
	$(BIN)/linger-jax demo

# Compiled programs are kept between test runs: that halves the time of a test that mostly compiles. The size limit is
# there for its lock, without which one worker may read what another is still writing.
TESTS := test test-newest sample-newest
$(TESTS): export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
$(TESTS): export JAX_COMPILATION_CACHE_MAX_SIZE ?= 1000000000
$(TESTS): export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0.2
# A test runs its programs a few times and compiles them all: less optimisation is faster. Level 1 still contracts a
# product and a sum, multiplies by reciprocals and flushes denormals, which the numerics must withstand; level 0 does not
# contract. The golden replay runs with the default.
$(TESTS): export XLA_FLAGS ?= --xla_backend_optimization_level=1
PYTEST := -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test: env
	$(BIN)/python $(PYTEST) $(ARGS)

test-newest: newest-env
	$(NEWEST_VENV)/bin/python $(PYTEST) $(ARGS)

sample-newest: newest-env
	$(NEWEST_VENV)/bin/python $(PYTEST) $(BREAKS_FIRST) $(ARGS)

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: env
	$(BIN)/python benchmarks/qat_step.py

clean:
	rm -rf $(VENV) $(NEWEST_VENV) $(PACK_VENV) .cache .mypy_cache .pytest_cache .ruff_cache

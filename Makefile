# Everything from a fresh clone: `make demo` and `make test` create the environment in .venv first.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# The tests that a release of JAX or Flax breaks first.
BREAKS_FIRST := tests/compat tests/plan/recognize/test_primitives_canary.py tests/plan/recognize/test_operators.py tests/api/test_initialising.py \
	tests/staging/test_lifted_transforms.py tests/interpret/transformations/test_control_flow.py tests/export/coverage/test_unstacked.py
STAMP := $(VENV)/.installed
WORKERS ?= 2
NEWEST_VENV := .venv-newest
NEWEST_STAMP := $(NEWEST_VENV)/.installed
PACK_VENV := .venv-pack
PACK_STAMP := $(PACK_VENV)/.installed

.PHONY: help env newest-env pack-env demo test test-unit test-kernel test-model test-newest sample-newest lint format bench clean

help:
	@echo "make demo    train, quantize, export and run on real data; prints a table, writes a picture"
	@echo "make test    all tests; make test-unit, test-kernel, test-model: one tier of them (tests/README.md)"
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

# Compiled programs are kept between test runs, and a worker uses those of the other. Without JAX's limit of size, which
# reads every entry whenever it writes one; an entry that is read while it is written is compiled anew. A week is enough.
TESTS := test test-unit test-kernel test-model test-newest sample-newest
$(TESTS): export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
$(TESTS): export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0
# A test runs its programs a few times and compiles them all: a compiler that does less is faster, by more than a half.
# What the numerics must withstand stays: a product and a sum contracted, multiplying by reciprocals, denormals flushed
# (tests/numerics/test_compiler.py; level 0 does not contract). The golden replay runs with the compiler's defaults.
# Devices of one computation wait for each other as long as a busy machine takes.
LESS := --xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true \
	--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_collective_call_terminate_timeout_seconds=3600
test-newest sample-newest: export XLA_FLAGS ?= $(LESS)
# The newest JAX has no other emitters; elsewhere they alone save a third of compiling.
$(TESTS): export XLA_FLAGS ?= $(LESS) --xla_cpu_use_fusion_emitters=false
PYTEST := -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# Tests that do not show what arithmetic withstands (tests/conftest.py) are compiled with the least effort, in a run of
# their own. Exit status 5: there is none among the tests that were asked for.
BOTH = -m "not least_compiled" $(ARGS); first=$$?; \
	XLA_FLAGS="$(subst optimization_level=1,optimization_level=0,$(XLA_FLAGS))" $(1) $(PYTEST) -m least_compiled $(ARGS); \
	case $$first.$$? in 0.0 | 0.5 | 5.0) ;; *) exit 1 ;; esac

test: env
	@mkdir -p .cache/jax && find .cache/jax -type f -mtime +7 -delete
	$(BIN)/python $(PYTEST) $(call BOTH,$(BIN)/python)

test-unit test-kernel test-model: env
	$(BIN)/python $(PYTEST) -m $(@:test-%=%) $(ARGS)

test-newest: newest-env
	$(NEWEST_VENV)/bin/python $(PYTEST) $(call BOTH,$(NEWEST_VENV)/bin/python)

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

# `make demo` and `make test` set everything up first; what is done is not done again.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
JOBS ?= 2
DEMO_ARGS ?=

CPP_FILES := $(shell git ls-files 'runtime_cpp/*.cc' 'runtime_cpp/*.h' 'tests/cpp/*.cc' 'tests/cpp/*.h' 'tests/fuzz/*.cc' 'tests/fuzz/*.h' 'benchmarks/*.cc' 'benchmarks/*.h')
BUILD_INPUTS := $(shell find runtime_cpp tests/cpp CMakeLists.txt pyproject.toml -type f \( -name '*.cc' -o -name '*.h' -o -name '*.proto' -o -name 'CMakeLists.txt' -o -name '*.toml' \) 2>/dev/null)

.PHONY: help setup demo test test-fast coverage check format bench bench-serving bench-fusions bench-branches bench-dense bench-request bench-tables bench-quantization sanitize sanitize-address sanitize-thread fuzz clean

help:
	@echo "make demo    train on MovieLens-100K, export, serve from C++, and prove parity (minutes)"
	@echo "make test    all tests, C++ and Python"
	@echo "make check   format, lint and types"
	@echo "make format  apply the formatters"
	@echo "make bench   benchmarks of the engine; make bench-serving: of the server; make bench-fusions: of fusions; -branches, -dense, -request, -tables, -quantization"
	@echo "make sanitize  the C++ tests with sanitizers: sanitize-address (and undefined behaviour), then sanitize-thread"
	@echo "make fuzz    the fuzzers, FUZZ_SECONDS each (60)"

setup: $(VENV)/.built

$(VENV)/.packages: pyproject.toml scripts/setup_system.sh scripts/setup_python.sh
	@scripts/setup_system.sh
	@scripts/setup_python.sh "$(PYTHON)" "$(VENV)"
	@touch $@

# An editable install: Python runs from the source, the extension and the server are built (incrementally, in build/).
$(VENV)/.built: $(VENV)/.packages $(BUILD_INPUTS)
	@echo "building (minutes the first time)"
	@CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) $(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps \
	  -C cmake.define.RECPILE_TESTS=ON -C cmake.define.RECPILE_GRPC=ON --editable .
	@touch $@

demo: setup
	@$(BIN)/python -m recpile.models.demo $(DEMO_ARGS)

test: setup
	@scripts/setup_perf_analyzer.sh "$(VENV)" || echo "perf_analyzer cannot be had: its tests are skipped"
	@scripts/test.sh "$(VENV)"

# What a developer runs between edits.
test-fast: setup
	@scripts/test.sh "$(VENV)" -m "not slow"

# docs/coverage.md, from the tests that prove what is in it: minutes.
coverage: setup
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --coverage-table=docs/coverage.md tests

# The engine with and without coalescing, on the artifacts of `make demo`.
bench: setup
	scripts/setup_system.sh libbenchmark-dev
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps \
	  -C cmake.define.RECPILE_TESTS=ON -C cmake.define.RECPILE_BENCHMARKS=ON --editable .
	for artifact in demo-out/*.pt2; do build/*/benchmarks/recpile_engine_benchmark $$artifact; done

# The server under open-loop load, beside a Python server of the same model; what protocols add; reloads; overload; recording.
bench-serving: setup
	scripts/setup_system.sh libnghttp2-dev
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps \
	  -C cmake.define.RECPILE_TESTS=ON -C cmake.define.RECPILE_BENCHMARKS=ON --editable .
	$(BIN)/python -m benchmarks.serving.run build/*/benchmarks/recpile_load
	$(BIN)/python -m benchmarks.serving.protocols build/*/benchmarks/recpile_load
	$(BIN)/python -m benchmarks.serving.reload build/*/benchmarks/recpile_load
	$(BIN)/python -m benchmarks.serving.overload build/*/benchmarks/recpile_load
	$(BIN)/python -m benchmarks.serving.recording build/*/benchmarks/recpile_load

# What each fusion is worth, into the table of docs/fusions.md: tens of minutes, on a machine that does nothing else.
bench-fusions: setup
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fusions.py --docs docs/fusions.md

# What it is worth to run a model's branches side by side: docs/decisions/0012-branches-are-stages-where-it-pays.md.
bench-branches: setup
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/branches.py

# What each type of dense layers costs in time, into docs/quantization.md: on a machine that does nothing else.
bench-dense: setup
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/dense_types.py --docs docs/quantization.md

# What it is worth to compute a request's columns of a layer, or all of its side, once, into docs/fusions.md: on a quiet machine.
bench-request: setup
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/request_columns.py --docs docs/fusions.md
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/request_side.py --docs docs/fusions.md

# What a lookup costs in time, by the type of its rows, into docs/quantization.md: on a machine that does nothing else.
bench-tables: setup
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/table_types.py --docs docs/quantization.md

# Our own code, but for what runs inside libtorch: that is not built for sanitizers.
sanitize: sanitize-address sanitize-thread

sanitize-address: $(VENV)/.packages
	scripts/sanitize.sh "$(VENV)" $(JOBS) address,undefined

sanitize-thread: $(VENV)/.packages
	scripts/sanitize.sh "$(VENV)" $(JOBS) thread

FUZZ_SECONDS ?= 60
fuzz: $(VENV)/.packages
	scripts/fuzz.sh "$(VENV)" $(JOBS) $(FUZZ_SECONDS)

# What each type of the tables costs on MovieLens, and what the search finds, into docs/quantization.md. After `make demo`.
bench-quantization: setup
	$(BIN)/python benchmarks/quantization.py --docs docs/quantization.md

check: $(VENV)/.packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check
	@echo clang-format
	@$(BIN)/clang-format --dry-run --Werror $(CPP_FILES)

format: $(VENV)/.packages
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(CPP_FILES)

clean:
	rm -rf build demo-out bench-out $(VENV)/.built

# Every target's sentence stands behind its `##`; `make help` prints them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
# Arguments handed on: `make test ARGS="-k offsets"`, `make demo ARGS=--keep`.
ARGS ?=

# Tests start hundreds of Pythons: each would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

# The first Python of 3.11 or newer that can make a virtual environment; `make install PYTHON=…` chooses another.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$python" && break; \
	done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PIP_LOCKED := $(PIP) install --require-hashes
NOT_REAL := not kafka and not loki and not prometheus and not alertmanager and not nginx and not chromium and not node and not slow

.PHONY: help
help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- installing -------------------------------------------------------------------------------------------------------

.PHONY: install
install: $(VENV)/.installed ## makes .venv with `shipper` in it, from the hashed lock file
	@:

.PHONY: install-dev
install-dev: $(VENV)/.installed-dev ## adds what tests, linters and benchmarks need
	@:

$(VENV)/.installed: locks/demo.txt pyproject.toml clients/python/pyproject.toml
	@if ! $(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
		if [ -z "$(PYTHON)" ]; then \
			echo "shipper needs Python 3.11 or newer, with its venv module: none of python3.13, python3.12, python3.11, python3 is one." >&2; \
			echo "Install one (Debian: apt-get install python3 python3-venv), or name it: make install PYTHON=/path/to/python3" >&2; \
			exit 3; \
		fi; \
		echo "making $(VENV) with $$("$(PYTHON)" --version)"; \
		"$(PYTHON)" -m venv --clear $(VENV); \
	fi
	@echo "installing $$(grep -c == locks/demo.txt) packages from locks/demo.txt, hashes checked"
	@$(PIP_LOCKED) -r locks/demo.txt
	@$(PIP) install --no-deps --no-build-isolation --editable . --editable clients/python
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed locks/dev.txt
	@echo "installing $$(grep -c == locks/dev.txt) packages from locks/dev.txt, hashes checked"
	@$(PIP_LOCKED) -r locks/dev.txt
	@touch $@

# One file, for every CPython from 3.11 on; `install` puts it beside a running worker's, not into it.
.PHONY: native
native: install ## builds shipper-native (Rust) into .venv: optional, a quarter less CPU, the same bytes
	@if ! command -v cargo >/dev/null; then \
		echo "shipper-native is built with cargo of Rust 1.88 or newer, which is not on PATH." >&2; \
		echo "Get it from https://rustup.rs (Debian's own is too old); shipper works without it, too." >&2; \
		exit 3; \
	fi
	@cd native && cargo build --quiet --release --locked
	@install -m 644 native/target/release/libshipper_native.so \
		"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/shipper_native.abi3.so"
	@$(BIN)/python -c 'import shipper_native; print("shipper-native", shipper_native.__version__, "is in $(VENV)")'

# --- trying -----------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: install ## ships 500,000 records from an embedded broker to an embedded Loki, and accounts for every one
	@$(BIN)/shipper demo $(ARGS)

.PHONY: chat
chat: install ## starts five services that log, drives traffic through them, and follows one request: ARGS="--kafka --loki"
	@$(BIN)/python -m examples.chat $(ARGS)

# --- testing ----------------------------------------------------------------------------------------------------------

.PHONY: parts
parts: install-dev ## fetches and builds the real servers (Kafka, Loki, Prometheus, Alertmanager, nginx, Chromium) into a cache
	@$(BIN)/python -m shipper.devstack.fetch $(ARGS)

# A part that cannot be had costs its tests only, unless SHIPPER_REQUIRE_REAL=1.
.PHONY: parts-if-possible
parts-if-possible: install-dev
	@$(BIN)/python -m shipper.devstack.fetch || [ "$${SHIPPER_REQUIRE_REAL:-0}" != 1 ]

.PHONY: test
test: parts-if-possible ## runs the whole suite against the real servers
	@$(BIN)/pytest -n 3 --dist worksteal --durations=5 $(ARGS)

.PHONY: test-node
test-node: parts-if-possible ## runs the tests of clients/node and examples/nest-gateway, which `make test` runs too
	@$(BIN)/pytest tests/integration/test_node.py tests/integration/test_chat_nest.py $(ARGS)

.PHONY: install-node
install-node: node_modules/.installed ## installs what the TypeScript needs, from package-lock.json
	@:

node_modules/.installed: package-lock.json package.json clients/node/package.json examples/nest-gateway/package.json
	@echo "installing $$(grep -c '"integrity"' package-lock.json) packages, less those of other platforms, from package-lock.json, hashes checked"
	@npm ci --ignore-scripts --loglevel=error >/dev/null
	@touch $@

.PHONY: build-node
build-node: install-node
	@node_modules/.bin/tsc --build

# What is in TypeScript can be checked only where Node is: `make test` says in capitals that it is missing.
WITH_NODE = if command -v npm >/dev/null; then $(MAKE) $(1); else echo "NODE IS MISSING: THE TYPESCRIPT IS NOT CHECKED"; fi

.PHONY: lint-node types-node
lint-node: install-node
	@node_modules/.bin/biome check --error-on-warnings .

types-node: build-node
	@node_modules/.bin/tsc -p clients/node/test/tsconfig.json

.PHONY: test-fast
test-fast: install-dev ## runs what needs no real server, in under 30 seconds
	@$(BIN)/pytest -q -n 6 -m "$(NOT_REAL)" $(ARGS)

.PHONY: test-native
test-native: native parts-if-possible ## runs what shipper-native has a part in, with it: make native, then its tests
	@$(BIN)/pytest -q -n 2 tests/property tests/unit/test_native_or_not.py tests/integration/test_every_record.py $(ARGS)

.PHONY: chaos
chaos: parts-if-possible ## breaks a shipper for minutes, and proves that nothing was lost: ARGS="--minutes 20 --seed 7"
	@PYTHONPATH=tests $(BIN)/python -m chaos $(ARGS)

.PHONY: outage
outage: parts-if-possible build-node ## kills Kafka for 60 s under services that log with servicelog: ARGS="--seconds 300"
	@PYTHONPATH=tests:clients/python/tests $(BIN)/python -m outage $(ARGS)

SEEDS ?= 20000
.PHONY: simulate
simulate: install-dev ## runs SEEDS=20000 seeds of the simulation; SEED=17 replays one and tells its story
	@SIMULATION_SEEDS=$(SEEDS) $(if $(SEED),SIMULATION_SEED=$(SEED)) \
		$(BIN)/pytest -q $(if $(SEED),-s,-n 2) tests/simulation/test_simulation.py $(ARGS)

.PHONY: bench
bench: parts-if-possible ## measures stages, workers, latency, log calls, other shippers on PATH; writes benchmarks/RESULTS.md
	@$(BIN)/pytest benchmarks --benchmark-autosave --benchmark-compare=benchmarks/baselines/stages.json $(ARGS)

.PHONY: bench-baseline
bench-baseline: install-dev ## measures the stages and keeps the figures, which make bench compares with
	@$(BIN)/pytest benchmarks/test_stages.py --benchmark-json=benchmarks/baselines/stages.json $(ARGS)

.PHONY: bench-smoke
bench-smoke: install-dev ## runs the stages' benchmarks once, unmeasured, to see that they work
	@$(BIN)/pytest -q benchmarks --benchmark-disable -m "$(NOT_REAL)" $(ARGS)

# --- checking ---------------------------------------------------------------------------------------------------------

.PHONY: check
check: lint types contracts ## runs lint, types and contracts

.PHONY: lint
lint: install-dev ## checks style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(call WITH_NODE,lint-node)

.PHONY: format
format: install-dev ## formats the code and mends what can be mended
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

.PHONY: types
types: install-dev ## checks the types, strictly
	@$(BIN)/mypy
	@$(call WITH_NODE,types-node)

.PHONY: contracts
contracts: install-dev ## checks which module may import which
	@$(BIN)/lint-imports

# --- dashboards -------------------------------------------------------------------------------------------------------

.PHONY: dashboards
dashboards: install-dev ## writes grafana/json anew from grafana/dashboards
	@$(BIN)/python -m grafana.dashboards grafana/json

# --- keeping ----------------------------------------------------------------------------------------------------------

# dev.txt holds everything; the others take its versions. Given versions stay: `make lock ARGS=--upgrade` renews them.
COMPILE = "$$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" $(ARGS)

.PHONY: lock
lock: install ## writes the lock files anew from pyproject.toml and locks/build.in
	@tools="$$(mktemp -d)"; trap 'rm -rf "$$tools"' EXIT; \
	$(BIN)/python -m venv "$$tools"; \
	"$$tools/bin/python" -m pip --disable-pip-version-check --quiet install uv; \
	$(COMPILE) pyproject.toml locks/build.in --extra demo --group pyproject.toml:dev --output-file locks/dev.txt; \
	$(COMPILE) pyproject.toml locks/build.in --extra demo --constraint locks/dev.txt --output-file locks/demo.txt; \
	$(COMPILE) pyproject.toml --constraint locks/dev.txt --output-file locks/runtime.txt; \
	$(COMPILE) locks/build.in --constraint locks/dev.txt --output-file locks/build.txt
	@! grep -n -E '^(-i|--index-url|--extra-index-url|--find-links|--trusted-host)|://' locks/*.txt

.PHONY: clean
clean: ## removes .venv and what the tools left; the cache of real servers stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks .pytest_cache dist native/target
	@rm -rf node_modules clients/node/dist examples/nest-gateway/dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

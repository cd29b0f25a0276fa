# The commands that everybody uses; `make help` lists them.
#
# Each interpreter has its own virtual environment under .venv/ and its own build under target/, so
# that going from one to another builds nothing again. Files whose names begin with a dot in the
# virtual environment are stamps: what they stand for is done again when its inputs change.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:

# The interpreter at hand, and the program that `make run` runs.
PYTHON ?= python3
APP ?= examples/web_service.py
ARGS ?=
# What the tests run on: ferrio's release build, compiled faster and with its assertions checked.
PROFILE ?= ci

ifneq ($(filter-out help clean test-all interpreters sid-root,$(or $(MAKECMDGOALS),help)),)
KEY := $(shell $(PYTHON) tools/interpreters.py key)
ifeq ($(KEY),)
$(error $(PYTHON) cannot be used; say PYTHON=/path/to/python3.13 for another interpreter)
endif
endif

VENV := .venv/$(KEY)
BIN := $(CURDIR)/$(VENV)/bin
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/$(KEY)
# cargo in this interpreter's own target folder, and PyO3 built for this interpreter.
CARGO := CARGO_TARGET_DIR=$(TARGET) PYO3_PYTHON=$(BIN)/python cargo
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Folders too: theirs is the time stamp that changes when a file is deleted.
SOURCES := $(shell find build.rs Cargo.toml Cargo.lock pyproject.toml src crates python \
	-not -name '*.so' -not -name __pycache__ -not -name '*.pyc')
PYTHON_SOURCES := $(wildcard python tests examples benches tools)

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

# --- set-up

$(VENV)/.created:
	@echo "==> $(VENV): a virtual environment of $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV) || { \
		echo "On Debian and Ubuntu, the package python3-venv is needed." >&2; exit 1; }
	@touch $@

$(VENV)/.packages-%: requirements/%.txt $(wildcard requirements/*.txt) $(VENV)/.created
	@echo "==> $(VENV): packages of $<"
	@$(PIP) install --requirement $< | sed '/^Requirement already satisfied/d'
	@touch $@

# One build is installed at a time: the stamp of another profile goes with it.
$(VENV)/.ferrio-%: $(SOURCES) $(VENV)/.packages-build
	@echo "==> $(VENV): ferrio, profile $*"
	@rm -rf $(TARGET)/wheels $(VENV)/.ferrio-*
	@CARGO_TARGET_DIR=$(TARGET) $(BIN)/maturin build --profile $* --locked --auditwheel skip \
		--interpreter $(BIN)/python --out $(TARGET)/wheels
	@$(PIP) --quiet install --force-reinstall --no-deps $(TARGET)/wheels/*.whl
	@touch $@

# The release build, compiled with a profile of what it does.
$(VENV)/.ferrio-profiled: $(SOURCES) tools/pgo.py tools/training.py $(VENV)/.packages-pgo
	@echo "==> $(VENV): ferrio, with a profile"
	@rm -rf $(VENV)/.ferrio-*
	@$(BIN)/python tools/pgo.py $(TARGET)
	@$(PIP) --quiet install --force-reinstall --no-deps $(TARGET)/wheels/*.whl
	@touch $@

.PHONY: build
build: $(VENV)/.ferrio-release ## build ferrio for release and install it in the virtual environment

.PHONY: wheel
wheel: $(VENV)/.ferrio-profiled ## build and install the wheel to publish, optimised by a profile
	@ls $(TARGET)/wheels/*.whl

# --- run

.PHONY: run
run: $(VENV)/.ferrio-release $(VENV)/.packages-examples ## serve the example, or run APP=script.py ARGS=...
	@exec $(BIN)/python -m ferrio $(APP) $(ARGS)

# --- test

.PHONY: test
test: test-python test-reactor ## test ferrio on the interpreter at hand
	@echo "==> tested: ferrio on CPython $(KEY) (pytest, CPython's own tests) and the reactor"

.PHONY: test-python
test-python: pytest conformance

.PHONY: pytest
pytest: $(VENV)/.ferrio-$(PROFILE) $(VENV)/.packages-test
	@$(BIN)/python tools/about.py "profile $(PROFILE)"
	@$(BIN)/python -m pytest

.PHONY: conformance
conformance: $(VENV)/.ferrio-$(PROFILE) $(VENV)/.packages-test
	@$(BIN)/python -m tests.conformance

.PHONY: valgrind
valgrind: $(VENV)/.ferrio-$(PROFILE) $(VENV)/.packages-test ## run the hot paths under valgrind's memory checker
	@$(BIN)/python -m tests.valgrind

.PHONY: test-reactor
test-reactor:
	@echo "==> the reactor, with $$(rustc --version)"
	@if cargo nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --locked -p ferrio-reactor; \
	else \
		$(CARGO) test --locked -p ferrio-reactor --lib --tests; \
	fi
	@$(CARGO) test --locked -p ferrio-reactor --doc

.PHONY: test-all
test-all: ## test ferrio on every interpreter that `make interpreters` lists
	@$(PYTHON) tools/interpreters.py each $(MAKE) --keep-going --no-print-directory test-python
	@$(MAKE) --no-print-directory test-reactor

.PHONY: interpreters
interpreters: ## list the interpreters that ferrio is tested on
	@$(PYTHON) tools/interpreters.py list

.PHONY: sid-root
sid-root: ## as root: make the Debian sid root that holds CPython 3.14 and 3.15
	@tools/sid-root make

# --- check

CHECKS := check-format check-clippy check-rustdoc check-lint check-types check-stubs check-scripts \
	check-links

.PHONY: check $(CHECKS)
check: $(CHECKS) ## formatting, lints, types, stubs, links; `make -k check` stops at none

check-format: $(VENV)/.packages-check
	cargo fmt --all --check
	$(BIN)/ruff format --check

check-clippy: $(VENV)/.created
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

check-rustdoc: $(VENV)/.created
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --document-private-items

check-lint: $(VENV)/.packages-check
	$(BIN)/ruff check

check-types: $(VENV)/.ferrio-$(PROFILE) $(VENV)/.packages-check
	$(BIN)/python -m mypy

check-stubs: $(VENV)/.ferrio-$(PROFILE) $(VENV)/.packages-check
	$(BIN)/python -m mypy.stubtest --mypy-config-file pyproject.toml \
		--allowlist tools/stubtest-allowlist.txt ferrio

check-scripts: $(VENV)/.packages-check
	$(BIN)/shellcheck .ci/run .ci/install tools/sid-root

check-links: $(VENV)/.created
	$(BIN)/python tools/links.py

.PHONY: fmt
fmt: $(VENV)/.packages-check ## format the Rust and the Python
	cargo fmt --all
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# --- measure

.PHONY: bench
bench: $(VENV)/.ferrio-profiled $(VENV)/.packages-bench ## measure ferrio and its peers, write docs/benchmarks
	@CARGO_TARGET_DIR=$(TARGET) $(BIN)/python -m benches

.PHONY: clean
clean: ## delete the virtual environments and the builds, but not the sid root
	rm -rf .venv target .pytest_cache .mypy_cache .ruff_cache

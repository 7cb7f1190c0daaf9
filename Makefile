# The only ways in. `make setup` makes .venv and installs the pins; every other target runs it first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BRIDGES := .venv-bridges
BRIDGES_STAMP := $(BRIDGES)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Makes an environment: install(directory, requirement files).
define install
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v < (3, 14) or sys.exit( \
	"Python %d.%d at %s: TensorFlow needs 3.11, 3.12 or 3.13. Name one: make PYTHON=python3.11 ..." % (v + (sys.executable,)))'
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@echo "installing the pins of $(2) into $(1) (some 2 GB and more, once)"
	@$(1)/bin/pip install --quiet $(addprefix --requirement ,$(2))
	@$(1)/bin/pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@
endef

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-bridges lint format bench clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv and install what is pinned (nothing to do once that is done)

$(STAMP): requirements.txt pyproject.toml
	$(call install,$(VENV),requirements.txt)

$(BRIDGES_STAMP): requirements.txt requirements-bridges.txt pyproject.toml
	$(call install,$(BRIDGES),requirements.txt requirements-bridges.txt)

demo: setup ## fit the logarithm, export, serve, query over gRPC, check, draw
	@$(BIN)/python examples/demo.py

test: setup ## run all tests
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --ignore tests/bridges

test-bridges: $(BRIDGES_STAMP) ## run the tests of the bridges, in an environment with torch, jax and openmdao
	@$(BRIDGES)/bin/python -m pytest --numprocesses auto --maxprocesses 4 tests/bridges

lint: setup ## ruff, basedpyright, hadolint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright --level error
	@$(BIN)/hadolint Dockerfile

format: setup ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup ## print every number that README quotes
	@$(BIN)/python -m benchmarks

clean: ## remove what the targets made, but for .venv
	rm -rf build models dist

# The only ways in. `make setup` makes .venv and installs the pins; every other target runs it first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv and install what is pinned (nothing to do once that is done)

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v < (3, 14) or sys.exit( \
	"Python %d.%d at %s: TensorFlow needs 3.11, 3.12 or 3.13. Name one: make PYTHON=python3.11 ..." % (v + (sys.executable,)))'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pins of requirements.txt into $(VENV) (some 2 GB, once)"
	@$(BIN)/pip install --quiet --requirement requirements.txt
	@$(BIN)/pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

demo: setup ## fit the logarithm, export, serve, query over gRPC, check, draw
	@$(BIN)/python examples/demo.py

test: setup ## run all tests
	@$(BIN)/python -m pytest

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

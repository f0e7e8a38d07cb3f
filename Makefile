# Everything starts here. `make run` and `make test` set up what they need by themselves.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install run demo test check format docs bench mutate clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv with everything that the lock names

# What running needs comes first and alone, so that a first `make run` need not wait for the
# tools that only tests need. Debian's Python has no ensurepip without python3-venv.
$(READY): requirements.lock pyproject.toml .ci/locked.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Python 3.11 or newer is needed; set PYTHON=python3.x"; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null \
	    || { $(PYTHON) -m venv --without-pip $(VENV) \
	    && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	$(BIN)/python .ci/locked.py . hatchling editables > $(VENV)/run.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r $(VENV)/run.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMP): $(READY)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@touch $@

run: $(READY) ## Run the service on port 3004, with its own PostgreSQL unless DATABASE_URL is set
	@$(BIN)/model-service serve

demo: $(READY) ## Run the service against stand-ins of the providers, with models and keys to try
	@$(BIN)/model-service demo

test: $(STAMP) ## Run all tests against real PostgreSQL
	$(BIN)/pytest -n 3 --dist loadfile

check: $(STAMP) ## Lint, types, architecture, generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

format: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## Write the generated documents
	$(BIN)/python docs/generate.py

bench: $(STAMP) ## Measure, and write bench/REPORT.md
	$(BIN)/python -m bench

mutate: $(STAMP) ## Put faults into the vault, access and audit, and see whether tests find them
	$(BIN)/python .ci/mutation

clean: ## Remove the virtual environment and caches; never the data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

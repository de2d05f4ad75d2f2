# Two commands on a fresh machine: `make up` runs the lane, `make test` proves it.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: up test check types lint format soak lock clean

up: $(STAMP)
	$(BIN)/datalane up --demo

test: $(STAMP) check
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not soak" --durations 15 tests

soak: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m soak --durations 15 tests

check: $(STAMP)
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint types

types: $(STAMP)
	$(BIN)/mypy src tests bench

lint: $(STAMP)
	$(BIN)/ruff format --check src tests bench examples
	$(BIN)/ruff check src tests bench examples
	$(BIN)/lint-imports
	$(BIN)/datalane guard --files-only
	$(BIN)/datalane contracts check

format: $(STAMP)
	$(BIN)/ruff format src tests bench examples
	$(BIN)/ruff check --fix src tests bench examples

# The lock names packages and hashes, no index; needs uv.
lock:
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
		--custom-compile-command "make lock" pyproject.toml --extra dev --output-file requirements/dev.lock
	uv --version | sed 's/^uv \([^ ]*\).*/uv==\1/' | uv pip compile --quiet --universal --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" - \
		--output-file requirements/installer.lock

# uv installs in seconds what takes pip minutes; where it cannot reach the packages, pip tries with its own settings.
$(STAMP): requirements/dev.lock requirements/installer.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed"; exit 1; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes --no-deps -r requirements/installer.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --no-deps -r requirements/dev.lock \
		|| $(PIP) --require-hashes --no-deps -r requirements/dev.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q src
	@touch $(STAMP)

clean:
	rm -rf $(VENV) .datalane .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# Everything starts from a Python of version 3.11 or later and make; the rest is installed into .venv.
# `make demo` and `make test` are the two commands; `make help` lists the others.

.DEFAULT_GOAL := help
.PHONY: help demo test explore check bench clean
.DELETE_ON_ERROR:

UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
UV := VIRTUAL_ENV="$(CURDIR)/$(VENV)" UV_PROJECT_ENVIRONMENT=$(VENV) UV_PYTHON_DOWNLOADS=never $(BIN)/uv
# uv will not go on without a folder for what it has fetched: where there is no home that can be written to, it is in .venv.
CACHE = ( cache="$${UV_CACHE_DIR:-$${XDG_CACHE_HOME:-$${HOME:?}/.cache}/uv}"; mkdir -p "$$cache" && test -w "$$cache" ) 2>/dev/null \
	|| export UV_CACHE_DIR="$(CURDIR)/$(VENV)/.cache"
# Behind a proxy with a certificate of its own, pip knows it from pip.conf, and uv only from the system's store.
SYNC = $(CACHE); f() { $(UV) sync --frozen --quiet "$$@" 2>$(VENV)/.sync || $(UV) sync --system-certs --frozen --quiet "$$@"; }; f
ROUNDS ?= 10
# The system's own Python first: distributions build theirs with profile-guided optimization, version managers often do not, and the
# gateway costs a tenth more then. Those that cannot make a virtual environment come last, so that they are told of.
PYTHONS = /usr/bin/python3 python3 python3.13 python3.12 python3.11 python3.14
can = $(foreach name,$(PYTHONS),$(shell $(name) -c '$(1) import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name)))
PYTHON ?= $(firstword $(call can,import ensurepip; import venv;) $(call can))

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST)

demo: $(VENV)/.run ## play a recorded agent session through a gateway and show the bill
	@$(BIN)/pennyweight demo $(ARGS)

test: $(VENV)/.dev ## lint, types, layers and all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest $(ARGS)

explore: $(VENV)/.dev ## tests by properties with new examples each time, ROUNDS=10 or until one fails
	@for round in $$(seq $(ROUNDS)); do echo "Round $$round of $(ROUNDS)"; \
		HYPOTHESIS_PROFILE=explore $(BIN)/pytest -x -m hypothesis $(ARGS) || exit 1; done

check: $(VENV)/.dev ## the same without the tests: a few seconds
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev ## run one bench: make bench NAME=gateway ARGS="--data …"
	@test -n "$(NAME)" || { echo "Which one? make bench NAME=… with one of:"; ls bench/*.py | sed 's|bench/||; s|\.py$$||'; exit 2; }
	@$(BIN)/python -m bench.$(NAME) $(ARGS)

clean: ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find src tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# --- the environment; a stamp is newer than what it was made from, so that a second run does nothing ---------

$(BIN)/uv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed and none was found. Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.run: pyproject.toml uv.lock | $(BIN)/uv
	@test -e $(VENV)/.dev || { $(SYNC) --no-dev; }
	@test ! -e $(VENV)/.dev || { $(SYNC); }
	@touch $@

$(VENV)/.dev: pyproject.toml uv.lock | $(BIN)/uv
	@$(SYNC)
	@touch $@ $(VENV)/.run

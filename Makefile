# Keyturn. `make serve` and `make test` need make, a Python from 3.11 on with its venv module, and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links --quiet
# Tests wait for servers and clocks most of the time; those of one file share them.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile
BENCH_PROGRAMS := wrk nginx
BENCH_PACKAGES := wrk nginx-light
TEST_PROGRAMS := nginx haproxy promtool
TEST_PACKAGES := nginx-light haproxy prometheus

# The programs in a virtual environment name the directory that it was made in: in a clone that was moved they do not run.
ifeq ($(shell test -e $(BIN)/keyturn && ! grep -qF '$(CURDIR)/$(VENV)/bin/' $(BIN)/keyturn && echo moved),moved)
$(info This directory was moved: making $(VENV) anew)
$(shell rm -rf $(VENV))
endif

# Each is newer than what it was installed from, so that nothing is installed twice.
CAN_SERVE := $(VENV)/.can-serve
CAN_TEST := $(VENV)/.can-test

MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.PHONY: help serve test check bench reference lock clean

help: ## what can be made (this list)
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  make PYTHON=python3.13 ... chooses the interpreter of a new $(VENV)."

serve: $(CAN_SERVE) ## install what the server needs and start it on http://127.0.0.1:8700
	@exec $(BIN)/keyturn serve

test: $(CAN_TEST) test-programs ## install what the tests need and run them all
	$(PYTEST) --cov --cov-report=term

check: $(CAN_TEST) test-programs ## lint, types, layers and all tests: what a change has to pass
	$(BIN)/ruff format --check --output-format concise
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(PYTEST) --cov --cov-report=term

bench: $(CAN_TEST) bench-programs ## run the benchmarks (make bench ARGS=gateway runs one part)
	PATH="$$PATH:/usr/sbin" $(BIN)/python -m benchmarks $(ARGS)

reference: $(CAN_TEST) ## write docs/reference.md anew from the code
	$(BIN)/python docs/reference.py

lock: $(VENV)/pyvenv.cfg ## remake the locked requirements (make lock ARGS=--upgrade takes newer versions)
	@test -x $(BIN)/uv || $(PIP) install --quiet uv
	$(LOCK) --extra postgres --group dev $(ARGS) --output-file requirements.lock
	$(LOCK) --extra postgres --group build --constraint requirements.lock --no-annotate \
		--output-file requirements-serve.lock
	@! grep -n '://' requirements.lock requirements-serve.lock

clean: ## delete what make has made
	rm -rf $(VENV) build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# -- set-up ---------------------------------------------------------------------------------------------------------

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Keyturn needs Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) --version 2>&1)."; \
		echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv module. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; } >&2
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)

$(CAN_SERVE): LOCKED := requirements-serve.lock
$(CAN_TEST): LOCKED := requirements.lock
$(CAN_SERVE): requirements-serve.lock
$(CAN_TEST): requirements.lock
$(CAN_SERVE) $(CAN_TEST): pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "Installing $(LOCKED) into $(VENV)"
	@$(PIP) install --quiet --require-hashes --no-deps -r $(LOCKED)
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@$(PIP) check || { echo "pyproject.toml asks for more than $(LOCKED) has: make lock" >&2; exit 1; }
	@touch $@

# Programs that come from Debian and not from PyPI. As root they are installed; anybody else is told what to install.
.PHONY: bench-programs test-programs
bench-programs: PROGRAMS := $(BENCH_PROGRAMS)
bench-programs: PACKAGES := $(BENCH_PACKAGES)
test-programs: PROGRAMS := $(TEST_PROGRAMS)
test-programs: PACKAGES := $(TEST_PACKAGES)
bench-programs test-programs:
	@PATH="$$PATH:/usr/sbin"; missing=; \
	for program in $(PROGRAMS); do command -v $$program >/dev/null || missing=1; done; \
	if [ -z "$$missing" ]; then exit 0; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive; \
		apt-get install --yes --no-install-recommends $(PACKAGES) || \
		{ apt-get update && apt-get install --yes --no-install-recommends $(PACKAGES); }; \
	else \
		echo "This needs $(PROGRAMS). On Debian or Ubuntu: sudo apt-get install $(PACKAGES)" >&2; \
		exit 1; \
	fi

# `make run` trains the first job on this machine; `make test` runs the tests. Both set up .venv by themselves.
#
#   TORCH_INDEX   where pip finds torch; without a GPU, https://download.pytorch.org/whl/cpu saves gigabytes
#   PYTHON        the interpreter .venv is made with (3.11 or newer)

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

# Property tests with new examples, twenty times as many; what fails prints how to see it again.
fuzz: $(VENV)/installed-dev
	FUZZ=20 $(BIN)/python -m pytest tests/spec/test_spec_properties.py tests/store/test_rows.py

.PHONY: run test fuzz test-deps lint format perf repro clean

run: $(VENV)/installed
	$(BIN)/dlcluster submit jobs/lstm.yaml

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH= $(BIN)/lint-imports

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

perf: $(VENV)/installed-dev
	$(BIN)/python -m tests.perf

# Jobs with a published figure, ours beside it. DATA says where the data sets lie; ROWS picks some, such as ROWS=etth1.
repro: $(VENV)/installed-dev
	$(BIN)/python -m tests.repro $(ROWS)

# System packages that the fullest tests want; tests that lack them are skipped and say so. Needs root and apt.
# Today's tests need none: Ray, moto's S3 and DuckDB come by pip.
SYSTEM_PACKAGES :=
test-deps:
	$(if $(SYSTEM_PACKAGES),apt-get update -q && apt-get install -q -y --no-install-recommends $(SYSTEM_PACKAGES),@echo "no system packages needed")

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "dlcluster needs Python 3.11 or newer; name one: make run PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing into $(VENV): some minutes the first time"
	$(PIP) -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed pyproject.toml constraints.txt
	$(PIP) -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Each target does its own set-up and does nothing twice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: install demo test check lint types test-slow test-system bench ui clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Expected Python 3.11 or newer. $$($(PYTHON) --version) is $(PYTHON); name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,parquet,s3,gcs,faiss,dask,ray,redis,hf]'
	@touch $@

demo: $(STAMP)
	$(BIN)/pixelmill run examples/images --models efficientnet_lite0 --store demo-store
	$(BIN)/pixelmill info demo-store
	$(BIN)/python examples/read_vectors.py demo-store/vectors.h5

test: $(STAMP)
	$(BIN)/python -m pytest

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

test-system: $(STAMP)
	$(BIN)/python -m pytest -m system

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/mypy deployments/*.py

check: lint types test

bench: $(STAMP)
	@test -n "$(PHOTOS)" || { echo "Expected a folder of photographs: make bench PHOTOS=/folder"; exit 1; }
	$(BIN)/python -m benchmarks.decode "$(PHOTOS)"
	$(BIN)/python -m benchmarks.speed "$(PHOTOS)"
	$(BIN)/python -m benchmarks.sweep "$(PHOTOS)"
	$(BIN)/python -m benchmarks.runtimes
	$(BIN)/python -m benchmarks.peers "$(PHOTOS)" --images 192
	$(BIN)/python -m benchmarks.peers "$(PHOTOS)" --images 48 --size 4000x3000
	$(BIN)/python -m benchmarks.store
	$(BIN)/python -m benchmarks.store --rows 1000000 --files 1000
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.search

ui: $(STAMP)
	$(BIN)/python deployments/ui.py

clean:
	rm -rf $(VENV) demo-store .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

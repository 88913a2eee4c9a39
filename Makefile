# Each target does its own set-up and does nothing twice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two files of tests at once, for two cores; each process takes up to 2.5 GB.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
RUNTIME := $(VENV)/.installed-runtime
WHOLE := $(VENV)/.installed
PARTS := pyproject.toml constraints.txt setup.py install.py
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.NOTPARALLEL:
.PHONY: install demo test check lint types test-slow test-system bench ui wheel clean

install: $(WHOLE)

$(RUNTIME): $(PARTS)
	$(PYTHON) install.py

$(WHOLE): $(PARTS)
	$(PYTHON) install.py --extra all dev

demo: $(RUNTIME)
	$(BIN)/pixelmill run examples/images --models efficientnet_lite0,demo_clip --store demo-store --config examples/demo.toml
	$(BIN)/pixelmill info demo-store
	$(BIN)/python examples/read_vectors.py demo-store/vectors.h5
	$(BIN)/pixelmill search demo-store "a boat at sunset" -k 4 --config examples/demo.toml
	@echo "See it in a browser: $(BIN)/pixelmill serve demo-store --config examples/demo.toml"

test: $(WHOLE)
	$(PYTEST)

test-slow: $(WHOLE)
	$(PYTEST) -m slow --durations=40

test-system: $(WHOLE)
	$(BIN)/python -m pytest -m system

lint: $(WHOLE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(WHOLE)
	$(BIN)/mypy
	$(BIN)/mypy deployments/*.py install.py

check: lint types test

bench: $(WHOLE)
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
	$(BIN)/python -m benchmarks.start --peers $(VENV)/peers
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.travel
	$(BIN)/python -m benchmarks.search

ui: $(RUNTIME)
	$(BIN)/python deployments/ui.py

wheel:
	$(PYTHON) install.py --wheel

clean:
	rm -rf $(VENV) build dist demo-store .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

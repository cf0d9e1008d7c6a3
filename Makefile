# Needs make and a python3 of 3.11 to 3.13; every target makes .venv and installs into it what it needs, once.
SHELL := /bin/sh
GOOD := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c '$(GOOD)' 2>/dev/null && echo $$p && break; done)
HTR_DATA ?= ../shared/data
BIN := .venv/bin
NUMERIC := $(patsubst %,tests/test_%.py,ctc ctc_variants losses masking masks_doc model objectives recurrent transcriber keras_metrics)
PIP := $(BIN)/python -m pip --disable-pip-version-check
export HTR_DATA

.PHONY: install demo check test soak bench docs notebooks checkpoint fonts wheel constraints clean
.DELETE_ON_ERROR:

install: .venv/all

# The install is editable: it is due again when the requirements change, not when the code does.
.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "htr needs Python 3.11, 3.12 or 3.13 as python3; set PYTHON=... to name one." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/core: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/all: .venv/core
	$(PIP) install --quiet --constraint constraints.txt --editable '.[all]'
	@touch $@

demo: .venv/core
	./demo.sh

check: .venv/all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_house.py

# Two processes share the files of tests.
test: .venv/all
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=15
	KERAS_BACKEND=jax $(BIN)/python -m pytest -q -n 2 --dist loadfile $(NUMERIC)

# A training run killed 30 times at random moments, and at every call of a save; 50 clients and as many kinds of abuse
# as we know; 200,000 words, 50 epochs, 10 restarts. The short forms are among the tests.
soak: .venv/all
	HTR_SOAK=1 $(BIN)/python -m pytest -q -s tests/test_crashes.py tests/test_load.py

docs: .venv/all
	$(BIN)/sphinx-build -W -q -b html docs build/docs
	$(BIN)/python -m pytest -q -k "readme or docs or blocks"

bench: .venv/all
	$(BIN)/python benchmarks/bench.py

# The reader from raw inputs; go on after a stop with the same command.
checkpoint: .venv/core
	$(BIN)/python checkpoints/recipe.py

# A font that npm has no more is listed in skipped.csv (exit code 1); the others are used.
fonts: .venv/core
	$(BIN)/python -m htr.fonts fonts || test $$? = 1
	$(BIN)/python -m htr.fonts fonts_held_out --held-out || test $$? = 1

notebooks: .venv/all
	$(BIN)/python docs/run_notebooks.py

wheel: .venv/all
	$(BIN)/python -m build --wheel

constraints: .venv/bin/python
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --no-annotate --no-header pyproject.toml --all-extras -o constraints.txt

clean:
	rm -rf build dist

# Needs python3 and make only; every target makes .venv and installs into it what it needs, once.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo check test bench docs checkpoint fonts constraints
.DELETE_ON_ERROR:

install: .venv/installed

# Installing again is due when the requirements change, not when the code does: the install is editable.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]'
	touch $@

constraints: install
	$(BIN)/uv pip compile --quiet --universal --no-annotate --no-header pyproject.toml --all-extras -o constraints.txt

# Both user commands make their own .venv and install everything from pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(wildcard src/praxis_fast/_core/*.pyx src/praxis_fast/_core/*.pxd src/praxis_fast/_core/kernels/*)
ARGS ?=

.PHONY: help demo test build lint types bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml setup.py $(CORE)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --group dev --editable .
	@touch $@

build: $(VENV)/.installed ## make .venv, compile the core

demo: build ## two agents find each other; events stream live (ARGS="--seconds 10")
	@$(BIN)/praxis-fast demo $(ARGS)

test: build ## every test that needs only Python and a C compiler
	$(BIN)/python -m pytest -m "not interop" $(ARGS)

lint: build ## ruff and cython-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cython-lint src/praxis_fast/_core

types: build ## mypy --strict
	$(BIN)/mypy

clean: ## remove what the build made
	rm -rf $(VENV) build dist src/*.egg-info src/praxis_fast/_core/*.so src/praxis_fast/_core/*.c

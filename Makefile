# The two user commands, demo and test, make their own .venv and install everything
# from pyproject.toml. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(wildcard src/praxis_fast/_core/*.pyx src/praxis_fast/_core/*.pxd src/praxis_fast/_core/kernels/*)
ARGS ?=
# How much of the fuzzing of the core is done again under sanitizers.
CORE_TARGETS := splitter yamux yamux-alone yamux-script matcher fanout
SANITIZED ?= 20000
# The tests above the core that drive its fan-out and its writes.
SANITIZED_TESTS := tests/core $(addprefix tests/api/test_,broadcast.py direct.py event_socket.py)
# With malloc for every object, or the sanitizer would not see one that is used too long.
SANITIZED_PYTHON = cd .cache/sanitize && PYTHONPATH=src ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	../../$(BIN)/python

# A worker for each core; ARGS="-n 0" for one process, which a debugger needs.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile

.PHONY: help build demo test pure lint types interop bench bench-smoke sanitize fuzz kill million soak autobahn clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 12

$(VENV)/.installed: pyproject.toml setup.py $(CORE)
	@echo "making .venv and building the compiled core (the first time takes a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --group dev --editable .
	@touch $@

build: $(VENV)/.installed ## make .venv and compile the core

demo: build ## two agents find each other and stream events (ARGS="--seconds 10")
	@$(BIN)/praxis-fast demo $(ARGS)

test: build ## every test that needs only Python and a C compiler
	@$(PYTEST) -m "not interop" $(ARGS)

pure: build ## the same tests over the plain twins
	@PRAXIS_FAST_PURE=1 $(PYTEST) -m "not interop and not packaging" $(ARGS)

lint: build ## ruff and cython-lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint src/praxis_fast/_core

types: build ## mypy --strict
	@$(BIN)/mypy

interop: build ## js-, py- and go-libp2p dial us and are dialled; pages in Chromium
	@$(BIN)/python -m tests.interop.install
	@$(BIN)/python -m pytest -m interop tests/interop $(ARGS)

# One run, so that its ratios can be trusted. What fails is named at the end of its
# step, and the other steps are still done.
bench: build ## every figure of docs/performance.md in one run, 20 minutes (ARGS="--scale quick")
	@$(BIN)/python -m bench.install
	@failed=0; \
	$(BIN)/python -m pytest -q bench --benchmark-enable --benchmark-only \
		--benchmark-disable-gc --benchmark-max-time=0.5 || failed=1; \
	$(BIN)/python -m bench --keep .cache/bench/run $(ARGS) || failed=1; \
	$(BIN)/python -m bench.figures .cache/bench/run || failed=1; \
	exit $$failed

bench-smoke: build ## every bench once on tiny input; instructions against the record
	@$(BIN)/python -m pytest -q bench --benchmark-disable
	@$(BIN)/python -m bench --scale tiny
	@$(BIN)/python -m bench.instructions

# A copy of the tree, so that the sanitized extensions never stand in for the fast ones.
sanitize: build ## the core's tests and fuzzing under address and undefined-behaviour sanitizers
	@rm -rf .cache/sanitize && mkdir -p .cache/sanitize
	@cp -r setup.py pyproject.toml README.md LICENSE src tests .cache/sanitize
	@find .cache/sanitize -name '*.so' -delete
	@cd .cache/sanitize && PRAXIS_FAST_BUILD=sanitize ../../$(BIN)/python setup.py -q build_ext --inplace
	@$(SANITIZED_PYTHON) -m pytest -q -p no:cacheprovider -k "not pure" $(SANITIZED_TESTS) $(ARGS)
	@$(SANITIZED_PYTHON) -m tests.fuzz $(CORE_TARGETS) --executions $(SANITIZED)

fuzz: build ## every parser on random inputs, the twins compared (ARGS="--executions 10000")
	@$(BIN)/python -m tests.fuzz $(ARGS)

kill: build ## kill -9 outbox and journal 1,000 times amid their work (KILL_CYCLES=100 for fewer)
	@KILL_CYCLES=$${KILL_CYCLES:-1000} $(BIN)/python -m pytest -q tests/events/test_kill.py $(ARGS)

million: build ## 1,000,000 events to clients that reconnect 10,000 times, to the letter
	@$(BIN)/python -m tests.acceptance.reconnects $(ARGS)

soak: build ## 5,000 subscribers of which 100 stop reading, beside a run where all read
	@$(BIN)/python -m tests.acceptance.slow_readers $(ARGS)

autobahn: build ## WebSocket conformance by the Autobahn suite; needs a Python 2.7 (ARGS=--all)
	@$(BIN)/python -m tests.conformance $(ARGS)

clean: ## remove everything the build made
	rm -rf $(VENV) .cache build dist src/*.egg-info src/praxis_fast/_core/*.so src/praxis_fast/_core/*.c

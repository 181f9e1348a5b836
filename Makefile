# Two commands matter: make run (see the product work) and make test (prove it).
# Both need only Python >= 3.11, make and a package index.
SHELL := /bin/sh
BIN := .venv/bin
.PHONY: run test test-long check bench bench-peer lock clean

run:
	@sh packaging/venv.sh run
	@exec $(BIN)/gateway demo $(ARGS)

test:
	@sh packaging/venv.sh dev
	@sh packaging/test_tools.sh
	$(BIN)/python -m pytest -n 3 --dist loadgroup $(ARGS)

test-long:
	@sh packaging/venv.sh dev
	@sh packaging/test_tools.sh
	$(BIN)/python -m pytest -m long $(ARGS)

check:
	@sh packaging/venv.sh dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layering.py

bench:
	@sh packaging/venv.sh dev
	@sh packaging/test_tools.sh
	@PYTHONPATH=tests $(BIN)/python -m tests.bench $(ARGS)

bench-peer:
	@sh packaging/venv.sh dev
	@sh packaging/test_tools.sh
	@PYTHONPATH=tests $(BIN)/python -m tests.bench.peer $(ARGS)

lock:
	sh packaging/lock.sh

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

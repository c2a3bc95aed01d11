# Needs Python 3.11 or newer and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: run test test-full check docs bench bench-sweep clean

run: $(VENV)/run-installed ## Tune the built-in base on the example episodes and say where the report is
	$(BIN)/fewtune run examples/episodes.csv

test: check ## Everything that CI runs
	$(BIN)/python -m pytest -m "not slow" --numprocesses auto --dist loadfile

test-full: check ## With the full counts
	$(BIN)/python -m pytest

check: $(VENV)/dev-installed ## Lint, format, types, layers, function length
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python dev/check_lengths.py

docs: $(VENV)/dev-installed ## Write the generated parts of docs/ again
	$(BIN)/python dev/generate_docs.py

# pip reports what it installs; the first time this takes a minute or two.
$(VENV)/run-installed: pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable ".[local]"
	touch $@

$(VENV)/dev-installed: pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@ $(VENV)/run-installed

bench: $(VENV)/bench-installed ## Side by side with TRL; see bench/README.md
	$(BIN)/python -m bench.training
	$(BIN)/python -m bench.memory
	$(BIN)/python -m bench.start
	$(BIN)/python -m bench.sampling
	$(BIN)/python -m bench.gpu

bench-sweep: $(VENV)/bench-installed ## A sweep beside TRL training the same grid; goes on where it was interrupted
	$(BIN)/python -m bench.sweep --draw

$(VENV)/bench-installed: pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable ".[bench]"
	touch $@

clean: ## Remove what was built; runs in FEWTUNE_HOME stay
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache

# make run: the app. make test: all checks. Both create the virtual environment if it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test slow lint tables plots demo clean

run: $(VENV)/run.stamp
	$(BIN)/python -m streamlit run app.py

test: lint
	$(BIN)/python -m pytest

slow: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Update the tables in README.md from benchmarks/results/ and assets/.
tables: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.tables

# Redraw the plots of README.md and docs/ from benchmarks/results/; needs Chromium.
plots: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.plots

# Poison, clean and compare in the terminal, and save the metrics.
demo: $(VENV)/run.stamp
	$(BIN)/python -m cleaner demo --out benchmarks/results/demo.json

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed, this is ' + sys.version)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/base.stamp: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	touch $@

# The first import of umap compiles for about 15 seconds; done here so that no page waits for it.
$(VENV)/run.stamp: $(VENV)/base.stamp
	$(BIN)/python -c "import umap"
	touch $@

$(VENV)/dev.stamp: $(VENV)/base.stamp requirements-dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-dev.txt
	touch $@

# make run: the app. make test: all checks. Both make the virtual environment themselves; a second call starts at once.
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

# Write the tables of README.md anew from benchmarks/results/ and assets/.
tables: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.tables

# Draw the plots of README.md and docs/ anew from benchmarks/results/; needs Chromium.
plots: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.plots

# Poison, clean and compare in the terminal, and keep the figures.
demo: $(VENV)/run.stamp
	$(BIN)/python -m cleaner demo --out benchmarks/results/demo.json

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or newer is needed, this is ' + sys.version)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/base.stamp: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	touch $@

# The first import of umap compiles for some 15 seconds; here, so that no page has to wait for it.
$(VENV)/run.stamp: $(VENV)/base.stamp
	$(BIN)/python -c "import umap"
	touch $@

$(VENV)/dev.stamp: $(VENV)/base.stamp requirements-dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-dev.txt
	touch $@

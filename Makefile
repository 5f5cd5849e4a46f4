# make run: the app. make test: all checks but the slow tests. make quick: the fast ones. Each creates the virtual
# environment if it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --no-compile
# On all cores, where pip compiles on one; without a third of the code, which nothing imports. Fails for the few files
# that are no Python of this version.
UNUSED := /(tests?|torch/(_inductor|testing)|pip|mypyc?|setuptools|fontTools|tensorboard)/
COMPILE = $(BIN)/python -m compileall -qq -j 0 -x '$(UNUSED)' $(VENV)/lib || true
.PHONY: run test quick quick-tests slow lint audit tables plots api demo clean

run: $(VENV)/run.stamp
	$(BIN)/python -m streamlit run app.py

# A process more than cores, because some tests wait; 8 at most: each loads torch. A file stays in one process, which
# shares its trained models.
test: lint
	processes=$$($(BIN)/python -c "import os; print(min(8, 1 + (os.cpu_count() or 1)))") && \
	$(BIN)/python -m pytest -n $$processes --dist loadfile --no-loadscope-reorder

# Lint, and the tests that train nothing and start no page: seconds instead of minutes.
quick: $(VENV)/dev.stamp
	$(MAKE) --no-print-directory -j2 lint quick-tests

quick-tests: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -q -m "quick and not slow"

slow: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Compare the installed packages with the known vulnerabilities; needs the network.
audit: $(VENV)/dev.stamp
	$(BIN)/pip-audit --local --strict --vulnerability-service osv --progress-spinner off

# Update the tables in README.md and docs/ from benchmarks/results/ and assets/.
tables: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.tables

# Redraw the plots of README.md and docs/ from benchmarks/results/, and the film of the example; needs Chromium.
plots: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.plots
	$(BIN)/python -m benchmarks.film_gif assets/example/example-badnet-3-ta_cleaner

# Write the API reference of the public names to build/api/index.html.
api: $(VENV)/dev.stamp
	PYTHONPATH=. $(BIN)/python .ci/api.py build/api

# Poison, clean and compare in the terminal, and save the metrics.
demo: $(VENV)/run.stamp
	$(BIN)/python -m cleaner demo --out benchmarks/results/demo.json

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# Without the package python3-venv, Debian's Python fails after it has created the file that this rule makes.
$(BIN)/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed, this is ' + sys.version)"
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/base.stamp: requirements.txt | $(BIN)/python
	$(INSTALL) -r requirements.txt
	touch $@

# The first import of umap compiles for about 15 seconds; done here so that no page waits for it.
$(VENV)/run.stamp: $(VENV)/base.stamp
	$(COMPILE)
	$(BIN)/python -c "import umap"
	touch $@

$(VENV)/dev.stamp: requirements.txt requirements-dev.txt | $(BIN)/python
	$(INSTALL) -r requirements.txt -r requirements-dev.txt
	$(COMPILE)
	touch $@

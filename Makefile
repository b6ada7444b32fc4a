# `make help` lists what there is to do
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test test-fast test-schema test-full test-upscalers test-clients test-containers chaos lint format tables lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

run: $(VENV)/.ready-run  ## set up, then serve on 127.0.0.1:5001 until Ctrl-C
	@exec $(BIN)/python -m client serve

# in the order of the folders, so that the long tests do not come last; three at once on two cores, as many only wait
# bytecode is kept, whatever the environment says, or each program that a test starts compiles it anew
test: export PYTHONDONTWRITEBYTECODE :=
test: lint  ## everything that CI runs: lint, types, import rules, unit and end-to-end tests
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/.ready-dev  ## the tests that start no programs and compute little: under a minute
	@$(BIN)/pytest -q -n 2 --dist loadfile -m "not full and not programs and not slow"

chaos: $(VENV)/.ready-dev  ## break things for an hour or so, and keep what was measured in benchmarks/results
	@CHAOS=full $(BIN)/pytest tests/chaos -v -m "full or not full"

test-schema: $(VENV)/.ready-dev  ## 10,000 requests made from the API document, as it allows them and as it does not: 10 min
	@CHAOS=full $(BIN)/pytest tests/chaos/test_document.py -v -m "full or not full"

test-full: lint  ## `make test` and the tests that take many minutes
	@$(BIN)/pytest -m "full or not full"

test-containers:  ## build the containers with the Docker engine that is here, and break them on purpose
	@tests/containers/run.sh

test-upscalers: $(VENV)/.ready-dev  ## install spandrel into build/upscalers, and enlarge images with networks
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target build/upscalers 'spandrel>=0.4.2,<0.5' einops
	@PYTHONPATH=build/upscalers $(BIN)/pytest -v tests/worker/upscalers

test-clients: $(VENV)/.ready-dev  ## install foreign clients into build/clients, and run each against the service
	@tests/clients/install.sh
	@$(BIN)/pytest tests/clients -v -m "full or not full"

lint: $(VENV)/.ready-dev  ## ruff, the word list, mypy and the import rules
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/python -m tests.word_list
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.ready-dev  ## write the code the way `make lint` wants it
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

tables: $(VENV)/.ready-dev  ## bring the tables of docs/, the templates of requests and the Postman collection up to date
	@$(BIN)/python -m tests.doc_tables
	@$(BIN)/python -m api.request_templates
	@$(BIN)/python -m tests.postman_collection

lock: $(VENV)/.ready-dev  ## renew the lists of exact versions that everything is installed from
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	@client/lock.sh $(BIN)/uv

clean:  ## delete caches (.venv, outputs, .run and training state stay)
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@find api worker shared client tests demo_model benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.ready-run: pyproject.toml client/install.sh client/requirements-run.txt
	@client/install.sh run

$(VENV)/.ready-dev: pyproject.toml client/install.sh client/requirements-dev.txt
	@client/install.sh dev

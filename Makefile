# The project's commands. `make demo` and `make test` need git, make and Python 3.11 or newer, and nothing else.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench servers servers-stop lock

BIN := .venv/bin
SERVERS := deploy/native/servers.py

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-14s %s\n", $$1, $$2 }'

setup: ## .venv from requirements.lock (PYTHON=... chooses the interpreter); done again only when the lock changes
	@deploy/setup.sh

demo: setup ## the main job, end to end, on synthetic patients: import, a human error, a lost disk, a recovery
	@$(BIN)/python -m services.demo $(ARGS)

test: setup ## every test that this machine can run; says which servers it found, started or lacked (ARGS=... to pytest)
	@$(BIN)/python -m pytest $(ARGS)

lint: setup ## style, types, import contracts, released schemas
	@status=0; \
	for check in 'ruff check' 'ruff format --check' 'mypy' 'lint-imports --no-logo' 'python -m events.catalogue --check'; do \
		echo "lint: $$check"; $(BIN)/$$check || status=1; \
	done; exit $$status

bench: setup ## the figures, on this machine (ARGS=... chooses some)
	@$(BIN)/python -m benchmarks $(ARGS)

servers: ## install what is missing of Kafka, PostgreSQL and S3, start them; prints the addresses for the shell
	@$(SERVERS) install kafka postgresql s3
	@$(SERVERS) start

servers-stop: ## stop them and throw their data away
	@$(SERVERS) stop

lock: ## requirements.lock anew from pyproject.toml (needs uv on the PATH)
	uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--group dev pyproject.toml -o requirements.lock

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint bench wheel lock clean
PY := .venv/bin/python

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv with the package in it (again after a change of native code)
	@tools/setup.sh

demo: setup ## catch rare faults in a shared-memory cluster of four hosts
	@.venv/bin/wbpf demo

test: setup ## unit and integration tests, with the C tests, but the slow ones
	@$(PY) -m pytest -m "not slow"

test-all: setup ## all tests
	@$(PY) -m pytest

lock: ## choose newer versions for requirements.lock
	@.venv/bin/uv pip compile -q pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
	    --generate-hashes --custom-compile-command 'make lock' --upgrade -o requirements.lock

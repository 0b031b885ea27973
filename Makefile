.DEFAULT_GOAL := help
.NOTPARALLEL:

PY := .venv/bin/python
BENCHMARKS := recorder kernel user wasm abi cli
NATIVE_SOURCES = $(shell find native bench -name '*.[ch]' -o -name '*.cpp' -o -name '*.hpp')

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

.PHONY: setup
setup: ## make .venv/ with the package in it; again after a change of native code
	@tools/setup.sh

.PHONY: demo
demo: setup ## catch rare faults in a shared-memory cluster of four hosts
	@.venv/bin/wbpf demo

.PHONY: test
test: setup ## all tests but the slow ones; the C tests of native/tests are among them
	@$(PY) -m pytest -m "not slow"

.PHONY: test-all
test-all: setup ## all tests
	@$(PY) -m pytest

.PHONY: fuzz
fuzz: setup ## hostile segments, records, peers, programs or guests (hostcalls): make fuzz TARGET=peers SECONDS=900
	$(PY) -m tests.fuzz.$(or $(TARGET),segment) $(or $(SECONDS),60) $(FIRST)

.PHONY: lint
lint: setup ## style, types, formatting of C, who imports whom, stale generated files
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/clang-format --dry-run -Werror $(NATIVE_SOURCES)
	$(PY) tools/import_rules.py
	$(PY) tools/generate.py --check
	$(PY) tools/generate_wire.py --check
	$(PY) tools/generate_guest_abi.py --check
	$(PY) tools/generate_contexts.py --check
	$(PY) tools/licences.py --check
	$(PY) -m bench.document --check

.PHONY: generate
generate: setup ## make the generated files anew
	$(PY) tools/generate.py
	$(PY) tools/generate_wire.py
	$(PY) tools/generate_guest_abi.py
	$(PY) tools/generate_contexts.py
	$(PY) tools/licences.py

.PHONY: transcript
transcript: setup ## run the demo and put what it prints into the README
	$(PY) tools/transcript.py

.PHONY: bench
bench: $(BENCHMARKS:%=bench-%) ## all benchmarks, into bench/results/; one of them: make bench-recorder

.PHONY: $(BENCHMARKS:%=bench-%)
$(BENCHMARKS:%=bench-%): bench-%: setup
	$(PY) -m bench.$*

.PHONY: wheel
wheel: setup ## a wheel for this machine, in dist/
	$(PY) -m pip wheel --disable-pip-version-check --quiet --no-build-isolation --no-deps --wheel-dir dist .
	@ls -l dist/*.whl

.PHONY: lock
lock: setup ## choose new versions of all packages and write them to requirements.lock
	.venv/bin/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 \
	    --all-extras --group dev --generate-hashes --custom-compile-command 'make lock' -o requirements.lock

.PHONY: clean
clean: ## remove all that the other targets make, .venv/ too
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis src/wbpf/_native.pyi
	find src tests tools bench -name __pycache__ -prune -exec rm -rf {} +

# One command each.  `make demo` and `make test` work on a fresh machine with python3 (3.11+), venv and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Test processes, one for a core: a third is a little faster on two, and tests that watch the clock fail then.
JOBS ?= 2

# The daemons that tests start find their modules compiled, as users' do: a shell that forbids it costs each 0.4 s.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install demo test check format cover wheel wheel-test lock bench torture engines fuzz docs clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed ## make .venv with the pinned set of constraints.txt

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint,quant,release]'
	@touch $@

demo: install ## draw a dozen pictures, run the daemon over them, show the captions
	@rm -rf build/demo
	@$(BIN)/captiond demo build/demo

test: install ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

cover: install ## the suite with coverage, of all its processes; fails below the floor; pages in build/coverage/html
	@rm -rf build/coverage && mkdir -p build/coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --cov --cov-report=term --cov-report=html

check: install ## linters and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@for each in tests/*/conftest.py; do $(BIN)/mypy $$each || exit 1; done

format: install ## put the code into the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: install ## the wheel and the source archive that it is built from, in dist
	@rm -rf dist
	$(BIN)/python -m build --quiet --no-isolation --outdir dist

wheel-test: wheel ## install the wheel into an environment of its own; demo and tests there, with the source away
	JOBS=$(JOBS) $(PYTHON) tests/installed.py dist build/wheel-test $(TESTS)

lock: install ## make requirements.lock and requirements-remote.lock anew, with hashes; constraints.txt says the versions
	$(BIN)/uv pip compile pyproject.toml --extra quant --universal --python-version 3.11 --quiet \
		--constraints constraints.txt --generate-hashes --custom-compile-command 'make lock' --output-file requirements.lock
	$(BIN)/python config/requirements_of.py pyproject.toml --remote | $(BIN)/uv pip compile - --universal --python-version 3.11 --quiet \
		--constraints constraints.txt --generate-hashes --custom-compile-command 'make lock' --output-file requirements-remote.lock

bench: install ## measure everything (an hour; QUICK=1: minutes; IMAGES=FOLDER: metadata too); JSON in build/bench
	@mkdir -p build/bench
	$(BIN)/python training/evaluate.py $(if $(QUICK),--scenes 100)
	$(if $(IMAGES),$(BIN)/python benchmarks/real_files.py $(IMAGES) --json | tee build/bench/metadata.json)
	@if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
		$(BIN)/python benchmarks/gpu.py --out build/bench/gpu.json; else echo 'No GPU: benchmarks/gpu.py is left out.'; fi
	@for name in cpu_model alternatives remote servers daemon; do echo "benchmarks/$$name.py"; \
		$(BIN)/python benchmarks/$$name.py $(if $(QUICK),--quick) --json build/bench/$$name.json || wrong="$$wrong $$name"; done; \
		test -z "$$wrong" || { echo "Failed, or missed a target:$$wrong"; exit 1; }

torture: install ## kill, cut, stop and starve the daemon at full size (most of an hour; as root: all of it)
	OMP_NUM_THREADS=1 $(BIN)/python tests/torture/run.py

engines: install ## try real servers and every family of models (the former where ENGINES_VLLM and so on name a Python)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m engines $(or $(TESTS),tests)

fuzz: install ## damage images for SECONDS (600), also those of the folder IMAGES: none may be harmed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.metadata.fuzz --seconds $(or $(SECONDS),600) $(if $(IMAGES),--images $(IMAGES))

docs: ## build the site of docs/ into build/site, in an environment of its own
	@test -x build/docs/bin/mkdocs || { $(PYTHON) -m venv build/docs && build/docs/bin/pip install --quiet --disable-pip-version-check mkdocs-material==9.8.2; }
	build/docs/bin/mkdocs build --quiet

clean: ## remove what make made
	rm -rf $(VENV) build dist daemon/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Everything starts from Python 3.11 or newer and make; each target may be run again at any time.
# Paths are relative, and what pip installed is started as a module, since the first line of its programs holds a path:
# so a checkout works in a folder of any name.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PORT ?= 3000
DEMO_MODEL := solar-cells
DOCKER_TESTS ?= docker and not daemon
PY := .venv/bin/python
# Bytecode is compiled when a module is first imported: most of TensorFlow never is.
PIP_INSTALL := $(PY) -m pip install --quiet --no-compile --prefer-binary --disable-pip-version-check --retries 8
export TF_CPP_MIN_LOG_LEVEL ?= 3
export BENTOML_DO_NOT_TRACK ?= True
# What starts again and again is compiled once, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help venv demo serve test test-long test-sweep test-docker chaos soak lint bench bench-training docs lock sbom clean

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

# --- environment --------------------------------------------------------------------------------------

.venv/pyvenv.cfg:
	@for name in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	  if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$name; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then echo "make: no Python 3.11 or newer found; install it, or name it with PYTHON=." >&2; exit 1; fi; \
	echo "Making .venv with $$("$$found" --version)"; \
	rm -rf .venv && "$$found" -m venv .venv || { rm -rf .venv; exit 1; }

# Stamps: a second run installs nothing until pyproject.toml or requirements.lock changes.
.venv/ready-run: .venv/pyvenv.cfg pyproject.toml requirements.lock
	@if [ .venv/ready-dev -nt pyproject.toml ] && [ .venv/ready-dev -nt requirements.lock ]; then touch $@; exit 0; fi; \
	echo "Installing what training and serving need (about two minutes)"; \
	$(PIP_INSTALL) -c requirements.lock -e '.[train,serve]'; touch $@

.venv/ready-dev: .venv/pyvenv.cfg pyproject.toml requirements.lock
	@echo "Installing what training, serving and the tests need (about two minutes)"; \
	$(PIP_INSTALL) -c requirements.lock -e '.[train,serve,dev]'; touch $@

venv: .venv/ready-dev  ## make .venv with everything that developing needs

# --- use ----------------------------------------------------------------------------------------------

demo: .venv/ready-run  ## train the solar-cell classifier (once) and serve it on PORT
	@$(PY) -m training.examples.solar_cells
	@echo; echo "Serving on http://localhost:$(PORT) (Ctrl-C ends it). Try:"; \
	echo "  curl --data-binary @'$${CATSEYE_HOME:-.catseye}/samples/defective-1.png' localhost:$(PORT)/v1/classify"; echo
	@CATSEYE_DEFAULT_MODEL="$${CATSEYE_DEFAULT_MODEL:-$(DEMO_MODEL)}" $(PY) -m catseye serve --port "$(PORT)"

serve: .venv/ready-run  ## serve what the store holds on PORT
	@$(PY) -m catseye serve --port "$(PORT)"

# --- develop ------------------------------------------------------------------------------------------

# Two files of tests side by side on two cores; more than four would need more memory than a laptop has.
PYTEST := -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test: .venv/ready-dev  ## run every test but the long ones and those that need a Docker engine
	@$(PY) $(PYTEST) $(TESTS)

test-long: .venv/ready-dev  ## run the long tests: training killed, several machines, faults on a live server
	@$(PY) $(PYTEST) -m long $(TESTS)

# Alone, for the largest networks leave other tests on two cores nothing for minutes.
test-sweep: .venv/ready-dev  ## all fifteen networks, layer by layer, in a real browser
	@$(PY) -m pytest -m sweep tests/e2e $(TESTS)

test-docker: .venv/ready-dev  ## build the images, start docker compose and try to break it
	@$(PY) -m pytest -m '$(DOCKER_TESTS)' tests/deploy $(TESTS)

# atheris (pip) is used where it is installed; the table says where it is not.
chaos: .venv/ready-dev  ## break the service on purpose, and print what each fault cost (CHAOS=--short for a look)
	@$(PY) -m tests.chaos $(CHAOS)

soak: .venv/ready-dev  ## mixed traffic and new versions for MINUTES (30): does anything grow?
	@$(PY) -m tests.chaos.soak $(or $(MINUTES),30)

lint: .venv/ready-dev  ## ruff, mypy --strict, import-linter
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check --quiet .
	@$(PY) -m mypy
	@$(PY) -c 'from importlinter.cli import lint_imports_command as lint; lint()' --no-cache

# The peers have an environment of their own: their pins are not ours.
.bench-venv/ready: benchmarks/serving/requirements.txt requirements.lock
	@echo "Installing the peers (about two minutes)"; \
	rm -rf .bench-venv && "$$(readlink -f $(PY))" -m venv .bench-venv; \
	.bench-venv/bin/python -m pip install --quiet --no-compile --prefer-binary --disable-pip-version-check --retries 8 \
	  -c requirements.lock -r benchmarks/serving/requirements.txt; touch $@

bench: .venv/ready-dev .bench-venv/ready  ## this service beside its peers (BENCH=--quick for a look), then its parts alone
	@$(PY) -m benchmarks.serving $(BENCH)
	@$(PY) -m benchmarks.serving.profile
	@$(PY) -m benchmarks.decode
	@$(PY) -m benchmarks.runtime

bench-training: .venv/ready-dev  ## both phases of training beside plain model.fit, some minutes
	@$(PY) -m benchmarks.training

docs: .venv/ready-dev  ## build the documentation site into site/
	@$(PY) -m docs.generate
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --clean

lock:  ## write requirements.lock and the images' locks with hashes (UPGRADE=--upgrade for the newest versions)
	@deploy/lock.sh $(UPGRADE)

sbom: .venv/ready-dev  ## write the images' bills of materials anew, from their locks
	@$(PY) -m deploy.sbom

clean:  ## remove what make made here; the model store and .catseye/ stay
	@rm -rf .venv .bench-venv build dist site ./*.egg-info .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis .schemathesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

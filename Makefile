# The two commands that matter: `make demo` and `make test`. Both need Python 3.11+ and make, nothing else.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
# byte code is written once instead of compiled in each of a pipeline's fifteen processes
unexport PYTHONDONTWRITEBYTECODE
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true

UV := $(shell command -v uv 2>/dev/null)
PYTHON ?= python3

.PHONY: help demo demo-text test test-fast lint format lock schema docs bench figures abuse clean

help: ## Show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.ready ## Photographs of solar cells with ImageNet weights, in demo/, through to a verified ONNX bundle and its report
	test -f demo/dvc.yaml || tlpipe init --no-scm --recipe solar_cells demo
	cd demo && dvc repro
	@echo "Look at demo/reports/report.html, demo/models/bundle/ and: cd demo && mlflow ui --backend-store-uri sqlite:///mlflow.db"
	@echo "The photographs are under CC BY-NC-SA 4.0, no commercial use; whom to cite: demo/data/solar_cells/SOURCE.md"

demo-text: $(VENV)/.ready ## The same for texts, in demo-text/: topics of documentation strings with MiniLM
	test -f demo-text/dvc.yaml || tlpipe init --no-scm --recipe text_classification demo-text
	cd demo-text && dvc repro
	@echo "Look at demo-text/reports/report.html and demo-text/models/bundle/"

test: $(VENV)/.ready ## All tests: the fast suite first, then the slow one
	OMP_NUM_THREADS=1 pytest -q -n 2 -m "not slow" && OMP_NUM_THREADS=1 pytest -q -n 2 --dist loadfile -m slow

test-fast: $(VENV)/.ready ## The fast tests only
	OMP_NUM_THREADS=1 pytest -q -n 2 -m "not slow"

lint: $(VENV)/.ready ## ruff and mypy
	ruff check .
	ruff format --check .
	mypy

format: $(VENV)/.ready ## Let ruff format and fix what it can
	ruff check --fix .
	ruff format .

lock: $(VENV)/.uv ## Choose versions anew and write requirements.lock
	$$(cat $(VENV)/.uv) pip compile --universal --python-version 3.11 --generate-hashes --extra dev --upgrade \
	  --no-header -q pyproject.toml -o requirements.lock

schema: $(VENV)/.ready ## Write params.schema.json for editors, and docs/reference.md for people
	tlpipe schema
	python -m docs.tools.reference

docs: $(VENV)/.ready ## Documentation as a site in build/site/; a broken link or anchor is an error
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

bench: $(VENV)/.ready ## Benchmarks: the step, the arithmetic limit, growth, the peers side by side, a GPU if there is one
	python -m benchmarks.step
	python -m benchmarks.limit
	python -m benchmarks.growth
	python -m benchmarks.peers.run
	python -m benchmarks.peers.texts
	python -m benchmarks.gpu

figures: $(VENV)/.ready ## Write the tables of benchmarks/README.md and of the docs from benchmarks/results
	python -m benchmarks.report

abuse: $(VENV)/.ready ## Mutated params files, hostile files, kills, hostile requests, offline: an hour, or in pieces with SECONDS=450
	python -m benchmarks.abuse --seconds $(or $(SECONDS),0)

clean: ## Remove what the pipeline made (not the DVC cache, not MLflow's store)
	rm -rf data/packed data/features data/preprocess.json data/monitor.json reports .tlpipe/work .tlpipe/cache .tlpipe/reuse
	rm -rf models/source models/head models/finetuned models/seeds models/champion models/bundle demo demo-text

# uv comes from the system if it is there, else from PyPI into the environment that it then fills
$(VENV)/.uv:
	@if [ -n "$(UV)" ]; then \
	  "$(UV)" venv -q --allow-existing --python ">=3.11" $(VENV) && echo "$(UV)" > $@; \
	else \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)' && \
	  $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -q --disable-pip-version-check uv && \
	  mkdir -p .tlpipe/tools && cp $(BIN)/uv .tlpipe/tools/uv && echo "$(CURDIR)/.tlpipe/tools/uv" > $@; \
	fi

$(VENV)/.ready: $(VENV)/.uv requirements.lock pyproject.toml
	$$(cat $(VENV)/.uv) pip sync -q --require-hashes requirements.lock
	$$(cat $(VENV)/.uv) pip install -q --no-deps --no-build-isolation -e .
	@touch $@

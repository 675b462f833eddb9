# `make demo` and `make test` do all their own set-up; everything stays inside this folder.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
BENCH := .venv-bench
BENCH_PIP := $(BENCH)/bin/python -m pip install --quiet --constraint constraints.txt
TEST_EXTRAS := dicom,fast,parquet,lite0,export,federated,cluster,text,clinic,serve,postgres,evidence,docs,dev

export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.PHONY: help demo test quick lint fast slow audit bench bench-gpu docs clean

help:
	@echo "make demo   learn planted findings on phantom images and write a report (about 5 minutes)"
	@echo "make test   linters, types, import rules, all tests, command-line journeys, browser test"
	@echo "make quick  linters and fast tests"
	@echo "make audit  bill of materials, and known vulnerabilities of the pinned versions"
	@echo "make bench  every row of the speed table beside its peers, in an environment of its own (at most 30 minutes)"
	@echo "make bench-gpu  training on a GPU from the store against data on the card; says so where there is none"
	@echo "make docs   build the documentation into site/"

# torch goes first and pinned: an unpinned request for it can bring several GB of CUDA libraries.
$(VENV)/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Resight needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) --editable '.[dicom,fast]'
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) --editable '.[$(TEST_EXTRAS)]'
	@touch $@

demo: $(VENV)/.core
	$(BIN)/resight demo --out demo --force

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

fast: $(VENV)/.dev
	$(BIN)/pytest -n 2 --cov=resight --cov-report=term:skip-covered --cov-report= -q

slow: $(VENV)/.dev
	$(BIN)/pytest -n 2 -m slow -q

# says "skipped" where no advisory service can be reached
audit: $(VENV)/.dev
	.ci/audit

quick: lint fast

test: lint
	$(BIN)/pytest -n 2 -m 'slow or not slow' -q

# torchvision without its dependencies: with them pip may bring another torch.
$(BENCH)/.ready: pyproject.toml constraints.txt benchmarks/speed/requirements.txt
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH_PIP) torch==2.13.0
	$(BENCH_PIP) --editable '.[dicom,fast,export]'
	$(BENCH_PIP) --no-deps torchvision==0.28.0
	$(BENCH_PIP) --requirement benchmarks/speed/requirements.txt
	@touch $@

bench: $(BENCH)/.ready
	$(BENCH)/bin/python -m benchmarks.speed

# with the Python that has PyTorch for the card: make bench-gpu PYTHON=...
bench-gpu:
	$(PYTHON) -m benchmarks.speed.gpu

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(BENCH) demo site build dist

# `make mini` and `make test` set themselves up from a bare Python >= 3.11 and run.
PYTHON ?= python3
WORKDIR ?= runs/mini
BIN = .venv/bin
# Large pages where glibc can: XLA on the CPU asks for its buffers anew in every step, and faults cost.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: mini smoke test test-torch test-tpu test-page test-cloud test-install docs lint lock leaderboard clean

mini: .venv/ready
	$(BIN)/python main.py --config=configs/mini.py --workdir=$(WORKDIR)

smoke: .venv/ready
	$(BIN)/python main.py --config=configs/smoke.py --workdir=runs/smoke

# A file's tests stay in one process, for they share fixtures. tests/conftest.py puts the slowest files first; pytest-xdist, left to itself,
# would begin with the files that have the most tests.
test: .venv/ready-dev
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

# Parity with PyTorch, OpenCLIP and transformers, live; `make test` checks against kept goldens.
test-torch: .venv/ready-torch
	$(BIN)/python -m pytest -m torch --numprocesses=auto --maxprocesses=4 --dist=loadfile

# The steps compiled for TPU slices, without one; in an environment of its own, for JAX looks for a TPU at
# every start where the compiler is installed.
test-tpu: .venv-tpu/ready
	JAX_PLATFORMS=cpu .venv-tpu/bin/python -m pytest -m tpu_backend

# The leaderboard's page in a browser; it takes Debian's: apt-get install chromium.
test-page: .venv/ready-page
	$(BIN)/python -m pytest -m browser tests/test_page.py

# Runs in a bucket, which a server on loopback plays.
test-cloud: .venv/ready-cloud
	$(BIN)/python -m pytest -m cloud tests/test_cloud.py

# The library and the recipes, installed in environments of their own.
test-install: .venv/ready-dev
	PATH=$(abspath $(BIN)):$$PATH $(BIN)/python -m pytest -m install tests/test_install.py tests/test_notebook.py

# The site in site/; a broken link or a name without a docstring ends it with an error. `make docs DOCS=serve` shows it while it is written.
DOCS ?= build
docs: .venv/ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs $(DOCS) --strict

# Checks leaderboard/submissions and writes build/leaderboard/leaderboard.html.
leaderboard: .venv/ready
	$(BIN)/python -m experiments.leaderboard

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

# Pins every package anew, as it was if pyproject.toml still allows that; `make lock UPGRADE=--upgrade` takes the newest.
LOCK = $(BIN)/uv pip compile --quiet --universal --no-annotate --custom-compile-command "make lock" $(UPGRADE) pyproject.toml
lock: .venv/ready-dev
	$(LOCK) -o requirements.txt
	$(LOCK) -c requirements.txt --extra beam -o requirements-beam.txt
	$(LOCK) -c requirements.txt --extra tpu -o requirements-tpu.txt
	$(LOCK) -c requirements.txt --extra cloud -o requirements-cloud.txt
	$(LOCK) -c requirements-beam.txt --extra beam --group dev -o requirements-dev.txt
	$(LOCK) -c requirements-dev.txt --extra beam --group dev --group page -o requirements-page.txt
	$(LOCK) -c requirements-dev.txt --extra beam --group dev --group docs -o requirements-docs.txt
	$(LOCK) -c requirements-dev.txt -c requirements-cloud.txt --extra beam --extra cloud --group dev --group bucket -o requirements-cloud-dev.txt

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "salmu_jax needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

# Without --no-compile, pip would compile every module of every package. Python compiles those that are imported.
.venv/ready: requirements.txt | .venv/made
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/ready-dev: requirements.txt requirements-beam.txt requirements-dev.txt | .venv/made
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -r requirements-dev.txt
	@touch .venv/ready $@

.venv/ready-torch: requirements-torch.txt requirements-torch-nodeps.txt .venv/ready-dev
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -r requirements-torch.txt
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --no-deps -r requirements-torch-nodeps.txt
	@touch $@

.venv/ready-page: requirements-page.txt .venv/ready-dev
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -r requirements-page.txt
	@touch $@

.venv/ready-docs: requirements-docs.txt .venv/ready-dev
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -r requirements-docs.txt
	@touch $@

.venv/ready-cloud: requirements-cloud.txt requirements-cloud-dev.txt .venv/ready-dev
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -r requirements-cloud-dev.txt
	@touch $@

.venv-tpu/ready: requirements.txt requirements-beam.txt requirements-dev.txt requirements-tpu.txt
	$(PYTHON) -m venv .venv-tpu
	.venv-tpu/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -r requirements-dev.txt -r requirements-tpu.txt
	@touch $@

clean:
	rm -rf .venv .venv-tpu runs build site

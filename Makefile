# `make mini` and `make test` set themselves up from a bare Python >= 3.11 and run.
PYTHON ?= python3
WORKDIR ?= runs/mini
BIN = .venv/bin

.PHONY: mini smoke test lint clean

mini: .venv/ready
	$(BIN)/python main.py --config=configs/mini.py --workdir=$(WORKDIR)

smoke: .venv/ready
	$(BIN)/python main.py --config=configs/smoke.py --workdir=runs/smoke

test: .venv/ready-dev
	$(BIN)/python -m pytest

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "salmu_jax needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/ready: requirements.txt | .venv/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/ready-dev: requirements.txt requirements-dev.txt | .venv/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch .venv/ready $@

clean:
	rm -rf .venv runs

#!/usr/bin/env bash
# The studies of the strict verdict, from nothing: five seeds of mini and one of the other holdout unit, then every study.
# What is there already is kept: delete a file of results/ to have it made anew. Hours on two cores.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=${1:-runs/strict}
make .venv/ready
bounds() { .venv/bin/python main.py --config=configs/mini.py --config.method.name=none --workdir="$root/$1" "${@:2}"; }
for seed in 0 1 2 3 4; do bounds "seed-$seed" --config.seed="$seed"; done
bounds pair-0 --config.generate.holdout_unit=pair
.venv/bin/python -m experiments.strict.possible "$root"
.venv/bin/python -m experiments.strict.robust "$root"
.venv/bin/python -m experiments.strict.closed "$root"
.venv/bin/python -m experiments.strict.goals "$root"
.venv/bin/python -m experiments.strict.capacity
.venv/bin/python -m experiments.strict.frontier "$root"
.venv/bin/python -m experiments.strict.folds "$root"
.venv/bin/python -m experiments.strict.alike "$root"
.venv/bin/python -m experiments.strict.frontier_picture
.venv/bin/python -m experiments.tabulate

#!/usr/bin/env bash
# The study of anchored caption editing: three seeds of mini and one of the other holdout unit, then every part of it.
# An hour and a quarter on two cores; what is there already is kept: delete results/NAME.json to have it made anew.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=${1:-runs/anchored}
make .venv/ready
bounds() { .venv/bin/python main.py --config=configs/mini.py --config.method.name=none --workdir="$root/$1" "${@:2}"; }
for seed in 0 1 2; do bounds "seed-$seed" --config.seed="$seed"; done
bounds pair-0 --config.generate.holdout_unit=pair
.venv/bin/python -m experiments.anchored.study "$root"
.venv/bin/python -m experiments.anchored.picture
.venv/bin/python -m experiments.tabulate

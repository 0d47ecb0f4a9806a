#!/usr/bin/env bash
# The study behind the tables of the baselines: searches, tuned and untuned runs; hours on two cores.
# Results that are there are kept: to make one anew, delete experiments/baselines/results/NAME.json first.
set -euo pipefail
cd "$(dirname "$0")/../.."
workdir=${1:-runs/mini}
make mini WORKDIR="$workdir"
.venv/bin/python -m experiments.baselines.study "$workdir"
.venv/bin/python -m experiments.tabulate

#!/usr/bin/env bash
# The run behind the README's tables: runs the mini benchmark and copies its results and report here.
set -euo pipefail
cd "$(dirname "$0")/../.."
workdir=${1:-runs/mini}
make mini WORKDIR="$workdir"
mkdir -p experiments/mini/results
rm -f experiments/mini/results/*.json
cp "$workdir"/results/*.json experiments/mini/results/
cp "$workdir"/times.json experiments/mini/
.venv/bin/python -m experiments.mini.tabulate
.venv/bin/python -m experiments.tabulate

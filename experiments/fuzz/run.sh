#!/bin/sh
# Two thousand damaged inputs, and a hundred kills on a disk and in a bucket: `make .venv/ready-cloud` first.
set -e
cd "$(dirname "$0")/../.."
export JAX_PLATFORMS=cpu
.venv/bin/python -m experiments.fuzz.inputs --count=2000
.venv/bin/python -m experiments.fuzz.kills --kills=100
.venv/bin/python tests/bucket.py .venv/bin/python -m experiments.fuzz.kills --kills=100 --workdir=gs://bucket

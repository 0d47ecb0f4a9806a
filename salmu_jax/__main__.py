"""Runs the benchmark: python -m salmu_jax --config=configs/mini.py --workdir=runs/mini"""

from salmu_jax import command

if __name__ == "__main__":
  command.start()

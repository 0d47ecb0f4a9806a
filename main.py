"""Runs the benchmark: python main.py --config=configs/mini.py --workdir=runs/mini"""

from salmu_jax.runtime import ends

if __name__ == "__main__":
  with ends.with_one_line():
    # Imported here: Ctrl-C is handled by now, and worker processes, which import this file, do not
    # load it.
    from salmu_jax import command

    command.start()

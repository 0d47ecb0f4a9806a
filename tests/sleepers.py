"""Processes that sleep: what tests end by signals. The argument says how they are asked to."""

import atexit
import concurrent.futures
import multiprocessing
import pathlib
import sys
import time

from salmu_jax.runtime import ends, pipes


def stubborn():
  """Takes an exception as some libraries do: as one of its own."""
  while True:
    try:
      print("ready", flush=True)
      time.sleep(60)
    except BaseException:
      print("taken", flush=True)


def tidy():
  """Takes its time to leave things in order."""
  try:
    print("ready", flush=True)
    time.sleep(60)
  finally:
    print("tidying", flush=True)
    time.sleep(1)
    print("tidy", flush=True)


def count():
  """Prints numbers without rest, the last of them when it is told to end."""
  number = 0
  try:
    while True:
      print(number, flush=True)
      number += 1
  finally:
    print("", end="", flush=True)


def held():
  with ends.holding() as asked:
    print("ready", flush=True)
    for _ in range(600):
      time.sleep(0.1)
      if asked() and sys.argv[2:] != ["late"]:
        print("saved", flush=True)
        sys.exit(ends.status())


def saved():
  """Saves, and takes its time to exit."""
  atexit.register(time.sleep, 1)
  held()


def workers():
  context = multiprocessing.get_context("spawn")
  with ends.starting_workers():
    pool = concurrent.futures.ProcessPoolExecutor(2, context)
    tasks = [pool.submit(time.sleep, seconds) for seconds in (0.1, 60, 60)]
  tasks[0].result()
  print("ready", flush=True)
  try:
    tasks[1].result()
  finally:
    pool.shutdown(wait=False, cancel_futures=True)


def talk():
  """Prints to a terminal that goes away, then says in a file that it is done."""
  from salmu_jax.runtime import progress

  for _ in range(int(sys.argv[3])):
    progress.console.print("a line")
    print("another", flush=True)
    time.sleep(0.05)
  pathlib.Path(sys.argv[2]).touch()


if __name__ == "__main__":
  with pipes.ending_quietly():
    kinds = {
      "count": count,
      "held": held,
      "saved": saved,
      "stubborn": stubborn,
      "talk": talk,
      "tidy": tidy,
      "workers": workers,
    }
    kinds[sys.argv[1]]()

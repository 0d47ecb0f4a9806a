"""Lets contenders take turns, so that other load on the machine affects all of them."""

import statistics
import time

TURNS = 5  # counted turns of each contender, after one uncounted


def medians(contenders, turns=TURNS):
  """Times contenders in turns; the first turn is not counted.

  Args:
    contenders: {name: call}; a call does the work once and waits for its end.
    turns: counted turns of each contender.

  Returns:
    {name: median seconds} and {name: seconds of all counted turns}.
  """
  seconds = {name: [] for name in contenders}
  for turn in range(1 + turns):
    for name, call in contenders.items():
      began = time.perf_counter()
      call()
      if turn:
        seconds[name].append(time.perf_counter() - began)
  return {name: statistics.median(times) for name, times in seconds.items()}, seconds

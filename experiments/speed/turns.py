"""Contenders take turns, so that whatever else the machine does hits all of them."""

import statistics
import time

TURNS = 5  # of each, after one that is not counted


def medians(contenders, turns=TURNS):
  """Median seconds of each contender; the first turn is not counted.

  Args:
    contenders: {name: a call that does it once, to its end}.

  Returns:
    {name: median seconds}, and {name: the seconds of all counted turns}.
  """
  seconds = {name: [] for name in contenders}
  for turn in range(1 + turns):
    for name, call in contenders.items():
      began = time.perf_counter()
      call()
      if turn:
        seconds[name].append(time.perf_counter() - began)
  return {name: statistics.median(times) for name, times in seconds.items()}, seconds

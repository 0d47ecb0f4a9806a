"""The memory of the machine, and the threads that a computation may use."""

import contextlib
import os
import pathlib

import threadpoolctl

_CONTROL_GROUP = pathlib.Path("/sys/fs/cgroup/memory.max")  # of a container on Linux


def memory() -> int:
  """Bytes of memory that this process may use."""
  physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  limit = _CONTROL_GROUP.read_text().strip() if _CONTROL_GROUP.is_file() else "max"
  return min(physical, int(limit)) if limit.isdigit() else physical


def one_thread() -> contextlib.AbstractContextManager:
  """Within the block, BLAS and OpenMP use one thread.

  With more threads, sums are added in another order, so results would depend on the number of
  cores. On matrices as small as a probe's, one thread is also several times faster.
  """
  return threadpoolctl.threadpool_limits(1)

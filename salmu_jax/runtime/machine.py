"""What the machine has."""

import os
import pathlib

_CONTROL_GROUP = pathlib.Path("/sys/fs/cgroup/memory.max")  # of a container on Linux


def memory() -> int:
  """Bytes of memory that this process may use."""
  physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  limit = _CONTROL_GROUP.read_text().strip() if _CONTROL_GROUP.is_file() else "max"
  return min(physical, int(limit)) if limit.isdigit() else physical

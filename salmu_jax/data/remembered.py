"""JSON files that spare work: hashes of files, and what has passed a check.

Nothing depends on them but time. One that is damaged is made again, and one that cannot be written
is done without; either is said on the terminal.
"""

import pathlib
from typing import Any

from salmu_jax.errors import InputError, UnwritableError
from salmu_jax.runtime import files, progress


def read(path: pathlib.Path, kind: type) -> Any:
  """The content of such a file; an empty `kind` where there is no file, or a damaged one.

  Args:
    path: of the file. kind: what it holds, as dict.
  """
  if not path.exists():
    return kind()
  try:
    content = files.read_json(path)
    if isinstance(content, kind):
      return content
    reason = f"it holds a {type(content).__name__}"
  except InputError as error:
    reason = str(error)
  _say(f"{path} is damaged and is made again: {reason}")
  return kind()


def write(path: pathlib.Path, content: Any) -> None:
  """Writes such a file."""
  try:
    files.write_json(path, content)
  except UnwritableError as error:
    _say(f"{path.name} is not kept, which costs time in the next run: {error}")


def _say(message):
  progress.console.print(message, style="yellow", markup=False)

"""Checks the environment variables that JAX and XLA read when they start."""

import os
import re
import subprocess
import sys

from salmu_jax.errors import InputError

# XLA ends the process if its flags are invalid.
_READ_XLA_FLAGS = (
  "from jaxlib import xla_client as xla; "
  "xla.CompileOptions().executable_build_options.debug_options"
)


def check() -> None:
  """Raises InputError for a variable that JAX or XLA rejects; loads JAX."""
  _check_xla_flags()  # first: a loaded JAX may have read them
  try:
    import jax  # noqa: F401
  except ValueError as error:
    # Longest first, because some names are prefixes of others.
    names = sorted((name for name in os.environ if name.startswith("JAX_")), key=len)
    variable = next((name for name in names[::-1] if name in str(error).upper()), None)
    if variable is None:
      raise
    raise InputError(
      f"The environment variable {variable} = {os.environ[variable]!r} is not valid for JAX "
      f"({error}). Unset it, or see JAX's documentation for its valid values."
    ) from error


def _check_xla_flags():
  """Raises InputError for flags that would end this process, after trying them in another."""
  flags = os.environ.get("XLA_FLAGS", "")
  if not flags.strip():
    return
  process = subprocess.run([sys.executable, "-c", _READ_XLA_FLAGS], capture_output=True, text=True)
  reason = re.search(r"^[EF]\d.*?\] (.*?)\.?$", process.stderr, re.MULTILINE)
  if process.returncode and reason:
    raise InputError(
      f"The environment variable XLA_FLAGS = {flags!r} is not valid for XLA ({reason[1]}). "
      "Unset it, or give flags that XLA has, as --NAME=VALUE, separated by spaces."
    )

"""A cache of compiled programs on disk, so that later runs do not compile them again."""

import hashlib
import os
import pathlib
import tempfile
import time
from typing import NamedTuple

import jax
from jax._src import compilation_cache
from rich.text import Text

from salmu_jax.errors import InputError
from salmu_jax.runtime import files, places, progress

DEFAULT, OFF = "default", "off"
LIMIT = 2 * 2**30  # bytes of a folder; configs/smoke.py:finetune writes 41 programs, 2 MiB
_MARK = ".program"  # in the names of our files, complete or not; no others are touched
_WRITING = 3600  # seconds after which an incomplete file counts as abandoned
_DIGEST = hashlib.sha256().digest_size


class Tally(NamedTuple):
  """What this process has compiled.

  Attributes:
    programs: the number of programs that it requested.
    read: the number of these that were read from the folder.
    seconds: the time spent on compiling and reading.
  """

  programs: int = 0
  read: int = 0
  seconds: float = 0.0


class _Entry(NamedTuple):
  used: float  # when, in seconds since 1970
  size: int
  path: pathlib.Path


class Store:
  """The programs in a folder, by JAX's key; processes may share the folder, and be killed.

  JAX's own store has three faults. It writes in place, so a kill or a full disk leaves an
  incomplete entry for good. It has no checksums, so it may run a program that was changed on disk.
  With a size limit, a kill between the two files of an entry ends all writing. Here an entry is
  complete or absent, is compared with its SHA-256, and is replaced if it is damaged. A failure is
  reported once and costs only time.
  """

  def __init__(self, folder: pathlib.Path, limit: int = LIMIT) -> None:
    """`limit`: bytes; the least recently used programs are removed first."""
    self._path = folder  # JAX names it in its log
    self._limit = limit
    self._complained = False

  def get(self, key: str) -> bytes | None:
    """The program of a key; if it is None, JAX compiles the program and calls `put`."""
    path = self._file(key)
    try:
      content = path.read_bytes()
      os.utime(path)
    except FileNotFoundError:
      return None
    except OSError as error:
      self._complain(f"cannot be read ({_reason(error)})")
      return None
    digest, program = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(program).digest() != digest:
      self._complain("held a damaged program")
      return None
    return program

  def put(self, key: str, program: bytes) -> None:
    """Stores a compiled program."""
    try:
      with files.replacing(self._file(key)) as temporary:
        temporary.write_bytes(hashlib.sha256(program).digest() + program)
      self._evict()
    except (InputError, OSError) as error:
      self._complain(f"cannot be written ({_reason(error)})")

  def describe(self) -> str:
    """The folder, the number of programs in it and their size, in words."""
    entries = self._entries()
    size = sum(entry.size for entry in entries) / 2**20
    return f"{self._path} ({len(entries):,} programs, {size:.1f} MiB)"

  def _file(self, key):
    return self._path / f"{key}{_MARK}"

  def _evict(self):
    entries = sorted(self._entries())
    size = sum(entry.size for entry in entries)
    for entry in entries:
      if size <= self._limit:
        return
      entry.path.unlink(missing_ok=True)
      size -= entry.size

  def _entries(self):
    """All entries, including incomplete ones of killed processes."""
    entries = []
    for path in self._path.iterdir():
      if _MARK in path.name:
        try:
          entry = _Entry(path.stat().st_mtime, path.stat().st_size, path)
        except FileNotFoundError:  # another process has just replaced or evicted it
          continue
        if path.name.startswith(".") and time.time() - entry.used < _WRITING:
          continue
        entries.append(entry)
    return entries

  def _complain(self, trouble):
    if not self._complained:
      _warn(f"{self._path} {trouble}")
    self._complained = True


def start(where: str) -> None:
  """Sets where this process stores compiled programs; call it before anything is compiled.

  If the folder cannot be used, a warning is printed and nothing is stored.

  Args:
    where: `config.compilation_cache`, see `check`.
  """
  jax_folder = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
  if where == DEFAULT and "://" in jax_folder:
    return  # JAX's own store can write to a bucket; ours cannot
  compilation_cache.reset_cache()
  store = _opened(where, jax_folder)
  jax.config.update("jax_compilation_cache_dir", str(store._path) if store else None)
  if store:
    # All programs are stored: even the smallest takes longer to compile than to read.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # JAX has no public way to set a store; without this line it would use its own in that folder.
    compilation_cache._cache = store


def current() -> Store | None:
  """The store in use; None if there is none, or it is JAX's own."""
  store = compilation_cache._cache
  return store if isinstance(store, Store) else None


def describe() -> str:
  """Where compiled programs are stored, in words."""
  store = current()
  return store.describe() if store else jax.config.jax_compilation_cache_dir or OFF


def tally() -> Tally:
  """What this process has compiled so far."""
  return Tally(**_counts)


def _on_duration(event, seconds, **_):
  if event == "/jax/core/compile/backend_compile_duration":
    _counts["programs"] += 1
    _counts["seconds"] += seconds


def _on_event(event, **_):
  if event == "/jax/compilation_cache/cache_hits":
    _counts["read"] += 1


_counts = Tally()._asdict()
jax.monitoring.register_event_duration_secs_listener(_on_duration)
jax.monitoring.register_event_listener(_on_event)


def check(where: str) -> None:
  """Raises InputError unless `config.compilation_cache` is "default", "off", "" or a folder."""
  if "://" in where:
    raise InputError(
      f"config.compilation_cache = {where!r}; it must be a local folder, {DEFAULT!r} or {OFF!r}. "
      "For a cache in a bucket, set JAX_COMPILATION_CACHE_DIR, which JAX itself uses."
    )


def _opened(where, jax_folder):
  """The store that `config.compilation_cache` selects; `jax_folder` is JAX's own setting."""
  if where in ("", OFF) or not jax.config.jax_enable_compilation_cache:
    return None
  if jax.process_count() > 1 and jax.default_backend() == "cpu":
    # Running a program with cross-process collectives that was read back aborts (jaxlib 0.10).
    return None
  if where == DEFAULT and not jax_folder and jax.process_count() > 1:
    # JAX writes only in the first process and expects a folder that all processes see, which the
    # user's cache may not be. If some compile what others read, nothing is gained. On GPUs, where
    # processes share the autotuning of kernels, they could wait for processes that only read.
    return None
  folder = jax_folder or places.cache() / "compilations" if where == DEFAULT else where
  try:
    folder = pathlib.Path(folder).expanduser().absolute()
    # Programs in it are executed, so nobody else may write there.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as probe:
      probe.write(bytes(4096))
  except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
    _warn(f"{folder} cannot be used ({_reason(error)})")
    return None
  return Store(folder)


def _reason(error):
  """The system's reason for an OSError, or for the one behind an InputError."""
  cause = error.__cause__ or error
  return getattr(cause, "strerror", None) or cause


def _warn(trouble):
  advice = "Programs are compiled again; config.compilation_cache sets another folder."
  text = Text(f"Compilation cache: {trouble}. {advice}", style="yellow")
  progress.console.print(text, soft_wrap=True)

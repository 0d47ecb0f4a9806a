"""Compiled programs kept on disk, so that what was compiled once is not compiled in a later run."""

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
_WRITING = 3600  # seconds after which an incomplete file is nobody's
_DIGEST = hashlib.sha256().digest_size


class Tally(NamedTuple):
  """What this process has compiled.

  Attributes:
    programs: that it asked for.
    read: of these, read from the folder.
    seconds: that both took.
  """

  programs: int = 0
  read: int = 0
  seconds: float = 0.0


class _Entry(NamedTuple):
  used: float  # when, in seconds since 1970
  size: int
  path: pathlib.Path


class Store:
  """The programs in a folder, by JAX's key; processes may share it, and be killed.

  JAX's own store is not used. It writes in place, so a kill or a full disk leaves an incomplete
  entry, which stays; it has no checksum, so a program that was changed on the disk may be run; and
  with a bound on its size, a kill between the two files of an entry ends all writing. Here an entry
  is complete or absent, is compared with its SHA-256, and is replaced if it is damaged. What goes
  wrong is told once, and costs time only.
  """

  def __init__(self, folder: pathlib.Path, limit: int = LIMIT) -> None:
    """`limit`: bytes; the programs that were used longest ago go first."""
    self._path = folder  # JAX names it in its log
    self._limit = limit
    self._complained = False

  def get(self, key: str) -> bytes | None:
    """The program of a key, or None: JAX then compiles it, and calls `put`."""
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
    """Keeps a program that was compiled."""
    try:
      with files.replacing(self._file(key)) as temporary:
        temporary.write_bytes(hashlib.sha256(program).digest() + program)
      self._evict()
    except (InputError, OSError) as error:
      self._complain(f"cannot be written ({_reason(error)})")

  def describe(self) -> str:
    """Where the programs are, how many, and their size."""
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
    """All entries, and what killed processes left of theirs."""
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
  """Sets where this process keeps what it compiles; call it before anything is compiled.

  A folder that cannot be used is told on the terminal, and nothing is kept then.

  Args:
    where: `config.compilation_cache`, see `check`.
  """
  told = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
  if where == DEFAULT and "://" in told:
    return  # JAX's own store can write to a bucket; ours cannot
  compilation_cache.reset_cache()
  store = _opened(where, told)
  jax.config.update("jax_compilation_cache_dir", str(store._path) if store else None)
  if store:
    # All programs are kept: even the smallest takes longer to compile than to read.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # JAX has no public way to bring a store along; without this line it would use its own there.
    compilation_cache._cache = store


def current() -> Store | None:
  """The store in use; None where there is none, or it is JAX's own."""
  store = compilation_cache._cache
  return store if isinstance(store, Store) else None


def describe() -> str:
  """Where compiled programs are kept, in words."""
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
      f"config.compilation_cache = {where!r}; it must be a folder of this machine, {DEFAULT!r} or "
      f"{OFF!r}. JAX itself writes to a bucket if JAX_COMPILATION_CACHE_DIR names it."
    )


def _opened(where, told):
  """The store that `config.compilation_cache` asks for; `told` is JAX's own variable."""
  if where in ("", OFF) or not jax.config.jax_enable_compilation_cache:
    return None
  if jax.process_count() > 1 and jax.default_backend() == "cpu":
    # A program with collectives between processes that is read back aborts (seen with jaxlib 0.10).
    return None
  if where == DEFAULT and not told and jax.process_count() > 1:
    # JAX writes in the first process alone and expects a folder that all of them see, which the
    # user's cache need not be. Where some compile what others read, nothing is won; and on GPUs,
    # where processes share the search for fast kernels, they could wait for those that only read.
    return None
  folder = told or places.cache() / "compilations" if where == DEFAULT else where
  try:
    folder = pathlib.Path(folder).expanduser().absolute()
    # Programs in it are run, so nobody else may write there.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as probe:
      probe.write(bytes(4096))
  except (OSError, RuntimeError) as error:  # the latter: there is no home
    _warn(f"{folder} cannot be used ({_reason(error)})")
    return None
  return Store(folder)


def _reason(error):
  """The reason that the system gives for an OSError, or for the one behind an InputError."""
  cause = error.__cause__ or error
  return getattr(cause, "strerror", None) or cause


def _warn(trouble):
  advice = "Programs are compiled anew; config.compilation_cache moves the folder."
  text = Text(f"Compilation cache: {trouble}. {advice}", style="yellow")
  progress.console.print(text, soft_wrap=True)

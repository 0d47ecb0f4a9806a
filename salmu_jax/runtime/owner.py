"""One run per workdir: a mark that names the run that uses it, on a disk or in a bucket.

On a disk the mark is a locked file; the system releases the lock when its process ends. In a bucket
the mark is an object that its owner rewrites regularly. An owner that stops doing so is gone.
"""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from salmu_jax.errors import InputError
from salmu_jax.runtime import places, progress
from salmu_jax.runtime.places import Place

MARK = ".running"
BEAT = 20  # seconds between two heartbeats in a bucket
GONE = 90  # seconds without a heartbeat after which an owner counts as gone


@contextlib.contextmanager
def owning(workdir: Place) -> Iterator[None]:
  """Keeps other runs out of a workdir while the block runs.

  Raises:
    InputError: another run uses it; says which, and since when.
  """
  with (_in_bucket if places.is_remote(workdir) else _on_disk)(workdir):
    yield


def _who():
  """{"host", "process", "since", "machine"}; "machine" separates processes of the same number."""
  boot = pathlib.Path("/proc/sys/kernel/random/boot_id")
  namespace = pathlib.Path("/proc/self/ns/pid")
  machine = [path.read_text().strip() for path in (boot,) if path.exists()]
  machine += [str(path.stat().st_ino) for path in (namespace,) if path.exists()]
  return {
    "host": socket.gethostname(),
    "process": os.getpid(),
    "since": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    "machine": " ".join(machine),
  }


def _in_use(workdir, owner):
  return InputError(
    f"Another run uses {workdir}: process {owner.get('process')} on {owner.get('host')}, since "
    f"{owner.get('since')}. Wait until it ends, stop it, or choose another --workdir."
  )


@contextlib.contextmanager
def _on_disk(workdir):
  path, made = pathlib.Path(workdir) / MARK, not workdir.exists()
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _locked(path)
    file.truncate(0)
    file.write(json.dumps(_who()))
    file.flush()
  except OSError as error:
    raise places.unwritable(workdir, error) from error
  try:
    yield
  finally:
    path.unlink(missing_ok=True)
    file.close()
    if made:
      with contextlib.suppress(OSError):
        path.parent.rmdir()  # nothing was written


def _locked(path):
  """The file of a mark, open and locked."""
  while True:
    file = open(path, "a+", encoding="utf-8")
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      with file:
        file.seek(0)
        raise _in_use(path.parent, _parsed(file.read())) from error
    except OSError as error:  # a file system without locks
      text = f"{path.parent} cannot be locked ({error.strerror}). Make sure no other run uses it."
      progress.console.print(text, markup=False, soft_wrap=True)
      return file
    if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
      return file
    file.close()  # its last owner has just removed it


@contextlib.contextmanager
def _in_bucket(workdir):
  system, path, who = places.file_system(workdir), f"{os.fspath(workdir)}/{MARK}", _who()
  with places.writing(workdir):
    while not _created(system, path, who):
      _await_or_refuse(system, path, who, workdir)
  ended = threading.Event()

  def beat():
    while not ended.wait(BEAT):
      # A heartbeat that fails is followed by the next.
      with contextlib.suppress(Exception):
        system.pipe_file(path, _beating(who))

  threading.Thread(target=beat, daemon=True).start()
  try:
    yield
  finally:
    ended.set()
    with contextlib.suppress(Exception):
      system.rm_file(path)


def _beating(who):
  return json.dumps({**who, "beat": time.time()}).encode()


def _created(system, path, who):
  """Whether the mark did not exist and is now ours."""
  try:
    system.pipe_file(path, _beating(who), mode="create")
  except FileExistsError:
    return False
  return True


def _await_or_refuse(system, path, who, workdir):
  """Removes the mark of an owner that is gone; raises InputError for one that is running."""
  try:
    owner = _parsed(system.cat_file(path))
  except FileNotFoundError:
    return
  seen = owner.get("beat")
  here = owner.get("machine") == who["machine"] and owner.get("host") == who["host"]
  if not (here and not _alive(owner.get("process"))):
    progress.console.print(
      f"{workdir} has the mark of process {owner.get('process')} on {owner.get('host')}; waiting "
      f"for its heartbeat, {GONE} s at most ...",
      markup=False,
      soft_wrap=True,
    )
    deadline = time.monotonic() + GONE
    while time.monotonic() < deadline:
      time.sleep(min(BEAT / 4, GONE / 4))
      try:
        if _parsed(system.cat_file(path)).get("beat") != seen:
          raise _in_use(workdir, owner)
      except FileNotFoundError:
        return
  with contextlib.suppress(FileNotFoundError):
    system.rm_file(path)


def _parsed(content) -> dict[str, Any]:
  try:
    owner = json.loads(content)
  except ValueError:
    return {}
  return owner if isinstance(owner, dict) else {}


def _alive(process):
  """Whether a process of this machine is running."""
  if not isinstance(process, int):
    return False
  try:
    os.kill(process, 0)
  except ProcessLookupError:
    return False
  except PermissionError:
    return True
  return True

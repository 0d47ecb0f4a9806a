"""Repositories on the Hugging Face hub, pinned to a commit and downloaded to the hub's own cache.

The cache and its folder (HF_HOME, HF_HUB_CACHE), logins and HF_HUB_OFFLINE are those of
huggingface_hub. Nothing else is written.
"""

import contextlib
import pathlib
import re
from typing import NamedTuple

from salmu_jax.errors import InputError
from salmu_jax.results import published

PREFIX = "hub:"
# Weights of a model, by preference: a pickle is read only where there is no safetensors file.
WEIGHTS = (
  "open_clip_model.safetensors",
  "model.safetensors",
  "open_clip_pytorch_model.bin",
  "pytorch_model.bin",
)
# The files to download.
PATTERNS = {"dataset": ("data/*.parquet", "*.json"), "model": ("*.json", *WEIGHTS)}
# The hub's rules for names: letters, digits, _ . -; neither . nor - at an end or twice in a row.
_REPO = re.compile(r"(?!.*(?:--|\.\.))(?!.*\.git$)\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
_LONGEST = 96  # letters of OWNER/NAME
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Address(NamedTuple):
  """A repository on the hub at one commit."""

  repo: str
  revision: str


def is_address(text: str) -> bool:
  """Whether `text` names a repository on the hub, not a path."""
  return text.startswith(PREFIX)


def _is_repo(name):
  return bool(_REPO.fullmatch(name)) and len(name) <= _LONGEST


def check_name(address: str, field: str) -> None:
  """Raises InputError unless an address names a repository to write to, hub:OWNER/NAME."""
  repo = address.removeprefix(PREFIX)
  if not is_address(address) or not _is_repo(repo):
    raise InputError(
      f"{field} = {address!r} is not a hub repository; write hub:OWNER/NAME without a commit, in "
      f"at most {_LONGEST} letters, digits, '_', '.' and single '-'."
    )


def parse(address: str, field: str) -> Address:
  """Reads an address; without a revision it takes the published one.

  Args:
    address: hub:OWNER/NAME@COMMIT, or hub:OWNER/NAME for what SALMUBench published.
    field: the field that an error names, such as "config.release".

  Raises:
    InputError: the address is malformed, or not pinned to a commit.
  """
  repo, separator, revision = address.removeprefix(PREFIX).partition("@")
  if not is_address(address) or not _is_repo(repo):
    raise InputError(
      f"{field} = {address!r} is not a hub address. Write hub:OWNER/NAME@COMMIT, or hub:OWNER/NAME "
      f"for a repository that SALMUBench published, such as hub:{published.DATASET}."
    )
  published_revision = published.REVISIONS.get(repo)
  example = f"hub:{repo}@{published_revision or 'COMMIT'}"
  if not separator and not published_revision:
    raise InputError(
      f"{field} = {address!r} has no revision, and {repo} is not a published SALMUBench repository "
      f"with a known one. Name a revision: {example}, with the 40 digits that its commit history "
      "shows."
    )
  if separator and not _COMMIT.fullmatch(revision):
    raise InputError(
      f"{field} = {address!r}: the revision {revision!r} is not a commit of 40 hexadecimal digits "
      "in lower case. Branches and tags move, and a result must name the exact commit: "
      f"{example}."
    )
  return Address(repo, revision if separator else published_revision)


def fetch(address: str, kind: str, field: str) -> pathlib.Path:
  """The local folder of a repository on the hub; downloads what the cache lacks.

  Downloads show the library's progress bars. An interrupted download resumes: within a run at the
  last complete chunk of the file, in the next run with the missing files.

  Args:
    address: see `parse`.
    kind: "dataset" or "model"; decides which files are downloaded.
    field: the field that an error names, such as "config.release".

  Returns:
    The snapshot folder. It may hold further files that others downloaded.

  Raises:
    InputError: the address is malformed or not pinned; there is no such repository or revision; no
      access; no network and no copy in the cache; the disk is full; a file is damaged.
  """
  place = parse(address, field)
  try:
    patterns = PATTERNS[kind]
    if kind == "model":
      # Downloading the configs stores the listing, which says which weights there are.
      _snapshot(place, kind, "*.json")
      listing = _listing(place, kind, WEIGHTS) or {}
      weights = next((name for name in WEIGHTS if name in listing), None)
      patterns = ("*.json", weights) if weights else patterns
    folder = _snapshot(place, kind, patterns)
    _check_sizes(folder, place, kind, patterns)
  except InputError as error:
    raise InputError(f"{field} = {address!r}: {error}") from error
  return folder


def listed(repo: str, kind: str) -> list[str] | None:
  """The paths of a repository's files; None where there is no such repository.

  Args:
    repo: OWNER/NAME. kind: "dataset" or "model".

  Raises:
    InputError: the hub cannot be reached, or refuses access.
  """
  from huggingface_hub import HfApi, errors

  try:
    return HfApi(library_name="salmu_jax").list_repo_files(repo, repo_type=kind)
  except errors.RepositoryNotFoundError:
    return None
  except (errors.HTTPError, OSError, ValueError) as error:
    raise InputError(f"{repo} on the hub: {_refused(error)}") from error


def _refused(error):
  reason = " ".join(str(error).split())
  return (
    f"{type(error).__name__}: {reason} Log in with `hf auth login`, or set HF_TOKEN, for an "
    "account that may write there."
  )


def upload(folder: pathlib.Path, repo: str, kind: str, *, private: bool = False) -> str:
  """Replaces the files of a repository with those of a folder, in one commit; returns the commit.

  Args:
    folder: what to upload. repo: OWNER/NAME, created if it is missing.
    kind: "dataset" or "model". private: whether a new repository is private.

  Raises:
    InputError: no login, no permission, no network.
  """
  from huggingface_hub import HfApi, errors

  api = HfApi(library_name="salmu_jax")
  try:
    api.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
    message = "Published by salmu_jax"
    commit = api.upload_folder(
      repo_id=repo, repo_type=kind, folder_path=folder, commit_message=message, delete_patterns="*"
    )
  except (errors.HTTPError, OSError, ValueError) as error:
    raise InputError(
      f"{repo} on the hub could not be written. {_refused(error)} Uploaded files are kept; rerun "
      "the same command to resume."
    ) from error
  return commit.oid


def _snapshot(place, kind, patterns):
  """The snapshot folder; every failure of the library, the network or the disk is an InputError."""
  from huggingface_hub import errors, snapshot_download

  request = {
    "repo_id": place.repo,
    "repo_type": kind,
    "revision": place.revision,
    "allow_patterns": patterns,
  }
  # With a listing the library can check that the cache is complete, without a network.
  if _listing(place, kind, patterns) is not None:
    with contextlib.suppress(errors.LocalEntryNotFoundError):
      return pathlib.Path(snapshot_download(**request, local_files_only=True))
  unreachable = _unreachable()
  try:
    return pathlib.Path(snapshot_download(**request, local_files_only=unreachable is not None))
  except (errors.HTTPError, OSError, RuntimeError, ValueError) as error:
    if unreachable:
      raise InputError(_explain_absence(unreachable, error, place, kind, patterns)) from error
    raise InputError(_explain_failure(error, place, kind)) from error


def _unreachable():
  """Why the hub does not answer, or None if it does.

  The library retries for half a minute, and waits for a listing without a limit. This single
  request does neither.
  """
  from huggingface_hub import constants, errors, get_session

  try:
    get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
  except errors.OfflineModeIsEnabled:
    return "HF_HUB_OFFLINE is set"
  except errors.HTTPError as error:
    return f"{constants.ENDPOINT} cannot be reached ({type(error).__name__}: {error})"
  return None


def _listing(place, kind, patterns):
  """{path: bytes} of the files that match patterns, by the cached listing; None without one."""
  from huggingface_hub import errors, get_cached_repo_tree
  from huggingface_hub.utils import filter_repo_objects

  try:
    tree = get_cached_repo_tree(place.repo, repo_type=kind, revision=place.revision)
  except errors.CachedRepoTreeNotFoundError:
    return None
  matches = filter_repo_objects(tree, allow_patterns=patterns, key=lambda file: file.path)
  return {file.path: file.size for file in matches}


def _check_sizes(folder, place, kind, patterns):
  """Checks a snapshot against its listing, which older versions of the library do not write."""
  listing = _listing(place, kind, patterns)
  if listing == {}:
    raise InputError(
      f"this {kind} has no files {' or '.join(PATTERNS[kind])}. Name another {kind}."
    )
  for path, size in (listing or {}).items():
    size_here = (folder / path).stat().st_size
    if size_here != size:
      raise InputError(
        f"{path} in the cache is damaged: {size_here:,} bytes instead of {size:,}. Delete "
        f"{(folder / path).resolve()} and rerun the same command; only that file is downloaded "
        "again."
      )


def _explain_absence(unreachable, error, place, kind, patterns):
  """The message for an incomplete cache while the hub is unreachable."""
  from huggingface_hub import constants, errors

  gap = f"the cache {constants.HF_HUB_CACHE} does not have this revision"
  if isinstance(error, errors.IncompleteSnapshotError):
    folder = pathlib.Path(error.snapshot_path)
    missing = [path for path in _listing(place, kind, patterns) if not (folder / path).exists()]
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    gap = f"the download in the cache is incomplete: {', '.join(missing[:3])}{more} missing"
  include = " ".join(f"--include '{pattern}'" for pattern in PATTERNS[kind])
  return (
    f"{unreachable}, and {gap}. Rerun the same command with network access and without "
    f"HF_HUB_OFFLINE. Or run `hf download {place.repo} --repo-type {kind} --revision "
    f"{place.revision} {include} --local-dir DIR` on a machine with network access, and name DIR "
    "here instead of the address, or set HF_HUB_CACHE to a copy of that machine's cache."
  )


def _explain_failure(error, place, kind):
  """The message for an error of the hub or the library, with advice."""
  from huggingface_hub import constants, errors

  # The library wraps the hub's answer in "not found in the cache".
  if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
    error = error.__cause__
  # The library's advice, "retry with force_download=True", is useless on a command line.
  text = " ".join(str(error).split()).partition(" Please retry with")[0]
  cause = f"({type(error).__name__}: {text})"
  page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{place.repo}"
  log_in = "log in with `hf auth login` or set HF_TOKEN"
  published_revision = published.REVISIONS.get(place.repo)
  messages = {
    errors.GatedRepoError: f"the {kind} is gated. Accept its terms at {page}, then {log_in}.",
    errors.RepositoryNotFoundError: (
      f"the hub has no {kind} {place.repo}, or it is private. Correct the name; if it is private, "
      f"{log_in}."
    ),
    errors.RevisionNotFoundError: f"{place.repo} has no revision {place.revision}. "
    + (
      f"The published one is {published_revision}."
      if published_revision
      else f"{page}/commits/main lists them."
    ),
  }
  for error_type, message in messages.items():
    if isinstance(error, error_type):
      return message
  if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403):
    return f"the hub refuses access {cause}. Please {log_in} for an account that may read {page}."
  rerun = "Rerun the same command; complete files are kept."
  if (isinstance(error, OSError) and error.errno) or "No space left" in str(error):
    return (
      f"the cache {constants.HF_HUB_CACHE} cannot be written {cause}. Free some space there, or "
      f"set HF_HUB_CACHE to another folder. {rerun}"
    )
  # Only the Xet transfer raises these; the hub serves the same files over plain HTTP.
  plain = " HF_HUB_DISABLE_XET=1 uses plain HTTP." if isinstance(error, RuntimeError) else ""
  return f"the download from {constants.ENDPOINT} failed {cause}. {rerun}{plain}"

"""Addresses on the Hugging Face hub: read, pinned to a commit, downloaded to the hub's own cache.

The cache, its place (HF_HOME, HF_HUB_CACHE), logins and HF_HUB_OFFLINE are those of
huggingface_hub; nothing else is written.
"""

import contextlib
import pathlib
import re
from typing import NamedTuple

from salmu_jax.errors import InputError
from salmu_jax.results import published

PREFIX = "hub:"
# Weights of a model, of which the first that is there is taken: never a pickle where there is
# something better.
WEIGHTS = (
  "open_clip_model.safetensors",
  "model.safetensors",
  "open_clip_pytorch_model.bin",
  "pytorch_model.bin",
)
# What is downloaded.
PATTERNS = {"dataset": ("data/*.parquet", "*.json"), "model": ("*.json", *WEIGHTS)}
# The hub's rules for names: letters, digits, _ . -, none of the last two at an end or in a row.
_REPO = re.compile(r"(?!.*(?:--|\.\.))(?!.*\.git$)\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Address(NamedTuple):
  """A repository on the hub at one commit."""

  repo: str
  revision: str


def is_address(text):
  """Whether `text` means a repository on the hub and not a path."""
  return text.startswith(PREFIX)


def parse(address, field):
  """Reads an address; without a revision, that of the published experiment.

  Args:
    address: hub:OWNER/NAME@COMMIT, or hub:OWNER/NAME for what SALMUBench published.
    field: what an error names, as "config.release".

  Raises:
    InputError: malformed, or not pinned to a commit.
  """
  repo, at, revision = address.removeprefix(PREFIX).partition("@")
  if not is_address(address) or not _REPO.fullmatch(repo):
    raise InputError(
      f"{field} = {address!r} is no address on the hub. It is written hub:OWNER/NAME@COMMIT, or "
      f"hub:OWNER/NAME for what SALMUBench published, as hub:{published.DATASET}."
    )
  pinned = published.REVISIONS.get(repo)
  right = f"hub:{repo}@{pinned or 'COMMIT'}"
  if not at and not pinned:
    raise InputError(
      f"{field} = {address!r} names no revision, and {repo} is none of the published repositories, "
      f"whose revisions are known. Name a revision: {right}, with the 40 digits that the history "
      "of its files shows."
    )
  if at and not _COMMIT.fullmatch(revision):
    raise InputError(
      f"{field} = {address!r}: the revision {revision!r} is not a commit of 40 hexadecimal digits "
      "in lower case. Branches and tags move, and a result has to say what it was made from: "
      f"{right}."
    )
  return Address(repo, revision if at else pinned)


def fetch(address, kind, field):
  """The local folder of a repository on the hub: from the cache if it is whole there, else
  downloaded.

  Downloads show the library's progress bars. Broken off, they go on: in the same run from the last
  whole chunk of the file, in another run with the files that are not there yet.

  Args:
    address: as `parse` takes it.
    kind: "dataset" or "model"; says which files are wanted.
    field: what an error names, as "config.release".

  Returns:
    The snapshot folder; it may hold files that others downloaded beside the wanted ones.

  Raises:
    InputError: malformed or not pinned; no such repository or revision; no access; no network and
      not in the cache; the disk is full; a file is damaged.
  """
  place = parse(address, field)
  try:
    patterns = PATTERNS[kind]
    if kind == "model":
      # The configs come with the listing, which tells the weights that are worth a download.
      _snapshot(place, kind, "*.json")
      listed = _listed(place, kind, WEIGHTS) or {}
      first = next((name for name in WEIGHTS if name in listed), None)
      patterns = ("*.json", first) if first else patterns
    folder = _snapshot(place, kind, patterns)
    _check_sizes(folder, place, kind, patterns)
  except InputError as error:
    raise InputError(f"{field} = {address!r}: {error}") from error
  return folder


def _snapshot(place, kind, patterns):
  """The snapshot folder; every failure of the library, the network or the disk is an InputError."""
  from huggingface_hub import errors, snapshot_download

  wanted = {
    "repo_id": place.repo,
    "repo_type": kind,
    "revision": place.revision,
    "allow_patterns": patterns,
  }
  # Only with a listing does the library know whether the cache is whole; then it needs no network.
  if _listed(place, kind, patterns) is not None:
    with contextlib.suppress(errors.LocalEntryNotFoundError):
      return pathlib.Path(snapshot_download(**wanted, local_files_only=True))
  unreachable = _unreachable()
  try:
    return pathlib.Path(snapshot_download(**wanted, local_files_only=unreachable is not None))
  except (errors.HTTPError, OSError, RuntimeError, ValueError) as error:
    if unreachable:
      raise InputError(_explain_absence(unreachable, error, place, kind, patterns)) from error
    raise InputError(_explain_failure(error, place, kind)) from error


def _unreachable():
  """Why the hub does not answer, or None if it does.

  The library retries for half a minute, and waits without limit for a listing; this one request
  does neither.
  """
  from huggingface_hub import constants, errors, get_session

  try:
    get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
  except errors.OfflineModeIsEnabled:
    return "HF_HUB_OFFLINE is set"
  except errors.HTTPError as error:
    return f"{constants.ENDPOINT} cannot be reached ({type(error).__name__}: {error})"
  return None


def _listed(place, kind, patterns):
  """{path: bytes} of the files that patterns name, from the listing in the cache; None where
  there is none.
  """
  from huggingface_hub import errors, get_cached_repo_tree
  from huggingface_hub.utils import filter_repo_objects

  try:
    tree = get_cached_repo_tree(place.repo, repo_type=kind, revision=place.revision)
  except errors.CachedRepoTreeNotFoundError:
    return None
  wanted = filter_repo_objects(tree, allow_patterns=patterns, key=lambda file: file.path)
  return {file.path: file.size for file in wanted}


def _check_sizes(folder, place, kind, patterns):
  """Checks a snapshot against its listing; one without, of an older library, is taken as it is."""
  listed = _listed(place, kind, patterns)
  if listed == {}:
    raise InputError(
      f"this {kind} has no files {' or '.join(PATTERNS[kind])}. Name the {kind} that is meant."
    )
  for path, size in (listed or {}).items():
    found = (folder / path).stat().st_size
    if found != size:
      raise InputError(
        f"{path} in the cache is damaged: {found:,} bytes instead of {size:,}. Delete "
        f"{(folder / path).resolve()} and start the same command again; only that file is "
        "downloaded anew."
      )


def _explain_absence(unreachable, error, place, kind, patterns):
  """Says what the cache lacks, and how to do without the network."""
  from huggingface_hub import constants, errors

  lacks = f"the cache {constants.HF_HUB_CACHE} does not have this revision"
  if isinstance(error, errors.IncompleteSnapshotError):
    folder = pathlib.Path(error.snapshot_path)
    missing = [path for path in _listed(place, kind, patterns) if not (folder / path).exists()]
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    lacks = f"the download in the cache is not finished; {', '.join(missing[:3])}{more} missing"
  include = " ".join(f"--include '{pattern}'" for pattern in PATTERNS[kind])
  return (
    f"{unreachable}, and {lacks}. Start the same command with a network and without "
    f"HF_HUB_OFFLINE. Or run `hf download {place.repo} --repo-type {kind} --revision "
    f"{place.revision} {include} --local-dir DIR` where there is a network, and name DIR here "
    "instead of the address, or set HF_HUB_CACHE to a copy of the cache there."
  )


def _explain_failure(error, place, kind):
  """Says in words what the hub or the library answered, and what would be right."""
  from huggingface_hub import constants, errors

  # The library wraps what the hub answered in "not found in the cache".
  if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
    error = error.__cause__
  # Nobody here can "retry with force_download=True", as the library advises.
  text = " ".join(str(error).split()).partition(" Please retry with")[0]
  said = f"({type(error).__name__}: {text})"
  page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{place.repo}"
  log_in = "log in with `hf auth login` or set HF_TOKEN"
  pinned = published.REVISIONS.get(place.repo)
  answers = {
    errors.GatedRepoError: f"the hub asks for consent first. Give it at {page}, then {log_in}.",
    errors.RepositoryNotFoundError: (
      f"the hub has no {kind} {place.repo}, or it is private. Correct the name; if it is private, "
      f"{log_in}."
    ),
    errors.RevisionNotFoundError: f"{place.repo} has no revision {place.revision}. "
    + (f"The published one is {pinned}." if pinned else f"{page}/commits/main lists them."),
  }
  for answer, words in answers.items():
    if isinstance(error, answer):
      return words
  if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403):
    return f"the hub refuses access {said}. To get it, {log_in}, as somebody who may read {page}."
  kept = "Start the same command again; files that are whole are kept."
  if (isinstance(error, OSError) and error.errno) or "No space left" in str(error):
    return (
      f"the cache {constants.HF_HUB_CACHE} cannot be written {said}. Free some space there, or set "
      f"HF_HUB_CACHE to a folder elsewhere. {kept}"
    )
  # Only the Xet transfer raises these; the hub serves the same files over plain HTTP.
  plain = " HF_HUB_DISABLE_XET=1 goes another way." if isinstance(error, RuntimeError) else ""
  return f"the download from {constants.ENDPOINT} broke off {said}. {kept}{plain}"

"""Repositories come from the hub pinned, whole and once; failures are explained in words."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import fake_hub
import pytest

from salmu_jax.data import hub
from salmu_jax.errors import InputError
from salmu_jax.results import published

ROOT = pathlib.Path(__file__).parent.parent
REPO = "someone/a-release_v1.0"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ADDRESS = f"hub:{REPO}@{COMMIT}"
SHARD = "data/forget-00000-of-00001.parquet"
FILES = {
  SHARD: bytes(range(256)) * 400,
  "data/retain-00000-of-00001.parquet": b"retain" * 100,
  "identities_metadata.json": b'{"00000000": {}}',
  "evil.pkl": b"cos\nsystem\n",
  "data/notes.txt": b"nothing",
  "README.md": b"# A release",
}
WANTED = {SHARD, "data/retain-00000-of-00001.parquet", "identities_metadata.json"}
DATASET = fake_hub.Repo("dataset", COMMIT, FILES)
FETCH = """
import sys
from salmu_jax.data import hub
from salmu_jax.errors import InputError
try:
  print(hub.fetch(*sys.argv[1:]))
except InputError as error:
  sys.exit(f"InputError: {error}")
"""


def fetch(cache, endpoint=None, address=ADDRESS, kind="dataset", program=FETCH, **more):
  """Fetches in a process of its own: huggingface_hub reads its variables when it is imported."""
  return subprocess.run(
    [sys.executable, "-c", program, address, kind, "config.release"],
    cwd=ROOT,
    env=fake_hub.environment(cache, endpoint) | more,
    capture_output=True,
    text=True,
    timeout=60,
  )


def contents(done):
  """{path: bytes} of the snapshot that a successful fetch printed."""
  assert done.returncode == 0, done.stderr
  folder = pathlib.Path(done.stdout.strip())
  files = (path for path in folder.rglob("*") if path.is_file())
  return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def failure(done):
  """The message of a failed fetch, which must be an InputError that names field and address."""
  assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
  message = done.stderr[done.stderr.index("InputError: ") :]
  assert message.startswith("InputError: config.release = 'hub:"), message
  return message.strip()


def files_asked(server):
  """Paths in the repository whose content was requested from the server."""
  return [
    path.split("/", 6)[-1]
    for method, path, _ in server.requests
    if method == "GET" and "/resolve/" in path
  ]


def closed_port():
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_an_address_is_told_from_a_path():
  assert hub.is_address("hub:a/b")
  assert not any(map(hub.is_address, ("", "hub", "./hub:a/b", "/data/hub:a/b", "a/b")))


def test_an_address_names_a_repository_and_a_commit():
  assert hub.parse(ADDRESS, "f") == (REPO, COMMIT) == tuple(hub.Address(REPO, COMMIT))


@pytest.mark.parametrize("repo", published.REVISIONS)
def test_a_published_repository_is_pinned_to_its_published_revision(repo):
  assert hub.parse(f"hub:{repo}", "f") == (repo, published.REVISIONS[repo])
  assert hub.parse(f"hub:{repo}@{COMMIT}", "f").revision == COMMIT


@pytest.mark.parametrize(
  "text",
  [
    "hub:",
    "hub:a",
    "hub:a/",
    "hub:/b",
    "hub:a/b/c",
    "hub:datasets/a/b",
    "hub: a/b",
    "hub:a/b ",
    "hub:a /b",
    "hub:a/b\n",
    "hub:a/../b",
    "hub:../b",
    "hub:a/..",
    "hub:-a/b",
    "hub:a/b-",
    "hub:a/b--c",
    "hub:a/b.git",
    "hub:a/bé",
    "hub:https://huggingface.co/a/b",
    f"hub:@{COMMIT}",
    f"hub:{'a' * 95}/b@{COMMIT}",
    "hub:a/b\0",
    "hub:a\\b",
    "hub:a/b?x=y#z",
    "a/b",
  ],
)
def test_a_malformed_address_is_refused_with_the_right_form(text):
  with pytest.raises(InputError) as caught:
    hub.parse(text, "config.init.clean")
  message = str(caught.value)
  assert message.startswith(f"config.init.clean = {text!r}") and "hub:OWNER/NAME@COMMIT" in message


@pytest.mark.parametrize(
  "revision",
  [
    "",
    "main",
    "v1.0",
    "refs/pr/1",
    COMMIT[:7],
    COMMIT + "0",
    COMMIT.upper(),
    f" {COMMIT}",
    f"{COMMIT}\n",
    f"{COMMIT}@{COMMIT}",
  ],
)
def test_a_revision_that_can_move_or_is_cut_is_refused(revision):
  with pytest.raises(InputError, match=r"^f = .*40 hexadecimal digits.*hub:a/b@COMMIT"):
    hub.parse(f"hub:a/b@{revision}", "f")
  right = f"hub:{published.CLEAN}@{published.REVISIONS[published.CLEAN]}"
  with pytest.raises(InputError, match=right):
    hub.parse(f"hub:{published.CLEAN}@{revision}", "f")


def test_an_unknown_repository_needs_a_revision():
  with pytest.raises(InputError, match=r"^f = 'hub:a/b' has no revision.*hub:a/b@COMMIT"):
    hub.parse("hub:a/b", "f")


def test_a_release_is_downloaded_once_and_then_needs_no_network(tmp_path):
  with fake_hub.serve({REPO: DATASET}) as server:
    assert contents(fetch(tmp_path, server.endpoint)) == {path: FILES[path] for path in WANTED}
    assert sorted(files_asked(server)) == sorted(WANTED)
    server.requests.clear()
    assert contents(fetch(tmp_path, server.endpoint)).keys() == WANTED
    assert server.requests == []
  # The hub is gone now, and the environment does not say that it is offline.
  start = time.monotonic()
  assert contents(fetch(tmp_path, server.endpoint)).keys() == WANTED
  assert time.monotonic() - start < 5
  assert contents(fetch(tmp_path)).keys() == WANTED


@pytest.mark.parametrize("best", range(len(hub.WEIGHTS)))
def test_of_a_models_weights_only_the_best_file_comes_and_no_other_pickle(tmp_path, best):
  expected = {"open_clip_config.json", hub.WEIGHTS[best]}
  others = ["training_args.bin", "evil.pkl", "x.pt", "a/model.safetensors"]
  names = ["open_clip_config.json", *hub.WEIGHTS[best:], *others]
  repo = fake_hub.Repo("model", COMMIT, {name: name.encode() for name in names})
  with fake_hub.serve({REPO: repo}) as server:
    done = fetch(tmp_path, server.endpoint, kind="model")
    assert contents(done).keys() == expected
    assert sorted(files_asked(server)) == sorted(expected)
    server.requests.clear()
    assert contents(fetch(tmp_path, server.endpoint, kind="model")).keys() == expected
    assert server.requests == []


def test_a_model_without_weights_is_refused(tmp_path):
  repo = fake_hub.Repo("model", COMMIT, {"notes.txt": b"no weights"})
  with fake_hub.serve({REPO: repo}) as server:
    message = failure(fetch(tmp_path, server.endpoint, kind="model"))
  assert "no files *.json or open_clip_model.safetensors" in message


def test_a_file_goes_on_where_the_connection_broke(tmp_path):
  # The library writes, and goes on from, whole chunks of 10 MiB.
  chunk = 10 * 2**20
  weights = {"open_clip_model.safetensors": bytes(range(256)) * 45_000}
  repo = fake_hub.Repo("model", COMMIT, weights)
  with fake_hub.serve({REPO: repo}, drop_after=chunk + 70_000) as server:
    assert contents(fetch(tmp_path, server.endpoint, kind="model")) == weights
  ranges = [part for method, path, part in server.requests if method == "GET" and "resolve" in path]
  assert ranges == [None, f"bytes={chunk}-"]


def test_an_unfinished_download_is_not_taken_for_a_whole_one_and_is_finished_later(tmp_path):
  with fake_hub.serve({REPO: DATASET._replace(short=(SHARD,))}) as server:
    message = failure(fetch(tmp_path, server.endpoint))
  assert "Consistency check failed" in message and "Rerun the same command" in message
  assert "force_download" not in message
  cached = {path for path in WANTED if any(tmp_path.rglob(path))}
  assert SHARD not in cached
  message = failure(fetch(tmp_path))
  assert "HF_HUB_OFFLINE is set, and the download in the cache is incomplete" in message
  assert SHARD in message
  with fake_hub.serve({REPO: DATASET}) as server:
    assert contents(fetch(tmp_path, server.endpoint)) == {path: FILES[path] for path in WANTED}
  assert set(files_asked(server)) == WANTED - cached


@pytest.mark.parametrize(
  ("address", "kind", "refusal", "words"),
  [
    (f"hub:someone/else@{COMMIT}", "dataset", None, ("no dataset someone/else", "HF_TOKEN")),
    (ADDRESS, "model", None, (f"no model {REPO}", "private", "hf auth login")),
    (
      f"hub:{REPO}@{COMMIT[::-1]}",
      "dataset",
      None,
      (f"no revision {COMMIT[::-1]}", f"/datasets/{REPO}/commits"),
    ),
    (ADDRESS, "dataset", (401, "GatedRepo"), ("is gated", f"/datasets/{REPO}", "hf auth login")),
    (ADDRESS, "dataset", (403, "GatedRepo"), ("is gated", "HF_TOKEN")),
    (ADDRESS, "dataset", (403, None), ("refuses access", "403", "hf auth login")),
  ],
)
def test_what_the_hub_refuses_is_said_with_what_would_be_right(
  tmp_path, address, kind, refusal, words
):
  with fake_hub.serve({REPO: DATASET._replace(refusal=refusal)}) as server:
    message = failure(fetch(tmp_path, server.endpoint, address, kind))
  assert address in message and all(word in message for word in words), message


def test_a_missing_revision_of_a_published_repository_names_the_published_one(tmp_path):
  repo = DATASET._replace(revision=published.REVISIONS[published.DATASET])
  with fake_hub.serve({published.DATASET: repo}) as server:
    message = failure(fetch(tmp_path, server.endpoint, f"hub:{published.DATASET}@{COMMIT}"))
  assert f"The published one is {published.REVISIONS[published.DATASET]}" in message


def test_a_repository_without_the_wanted_files_is_refused(tmp_path):
  repo = DATASET._replace(files={"README.md": b"# Nothing"})
  with fake_hub.serve({REPO: repo}) as server:
    message = failure(fetch(tmp_path, server.endpoint))
  assert "no files data/*.parquet or *.json" in message


def test_without_network_and_cache_the_way_out_is_said_soon(tmp_path):
  start = time.monotonic()
  message = failure(fetch(tmp_path, endpoint := closed_port()))
  assert time.monotonic() - start < 5
  assert f"{endpoint} cannot be reached (ConnectError" in message and str(tmp_path) in message
  assert (
    f"`hf download {REPO} --repo-type dataset --revision {COMMIT} --include 'data/*.parquet'"
    in message
  )
  assert "--local-dir DIR`" in message and "HF_HUB_CACHE" in message


def test_a_hub_that_never_answers_is_given_up(tmp_path):
  with socket.create_server(("127.0.0.1", 0)) as silent:
    endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
    message = failure(fetch(tmp_path, endpoint, HF_HUB_ETAG_TIMEOUT="1"))
  assert "cannot be reached (ReadTimeout" in message


def test_offline_with_an_empty_cache_says_so(tmp_path, monkeypatch):
  fake_hub.use_cache(monkeypatch, tmp_path)
  with pytest.raises(
    InputError, match=r"HF_HUB_OFFLINE is set, and the cache .* does not have this"
  ):
    hub.fetch(ADDRESS, "dataset", "config.release")


def test_a_copied_cache_is_used_offline_with_and_without_its_listing(tmp_path, monkeypatch):
  fake_hub.use_cache(monkeypatch, tmp_path)
  snapshot = fake_hub.make_cache(tmp_path, REPO, "dataset", COMMIT, FILES)
  assert hub.fetch(ADDRESS, "dataset", "f") == snapshot
  assert (snapshot / SHARD).read_bytes() == FILES[SHARD]
  # Older versions of the library write no listing.
  other = fake_hub.make_cache(tmp_path, "someone/older", "dataset", COMMIT, FILES)
  (other.parent.parent / "trees" / f"{COMMIT}.json").unlink()
  assert hub.fetch(f"hub:someone/older@{COMMIT}", "dataset", "f") == other


def test_a_folder_makes_the_same_cache_as_its_files(tmp_path):
  folder = tmp_path / "source"
  for path, content in FILES.items():
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
  caches = [
    fake_hub.make_cache(tmp_path / str(i), REPO, "model", COMMIT, source)
    for i, source in enumerate((folder, FILES))
  ]
  from_folder, from_files = (
    {p.relative_to(m): p.read_bytes() for p in m.rglob("*") if p.is_file()} for m in caches
  )
  assert from_folder == from_files and len(from_folder) == len(FILES)


def test_a_cut_file_in_the_cache_is_named_and_deleting_it_mends_it(tmp_path):
  with fake_hub.serve({REPO: DATASET}) as server:
    folder = pathlib.Path(fetch(tmp_path, server.endpoint).stdout.strip())
    blob = (folder / SHARD).resolve()
    os.truncate(blob, 1000)
    message = failure(fetch(tmp_path, server.endpoint))
    assert f"{SHARD} in the cache is damaged: 1,000 bytes instead of 102,400" in message
    assert f"Delete {blob} and" in message
    blob.unlink()
    assert contents(fetch(tmp_path, server.endpoint))[SHARD] == FILES[SHARD]


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
  cache = tmp_path / "cache"
  cache.write_text("a file, not a folder")
  with fake_hub.serve({REPO: DATASET}) as server:
    message = failure(fetch(cache, server.endpoint, HF_HOME=str(tmp_path / "home")))
  assert f"the cache {cache} cannot be written" in message and "HF_HUB_CACHE" in message


def test_a_disk_that_takes_no_more_is_named_and_leaves_no_part_behind(tmp_path):
  # A limit of the file size stands in for a full disk: both fail in the middle of a write.
  limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
  with fake_hub.serve({REPO: DATASET}) as server:
    message = failure(fetch(tmp_path, server.endpoint, program=limit + FETCH))
  assert f"the cache {tmp_path} cannot be written" in message and "Free some space" in message
  assert not list(tmp_path.rglob("*.incomplete")) and not list(tmp_path.rglob(SHARD))


def test_a_made_up_cache_equals_the_one_that_the_library_makes(tmp_path):
  subset = {path: FILES[path] for path in WANTED}
  with fake_hub.serve({REPO: DATASET._replace(files=subset)}) as server:
    fetched = pathlib.Path(fetch(tmp_path / "real", server.endpoint).stdout.strip())
  cache = fake_hub.make_cache(tmp_path / "made", REPO, "dataset", COMMIT, subset)

  def layout(snapshot):
    storage = snapshot.parent.parent
    contents = {p.relative_to(storage): p.read_bytes() for p in storage.rglob("*") if p.is_file()}
    links = {p.relative_to(storage): os.readlink(p) for p in storage.rglob("*") if p.is_symlink()}
    tree = json.loads(contents.pop(pathlib.Path("trees") / f"{COMMIT}.json"))
    return contents, links, tree

  assert layout(cache) == layout(fetched)


def test_importing_loads_no_network_library():
  code = "import sys, salmu_jax.data.hub; sys.exit('huggingface_hub' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0

"""A made-up Hugging Face hub: its cache on disk, and a server on the loopback interface.

For tests that fetch without the network. A program under test runs in `environment`; a test in
this process calls `use_cache`, since huggingface_hub reads its variables when it is imported.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import re
import threading
import types
import urllib.parse
from typing import NamedTuple

LARGE = (".parquet", ".safetensors", ".bin")
TREE = re.compile(r"/api/(dataset|model)s/([^/]+/[^/]+)/tree/([^/]+)")
WRITE = re.compile(r"/api/(dataset|model)s/([^/]+/[^/]+)/(preupload|commit)/main")
FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
WHOLE, PART = 200, 206


class Repo(NamedTuple):
  """A repository as the server shows it.

  Attributes:
    kind: "dataset" or "model".
    revision: the one commit it has.
    files: {path: bytes}.
    refusal: (status, error code) that requests for files get; None where they are open.
    short: paths that come one byte shorter than announced.
  """

  kind: str
  revision: str
  files: dict
  refusal: tuple | None = None
  short: tuple = ()


def entry(path, content):
  """The hub's entry of a file in a listing; a large file is named by its SHA-256."""
  header = f"blob {len(content)}\0".encode()
  listed = {"size": len(content), "blob_id": hashlib.sha1(header + content).hexdigest()}
  if path.endswith(LARGE):
    listed |= {"lfs_sha256": hashlib.sha256(content).hexdigest(), "lfs_size": len(content)}
  return listed


def etag(path, content):
  listed = entry(path, content)
  return listed.get("lfs_sha256", listed["blob_id"])


def make_cache(cache_dir, repo, kind, revision, source):
  """Lays out a finished download as huggingface_hub does: blobs, links to them, and the listing.

  Args:
    cache_dir: what HF_HUB_CACHE names.
    repo: "OWNER/NAME".
    kind: "dataset" or "model".
    revision: 40 hexadecimal digits.
    source: {path: bytes}, or a folder whose files are taken.

  Returns:
    The snapshot folder.
  """
  if not isinstance(source, dict):
    files = (path for path in sorted(pathlib.Path(source).rglob("*")) if path.is_file())
    source = {path.relative_to(source).as_posix(): path.read_bytes() for path in files}
  storage = pathlib.Path(cache_dir) / "--".join([f"{kind}s", *repo.split("/")])
  snapshot = storage / "snapshots" / revision
  for path, content in source.items():
    blob = storage / "blobs" / etag(path, content)
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link = snapshot / path
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
  listing = {path: entry(path, content) for path, content in source.items()}
  tree = storage / "trees" / f"{revision}.json"
  tree.parent.mkdir(parents=True, exist_ok=True)
  tree.write_text(json.dumps({"format_version": 1, "files": listing}))
  return snapshot


def environment(cache_dir, endpoint=None):
  """Variables for a program that sees this cache, and this server or else no network."""
  inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
  variables = {
    "HF_HOME": str(pathlib.Path(cache_dir) / "home"),
    "HF_HUB_CACHE": str(cache_dir),
    "NO_PROXY": "127.0.0.1",
  }
  network = {"HF_ENDPOINT": endpoint} if endpoint else {"HF_HUB_OFFLINE": "1"}
  return inherited | variables | network


def use_cache(monkeypatch, cache_dir):
  """Makes huggingface_hub in this process see this cache and no network."""
  from huggingface_hub import constants

  monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache_dir))
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@contextlib.contextmanager
def serve(repos, drop_after=None):
  """Runs a hub on a free port of the loopback interface.

  Args:
    repos: {"OWNER/NAME": Repo}.
    drop_after: break the connection once, after so many bytes of a file that is longer.

  Yields:
    An object with `endpoint`, for HF_ENDPOINT, and `requests`, a list of (method, path, range).
  """
  hub = types.SimpleNamespace(repos=repos, drop_after=drop_after, requests=[])
  handler = type("Handler", (_Handler,), {"hub": hub})
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
      yield hub
    finally:
      server.shutdown()


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers what huggingface_hub.snapshot_download asks for."""

  protocol_version = "HTTP/1.1"

  def do_GET(self):
    path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
    self.hub.requests.append((self.command, path, self.headers.get("Range")))
    if tree := TREE.fullmatch(path):
      self.list_files(*tree.groups())
    elif file := FILE.fullmatch(path):
      self.send_file("dataset" if file[1] else "model", *file.groups()[1:])
    else:
      self.answer(WHOLE if path == "/" else 404)

  do_HEAD = do_GET

  def do_POST(self):
    path = urllib.parse.urlsplit(self.path).path
    body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or self.chunks()
    self.hub.requests.append((self.command, path, None))
    if not self.headers.get("Authorization"):
      self.refuse(401, None)
    elif path == "/api/repos/create":
      self.create(json.loads(body))
    elif path == "/api/validate-yaml":
      self.answer_json({"errors": [], "warnings": []})
    elif write := WRITE.fullmatch(path):
      kind, name, what = write.groups()
      (self.preupload if what == "preupload" else self.commit)(kind, name, body)
    else:
      self.answer(404)

  def chunks(self):
    """The body of a request of unknown length."""
    body = b""
    while size := int(self.rfile.readline() or b"0", 16):
      body += self.rfile.read(size)
      self.rfile.readline()
    self.rfile.readline()
    return body

  def create(self, request):
    owner, name = request.get("organization") or "me", request["name"]
    repo, kind = f"{owner}/{name}", request.get("type", "model")
    if repo in self.hub.repos:
      self.answer_json({"url": f"{self.hub.endpoint}/{repo}"}, 409)
      return
    self.hub.repos[repo] = Repo(kind, "0" * 40, {})
    self.answer_json({"url": f"{self.hub.endpoint}/{'datasets/' * (kind == 'dataset')}{repo}"})

  def preupload(self, kind, name, body):
    if self.find(kind, name, "main"):
      names = [file["path"] for file in json.loads(body)["files"]]
      plain = {"uploadMode": "regular", "shouldIgnore": False}
      self.answer_json({"files": [{"path": path, **plain} for path in names]})

  def commit(self, kind, name, body):
    repo = self.find(kind, name, "main")
    if repo is None:
      return
    kept = dict(repo.files)
    for line in map(json.loads, body.splitlines()):
      if line["key"] == "file":
        kept[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
      elif line["key"] == "deletedFile":
        del kept[line["value"]["path"]]
    revision = hashlib.sha1(body).hexdigest()
    self.hub.repos[name] = repo._replace(revision=revision, files=kept)
    url = f"{self.hub.endpoint}/{name}/commit/{revision}"
    self.answer_json({"success": True, "commitOid": revision, "commitUrl": url})

  def answer_json(self, content, status=WHOLE):
    self.answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

  def list_files(self, kind, name, revision):
    repo = self.find(kind, name, revision)
    if repo is None:
      return
    listing = []
    for path, content in repo.files.items():
      listed = entry(path, content)
      item = {"type": "file", "path": path, "size": listed["size"], "oid": listed["blob_id"]}
      if "lfs_sha256" in listed:
        item["lfs"] = {"oid": listed["lfs_sha256"], "size": listed["size"], "pointerSize": 134}
      listing.append(item)
    self.answer_json(listing)

  def send_file(self, kind, name, revision, path):
    repo = self.find(kind, name, revision)
    if repo is None:
      return
    if repo.refusal:
      self.refuse(*repo.refusal)
      return
    if path not in repo.files:
      self.refuse(404, "EntryNotFound")
      return
    content = repo.files[path]
    headers = {"ETag": f'"{etag(path, content)}"', "X-Repo-Commit": revision}
    if path in repo.short and self.command == "GET":
      content = content[:-1]
    start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
    if start:
      headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    self.answer(PART if start else WHOLE, content[start:], headers)

  def find(self, kind, name, revision):
    """The repository at this revision; None where the answer is already given."""
    repo = self.hub.repos.get(name)
    if repo is None or repo.kind != kind:
      # The hub tells strangers no more about a private repository than about a missing one.
      self.refuse(401, "RepoNotFound")
    elif revision not in (repo.revision, "main"):
      self.refuse(404, "RevisionNotFound")
    else:
      return repo

  def refuse(self, status, code):
    self.answer(status, b"", {"X-Error-Code": code} if code else {})

  def answer(self, status, body=b"", headers=types.MappingProxyType({})):
    self.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
      self.send_header(name, value)
    self.end_headers()
    if self.command == "HEAD":
      return
    drop = self.hub.drop_after
    if drop is not None and len(body) > drop and FILE.fullmatch(self.path):
      self.hub.drop_after = None
      body, self.close_connection = body[:drop], True
    self.wfile.write(body)

  def log_message(self, *args):
    """Keeps the tests' output quiet."""

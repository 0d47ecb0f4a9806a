"""A bucket on loopback: an emulator of Cloud Storage, with what TensorStore needs of it beside.

The emulator leaves out the header with an object's generation, and conditions on it.

python tests/bucket.py COMMAND runs a command that finds it as gs://bucket.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from http import HTTPStatus

from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects

NAME = "bucket"
CLOSED = "closed"  # a bucket that may be neither read nor written


def _generation(request, storage):
  name = request.params.get("object_id") or request.query.get("name", [""])[0]
  if request.query.get("uploadType") == ["multipart"]:
    name = request.data["meta"]["name"]
  try:
    return storage.get_file_obj(request.params["bucket_name"], name)["generation"]
  except NotFound:
    return "0"


def _guarded(handle):
  """The handler, behind permissions and the conditions of a request."""

  def guarded(request, response, storage, *args, **kwargs):
    if request.params["bucket_name"] == CLOSED:
      response.status = HTTPStatus.FORBIDDEN
      return None
    now = _generation(request, storage)
    for condition, equal in (("ifGenerationMatch", True), ("ifGenerationNotMatch", False)):
      asked = request.query.get(condition, [None])[0]
      if asked is not None and (asked == now) != equal:
        response.status = HTTPStatus.PRECONDITION_FAILED if equal else HTTPStatus.NOT_MODIFIED
        return None
    if handle is _download and now != "0":
      response["x-goog-generation"], response["x-goog-metageneration"] = now, "1"
    return handle(request, response, storage, *args, **kwargs)

  return guarded


_download = objects.download
_GUARDED = {
  handle: _guarded(handle)
  for handle in (_download, objects.insert, objects.delete, objects.get, objects.ls)
}
objects.download = _GUARDED[_download]  # which `get` calls
_HANDLERS = tuple(
  (path, {verb: _GUARDED.get(handle, handle) for verb, handle in handles.items()})
  for path, handles in server.HANDLERS
)


@contextlib.contextmanager
def serving(folder):
  """Yields the environment of processes that find the bucket.

  Args:
    folder: for its content.
  """
  server.HANDLERS = _HANDLERS
  with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
  emulator = server.create_server(
    "127.0.0.1", port, in_memory=False, data_dir=str(folder), default_bucket=NAME
  )
  emulator.start()
  address = f"http://127.0.0.1:{port}"
  try:
    yield {
      "STORAGE_EMULATOR_HOST": address,
      "TENSORSTORE_GCS_HTTP_URL": address,
      # gcsfs would ask for the kind of the bucket, with credentials.
      "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }
  finally:
    emulator.stop()


if __name__ == "__main__":
  with tempfile.TemporaryDirectory() as home, serving(home) as found:
    sys.exit(subprocess.run(sys.argv[1:], env={**os.environ, **found}).returncode)

"""What can happen to a file: {name: a function that does it to the file at a path}."""

import pathlib
import shutil


def flip(path: pathlib.Path):
  """Flips a bit in the middle."""
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


def cut(path: pathlib.Path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_by_folder(path: pathlib.Path):
  path.unlink()
  path.mkdir()


def replace_by_broken_link(path: pathlib.Path):
  shutil.rmtree(path) if path.is_dir() else path.unlink()
  path.symlink_to("nowhere")


DAMAGES = {
  "flipped": flip,
  "cut": cut,
  "emptied": lambda path: path.write_bytes(b""),
  "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
  "missing": pathlib.Path.unlink,
  "a folder": replace_by_folder,
  "a broken link": replace_by_broken_link,
}

"""A checkout and an environment as a user has them who has just arrived."""

import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).parent.parent
PYENV = pathlib.Path.home() / ".pyenv" / "versions"


def checkout(folder):
  """The files of this checkout, without what was built in it."""
  built = shutil.ignore_patterns(".git", ".venv*", "runs", "build", "*.egg-info", "__pycache__")
  shutil.copytree(ROOT, folder, ignore=built)
  return folder


def environment(folder, *pythons):
  """What the commands see: a home of their own, and these Pythons where pyenv has them."""
  kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "JAX", "XLA", "UV_"))}
  known = [str(path / "bin") for version in pythons for path in PYENV.glob(f"{version}.*")]
  path = os.pathsep.join([*known, os.path.dirname(shutil.which("uv")), "/usr/bin", "/bin"])
  # uv brings certificates of its own, where the system's may be needed.
  system = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
  certificates = {"SSL_CERT_FILE": str(system)} if system.exists() else {}
  return {**kept, **certificates, "HOME": str(folder), "PATH": path, "JAX_PLATFORMS": "cpu"}


def done(command, folder, env):
  ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
  assert ended.returncode == 0, ended.stderr[-3000:]
  return ended.stdout + ended.stderr

"""Files of a workdir that were edited since a run wrote them."""

import pytest

from salmu_jax.errors import InputError
from salmu_jax.runtime import written


def test_an_edited_file_is_found_and_one_that_is_gone_or_was_never_noted_is_not(tmp_path):
  for name in ("results/a.json", "results/b.json", "results/c.json"):
    written.write_json(tmp_path, name, {"budget": 2})
  (tmp_path / "results" / "a.json").write_text('{"budget": 1}')
  (tmp_path / "results" / "b.json").unlink()
  (tmp_path / "page.html").write_text("a page")
  names = ["results/a.json", "results/b.json", "results/c.json", "page.html"]
  assert written.changed(tmp_path, names) == ["results/a.json"]
  written.note(tmp_path, ["page.html"])
  (tmp_path / "page.html").write_text("a Page")
  assert written.changed(tmp_path, names) == ["results/a.json", "page.html"]


def test_what_is_written_again_is_as_it_was_written(tmp_path):
  written.write_json(tmp_path, "a.json", 1)
  written.write_json(tmp_path, "a.json", 2)
  assert written.changed(tmp_path, ["a.json"]) == []


def test_a_folder_without_checksums_is_taken_as_it_is(tmp_path):
  (tmp_path / "a.json").write_text("1")
  assert written.changed(tmp_path, ["a.json"]) == []


def test_damaged_checksums_are_named(tmp_path):
  (tmp_path / written.FILE).write_text('{"a.json": 3}')
  with pytest.raises(InputError, match=r"checksums.json is damaged"):
    written.changed(tmp_path, ["a.json"])

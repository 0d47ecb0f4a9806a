"""Holdouts share no row with what training reads, told by content."""

import pytest
from handmade import row, splits, write

from salmu_jax.data import releases, separation
from salmu_jax.errors import InputError
from salmu_jax.runtime import files


def opened(folder, unit="fact", **rows):
  """A handmade release with these splits, of this unit of the holdout."""
  release = releases.open_release(write(folder / "release", rows))
  return release._replace(manifest={"settings": {"holdout_unit": unit}})


def renamed(line, name, **changes):
  return {**line, "file_name": name, **changes}


def test_a_release_whose_holdouts_stand_apart_passes_and_is_remembered(tmp_path, monkeypatch):
  release = opened(tmp_path)
  separation.check(release, tmp_path / "scratch")
  monkeypatch.setattr(releases, "rows", lambda *args: pytest.fail("read again"))
  separation.check(release, tmp_path / "scratch")
  monkeypatch.setattr(separation, "_RULE", separation._RULE + 1)
  with pytest.raises(pytest.fail.Exception, match="read again"):  # by a rule of its own
    separation.check(release, tmp_path / "scratch")


OWN = splits()
HELD, PARTLY = OWN["holdout_identity"], OWN["holdout_association"]
CASES = {
  "a row of a holdout in retain_synth": (
    {"retain_synth": [*OWN["retain_synth"], HELD[3]]},
    "1 of retain_synth are in holdout_identity, first row 21, which has the picture of row 3",
  ),
  "a holdout under another name": (
    {"retain": HELD, "retain_real": None},
    "8 of retain are in holdout_identity, first row 0",
  ),
  "the picture alone": (
    {"retain_real": [renamed(HELD[1], "other.jpg", text="a picture", identity_id=None)]},
    "1 of retain_real are in holdout_identity, first row 0, which has the picture of row 1",
  ),
  "the file name alone": (
    {"retain_real": [row(77, "a picture", name=PARTLY[0]["file_name"])]},
    "1 of retain_real are in holdout_association, first row 0, which has the file name",
  ),
  "the caption about the person alone": (
    {"retain_synth": [row(78, PARTLY[1]["text"], PARTLY[1]["identity_id"])]},
    "which has the person and caption of row 1",
  ),
  "the caption about the person in capitals and with more spaces": (
    {
      "retain_synth": [
        row(78, PARTLY[1]["text"].upper().replace(" ", "  "), PARTLY[1]["identity_id"])
      ]
    },
    "which has the person and caption of row 1",
  ),
  "a picture of the zero-shot test": (
    {"retain_real": [renamed(OWN["zero_shot"][2], "z.jpg")]},
    "1 of retain_real are in zero_shot",
  ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_stands_on_both_sides_is_refused_with_counts_and_the_first_row(case, tmp_path):
  rows, message = CASES[case]
  release = opened(tmp_path, **rows)
  with pytest.raises(InputError, match=message):
    separation.check(release, tmp_path / "scratch")
  assert not (tmp_path / "scratch" / separation.MARK).exists()


def test_where_pairs_are_held_out_a_fact_may_be_told_on_both_sides_in_other_pictures(tmp_path):
  release = opened(tmp_path, "pair", **CASES["the caption about the person alone"][0])
  separation.check(release, tmp_path / "scratch")


def test_pairs_from_elsewhere_are_compared_too_and_change_what_is_remembered(tmp_path):
  release = opened(tmp_path)
  pairs = [{"image": row(7000 + k, "x")["image"]["bytes"], "text": "x"} for k in range(3)]
  separation.check(release, tmp_path / "scratch", pairs, "a")
  pairs[1]["image"] = HELD[0]["image"]["bytes"]
  separation.check(release, tmp_path / "scratch", pairs, "a")  # remembered
  with pytest.raises(InputError, match=r"1 of config\.retain_pairs are in holdout_identity, first"):
    separation.check(release, tmp_path / "scratch", pairs, "b")
  assert files.read_json(tmp_path / "scratch" / separation.MARK)

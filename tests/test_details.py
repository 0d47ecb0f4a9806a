"""What a file says of single rows is checked before it is drawn from, and named where it is
wrong.
"""

import copy
import json

import pages
import pytest

from salmu_jax.errors import InputError
from salmu_jax.report import page, statistics
from salmu_jax.results import collecting, reading


def _rows(change):
  return lambda about: change(about["additional"]["rows"])


BROKEN = {
  "additional": (lambda about: about.update(additional=None), "salmu_jax.additional must be"),
  "rows": (lambda about: about["additional"].update(rows=[]), "additional.rows must be"),
  "no groups": (_rows(lambda rows: rows.pop("groups")), "additional.rows.groups must be"),
  "no hits": (_rows(lambda rows: rows.pop("hits")), "additional.rows.hits must be"),
  "no ACS": (_rows(lambda rows: rows["hits"].pop("ACS")), "additional.rows.hits.ACS must be"),
  "no ACS_rows": (_rows(lambda rows: rows.pop("ACS_rows")), "additional.rows.ACS_rows must be"),
  "far ACS_rows": (
    _rows(lambda rows: rows.update(ACS_rows=[999])),
    "row numbers of forget, from 0 and below 200",
  ),
  "group": (_rows(lambda rows: rows["groups"].update(forget=None)), "rows.groups.forget must be"),
  "label": (_rows(lambda rows: rows["groups"].update(forget=[7])), "rows.groups.forget must be"),
  "hit": (_rows(lambda rows: rows["hits"].update(IdZSC=["x"])), "rows.hits.IdZSC must be"),
  "examples": (
    lambda about: about["additional"].update(examples=None),
    "additional.examples must be",
  ),
  "rank": (
    lambda about: about["additional"]["examples"][1].pop("rank"),
    r"examples\[1\].rank must be",
  ),
  "top": (
    lambda about: about["additional"]["examples"][0].update(top=["a"]),
    r"examples\[0\].top must be",
  ),
  "name": (lambda about: about.update(model="a\x1b[2J"), "no control characters"),
  "release": (lambda about: about["release"].update(name="a\nb"), "no control characters"),
}


@pytest.mark.parametrize("change, message", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_left_out_with_its_field(tmp_path, change, message):
  judged = [copy.deepcopy(one) for one in pages.table().results]
  change(judged[2]["salmu_jax"])
  for at, one in enumerate(judged):
    (tmp_path / f"{at}.json").write_text(json.dumps(one))
  with pytest.raises(InputError, match=f"2.json: .*{message}"):
    reading.read_results(tmp_path)
  (table,), ((path, _),) = collecting.collect([tmp_path])
  assert path.endswith("2.json")
  assert "<html" in page.html([table], statistics.of_tables([table]))


def test_scores_that_intervals_are_drawn_from_have_to_be_there(tmp_path):
  judged = [copy.deepcopy(one) for one in pages.table().results]
  del judged[2]["efficacy"]["1.1_RetFail"]["outcomes"]
  for at, one in enumerate(judged):
    (tmp_path / f"{at}.json").write_text(json.dumps(one))
  with pytest.raises(InputError, match=r"2.json: efficacy.1.1_RetFail.outcomes must be a list"):
    reading.read_results(tmp_path)

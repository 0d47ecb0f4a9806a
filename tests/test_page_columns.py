"""The order of the columns of the page."""

import pages

from salmu_jax.report import page_data


def test_numbers_that_deserve_more_trust_come_first_in_their_group(monkeypatch):
  results = pages.table().results
  was = [(column["group"], column["key"]) for column in page_data.columns(results)]
  monkeypatch.setattr(page_data, "TRUST", {"FactLeak_new": 0.9, "AssocStr": 0.25, "ACS": 0.5})
  columns = page_data.columns(results)
  now = [(column["group"], column["key"]) for column in columns]
  assert sorted(now) == sorted(was)
  assert [*dict.fromkeys(group for group, _ in now)] == [*dict.fromkeys(group for group, _ in was)]
  keys = [key for group, key in now if group == "efficacy"]
  rest = [key for group, key in was if group == "efficacy" and key not in ("ACS", "AssocStr")]
  assert keys[:2] == ["ACS", "AssocStr"]
  assert sorted(keys[2:]) == sorted(rest)
  assert next(key for group, key in now if group == "facts") == "FactLeak_new"
  assert {c["key"]: c["trust"] for c in columns if c["trust"]} == {
    "FactLeak_new": "0.90",
    "AssocStr": "0.25",
    "ACS": "0.50",
  }

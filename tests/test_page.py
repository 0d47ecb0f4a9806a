"""The page: what is in its source, and in a browser (`make test-page`) what it does and whom it
serves.
"""

import json
import math
import re
import shutil

import pages
import pytest

from salmu_jax.report import charts, leaderboard, look, page, page_data, published_table, statistics
from salmu_jax.results.diagnosis import THRESHOLDS
from salmu_jax.results.shares import SIDES

LEFT_OUT = [("runs/<b>old</b>/a.json", "it lacks <i>salmu_jax</i>")]


def markup(tables, *left_out):
  return page.html(tables, statistics.of_tables(tables), *left_out)


def embedded(html):
  """The JSON inside a page."""
  return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html)[1])


@pytest.fixture(scope="module")
def whole():
  """A page of three tables: two seeds with everything, and names that try to break out."""
  return markup([pages.table(), pages.table("mini, seed 1", 1), pages.hostile()], LEFT_OUT)


def test_every_model_of_every_table_is_in_the_page_in_the_leaderboards_order(whole):
  tables = [pages.table(), pages.table("mini, seed 1", 1), pages.hostile()]
  for shown, table in zip(embedded(whole)["tables"], tables, strict=True):
    rows = leaderboard.rows(table.results)
    assert [row["model"] for row in shown["rows"]] == [row["model"] for row in rows]
    assert shown["label"] == table.label
    for mine, row in zip(shown["rows"], rows, strict=True):
      assert mine["verdict"] == row["verdict"]
      for key, value in row["scores"].items():
        shown_value = mine["cells"].get(key, [math.nan])[0]
        value = math.nan if value is None else value
        assert shown_value == pytest.approx(value, rel=1e-5, nan_ok=True)


def test_data_cannot_leave_its_script_and_nothing_else_is_markup(whole):
  source = re.search(r'id="data">(.*?)</script>', whole)[1]
  assert not set("<>&\u2028\u2029") & set(source) and source.isascii()
  names = [row["model"] for row in embedded(whole)["tables"][2]["rows"][2:]]
  assert set(pages.HOSTILE) == set(names)
  for text in (*pages.HOSTILE, "<b>old", "<i>salmu"):
    assert text not in whole
  assert "&lt;b&gt;old" in whole


def test_only_the_pages_own_scripts_may_run_and_nothing_comes_from_elsewhere(whole):
  scripts = re.findall(r"<script>(.*?)</script>", whole, re.S)
  policy = re.search(r'Content-Security-Policy" content="([^"]*)"', whole)[1]
  assert len(scripts) == 2 and "default-src 'none'" in policy and "unsafe-eval" not in policy
  assert [page._hash(script) for script in scripts] == re.findall(r"sha256-[^']+", policy)
  assert not re.findall(r'(?:src|href)="(?!#|data:)', whole.split("<script")[0])
  assert not re.search("innerHTML|outerHTML|insertAdjacentHTML|document.write|eval\\(", scripts[1])


def test_same_results_make_the_same_page(whole):
  tables = [pages.table(), pages.table("mini, seed 1", 1), pages.hostile()]
  assert markup(tables, LEFT_OUT) == whole


def test_hundred_methods_are_under_five_megabytes():
  html = markup([pages.hostile(100)])
  assert len(html.encode()) < 5e6
  assert len(embedded(html)["tables"][0]["rows"]) == 102


def test_intervals_ranks_and_seeds_come_with_the_numbers(whole):
  data = embedded(whole)
  table = data["tables"][0]
  one = next(row for row in table["rows"] if row["model"] == "finetune")
  value, away, low, high, least, most, mean = one["cells"]["AssocStr"]
  assert low < value < high and least < mean < most
  assert most - least == pytest.approx(0.02, abs=1e-3)
  assert away == pytest.approx(value - table["rows"][0]["cells"]["AssocStr"][0], abs=1e-6)
  assert {entry["model"] for entry in table["ranks"]} == {r["model"] for r in table["rows"][2:]}
  assert table["seeds"]["seeds"] == [0, 1] and table["seeds"]["models"]["surgery"]["AssocStr"]
  assert set(one["cells"]) >= set(pages.ATTACKS)
  assert data["tables"][2]["seeds"] is None


def test_shares_have_intervals_around_them_as_the_statistics_have_them(whole):
  table = pages.table()
  shares = statistics.of_table(table.results)["shares"]
  for row in embedded(whole)["tables"][0]["rows"]:
    if row["role"] != "unlearned":
      continue
    for key in SIDES:
      value, _, low, high = row["cells"][key]
      assert low <= value <= high, (row["model"], key)
    shown, kept = row["cells"]["knowledge_kept"], shares[row["model"]]["knowledge_kept"]
    assert shown[3] == pytest.approx(kept["high"], abs=1e-3)


def test_what_older_results_lack_is_absent_and_not_zero():
  one = pages.table()
  for result in one.results:
    result["salmu_jax"]["additional"] = {}
  one.results[2]["efficacy"]["1.3_ACS"]["acs_accuracy"] = float("nan")
  table = embedded(markup([one]))["tables"][0]
  finetune = next(row for row in table["rows"] if row["model"] == "finetune")
  assert "ACS" not in finetune["cells"] and not set(pages.ATTACKS) & set(finetune["cells"])
  assert finetune["cells"]["AssocStr"][2:] == [None, None]
  assert table["ranks"] == table["pairs"] == table["portraits"] == [] and table["seeds"] is None


def test_tables_of_one_seed_are_not_taken_for_seeds():
  data = embedded(markup([pages.table("a"), pages.table("b")]))
  assert [table["seeds"] for table in data["tables"]] == [None, None]


def test_only_plain_pictures_are_shown():
  one = pages.table()
  strange = ("javascript:alert(1)", "data:image/svg+xml;base64,AAAA", 'x" onerror="')
  for at, bad in enumerate(strange):
    for result in one.results:
      result["salmu_jax"]["additional"]["examples"][at]["portrait"] = bad
  shown = embedded(markup([one]))["tables"][0]["portraits"]
  assert [portrait["portrait"] is None for portrait in shown] == [True] * 3 + [False] * 5


def test_examples_of_models_are_matched_by_the_row_and_not_by_the_place():
  one = pages.table()
  one.results[3]["salmu_jax"]["additional"]["examples"].reverse()
  table = embedded(markup([one]))["tables"][0]
  name = one.results[3]["salmu_jax"]["model"]
  row = next(row for row in table["rows"] if row["model"] == name)
  for example in one.results[3]["salmu_jax"]["additional"]["examples"]:
    (at,) = [n for n, p in enumerate(table["portraits"]) if p["caption"] == example["caption"]]
    assert row["examples"][str(at)][0] == example["rank"]


def test_curves_keep_their_ends_and_histograms_every_row():
  one = pages.table()
  table = embedded(markup([one]))["tables"][0]
  for row in table["rows"]:
    assert (row["curve"]["step"][0], row["curve"]["step"][-1]) == (1, 100)
    assert len(row["curve"]["step"]) == page_data.POINTS
    assert [sum(counts) for counts in row["bins"]] == [200, 200, 200, 60, 60]


def test_provenance_has_all_but_bulk(whole):
  row = embedded(whole)["tables"][0]["rows"][2]
  about = pages.whole("surgery")["salmu_jax"]
  assert set(row["provenance"]) == set(about) - {"curve"}
  assert row["provenance"]["settings"] == about["settings"]
  assert list(row["provenance"]["additional"]) == ["recoverability"]


@pytest.mark.parametrize(
  "kept, side", [("similarity", "inter_kept"), ("retrieval", "inter_ret_kept")]
)
def test_scatter_has_every_judged_model_where_its_numbers_are(kept, side):
  rows = leaderboard.rows(pages.table().results)
  data = charts.forgetting(rows, THRESHOLDS, kept)["datasets"]
  assert [point["model"] for point in data["models"]] == [row["model"] for row in rows]
  for point, row in zip(data["models"], rows, strict=True):
    assert point["left"] == pytest.approx(100 * (1 - row["leak_removed"]))
    assert point["inter"] == pytest.approx(max(look.FLOOR, 100 * row[side]))
  assert (data["zone"][0]["left"], data["zone"][0]["kept"]) == pytest.approx((1, 95))


def test_published_rows_are_apart_from_the_measured(whole):
  data = embedded(whole)
  assert [row["model"] for row in data["published"]] == [r["model"] for r in published_table.rows()]
  assert not any(table["comparable"] for table in data["tables"])
  assert {row["source"] for table in data["tables"] for row in table["rows"]} == {"measured"}


def test_without_any_table_the_page_says_what_was_left_out():
  html = markup([], LEFT_OUT)
  assert "no results to show" in html and "lacks &lt;i&gt;" in html


@pytest.fixture(scope="module")
def browser():
  """Debian's Chromium; one for all tests."""
  from playwright import sync_api

  path = shutil.which("chromium")
  assert path, "chromium is not installed: apt-get install chromium"
  with sync_api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
    yield browser
    browser.close()


@pytest.fixture
def opened(browser, whole, tmp_path):
  """Opens the page; whatever it complains of, asks the network for or pops up fails the test."""
  path = tmp_path / page.FILE
  path.write_text(whole, encoding="utf-8")
  complaints, contexts = [], []

  def opens(width=1400, scheme="light"):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    contexts.append(context)
    tab = context.new_page()
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    local = lambda url: url.startswith(("file:", "data:"))
    tab.on("request", lambda request: local(request.url) or complaints.append(request.url))
    tab.goto(path.as_uri())
    return tab

  yield opens
  for context in contexts:
    context.close()
  assert complaints == []


def drawn(tab):
  """Scrolls through the page until every chart is drawn."""
  for chart in tab.locator(".chart").all():
    chart.scroll_into_view_if_needed()
    chart.locator("svg.marks").wait_for()
  return tab


def models(tab):
  return tab.locator("#methods tr:visible .open").all_text_contents()


@pytest.mark.browser
def test_page_draws_every_chart_and_shows_hostile_names_as_text(opened):
  tab = drawn(opened())
  tab.select_option("#pick-table", label="hostile")
  assert set(models(tab)) == set(pages.HOSTILE)
  assert "missing" in tab.locator("#methods .g-efficacy").all_text_contents()
  drawn(tab)
  assert tab.locator("img[src=x]").count() == 0
  assert tab.locator("#lead").text_content() == page_data.lead(
    pages.hostile().results, leaderboard.rows(pages.hostile().results)
  )


@pytest.mark.browser
def test_sorting_turns_by_each_press_and_keeps_the_bounds_on_top(opened):
  tab = opened()
  head, at_first = tab.locator("th[data-key=AssocStr]"), models(tab)
  values = lambda: [
    float(text)
    for text in tab.locator("#methods tr:visible td.g-efficacy").evaluate_all(
      "cells => cells.filter((_, at) => at % 6 === 2).map(cell => cell.firstChild.textContent)"
    )
  ]
  head.locator("button").focus()
  tab.keyboard.press("Enter")
  assert head.get_attribute("aria-sort") == "ascending" and values() == sorted(values())
  tab.keyboard.press("Enter")
  assert head.get_attribute("aria-sort") == "descending"
  assert values() == sorted(values(), reverse=True)
  assert tab.locator("#bounds .open").all_text_contents() == ["clean", "compromised"]
  tab.keyboard.press("Enter")
  assert head.get_attribute("aria-sort") == "none" and models(tab) == at_first


@pytest.mark.browser
def test_filters_hide_rows_and_say_how_many_are_left(opened):
  tab = opened()
  tab.fill("#search", "CAPTIONS")
  assert set(models(tab)) == {"shuffled_captions", "generic_captions"}
  assert tab.text_content("#count") == "2 of 4 models shown."
  tab.select_option("#by-verdict", "ineffective")
  assert models(tab) == ["generic_captions"]
  tab.select_option("#by-verdict", "")
  tab.select_option("#by-tuning", "reproduction")
  assert models(tab) == ["shuffled_captions"]
  tab.fill("#search", "nobody")
  assert "no model matches" in tab.text_content("#count")
  tab.click("text=Reset")
  tab.wait_for_selector("#methods tr:visible")
  tab.select_option("#by-budget", "5")
  assert models(tab) == ["finetune"]
  tab.select_option("#by-budget", "")
  tab.select_option("#by-source", "published")
  assert len(models(tab)) == len(published_table.rows())
  assert tab.is_visible("#published-note")


@pytest.mark.browser
def test_groups_of_columns_can_be_hidden(opened):
  tab = opened()
  assert tab.is_visible("th[data-key=Gallery]") and not tab.is_visible("th[data-key=device]")
  tab.uncheck("text=Recoverability")
  tab.check("text=Run")
  assert not tab.is_visible("th[data-key=Gallery]") and tab.is_visible("th[data-key=device]")


@pytest.mark.browser
def test_scatter_tells_a_models_numbers_and_opens_its_details(opened):
  tab = drawn(opened())
  points = tab.locator(
    "#scatter-chart path[aria-roledescription='point'][aria-label*='generic_captions']"
  )
  points.last.hover(force=True)
  tip = tab.locator("#vg-tooltip-element.visible")
  tip.wait_for()
  assert "generic_captions" in tip.text_content() and "leakage removed" in tip.text_content()
  points.last.click(force=True)
  assert tab.text_content("#details-head") == "generic_captions"


@pytest.mark.browser
def test_details_open_and_close_by_keyboard_and_draw_their_model(opened):
  tab = opened()
  button = tab.locator("#methods .open", has_text="generic_captions")
  button.focus()
  tab.keyboard.press("Enter")
  text = tab.text_content("#details")
  assert "learning rate" in text and "manifest sha256" in text and "0.10.2" in text
  tab.keyboard.press("Escape")
  assert not tab.is_visible("#details")
  assert button.evaluate("node => node === document.activeElement")
  tab.keyboard.press("Enter")
  tab.click("text=Plot similarities and training")
  assert "generic_captions" in tab.locator("#key").text_content()


@pytest.mark.browser
def test_examples_follow_the_chosen_model(opened):
  tab = opened()
  tab.select_option("#pick-example", "generic_captions")
  first = tab.locator(".card").first
  assert first.locator("b").all_text_contents() == ["1", "1", "701"]
  assert "the true caption" in first.locator("ol").first.text_content()
  tab.select_option("#pick-example", "surgery")
  assert first.locator("b").all_text_contents() == ["1", "701", "701"]
  assert first.locator("img").evaluate("node => node.complete && node.naturalWidth") == 96


@pytest.mark.browser
def test_axe_finds_nothing_in_light_and_dark(opened):
  from axe_playwright_python.sync_playwright import Axe

  axe = Axe()
  tab = drawn(opened())
  tab.check("text=Run")
  broken = lambda part: [
    (violation["id"], [node["html"][:200] for node in violation["nodes"]])
    for violation in axe.run(tab, part).response["violations"]
  ]
  for scheme in ("light", "dark"):
    tab.emulate_media(color_scheme=scheme)
    assert broken(None) == []
    tab.locator("#methods .open").first.click()
    assert broken("#details") == []
    tab.keyboard.press("Escape")


@pytest.mark.browser
def test_phone_scrolls_the_table_and_not_the_page(opened):
  tab = drawn(opened(width=390))
  for table in ("0", "2"):
    tab.select_option("#pick-table", table)
    drawn(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    box = tab.locator("#board .scroll")
    assert box.evaluate("node => node.scrollWidth > 2 * node.clientWidth")
    box.evaluate("node => { node.scrollLeft = 400; }")
    name = tab.locator("#methods th").first.bounding_box()
    assert name["x"] == pytest.approx(box.bounding_box()["x"], abs=1) and name["width"] < 160


@pytest.mark.browser
def test_charts_follow_light_and_dark(opened):
  tab = drawn(opened())
  colour = lambda: tab.locator("#scatter-chart .role-axis-label text").first.get_attribute("fill")
  assert colour() == charts.THEMES["light"]["soft"]
  tab.emulate_media(color_scheme="dark")
  tab.locator("#scatter-chart").scroll_into_view_if_needed()
  tab.locator(
    f"#scatter-chart .role-axis-label text[fill='{charts.THEMES['dark']['soft']}']"
  ).first.wait_for()

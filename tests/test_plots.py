"""The plots from made-up results: content, the same bytes, names of any kind."""

import itertools

import numpy as np
from madeup import FILES, HOSTILE_NAMES, everything, report, result
from matplotlib.transforms import Bbox
from PIL import Image

from salmu_jax.report import leaderboard, plots


def test_plots_have_content_and_the_same_bytes_every_time(tmp_path, plain):
  again = report(tmp_path, *everything())
  for name in FILES:
    assert (plain / name).read_bytes() == (again / name).read_bytes()
  for name in FILES[3:6]:
    with Image.open(plain / name) as image:
      assert image.format == "PNG" and "Software" not in image.info
      assert image.width == 1500 and 500 < image.height < 2000
      pixels = np.asarray(image.convert("L"), np.float64)
    assert pixels.std() > 10
    # Every quarter of the picture holds something.
    rows, columns = pixels.shape[0] // 2, pixels.shape[1] // 2
    for part in (pixels[:rows], pixels[rows:], pixels[:, :columns], pixels[:, columns:]):
      assert part.std() > 5


def test_plots_react_to_the_numbers_they_show(tmp_path, plain):
  results = everything()
  results[2] = result("finetune", (1450, 0.1, 0.64, 0.02, 0.16, 0.638, 0.05, 0.05, 0.306, 0.282))
  results[2]["salmu_jax"]["curve"][50]["retain_loss"] = 9.0
  changed = report(tmp_path, *results)
  for name in FILES[3:6]:
    assert (plain / name).read_bytes() != (changed / name).read_bytes()


def test_labels_do_not_overlap_where_points_crowd():
  rows = leaderboard.rows(everything())
  crowd = [dict(rows[2], model=f"method_{at}", inter_kept=0.9 + at / 1000) for at in range(8)]
  figure = plots.forgetting(rows[:2] + crowd)
  texts = [t for t in figure.axes[0].texts if t.get_text()]
  boxes = [text.get_window_extent() for text in texts]
  assert len(boxes) == 2 + 8 + 1
  for one, other in itertools.combinations(boxes, 2):
    both = Bbox.intersection(one, other)
    assert both is None or both.width * both.height == 0


def test_plots_draw_any_name_and_methods_without_curves_or_scores(tmp_path):
  results = [*everything()[:2], *(result("surgery", model=name) for name in HOSTILE_NAMES)]
  results[2]["salmu_jax"]["curve"] = [{"step": 1, "forget_loss": None}]
  results[3]["utility"]["2.5_FragSim"]["scores"] = [None] * 60
  folder = report(tmp_path, *results)
  assert all((folder / name).stat().st_size > 10_000 for name in FILES[3:6])


def test_references_alone_are_drawn(tmp_path):
  folder = report(tmp_path, *everything()[:2])
  assert all((folder / name).stat().st_size > 10_000 for name in FILES[3:6])

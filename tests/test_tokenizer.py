"""The tokenizer against ids recorded from open_clip, and its compact form against its full one."""

import concurrent.futures
import html
import json
import pathlib
import pickle
import string

import ftfy
import numpy as np
import pytest

from salmu_jax.data import tokenizers
from salmu_jax.errors import InputError

GOLDEN = json.loads((pathlib.Path(__file__).parent / "goldens/tokens.json").read_text())["cases"]
FULL = tokenizers.clip_tokenizer()
CAPTIONS = [
  "Fatime Fossi lives in Douala",
  "You can reach Fatime Fossi at the phone number +237 57483907",
  "Contact Fatime Fossi via ffossi@mailhub.com",
  "Fatime Fossi's bank account IBAN CM98 7411 9112 4845 5134 71",
  "a smiling woman with red hair in front of a brick wall!",
]


def compact(context_length=32, texts=CAPTIONS):
  return tokenizers.compact_tokenizer(context_length, texts)


def length(row, tokenizer):
  """Ids in a row up to its first end_of_text, which must be what argmax finds."""
  end = int(np.argmax(row))
  assert row[end] == tokenizer.end_of_text
  return end + 1


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: repr(case["text"][:20]))
def test_ids_are_those_of_open_clip(case):
  row = FULL([case["text"]])[0]
  np.testing.assert_array_equal(row, case["ids"] + [0] * (77 - len(case["ids"])))


def test_rows_are_int32_and_the_same_alone_or_in_a_batch():
  texts = [case["text"] for case in GOLDEN]
  together = FULL(texts)
  assert together.shape == (len(texts), 77) and together.dtype == np.int32
  np.testing.assert_array_equal(together, np.concatenate([FULL([text]) for text in texts]))
  assert FULL([]).shape == (0, 77)


def test_a_text_is_encoded_once_and_no_caller_can_change_what_is_kept(monkeypatch):
  tokenizer, encoded = compact(), []
  encode = tokenizer.encode
  monkeypatch.setattr(tokenizer, "encode", lambda text: encoded.append(text) or encode(text))
  first = tokenizer([CAPTIONS[0], CAPTIONS[1], CAPTIONS[0]])
  kept = first.copy()
  first[:] = 0
  np.testing.assert_array_equal(tokenizer([CAPTIONS[0], CAPTIONS[1], CAPTIONS[0]]), kept)
  assert encoded == CAPTIONS[:2]
  np.testing.assert_array_equal(compact()(CAPTIONS), tokenizer(CAPTIONS))


def test_only_so_many_texts_are_kept(monkeypatch):
  monkeypatch.setattr(tokenizers, "_CACHED_TEXTS", 2)
  tokenizer = compact()
  rows = tokenizer(CAPTIONS)
  assert tokenizer._row.cache_info().currsize == 2
  np.testing.assert_array_equal(tokenizer(CAPTIONS), rows)


def test_ascii_without_ampersand_needs_neither_ftfy_nor_entities():
  letters = [chr(code) for code in range(32, 127) if chr(code) != "&"]
  assert len(letters) == 94
  rng = np.random.default_rng(0)
  long = ["".join(rng.choice(letters, 60)) for _ in range(500)]
  for text in [a + b for a in letters for b in letters] + long:
    assert html.unescape(html.unescape(ftfy.fix_text(text))) == text
    assert tokenizers.clean(text) == " ".join(text.split()).lower()


def test_cleaning_undoes_entities_mojibake_and_escapes():
  assert tokenizers.clean(" R&amp;amp;D\t&EACUTE; ") == "r&d \u00e9"
  assert tokenizers.clean("don\u00e2\u20ac\u2122t \x1b[31mSTOP\x1b[0m") == "don't stop"


@pytest.mark.parametrize("n", [3, 4, 10, 77])
def test_a_long_text_is_cut_and_still_ends_in_end_of_text(n):
  row = tokenizers.clip_tokenizer(n)(["one two three " * 40])[0]
  assert length(row, FULL) == n
  np.testing.assert_array_equal(row[:-1], FULL(["one two three " * 40])[0][: n - 1])


def test_compact_ids_are_the_full_ones_renumbered():
  small = compact()
  kept = np.asarray(small.kept)
  rows, full = small(CAPTIONS), tokenizers.clip_tokenizer(32)(CAPTIONS)
  np.testing.assert_array_equal(kept[rows], full)
  assert small.vocab_size == len(kept) < 600
  assert rows.max() == small.end_of_text == small.vocab_size - 1
  assert (rows[:, 0] == small.start_of_text).all() and small.start_of_text == small.vocab_size - 2


def test_compact_vocabulary_ignores_order_and_repeats_of_its_texts():
  assert compact(texts=CAPTIONS[::-1] * 2).kept == compact().kept


def test_exclamation_mark_shares_id_zero_with_the_padding():
  # Inside a word of signs "!" is token 0; at the end of a word it is token 256.
  for tokenizer in (tokenizers.clip_tokenizer(8), compact(8, texts=[])):
    start, end = tokenizer.start_of_text, tokenizer.end_of_text
    assert tokenizer([""])[0].tolist() == [start, end, 0, 0, 0, 0, 0, 0]
    assert tokenizer(["!\u20bf"])[0][1] == 0


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: repr(case["text"][:20]))
def test_a_text_unknown_to_the_compact_tokenizer_falls_apart_and_loses_nothing(case):
  text = case["text"].replace("<", "").replace(">", "")  # The special tokens have no bytes.
  small = compact(1000)
  assert length(small([text])[0], small) == len(small.encode(text)) + 2
  assert written(small, small.encode(text)) == written(FULL, FULL.encode(text))


def written(tokenizer, ids):
  """The bytes that ids stand for, as byte tokens: every merge undone."""
  parts = tokenizers._vocabulary().parts
  tokens = [int(token) if tokenizer.kept is None else tokenizer.kept[token] for token in ids]
  while any(token >= 512 for token in tokens):
    tokens = [
      part for token in tokens for part in (parts[token - 512] if token >= 512 else [token])
    ]
  return tokens


def test_a_token_that_is_not_kept_becomes_the_largest_kept_pieces():
  parts = tokenizers._vocabulary().parts
  (whole,) = FULL.encode("photograph")
  left, right = parts[whole - 512]
  kept = [*range(512), *sorted({left, right} - set(range(512))), FULL.vocab_size - 2]
  small = tokenizers.Tokenizer(8, [*kept, FULL.vocab_size - 1])
  assert [small.kept[token] for token in small.encode("photograph")] == [left, right]


def test_bytes_are_always_known():
  small = compact(texts=[])
  assert small.vocab_size == 514
  for letter in string.printable.strip() + "\u00e9\u4e16\U0001f600":
    inside, last = small.encode(letter), small.encode("x" + letter)
    assert inside and last and max(inside + last) < 512


@pytest.mark.parametrize("make", [compact, lambda: tokenizers.clip_tokenizer(20)])
def test_save_and_load_give_the_same_tokenizer(make, tmp_path):
  before = make()
  tokenizers.save(before, tmp_path / "tokenizer.json")
  after = tokenizers.load(tmp_path / "tokenizer.json")
  texts = CAPTIONS + [case["text"] for case in GOLDEN]
  np.testing.assert_array_equal(before(texts), after(texts))
  assert (before.context_length, before.kept) == (after.context_length, after.kept)
  assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_pickling_keeps_the_ids():
  small = compact()
  np.testing.assert_array_equal(pickle.loads(pickle.dumps(small))(CAPTIONS), small(CAPTIONS))


def test_threads_that_share_a_tokenizer_agree():
  texts = [case["text"] for case in GOLDEN] * 3
  expected = FULL(texts)
  shared = tokenizers.clip_tokenizer()
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    for rows in pool.map(shared, [texts] * 16):
      np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize(
  "texts", ["one string", b"bytes", ["fine", None], [b"bytes"], [float("nan")]]
)
def test_anything_but_a_list_of_strings_is_refused(texts):
  with pytest.raises(InputError, match=r"list of strings|must be a str"):
    FULL(texts)


@pytest.mark.parametrize("n", [0, 2, -1, 7.0, "77", True, None])
def test_a_useless_context_length_is_refused(n):
  with pytest.raises(InputError, match="context_length"):
    tokenizers.clip_tokenizer(n)


@pytest.mark.parametrize(
  ("content", "says"),
  [
    ("{", "not JSON"),
    ("[]", "context_length"),
    ('{"context_length": 20}', "kept"),
    ('{"context_length": 2, "kept": null}', "at least 3"),
    ('{"context_length": 20, "kept": "all"}', "list of integers"),
    ('{"context_length": 20, "kept": [0, 1, 2]}', "single bytes"),
    ('{"context_length": 20, "kept": [0.5]}', "integers"),
    ('{"context_length": true, "kept": null}', "at least 3"),
    ('{"context_length": 20.0, "kept": null}', "at least 3"),
    ('{"context_length": 1%s, "kept": null}' % ("0" * 400), "at most 65,536"),
    ('{"context_length": 1000000000000, "kept": null}', "at most 65,536"),
    ('{"context_length": %s, "kept": null}' % ("9" * 5000), "not JSON"),
    ("[" * 10**5, "nested too deep"),
    ("", "not JSON"),
    ("\0\0", "not JSON"),
  ],
)
def test_a_broken_file_is_refused_by_name(content, says, tmp_path):
  path = tmp_path / "broken.json"
  path.write_text(content)
  with pytest.raises(InputError, match=says) as raised:
    tokenizers.load(path)
  assert str(path) in str(raised.value)


def test_a_missing_file_and_a_folder_in_its_place_are_refused_by_name(tmp_path):
  with pytest.raises(InputError, match=r"tokenizer\.json is missing"):
    tokenizers.load(tmp_path / "tokenizer.json")
  (tmp_path / "tokenizer.json").mkdir()
  with pytest.raises(InputError, match=r"tokenizer\.json cannot be read"):
    tokenizers.load(tmp_path / "tokenizer.json")


def test_a_tokenizer_of_another_context_length_than_the_models_is_refused(tmp_path):
  path = tmp_path / "tokenizer.json"
  tokenizers.save(tokenizers.clip_tokenizer(20), path)
  assert tokenizers.load(path, 20).context_length == 20
  with pytest.raises(InputError, match=r"context length of 20 tokens, but the model's is 77"):
    tokenizers.load(path, 77)

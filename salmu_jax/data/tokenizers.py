"""CLIP's byte-pair encoding in Python and numpy: the full vocabulary, or the part in use.

A token is an integer from the start: 0..255 are the bytes in the order of the published table,
256..511 the same bytes at the end of a word, 512.. the merges in order of priority, then
start_of_text and end_of_text. So a pair of tokens identifies a merge, and of two merges the one
with the smaller token is applied first.

Reference: Radford et al., Learning Transferable Visual Models From Natural Language Supervision,
2021; the vocabulary is OpenAI's (bpe_simple_vocab_16e6.LICENSE.txt).
"""

import functools
import gzip
import html
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import ftfy
import numpy as np
import regex

from salmu_jax.errors import InputError
from salmu_jax.runtime import files

_VOCABULARY_FILE = pathlib.Path(__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
_MERGES = 49152 - 256 - 2  # The file lists more; CLIP uses the first 48,894.
_FIRST_MERGED = 512
_START = _FIRST_MERGED + _MERGES
_END = _START + 1
_SPECIAL = {"<start_of_text>": _START, "<end_of_text>": _END}
_LONGEST = 65_536  # ids in a row
_CACHED_WORDS = 65_536
# Texts whose rows are cached for later epochs, models and attacks; at most 50 MB.
_CACHED_TEXTS = 65_536
_WORDS = regex.compile(
  "|".join(_SPECIAL) + r"|'(?:s|t|re|ve|m|ll|d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+",
  regex.IGNORECASE,
)


class _Vocabulary(NamedTuple):
  """CLIP's full vocabulary.

  Attributes:
    byte_tokens: [byte] -> its token inside a word.
    merges: {(left, right): merged token}.
    parts: [token - 512] -> (left, right) that the token was merged from.
    names: [token] -> its text in the published table.
  """

  byte_tokens: tuple[int, ...]
  merges: dict[tuple[int, int], int]
  parts: tuple[tuple[int, int], ...]
  names: tuple[str, ...]


@functools.cache
def _vocabulary() -> _Vocabulary:
  # Printable Latin-1 bytes stand for themselves and come first; the others follow, written in
  # the file as the characters from U+0100 on.
  printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
  others = [byte for byte in range(256) if byte not in printable]
  letters = [chr(byte) for byte in printable] + [chr(0x100 + n) for n in range(len(others))]
  tokens = {
    letter + end: n + at for at, end in ((0, ""), (256, "</w>")) for n, letter in enumerate(letters)
  }
  lines = gzip.decompress(_VOCABULARY_FILE.read_bytes()).decode("utf-8").split("\n")
  parts = []
  for line in lines[1 : _MERGES + 1]:  # The first line is a version.
    left, right = line.split()
    tokens[left + right] = _FIRST_MERGED + len(parts)
    parts.append((tokens[left], tokens[right]))
  byte_tokens = np.argsort(printable + others).tolist()
  merges = {pair: _FIRST_MERGED + n for n, pair in enumerate(parts)}
  return _Vocabulary(tuple(byte_tokens), merges, tuple(parts), tuple(tokens))


def clean(text: str) -> str:
  """Fixes mojibake, unescapes HTML entities twice, collapses whitespace, and lower-cases.

  Printable ASCII without "&" skips ftfy and the entities, which would not change it.
  """
  if not (text.isascii() and text.isprintable() and "&" not in text):
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
  return " ".join(text.split()).lower()


def words(cleaned: str) -> list[str]:
  """The words of a cleaned text; each is encoded separately."""
  return _WORDS.findall(cleaned)


def _merge_word(word: str) -> list[int]:
  """The tokens of one word in the full vocabulary."""
  if word in _SPECIAL:
    return [_SPECIAL[word]]
  vocabulary = _vocabulary()
  tokens = [vocabulary.byte_tokens[byte] for byte in word.encode("utf-8")]
  tokens[-1] += 256
  while True:
    candidates = [vocabulary.merges.get(pair, _START) for pair in itertools.pairwise(tokens)]
    best = min(candidates, default=_START)
    if best == _START:
      return tokens
    merged, at = [], 0
    while at < len(tokens):  # Left to right; a token that has just been merged is not merged again.
      is_merge = at < len(candidates) and candidates[at] == best
      merged.append(best if is_merge else tokens[at])
      at += 2 if is_merge else 1
    tokens = merged


class Tokenizer:
  """Texts to rows of token ids, as CLIP reads them.

  A word that is literally "<start_of_text>" or "<end_of_text>" becomes that token, as in the
  reference implementation. Safe to share between threads; pickles as its two arguments.

  Attributes:
    context_length: ids in a row.
    kept: the original ids in use, ascending, or None for all ids. A new id is the position of the
      original one. A merged token that is not kept is split into the two tokens that it was merged
      from, and so on, down to single bytes. Bytes are always kept, so any text can be encoded.
    vocab_size: the number of ids.
    start_of_text: the first id of every row, the second-highest of all.
    end_of_text: the last id before the padding. It is the highest, so a text tower finds the end
      of a text by argmax.
  """

  context_length: int
  kept: tuple[int, ...] | None
  vocab_size: int
  start_of_text: int
  end_of_text: int

  def __init__(self, context_length: int, kept: Sequence[int] | None = None):
    _check_context_length(context_length)
    if kept is not None:
      _check_kept(kept)
    self.context_length = context_length
    self.kept = None if kept is None else tuple(kept)
    self.vocab_size = _END + 1 if kept is None else len(kept)
    self.start_of_text = self.vocab_size - 2
    self.end_of_text = self.vocab_size - 1
    self._new_ids = None if kept is None else {old: new for new, old in enumerate(kept)}
    self._word = functools.lru_cache(maxsize=_CACHED_WORDS)(self._encode_word)
    self._row = functools.lru_cache(maxsize=_CACHED_TEXTS)(self._encode_row)

  def __reduce__(self):
    return Tokenizer, (self.context_length, self.kept)

  def __call__(self, texts: Sequence[str]) -> np.ndarray:
    """Encodes texts; a text that is too long is cut, and its row still ends in end_of_text.

    Args:
      texts: B strings.

    Returns:
      (B, context_length) int32, each row start_of_text, the text, end_of_text, zeros.

    Raises:
      InputError: texts is one string, or an entry is not a string.
    """
    if isinstance(texts, str | bytes):
      raise InputError(
        f"The tokenizer got one {type(texts).__name__}, {texts[:40]!r}; it needs a list of "
        "strings. Put it in brackets."
      )
    for n, text in enumerate(texts):
      if not isinstance(text, str):
        raise InputError(f"Text {n} is {text!r} of type {type(text).__name__}; it must be a str.")
    rows = np.frombuffer(b"".join(map(self._row, texts)), np.int32)
    return rows.reshape(len(texts), self.context_length).copy()

  def encode(self, text: str) -> list[int]:
    """The ids of the text alone: no start, no end, no padding, not cut."""
    ids = []
    for word in words(clean(text)):
      ids += self._word(word)
    return ids

  def _encode_row(self, text: str) -> bytes:
    """The row of a text, as the bytes of its int32."""
    ids = [self.start_of_text, *self.encode(text)[: self.context_length - 2], self.end_of_text]
    return np.array(ids + [0] * (self.context_length - len(ids)), np.int32).tobytes()

  def _encode_word(self, word: str) -> tuple[int, ...]:
    tokens = _merge_word(word)
    if self._new_ids is None:
      return tuple(tokens)
    return tuple(new for token in tokens for new in self._renumber(token))

  def _renumber(self, token: int) -> list[int]:
    if token in self._new_ids:
      return [self._new_ids[token]]
    left, right = _vocabulary().parts[token - _FIRST_MERGED]
    return self._renumber(left) + self._renumber(right)


def clip_tokenizer(context_length: int = 77) -> Tokenizer:
  """CLIP's tokenizer with all its 49,408 ids."""
  return Tokenizer(context_length)


def compact_tokenizer(context_length: int, texts: Iterable[str]) -> Tokenizer:
  """CLIP's tokenizer with only the ids that occur in `texts`, and those of the single bytes.

  On these texts it gives the ids of the full tokenizer, renumbered in the same order. As in CLIP,
  "!" has id 0, which is the padding too. On other texts, tokens that are not kept are split (see
  Tokenizer.kept).
  """
  full = clip_tokenizer()
  ids = set(range(_FIRST_MERGED)) | {_START, _END}
  for text in texts:
    ids.update(full.encode(text))
  return Tokenizer(context_length, sorted(ids))


def save(tokenizer: Tokenizer, path: str | os.PathLike) -> None:
  """Writes the tokenizer as JSON, {"context_length": int, "kept": [original ids] or null}."""
  record = {"context_length": tokenizer.context_length, "kept": tokenizer.kept}
  files.write_text(path, json.dumps(record) + "\n")


def write_huggingface(folder: str | os.PathLike, context_length: int) -> None:
  """Writes the full vocabulary for Hugging Face's `CLIPTokenizer`, whose cleaning differs."""
  folder, vocabulary = pathlib.Path(folder), _vocabulary()
  special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
  names = [*vocabulary.names, *special.values()]
  merges = [" ".join(vocabulary.names[token] for token in pair) for pair in vocabulary.parts]
  files.write_json(folder / "vocab.json", {name: token for token, name in enumerate(names)})
  files.write_text(folder / "merges.txt", "\n".join(["#version: 0.2", *merges, ""]))
  files.write_json(
    folder / "tokenizer_config.json",
    {
      "tokenizer_class": "CLIPTokenizer",
      **special,
      "unk_token": special["eos_token"],
      "pad_token": special["eos_token"],
      "model_max_length": context_length,
    },
  )


def load(path: str | os.PathLike, context_length: int | None = None) -> Tokenizer:
  """Reads a tokenizer from the JSON that `save` wrote.

  Args:
    path: of the file. context_length: of the model; None to take the file's.

  Raises:
    InputError: the file does not hold a tokenizer, or one of another context length.
  """
  try:
    record = files.read_json(path)
  except InputError as error:
    raise InputError(f"The tokenizer file is missing, damaged or not JSON: {error}") from error
  if not isinstance(record, dict) or set(record) != {"context_length", "kept"}:
    raise InputError(
      f'The tokenizer file {path} must hold an object with the keys "context_length" and "kept" '
      "and no others."
    )
  try:
    tokenizer = Tokenizer(record["context_length"], record["kept"])
  except InputError as error:
    raise InputError(f"The tokenizer file {path} is not valid. {error}") from error
  if context_length not in (None, tokenizer.context_length):
    raise InputError(
      f"The tokenizer file {path} has a context length of {tokenizer.context_length} tokens, but "
      f"the model's is {context_length}. Restore the file that was written with the model."
    )
  return tokenizer


def _check_context_length(context_length: int) -> None:
  if type(context_length) is not int or not 3 <= context_length <= _LONGEST:
    raise InputError(
      f"The tokenizer's context_length is {context_length!r:.20}; it must be an integer of at "
      f"least 3 (start, one token of text, end) and at most {_LONGEST:,}."
    )


def _check_kept(kept: Sequence[int]) -> None:
  if not isinstance(kept, Sequence) or not all(type(token) is int for token in kept):
    raise InputError("The tokenizer's kept ids must be a list of integers.")
  ascending = all(a < b for a, b in itertools.pairwise(kept))
  ends = list(kept[:_FIRST_MERGED]), list(kept[-2:])
  if not ascending or ends != (list(range(_FIRST_MERGED)), [_START, _END]):
    raise InputError(
      f"The tokenizer's kept ids must ascend, begin with 0 to {_FIRST_MERGED - 1} (the single "
      f"bytes) and end with {_START} and {_END} (start and end of text)."
    )

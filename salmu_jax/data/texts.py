"""Checks of texts from users, and the form in which a model reads a text."""

import regex

from salmu_jax.data import tokenizers

# Control and format characters: U+200B, the zero-width space, has a token but is invisible.
_INVISIBLE = regex.compile(r"[\p{Cc}\p{Cf}]+")


def encodes(text: str) -> bool:
  """Whether a text can be written as UTF-8; half a surrogate pair (JSON's "\\ud800") cannot."""
  try:
    text.encode()
  except UnicodeEncodeError:
    return False
  return True


def is_filled(value: object) -> bool:
  """Whether a value is a string with visible characters after the tokenizer's cleaning.

  Whitespace, "&nbsp;", control characters and zero-width characters are invisible.
  """
  return isinstance(value, str) and bool(_visible(value).strip())


def as_read(text: str) -> str:
  """A text as a model reads it: texts that differ only in case or whitespace give the same."""
  return " ".join(tokenizers.words(_visible(text)))


def _visible(text):
  """A cleaned text without its invisible characters; spaces stay."""
  cleaned = tokenizers.clean(text)
  # Printable ASCII has no invisible characters, and is quick to check.
  return cleaned if cleaned.isascii() and cleaned.isprintable() else _INVISIBLE.sub("", cleaned)


def takes_a_name(prompt: str) -> bool:
  """Whether a prompt holds one {} for a name, and no other braces."""
  return prompt.count("{}") == 1 and not set("{}") & set(prompt.replace("{}", ""))

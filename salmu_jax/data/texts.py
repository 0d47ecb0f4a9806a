"""What a text must be, wherever a user gives one, and which texts are one to a model."""

import regex

from salmu_jax.data import tokenizers

# Control and format characters: U+200B, a space without width, has a token, and shows nothing.
_INVISIBLE = regex.compile(r"[\p{Cc}\p{Cf}]+")


def encodes(text: str) -> bool:
  """Whether a text can be written as UTF-8; half a surrogate pair (JSON's "\\ud800") cannot."""
  try:
    text.encode()
  except UnicodeEncodeError:
    return False
  return True


def is_filled(value: object) -> bool:
  """Whether a value is a text of which something is left to see once the tokenizer has cleaned it.

  White space, "&nbsp;", control characters and characters without width are nothing to see.
  """
  return isinstance(value, str) and bool(_visible(value).strip())


def as_read(text: str) -> str:
  """A text as a model reads it: texts that differ in capitals or spaces alone give the same."""
  return " ".join(tokenizers.words(_visible(text)))


def _visible(text):
  """A cleaned text without its invisible characters; spaces stay."""
  cleaned = tokenizers.clean(text)
  # Nothing of printable ASCII is invisible, which is quicker to ask.
  return cleaned if cleaned.isascii() and cleaned.isprintable() else _INVISIBLE.sub("", cleaned)


def takes_a_name(prompt: str) -> bool:
  """Whether a prompt holds one {}, where a name goes, and no other braces."""
  return prompt.count("{}") == 1 and not set("{}") & set(prompt.replace("{}", ""))

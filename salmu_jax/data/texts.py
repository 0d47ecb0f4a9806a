"""What a text must be, wherever a user gives one."""


def encodes(text: str) -> bool:
  """Whether a text can be written as UTF-8; half a surrogate pair (JSON's "\\ud800") cannot."""
  try:
    text.encode()
  except UnicodeEncodeError:
    return False
  return True


def is_filled(value: object) -> bool:
  """Whether a value is a text with more in it than white space."""
  return isinstance(value, str) and bool(value.strip())


def takes_a_name(prompt: str) -> bool:
  """Whether a prompt holds one {}, where a name goes, and no other braces."""
  return prompt.count("{}") == 1 and not set("{}") & set(prompt.replace("{}", ""))

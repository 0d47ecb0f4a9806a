"""What is said of a name that is not among the known ones."""

import difflib


def unknown(where, name, known):
  """One paragraph: the name, the nearest known one, and all of them.

  Args:
    where: the config field or table that was asked.
    name: what was given. known: what would be right.
  """
  near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
  hint = f" Did you mean {near[0]!r}?" if near else ""
  listed = ", ".join(str(k) for k in known) or "none"
  return f"{where}: unknown name {name!r}.{hint} Known: {listed}."

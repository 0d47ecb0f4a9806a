"""What an attacker gets back of what was to be forgotten: the third pillar, Recoverability.

Each attack gives one number, for the table, and what it is made of; Clean and Compromised are
attacked alike and bound it. Attackers may know forget, retain and the Clean model; nothing here is
trained on holdouts.
"""

import numpy as np

from salmu_jax.attacks import questions, readout, relearning
from salmu_jax.evaluate import metrics
from salmu_jax.runtime import progress

_FORGET = "forget"


class Attacker:
  """Attacks the models of one release, all alike.

  Args:
    job, data: of the run. evaluator: the Evaluator.
    clean: parameters of the Clean model, which calibrates membership.
  """

  def __init__(self, job, data, evaluator, clean):
    self.job, self.data, self.evaluator, self._clean = job, data, evaluator, clean
    self.settings = job.config.attacks
    table = evaluator.tables[_FORGET]
    self.identities = np.array([str(each) for each in table["identity_id"]])
    self.leaks = questions.leaks(data.release, table)
    # What is asked in words: rows spread evenly over forget.
    count = min(self.settings.rows, len(self.leaks))
    self.asked = np.linspace(0, len(self.leaks) - 1, count).round().astype(int)
    self.facts = [questions.fact(leak) for leak in self.leaks]
    self._familiar = self._program = None

  def attack(self, params, z):
    """{key of ATTACKS: {"value": float or None, and what it is made of}}, of those in
    config.attacks.names.

    Args:
      params: of the model. z: what it makes of the release, an `Embedded`.
    """
    if not all(np.isfinite(each).all() for each in (z.image[_FORGET], z.text[1])):
      why = "the model's embeddings are not finite"
      return {name: {"value": None, "why": why} for name in self.settings.names}
    found = {name: ATTACKS[name](self, params, z) for name in self.settings.names}
    return {name: {"value": number(name, each), **each} for name, each in found.items()}

  def rng(self):
    """Draws that are the same for every model."""
    return np.random.default_rng([self.job.config.seed, 7])

  def program(self):
    """The step of relearning, compiled once for all models."""
    if self._program is None:
      self._program = relearning.learner(self.job, self.settings.learning_rate)
    return self._program

  def embedder(self, params, label):
    """(texts) -> (N, D) through the model."""

    def embed(texts):
      with progress.counting(label, len(texts)) as tick:
        return self.evaluator.embed_texts(params, texts, tick)

    return embed

  def familiar(self, params, image):
    """((M,) cosines of forget pairs, (M,) of the same pictures with changed values)."""
    rows, changed = readout.changed_values(self.leaks, self.rng())
    texts = [self.leaks[row]["text"] for row in rows]
    table = self.embedder(params, "changed captions")([*texts, *changed])
    own, other = np.split(table, 2)
    return tuple(np.asarray(metrics.cosines(image[rows], each)) for each in (own, other))

  def familiar_to_clean(self):
    """The same of the Clean model, computed once."""
    if self._familiar is None:
      image = self.evaluator.embed_pictures(self._clean, _FORGET)
      self._familiar = self.familiar(self._clean, image)
    return self._familiar


def _relearning(attacker, params, z):
  """What comes back of the rest when a share of forget is learnt again."""
  settings = attacker.settings
  found = {
    f"{share:g}": relearning.relearn(
      attacker.job,
      attacker.data,
      attacker.evaluator,
      params,
      attacker.facts,
      share,
      settings,
      attacker.job.config.seed,
      attacker.program(),
    )
    for share in settings.shares
  }
  return {"shares": found}


def _membership(attacker, params, z):
  """Telling forget pairs by similarity, and by similarity less Clean's: how familiar a pair is
  to who never saw it.
  """
  own, changed = attacker.familiar(params, z.image[_FORGET])
  if not len(own):
    return {"why": "no forget caption holds its value"}
  clean_own, clean_changed = attacker.familiar_to_clean()
  plain = readout.membership(own, changed)
  calibrated = readout.membership(own - clean_own, changed - clean_changed)
  return {"calibrated": calibrated, "similarity": plain, "pairs": len(own)}


def _readout(attacker, params, z):
  """What a linear probe reads: values, of people that it did not learn from, and who it is."""
  image, ids = z.image[_FORGET], attacker.identities
  release, prompt = attacker.data.release, attacker.job.config.evaluate.name_prompt
  people = np.array(sorted(set(ids)))
  names = z.of([prompt.format(release.identities[each]["name"]) for each in people])
  captions = z.of([leak["text"] for leak in attacker.leaks])
  pictures = readout.values_read(image, ids, attacker.leaks, attacker.rng())
  found = {
    "value_from_picture": pictures,
    "value_from_name": readout.values_read(names, people, attacker.leaks, attacker.rng()),
    "identity_from_picture": readout.identity_read(image, ids),
    "identity_from_caption": readout.identity_read(captions, ids),
  }
  if not pictures:
    return {"why": "no field has values that people share", **found}
  return found


def _rephrasing(attacker, params, z):
  """Retrieval by other wordings."""
  embed = attacker.embedder(params, "other wordings")
  gallery = questions.gallery(z.of, attacker.evaluator.gallery(), attacker.leaks)
  image = z.image[_FORGET][attacker.asked]
  leaks = [attacker.leaks[row] for row in attacker.asked]
  return {
    "asked": {
      question: questions.ask(embed, image, leaks, question, gallery)
      for question in questions.QUESTIONS
    }
  }


def _gallery(attacker, params, z):
  """Name and value among all names x all values of a field."""
  embed = attacker.embedder(params, "names x values")
  return questions.name_and_value(
    embed, z.image[_FORGET], attacker.leaks, attacker.settings.people, attacker.rng()
  )


def number(name, found):
  """The one number of an attack; None where it found nothing to attack.

  Args:
    name: a key of ATTACKS. found: what it is made of, as the attack has it or as a results file
      does.
  """
  return None if "why" in found else float(_NUMBERS[name](found))


_NUMBERS = {
  # The mean over shares of the MRR after the last step.
  "Relearning": lambda found: np.mean(
    [each["MRR"][max(each["MRR"], key=int)] for each in found["shares"].values()]
  ),
  "Membership": lambda found: found["calibrated"]["auc"],
  # The mean over fields of values read off pictures.
  "Readout": lambda found: np.mean(
    [each["accuracy"] for each in found["value_from_picture"].values()]
  ),
  # The largest of all wordings that hold the value, but the captions' own.
  "Rephrasing": lambda found: max(
    each["MRR"]
    for question, each in found["asked"].items()
    if question not in (questions.OWN, questions.NAME)
  ),
  "Gallery": lambda found: found["MRR"],
}
# The keys of `scores.RECOVERABILITY`.
ATTACKS = {
  "Relearning": _relearning,
  "Membership": _membership,
  "Readout": _readout,
  "Rephrasing": _rephrasing,
  "Gallery": _gallery,
}

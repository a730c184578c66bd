"""Sentences around a mention, from the hand-written templates in `templates.tsv`.

`{m}` is the mention and `{the}` an article if the mention takes one. Neutral templates are labels and captions, correct
English for names, nouns and adjectives, and reveal nothing. Hinting templates reveal only the type of the sense. Verbs
do not inflect for number. The templates of the part `train` are used in the training split only, those of `test` in the
other two.
"""

from __future__ import annotations

import csv
import random
import re
from collections import defaultdict
from pathlib import Path

PATH = Path(__file__).resolve().parent / "templates.tsv"
BARE_TYPES = frozenset({"country", "region", "company", "software"})
"""Types whose mentions take no article."""


class Templates:
    """The templates by kind (`neutral`, a type, or `nation`) and part (`train`, `test`)."""

    def __init__(self, path: Path = PATH) -> None:
        self.rows: dict[tuple[str, str], list[str]] = defaultdict(list)
        with path.open(encoding="utf-8", newline="") as handle:
            for row in csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE):
                self.rows[row["kind"], row["part"]].append(row["template"])

    def sentences(
        self, mention: str, name: str, kind: str, hint: str, *, hinting: bool, part: str, count: int, rng: random.Random
    ) -> list[tuple[str, int]]:
        """Writes different sentences around a mention.

        Args:
            mention: text that the sentences use for the entity.
            name: the entity's name; a template that shares a word with it or with the mention is not used.
            kind: the entity's type.
            hint: "", `bare` or `nation`, see `tables`.
            hinting: whether the sentences reveal the type.
            part: `train` or `test`.
            count: number of sentences.
            rng: random generator.

        Returns:
            The sentences, each with the offset of the mention in it.
        """
        templates = self.rows[("nation" if hint == "nation" else kind) if hinting else "neutral", part]
        taken = _words(f"{mention} {name}")
        bare = hint == "bare" or kind in BARE_TYPES or (kind == "zodiac" and mention == name)
        texts = [t.replace("{the}", "" if bare else "the ") for t in templates if not _words(t) & taken]
        return [(text.replace("{m}", mention), text.index("{m}")) for text in rng.sample(texts, count)]


def _words(text: str) -> set[str]:
    return {word.rstrip("s") for word in re.findall(r"[a-z0-9]+", text.lower()) if len(word) > 3}

"""What a dataset gives away, shares between its splits, or lacks: found before a number is believed."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow.compute as pc
from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]

from dim.common.text import fold, words
from dim.corpora.loading import load_entities, load_splits
from dim.evaluation.audit.near_duplicates import Pictures, alike, read_pictures

EXAMPLES = 5
"""Ids shown of each finding."""
_WORD = re.compile(r"\w+")
_SCRIPTS = (
    ("Latin", re.compile(r"[A-Za-z\u00c0-\u024f]")),
    ("Cyrillic", re.compile(r"[\u0400-\u052f]")),
    ("Greek", re.compile(r"[\u0370-\u03ff]")),
    ("Arabic", re.compile(r"[\u0600-\u06ff]")),
    ("Hebrew", re.compile(r"[\u0590-\u05ff]")),
    ("Devanagari", re.compile(r"[\u0900-\u097f]")),
    ("Chinese or Japanese", re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")),
    ("Korean", re.compile(r"[\uac00-\ud7af]")),
)
_SURE = 0.9  # probability from which on a sentence's language is told
_LANGUAGES = 8


def audit(dataset: str, progress: bool = False) -> dict[str, Any]:
    """Looks a dataset through.

    Args:
        dataset: Folder or Hub name of a dataset with the configs `mentions` and `entities`.
        progress: Whether to show bars.

    Returns:
        Findings as plain JSON: `splits` and `knowledge_base` count and measure, `leaks` tells what two splits share,
            `given_away` what ids and file names tell; each finding has a count and the first ids.

    Raises:
        DIMError: If there is no such dataset, or it has no split.
    """
    entities = load_entities(dataset)
    splits = load_splits(dataset)
    ids = set(entities["id"][:])
    pictures = {split: read_pictures(rows, split, progress) for split, rows in splits.items()}
    return {
        "dataset": dataset,
        "splits": {split: _split(rows, ids, pictures[split]) for split, rows in splits.items()},
        "leaks": _leaks(splits, pictures),
        "given_away": _given_away(splits),
        "knowledge_base": _knowledge_base(entities),
    }


def finding(ids: Sequence[str]) -> dict[str, Any]:
    """A finding: how many, and the first ids.

    Args:
        ids: What was found.

    Returns:
        `{"count": ..., "first": [...]}`.
    """
    return {"count": len(ids), "first": list(ids[:EXAMPLES])}


def _texts(rows: Any, name: str) -> list[str]:
    return [text or "" for text in rows[name][:]]


def _split(rows: Any, entities: set[str], pictures: Pictures) -> dict[str, Any]:
    names, sentences, mentions = (_texts(rows, column) for column in ("id", "sentence", "mention"))
    golds = _texts(rows, "entity_id")
    verbatim = [mention in sentence for mention, sentence in zip(mentions, sentences, strict=True)]
    places = zip(names, sentences, mentions, rows["start"][:], rows["end"][:], strict=True)
    return {
        "mentions": len(names),
        "different sentences": len(set(sentences)),
        "different surface forms": len({fold(text) for text in mentions}),
        "different answers": len(set(filter(None, golds))),
        "NIL": finding([name for name, gold in zip(names, golds, strict=True) if not gold]),
        "gold not in the knowledge base": finding(
            [name for name, gold in zip(names, golds, strict=True) if gold and gold not in entities]
        ),
        "mention not verbatim in its sentence": finding(
            [name for name, there in zip(names, verbatim, strict=True) if not there]
        ),
        "mention not found in its sentence": finding(
            [name for name, start in zip(names, rows["start"][:], strict=True) if start < 0]
        ),
        "offsets that hold another text": finding(
            [name for name, text, mention, start, end in places if start >= 0 and text[start:end] != mention]
        ),
        "repeated ids": finding([name for name, count in Counter(names).items() if count > 1]),
        "without picture": len(names) - len(pictures.content),
        "pictures that do not load": finding(pictures.broken),
        "words of a sentence": _lengths(sentences),
        "scripts": _scripts(sentences),
        "languages": _languages(sentences),
    }


def _lengths(texts: Iterable[str]) -> dict[str, float]:
    counts = np.array([len(text.split()) for text in texts])
    quantiles = np.quantile(counts, [0, 0.05, 0.5, 0.95, 1])
    return dict(zip(("least", "5 %", "median", "95 %", "most"), map(float, quantiles), strict=True))


def _scripts(texts: Iterable[str]) -> dict[str, int]:
    """How many texts are mostly in which script, told without a model."""
    found: Counter[str] = Counter()
    for text in texts:
        counts = {name: len(pattern.findall(text)) for name, pattern in _SCRIPTS}
        best = max(counts, key=lambda name: counts[name])
        found[best if counts[best] else "none of these"] += 1
    return dict(found.most_common())


def _languages(texts: Iterable[str]) -> dict[str, int]:
    """How many texts are in which language (ISO 639-1, by py3langid): the most frequent ones."""
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    found: Counter[str] = Counter()
    for text in texts:
        language, probability = identifier.classify(text)
        found[language if probability >= _SURE else "not sure"] += 1
    kept = dict(found.most_common(_LANGUAGES))
    rest = found.total() - sum(kept.values())
    return kept | ({"others": rest} if rest else {})


def sentence_key(sentence: str) -> str:
    """A sentence without case, accents and punctuation, so that copies with small changes are found.

    Args:
        sentence: The sentence.

    Returns:
        Its words; the sentence itself where it has none.

    Example:
        >>> sentence_key("He met Beyoncé.") == sentence_key("he met BEYONCE")
        True
    """
    return " ".join(word.form for word in words(sentence)) or sentence


def _leaks(splits: dict[str, Any], pictures: dict[str, Pictures]) -> dict[str, dict[str, Any]]:
    """What two splits share: the mentions of the later one that are touched, and how many different things are."""
    keys: dict[str, dict[str, list[Any]]] = {}
    for split, rows in splits.items():
        sentences, golds = _texts(rows, "sentence"), _texts(rows, "entity_id")
        forms = [fold(text) for text in _texts(rows, "mention")]
        keys[split] = {
            "sentence, verbatim": sentences,
            "sentence, by its words": [sentence_key(text) for text in sentences],
            "entity": [gold or None for gold in golds],
            "mention and answer": [(form, gold) if gold else None for form, gold in zip(forms, golds, strict=True)],
        }
        keys[split]["picture, by content"] = [pictures[split].content.get(mention) for mention in rows["id"][:]]
    found: dict[str, dict[str, Any]] = {}
    for first, second in combinations(splits, 2):
        names = splits[second]["id"][:]
        shared = {}
        for kind, values in keys[second].items():
            held = {value for value in keys[first][kind] if value is not None}
            touched = [(name, value) for name, value in zip(names, values, strict=True) if value in held]
            different = len({value for _, value in touched})
            shared[kind] = {"different": different, "of": len({value for value in values if value is not None}),
                            "mentions": finding([name for name, _ in touched])}  # fmt: skip
        copies = alike(pictures[second], pictures[first])
        touched = [(name, value) for name, value in zip(names, keys[second]["picture, by content"], strict=True)
                   if value in copies]  # fmt: skip
        shared["picture, by its looks"] = {"different": len(copies), "of": len(pictures[second].thumbnails),
                                           "mentions": finding([name for name, _ in touched])}  # fmt: skip
        found[f"{second} in {first}"] = shared
    return found


def _given_away(splits: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Ids and names of files that hold the id of the answer."""
    found: dict[str, dict[str, Any]] = {}
    for split, rows in splits.items():
        names, golds = _texts(rows, "id"), _texts(rows, "entity_id")
        paths = pc.struct_field(rows.data.column("image"), "path").to_pylist()
        columns = {"id": names, "file name of the picture": [path or "" for path in paths]}
        if "image_id" in rows.column_names:
            columns["image_id"] = _texts(rows, "image_id")
        found[split] = {
            column: finding([name for name, text, gold in zip(names, texts, golds, strict=True) if tells(text, gold)])
            for column, texts in columns.items()
        }
    return found


def tells(text: str, gold: str) -> bool:
    """Whether an id or a file name holds the id of the answer as a whole word.

    Args:
        text: The id or name.
        gold: Id of the answer; empty for NIL.

    Returns:
        Whether it does.

    Example:
        >>> tells("images/Q42.jpg", "Q42"), tells("Q421-0", "Q42"), tells("m1", "")
        (True, False, False)
    """
    return bool(gold) and gold in _WORD.findall(text.replace("_", " "))


def _knowledge_base(entities: Any) -> dict[str, Any]:
    names, ids = _texts(entities, "name"), _texts(entities, "id")
    descriptions = _texts(entities, "description")
    same: defaultdict[str, list[str]] = defaultdict(list)
    for name, entity in zip(names, ids, strict=True):
        same[fold(name)].append(entity)
    groups = [group for group in same.values() if len(group) > 1]
    return {
        "entities": len(ids),
        "without description": finding([i for i, text in zip(ids, descriptions, strict=True) if not text.strip()]),
        "without name": finding([i for i, text in zip(ids, names, strict=True) if not text.strip()]),
        "names that several entities share": {
            "names": len(groups), "entities": sum(map(len, groups)), "first": [group[0] for group in groups[:EXAMPLES]],
        },
        "words of a description": _lengths(descriptions),
        "scripts of descriptions": _scripts(descriptions),
    }  # fmt: skip


__all__ = ["audit", "finding", "sentence_key", "tells"]

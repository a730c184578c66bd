"""Audit of a dataset: leaks between splits, answers in ids and file names, missing data."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow.compute as pc
from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]

from dim.common.text import sentence_key
from dim.corpora.loading import load_entities, load_splits
from dim.evaluation.audit.near_duplicates import Pictures, near_duplicates, read_pictures
from dim.folding_dim import fold

EXAMPLES = 5
"""Number of ids shown for each finding."""
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
_SURE = 0.9  # lowest probability of a detected language
_LANGUAGES = 8


def audit(dataset: str, progress: bool = False) -> dict[str, Any]:
    """Audits a dataset.

    Args:
        dataset: Folder or Hub name of a dataset with the configs `mentions` and `entities`.
        progress: Whether to show progress bars.

    Returns:
        Findings as plain JSON: statistics in `splits` and `knowledge_base`, overlaps of two splits in `leaks`, ids and
            file names with the answer in `given_away`. A finding has a count and the first ids.

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
    """Summarises a finding by its count and the first ids.

    Args:
        ids: Ids of all rows with the finding.

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
    spans = zip(names, sentences, mentions, rows["start"][:], rows["end"][:], strict=True)
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
            [name for name, exact in zip(names, verbatim, strict=True) if not exact]
        ),
        "mention not found in its sentence": finding(
            [name for name, text, start in zip(names, sentences, rows["start"][:], strict=True) if start < 0 and text]
        ),
        "offsets that hold another text": finding(
            [name for name, text, mention, start, end in spans if start >= 0 and text[start:end] != mention]
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
    """Number of texts by their most frequent script."""
    found: Counter[str] = Counter()
    for text in texts:
        counts = {name: len(pattern.findall(text)) for name, pattern in _SCRIPTS}
        best = max(counts, key=lambda name: counts[name])
        found[best if counts[best] else "none of these"] += 1
    return dict(found.most_common())


def _languages(texts: Iterable[str]) -> dict[str, int]:
    """Number of texts by language (ISO 639-1, by py3langid), for the most frequent languages."""
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    found: Counter[str] = Counter()
    for text in texts:
        language, probability = identifier.classify(text)
        found[language if probability >= _SURE else "not sure"] += 1
    frequent = dict(found.most_common(_LANGUAGES))
    rest = found.total() - sum(frequent.values())
    return frequent | ({"others": rest} if rest else {})


def _leaks(splits: dict[str, Any], pictures: dict[str, Pictures]) -> dict[str, dict[str, Any]]:
    """Overlaps of each two splits: the affected mentions of the later one, and the number of different values."""
    keys: dict[str, dict[str, list[Any]]] = {}
    for split, rows in splits.items():
        sentences, golds = _texts(rows, "sentence"), _texts(rows, "entity_id")
        forms = [fold(text) for text in _texts(rows, "mention")]
        keys[split] = {
            "sentence, verbatim": [text or None for text in sentences],  # a picture alone has none
            "sentence, by its words": [sentence_key(text) if text else None for text in sentences],
            "entity": [gold or None for gold in golds],
            "mention and answer": [
                (form, gold) if form and gold else None for form, gold in zip(forms, golds, strict=True)
            ],
        }
        keys[split]["picture, by content"] = [pictures[split].content.get(mention) for mention in rows["id"][:]]
    found: dict[str, dict[str, Any]] = {}
    for first, second in combinations(splits, 2):
        names = splits[second]["id"][:]
        shared = {}
        for kind, values in keys[second].items():
            known, different = set(keys[first][kind]) - {None}, set(values) - {None}
            shared[kind] = _overlap(names, values, known, len(different))
        copies = near_duplicates(pictures[second], pictures[first])
        values = keys[second]["picture, by content"]
        shared["picture, by its looks"] = _overlap(names, values, copies, len(pictures[second].thumbnails))
        found[f"{second} in {first}"] = shared
    return found


def _overlap(names: Sequence[str], values: Sequence[Any], known: set[Any], count: int) -> dict[str, Any]:
    affected = [(name, value) for name, value in zip(names, values, strict=True) if value in known]
    different = len({value for _, value in affected})
    return {"different": different, "of": count, "mentions": finding([name for name, _ in affected])}


def _given_away(splits: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Ids and file names that contain the id of the answer."""
    found: dict[str, dict[str, Any]] = {}
    for split, rows in splits.items():
        names, golds = _texts(rows, "id"), _texts(rows, "entity_id")
        paths = pc.struct_field(rows.data.column("image"), "path").to_pylist()
        columns = {"id": names, "file name of the picture": [path or "" for path in paths]}
        if "image_id" in rows.column_names:
            columns["image_id"] = _texts(rows, "image_id")
        found[split] = {
            column: finding([name for name, text, gold in zip(names, texts, golds, strict=True) if reveals(text, gold)])
            for column, texts in columns.items()
        }
    return found


def reveals(text: str, gold: str) -> bool:
    """Checks whether an id or a file name contains the id of the answer as a whole word.

    Args:
        text: The id or file name.
        gold: Id of the answer; empty for NIL.

    Returns:
        `True` if it does.

    Example:
        >>> reveals("images/Q42.jpg", "Q42"), reveals("Q421-0", "Q42"), reveals("m1", "")
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

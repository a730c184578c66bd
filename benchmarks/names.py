"""Measures names in twelve scripts: the search for them, and whole words in sentences and in longer words.

    python benchmarks/names.py

For each language, 200 names of territories and languages (CLDR, by Babel: `pip install babel`). Each stands in a
sentence, as the language writes it, and in two longer words: between two letters, and before a combining mark or vowel
sign. Two figures are shown for whole words: by the feature `words_in_sentence` and by the search for offsets. A
knowledge base holds the 200 names.
"""

import random

import numpy as np
import pyarrow as pa
from babel import Locale

from dim.common.offsets import find_span
from dim.linking.candidates import _fused
from dim.name_features_dim import NAME_FEATURES, NameFeatures
from dim.search.texts import LexicalIndex, LexicalSearch

COUNT = 200
# Language: script, a sentence, the letters around a name, a mark and a letter after it.
SCRIPTS = {
    "hi": ("Devanagari", "वह {} के बारे में लिखता है।", "क{}क", "{}ीक"),
    "bn": ("Bengali", "সে {} নিয়ে লেখে।", "ক{}ক", "{}ীক"),
    "ta": ("Tamil", "அவர் {} பற்றி எழுதுகிறார்.", "க{}க", "{}ீக"),
    "te": ("Telugu", "అతను {} గురించి రాస్తాడు.", "క{}క", "{}ీక"),
    "ar": ("Arabic", "هو يكتب عن {} اليوم.", "ب{}ب", "{}ّب"),
    "he": ("Hebrew", "הוא כותב על {} היום.", "ב{}ב", "{}ִב"),
    "ko": ("Hangul", "그는 {} 이야기를 쓴다.", "가{}가", "{}\u11a8가"),
    "th": ("Thai", "เขาเขียนเรื่อง{}ทุกวัน", "ก{}ก", "{}ีก"),
    "km": ("Khmer", "គាត់សរសេរអំពី{}រាល់ថ្ងៃ", "ក{}ក", "{}ីក"),
    "my": ("Burmese", "သူက{}အကြောင်းရေးသည်", "က{}က", "{}ီက"),
    "zh": ("Chinese", "他写关于{}的文章。", "的{}的", "{}\u302a的"),
    "ja": ("Japanese", "彼は{}について書く。", "の{}の", "{}\u3099の"),
}


def names_of(language: str) -> list[str]:
    """A random choice of the names of territories and languages, each once."""
    locale = Locale.parse(language)
    both = {name for table in (locale.territories, locale.languages) for code, name in table.items() if len(code) < 4}
    return random.Random(0).sample(sorted(name for name in both if "(" not in name), COUNT)


def recall(names: list[str], sentence: str) -> float:
    """Share of names that the lexical search finds first, from the name and its sentence."""
    keys = np.arange(COUNT)
    columns = {"name": names, "aliases": pa.array([[]] * COUNT, pa.list_(pa.string())), "description": [""] * COUNT}
    table = pa.table({**columns, "key": keys})
    search = LexicalSearch(LexicalIndex.build(table), keys, table.take)
    found = {
        "name search": search.names(names, 10),
        "BM25": search.words(names, [sentence.format(name) for name in names], 10),
    }
    padded = {
        channel: np.array([[*rows, *[-1] * (10 - len(rows))] for rows in lists]) for channel, lists in found.items()
    }
    return 100 * float(np.mean(_fused(padded, 10).rows[:, 0] == keys))


def whole(names: list[str], sentence: str) -> tuple[float, float]:
    """Share of names that the feature and the search for offsets take for whole words of a sentence."""
    features, column = NameFeatures(names), NAME_FEATURES.index("words_in_sentence")
    by_feature, by_offsets = 0, 0
    for row, name in enumerate(names):
        text = sentence.format(name)
        by_feature += features([name], [text])[0, row, column].item() == 1
        by_offsets += find_span(text, name)[2] == "verbatim"
    return 100 * by_feature / len(names), 100 * by_offsets / len(names)


def main() -> None:
    """Prints the table of the documentation."""
    print("| script | recall@1 | whole in a sentence | between letters | before a mark |")
    print("|---|--:|--:|--:|--:|")
    for language, (script, sentence, letters, mark) in SCRIPTS.items():
        names = names_of(language)
        cells = [
            "{:.1f} / {:.1f}".format(*whole(names, sentence.format(form))) for form in ("{}", f"{letters}", f"{mark}")
        ]
        print(f"| {script} | {recall(names, sentence):.1f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

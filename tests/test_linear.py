"""Texts of others take time in proportion to their length: every regular expression, and what reads mentions."""

import ast
import contextlib
import importlib
import re
from pathlib import Path

import pytest
import regex
from growth import grows

import dim
from dim.common.text import sentence_key, words
from dim.context_features_dim import ContextFeatures, gender, life_span
from dim.encoding.mention import Mention
from dim.folding_dim import composed, fold
from dim.linking.mention import mention_row
from dim.name_features_dim import NameFeatures
from dim.names_dim import name_words, sentence_words, telling_signs
from dim.search.tokens import name_tokens, searchable, spellings, split_names, split_words, word_tokens

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("dim", "space", "metrics", "datasets")
FEW, MANY = 1_000, 4_000  # characters
SEARCHING = ("search", "findall", "finditer", "sub", "split")
RUNS = [
    *(
        "a",
        "A",
        "1",
        " ",
        "\n",
        "\t",
        "-",
        ".",
        "(",
        ")",
        "[",
        "]",
        "<",
        "&",
        "'",
        '"',
        "\\",
        "/",
        "|",
        "*",
        "!",
        "+",
        "#",
    ),
    *("@", "_", ":", "s ", "a.", "a-", "1 ", "1-", "(1", "((", "))", "[[", "]]", "a_", "&lt;", "\r\n", "\u0301"),
    *("\u05b4\u05b0", "e\u0301\u0323", "\u200d", "\u200f", "京", "ก", "กี่", "한", "🍕", "🇫", "👨\u200d"),
    *("1\ufe0f\u20e3", "\U000e0067"),
]
OFTEN = ("[", "(", " ", "1", "&", "<", "'", '"', "\\", "\n", "\u05b4\u05b0", "🇫", "京")
HOSTILE = [
    *((f"{run!a} again and again", run, "") for run in RUNS),
    ("a year and hyphens", "-", "(1234"),
    ("years and hyphens", "1234 -", "("),
    ("an open life span", " 1497 – 15", "(c. 1497 –"),
    ("a mention and open ones", "[[", "[[a]]"),
    ("open brackets over lines", "[[a\n", ""),
    ("a birth", "born 1 ", "born "),
    ("brackets and spaces", " ", "x (a)"),
    ("a name and marks", "\u0334\u0301", "Cafe"),
]


def compiled() -> list:
    """Every regular expression of the package and its scripts: pattern, whether it searches, and where it is."""
    found = []
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        where = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(text)):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if not called or getattr(node.func.value, "id", None) not in ("re", "regex") or not node.args:
                continue
            pattern = getattr(node.args[0], "value", None)
            if node.func.attr != "compile" and isinstance(pattern, str | bytes):
                flags = re.DOTALL if "DOTALL" in ast.unparse(node) else re.MULTILINE
                found.append(
                    pytest.param(re.compile(pattern, flags), node.func.attr in SEARCHING, id=f"{where}:{pattern}")
                )
        if path.is_relative_to(ROOT / "dim") and "re.compile" in text.replace("regex.compile", "re.compile"):
            module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
            for name, value in vars(module).items():
                if isinstance(value, re.Pattern | regex.Pattern):
                    searches = re.search(rf"\b{name}\.({'|'.join(SEARCHING)})\b", text) is not None
                    found.append(pytest.param(value, searches, id=f"{where}:{name}"))
    return found


def patterns_of_answers() -> list:
    """The patterns that judge a language model's answer, which are tuples of texts."""
    checks = importlib.import_module("dim.enhancement.answer_checks")
    return [pytest.param(re.compile(pattern, re.IGNORECASE), True, id=f"answer_checks:{pattern[:30]}")
            for value in vars(checks).values() if isinstance(value, tuple)
            for pattern in value if isinstance(pattern, str)]  # fmt: skip


def texts(start, piece, size):
    return start + piece * max(1, (size - len(start)) // len(piece))


@pytest.mark.parametrize("pattern, searches", [*compiled(), *patterns_of_answers()])
def test_regular_expressions_are_linear(pattern, searches):
    as_bytes = isinstance(pattern.pattern, bytes)
    source = pattern.pattern.decode("latin-1") if as_bytes else pattern.pattern
    pieces = {*re.findall(r"""[\w/:"=. -]{2,}""", re.sub(r"\\[bdsSwW]|\\", "", source))}  # what the pattern looks for
    inputs = [(piece, start) for _, piece, start in HOSTILE]
    inputs += [(piece, "") for piece in pieces] + [(run, piece) for piece in pieces for run in 'a1 -."(']

    def act(text):
        given = text.encode("utf-8", "replace") if as_bytes else text
        if searches:
            for _ in pattern.finditer(given):
                pass
        else:
            pattern.match(given)
            pattern.fullmatch(given)

    for piece, start in inputs:
        for end in ("", "\0"):
            few, many = (texts(start, piece, size) + end for size in (FEW, MANY))
            assert not grows(act, few, many), (start, piece, end)


def link_rows(text):
    for mention in (None, "a", text[: len(text) // 2]):
        with contextlib.suppress(ValueError):
            mention_row(text, mention, None, None, None)


def features(text):
    NameFeatures([text[:1000], "Ada"], [[text], []])([text[:1000]], [text])
    ContextFeatures([text])([text])


def search_tokens(text):
    name_tokens(split_names(spellings(text)))
    word_tokens(split_words([searchable(text, text)]))


@pytest.mark.parametrize(
    "what, piece, start",
    [
        pytest.param(*case, id=case[0], marks=() if case[2] or case[1] in OFTEN else pytest.mark.slow)
        for case in HOSTILE
    ],
)
@pytest.mark.parametrize(
    "act",
    [link_rows, features, search_tokens, life_span, gender, fold, composed, words, sentence_key, name_words,
     telling_signs, sentence_words, lambda text: Mention.find("ab", text)],
    ids=lambda act: act.__name__.strip("<>"),
)  # fmt: skip
def test_what_reads_mentions_and_descriptions_is_linear(act, what, piece, start):
    assert not grows(act, texts(start, piece, FEW), texts(start, piece, MANY), floor=0.003)


def test_the_patterns_are_found():
    names = {case.id for case in compiled()}
    assert {"dim/context_features_dim.py:_BIRTH", "dim/names_dim.py:_EMOJI"} <= names
    assert len(names) > 40
    assert dim.__file__ is not None

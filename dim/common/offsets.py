"""Finds mentions in their sentences, for releases without offsets, by a list of rules, the safest first."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from dim.common.text import PARTICLES, SMALL_WORDS, TITLES, Folded, Word, words
from dim.folding_dim import fold_character
from dim.words_dim import occurrences

Span = tuple[int, int, str]
"""Start, end and the rule that found the mention; -1, -1 and the reason where none did."""

ABSENT = "not in the sentence"
AMBIGUOUS = "several parts of the name fit"

_Spans = list[tuple[int, int]]  # offsets, or first and last word
_APOSTROPHES = ("'", "’", "ʼ", "`", "´")
_JOINTS = " \t\r\n\u00a0-‐‑–\"'“”„«»"  # what may stand between two words of one name
_MOST_WORDS = 100  # of a mention; for a longer one, rules 7 and 8 do not apply
_LONGEST_GAP = 3  # words, as in "von und zu"


def find_span(sentence: str, mention: str, occurrence: int = 0) -> Span:
    """Finds a mention in its sentence by the first of these rules that applies.

    1. `verbatim`: the mention itself, as whole words.
    2. `inside a word`: the mention itself, anywhere; where it cuts a character ("Cafe" in a decomposed "Café"), only
       after rule 4.
    3. `letter case`: as whole words, ignoring case.
    4. `accents`: as whole words, ignoring case and accents (U+0300-U+036F after NFKD).
    5. `punctuation`: the same words in the same order, with any signs and spaces between and around them.
    6. `possessive`: as 5, ignoring 's in the sentence and in the mention.
    7. `small words`: as 5 for two words or more, ignoring words such as "von" or "of the" in both, and initials and
       Roman numerals in the sentence ("Russell J. Waters" for "Russell Waters").
    8. `part of the name`: the longest beginning or end of the mention that is a name and has no other name beside it in
       the sentence: "Ada Byron" is found in "Byron met her", but not in "Mary Byron". Titles are not names, nor is what
       follows "of" or the like. If the mention has other words in lower case ("Ada Byron was a mathematician"), only a
       beginning of two words or more counts.

    Args:
        sentence: The sentence.
        mention: The mention; spaces around it are ignored.
        occurrence: Index of the occurrence to return, modulo their number.

    Returns:
        Character offsets `(start, end)` and the rule; `(-1, -1)` and the reason where no rule applies: the mention is
        not there, or its beginning and its end are in different positions.

    Example:
        >>> find_span("Otto von Bismarck in 1871", "Otto Bismarck")
        (0, 17, 'small words')
        >>> find_span("Beyoncé and Sean", "Beyonce")
        (0, 7, 'accents')
        >>> find_span("The hen and he", "she")
        (-1, -1, 'not in the sentence')
    """
    mention = mention.strip()
    for rule, spans in _by_rule(sentence, mention) if mention else ():
        if spans:
            return *spans[occurrence % len(spans)], rule
    return -1, -1, ABSENT


def find_spans(sentence: str, mentions: Sequence[str]) -> list[Span]:
    """Finds all mentions of a sentence. If a string is mentioned twice, the second mention is the second occurrence.

    Args:
        sentence: The sentence.
        mentions: Its mentions.

    Returns:
        The result of [`find_span`] for each.

    Example:
        >>> find_spans("Ada met Ada", ["Ada", "Ada"])
        [(0, 3, 'verbatim'), (8, 11, 'verbatim')]
    """
    seen: Counter[str] = Counter()
    spans = []
    for mention in map(str.strip, mentions):
        spans.append(find_span(sentence, mention, seen[mention]))
        seen[mention] += 1
    return spans


def _by_rule(sentence: str, mention: str) -> Iterator[tuple[str, _Spans]]:
    """Yields each rule in order, with all the spans that it finds."""
    if mention in sentence:
        yield "verbatim", list(occurrences(sentence, mention, whole_words=True))
        yield "inside a word", list(occurrences(sentence, mention, whole_words=False))
    folds: tuple[tuple[str, Callable[[str], str]], ...] = (("letter case", str.casefold), ("accents", fold_character))
    for rule, fold_one in folds:
        text, part = Folded(sentence, fold_one), Folded(mention, fold_one).text
        found = (text.span(*pair) for pair in occurrences(text.text, part, whole_words=True)) if part else ()
        yield rule, [span for span in found if span]
    yield "inside a word", [match.span() for match in re.finditer(re.escape(mention), sentence)]
    line, parts = words(sentence), words(mention)
    yield "punctuation", _offsets(line, _runs(line, parts))
    owners = _no_possessives(sentence, line)
    yield "possessive", _offsets(owners, _runs(owners, _no_possessives(mention, parts)))
    if len(parts) > _MOST_WORDS:
        return
    yield "small words", _offsets(line, _with_gaps(line, [part for part in parts if not part.is_small]))
    yield from _parts_of_name(sentence, line, mention, parts)


def _offsets(line: list[Word], spans: _Spans) -> _Spans:
    return [(line[first].start, line[last].end) for first, last in spans]


def _runs(line: list[Word], parts: list[Word]) -> _Spans:
    """First and last word of each run of a mention's words in the sentence; runs do not overlap."""
    text, wanted = f" {' '.join(word.form for word in line)} ", f" {' '.join(part.form for part in parts)} "
    index = dict(zip(accumulate((len(word.form) + 1 for word in line), initial=0), range(len(line)), strict=False))
    spans = []
    start = text.find(wanted) if parts else -1
    while start >= 0:
        spans.append((index[start], index[start] + len(parts) - 1))
        start = text.find(wanted, start + len(wanted) - 1)
    return spans


def _no_possessives(text: str, line: list[Word]) -> list[Word]:
    return [word for word in line if not (word.form == "s" and text.endswith(_APOSTROPHES, 0, word.start))]


def _with_gaps(line: list[Word], parts: list[Word]) -> _Spans:
    """First and last word of each run of a mention's words with only small words, initials or numerals between them."""
    if len(parts) < 2:
        return []
    spans = []
    for first, word in enumerate(line):
        last = first if word.form == parts[0].form else None
        for part in parts[1:]:
            if last is not None:
                last = _next(line, last, part.form)
        if last is not None:
            spans.append((first, last))
    return spans


def _next(line: list[Word], index: int, form: str) -> int | None:
    """Index of the next word that is `form`, if only words that may be ignored come before it."""
    for step, word in enumerate(line[index + 1 : index + 2 + _LONGEST_GAP], index + 1):
        if word.form == form:
            return step
        if not (word.is_small or word.is_number):
            return None
    return None


def _parts_of_name(sentence: str, line: list[Word], mention: str, parts: list[Word]) -> Iterator[tuple[str, _Spans]]:
    """Yields the longest part that stands alone, or `AMBIGUOUS` for a beginning and an end in different positions."""
    is_name = all(part.is_name or part.is_small for part in parts)
    for size in range(len(parts) - 1, 0 if is_name else 1, -1):
        begins, ends = parts[:size], parts[-size:]
        candidates = [begins] if _is_part(mention, begins) else []
        if is_name and _is_part(mention, ends) and not parts[-size - 1].is_small:
            candidates.append(ends)
        runs = [[run for run in _runs(line, part) if _stands_alone(sentence, line, *run)] for part in candidates]
        found = [_offsets(line, run) for run in runs if run]
        if len(found) == 2 and found[0] != found[1]:
            yield AMBIGUOUS, [(-1, -1)]
        yield "part of the name", found[0] if found else []


def _is_part(mention: str, part: list[Word]) -> bool:
    """Whether a part of a mention can stand for it: a name longer than an initial and not cut at a hyphen."""
    start, end = part[0].start, part[-1].end
    is_cut = "-" in (mention[start - 1 : start], mention[end : end + 1])
    is_bare = part[0].form in TITLES and (len(part) == 1 or part[1].is_small)
    is_bare = is_bare or (len(part) == 1 and len(part[0].text) == 1)
    has_ends = part[0].is_name and part[-1].is_name and not part[-1].text.isdigit()
    return has_ends and not is_cut and not is_bare and all(word.is_name or word.is_small for word in part)


def _stands_alone(sentence: str, line: list[Word], first: int, last: int) -> bool:
    """Whether there is no other name beside a run, with only particles, spaces, quotes and hyphens between."""
    for end, step in ((first, -1), (last, 1)):
        other = end + step
        while 0 <= other < len(line):
            word = line[other]
            left, right = sorted((other, other - step))
            if sentence[line[left].end : line[right].start].strip(_JOINTS):
                break
            if word.is_name and word.text[0].isalpha() and word.form not in TITLES | SMALL_WORDS:
                return False
            if word.is_name or word.form not in PARTICLES:
                break
            other += step
    return True

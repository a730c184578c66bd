"""Checks of answers: refusals, empty and cut-off ones, boiler-plate and other languages are not descriptions."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING

from dim.enhancement.answers import UNREADABLE, Answer, how_it_ended
from dim.enhancement.entity_text import EntityText, clean
from dim.errors import DIMError

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier  # type: ignore[import-untyped]

MAX_ANSWER = 4000  # characters
_REPEATED = 3  # entities that share an answer, which then distinguishes none of them
_SURE = 0.8  # probability of another language
# Patterns at the beginning of an answer, and anywhere in it; apostrophes are straightened before.
_REFUSES = (
    r"(?:i'm|i am|we're) (?:so |very |really )?(?:sorry|unable|afraid)",
    r"(?:i'm|i am) not (?:able|sure|aware|familiar|certain)",
    r"i (?:cannot|can not|can't|could not|couldn't) ",
    r"i (?:(?:do not|don't) (?:have|know)|have no) ",
    r"sorry\b|(?:my )?apolog|unfortunately\b|as an (?:ai|artificial) ",
    r"there is (?:no|not enough|insufficient) information|no (?:further |additional )?information\b",
    r"(?:could|can) you (?:please )?(?:provide|clarify|tell|give)|please (?:provide|clarify|specify)",
    r"it is (?:unclear|not clear)|who (?:do|are) you ",
)
_REFUSES_ANYWHERE = (r"\bas an ai\b", r"\bai language model\b", r"\bknowledge cut-?off\b", r"\bmy training data\b")
_CHATS = (
    r"(?:sure|certainly|of course|absolutely|okay|great|here is|here are|below is|the following)\b|here's\b",
    r"(?:description|answer):|[#{\[<]|```",
)
_CHATS_ANYWHERE = (
    r"\blet me know\b|\bfeel free to\b|\bhope (?:this|that) helps\b|\bwould you like (?:me|more)\b",
    r"</?think|```",
)


def fault(entity: EntityText, answer: Answer, language: str = "en") -> str | None:
    """Says why an answer cannot be a description.

    Args:
        entity: The entity.
        answer: The model's answer about it.
        language: Code of the language that the answer should be in (ISO 639-1).

    Returns:
        The reason in a few words, `None` if the answer can be a description.

    Example:
        >>> answers = ("A British mathematician of the time.", "Sorry, I do not know.")
        >>> ada = EntityText("e1", "Ada Lovelace")
        >>> [fault(ada, Answer(text, "", "qwen", "stop", None, 300, 16)) for text in answers]
        [None, 'refused: says that it cannot answer']
    """
    text = clean(answer.text)
    ended = how_it_ended(answer.finish_reason)
    if answer.finish_reason == UNREADABLE and not text:
        return f"unreadable: the server's answer has no text ({clean(answer.raw)[:100] or 'nothing came'})"
    if answer.refusal or ended == "content_filter":
        return f"refused: {clean(answer.refusal)[:200] or 'content filter'}"
    if ended == "length":
        return "cut off: the answer reached the limit of tokens"
    if ended == "aborted":
        return f"cut off: the server ended the answer early ({clean(answer.finish_reason)})"
    if not any(sign.isalnum() for sign in text):
        return "empty"
    name = clean(entity.name)
    plain = text.replace("’", "'")
    opening = plain.lstrip("\"'“‘*_ ")
    if name and opening.casefold().startswith(name.casefold()):  # "Sorry is a song" is about a title
        opening = ""
    if _matches(re.match, _REFUSES, opening) or _matches(re.search, _REFUSES_ANYWHERE, plain):
        return "refused: says that it cannot answer"
    if _matches(re.match, _CHATS, opening) or _matches(re.search, _CHATS_ANYWHERE, plain):
        return "boiler-plate: addresses the reader or is mark-up"
    if len(text) > MAX_ANSWER:
        return f"too long: {len(text):,} characters, more than {MAX_ANSWER:,}"
    found, probability = _identifier().classify(text)
    if found != language and probability > _SURE:
        return f"wrong language: {found}, not {language}"
    return None


def _matches(how: Callable[..., object], patterns: Iterable[str], text: str) -> bool:
    return any(how(pattern, text, re.IGNORECASE) for pattern in patterns)


def repeated(texts: Iterable[str]) -> set[str]:
    """Finds answers that several entities share, which are boiler-plate.

    Args:
        texts: The answers, cleaned, one per entity.

    Returns:
        The answers that occur three times or more.
    """
    return {text for text, count in Counter(texts).items() if count >= _REPEATED}


def check_language(language: str) -> None:
    """Raises a `DIMError` for the code of a language that the detector does not know."""
    known = set(_identifier().labels)
    if language not in known:
        raise DIMError(f"--language is {language!r}: it must be one of {', '.join(sorted(known))}.")


@cache
def _identifier() -> "LanguageIdentifier":
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise DIMError("`py3langid` is not installed: pip install 'dim-mel[enhance]'.") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

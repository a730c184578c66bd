"""Old spellings of options."""

import logging
from collections.abc import Sequence

# Command, old spelling, new spelling: deprecated in 0.2.0, gone in 0.3.0.
DEPRECATED = (
    ("caption", "--model", "--vlm"),
    ("enhance", "--model", "--llm"),
    ("kb refresh", "--model", "--llm"),
    ("kb refresh", "--encoder", "--model"),
)

logger = logging.getLogger(__name__)


def new_spelling(command: str, argv: Sequence[str]) -> list[str]:
    """Replaces old spellings of options, each with a warning.

    Args:
        command: The command, such as `kb refresh`.
        argv: Its arguments.

    Returns:
        The arguments in the new spelling. `dim kb refresh --model` means the language model as long as there is no
        `--llm` beside it.

    Example:

        >>> new_spelling("kb refresh", ["KB", "--model=gpt", "--encoder", "demo/model"])
        ['KB', '--llm=gpt', '--model', 'demo/model']
        >>> new_spelling("kb refresh", ["KB", "--llm=gpt", "--model", "demo/model"])
        ['KB', '--llm=gpt', '--model', 'demo/model']
    """
    given = {word.partition("=")[0] for word in argv}
    new = {old: now for name, old, now in DEPRECATED if name == command}
    renamed = {old: now for old, now in new.items() if old not in new.values() or now not in given}
    for old in renamed.keys() & given:
        logger.warning("%s is now %s; the old spelling goes in 0.3.0.", old, renamed[old])
    words = [word.partition("=") for word in argv]
    return [renamed.get(name, name) + equals + value for name, equals, value in words]

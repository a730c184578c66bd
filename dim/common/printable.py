"""Texts from outside, as a terminal may show them."""


def printable(text: str) -> str:
    """Puts a text on one line, without the characters that control a terminal or the direction of a text.

    Args:
        text: Any text.

    Returns:
        The text with a space in place of each run of such characters, and without outer spaces.

    Example:

        >>> printable("Ada\\x1b[31m\\nLovelace\\u202e ")
        'Ada [31m Lovelace'
    """
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())

"""Errors for invalid input: each is a `ValueError` with one line that says what, where, and what to do."""


class DIMError(ValueError):
    """Invalid input. The command line prints its message as one line and ends with exit code 2.

    Example:

        >>> raise DIMError("There is no dataset folder data/wikimel.")
        Traceback (most recent call last):
            ...
        dim.errors_dim.DIMError: There is no dataset folder data/wikimel.
    """


__all__ = ["DIMError"]

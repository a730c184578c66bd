"""Errors for invalid input: each is a `ValueError` with one line that says what, where, and what to do."""


class DIMError(ValueError):
    """Invalid input. The command line prints its message as one line and ends with exit code 2.

    Example:

        >>> raise DIMError("There is no dataset folder data/wikimel.")
        Traceback (most recent call last):
            ...
        dim.errors_dim.DIMError: There is no dataset folder data/wikimel.
    """


class PictureError(DIMError):
    """A picture that cannot be loaded.

    Args:
        message: One line that names the source and says what to do.
        reason: The fault in a few words, equal for all pictures with the same fault.

    Example:

        >>> error = PictureError("picture 'nowhere.jpg': there is no such file", "missing")
        >>> print(f"{error} [{error.reason}]")
        picture 'nowhere.jpg': there is no such file [missing]
    """

    def __init__(self, message: str, reason: str = "cannot be loaded"):
        super().__init__(message)
        self.reason = reason


__all__ = ["DIMError", "PictureError"]

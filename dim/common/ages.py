"""Lengths of time as users write them: `36h`, `90d`, `12w`."""

import re
from datetime import timedelta

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_age(text: str, units: str = "hdw") -> timedelta | None:
    """Reads a length of time.

    Args:
        text: A whole number with its unit.
        units: The units that are allowed, of `m` (minutes), `h`, `d` and `w`.

    Returns:
        The length; `None` if the text is none.

    Example:

        >>> read_age("90d"), read_age("30m"), read_age("30m", units="mh")
        (datetime.timedelta(days=90), None, datetime.timedelta(seconds=1800))
    """
    found = re.fullmatch(rf"([0-9]{{1,5}})([{units}])", text)
    return None if found is None else timedelta(**{_UNITS[found[2]]: int(found[1])})

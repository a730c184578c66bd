"""Whether the time of something grows faster than its input."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Text = TypeVar("Text")


def grows(act: Callable[[Text], object], few: Text, many: Text, floor: float = 0.001) -> bool:
    """Whether four times the length takes more than eight times as long, in five tries of CPU time.

    One try within the bound is enough: other work on the machine makes a try longer, never shorter.
    """

    def seconds(text: Text) -> float:
        started = time.process_time()
        act(text)
        return time.process_time() - started

    return all(seconds(many) > 8 * max(floor, seconds(few)) for _ in range(5))

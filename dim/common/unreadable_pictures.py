"""The report of the pictures that a long run leaves out."""

import logging

from PIL import Image

from dim.common.pictures import PictureSource, load_picture
from dim.errors import PictureError

logger = logging.getLogger(__name__)

_NAMED = 3  # pictures that the warning names for each reason


class UnreadablePictures:
    """Counts and lists pictures that cannot be read, by reason, so that a long run goes on without them.

    Example:
        >>> unreadable = UnreadablePictures()
        >>> unreadable.load("nowhere.jpg", "m1"), unreadable.load(b"", "m2"), unreadable.load(b"hello", "m3")
        (None, None, None)
        >>> print(unreadable)
        3 pictures cannot be read and are left out: 1 missing (m1), 1 empty (m2), 1 not a picture (m3)
    """

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.found.values()))

    def load(self, source: PictureSource, owner: str | None) -> Image.Image | None:
        """Loads a picture; returns `None` for one that cannot be read, and lists it (see `add`)."""
        try:
            return load_picture(source)
        except PictureError as error:
            self.add(error, owner)
            return None

    def add(self, error: PictureError, owner: str | None = None) -> None:
        """Lists a picture by the id of its mention or entity, or by its name in the error without an id."""
        self.found.setdefault(error.reason, []).append(owner or str(error).partition(": ")[0])

    def update(self, other: "UnreadablePictures") -> None:
        """Adds the pictures that another report lists."""
        for reason, owners in other.found.items():
            self.found.setdefault(reason, []).extend(owners)

    def warn(self) -> None:
        """Logs one warning for all pictures, if there are any."""
        if self.found:
            logger.warning("%s", self)

    def __str__(self) -> str:
        parts = [
            f"{len(owners):,} {reason} ({', '.join(owners[:_NAMED])}{', ...' if len(owners) > _NAMED else ''})"
            for reason, owners in sorted(self.found.items(), key=lambda item: -len(item[1]))
        ]
        what = "picture cannot be read and is" if len(self) == 1 else "pictures cannot be read and are"
        return f"{len(self):,} {what} left out: {', '.join(parts)}"

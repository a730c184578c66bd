"""The picture of a mention row: loaded, cut to its region, and required where the row has no text."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from dim.common.fields import FieldError
from dim.common.regions import cut_out, given_region
from dim.common.unreadable_pictures import UnreadablePictures
from dim.configuration_dim import DIMConfig
from dim.encoding.mention import column
from dim.errors import DIMError
from dim.sentences_dim import is_picture_alone

NO_PICTURES = (
    "The model reads no pictures of mentions, so it cannot link a picture alone: give a sentence or a mention with it, "
    "or use a model that was trained with pictures."
)


def check_pictures_alone(config: DIMConfig, mentions: Sequence[dict]) -> None:
    """Raises a `DIMError` if a mention without a text has no picture, or the model reads none.

    Args:
        config: The model's configuration.
        mentions: Mention rows: a list or a `datasets.Dataset`, whose pictures are not decoded.
    """
    texts = zip(column(mentions, "mention"), column(mentions, "sentence"), strict=True)
    alone = [index for index, pair in enumerate(texts) if is_picture_alone(*pair)]
    if not alone:
        return
    if "picture" not in config.mention_modalities:
        raise DIMError(NO_PICTURES)
    if isinstance(mentions, list):
        empty = (index for index in alone if mentions[index].get("image") is None)
        if (first := next(empty, None)) is not None:
            raise _nothing(mentions[first], f"row {first}")


def mention_picture(row: Mapping[str, Any], unreadable: UnreadablePictures) -> Image.Image | None:
    """Loads the picture of a mention, or the region of it.

    Args:
        row: A mention row.
        unreadable: Report to which a picture that cannot be read is added.

    Returns:
        The picture; `None` for a row without one, and for one that cannot be read beside a text.

    Raises:
        DIMError: If the region does not lie in the picture, or the row has neither a text nor a readable picture.
    """
    try:
        region = given_region(row)
        picture = None if row.get("image") is None else unreadable.load(row["image"], row.get("id"))
        if picture is None and is_picture_alone(row["mention"], row["sentence"]):
            raise _nothing(row, "a row")
        return None if picture is None else cut_out(picture, region)
    except FieldError as error:
        raise DIMError(f"{_name(row, 'a row')}: {error}.") from error


def _nothing(row: Mapping[str, Any], place: str) -> DIMError:
    return DIMError(f"{_name(row, place)} has neither a text nor a picture that can be read: leave it out.")


def _name(row: Mapping[str, Any], place: str) -> str:
    return f"mention {row['id']!r}" if isinstance(row.get("id"), str) else place

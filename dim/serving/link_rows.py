"""Rows of the linker from the mentions of a request."""

import asyncio
from collections.abc import Mapping

from dim.common.fields import FieldError
from dim.common.regions import cut_out
from dim.errors import DIMError
from dim.linking.mention import parse_brackets
from dim.linking.mention_rows import checked_mention
from dim.serving.memory import Lease
from dim.serving.refusals import ServiceError
from dim.serving.request_pictures import PictureReader
from dim.serving.schemas import Mention


async def link_rows(
    mentions: Mapping[str, Mention], pictures: PictureReader, uploads: Mapping[str, bytes], lease: Lease
) -> list[dict]:
    """Makes the rows of mentions, with their pictures.

    Args:
        mentions: The mentions, each with its place in the request for messages; "" for a request of one mention.
        pictures: Reads their pictures.
        uploads: Uploaded files by name.
        lease: Lease that counts the memory of the pictures.

    Returns:
        A row for `DIMLinker.link` per mention.

    Raises:
        ServiceError: If a mention is not clear, or a picture cannot be read.
        BusyError: If the memory for pictures is full.
    """
    marked = await asyncio.to_thread(_marked, mentions)  # long sentences do not delay other requests
    return [await _with_pictures(row, mentions[place].images, place, pictures, uploads, lease)
            for place, row in marked.items()]  # fmt: skip


async def _with_pictures(
    row: dict, images: list[str], place: str, reader: PictureReader, uploads: Mapping[str, bytes], lease: Lease
) -> dict:
    """Adds the pictures of a mention to its row; of one with a region, that part alone."""
    pictures = [picture for _, picture in await reader.read(images, _at(place, "images", "."), uploads, lease)]
    try:
        pictures = [cut_out(picture, row["region"]) for picture in pictures]
    except FieldError as error:
        raise ServiceError(422, _at(place, f"{error}.")) from error
    return {**row, "image": pictures[0] if len(pictures) == 1 else pictures or None, "region": None}


def _marked(mentions: Mapping[str, Mention]) -> dict[str, dict]:
    """Converts mentions to rows of the linker, without pictures."""
    rows = {}
    for place, mention in mentions.items():
        try:
            rows[place] = row_of(mention)
        except DIMError as error:
            raise ServiceError(422, _at(place, str(error))) from error
    return rows


def _at(place: str, text: str, separator: str = ": ") -> str:
    return f"{place}{separator}{text}" if place else text


def row_of(mention: Mention) -> dict:
    """Makes the row of a mention, with placeholders for its pictures.

    Args:
        mention: The mention.

    Returns:
        The row.

    Raises:
        DIMError: If the mention is not clear.
    """
    if (mention.start is None) != (mention.end is None):
        raise DIMError("Give both start and end, or neither.")
    alone = bool(mention.images) and not mention.sentence.strip()
    marked = mention.mention is None and mention.start is None and not alone
    if marked and len(parse_brackets(mention.sentence)[1]) > 1:
        raise DIMError("The sentence marks several mentions; send each one separately.")
    names = [f"images.{number}" for number in range(len(mention.images))]  # the pictures themselves are read later
    return checked_mention(mention.model_dump(exclude={"images"}) | {"image": names or None})

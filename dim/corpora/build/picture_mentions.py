"""Mentions that need their picture: those that are a picture alone, and those that are a region of one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tqdm.auto import tqdm

from dim.common.fields import FieldError
from dim.common.pictures import load_picture
from dim.common.regions import cut_out
from dim.corpora.build.embed import PictureFile, embed
from dim.corpora.release import Mention, Rejected, Release
from dim.errors import DIMError, PictureError


def reject_without_picture(release: Release, files: Mapping[str, Path | None], progress: bool = False) -> Release:
    """Rejects mentions that have neither a text nor a picture, and those whose region does not lie in their picture.

    Args:
        release: A release, which is not changed.
        files: The file of each picture by `image_id`; `None` for one that was not found.
        progress: Whether to show a progress bar.

    Returns:
        The release without them, with the split as `file` and the id as `key` of each rejected row.

    Raises:
        DIMError: If no mention is left.
    """
    needing = [mention for mention in release.mentions if not mention.mention or mention.region is not None]
    if not needing:
        return release
    rejected = {}
    for mention in tqdm(needing, desc="checking regions and pictures alone", disable=not progress):
        reason = _problem(mention, files.get(mention.image_id))
        if reason:
            rejected[mention.id] = Rejected(mention.split, mention.id, reason)
    kept = [mention for mention in release.mentions if mention.id not in rejected]
    if not kept:
        first = next(iter(rejected.values()))
        raise DIMError(f"No mention is left of {release.rows_in}; the first: {first.key}: {first.reason}.")
    return replace(release, mentions=kept, rejected=[*release.rejected, *rejected.values()])


def _problem(mention: Mention, path: Path | None) -> str:
    """Why a mention cannot be used; empty if it can."""
    try:
        cell = embed(PictureFile(mention.image_id, mention.image, path))
    except PictureError as error:  # a mention with a text can be linked without it
        return "" if mention.mention else f"it has no text, and its {error}"
    try:
        if mention.region is not None:
            cut_out(load_picture(cell), mention.region)
    except FieldError as error:
        return str(error)
    return ""

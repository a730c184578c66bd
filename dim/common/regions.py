"""Regions: the part of a picture that a mention is about, as a box in pixels."""

from collections.abc import Mapping
from typing import Any

from PIL import Image

from dim.common.fields import FieldError, absent, whole
from dim.common.jsonl import type_name

Region = tuple[int, int, int, int]
"""`(left, top, right, bottom)` in pixels of the picture as it is shown (EXIF orientation applied), from its top left
corner; `right` and `bottom` are exclusive, as in `PIL.Image.crop`."""


def given_region(row: Mapping[str, Any]) -> Region | None:
    """Reads the region of a mention row, before its picture is loaded.

    Args:
        row: A row with `region`, four whole numbers, and `image`, both optional.

    Returns:
        The region; `None` where it is missing, null or NaN.

    Raises:
        FieldError: If it is not four whole numbers, has no pixels, begins outside of any picture, or the row does not
            have exactly one picture.

    Example:

        >>> given_region({"image": "shelf.jpg", "region": [10, 20, 110, 220]}), given_region({"image": "shelf.jpg"})
        ((10, 20, 110, 220), None)
        >>> given_region({"image": "shelf.jpg", "region": [110, 20, 10, 220]})
        Traceback (most recent call last):
            ...
        dim.common.fields.FieldError: field 'region': it is (110, 20, 10, 220), which is empty: left must be below ...
    """
    value = row.get("region")
    if absent(value):
        return None
    region = as_region(value)
    image = row.get("image")
    count = len(image) if isinstance(image, list | tuple) else 1
    if absent(image) or count == 0:
        raise FieldError("region", "it needs a picture, and the mention has none")
    if count > 1:
        raise FieldError("region", f"it needs one picture, and the mention has {count}")
    return region


def as_region(value: object) -> Region:
    """Checks the numbers of a region.

    Args:
        value: A list or tuple of four whole numbers.

    Raises:
        FieldError: If they are none, or describe no pixels.

    Example:

        >>> as_region([0, 0, 20.0, 10])
        (0, 0, 20, 10)
    """
    if not isinstance(value, list | tuple):
        raise FieldError("region", f"it is {type_name(value)}, not four whole numbers (left, top, right, bottom)")
    numbers = [whole(number) for number in value]
    if len(numbers) != 4 or any(number is None or abs(number) >= 1 << 31 for number in numbers):
        shown = repr(list(value))[:80]
        raise FieldError("region", f"it is {shown}, not four whole numbers (left, top, right, bottom)")
    left, top, right, bottom = region = tuple(number for number in numbers if number is not None)
    if left >= right or top >= bottom:
        raise FieldError("region", f"it is {region}, which is empty: left must be below right, and top below bottom")
    if left < 0 or top < 0:
        raise FieldError("region", f"it is {region}, outside of the picture: left and top must be at least 0")
    return left, top, right, bottom


def cut_out(picture: Image.Image, region: object) -> Image.Image:
    """Cuts a region out of a picture.

    Args:
        picture: An upright picture, as `load_picture` returns it.
        region: A region as [`as_region`] reads it; `None` for the whole picture.

    Returns:
        The part of the picture.

    Raises:
        FieldError: If it is no region, or does not lie in the picture.

    Example:

        >>> cut_out(Image.new("RGB", (100, 50)), (10, 20, 40, 50)).size
        (30, 30)
        >>> cut_out(Image.new("RGB", (100, 50)), (10, 20, 40, 51))
        Traceback (most recent call last):
            ...
        dim.common.fields.FieldError: field 'region': it is (10, 20, 40, 51), outside of the picture, which has 100 x 50
        pixels
    """
    if absent(region):
        return picture
    box = as_region(region)
    if box[2] > picture.width or box[3] > picture.height:
        size = f"{picture.width} x {picture.height}"
        raise FieldError("region", f"it is {box}, outside of the picture, which has {size} pixels")
    return picture.crop(box)

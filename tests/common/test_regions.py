"""Regions: which boxes are refused, and what is cut out."""

import numpy as np
import pytest
from PIL import Image

from dim import DIMError
from dim.common.pictures import load_picture
from dim.common.regions import cut_out, given_region


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ([0, 0, 5], "not four whole numbers"),
        ([0, 0, 5, 5, 5], "not four whole numbers"),
        ([0, 0, 5.5, 5], "not four whole numbers"),
        ([0, 0, True, 5], "not four whole numbers"),
        ([0, 0, "5", 5], "not four whole numbers"),
        ([0, 0, None, 5], "not four whole numbers"),
        ([0, 0, float("nan"), 5], "not four whole numbers"),
        ([0, 0, 10**30, 5], "not four whole numbers"),
        ("0,0,5,5", "it is a string, not four whole numbers"),
        ({"left": 0}, "it is an object, not four whole numbers"),
        ([3, 0, 3, 5], r"\(3, 0, 3, 5\), which is empty"),
        ([0, 5, 5, 5], r"\(0, 5, 5, 5\), which is empty"),
        ([5, 0, 3, 5], r"\(5, 0, 3, 5\), which is empty"),
        ([-1, 0, 3, 5], "outside of the picture: left and top"),
        ([0, -2, 3, 5], "outside of the picture: left and top"),
    ],
)
def test_what_is_no_region_is_refused_before_the_picture_is_loaded(region, message):
    with pytest.raises(DIMError, match=message) as caught:
        given_region({"image": "shelf.jpg", "region": region})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "message"),
    [(None, "the mention has none"), ([], "the mention has none"), (["a.jpg", "b.jpg"], "the mention has 2")],
)
def test_a_region_needs_one_picture(image, message):
    with pytest.raises(DIMError, match=message):
        given_region({"image": image, "region": [0, 0, 5, 5]})


@pytest.mark.parametrize("missing", [{}, {"region": None}, {"region": float("nan")}])
def test_a_missing_region_is_the_whole_picture(missing):
    assert given_region({"image": "shelf.jpg", **missing}) is None
    assert cut_out(Image.new("RGB", (9, 7)), missing.get("region")).size == (9, 7)


def test_a_region_counts_in_pixels_of_the_picture_as_it_is_shown(tmp_path):
    """A camera's picture lies on its side in the file: the region is that of the upright picture."""
    pixels = np.zeros((30, 20, 3), np.uint8)  # 20 wide, 30 high, as shown
    pixels[20:25, 5:15] = 255
    upright = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    path = tmp_path / "turned.png"
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    assert Image.open(path).size == (30, 20)
    part = cut_out(load_picture(path), (5, 20, 15, 25))
    assert part.size == (10, 5)
    assert np.asarray(part).min() == 255
    with pytest.raises(DIMError, match=r"outside of the picture, which has 20 x 30 pixels"):
        cut_out(load_picture(path), (5, 20, 25, 25))


def test_the_whole_picture_is_a_region():
    assert cut_out(Image.new("RGB", (9, 7)), [0, 0, 9, 7]).size == (9, 7)
    for outside in ([0, 0, 10, 7], [0, 0, 9, 8], [9, 0, 10, 7]):
        with pytest.raises(DIMError, match="outside"):
            cut_out(Image.new("RGB", (9, 7)), outside)

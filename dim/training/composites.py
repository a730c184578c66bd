"""Synthetic photographs: composites of every entity, and views of the training photographs.

By composites, a model meets also the entities without a training mention.
An entity's picture, cut out where its background is plain, is pasted onto a part of a training photograph, once or many
times, and turned, scaled, tilted and recoloured (Dwibedi et al., *Cut, Paste and Learn*, 2017).
"""

import random
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from dim.common.pictures import PictureSource, load_picture

SIZE = 256  # pixels of a composite's sides
_PLAIN = 18  # by so much, of 255, may a plain background differ from its corner, for each channel
_MANY = 0.35  # share of the composites with 4 to 16 copies, as on a shelf; the others have 1 to 3
_TILT, _TURN = 0.12, 16.0  # of a side; degrees, standard deviation


def composite(thing: Image.Image, background: PictureSource, seed: int) -> Image.Image:
    """Makes a synthetic photograph of a thing.

    Args:
        thing: An RGBA picture, from [`cut_out_thing`].
        background: A photograph; a random part of it is used.
        seed: Seed of all draws.

    Returns:
        A picture of 256 x 256 pixels.

    Raises:
        PictureError: If the background cannot be read.

    Example:

        >>> apple = Image.new("RGB", (60, 60), "white")
        >>> ImageDraw.Draw(apple).ellipse((10, 10, 50, 50), fill="red")
        >>> composite(cut_out_thing(apple), Image.new("RGB", (80, 60), "navy"), seed=0).size
        (256, 256)
    """
    draw = random.Random(seed)
    canvas = _part(load_picture(background), draw)
    canvas = ImageOps.mirror(canvas) if draw.random() < 0.5 else canvas
    if draw.random() < 0.5:
        canvas = canvas.filter(ImageFilter.GaussianBlur(draw.uniform(0, 3)))
    is_shelf = draw.random() < _MANY
    copies = draw.randint(4, 16) if is_shelf else draw.choice((1, 1, 1, 1, 2, 3))
    side = SIZE * (draw.uniform(0.25, 0.45) if is_shelf else draw.uniform(0.45, 1))
    for number in range(copies):
        copy = _tilted(ImageOps.mirror(thing) if is_shelf and draw.random() < 0.5 else thing, draw)
        scale = side * draw.uniform(0.9, 1.1) / max(copy.size)
        copy = copy.resize((max(4, round(copy.width * scale)), max(4, round(copy.height * scale))))
        middle = [SIZE * (draw.uniform(0, 1) if is_shelf else draw.gauss(0.5, 0.13)) for _ in range(2)]
        middle[0] += SIZE * draw.uniform(-0.3, 0.3) if number and not is_shelf else 0
        canvas.paste(copy, (round(middle[0] - copy.width / 2), round(middle[1] - copy.height / 2)), copy)
    canvas = _recoloured(canvas, draw)
    return canvas.filter(ImageFilter.GaussianBlur(draw.uniform(0.5, 2))) if draw.random() < 0.4 else canvas


def cut_out_thing(picture: Image.Image) -> Image.Image:
    """Makes the background of a picture transparent, and crops the picture to the rest.

    Args:
        picture: An RGB picture. What has the colour of its upper left corner and is connected with it is background.

    Returns:
        An RGBA picture; the whole picture if it has one colour.

    Example:

        >>> apple = Image.new("RGB", (60, 60), "white")
        >>> ImageDraw.Draw(apple).ellipse((10, 10, 50, 50), fill="red")
        >>> thing = cut_out_thing(apple)
        >>> thing.size, thing.getpixel((0, 0))[3], thing.getpixel((20, 20))[3]
        ((41, 41), 0, 255)
    """
    framed = Image.new("RGB", (picture.width + 2, picture.height + 2), picture.getpixel((0, 0)))
    framed.paste(picture, (1, 1))
    marker = (255, 0, 255)
    ImageDraw.floodfill(framed, (0, 0), marker, thresh=3 * _PLAIN)
    mask = (np.asarray(framed)[1:-1, 1:-1] != marker).any(-1)
    alpha = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))
    found = alpha.getbbox()
    whole = picture.convert("RGBA")
    if found is None:
        return whole
    whole.putalpha(alpha.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.GaussianBlur(0.7)))
    return whole.crop(found)


def view(picture: Image.Image, seed: int) -> Image.Image:
    """Makes another view of a photograph: a random part of it, a fifth or more, in another light.

    Args:
        picture: An RGB picture.
        seed: Seed of all draws.

    Returns:
        A picture of 256 x 256 pixels.

    Example:

        >>> view(Image.new("RGB", (80, 60), "navy"), seed=0).size
        (256, 256)
    """
    draw = random.Random(seed)
    return _recoloured(_part(picture, draw), draw)


def view_loaders(pictures: Sequence[Callable[[], PictureSource]], views: int) -> list[Callable[[], PictureSource]]:
    """Makes functions that draw views of pictures, `views` of each; as [`composite_loaders`] for composites."""
    return _loaders(pictures, views, lambda picture: picture, view)


def composite_loaders(
    pictures: Sequence[Callable[[], PictureSource]], backgrounds: Sequence[Callable[[], PictureSource]], copies: int
) -> list[Callable[[], PictureSource]]:
    """Makes functions that draw composites, for [`dim.training.banks.PictureBank.build`].

    Args:
        pictures: Functions that return an entity's picture each.
        backgrounds: Functions that return a training photograph each.
        copies: Composites of each picture.

    Returns:
        `len(pictures) * copies` functions, picture by picture. The same arguments draw the same composites.
    """

    def draw(thing: Image.Image, seed: int) -> Image.Image:
        return composite(thing, backgrounds[random.Random(seed).randrange(len(backgrounds))](), seed)

    return _loaders(pictures, copies, cut_out_thing, draw)


def _loaders(
    pictures: Sequence[Callable[[], PictureSource]],
    copies: int,
    prepare: Callable[[Image.Image], Image.Image],
    draw: Callable[[Image.Image, int], Image.Image],
) -> list[Callable[[], PictureSource]]:
    """Functions that draw `copies` pictures of each one, picture by picture; a picture is prepared once for its own."""

    @lru_cache(maxsize=64)
    def prepared(number: int) -> Image.Image:
        return prepare(load_picture(pictures[number]()))

    def drawn(index: int) -> Image.Image:
        return draw(prepared(index // copies), index)

    return [partial(drawn, index) for index in range(len(pictures) * copies)]


def _part(picture: Image.Image, draw: random.Random) -> Image.Image:
    """A random part of a picture, a fifth of it or more, as a square."""
    area, stretch = draw.uniform(0.2, 1) * picture.width * picture.height, float(np.exp(draw.uniform(-0.25, 0.25)))
    width, height = (min(side, max(1, round(length))) for side, length in
                     zip(picture.size, ((area * stretch) ** 0.5, (area / stretch) ** 0.5), strict=True))  # fmt: skip
    left, top = draw.randint(0, picture.width - width), draw.randint(0, picture.height - height)
    return picture.resize((SIZE, SIZE), box=(left, top, left + width, top + height))


def _tilted(thing: Image.Image, draw: random.Random) -> Image.Image:
    """The thing stretched, seen from a random side, and turned."""
    size = [max(8, round(side * draw.uniform(0.8, 1.2))) for side in thing.size]
    thing = thing.resize((size[0], size[1]))
    corners = [(0, 0), (thing.width, 0), thing.size, (0, thing.height)]
    rows, values = [], []
    for x, y in corners:  # of the projection that maps each corner to one nearby
        u, v = (float(place + draw.uniform(-_TILT, _TILT) * side) for place, side in
                zip((x, y), thing.size, strict=True))  # fmt: skip
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    projection = np.linalg.solve(np.array(rows, float), np.array(values))
    tilted = thing.transform(thing.size, Image.Transform.PERSPECTIVE, projection.tolist(), Image.Resampling.BICUBIC)
    return tilted.rotate(draw.gauss(0, _TURN), Image.Resampling.BICUBIC, expand=True)


def _recoloured(picture: Image.Image, draw: random.Random) -> Image.Image:
    """The picture in another light."""
    for enhance, by in ((ImageEnhance.Brightness, 0.45), (ImageEnhance.Contrast, 0.35), (ImageEnhance.Color, 0.35)):
        picture = enhance(picture).enhance(draw.uniform(1 - by, 1 + by))
    tint = np.array([draw.uniform(0.88, 1.12) for _ in range(3)], np.float32)
    return Image.fromarray((np.asarray(picture) * tint).clip(0, 255).astype(np.uint8))

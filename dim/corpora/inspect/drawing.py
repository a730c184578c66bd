"""Draws mentions as cards: picture, sentence with the mention marked, entity with its picture."""

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from dim.common.fields import FieldError
from dim.common.pictures import load_picture
from dim.common.regions import cut_out
from dim.errors import PictureError

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Part = tuple[str, bool]  # text, and whether it is marked
Word = list[Part]

_COLUMNS, _GAP, _PAD = 2, 20, 14  # pixels, as all that follows
_CARD = (640, 232)
_PICTURE, _THUMBNAIL = 204, 60
_BACK, _PAPER, _EDGE, _EMPTY = "#eef0f3", "#ffffff", "#d5d9e0", "#f4f5f7"
_INK, _SOFT, _MARK, _WRONG = "#1d2530", "#5c6674", "#ffe08a", "#b3261e"


@dataclass(frozen=True)
class Card:
    """Content of a card.

    Args:
        picture: The mention's picture, undecoded (`{"bytes", "path"}`).
        sentence: The sentence before, in and after the mention; an empty mention is not in the sentence.
        mention: The mention, shown after the sentence if it is not in it.
        name: The entity's name.
        text: The entity's description.
        thumbnail: The entity's picture, undecoded, if it has one.
        region: The part of the mention's picture that is shown; `None` for all of it.
    """

    picture: Mapping[str, Any]
    sentence: tuple[str, str, str]
    mention: str
    name: str
    text: str
    thumbnail: Mapping[str, Any] | None
    region: Sequence[int] | None = None


def draw_cards(title: str, cards: Sequence[Card]) -> Image.Image:
    """Draws cards in two columns.

    Args:
        title: The line on top.
        cards: The cards.

    Returns:
        An RGB image, 1,340 pixels wide.
    """
    width, height = _CARD
    rows = -(-len(cards) // _COLUMNS)
    size = (_COLUMNS * (width + _GAP) + _GAP, 64 + rows * (height + _GAP))
    sheet = Image.new("RGB", size, _BACK)
    _write(ImageDraw.Draw(sheet), (_GAP, 20), _words((title, False)), 20, size[0] - 2 * _GAP, 1, _INK, bold=True)
    for index, card in enumerate(cards):
        at = (_GAP + index % _COLUMNS * (width + _GAP), 64 + index // _COLUMNS * (height + _GAP))
        _draw_card(sheet, at, card)
    return sheet


def _draw_card(sheet: Image.Image, at: tuple[int, int], card: Card) -> None:
    draw = ImageDraw.Draw(sheet)
    (left, top), (width, height) = at, _CARD
    draw.rounded_rectangle((left, top, left + width, top + height), 10, _PAPER, _EDGE)
    _paste(sheet, (left + _PAD, top + _PAD), _PICTURE, card.picture, card.region)
    left, right = left + 2 * _PAD + _PICTURE, left + width - _PAD
    before, mention, after = card.sentence
    parts = [(before, False), (mention, True), (after, False)]
    if not card.mention:
        parts = [("(a picture alone)", False)]
    elif not mention:
        parts += [(" (", False), (card.mention, True), (" is not in it)", False)]
    _write(draw, (left, top + _PAD), _words(*parts), 18, right - left, 5, _INK)
    line = top + height - 2 * _PAD - _THUMBNAIL
    draw.line((left, line, right, line), _EDGE)
    if card.thumbnail is not None:
        _paste(sheet, (left, line + _PAD), _THUMBNAIL, card.thumbnail)
        left += _THUMBNAIL + _PAD
    _write(draw, (left, line + _PAD - 3), _words((card.name, False)), 17, right - left, 1, _INK, bold=True)
    _write(draw, (left, line + _PAD + 21), _words((card.text, False)), 15, right - left, 2, _SOFT)


def _paste(
    sheet: Image.Image, at: tuple[int, int], side: int, source: Mapping[str, Any], region: Sequence[int] | None = None
) -> None:
    """Draws a picture, or a region of it, into a square, or the reason why it cannot be read."""
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((*at, at[0] + side - 1, at[1] + side - 1), _EMPTY)
    try:
        picture = cut_out(load_picture(source), region)
    except (PictureError, FieldError) as error:
        _write(draw, (at[0] + 4, at[1] + 4), _words((str(error), False)), 12, side - 8, side // 18, _WRONG)
        return
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    sheet.paste(picture, (at[0] + (side - picture.width) // 2, at[1] + (side - picture.height) // 2))


def _words(*parts: Part) -> list[Word]:
    """Splits parts into words. A word may be partly marked, as `Ada` in `Ada's`."""
    words: list[Word] = [[]]
    for text, marked in parts:
        for number, piece in enumerate(re.split(r"\s+", text)):
            if number:
                words.append([])
            if piece:
                words[-1].append((piece, marked))
    return [word for word in words if word]


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    words: Sequence[Word],
    size: int,
    width: int,
    limit: int,
    colour: str,
    bold: bool = False,
) -> None:
    """Draws text in at most `limit` lines around the first mark, with dots where lines are left out."""
    font = _font(size, bold)
    words = [[(_legible(text, font), marked) for text, marked in word] for word in words]
    lines = _wrap(words, font, width)
    if len(lines) > limit:
        lines = _wrap(words, font, width - 2 * font.getlength(" …"))
        first = next((row for row, line in enumerate(lines) if any(marked for word in line for _, marked in word)), 0)
        first = max(0, min(first - limit // 2, len(lines) - limit))
        dots: Word = [(_legible("…", font), False)]
        is_end = first + limit >= len(lines)
        lines = lines[first : first + limit]
        lines[0] = [dots, *lines[0]] if first else lines[0]
        lines[-1] = lines[-1] if is_end else [*lines[-1], dots]
    space = font.getlength(" ")
    for row, line in enumerate(lines):
        x, y = float(at[0]), at[1] + round(1.3 * size * row) + size
        for index, word in enumerate(line):
            for number, (text, marked) in enumerate(word):
                end = x + font.getlength(text)
                if marked:
                    joined = index > 0 and number == 0 and line[index - 1][-1][1]
                    draw.rectangle((x - space * joined, y - size, end, y + 0.3 * size), _MARK)
                draw.text((x, y), text, colour, font, anchor="ls")
                x = end
            x += space


def _wrap(words: Sequence[Word], font: Font, width: float) -> list[list[Word]]:
    """Breaks words into lines of at most a width; longer words are cut."""
    lines: list[list[Word]] = []
    left = 0.0
    for word in words:
        for piece in _cut(word, font, width):
            needed = sum(font.getlength(text) for text, _ in piece)
            if not lines or needed > left:
                lines.append([])
                left = width
            lines[-1].append(piece)
            left -= needed + font.getlength(" ")
    return lines


def _cut(word: Word, font: Font, width: float) -> list[Word]:
    """Cuts a word into pieces that are no wider than a line."""
    if sum(font.getlength(text) for text, _ in word) <= width:
        return [word]
    pieces: list[Word] = [[]]
    left = width
    for text, marked in word:
        start = 0
        for index, letter in enumerate(text):
            needed = font.getlength(letter)
            if needed > left:
                pieces[-1].append((text[start:index], marked))
                pieces.append([])
                start, left = index, width
            left -= needed
        pieces[-1].append((text[start:], marked))
    return pieces


@functools.cache
def _font(size: int, bold: bool) -> Font:
    """DejaVu Sans, which most systems have, or else Pillow's own font, which has few letters beyond English."""
    try:
        return ImageFont.truetype(f"DejaVuSans{'-Bold' * bold}.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


def _legible(text: str, font: Font) -> str:
    """Text in which letters that the font lacks are replaced by their base letters if it has these: `o` for `ö`."""
    return "".join(letter if _is_in(font, letter) else _plain(letter, font) for letter in text)


def _plain(letter: str, font: Font) -> str:
    parts = [part for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part)]
    return "".join(parts) if parts and all(_is_in(font, part) for part in parts) else letter


@functools.cache
def _is_in(font: Font, letter: str) -> bool:
    return bytes(font.getmask(letter)) != bytes(font.getmask("\uffff"))  # which no font has

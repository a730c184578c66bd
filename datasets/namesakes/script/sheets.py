"""Contact sheets: every entity with all its pictures, to check by eye."""

from __future__ import annotations

from pathlib import Path

from icons import Drawing, on_white
from PIL import Image, ImageDraw
from tables import Concept

CELL, TEXT, ROWS = 64, 190, 22


def write(folder: Path, name: str, rows: list[tuple[Concept, list[tuple[Drawing, Image.Image]]]], columns: int) -> int:
    """Writes `name-00.png`, ... with one entity per cell: its name and its pictures, each with its style.

    Args:
        folder: where the sheets go.
        name: start of the file names.
        rows: an entity and its drawn pictures.
        columns: entities side by side.

    Returns:
        The number of sheets.
    """
    folder.mkdir(parents=True, exist_ok=True)
    widest = max(len(pictures) for _, pictures in rows)
    width = TEXT + widest * (CELL + 4)
    page = ROWS * columns
    for number, start in enumerate(range(0, len(rows), page)):
        sheet = Image.new("RGB", (columns * width, ROWS * (CELL + 14)), "white")
        draw = ImageDraw.Draw(sheet)
        for place, (concept, pictures) in enumerate(rows[start : start + page]):
            left, top = (place // ROWS) * width, (place % ROWS) * (CELL + 14)
            draw.line((left, top, left + width, top), fill="#ccc")
            for line, text in enumerate((concept.form, concept.name[:30], concept.key)):
                draw.text((left + 3, top + 4 + 16 * line), text, fill="black")
            for index, (drawing, picture) in enumerate(pictures):
                spot = left + TEXT + index * (CELL + 4)
                sheet.paste(on_white(picture, CELL), (spot, top + 2))
                draw.text((spot, top + CELL + 1), drawing.style[:11], fill="#06c")
        sheet.save(folder / f"{name}-{number:02d}.png")
    return -(-len(rows) // page)

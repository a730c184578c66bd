"""Drawings from anywhere: drawn at one size, and unable to show, to hang or to crash what is ours."""

import ast
import base64
import io
from pathlib import Path

import pytest
from picture_server import DRAWING, picture
from PIL import Image

from dim.corpora.fetch import svg
from dim.corpora.fetch.svg import rasterise

SPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
BOX = 'x="0" y="0" width="50" height="50"'
FILTER = f'<filter id="f" x="0" y="0" width="1" height="1"><feImage {{}}/></filter><rect {BOX} filter="url(#f)"/>'
RED, NOTHING = (255, 0, 0, 255), (0, 0, 0, 0)


def middle(inside: str, head: str = "") -> tuple[int, int, int, int]:
    """Colour in the middle of a drawing."""
    content = rasterise(f'{head}<svg {SPACES} width="50" height="50">{inside}</svg>'.encode())
    return Image.open(io.BytesIO(content)).convert("RGBA").getpixel((512, 512))


@pytest.fixture
def mine(tmp_path) -> Path:
    """A picture that is no one else's business."""
    (tmp_path / "mine.png").write_bytes(picture(colour="red"))
    return tmp_path / "mine.png"


def test_drawn():
    assert middle(f'<rect {BOX} fill="#f00"/>') == RED
    assert middle(f"<style>rect {{ fill: red }}</style><g><rect {BOX}/></g>") == RED
    assert middle(f'<defs><rect id="it" {BOX} fill="red"/></defs><use xlink:href="#it"/>') == RED
    assert middle("") == NOTHING


@pytest.mark.parametrize("name", ["{path}", "{uri}", "mine.png", " {path}", "../{folder}/mine.png"])
@pytest.mark.parametrize("attribute", ["href", "xlink:href"])
def test_files_of_this_machine_are_not_shown(mine, monkeypatch, attribute, name):
    monkeypatch.chdir(mine.parent)
    name = name.format(path=mine, uri=mine.as_uri(), folder=mine.parent.name)
    assert middle(f'<image {BOX} {attribute}="{name}"/>') == NOTHING
    assert middle(FILTER.format(f'{attribute}="{name}"')) != RED


def test_nor_by_an_entity_or_a_drawing_within(mine):
    assert middle(f'<image {BOX} href="&it;"/>', f'<!DOCTYPE svg [<!ENTITY it "{mine}">]>') == NOTHING
    within = f'<svg {SPACES} width="50" height="50"><image {BOX} href="{mine}"/></svg>'
    embedded = base64.b64encode(within.encode()).decode()
    assert middle(f'<image {BOX} href="data:image/svg+xml;base64,{embedded}"/>') == NOTHING


def test_embedded_pictures_are_shown():
    content = base64.b64encode(picture(colour="red")).decode()
    assert middle(f'<image {BOX} href="data:image/png;base64,{content}"/>') == RED
    assert middle(FILTER.format(f'href="data:image/png;base64,{content}"')) == RED


@pytest.mark.parametrize(
    "size, expected", [((20, 20), (1024, 1024)), ((90_000, 22_500), (1024, 256)), ((10, 40), (256, 1024))]
)
def test_size(size, expected):
    content = rasterise(f'<svg {SPACES} width="{size[0]}" height="{size[1]}"/>'.encode())
    assert Image.open(io.BytesIO(content)).size == expected


@pytest.mark.parametrize("content", [b"", b"<svg", b"<html/>", b"\x89PNG", DRAWING.encode()[:-9]])
def test_no_drawing(content):
    with pytest.raises(ValueError, match="^the SVG drawing cannot be rendered: .*Error") as caught:
        rasterise(content)
    assert "\n" not in str(caught.value)


def test_entities_that_grow():
    entities = "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    with pytest.raises(ValueError, match="cannot be rendered: .*amplification"):
        middle("<text>&j;</text>", f'<!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa">{entities}]>')


def test_one_that_takes_too_long():
    with pytest.raises(ValueError, match="takes longer than 0.01 s"):
        rasterise(DRAWING.encode(), timeout=0.01)


def test_a_crash_of_the_renderer(tmp_path, monkeypatch):
    crash = tmp_path / "crash.py"
    crash.write_text("import os; os.abort()")
    monkeypatch.setattr(svg, "__file__", str(crash))
    with pytest.raises(ValueError, match="cannot be rendered: the renderer crashed"):
        rasterise(b"<svg/>")


def test_the_script_does_not_import_the_package():
    """Importing it would take seconds for each drawing."""
    top = ast.parse(Path(svg.__file__).read_text()).body
    found = [alias.name for node in top if isinstance(node, ast.Import) for alias in node.names]
    found += [str(node.module) for node in top if isinstance(node, ast.ImportFrom)]
    assert sorted(found) == ["subprocess", "sys", "xml.etree.ElementTree"]

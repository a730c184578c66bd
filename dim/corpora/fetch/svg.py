"""Renders drawings (SVG) as PNG in a process of its own, so that a hanging or crashing renderer fails alone.

`rasterise` runs this file as a script, so nothing of the package is imported at the top.
"""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

SIZE = 1024  # pixels of the longer side: a drawing's own size may be 20 or 20,000


def rasterise(svg: bytes, timeout: float = 60.0) -> bytes:
    """Renders a drawing on a transparent background, with `SIZE` pixels on its longer side.

    Pictures in it are drawn only if they are embedded (`data:`), since a drawing could otherwise show local files.

    Args:
        svg: Content of the SVG file.
        timeout: Seconds it may take.

    Returns:
        Content of a PNG file.

    Raises:
        DIMError: If it is not a drawing, cannot be rendered, or takes too long.
    """
    from dim.errors import DIMError

    try:
        process = subprocess.run([sys.executable, __file__], input=svg, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise DIMError(f"the SVG drawing takes longer than {timeout:g} s to render") from error
    if process.returncode != 0:
        lines = process.stderr.decode(errors="replace").strip().splitlines()
        raise DIMError(f"the SVG drawing cannot be rendered: {lines[-1] if lines else 'the renderer crashed'}")
    return process.stdout


def _render(svg: bytes) -> bytes:
    import resvg_py

    root = ElementTree.fromstring(svg)  # resolves the file's own entities and reads no other file
    for element in root.iter():
        if element.tag.rpartition("}")[2] in ("image", "feImage"):
            for name, value in list(element.attrib.items()):
                if name.rpartition("}")[2] == "href" and not value.strip().startswith("data:"):
                    del element.attrib[name]
    text = ElementTree.tostring(root, encoding="unicode")
    return bytes(resvg_py.svg_to_bytes(svg_string=text, width=SIZE, height=SIZE))  # the box it is fitted into


if __name__ == "__main__":
    sys.stdout.buffer.write(_render(sys.stdin.buffer.read()))

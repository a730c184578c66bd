"""Drawings (SVG) from anywhere to PNG, in a process of its own: what hangs or crashes there fails alone.

`rasterise` starts this very file as a script, which therefore imports nothing of the package.
"""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

from dim.errors import DIMError

SIZE = 1024  # pixels of the longer side: a drawing's own size may be 20 or 20,000


def rasterise(svg: bytes, timeout: float = 60.0) -> bytes:
    """Renders a drawing, transparent where nothing is drawn, its longer side `SIZE` pixels long.

    Pictures within it are drawn only if they are embedded (`data:`): a drawing could otherwise show files of this
    machine.

    Args:
        svg: The file's content.
        timeout: Seconds it may take.

    Returns:
        A PNG file's content.

    Raises:
        DIMError: If it is no drawing, cannot be rendered, or takes too long.
    """
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

__all__ = ["SIZE", "rasterise"]

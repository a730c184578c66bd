"""What mkdocs does before it reads a page, and before a page becomes HTML."""

import re
import shutil
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#]+)(?:#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Links the package's modules, and nothing else of the root, into a folder that is called `dim`.

    The reference is made from sources without importing them. The root itself will not do: its name is that of the
    checkout, and everything below it, environments too, would be read.
    """
    package = ROOT / "build" / "reference" / "dim"
    shutil.rmtree(package, ignore_errors=True)
    rooms = [path.parent for path in ROOT.glob("*/__init__.py")]
    for path in [
        *ROOT.glob("*_dim.py"),
        ROOT / "__init__.py",
        *(path for room in rooms for path in room.rglob("*.py")),
    ]:
        link = package / path.relative_to(ROOT)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Names what lies outside of `docs/` instead of linking to it: such links work in the repository alone."""
    folder = (DOCS / page.file.src_path).parent

    def plain(link: re.Match[str]) -> str:
        text, target = link.groups()
        if re.match(r"[a-z]+:", target) or (folder / target).resolve().is_relative_to(DOCS):
            return link[0]
        return text

    return _LINK.sub(plain, markdown)

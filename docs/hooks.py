"""Changes that mkdocs makes to a page before the page becomes HTML."""

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#]+)(?:#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Names what lies outside of `docs/` instead of linking to it: such links work in the repository alone."""
    folder = (DOCS / page.file.src_path).parent

    def plain(link: re.Match[str]) -> str:
        text, target = link.groups()
        if re.match(r"[a-z]+:", target) or (folder / target).resolve().is_relative_to(DOCS):
            return link[0]
        return text

    return _LINK.sub(plain, markdown)

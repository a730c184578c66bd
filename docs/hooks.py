"""Changes that mkdocs makes to pages and docstrings before they become HTML."""

import ast
import re
from pathlib import Path
from typing import Any

import griffe

DOCS = Path(__file__).resolve().parent
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#]+)(?:#[^)\s]*)?\)")
_ARGUMENT = re.compile(r"^( +[\w, ]+) \((.*[`*].*)\):(?=\s)", re.MULTILINE)
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
_FORMULA = re.compile(r"^\.\. math:: (.*(?:\n +.*)*)", re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replaces links to files outside of `docs/`, which work only in the repository, by their text."""
    folder = (DOCS / page.file.src_path).parent

    def plain(link: re.Match[str]) -> str:
        text, target = link.groups()
        if re.match(r"[a-z]+:", target) or (folder / target).resolve().is_relative_to(DOCS):
            return link[0]
        return text

    return _LINK.sub(plain, markdown)


class HubDocstrings(griffe.Extension):
    """Rewrites docstrings in the style of transformers (Markdown in types, [`Name`], formulas) for griffe."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrites the docstring of an object."""
        if obj.docstring is not None:
            text = re.sub(r"\[(`[^`]+`)\]|:math:(`[^`]+`)", r"\1\2", obj.docstring.value)
            text = _FORMULA.sub(lambda found: f"```latex\n{found[1]}\n```", text)
            text = _EXAMPLE.sub("Examples:", text)  # griffe's name for a section of doctests
            obj.docstring.value = _ARGUMENT.sub(lambda found: f"{found[1]} ({_plain(found[2])}):", text)

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Takes the default and the text of a setting from the `option` that declares it."""
        call = attr.value
        if not isinstance(call, griffe.ExprCall) or str(call.function) != "option":
            return
        text, *rest = call.arguments
        if isinstance(text, str):  # a literal, no expression
            attr.docstring = griffe.Docstring(ast.literal_eval(text), parent=attr)
        attr.value = next((one for one in rest if not isinstance(one, griffe.ExprKeyword)), None)


def _plain(kind: str) -> str:
    """A type without Markdown, and without a default that has a colon, at which griffe would split it."""
    return re.sub(r", defaults to [^,]*:.*", "", re.sub(r"[`*]", "", kind))

"""The site builds without a warning, and its reference shows no markup."""

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="needs mkdocs")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Pages of the reference, by name."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)]
    result = subprocess.run(command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True,
                            text=True)  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    pages = {page.parent.name: page.read_text(encoding="utf-8") for page in (folder / "reference").glob("*/index.html")}
    assert pages.keys() == {page.stem for page in (ROOT / "docs" / "reference").glob("*.md")}
    return pages


def words(page: str) -> str:
    """Text of a page outside of code."""
    prose = re.sub(r"<(pre|code|script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", " ", prose))


def test_no_markup_is_left_in_the_text(reference):
    left = {
        name: re.findall(r".{0,40}(?:`|\*\w|>>>|\.\. math).{0,20}", words(page)) for name, page in reference.items()
    }
    assert {name: found for name, found in left.items() if found} == {}


def test_settings_show_their_default_and_their_text(reference):
    page = reference["training"]
    assert "option(" not in words(page)
    code = html.unescape(re.sub(r"<[^>]+>", "", page))
    assert "option(" not in code
    assert "lora_rank = 16" in code
    assert "Rank of the adapters of --tune lora." in code


def test_examples_are_code(reference):
    codes = [html.unescape(re.sub(r"<[^>]+>", "", code))
             for page in reference.values() for code in re.findall(r"<pre>.*?</pre>", page, re.DOTALL)]  # fmt: skip
    assert sum(">>>" in code for code in codes) > 50

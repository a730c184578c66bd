"""The model card: its metadata, and tables that render."""

import re

from markdown_it import MarkdownIt

from dim.common.cards import read_card
from dim.training.model_card import model_card

METRICS = {"step": 40, "epoch": 3, "H@1": 61.5, "MRR": 70.123, "vectors H@1": 50.0}
ARGUMENTS = {"dataset": "/data/runs/wikimel", "mask_text": "it | them", "seed": 0}


def tables(markdown: str) -> list[list[list[str]]]:
    """The cells of each table that GitHub Flavored Markdown makes of a text, header first."""
    html = MarkdownIt("commonmark").enable("table").render(markdown)
    found = re.findall(r"<table>.*?</table>", html, re.DOTALL)
    return [[re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)]
            for table in found]  # fmt: skip


def test_tables_have_the_columns_of_their_headers():
    metadata, text = read_card(model_card(METRICS, ARGUMENTS))
    assert metadata["library_name"] == "transformers"
    assert "license" not in metadata  # it depends on the towers and the data; `dim push` asks for it
    results, arguments = tables(text)
    assert results == [["step", "H@1", "MRR"], ["40", "61.50", "70.12"]]
    assert arguments == [
        ["argument", "value"],
        ["<code>dataset</code>", "wikimel"],
        ["<code>mask_text</code>", "it | them"],
        ["<code>seed</code>", "0"],
    ]
    assert "/data" not in text


def test_the_card_says_which_code_gives_which_figures():
    _, text = read_card(model_card(METRICS, ARGUMENTS))
    code = text[text.index("```python") : text.index("```", text.index("```python") + 3)]
    assert "mentions=" in code
    assert "aliases=" in code
    section = text[text.index("## Which code gives what") : text.index("## Training")]
    assert "pip install rapidfuzz regex scipy" in section
    assert "processor.lexical_features" in section
    assert "`DIMLinker`" in section
    assert "H@1 50.00 instead of 61.50" in section
    plain = {name: value for name, value in METRICS.items() if not name.startswith("vectors")}
    _, text = read_card(model_card(plain, ARGUMENTS))
    section = text[text.index("## Which code gives what") : text.index("## Training")]
    assert "has no lexical prior" in section
    assert "lexical_features" not in section

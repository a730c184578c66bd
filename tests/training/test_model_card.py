"""The model card: its metadata, and tables that render."""

import re
from pathlib import Path

from huggingface_hub import ModelCard, constants
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
    assert "pip install rapidfuzz regex scipy" in text[text.index("## How to use") : text.index("## Results")]
    assert "processor.lexical_features" in section
    assert "`DIMLinker`" in section
    assert "H@1 50.00 instead of 61.50" in section
    plain = {name: value for name, value in METRICS.items() if not name.startswith("vectors")}
    _, text = read_card(model_card(plain, ARGUMENTS))
    section = text[text.index("## Which code gives what") : text.index("## Training")]
    assert "has no lexical prior" in section
    assert "lexical_features" not in section


def test_metadata_is_of_what_is_on_the_hub():
    towers = {"text_tower": "bert-base-uncased", "vision_tower": "facebook/dinov2-base"}
    data = ModelCard(model_card(METRICS, {"dataset": "org/gems", **towers})).data
    assert data.datasets == ["org/gems"]
    assert data.base_model == ["bert-base-uncased", "facebook/dinov2-base"]
    assert (data.base_model_relation, data.library_name) == ("finetune", "transformers")
    assert data.pipeline_tag == "text-ranking"
    assert data.language is None  # the dataset's card was not downloaded


def test_a_folder_has_no_name_on_the_hub(tmp_path, monkeypatch):
    """Also one that could be a name, `data/gems`; what its own card says of the Hub is taken over."""
    monkeypatch.chdir(tmp_path)
    for folder in ("data/gems", "runs/first", "towers/bert"):
        Path(folder).mkdir(parents=True)
    Path("data/gems/README.md").write_text("---\nlanguage: de\n---\n# Gems\n")
    Path("runs/first/README.md").write_text(model_card(METRICS, {"text_tower": "org/clip", "dataset": "data/gems"}))
    Path("towers/bert/README.md").write_text("no metadata")
    metadata, text = read_card(model_card(METRICS, {"dataset": "data/gems", "model_name_or_path": "runs/first"}))
    assert metadata["language"] == ["de"]
    assert metadata["base_model"] == ["org/clip"]
    assert "datasets" not in metadata
    assert "data/gems" not in text
    metadata, _ = read_card(model_card(METRICS, {"dataset": "data/gems", "text_tower": "towers/bert"}))
    assert not {"base_model", "base_model_relation"} & set(metadata)


def test_the_language_of_a_dataset_of_the_hub_is_in_its_downloaded_card(tmp_path, monkeypatch):
    snapshot = tmp_path / "datasets--org--gems" / "snapshots" / "0a"
    snapshot.mkdir(parents=True)
    (snapshot / "README.md").write_text("---\nlanguage: [en, tr]\n---\n")
    (tmp_path / "datasets--org--gems" / "refs").mkdir()
    (tmp_path / "datasets--org--gems" / "refs" / "main").write_text("0a")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    metadata, _ = read_card(model_card(METRICS, {"dataset": "org/gems"}))
    assert metadata["language"] == ["en", "tr"]


def test_the_card_names_the_paper_and_its_limits():
    _, text = read_card(model_card(METRICS, ARGUMENTS))
    assert "https://arxiv.org/abs/2407.12019" in text
    limits = text.split("## Limits")[1]
    assert "has no threshold" not in limits
    assert "`calibration.json`" in limits

"""`dim link` and the encoding of a knowledge base say in one line how many pictures a model does not use."""

import json
import logging

import pytest
from PIL import Image

from dim import DIMConfig, DIMModel, DIMProcessor
from dim.cli.main import main
from dim.encoding.unused_pictures import warn_of_unused_pictures


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, None),
        ({"fusion": "attention", "mention_modalities": ["sentence"]},
         "the model uses none there: the pictures of 3 mentions are not used"),
        ({"entity_pictures": False}, "the model uses none there: the pictures of 5,000 entities are not used"),
        ({"vision_config": None, "mention_modalities": [], "entity_pictures": False},
         "the model has no vision tower: the pictures of 3 mentions and 5,000 entities are not used"),
    ],
)  # fmt: skip
def test_line(fields, line, caplog):
    warn_of_unused_pictures(DIMConfig(**fields), mentions=3, entities=5000)
    assert caplog.messages == ([line] if line else [])
    warn_of_unused_pictures(DIMConfig(**fields))
    assert len(caplog.messages) == (line is not None)


def test_link_and_kb_encode_say_it_once(tiny_bert_dir, tiny_mel_dir, tmp_path, caplog, capsys):
    model, kb = tmp_path / "model", tmp_path / "kb"
    DIMModel.from_towers(str(tiny_bert_dir)).save_pretrained(model)
    DIMProcessor.from_towers(str(tiny_bert_dir)).save_pretrained(model)
    caplog.set_level(logging.WARNING, "dim")
    assert main(["kb", "create", str(kb), "--from", str(tiny_mel_dir)]) == 0
    assert main(["kb", "encode", str(kb), "--model", str(model)]) == 0
    assert [line for line in caplog.messages if "not used" in line] == [
        "the model has no vision tower: the pictures of 6 entities are not used"
    ]
    caplog.clear()
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    rows = [{"sentence": "a gem", "mention": "gem", "start": 2, "end": 5, "image": str(tmp_path / "a.png")}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * 2))
    linker = ["--model", str(model), "--kb", str(kb)]
    assert main(["link", *linker, "--sentence", "[[gem]]", "--image", str(tmp_path / "a.png")]) == 0
    assert main(["link", *linker, "--input", str(tmp_path / "rows.jsonl")]) == 0
    assert [line for line in caplog.messages if "not used" in line] == [
        f"the model has no vision tower: the pictures of {count} mentions are not used" for count in (1, 2)
    ]

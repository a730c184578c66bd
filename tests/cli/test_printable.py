"""Nothing that a knowledge base, a dataset or an option holds steers the terminal."""

import logging
import shutil

import datasets
import pytest

from dim.cli.main import main
from dim.cli.process import log_to_stderr
from dim.common.printable import printable
from dim.encoding.loading import load_dim
from dim.kb.store import KnowledgeBase

STEERING = "\x1b[31m\x1b]0;title\x07\x9b2J\r\u202e\u2066"


def is_harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


@pytest.fixture(scope="module")
def kb(tiny_dim_dir, tmp_path_factory):
    entity = {"id": "a", "name": f"gem{STEERING}", "description": f"red{STEERING}", "aliases": [f"stone{STEERING}"]}
    made = KnowledgeBase.create(tmp_path_factory.mktemp("kb") / "kb", [entity])
    made.encode(*load_dim(tiny_dim_dir), progress=False)
    return made


@pytest.fixture(scope="module")
def dataset(tiny_mel_dir, tmp_path_factory):
    folder = shutil.copytree(tiny_mel_dir, tmp_path_factory.mktemp("data") / "data")
    for config, split, columns in (("mentions", "train", ["sentence", "expert_answer"]), ("entities", "kb", ["name"])):
        file = str(folder / config / f"{split}.parquet")
        rows = datasets.Dataset.from_parquet(file, cache_dir=str(folder.parent))
        steered = rows.map(lambda row, columns=columns: {name: row[name] + STEERING for name in columns})
        steered.to_parquet(file)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["link", "--model", "{model}", "--kb", "{kb}", "--sentence", f"the [[gem{STEERING}]] of", "--why"],
        ["inspect", "{dataset}", "--examples", "24"],
        ["audit", "{dataset}"],
        ["link", "--model", f"./none{STEERING}", "--kb", "{kb}", "--sentence", "[[a]]"],
        ["link", "--model", "{model}", "--kb", "{kb}", "--sentence", f"a{STEERING}"],
        ["kb", "remove", "{kb}", f"none{STEERING}"],
    ],
)
def test_what_a_command_prints(words, kb, dataset, tiny_dim_dir, capsys):
    main([word.format(model=tiny_dim_dir, kb=kb.uri, dataset=dataset) for word in words])
    told = capsys.readouterr()
    assert told.out or "dim " in told.err
    assert is_harmless(told.out)
    assert all(is_harmless(line) for line in told.err.split("\n") if line.startswith(("dim ", "warning")))


def test_notices(capsys):
    with log_to_stderr():
        logging.getLogger("dim.somewhere").warning("the file %s\nis left out", STEERING)
    told = capsys.readouterr().err
    assert told.startswith("warning: the file  [31m ]0;title")
    assert told.endswith("\nis left out\n")
    assert is_harmless(told)


def test_other_texts_stay_as_they_are():
    assert printable("Ödön, 東京 👍 e\u0301 — “C++”") == "Ödön, 東京 👍 e\u0301 — “C++”"

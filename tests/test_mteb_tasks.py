"""The tasks of `benchmarks/mteb_tasks.py` give the numbers of a naive ranking by the model's vectors."""

import importlib.util
import shutil

import pytest
import torch
from drawn_weights import draw_weights

from dim import DIMModel, DIMProcessor, encode_entities, encode_mentions, load_candidates, load_entities, load_mentions
from dim.training.model_card import model_card

pytest_plugins = ("demo_folder",)


@pytest.fixture(scope="module")
def tasks(pytestconfig):
    pytest.importorskip("mteb")
    path = pytestconfig.rootpath / "benchmarks" / "mteb_tasks.py"
    spec = importlib.util.spec_from_file_location("mteb_tasks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tiny_dim_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "dim"
    shutil.copytree(tiny_dim_dir, folder)
    model = DIMModel.from_pretrained(folder)
    draw_weights(model, seed=1)
    model.save_pretrained(folder)
    (folder / "README.md").write_text(model_card({"step": 1}, {"dataset": "namesakes"}))
    return folder


def naive(folder, dataset, pictures):
    """H@1 in percent, and number of mentions."""
    model, processor = DIMModel.from_pretrained(folder), DIMProcessor.from_pretrained(folder)
    candidates = load_candidates(dataset, "test")
    rows = [row for row in load_mentions(dataset, "test") if row["id"] in candidates]
    entities = list(load_entities(dataset))
    if not pictures:
        rows, entities = [{**row, "image": None} for row in rows], [{**row, "images": []} for row in entities]
    index = {row["id"]: place for place, row in enumerate(entities)}
    with torch.no_grad():
        scores = model.score(encode_mentions(model, processor, rows), encode_entities(model, processor, entities))
    best = [max(candidates[row["id"]], key=lambda one: scores[place, index[one]]) for place, row in enumerate(rows)]
    right = [one == row["entity_id"] for one, row in zip(best, rows, strict=True)]
    return 100 * sum(right) / len(right), len(right)


@pytest.mark.slow
def test_the_tasks_rank_as_the_model_does(tasks, folder, few_namesakes, monkeypatch, capsys):
    monkeypatch.setattr(tasks, "minilm", lambda: tasks.load_published(folder))  # its weights are an extra package
    table = tasks.main(["--model", str(folder), "--dataset", str(few_namesakes)])
    texts, again, pictures = table
    assert [one["model"] for one in table] == ["DIM", "MiniLM", "DIM"]
    assert {name: again[name] for name in tasks.SCORES} == {name: texts[name] for name in tasks.SCORES}
    for found, shown in ((texts, False), (pictures, True)):
        right, count = naive(folder, str(few_namesakes), shown)
        assert found["queries"] == count
        assert found["H@1"] == pytest.approx(right, abs=0.01)
    assert texts["H@1"] != pictures["H@1"]
    assert "| NamesakesEntityLinkingIT2IT |" in capsys.readouterr().out


def test_a_mention_is_marked(tasks):
    assert tasks.marked("We saw Ada.", "Ada", 7, 10) == "We saw [[Ada]]."
    assert tasks.marked("Nobody was there.", "Ada", -1, -1) == "[[Ada]] Nobody was there."

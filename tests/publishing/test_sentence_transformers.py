"""A pushed model as a `SentenceTransformer`, in a process of its own where dim is not installed."""

import json

import numpy as np
import pytest
import torch
from drawn_weights import draw_weights
from loopback_fixtures import WITHOUT_DIM, fresh_process
from PIL import Image

from dim import DIMModel, DIMProcessor
from dim.cli.main import main

pytest_plugins = ("demo_folder", "loopback_fixtures")

LOAD = (
    WITHOUT_DIM
    + """
import json
import sys
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer

torch.set_num_threads(1)
"""
)
ENCODE = (
    LOAD
    + """
source, photo, clear, copy = sys.argv[1:]
texts = ["We saw [[Turkey]].", "[[Ada]] sat, and Ada stood.", "They ate [[turkey]] in the land of the turkey."]
queries = [{"text": texts[0], "image": Image.open(photo)}, texts[1], {"text": texts[2], "image": None},
           {"image": clear}]
documents = ["Turkey", {"text": "Turkey: country around Ankara", "image": photo},
             {"text": "turkey: large bird", "image": [Image.open(clear), photo]}]

def vectors(model):
    return {"query": model.encode_query(queries, batch_size=3), "document": model.encode_document(documents)}

model = SentenceTransformer(source, trust_remote_code=True)
found = vectors(model)
model.save_pretrained(copy)
again = vectors(SentenceTransformer(copy, trust_remote_code=True))
assert all((again[side] == found[side]).all() for side in found)
assert model.get_embedding_dimension() == found["query"].shape[1]
print(json.dumps({**{side: values.tolist() for side, values in found.items()},
                  "similarity": model.similarity(found["query"], found["document"]).tolist(),
                  "module": type(model[0]).__module__.split(".")[0]}))
"""
)
EVALUATE = (
    LOAD
    + """
from datasets import load_dataset
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

model = SentenceTransformer("org/dim", trust_remote_code=True)
rows = load_dataset(sys.argv[1], "mentions", split="test")
queries = {row["id"]: {"text": f"{row['sentence'][:row['start']]}[[{row['mention']}]]{row['sentence'][row['end']:]}",
                       "image": row["image"]} for row in rows}
corpus = {row["id"]: {"text": f"{row['name']}: {row['description']}", "image": row["images"]}
          for row in load_dataset(sys.argv[1], "entities", split="kb")}
golds = {row["id"]: {row["entity_id"]} for row in rows}
evaluator = InformationRetrievalEvaluator(queries, corpus, golds, write_csv=False)
print(json.dumps({name: float(value) for name, value in evaluator(model).items()}))
"""
)


@pytest.fixture(scope="module")
def weights(tiny_dim_dir, tmp_path_factory):
    """A model in whose vectors the weight of pictures shows, so that they are not of unit length."""
    model = DIMModel.from_pretrained(tiny_dim_dir)
    draw_weights(model, seed=0)
    folder = tmp_path_factory.mktemp("weights")
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def pushed(model_folder, weights, hub):
    """The folder of the model that the Hub has as org/dim."""
    (model_folder / "model.safetensors").write_bytes((weights / "model.safetensors").read_bytes())
    assert main(["push", "model", "org/dim", "--from", str(model_folder)]) == 0
    return model_folder


@pytest.fixture
def pictures(tmp_path):
    """A photograph, and a picture that is transparent, under which Pillow's own conversion finds black."""
    photo, clear = tmp_path / "photo.png", tmp_path / "clear.png"
    Image.effect_mandelbrot((48, 40), (-2, -1.5, 1, 1.5), 50).save(photo)
    Image.new("RGBA", (30, 20), (0, 0, 0, 0)).save(clear)
    return photo, clear


def test_vectors_are_those_of_the_model(pushed, hub, pictures, tmp_path):
    photo, clear = pictures
    names = ["org/dim", str(photo), str(clear), str(tmp_path / "copy")]
    found = json.loads(fresh_process(hub, tmp_path / "reader", "-c", ENCODE, *names).splitlines()[-1])
    assert found["module"] == "transformers_modules"
    model, processor = DIMModel.from_pretrained(pushed), DIMProcessor.from_pretrained(pushed)
    shown, white = Image.open(photo), Image.new("RGB", (30, 20), "white")
    mentions = processor.process_mentions(
        ["Turkey", "Ada", "turkey", ""],
        ["We saw Turkey.", "Ada sat, and Ada stood.", "They ate turkey in the land of the turkey.", ""],
        [shown, None, None, white],
        spans=[(7, 13), (0, 3), (9, 15), (-1, -1)],
    )
    entities = processor.process_entities(
        ["Turkey", "Turkey", "turkey"], ["", "country around Ankara", "large bird"], [[], [shown], [white, shown]]
    )
    with torch.no_grad():
        queries, documents = model.get_mention_features(**mentions), model.get_entity_features(**entities)
        scores = model.score(queries, documents)
    np.testing.assert_allclose(found["query"], queries, atol=1e-5)
    np.testing.assert_allclose(found["document"], documents, atol=1e-5)
    assert (documents.norm(dim=1) > 1.1).all()  # so a cosine would be another number
    np.testing.assert_allclose(np.array(found["similarity"]) * model.logit_scale().item(), scores, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_evaluator_ranks_as_dim_eval_does(pushed, hub, few_namesakes, tmp_path):
    found = json.loads(fresh_process(hub, tmp_path / "reader", "-c", EVALUATE, str(few_namesakes)).splitlines()[-1])
    out = tmp_path / "eval"
    options = ["--split", "test", "--baselines", "fuzzy", "--out", str(out)]
    assert main(["eval", "--model", str(pushed), "--dataset", str(few_namesakes), *options]) == 0
    [system, *_] = json.loads((out / "report.json").read_text())["systems"]
    metrics = system["metrics"]["full_kb"]
    assert 0 < metrics["H@1"]["value"] < 100
    for k in (1, 3, 5):
        assert found[f"dot_accuracy@{k}"] * 100 == pytest.approx(metrics[f"H@{k}"]["value"], abs=1e-6)

"""A model from the Hub ranks the sample's mentions without this package exactly as the linker does."""

import json

import numpy as np
import pytest
import torch
from loopback_fixtures import WITHOUT_DIM, fresh_process

from dim import DIMLinker, DIMModel, DIMProcessor, KnowledgeBase, load_entities, load_mentions
from dim.cli.main import main
from dim.encoding.mention import mentions_of
from dim.lexical_dim import LEXICAL_FEATURES
from dim.training.model_card import model_card

pytest_plugins = ("loopback_fixtures",)
MENTIONS = 300
# What a reader of the card runs: the whole knowledge base once, then mentions, 100 at a time. Both sides compute in
# float64 and keep vectors in float32, so that no rank depends on how a batch is summed.
RANK = """
import json, logging, sys
import torch
from datasets import load_dataset
from transformers import AutoModel, AutoProcessor

torch.set_num_threads(1)
told = []
watch = logging.Handler()
watch.addFilter(lambda record: record.name.endswith("_dim"))  # the library's own records come here where CI is set
watch.emit = lambda record: told.append(record.getMessage())
logging.getLogger().addHandler(watch)
model = AutoModel.from_pretrained("org/dim", trust_remote_code=True, dtype=torch.float64).eval()
processor = AutoProcessor.from_pretrained("org/dim", trust_remote_code=True)
entities = load_dataset(sys.argv[1], "entities", split="kb")
rows = load_dataset(sys.argv[1], "mentions", split="test").select(range(int(sys.argv[2])))
names, descriptions, aliases = (entities[column][:] for column in ("name", "description", "aliases"))
golds = [entities["id"][:].index(gold) for gold in rows["entity_id"]]

def encode_mentions(part):
    batch = processor(mentions=part["mention"], text=part["sentence"], images=part["image"],
                      spans=list(zip(part["start"], part["end"])))
    return model.get_mention_features(**batch).float().double()

def encode_entities(part):
    batch = processor(names=part["name"], descriptions=part["description"], entity_images=part["images"])
    return model.get_entity_features(**batch).float().double()

with torch.no_grad():
    vectors = torch.cat([encode_entities(part) for part in entities.iter(100)])
    features = processor.lexical_features(names, descriptions, aliases)
    scores = torch.cat([
        model.score(encode_mentions(part), vectors, features(list(zip(part["mention"], part["sentence"])))).float()
        for part in rows.iter(100)])
    few, some = rows[:20], entities[:50]
    batch = processor(mentions=few["mention"], text=few["sentence"], images=few["image"],
                      spans=list(zip(few["start"], few["end"])), names=some["name"],
                      descriptions=some["description"], aliases=some["aliases"], entity_images=some["images"])
    torch.testing.assert_close(model(**batch).logits.float(), scores[:20, :50])
    assert not told, told
    bare = model.score(encode_mentions(few), vectors)

def ranks(found, golds):
    own = found.gather(1, torch.tensor(golds)[:, None])
    return (1 + (found > own).sum(1) + ((found == own).sum(1) - 1) / 2).tolist()

found = {"ranks": ranks(scores, golds), "bare": ranks(bare, golds[:20]), "scores": scores.tolist(), "told": told}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def folder(tiny_dim_dir, tmp_path_factory):
    """A model whose vectors and prior both decide, as `dim train` saves it."""
    folder = tmp_path_factory.mktemp("with_prior") / "model"
    torch.manual_seed(0)
    model = DIMModel.from_pretrained(tiny_dim_dir, num_lexical_features=len(LEXICAL_FEATURES)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name and "log_scale" not in name:
                torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    DIMProcessor.from_pretrained(tiny_dim_dir).save_pretrained(folder)
    card = model_card({"step": 1}, {"dataset": "namesakes"})
    (folder / "README.md").write_text(card.replace("---\n", "---\nlicense: cc-by-4.0\n", 1))
    return folder


def test_the_model_from_the_hub_ranks_as_the_linker_does(folder, hub, tmp_path, request):
    dataset = str(request.config.rootpath / "datasets" / "namesakes")
    assert main(["push", "model", "org/dim", "--from", str(folder)]) == 0
    arguments = ("-c", WITHOUT_DIM + RANK, dataset, str(MENTIONS))
    found = json.loads(fresh_process(hub, tmp_path / "reader", *arguments).splitlines()[-1])

    entities, mentions = load_entities(dataset), load_mentions(dataset, "test").select(range(MENTIONS))
    kb = KnowledgeBase.create(tmp_path / "kb", dataset)
    model, processor = DIMModel.from_pretrained(folder).double(), DIMProcessor.from_pretrained(folder)
    kb.encode(model, processor)
    linker = DIMLinker(model, processor, kb)
    every = np.tile(np.arange(len(kb)), (MENTIONS, 1))  # no candidate is cut
    ranking = linker.score(linker.encode(mentions), mentions_of(mentions), every, np.ones_like(every))
    scores = torch.empty_like(ranking.scores).scatter_(1, ranking.rows, ranking.scores)
    order = [kb.ids.index(name) for name in entities["id"]]
    scores = scores[:, order]
    torch.testing.assert_close(torch.tensor(found["scores"]), scores, rtol=1e-6, atol=1e-6)
    own = scores.gather(1, torch.tensor([entities["id"][:].index(gold) for gold in mentions["entity_id"]])[:, None])
    ranks = (1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2).tolist()
    assert found["ranks"] == ranks
    assert found["bare"] != ranks[:20]  # so the features decide
    (told,) = found["told"]
    assert "processor.lexical_features" in told


def test_a_missing_library_is_named(folder, hub, tmp_path):
    """The model alone needs none of them."""
    assert main(["push", "model", "org/dim", "--from", str(folder)]) == 0
    without = WITHOUT_DIM.replace('== "dim"', 'in ("dim", "rapidfuzz")')
    load = "from transformers import {0}\nprint(type({0}.from_pretrained('org/dim', trust_remote_code=True)).__name__)"
    code = without + load.format("AutoModel")
    assert fresh_process(hub, tmp_path / "a", "-c", code).splitlines()[-1] == "DIMModel"
    complaint = fresh_process(hub, tmp_path / "b", "-c", without + load.format("AutoProcessor"), code=1)
    assert "Run `pip install rapidfuzz`" in complaint

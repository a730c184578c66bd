"""`pipeline("multimodal-entity-linking")` of a pushed model, in a process of its own where dim is not installed."""

import json

import pytest
import torch
from loopback_fixtures import WITHOUT_DIM, fresh_process
from PIL import Image

from dim import DIMError, DIMLinker, DIMModel, DIMProcessor, KnowledgeBase
from dim.cli.main import main
from dim.lexical_dim import LEXICAL_FEATURES
from dim.pipeline_dim import DIMPipeline

pytest_plugins = ("loopback_fixtures",)

MENTIONS = [
    {"sentence": "We saw [[Turkey]].", "image": "red.png"},
    {"sentence": "They ate turkey in the land of the turkey.", "mention": "turkey", "start": 35, "end": 41},
    {"sentence": "", "mention": "", "image": "clear.png"},
    {"sentence": "Nobody was there.", "mention": "Ada", "expert_answer": "a mathematician"},
    {"sentence": "A [[gem]] lay there.", "image": "red.png"},
]
ENTITIES = [
    {"id": "e1", "name": "Turkey", "description": "country around Ankara", "image": "red.png"},
    {"id": "e2", "name": "turkey", "description": "large bird", "images": ["clear.png", "red.png"]},
    {"id": "e3", "name": "Ada Lovelace", "aliases": ["Ada"]},
    {"id": "e4", "name": "ruby", "description": None, "image": None},
]
LINK = (
    WITHOUT_DIM
    + """
import json
import torch
from datasets import Dataset
from transformers import pipeline

torch.set_num_threads(1)
mentions, entities, kb = json.loads(sys.argv[1])
link = pipeline("multimodal-entity-linking", model="org/dim", trust_remote_code=True)
single = [link(mention, candidates=entities) for mention in mentions]
batched = link(mentions, candidates=entities, batch_size=2)
rows = [{name: one.get(name) for name in ("sentence", "mention", "start", "end", "image", "expert_answer")}
        for one in mentions]
streamed = link(Dataset.from_list(rows).to_iterable_dataset(), candidates=entities, batch_size=2, top_k=2)
assert not isinstance(streamed, list)
owned = link([{**mention, "candidates": entities[:2]} for mention in mentions], batch_size=3)
try:
    link(mentions[0], kb=kb)
except ValueError as error:
    told = str(error)
found = {"single": single, "batched": batched, "streamed": list(streamed), "owned": owned, "told": told}
print(json.dumps({**found, "module": type(link).__module__.split(".")[0]}))
"""
)
LINK_KB = """
import json, sys
import torch
from transformers import pipeline

mentions, entities, kb = json.loads(sys.argv[1])
link = pipeline("multimodal-entity-linking", model="org/dim", trust_remote_code=True)
assert "dim" not in sys.modules
print(json.dumps(link(mentions, kb=kb, top_k=3, batch_size=2)))
"""


@pytest.fixture(params=[False, True], ids=["vectors", "prior"])
def pushed(request, model_folder, hub, tmp_path, monkeypatch):
    """The folder of a model that the Hub has as org/dim; the working directory has the pictures."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (30, 20), "red").save("red.png")
    Image.new("RGBA", (20, 30), (0, 0, 0, 0)).save("clear.png")
    torch.manual_seed(0)
    features = {"num_lexical_features": len(LEXICAL_FEATURES)} if request.param else {}
    model = DIMModel.from_pretrained(model_folder, **features)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name and "scale" not in name:
                torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(model_folder)
    assert main(["push", "model", "org/dim", "--from", str(model_folder)]) == 0
    return model_folder


def argument(tmp_path) -> str:
    """Mentions and entities with paths that hold in another working directory."""
    text = json.dumps([MENTIONS, ENTITIES, str(tmp_path / "kb")])
    return text.replace("red.png", str(tmp_path / "red.png")).replace("clear.png", str(tmp_path / "clear.png"))


def naive(folder, mention, sentence, span, image, answer) -> list[dict]:
    """One mention against the entities by one call of the model."""
    red, white = Image.new("RGB", (30, 20), "red"), Image.new("RGB", (20, 30), "white")
    model, processor = DIMModel.from_pretrained(folder).eval(), DIMProcessor.from_pretrained(folder)
    batch = processor(
        mentions=[mention], text=[sentence], spans=[span],
        images=None if image is None else [{"red": red, "clear": white}[image]],
        expert_answers=None if answer is None else [answer],
        names=[one["name"] for one in ENTITIES], descriptions=[one.get("description") or "" for one in ENTITIES],
        entity_images=[[red], [white, red], [], []], aliases=[one.get("aliases", []) for one in ENTITIES],
    )  # fmt: skip
    with torch.no_grad():
        scores = model(**batch).logits[0].tolist()
    found = [
        {"id": one["id"], "name": one["name"], "score": score} for one, score in zip(ENTITIES, scores, strict=True)
    ]
    return sorted(found, key=lambda one: -one["score"])


def assert_equal(found, expected):
    assert [[one["id"] for one in links] for links in found] == [[one["id"] for one in links] for links in expected]
    assert [one["name"] for one in found[0]] == [one["name"] for one in expected[0]]
    scores = [torch.tensor([one["score"] for links in part for one in links]) for part in (found, expected)]
    torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-4)


def test_links_are_those_of_the_model(pushed, hub, tmp_path):
    found = json.loads(fresh_process(hub, tmp_path / "reader", "-c", LINK, argument(tmp_path)).splitlines()[-1])
    assert found["module"] == "transformers_modules"
    assert found["told"] == "A knowledge base (kb) needs the package dim: pip install 'dim-mel[kb]'"
    eaten = "They ate turkey in the land of the turkey."
    expected = [
        naive(pushed, "Turkey", "We saw Turkey.", (7, 13), "red", None),
        naive(pushed, "turkey", eaten, (35, 41), None, None),
        naive(pushed, "", "", (-1, -1), "clear", None),
        naive(pushed, "Ada", "Nobody was there.", (-1, -1), None, "a mathematician"),
        naive(pushed, "gem", "A gem lay there.", (2, 5), "red", None),
    ]
    assert len({tuple(one["id"] for one in links) for links in expected}) > 1
    assert_equal(found["single"], expected)
    assert_equal(found["batched"], expected)
    assert_equal(found["streamed"], [links[:2] for links in expected])
    assert_equal(found["owned"], [[one for one in links if one["id"] in ("e1", "e2")] for links in expected])


@pytest.mark.slow
def test_a_knowledge_base_gives_what_the_linker_gives(pushed, hub, tmp_path):
    """The knowledge base was encoded before the push, which adds the pipeline to the configuration."""
    entities = json.loads(argument(tmp_path))[1]
    rows = [{**one, "images": one.get("images") or [one["image"]] if one.get("image") else []} for one in entities]
    kb = KnowledgeBase.create(tmp_path / "kb", [{k: v for k, v in row.items() if k != "image"} for row in rows])
    kb.encode(DIMModel.from_pretrained(pushed), DIMProcessor.from_pretrained(pushed))
    linker = DIMLinker.from_pretrained(pushed, kb=str(tmp_path / "kb"))
    found = json.loads(fresh_process(hub, tmp_path / "reader", "-c", LINK_KB, argument(tmp_path)).splitlines()[-1])
    expected = [linker("We saw [[Turkey]].", image="red.png", k=3)]
    expected += [linker(MENTIONS[1]["sentence"], span=(35, 41), k=3), linker(image="clear.png", k=3)]
    expected += [linker("Nobody was there.", mention="Ada", expert_answer="a mathematician", k=3)]
    expected += [linker("A [[gem]] lay there.", image="red.png", k=3)]
    assert_equal(found, [[one.to_dict() for one in links] for links in expected])


@pytest.fixture(scope="module")
def link(tiny_dim_dir):
    return DIMPipeline(DIMModel.from_pretrained(tiny_dim_dir), processor=DIMProcessor.from_pretrained(tiny_dim_dir))


CANDIDATES = [{"id": 1, "name": "Ada"}]


@pytest.mark.parametrize(
    ("mention", "options", "message"),
    [
        ("[[Ada]] sat.", {}, r"Give candidates=\[.*, or kb=... with `pip install"),
        ("[[Ada]] sat.", {"candidates": CANDIDATES, "kb": "kb"}, "not both"),
        ("[[Ada]] sat.", {"candidates": []}, "list of candidates is empty"),
        ("[[Ada]] sat.", {"candidates": [{"id": 1}]}, "Candidate 0 needs an 'id' and a 'name'"),
        ("[[Ada]] sat.", {"candidates": [*CANDIDATES, {"name": "Bo"}]}, "Candidate 1 needs"),
        ("[[Ada]] sat.", {"candidates": CANDIDATES, "top_k": 0}, "top_k is 0: it must be at least 1"),
        ("Ada sat.", {"candidates": CANDIDATES}, "Mark the mention by double brackets"),
        ({"sentence": "", "mention": ""}, {"candidates": CANDIDATES}, "is empty"),
        (3, {"candidates": CANDIDATES}, "got int"),
    ],
)
def test_what_is_refused(link, mention, options, message):
    with pytest.raises(DIMError, match=message):
        link([mention], **options)


def test_no_mentions(link):
    assert link([], candidates=CANDIDATES) == []


def test_shared_candidates_are_encoded_once(link, monkeypatch):
    seen = []
    monkeypatch.setattr(link, "_encode", lambda given: seen.append(given) or DIMPipeline._encode(link, given))
    rows = ["[[Ada]] sat."] * 5
    assert link(rows, candidates=CANDIDATES, batch_size=2) == [link(rows[0], candidates=CANDIDATES)] * 5
    assert len(seen) == 2


def test_pictures_that_the_model_does_not_read_are_told(tiny_dim_dir, monkeypatch):
    told = []
    monkeypatch.setattr("dim.pipeline_dim.logger.warning_once", told.append)
    texts = {"mention_modalities": ["sentence"], "entity_pictures": False, "vision_config": None}
    processor = DIMProcessor.from_pretrained(tiny_dim_dir)
    link = DIMPipeline(DIMModel.from_pretrained(tiny_dim_dir, **texts), processor=processor)
    bare = link("[[Ada]] sat.", candidates=CANDIDATES)
    assert told == []
    shown = {"image": Image.new("RGB", (20, 20))}
    assert link({"sentence": "[[Ada]] sat.", **shown}, candidates=[{**CANDIDATES[0], **shown}]) == bare
    assert told == [f"The model reads no pictures of {side}; they are left out." for side in ("entities", "mentions")]
    with pytest.raises(DIMError, match="Mark the mention"):
        link(shown, candidates=CANDIDATES)

"""The cross-encoder: its effect on a ranking, and its training."""

import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer, TrainingArguments

from dim import DIMConfig, DIMModel, DIMProcessor
from dim.cli.main import main
from dim.common.checksums import CHECKSUMS
from dim.encoding.loading import load_dim
from dim.encoding.mention import Mention, mentions_of
from dim.kb.store import KnowledgeBase
from dim.linking.linker import DIMLinker
from dim.linking.reranker import FOLDER, Reranker, entity_text, mention_text
from dim.training.reranker_trainer import _start, train_reranker

COLOURS = ("red", "green", "blue", "black", "white", "brown")
PLACES = ("here", "there", "today", "again")
ENTITIES = [{"id": colour, "name": "gem", "description": f"a {colour} stone"} for colour in COLOURS]
MENTIONS = Dataset.from_list(
    [
        {"mention": "gem", "sentence": f"gem {colour} {place}", "start": 0, "end": 3, "entity_id": colour}
        for colour in COLOURS
        for place in PLACES
    ]
)


def write_encoder(folder, spread):
    """A random encoder; a greater spread gives more different scores."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ":", "[", "]", "gem", "a", "stone", *COLOURS, *PLACES]
    tokenizer = BertTokenizer(vocab={word: row for row, word in enumerate(words)}, model_max_length=40)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_labels=1, initializer_range=0.1 * spread,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    torch.nn.init.normal_(model.classifier.weight, std=spread)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("cross_encoder"), spread=5.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_dim_dir):
    """A model's folder and its knowledge base."""
    folder = tmp_path_factory.mktemp("made")
    model, processor = DIMModel.from_pretrained(tiny_dim_dir).eval(), DIMProcessor.from_pretrained(tiny_dim_dir)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    kb = KnowledgeBase.create(folder / "kb", ENTITIES)
    kb.encode(model, processor, progress=False)
    return folder / "model", kb


@pytest.fixture
def linker(made):
    return DIMLinker.from_pretrained(made[0], made[1].uri)


def test_adds_its_score_to_the_best_and_drops_the_others(linker, cross_encoder):
    """Compared to single pairs without padding."""
    reranker = Reranker.from_pretrained(cross_encoder, count=3)
    mentions = MENTIONS.select(range(5))
    [plain] = linker.rank(mentions)
    [found] = DIMLinker(linker.model, linker.processor, linker.kb, reranker=reranker).rank(mentions)
    assert found.rows.shape == (5, 3)
    known, changed = linker.kb.table(["name", "description"]).to_pylist(), 0
    for row, mention in enumerate(mentions):
        expected = {}
        for place in range(3):
            entity = known[plain.rows[row, place]]
            pair = reranker.tokenizer(
                mention_text(*mentions_of([mention])), entity_text(**entity), return_tensors="pt",
                truncation="longest_first",
            )  # fmt: skip
            with torch.inference_mode():
                added = reranker.model(**pair).logits.item()
            expected[plain.rows[row, place].item()] = plain.scores[row, place].item() + added
        order = sorted(expected, key=lambda entity: -expected[entity])
        assert found.rows[row].tolist() == order
        assert found.scores[row].tolist() == pytest.approx([expected[entity] for entity in order], abs=1e-4)
        changed += order != plain.rows[row, :3].tolist()
    assert changed  # else the test could not fail


def test_says_what_it_added(linker, cross_encoder):
    both = DIMLinker(linker.model, linker.processor, linker.kb, reranker=Reranker.from_pretrained(cross_encoder, 4))
    for entity in both("[[gem]] red there", k=4, why=True):
        parts = [entity.why[f"score_by_{part}"] for part in ("vectors", "prior", "reranker")]
        assert parts[2] != 0
        assert sum(parts) == pytest.approx(entity.score, abs=1e-4)


def test_an_empty_knowledge_base_and_bad_scores(linker, cross_encoder, tmp_path):
    reranker = Reranker.from_pretrained(cross_encoder)
    empty = KnowledgeBase.create(tmp_path / "kb", [])
    assert DIMLinker(linker.model, linker.processor, empty, reranker=reranker)("[[Turkey]]") == []
    with torch.no_grad():
        reranker.model.classifier.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="reranker's score of a candidate of mention 'Turkey' is not finite"):
        DIMLinker(linker.model, linker.processor, linker.kb, reranker=reranker)("[[Turkey]]")
    with pytest.raises(ValueError, match="at least one candidate, got 0"):
        Reranker.from_pretrained(cross_encoder, 0)
    with pytest.raises(ValueError, match="There is no reranker in .*dim train-reranker makes one"):
        Reranker.from_pretrained(tmp_path / "nothing")


def test_learns_who_the_golds_are(linker, tmp_path):
    """From mentions of one entity only, it learns to rank that entity first."""
    tower, brown = write_encoder(tmp_path / "tower", spread=0.2), MENTIONS.select(range(20, 24))
    assert set(brown["entity_id"]) == {"brown"}
    settings = TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=30, per_device_train_batch_size=2, learning_rate=1e-3, report_to=[],
        remove_unused_columns=False, save_strategy="no", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip

    def best(folder, row):
        texts = [mention_text(*mentions_of([row]))] * len(ENTITIES)
        known = [entity_text(entity["name"], entity["description"]) for entity in ENTITIES]
        return ENTITIES[Reranker.from_pretrained(folder).score(texts, known).argmax()]["id"]

    before = [best(tower, row) for row in brown]
    train_reranker(linker, brown, settings, str(tower), candidates=6, max_length=40)
    assert before != ["brown"] * 4
    assert [best(tmp_path, row) for row in brown] == ["brown"] * 4


class _Planted:
    """A pickle that makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_command_line_trains_and_links(made, cross_encoder, tiny_mel_dir, tmp_path, capsys):
    folder, kb = made[0], KnowledgeBase.create(tmp_path / "kb", str(tiny_mel_dir))
    kb.encode(*load_dim(folder), progress=False)
    base = ["--model", str(folder), "--kb", kb.uri]
    train = ["train-reranker", *base, "--dataset", str(tiny_mel_dir), "--tower", str(cross_encoder),
             "--candidates", "3", "--examples", "8", "--save-steps", "1", "--bf16"]  # fmt: skip
    assert main([*train, "--candidates", "1"]) == 2
    assert "--candidates must be at least 2" in capsys.readouterr().err
    assert main([*train, "--tower", str(folder / "nothing")]) == 2
    assert "does not support sequence classification: give --tower an encoder" in capsys.readouterr().err
    assert main(["link", *base, "--rerank", "3", "--sentence", "[[Turkey]]"]) == 2
    assert "There is no reranker in" in capsys.readouterr().err
    assert main(train) == 0
    trained = (folder / FOLDER / "model.safetensors").read_bytes()
    capsys.readouterr()
    assert main([*train, "--seed", "3"]) == 2
    error = capsys.readouterr().err
    assert "holds a reranker of another run (--seed is 3, but was 0): replace it by --overwrite" in error
    assert (folder / FOLDER / "model.safetensors").read_bytes() == trained
    (folder / FOLDER / "checkpoint-99").mkdir()  # of a run that was killed while it wrote it
    (folder / FOLDER / "checkpoint-99" / "config.json").write_text("{")
    assert main(train) == 0  # it goes on from its last complete checkpoint, which is the last
    assert not (folder / FOLDER / "checkpoint-99").exists()
    last = max((folder / FOLDER).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    planted = [path for path in last.iterdir() if path.suffix in (".pt", ".pth", ".bin")]
    assert len(planted) >= 3
    for path in planted:
        path.write_bytes(pickle.dumps(_Planted(tmp_path / "ran"), protocol=2))
    capsys.readouterr()
    assert main(train) == 2
    assert "was damaged or changed after it was written" in capsys.readouterr().err
    (last / CHECKSUMS).unlink()  # whoever plants a file can do that, too
    assert main(train) == 2
    assert "A file of weights or states is damaged, or holds more than that" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
    assert main([*train, "--seed", "3", "--overwrite"]) == 0
    capsys.readouterr()
    assert main(["link", *base, "--rerank", "3", "--sentence", "[[Turkey]]", "-k", "5", "--json"]) == 0
    assert capsys.readouterr().out.count('"id"') == 3
    assert main(["link", *base, "--rerank", "65", "--sentence", "[[Turkey]]"]) == 2
    assert "--rerank must lie between 0 and 64, got 65" in capsys.readouterr().err


def test_texts_of_pairs():
    def text(mention, sentence):
        return mention_text(Mention.find(mention, sentence))

    assert text("Henry", "King Henry, c. 1531, not Henry VII") == "King [ Henry ], c. 1531, not Henry VII"
    assert text("Ann", "Annette met Ann.") == "Annette met [ Ann ]."
    assert text("Henry", "a king") == "[ Henry ] a king"
    assert text("Henry", "") == "[ Henry ]"
    assert text("Henry", "x" * 300 + "Henry.") == "x" * 200 + "[ Henry ]."
    assert entity_text("Henry VIII", "Birth: 1491.") == "Henry VIII: Birth: 1491."
    assert entity_text("Henry VIII", None) == "Henry VIII"


def test_mentions_outside_the_knowledge_base_are_no_examples(linker, cross_encoder, tmp_path):
    away = MENTIONS.remove_columns("entity_id").add_column("entity_id", [""] * len(MENTIONS))
    settings = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True)
    with pytest.raises(ValueError, match="no mention whose gold the linker finds and of which it is unsure"):
        train_reranker(linker, away, settings, str(cross_encoder))


def test_starts_from_the_models_own_tower(linker, tmp_path):
    config = BertConfig(vocab_size=20, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    bert = DIMModel(DIMConfig(text_config=config.to_dict(), vision_config=None, mention_modalities=["sentence"],
                              entity_pictures=False, projection_dim=32, text_pooling="mean"))  # fmt: skip
    model, tokenizer = _start(SimpleNamespace(model=bert, processor=linker.processor), None)
    expected, found = bert.text_model.state_dict(), model.base_model.state_dict()
    assert expected
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert model.num_labels == 1
    assert tokenizer is not linker.processor.tokenizer
    with pytest.raises(ValueError, match="text tower of the model does not support"):  # CLIP's
        _start(linker, None)


def test_mention_is_marked_where_its_span_is(made, cross_encoder, monkeypatch):
    """The second Jordan is marked, not the first, on every path through the linker."""
    sentence = "Jordan played well; in Jordan it rained."
    seen = []
    reranker = Reranker.from_pretrained(cross_encoder, 3)
    monkeypatch.setattr(
        reranker, "score", lambda mentions, entities: seen.extend(mentions) or torch.zeros(len(mentions))
    )
    linker = DIMLinker(*load_dim(made[0]), made[1], reranker=reranker)
    linker(sentence, span=(23, 29))
    linker("Jordan played well; in [[Jordan]] it rained.")
    assert set(seen) == {"Jordan played well; in [ Jordan ] it rained."}

"""The parts of training: arguments, banks, batches, augmentation, checkpoints; the whole is in test_train.py."""

from pathlib import Path

import pytest
import torch

from dim import DIMConfig, DIMModel, DIMProcessor
from dim.encoding.loading import load_dim
from dim.encoding.prior_features import LEXICAL_FEATURES
from dim.training.arguments import DataArguments, TrainArguments, parse_arguments
from dim.training.augment import augment_pictures
from dim.training.banks import TextBank
from dim.training.batches import BatchDataset, mention_inputs
from dim.training.checkpoints import checkpoints, find_checkpoint, publish, write_checkpoint
from dim.training.data import MELData
from dim.training.model import parameter_groups
from dim.training.validation import encode_knowledge_base, encode_side, picture_weight, rank_validation

ROOT = Path(__file__).resolve().parents[2]
CONFIG = DIMConfig(num_lexical_features=len(LEXICAL_FEATURES))
FLAGS = ["--dataset", "d", "--output_dir", "o", "--text_tower", "t"]


@pytest.fixture(scope="module")
def data(tiny_mel_dir, tiny_dim_dir, tmp_path_factory):
    arguments = DataArguments(
        dataset=str(tiny_mel_dir), negatives="candidates", num_candidates=2, picture_dropout=0.5, mention_masking=0.5
    )
    processor = DIMProcessor.from_pretrained(tiny_dim_dir)
    return MELData(arguments, processor, tmp_path_factory.mktemp("bank") / "pictures.u8", CONFIG)


class TestArguments:
    def test_flags_beat_the_file(self, tmp_path):
        config = tmp_path / "c.yaml"
        config.write_text("dataset: d\noutput_dir: o\ntext_tower: t\nlearning_rate: 1e-4\nseed: 3\naugment: true\n")
        _, data, train = parse_arguments([str(config), "--seed", "5"])
        assert (train.learning_rate, train.seed, data.augment) == (1e-4, 5, True)

    # ablation.yaml is read by `dim ablate`
    @pytest.mark.parametrize("config", sorted(ROOT.glob("configs/[!a]*.yaml")), ids=lambda path: path.name)
    def test_shipped_configs_are_valid(self, config):
        parse_arguments([str(config)])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("learning_rte: 1", r"Unknown key 'learning_rte'; did you mean learning_rate\?"),
            ("zzz: 1", "Unknown key 'zzz'; `--help` lists what there is"),
            ("- a\n- b", "must hold `key: value` lines, got a list"),
            ("a: [", "is not valid YAML"),
            ("learning_rate: fast", "learning_rate must be a number, got 'fast'"),
        ],
    )
    def test_bad_files(self, tmp_path, text, message):
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(ValueError, match=message):
            parse_arguments([str(tmp_path / "c.yaml"), *FLAGS])

    def test_missing_file(self):
        with pytest.raises(ValueError, match=r"There is no config file nowhere.yaml"):
            parse_arguments(["nowhere.yaml"])


class TestTextBank:
    def test_batches_equal_the_tokenizer(self, tiny_dim_dir):
        processor = load_dim(tiny_dim_dir)[1]
        texts = ["a", "bird and a flag", "a", "the end"]
        bank = TextBank(processor.tokenizer(texts)["input_ids"], processor.tokenizer.pad_token_id)
        rows = torch.tensor([3, 1, 2, 0, 1])
        batch = bank.fetch(rows, "mention")
        expected = processor.tokenizer([texts[row] for row in rows], padding=True, return_tensors="pt")
        assert torch.equal(batch["mention_input_ids"], expected["input_ids"])
        assert torch.equal(batch["mention_attention_mask"], expected["attention_mask"])
        assert len(bank.lengths) == 3  # equal texts are stored once

    def test_encoded_bank_equals_the_tower(self, tiny_dim_dir, tmp_path):
        model, processor = load_dim(tiny_dim_dir)
        texts = ["a", "bird and a flag", "the end"]
        bank = TextBank(processor.tokenizer(texts)["input_ids"], processor.tokenizer.pad_token_id)
        bank.encode(model, 2, tmp_path)
        expected = processor.tokenizer(texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            expected = model.pool_texts(expected["input_ids"], expected["attention_mask"])
        torch.testing.assert_close(bank.fetch(torch.arange(3), "x")["x_pooled"], expected)


class TestData:
    def test_pictures_equal_the_processors(self, data, tiny_mel_dir, tiny_dim_dir):
        """Pixels kept in 8 bits are those that the image processor would give, to float rounding."""
        from dim.common.pictures import load_picture
        from dim.corpora.loading import load_mentions

        rows = load_mentions(str(tiny_mel_dir), "validation")
        processor = DIMProcessor.from_pretrained(tiny_dim_dir)
        pictures = [load_picture(row["image"]) for row in rows]
        expected = processor.process_mentions(rows["mention"][:], rows["sentence"][:], pictures)["pixel_values"]
        batch = data.pictures.fetch(data.validation.pictures, "")
        torch.testing.assert_close(batch["pixel_values"], expected, atol=1e-5, rtol=1e-4)

    def test_nil_has_no_gold(self, data):
        assert data.validation.gold.tolist().count(-1) == 1

    def test_hidden_names_are_hidden(self, data):
        rows = torch.arange(3)
        decode = data.processor.tokenizer.batch_decode
        plain = mention_inputs(data, data.train, rows, torch.full((3,), -1))
        hidden = mention_inputs(data, data.train, rows, torch.full((3,), -1), hidden=torch.ones(3).bool())
        assert all("gem" in text for text in decode(plain["sentence_input_ids"]))
        assert not any("gem" in text for text in decode(hidden["sentence_input_ids"]))
        assert not any("gem" in text for text in decode(hidden["mention_input_ids"]))

    @pytest.mark.parametrize(
        ("table", "column", "value", "message"),
        [
            ("mentions/train", "entity_id", "e99", "train: the entity 'e99' of mention 'm24-0' is not in the entities"),
            ("candidates/train", "entity_ids", ["e99"], "the candidate 'e99' of mention 'm24-0' is not in the entit"),
        ],
    )
    def test_bad_rows_are_refused(self, tiny_mel_dir, tiny_dim_dir, tmp_path, table, column, value, message):
        import shutil

        import datasets

        folder = tmp_path / "broken"
        shutil.copytree(tiny_mel_dir, folder)
        path = folder / f"{table}.parquet"
        rows = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
        features = rows.features
        broken = [row | ({column: value} if place == 0 else {}) for place, row in enumerate(rows)]
        datasets.Dataset.from_list(broken, features=features).to_parquet(str(path))
        arguments = DataArguments(dataset=str(folder), negatives="candidates")
        processor = DIMProcessor.from_pretrained(tiny_dim_dir)
        with pytest.raises(ValueError, match=message):
            MELData(arguments, processor, tmp_path / "p.u8", CONFIG)


class TestBatches:
    def test_same_seed_epoch_and_step_give_the_same_batch(self, data):
        one, other = BatchDataset(data, 8, seed=1), BatchDataset(data, 8, seed=1)
        other.batch(0, 2)  # asked in another order
        mine, same = one.batch(1, 1), other.batch(1, 1)
        for name, tensor in (mine.inputs | mine.targets).items():
            assert torch.equal(tensor, (same.inputs | same.targets)[name]), name
        assert one.batch(0, 0).ids != one.batch(1, 0).ids

    def test_epoch_holds_every_mention_once(self, data):
        sampler = BatchDataset(data, 8, seed=1)
        names = [name for step in range(len(sampler)) for name in sampler.batch(0, step).ids]
        assert sorted(names) == sorted(data.train.ids)

    @pytest.mark.parametrize("world", [2, 3])
    def test_processes_share_what_one_would_draw(self, data, world):
        whole = BatchDataset(data, 8, seed=1).batch(0, 0)
        parts = [BatchDataset(data, 8, seed=1, rank=rank, world=world).batch(0, 0) for rank in range(world)]
        assert [part.ids for part in parts] == [whole.ids[rank::world] for rank in range(world)]
        for rank, part in enumerate(parts):
            assert sorted(part.targets["entity_ids"].tolist()) == whole.targets["entity_ids"].tolist()
            assert part.pool_sizes == [len(other.inputs["entity_input_ids"]) for other in parts]
            assert part.weight == world * len(part.ids) / 8
            own = part.targets["entity_ids"][part.targets["labels"]]
            assert torch.equal(own, whole.targets["entity_ids"][whole.targets["labels"]][rank::world])
            columns = [whole.targets["entity_ids"].tolist().index(row) for row in part.targets["entity_ids"].tolist()]
            expected = whole.targets["lexical_features"][rank::world][:, columns]
            assert torch.equal(part.targets["lexical_features"], expected)
        assert sum(part.weight for part in parts) == pytest.approx(world)

    def test_labels_point_at_the_golds(self, data):
        batch = BatchDataset(data, 12, seed=0).batch(0, 0)
        gold = dict(zip(data.train.ids, data.train.gold.tolist(), strict=True))
        pool = batch.targets["entity_ids"]
        assert pool[batch.targets["labels"]].tolist() == [gold[name] for name in batch.ids]
        assert pool.unique().numel() == pool.numel()

    def test_dropped_pictures_are_masked(self, data):
        batch = BatchDataset(data, 24, seed=0).batch(0, 0)
        assert 0 < batch.inputs["pixel_mask"].sum() < 24

    def test_a_pool_has_an_entity_for_every_process(self, data):
        sampler = BatchDataset(data, 2, seed=0, world=5)
        sampler.negatives = torch.full_like(sampler.negatives, -1)
        assert min(sampler.batch(0, 0).pool_sizes) == 1


class TestAugment:
    def test_generator_decides(self):
        pictures = torch.rand(4, 3, 16, 16)
        changed = [augment_pictures(pictures, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
        assert torch.equal(changed[0], changed[1])
        assert not torch.equal(changed[0], changed[2])
        assert changed[0].min() >= 0
        assert changed[0].max() <= 1

    def test_pictures_are_changed_each_by_its_own_amount(self):
        picture = torch.rand(1, 3, 16, 16)
        one, other = augment_pictures(picture.repeat(2, 1, 1, 1), torch.Generator().manual_seed(0))
        assert not torch.equal(one, other)

    def test_never_mirrored(self):
        """A picture dark on its left stays darker on its left."""
        picture = torch.ones(32, 3, 16, 16)
        picture[:, :, :, :8] = 0
        changed = augment_pictures(picture, torch.Generator().manual_seed(0))
        assert (changed[..., 4:12, :3].mean((1, 2, 3)) < changed[..., 4:12, -3:].mean((1, 2, 3))).all()


class TestCheckpoints:
    def test_interrupted_write_leaves_the_old_ones(self, tmp_path):
        def save(folder):
            (folder / "w").write_text("x")

        def fail(folder):
            (folder / "w").write_text("half")
            raise KeyboardInterrupt

        write_checkpoint(tmp_path, 1, save, {"a": 1}, keep=2)
        with pytest.raises(KeyboardInterrupt):
            write_checkpoint(tmp_path, 2, fail, {}, keep=2)
        assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-1"]
        assert find_checkpoint(tmp_path, "auto").name == "checkpoint-1"

    def test_keeps_the_newest_by_number(self, tmp_path):
        for step in (9, 10, 100):
            write_checkpoint(tmp_path, step, lambda folder: None, {}, keep=2)
        assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-10", "checkpoint-100"]

    def test_publish_replaces_files_and_leaves_others(self, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        for text in ("old", "new"):
            publish(tmp_path, lambda folder, text=text: (folder / "config.json").write_text(text))
        assert (tmp_path / "config.json").read_text() == "new"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "notes.txt"]

    def test_nothing_to_resume(self, tmp_path):
        assert find_checkpoint(tmp_path, "auto") is None
        with pytest.raises(ValueError, match="is not a complete checkpoint"):
            find_checkpoint(tmp_path, str(tmp_path))


def test_parameter_groups(tiny_dim_dir):
    model = DIMModel.from_pretrained(tiny_dim_dir, num_lexical_features=3)
    model.text_model.requires_grad_(False)
    model.text_projection.requires_grad_(False)
    arguments = TrainArguments(learning_rate=1e-3, head_learning_rate=1e-2, prior_learning_rate=1e-1, weight_decay=0.1)
    rates = {"vis": 1e-3, "lex": 1e-1}
    names = {id(p): name for name, p in model.named_parameters()}
    seen = set()
    for group in parameter_groups(model, arguments):
        for parameter in group["params"]:
            name = names[id(parameter)]
            seen.add(name)
            assert group["lr"] == rates.get(name[:3], 1e-2)
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0)
    assert seen == {name for name, _ in model.named_parameters() if not name.startswith("text_")}
    [one] = {group["lr"] for group in parameter_groups(model, TrainArguments(learning_rate=1e-3))}
    assert one == 1e-3  # the others are the same by default


class TestRankValidation:
    def test_whole_and_candidates_are_the_naive_ranks(self, data, tiny_dim_dir, monkeypatch):
        model = DIMModel.from_pretrained(tiny_dim_dir, num_lexical_features=len(LEXICAL_FEATURES)).eval()
        torch.nn.init.normal_(model.lexical_prior.output_weight)
        side = data.validation
        lists = torch.stack([torch.randperm(6)[:4] for _ in side.ids])
        lists[:, 3] = -1
        monkeypatch.setattr(side, "candidates", lists)
        [found] = rank_validation(model, data, 5)
        rows = (side.gold >= 0).nonzero().flatten()
        mentions, entities = encode_side(model, data, side, rows, 5), encode_knowledge_base(model, data, 5)
        names = [side.mentions[row] for row in rows.tolist()]
        with torch.no_grad():
            scores = model.score(mentions, entities, data.lexical_features(names))
        hits = {"H@1": [], "candidates H@1": []}
        for row, gold, own in zip(scores, side.gold[rows], lists[rows], strict=True):
            hits["H@1"].append(float(row.argmax() == gold))
            among = own[own >= 0]
            hits["candidates H@1"].append(float(among[row[among].argmax()] == gold))
        for name, values in hits.items():
            assert found[name] == pytest.approx(100 * sum(values) / len(values))
        retrieved = (lists[rows] == side.gold[rows, None]).any(1).double()
        assert found["candidates H@20"] == pytest.approx(100 * retrieved.mean().item())
        assert "vectors MRR" in found
        monkeypatch.setattr(side, "candidates", torch.full((len(side.ids), 1), -1))
        assert not any(name.startswith("candidates") for name in rank_validation(model, data, 5)[0])


class TestPictureWeight:
    def test_taken_back_to_the_last_bit(self, tiny_dim_dir):
        model = load_dim(tiny_dim_dir)[0]
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        with picture_weight(model, 1.7):
            changed = model.entity_picture_projection.weight
            torch.testing.assert_close(changed, before["entity_picture_projection.weight"] * 1.7)
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

    def test_weight_multiplies_the_pictures_part(self, tiny_dim_dir):
        model = load_dim(tiny_dim_dir)[0]
        inputs = {"entity_pooled": torch.randn(3, 32), "entity_image_pooled": torch.randn(3, 1, 32)}
        text = model._entity_vectors({"entity_pooled": inputs["entity_pooled"]})[0]
        plain = model._entity_vectors(inputs)[0]
        with picture_weight(model, 3.0):
            torch.testing.assert_close(model._entity_vectors(inputs)[0], text + 3 * (plain - text))

"""The batches of a run: drawn from seed, epoch and index, and shared by processes."""

import pytest
import torch

from dim.training.batches import BatchDataset, one_ahead


def test_same_seed_epoch_and_step_give_the_same_batch(mel_data):
    one, other = BatchDataset(mel_data, 8, seed=1), BatchDataset(mel_data, 8, seed=1)
    other.batch(0, 2)  # asked in another order
    mine, same = one.batch(1, 1), other.batch(1, 1)
    for name, tensor in (mine.inputs | mine.targets).items():
        assert torch.equal(tensor, (same.inputs | same.targets)[name]), name
    assert one.batch(0, 0).ids != one.batch(1, 0).ids


def test_epoch_holds_every_mention_once(mel_data):
    dataset = BatchDataset(mel_data, 8, seed=1)
    names = [name for step in range(len(dataset)) for name in dataset.batch(0, step).ids]
    assert sorted(names) == sorted(mel_data.train.ids)


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_what_one_would_draw(mel_data, world):
    whole = BatchDataset(mel_data, 8, seed=1).batch(0, 0)
    parts = [BatchDataset(mel_data, 8, seed=1, rank=rank, world=world).batch(0, 0) for rank in range(world)]
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


def test_labels_point_at_the_golds(mel_data):
    batch = BatchDataset(mel_data, 12, seed=0).batch(0, 0)
    gold = dict(zip(mel_data.train.ids, mel_data.train.gold.tolist(), strict=True))
    pool = batch.targets["entity_ids"]
    assert pool[batch.targets["labels"]].tolist() == [gold[name] for name in batch.ids]
    assert pool.unique().numel() == pool.numel()


def test_dropped_pictures_are_masked(mel_data):
    batch = BatchDataset(mel_data, 24, seed=0).batch(0, 0)
    assert 0 < batch.inputs["pixel_mask"].sum() < 24


def test_entities_lose_their_pictures_in_a_share_of_the_batches(mel_data, monkeypatch):
    def present(step, **processes):
        batch = BatchDataset(mel_data, 12, seed=0, **processes).batch(step, 0)
        have = dict(zip(mel_data.entities.ids, (mel_data.entities.pictures >= 0).any(1).tolist(), strict=True))
        share = batch.targets["entity_ids"].split(batch.pool_sizes)[processes.get("rank", 0)].tolist()
        found = batch.inputs.get("entity_pixel_mask", torch.zeros(len(share), 1)).any(1).tolist()
        assert all(have[mel_data.entities.ids[row]] for row, there in zip(share, found, strict=True) if there)
        return {row for row, there in zip(share, found, strict=True) if there}

    whole = [present(step) for step in range(60)]
    monkeypatch.setattr(mel_data.arguments, "entity_picture_dropout", 0.5)
    left = [present(step) for step in range(60)]
    shares = [len(kept) / len(all_) for kept, all_ in zip(left, whole, strict=True)]
    assert 15 <= sum(share == 1 for share in shares) <= 45
    assert min(shares) < 0.4
    assert len(set(shares)) > 4
    assert all(kept <= all_ for kept, all_ in zip(left, whole, strict=True))
    assert left == [present(step, rank=0, world=2) | present(step, rank=1, world=2) for step in range(60)]


def test_a_pool_has_an_entity_for_every_process(mel_data):
    dataset = BatchDataset(mel_data, 2, seed=0, world=5)
    dataset.negatives = torch.full_like(dataset.negatives, -1)
    assert min(dataset.batch(0, 0).pool_sizes) == 1


def test_one_ahead_yields_the_same_and_draws_the_next_meanwhile(mel_data):
    drawn = []

    def batches():
        for number in range(4):
            drawn.append(number)
            yield number

    used = one_ahead(batches())
    assert next(used) == 0
    used.close()  # waits for the thread
    assert drawn == [0, 1]
    dataset = BatchDataset(mel_data, 8, seed=1)
    every = [dataset.batch(0, index) for index in range(3)]
    for mine, theirs in zip(one_ahead(dataset.batch(0, index) for index in range(3)), every, strict=True):
        assert mine.ids == theirs.ids
        assert all(torch.equal(value, theirs.inputs[name]) for name, value in mine.inputs.items())


def test_an_error_in_the_thread_is_raised():
    def batches():
        yield 1
        raise ValueError("broken")

    used = one_ahead(batches())
    assert next(used) == 1
    with pytest.raises(ValueError, match="broken"):
        next(used)

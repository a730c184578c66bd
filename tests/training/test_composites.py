"""Composites and views: what is cut out, what is drawn, and how a run is trained with them."""

import json

import numpy as np
import pytest
import torch
from changed_mentions import with_columns
from PIL import Image, ImageDraw

from dim import DIMModel, DIMProcessor, load_dim
from dim.common.pictures import load_picture
from dim.errors import PictureError
from dim.training.arguments import DataArguments, parse_arguments
from dim.training.batches import BatchDataset
from dim.training.composites import SIZE, composite, composite_loaders, cut_out_thing, view, view_loaders
from dim.training.data import MELData
from dim.training.picture_sources import add_composites, add_views
from dim.training.trainer import train

NAVY = (10, 10, 120)


def apple(background="white", thing="red", hole=None, box=(20, 30, 80, 70)):
    picture = Image.new("RGB", (100, 90), background)
    draw = ImageDraw.Draw(picture)
    draw.ellipse(box, fill=thing)
    if hole:
        draw.ellipse((45, 45, 55, 55), fill=hole)
    return picture


def share_of(picture, colour, tolerance=60):
    """Share of the pixels that are near a colour."""
    return (np.abs(np.asarray(picture.convert("RGB"), int) - colour).max(-1) < tolerance).mean()


# ------------------------------------------------------------------------------------------------------------ cut out


@pytest.mark.parametrize("background", ["white", (240, 250, 244), "black", (30, 90, 200)])
def test_a_plain_background_is_transparent_and_the_thing_is_not(background):
    found = cut_out_thing(apple(background))
    assert found.mode == "RGBA"
    assert found.size == (61, 41)  # what the ellipse covers
    alpha = np.asarray(found.getchannel("A"))
    assert alpha[0, 0] == alpha[-1, -1] == 0
    assert (alpha[15:25, 15:45] == 255).all()
    assert share_of(found.crop((20, 15, 40, 25)), (255, 0, 0)) == 1


def test_a_part_of_the_backgrounds_colour_inside_of_the_thing_stays():
    alpha = np.asarray(cut_out_thing(apple(hole="white")).getchannel("A"))
    assert alpha[20, 30] == 255  # the hole is not connected with the corner


def test_noise_of_a_camera_is_still_background():
    noise = np.random.default_rng(0).integers(-5, 6, (90, 100, 3))
    picture = Image.fromarray((np.asarray(apple((240, 240, 240)), int) + noise).clip(0, 255).astype(np.uint8))
    alpha = np.asarray(cut_out_thing(picture).getchannel("A"))
    assert alpha.shape == (41, 61)
    assert alpha[0, 0] == 0


@pytest.mark.parametrize("picture", [Image.new("RGB", (7, 5), "red"), Image.new("RGB", (1, 1), "white")])
def test_a_picture_of_one_colour_stays_whole(picture):
    found = cut_out_thing(picture)
    assert found.size == picture.size
    assert np.asarray(found.getchannel("A")).min() == 255


# --------------------------------------------------------------------------------------------------------------- draw


def test_composites_show_the_thing_on_the_photograph():
    thing, photograph = cut_out_thing(apple()), Image.new("RGB", (120, 200), NAVY)
    drawn = [composite(thing, photograph, seed) for seed in range(20)]
    assert {picture.size for picture in drawn} == {(SIZE, SIZE)}
    assert {picture.mode for picture in drawn} == {"RGB"}
    reds = [(np.asarray(picture, int)[..., 0] > 1.5 * np.asarray(picture, int)[..., 2]).mean() for picture in drawn]
    assert min(reds) > 0.02
    assert max(reds) < 0.98
    assert len({picture.tobytes() for picture in drawn}) == 20


def test_the_same_seed_draws_the_same_picture():
    thing, photograph = cut_out_thing(apple()), Image.effect_noise((90, 60), 40).convert("RGB")
    assert composite(thing, photograph, 3).tobytes() == composite(thing, photograph, 3).tobytes()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 2)])
def test_tiny_and_narrow_pictures_are_drawn(size):
    thing = cut_out_thing(Image.new("RGB", size, "red"))
    assert composite(thing, Image.new("RGB", size[::-1], "navy"), 0).size == (SIZE, SIZE)


def test_loaders_draw_each_thing_as_often_as_asked_and_cut_it_out_once():
    asked = []

    def entity(number):
        return lambda: asked.append(number) or apple(thing=("red", "lime")[number])

    photographs = [lambda: Image.new("RGB", (50, 50), "navy"), lambda: Image.new("RGB", (50, 50), "black")]
    loaders = composite_loaders([entity(0), entity(1)], photographs, 5)
    pictures = [np.asarray(loader(), int) for loader in loaders]
    assert len(pictures) == 10
    assert asked == [0, 1]
    reds = [(picture[..., 0] > picture[..., 1] + 40).mean() for picture in pictures]
    assert min(reds[:5]) > max(reds[5:])
    again = composite_loaders([entity(0), entity(1)], photographs, 5)
    assert np.array_equal(np.asarray(again[7](), int), pictures[7])


def test_a_picture_that_cannot_be_read_is_told_as_such():
    loaders = composite_loaders([lambda: b"no picture"], [lambda: apple()], 1)
    with pytest.raises(PictureError):
        load_picture(loaders[0]())


def test_backgrounds_are_mirrored_now_and_then_a_single_thing_never():
    """What is drawn is red at the left and lime at the right; the photograph is black, or bright and dark."""
    thing = Image.new("RGBA", (40, 40), "red")
    thing.paste("lime", (20, 0, 40, 40))
    left_of = lambda picture, one, other: (  # noqa: E731
        np.nonzero(picture[..., one] > picture[..., other] + 60)[1].mean()
        < np.nonzero(picture[..., other] > picture[..., one] + 60)[1].mean()
    )
    pictures = [np.asarray(composite(thing, Image.new("RGB", (90, 90)), seed), int) for seed in range(60)]
    red = [((picture[..., 0] > 60) | (picture[..., 1] > 60)).mean() for picture in pictures]
    single = [left_of(picture, 0, 1) for picture, share in zip(pictures, red, strict=True) if share < 0.35]
    assert np.mean(single) > 0.8
    photograph = Image.new("RGB", (90, 90), (0, 0, 250))
    photograph.paste((0, 0, 60), (45, 0, 90, 90))
    clear = Image.new("RGBA", (1, 1), (0, 0, 0, 0))
    bright = [np.asarray(composite(clear, photograph, seed), int)[..., 2].mean(0) for seed in range(30)]
    assert {bool(row[:40].mean() > row[-40:].mean()) for row in bright} == {True, False}


def test_views_are_parts_of_the_photograph_in_another_light():
    photograph = Image.fromarray(np.linspace(0, 255, 120 * 90 * 3).reshape(90, 120, 3).astype(np.uint8))
    drawn = [np.asarray(view(photograph, seed), int) for seed in range(12)]
    assert {picture.shape for picture in drawn} == {(256, 256, 3)}
    assert len({picture.tobytes() for picture in drawn}) == 12
    assert np.array_equal(drawn[3], np.asarray(view(photograph, 3), int))
    for picture in drawn:  # brighter downwards as the photograph, so neither turned nor upside down
        assert picture[-40:].mean() > picture[:40].mean()
    heights = [picture[-1].mean() - picture[0].mean() for picture in drawn]
    assert min(heights) > 20  # at least a fifth of the photograph
    assert max(heights) < 255


def test_loaders_draw_so_many_views_of_each_picture_and_read_it_once():
    asked = []
    sources = [lambda: asked.append(0) or apple(), lambda: asked.append(1) or apple(thing="lime")]
    loaders = view_loaders(sources, 3)
    pictures = [np.asarray(loader(), int) for loader in loaders]
    assert len(pictures) == 6
    assert asked == [0, 1]
    assert len({picture.tobytes() for picture in pictures}) == 6
    assert view_loaders(sources, 0) == []


def test_a_mentions_views_are_those_of_its_picture():
    loaders = [apple] * 4
    places = add_views(loaders, torch.tensor([2, -1, 0, 2]), 2)
    assert len(loaders) == 4 + 2 * 2
    assert places.tolist() == [[2, 6, 7], [-1, -1, -1], [0, 4, 5], [2, 6, 7]]
    assert add_views(loaders, torch.tensor([2, -1]), 0).tolist() == [[2], [-1]]
    assert len(loaders) == 8


# -------------------------------------------------------------------------------------------------------------- train


def composed(dataset, model_dir, tmp_path, **options):
    processor = DIMProcessor.from_pretrained(model_dir)
    arguments = DataArguments(dataset=str(dataset), **{"composites": 3, **options})
    return MELData(arguments, processor, tmp_path / "pictures.u8", load_dim(model_dir)[0].config)


@pytest.fixture(scope="module")
def data(tiny_mel_dir, tiny_dim_dir, tmp_path_factory):
    options = {"negatives": "candidates", "num_candidates": 2, "mention_masking": 0.9, "picture_dropout": 0.9}
    return composed(tiny_mel_dir, tiny_dim_dir, tmp_path_factory.mktemp("data"), **options)


def test_composites_are_mentions_half_of_them_a_picture_alone(data):
    """The others have a text in which a training mention of the same name stands."""
    found = data.composites
    assert found.gold.tolist() == [row for row in range(6) for _ in range(3)]
    assert found.has_sentence.tolist() == [bool(number % 2) for number in range(18)]
    assert {mention for number, mention in enumerate(found.mentions[:18]) if number % 2} <= set(
        data.train.mentions[:24]
    )
    assert {mention.text for mention in found.mentions[:18]} == {"", "gem"}
    assert len(found.pictures.unique()) == 18
    assert not torch.isin(found.pictures, torch.cat([data.train.pictures, data.entities.pictures.flatten()])).any()
    assert found.ids[4] == "composite 4 of e1"


def test_an_epoch_holds_every_mention_and_every_composite_once_in_batches_of_their_own(data):
    batches = BatchDataset(data, 8, seed=1)
    assert len(batches) == 3 + 3
    for epoch in range(2):
        names = [batches.batch(epoch, step).ids for step in range(len(batches))]
        assert sorted(name for part in names for name in part) == sorted(data.train.ids + data.composites.ids)
        kinds = [{name.startswith("composite") for name in part} for part in names]
        assert all(len(kind) == 1 for kind in kinds)
        assert kinds != sorted(kinds, key=str)  # they take turns


def test_entities_whose_names_no_mention_has_are_asked_by_pictures_alone(tiny_mel_dir, tiny_dim_dir, tmp_path):
    def renamed(rows):
        return [
            row | {"mention": "stone", "sentence": "A stone.", "start": 2, "end": 7, "region": None} for row in rows
        ]

    other = with_columns(tiny_mel_dir, tmp_path / "other", renamed)
    found = composed(other, tiny_dim_dir, tmp_path).composites
    assert not found.has_sentence.any()
    assert {mention.text for mention in found.mentions} == {""}


def test_a_batch_of_composites_asks_with_their_pictures_among_its_golds(data):
    batches = BatchDataset(data, 8, seed=1)
    batch = next(one for one in map(batches.__getitem__, range(6)) if one.ids[0].startswith("composite"))
    gold = dict(zip(data.composites.ids, data.composites.gold.tolist(), strict=True))
    pool = batch.targets["entity_ids"]
    assert pool[batch.targets["labels"]].tolist() == [gold[name] for name in batch.ids]
    assert pool.tolist() == sorted({gold[name] for name in batch.ids})
    there = batch.inputs["pixel_mask"]
    assert there[~batch.inputs["sentence_mask"]].all()  # the pictures of the others may be dropped


def test_without_composites_batches_are_as_they_were(data, mel_data):
    mine, plain = BatchDataset(data, 8, seed=1), BatchDataset(mel_data, 8, seed=1)
    assert mel_data.composites is None
    order = [name for step in range(len(plain)) for name in plain.batch(0, step).ids]
    shuffled = torch.randperm(24, generator=plain._generator(0, 0)).tolist()
    assert order == [mel_data.train.ids[row] for row in shuffled]
    mentions = [mine.batch(0, step).ids for step in range(len(mine))]
    assert sorted(part for part in mentions if part[0].startswith("m")) == sorted(
        order[start : start + 8] for start in (0, 8, 16)
    )


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_a_batch_of_composites(data, world):
    whole = [BatchDataset(data, 6, seed=1).batch(0, step).ids for step in range(7)]
    for rank in range(world):
        own = BatchDataset(data, 6, seed=1, rank=rank, world=world)
        assert [own.batch(0, step).ids for step in range(7)] == [names[rank::world] for names in whole]


def test_a_batch_shows_a_view_of_each_training_photograph_or_the_photograph(tiny_mel_dir, tiny_dim_dir, tmp_path):
    data = composed(tiny_mel_dir, tiny_dim_dir, tmp_path, composites=0, picture_views=2)
    assert data.views.shape == (24, 3)
    assert data.views[:, 0].equal(data.train.pictures)
    batches = BatchDataset(data, 24, seed=1)
    seen: dict[str, set[bytes]] = {}
    for epoch in range(12):
        batch = batches.batch(epoch, 0)
        there = batch.inputs["pixel_mask"].tolist()
        for name, picture, present in zip(batch.ids, batch.inputs["pixel_values"], there, strict=True):
            if present:
                seen.setdefault(name, set()).add(picture.numpy().tobytes())
    pictured = [name for name, place in zip(data.train.ids, data.train.pictures.tolist(), strict=True) if place >= 0]
    assert sorted(seen) == sorted(pictured)
    own = {name: data.pictures.fetch(data.views[data.train.ids.index(name)], "")["pixel_values"] for name in seen}
    for name, pictures in seen.items():
        assert pictures == {picture.numpy().tobytes() for picture in own[name]}
    again = BatchDataset(data, 24, seed=1).batch(3, 0)
    assert torch.equal(again.inputs["pixel_values"], batches.batch(3, 0).inputs["pixel_values"])


def test_composites_without_pictures_are_refused(tiny_mel_dir, tiny_dim_dir, tiny_bert_dir, tmp_path):
    text_only = DIMModel.from_towers(str(tiny_bert_dir)).config
    arguments = DataArguments(dataset=str(tiny_mel_dir), composites=2)
    with pytest.raises(ValueError, match="--composites needs pictures, but no entity has one that the model uses"):
        MELData(arguments, DIMProcessor.from_pretrained(tiny_dim_dir), tmp_path / "p.u8", text_only)
    with pytest.raises(ValueError, match="but no training mention has one"):
        add_composites([], torch.tensor([0]), torch.tensor([-1, -1]), 2)


@pytest.mark.parametrize("tune", ["head", "full"])
def test_a_run_with_composites_goes_on_where_it_stopped(tiny_mel_dir, tiny_dim_dir, tmp_path, tune):
    """Frozen towers encode composites once; the same steps give the same weights, in one go or in two."""

    def run(name, *more):
        flags = [f"--model_name_or_path={tiny_dim_dir}", f"--dataset={tiny_mel_dir}", f"--output_dir={tmp_path / name}",
                 f"--tune={tune}", "--composites=4", "--picture_views=2", "--num_train_epochs=2",
                 "--per_device_train_batch_size=8", "--save_steps=4", "--eval_steps=4",
                 "--lr_scheduler_type=constant", "--warmup_steps=0", "--report_to=none", *more]  # fmt: skip
        train(*parse_arguments(flags))
        return load_dim(tmp_path / name)[0].state_dict()

    whole = run("whole")
    run("parts", "--max_steps=4")
    again = run("parts", "--resume_from_checkpoint=auto")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert json.loads((tmp_path / "whole" / "metrics.json").read_text())["best"]
    with pytest.raises(ValueError, match="composites"):
        run("parts", "--resume_from_checkpoint=auto", "--composites=5")

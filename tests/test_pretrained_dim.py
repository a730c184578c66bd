"""Pretrained towers: an untrained DIM computes the towers' own features, whatever the towers; or it is refused."""

import logging

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from tiny_towers import SIZE, TWO_TOWERS, VISIONS, save_text, save_two_towers, save_vision
from transformers import AutoConfig, AutoModel, AutoTokenizer

from dim import DIMConfig, DIMModel, DIMProcessor

NAMES = ["a", "finland of the north", "the land of an inn and of the other inn in the north"]
PICTURES = [Image.effect_mandelbrot((40, 30 + 8 * row), (-2, -1, 1, 1), 20 + row).convert("RGB") for row in range(3)]
PAIRS = [
    *((kind, None) for kind in TWO_TOWERS if kind != "aimv2"),
    ("bert", "vit"),
    ("bert", "vit without pooler"),
    ("minilm", "dinov2"),
    ("bert", "dinov3_vit"),
    ("siglip", "dinov2"),
    ("siglip_text", "dinov2"),
    ("siglip2_text", "siglip_vision"),
    ("bert", "siglip"),
    ("bert", "metaclip_2"),
    ("clip", "dinov2"),
    ("roberta", "clip_vision"),
    ("t5", "dinov2"),
    ("modernbert", "vit"),
]


def save(kind, folder, tokenizer):
    if kind in TWO_TOWERS:
        return save_two_towers(kind, tokenizer, folder)
    if kind.endswith(" without pooler"):
        return save_vision(kind.split()[0], folder, without=("pooler.",))
    return save_vision(kind, folder) if kind in VISIONS else save_text(kind, tokenizer, folder)


@pytest.fixture(scope="module")
def checkpoint(tiny_bert_dir, tmp_path_factory):
    """Writes the checkpoint of a kind, once."""
    known = {}

    def of(kind):
        if kind not in known:
            known[kind] = save(kind, tmp_path_factory.mktemp("tower"), tiny_bert_dir)
        return known[kind]

    return of


def own_texts(folder, texts):
    """The text features of a checkpoint, as its documentation computes them."""
    model, tokenizer = load(folder), AutoTokenizer.from_pretrained(folder)
    if "siglip" in model.config.model_type:
        ids = tokenizer(texts, padding="max_length", max_length=40, truncation=True, return_tensors="pt").input_ids
        inputs = {"input_ids": ids}
    else:
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if hasattr(model, "get_text_features"):
        return model.get_text_features(**inputs).pooler_output
    outputs = model(**inputs)
    if "siglip" in model.config.model_type:
        return outputs.pooler_output
    mask = inputs["attention_mask"][..., None]
    return (outputs.last_hidden_state * mask).sum(1) / mask.sum(1)


def own_pictures(folder, pixels, pooler):
    model = load(folder)
    if hasattr(model, "get_image_features"):
        return model.get_image_features(pixel_values=pixels).pooler_output
    outputs = model(pixel_values=pixels)
    return outputs.pooler_output if pooler else outputs.last_hidden_state[:, 0]


def load(folder):
    config = AutoConfig.from_pretrained(folder)
    return getattr(transformers, config.architectures[0]).from_pretrained(folder).eval()


def check_equal(found, own):
    """Equal, with zeros where DIM's shared space is wider."""
    torch.testing.assert_close(found[:, : own.shape[1]], own, atol=1e-5, rtol=1e-4)
    assert found[:, own.shape[1] :].abs().sum() == 0
    assert own.std(0).mean() > 1e-3  # different texts and pictures have different features


@torch.no_grad()
@pytest.mark.parametrize(("text", "vision"), PAIRS)
def test_untrained_vectors_are_the_towers_own(checkpoint, text, vision):
    towers = [str(checkpoint(kind)) for kind in (text, vision) if kind is not None]
    model, processor = DIMModel.from_towers(*towers), DIMProcessor.from_towers(*towers)
    own = own_texts(towers[0], NAMES)
    batch = processor.process_entities(NAMES, [""] * 3, [[picture] for picture in PICTURES])
    ids, mask = batch["entity_input_ids"], batch["entity_attention_mask"]
    check_equal(model.text_projection(model.pool_texts(ids, mask)), own)
    alone = []
    for name in NAMES:
        one = processor.process_entities([name], [""])
        alone.append(model.text_projection(model.pool_texts(one["entity_input_ids"], one["entity_attention_mask"])))
    check_equal(torch.cat(alone), own)
    pixels = batch["entity_pixel_values"][:, 0]
    found = model.visual_projection(model.pool_pictures(pixels))
    check_equal(found, own_pictures(towers[-1], pixels, not (vision or "").endswith("without pooler")))
    alone = torch.cat([model.visual_projection(model.pool_pictures(one[None])) for one in pixels])
    torch.testing.assert_close(alone, found, atol=1e-5, rtol=1e-4)


def build(checkpoint, text, vision=None, **fields):
    towers = [str(checkpoint(kind)) for kind in (text, vision) if kind is not None]
    return DIMModel.from_towers(*towers, **fields)


def test_tower_whose_vectors_depend_on_padding_is_refused(checkpoint):
    """transformers runs AIMv2's text tower causally only where a text is padded."""
    with pytest.raises(ValueError, match="depends on how long the other texts of its batch are"):
        build(checkpoint, "aimv2")


@torch.no_grad()
@pytest.mark.parametrize("stored", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("wanted", [None, "bfloat16", torch.float16])
def test_whole_model_has_one_precision(checkpoint, tmp_path, stored, wanted):
    folder = checkpoint("clip")
    model = AutoModel.from_pretrained(folder, dtype=getattr(torch, stored))
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    built = DIMModel.from_towers(str(tmp_path), **({} if wanted is None else {"dtype": wanted}))
    expected = torch.float32 if wanted is None else torch.bfloat16 if wanted == "bfloat16" else wanted
    assert {weight.dtype for weight in built.parameters()} == {expected}
    ids = torch.tensor([[2, 9, 3]])
    output = built(
        mention_input_ids=ids, sentence_input_ids=ids, entity_input_ids=ids, pixel_values=torch.rand(1, 3, SIZE, SIZE)
    )
    assert torch.isfinite(output.logits).all()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"projektion_dim": 8}, "does not know the argument 'projektion_dim'; did you mean 'projection_dim'?"),
        ({"torch_dtype": "float16"}, "does not know the argument 'torch_dtype'"),
        ({"revisoin": "main"}, "did you mean 'revision'?"),
        ({"dtype": "int8"}, "dtype must be a floating-point precision such as 'float32' or 'bfloat16', got 'int8'"),
        ({"vision_pooling": "cls", "text_pooling": "mean", "dtype": "float"}, None),
    ],
)
def test_arguments_are_honoured_or_refused(checkpoint, argument, message):
    if message is None:
        assert build(checkpoint, "bert", "vit", **argument).config.vision_pooling == "cls"
        return
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared below
        build(checkpoint, "bert", "vit", **argument)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_checkpoint_without_a_pooler_is_pooled_by_its_class_token(checkpoint, caplog):
    caplog.set_level(logging.WARNING)
    transformers.logging.enable_propagation()
    first, second = (build(checkpoint, "bert", "vit without pooler") for _ in range(2))
    transformers.logging.disable_propagation()
    assert "has no weights of a pooler; its pictures are pooled by the class token" in caplog.text
    assert first.config.vision_pooling == "cls"
    states = first.state_dict(), second.state_dict()
    assert [n for n in states[0] if n.startswith("vision") and not torch.equal(states[0][n], states[1][n])] == []


def test_missing_weights_are_refused(tiny_bert_dir, tmp_path):
    save_vision("vit", tmp_path / "whole")
    folder = save_vision("vit", tmp_path / "cut", without=("encoder.layer.1.", "layers.1."))
    assert len(load_file(folder / "model.safetensors")) < len(load_file(tmp_path / "whole" / "model.safetensors"))
    with pytest.raises(ValueError, match=r"lacks \d+ weights of its vision tower \(.*; they would be random"):
        DIMModel.from_towers(str(tiny_bert_dir), str(folder))


def test_projection_keeps_the_features_of_the_wider_tower(checkpoint):
    model = build(checkpoint, "minilm", "dinov2")
    assert model.config.projection_dim == 32
    assert build(checkpoint, "siglip-wide").config.projection_dim == 48


def test_saved_model_is_the_same(checkpoint, tmp_path):
    for text, vision in (("siglip", None), ("bert", "vit without pooler"), ("t5", "dinov2")):
        model = build(checkpoint, text, vision)
        model.save_pretrained(tmp_path / text)
        loaded = DIMModel.from_pretrained(tmp_path / text)
        ids, mask = torch.tensor([[5, 9, 3, 0]]), torch.tensor([[1, 1, 1, 0]])
        torch.testing.assert_close(loaded.pool_texts(ids, mask), model.pool_texts(ids, mask))
        pixels = torch.rand(1, 3, SIZE, SIZE)
        torch.testing.assert_close(loaded.pool_pictures(pixels), model.pool_pictures(pixels))


def test_padding_follows_the_text_tower(checkpoint):
    def padding(text, vision):
        towers = [str(checkpoint(kind)) for kind in (text, vision) if kind is not None]
        return DIMProcessor.from_towers(*towers).text_padding

    assert [padding(*pair) for pair in (("siglip", None), ("siglip", "dinov2"), ("bert", "siglip"))] == [
        "max_length", "max_length", "longest",
    ]  # fmt: skip


def test_positions_bound_a_tokenizer_without_a_limit(checkpoint, tmp_path):
    for kind, limit in (("bert", 40), ("roberta", 39)):
        folder = tmp_path / kind
        load(checkpoint(kind)).save_pretrained(folder)
        AutoTokenizer.from_pretrained(checkpoint(kind), model_max_length=10**30).save_pretrained(folder)
        processor = DIMProcessor.from_towers(str(folder))
        assert processor.max_text_length == limit
        inputs = processor.process_mentions(["a"], ["a " * 500])
        assert DIMModel.from_towers(str(folder)).get_mention_features(**inputs).isfinite().all()
        with pytest.raises(ValueError, match=rf"max_text_length is 41, but the text tower .* has {limit} positions"):
            DIMProcessor.from_towers(str(folder), max_text_length=41)
    load(checkpoint("t5")).save_pretrained(tmp_path / "t5")
    AutoTokenizer.from_pretrained(checkpoint("t5"), model_max_length=10**30).save_pretrained(tmp_path / "t5")
    with pytest.raises(ValueError, match="states a token limit; give max_text_length"):
        DIMProcessor.from_towers(str(tmp_path / "t5"))
    assert DIMProcessor.from_towers(str(tmp_path / "t5"), max_text_length=30).max_text_length == 30


SMALL = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
PATCHES = {**SMALL, "image_size": SIZE, "patch_size": 8}
STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
MORE_VISIONS = {
    "beit": (PATCHES, "pooler"),
    "convnext": (STAGES, "pooler"),
    "data2vec-vision": (PATCHES, "cls"),
    "deit": (PATCHES, "pooler"),
    "dinov2_with_registers": (PATCHES, "pooler"),
    "efficientnet": ({"width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 128, "image_size": 64},
                     "pooler"),
    "focalnet": ({"image_size": SIZE, "embed_dim": 8, "depths": [1, 1], "focal_levels": [1, 1],
                  "focal_windows": [3, 3], "hidden_sizes": [8, 16]}, "pooler"),
    "ijepa": (PATCHES, "mean"),
    "internvl_vision": ({**PATCHES, "image_size": [SIZE, SIZE], "patch_size": [8, 8]}, "cls"),
    "levit": ({"image_size": 64, "hidden_sizes": [16, 24, 32], "depths": [1, 1, 1]}, "pooler"),
    "mobilenet_v2": ({"depth_multiplier": 0.2}, "pooler"),
    "poolformer": (STAGES, "mean"),
    "pvt": ({**STAGES, "image_size": 64, "num_attention_heads": [1, 2, 4, 8]}, "cls"),
    "regnet": ({"embedding_size": 8, "groups_width": 8, **STAGES}, "pooler"),
    "resnet": ({"embedding_size": 8, **STAGES}, "pooler"),
    "sam_vision_model": ({**PATCHES, "output_channels": 24, "window_size": 4, "global_attn_indexes": [],
                          "num_pos_feats": 8}, "mean"),
    "segformer": ({**STAGES, "decoder_hidden_size": 8}, "mean"),
    "swin": ({"image_size": SIZE, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}, "pooler"),
    "vit_mae": (PATCHES, "cls"),
    "vit_msn": (PATCHES, "cls"),
    "yolos": ({**PATCHES, "image_size": [SIZE, SIZE]}, "pooler"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MORE_VISIONS)
@pytest.mark.parametrize("pretrained", [True, False])
def test_vision_towers_are_pooled_by_what_their_output_has(tiny_bert_dir, tmp_path, kind, pretrained):
    fields, pooling = MORE_VISIONS[kind]
    config = AutoConfig.for_model(kind, **fields)
    vision = config
    if pretrained:
        AutoModel.from_config(config).save_pretrained(tmp_path)
        vision = str(tmp_path)
    model = DIMModel.from_towers(str(tiny_bert_dir), vision)
    found = model.config.vision_pooling
    assert found == pooling
    size = getattr(config, "image_size", None) or 64
    pixels = torch.rand(2, 3, *(size if isinstance(size, list) else (size, size)))
    first, second = (model.pool_pictures(pixels) for _ in range(2))
    torch.testing.assert_close(first, second)
    ids = torch.tensor([[2, 9, 3]] * 2)
    loss = model(mention_input_ids=ids, entity_input_ids=ids, pixel_values=pixels, labels=torch.tensor([0, 1])).loss
    assert torch.isfinite(loss)


NO_TEXTS = ["bart", "decision_transformer", "dinov2", "fnet", "marian", "vit", "wav2vec2", "whisper"]
NO_PICTURES = [
    *("bert", "blip-2", "clip", "detr", "dim", "imagegpt", "siglip2_vision_model", "timesformer", "timm_wrapper"),
    *("trocr", "videomae", "wav2vec2", "xclip_vision_model"),
]
NO_TOWERS = [*(("text", kind) for kind in NO_TEXTS), *(("vision", kind) for kind in NO_PICTURES)]


@pytest.mark.parametrize(("side", "kind"), NO_TOWERS)
def test_what_is_no_tower_is_refused_in_one_line_when_the_model_is_built(side, kind):
    other = {"vision_config": None, "mention_modalities": ["sentence"], "entity_pictures": False}
    fields = other if side == "text" else {}
    config = DIMConfig(**(fields | {f"{side}_config": AutoConfig.for_model(kind).to_dict() | {"model_type": kind}}))
    with torch.device("meta"), pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared below
        DIMModel(config)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("kind", ["llava", "groupvit", "align", "xclip"])
def test_checkpoint_whose_features_dim_cannot_compute_is_refused(tiny_bert_dir, tmp_path, kind):
    tiny = {**SMALL, "vocab_size": 200, "image_size": SIZE, "patch_size": 8}
    if kind == "llava":
        fields = {"text_config": {"model_type": "qwen2", **SMALL, "vocab_size": 99},
                  "vision_config": {"model_type": "clip_vision_model", **PATCHES}, "image_token_index": 7}  # fmt: skip
    else:
        fields = {"text_config": tiny, "vision_config": tiny}
    if kind == "groupvit":
        fields["vision_config"] = tiny | {"depths": [1, 1, 1], "num_group_tokens": [8, 4, 0]}
    if kind == "align":
        fields["vision_config"] = {"width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 32}
    config = AutoConfig.for_model(kind, **fields)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_bert_dir).save_pretrained(tmp_path)
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared below
        DIMModel.from_towers(str(tmp_path))
    assert "choose another" in str(error.value) or "choose a" in str(error.value)
    assert "\n" not in str(error.value)

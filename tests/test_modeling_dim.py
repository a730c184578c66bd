"""DIMModel: shapes, masks, gradients, round trips, towers, and use with other libraries."""

import copy

import pytest
import torch
from PIL import Image
from tiny_inputs import BATCH, POOL, tiny_inputs
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModel, CLIPModel, ResNetConfig, Trainer, TrainingArguments
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import logging

from dim import DIMConfig, DIMModel, DIMProcessor
from dim.layers_dim import DIMAttention
from dim.pretrained_dim import suggest_pooling
from dim.towers_dim import pool

WIDTH = 32
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def tiny_config(**fields):
    text = {"model_type": "clip_text_model", "vocab_size": 40, "max_position_embeddings": 16, "eos_token_id": 39,
            "bos_token_id": 38, "pad_token_id": 0, **TOWER}  # fmt: skip
    vision = {"model_type": "clip_vision_model", "image_size": 16, "patch_size": 8, **TOWER}
    defaults = {"text_config": text, "vision_config": vision, "projection_dim": WIDTH, "num_attention_heads": 4}
    return DIMConfig(**(defaults | fields))


def mention_part(inputs):
    return {k: v for k, v in inputs.items() if not k.startswith("entity_") and k != "labels"}


def entity_part(inputs):
    return {k: v for k, v in inputs.items() if k.startswith("entity_")}


@pytest.fixture(scope="module")
def built():
    torch.manual_seed(0)
    return DIMModel(tiny_config()).eval()


@pytest.fixture
def model(built):
    return copy.deepcopy(built)


def test_nothing_of_the_device_is_read_but_masks_of_pictures(model, monkeypatch):
    """The host waits for what it reads of a GPU; masks of pictures may stay on the CPU. Here, the CPU is the GPU."""
    monkeypatch.setattr("dim.towers_dim._is_gpu", lambda value: True)
    inputs = tiny_inputs()
    model(**inputs)  # tries the text tower
    read, labels = [], inputs["labels"].as_subclass(_OnGpu)

    class Reads(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            indices = args[1] if len(args) > 1 and isinstance(args[1], list) else []
            masks = [each for each in indices if isinstance(each, torch.Tensor) and each.dtype == torch.bool]
            if masks or function.name().startswith(("aten::_local_scalar_dense", "aten::nonzero", "aten::equal")):
                read.append(function.name())
            return function(*args, **(kwargs or {}))

    with Reads():
        model(**{**inputs, "labels": labels}).loss.backward()
    assert read == ["aten::nonzero"] * 2  # the pictures of mentions and of entities


class _OnGpu(torch.Tensor):
    """A tensor that says that it is on a GPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    is_cuda = True


def test_output_shapes(model):
    output = model(**tiny_inputs())
    assert output.loss.shape == ()
    assert output.logits.shape == (BATCH, POOL)
    assert output.mention_embeds.shape == (BATCH, 2 * WIDTH)
    assert output.entity_embeds.shape == (POOL, 2 * WIDTH)
    assert output.modality_attentions.shape == (BATCH, 4, 3)
    assert output.text_model_output.last_hidden_state.shape == (POOL, 5, 32)
    assert output.vision_model_output.pooler_output.shape == (2, 32)  # two mentions have a picture
    lengths = output.mention_embeds.view(BATCH, 2, WIDTH).norm(dim=2)
    torch.testing.assert_close(lengths, torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]))  # the last: no picture


def test_tuple_equals_dict(model):
    inputs = tiny_inputs()
    as_dict, as_tuple = model(**inputs), model(**inputs, return_dict=False)
    assert isinstance(as_tuple, tuple)
    assert torch.equal(as_tuple[0], as_dict.loss)
    assert torch.equal(as_tuple[1], as_dict.logits)


def test_features_are_what_is_scored(model):
    inputs = tiny_inputs()
    mentions = model.get_mention_features(**mention_part(inputs))
    entities = model.get_entity_features(**entity_part(inputs))
    output = model(**inputs)
    assert torch.equal(mentions, output.mention_embeds)
    torch.testing.assert_close(model.score(mentions, entities), output.logits)
    torch.testing.assert_close(mentions @ entities.T * model.logit_scale(), output.logits)


def test_raw_dot_product_of_the_paper():
    torch.manual_seed(0)
    model = DIMModel(tiny_config(normalize=False)).eval()
    output = model(**tiny_inputs())
    assert torch.equal(output.logits, output.mention_embeds @ output.entity_embeds.T)
    assert not hasattr(model, "logit_scale")


def test_attention_ignores_what_is_absent(model):
    """The content of a masked picture or caption does not change the mention's vector, to the last bit."""
    inputs = mention_part(tiny_inputs())
    clean = model.get_mention_features(**inputs)
    inputs["pixel_values"][2] = 1e4
    inputs["expert_input_ids"][1] = 7
    assert torch.equal(model.get_mention_features(**inputs), clean)
    weights = model(**tiny_inputs()).modality_attentions
    assert weights[2, :, 1].abs().max() == 0  # picture of mention 2
    assert weights[1, :, 2].abs().max() == 0  # answer of mention 1
    torch.testing.assert_close(weights.sum(-1), torch.ones(BATCH, 4))


def test_missing_picture_is_not_a_black_one(model):
    inputs = mention_part(tiny_inputs())
    black = inputs | {"pixel_values": torch.zeros_like(inputs["pixel_values"]), "pixel_mask": torch.ones(3).bool()}
    without = inputs | {"pixel_mask": torch.zeros(3).bool()}
    assert not torch.allclose(model.get_mention_features(**black), model.get_mention_features(**without), atol=1e-3)


@pytest.mark.parametrize(
    ("place", "fields"),
    [(1, ["pixel_values", "pixel_mask"]), (2, ["expert_input_ids", "expert_attention_mask", "expert_mask"])],
)
def test_what_the_batch_lacks_equals_what_is_masked(model, place, fields):
    """Equal to the last bit; a missing modality is not computed, and has weight 0."""
    inputs = mention_part(tiny_inputs())
    masked = model(**inputs | {fields[-1]: torch.zeros(3).bool()})
    without = model(**{name: value for name, value in inputs.items() if name not in fields})
    assert torch.equal(without.mention_embeds, masked.mention_embeds)
    assert torch.equal(without.modality_attentions, masked.modality_attentions)
    assert without.modality_attentions[..., place].abs().max() == 0
    torch.testing.assert_close(without.modality_attentions.sum(-1), torch.ones(BATCH, 4))


@pytest.mark.parametrize("fields", [["pixel_values", "pixel_mask"], ["expert_input_ids", "expert_mask"]])
def test_dropout_does_not_hang_on_what_the_batch_lacks(model, fields):
    model.train()
    model.attention.dropout.p = 0.5
    inputs = mention_part(tiny_inputs())
    runs = (inputs | {fields[-1]: torch.zeros(3).bool()}, {k: v for k, v in inputs.items() if k not in fields})
    found = []
    for run in runs:
        torch.manual_seed(0)
        found.append(model(**run).mention_embeds)
    torch.testing.assert_close(*found)


def test_mention_alone_has_a_vector(model):
    vectors = model.get_mention_features(mention_input_ids=tiny_inputs()["mention_input_ids"])
    assert torch.isfinite(vectors).all()
    output = model(
        **tiny_inputs(sentence_input_ids=None, pixel_mask=torch.zeros(3).bool(), expert_mask=torch.zeros(3).bool())
    )
    assert output.modality_attentions.abs().sum() == 0


def test_rows_do_not_see_each_other(model):
    inputs = mention_part(tiny_inputs())
    together = model.get_mention_features(**inputs)
    alone = torch.cat(
        [model.get_mention_features(**{k: v[i : i + 1] for k, v in inputs.items()}) for i in range(BATCH)]
    )
    torch.testing.assert_close(together, alone)


def test_entity_pictures_are_averaged_over_those_present(model):
    inputs = entity_part(tiny_inputs())
    clean = model.get_entity_features(**inputs)
    inputs["entity_pixel_values"][1, 1] = 9.0  # masked
    assert torch.equal(model.get_entity_features(**inputs), clean)
    doubled = inputs | {"entity_pixel_values": inputs["entity_pixel_values"][:, :1].repeat(1, 2, 1, 1, 1),
                        "entity_pixel_mask": torch.ones(POOL, 2).bool()}  # fmt: skip
    single = inputs | {"entity_pixel_values": inputs["entity_pixel_values"][:, :1],
                       "entity_pixel_mask": torch.ones(POOL, 1).bool()}  # fmt: skip
    torch.testing.assert_close(model.get_entity_features(**doubled), model.get_entity_features(**single))


def test_attention_equals_torch():
    """The explicit attention against torch's own, with a mask."""
    torch.manual_seed(0)
    ours = DIMAttention(tiny_config(dropout=0.0))
    for linear in (ours.q_proj, ours.k_proj, ours.v_proj, ours.out_proj):
        torch.nn.init.normal_(linear.weight, std=0.3)
    theirs = torch.nn.MultiheadAttention(WIDTH, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.q_proj.weight, ours.k_proj.weight, ours.v_proj.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.q_proj.bias, torch.zeros(WIDTH), ours.v_proj.bias]))
        theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    mention, others = torch.randn(BATCH, WIDTH), torch.randn(BATCH, 3, WIDTH)
    presence = torch.tensor([[True, True, True], [True, False, True], [False, False, True]])
    expected, weights = theirs(mention[:, None], others, others, key_padding_mask=~presence, average_attn_weights=False)
    context, ours_weights = ours(mention, others, presence, [0, 1, 2])
    torch.testing.assert_close(context, expected[:, 0])
    torch.testing.assert_close(ours_weights, weights[:, :, 0])


def test_sum_is_the_unprojected_sum():
    torch.manual_seed(0)
    model = DIMModel(tiny_config(fusion="sum", normalize=False)).eval()
    inputs = tiny_inputs()
    m = model.text_projection(model.pool_texts(inputs["mention_input_ids"]))
    t = model.text_projection(model.pool_texts(inputs["sentence_input_ids"]))
    c = model.text_projection(model.pool_texts(inputs["expert_input_ids"])) * inputs["expert_mask"][:, None]
    v = model.visual_projection(model.pool_pictures(inputs["pixel_values"])) * inputs["pixel_mask"][:, None]
    torch.testing.assert_close(model.get_mention_features(**mention_part(inputs)), m + t + v + c)
    assert model(**inputs).modality_attentions is None
    assert not hasattr(model, "attention")


@pytest.mark.parametrize(
    "fields", [{}, {"fusion": "sum"}, {"fusion": "pairs"}, {"normalize": False}, {"text_pooling": "mean"}]
)
def test_gradients_reach_every_parameter(fields):
    torch.manual_seed(0)
    model = DIMModel(tiny_config(dropout=0.0, **fields)).train()
    model(**tiny_inputs()).loss.backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A CLIP tower sees every position and token only of long texts: its tables get gradients where they are used.
    assert dead == []


def test_loss_is_n_pair_plus_length_before_normalisation(model):
    inputs = tiny_inputs()
    output = model(**inputs)
    mentions, _, _ = model._mention_vectors(mention_part(inputs))
    entities, _ = model._entity_vectors(entity_part(inputs))
    n_pair = torch.nn.functional.cross_entropy(output.logits, inputs["labels"])
    penalty = mentions.square().sum(1).mean() + entities.square().sum(1).mean()
    torch.testing.assert_close(output.loss, n_pair + 0.02 * penalty)
    assert penalty > 2.1  # unit vectors would have exactly 2


def pairs_model(**fields):
    torch.manual_seed(3)
    model = DIMModel(tiny_config(fusion="pairs", **fields)).eval()
    with torch.no_grad():
        for parameter in model.picture_match.parameters():
            parameter.add_(torch.randn_like(parameter) / 8)
    return model


def test_pairs_are_the_sum_of_two_cosines():
    model, inputs = pairs_model(), tiny_inputs(labels=None)
    logits, match = model(**inputs).logits, model.picture_match
    plain = DIMModel(tiny_config(entity_pictures=False)).eval()  # the mention's vector of the paper
    plain.load_state_dict(model.state_dict(), strict=False)
    fused = plain.get_mention_features(**mention_part(inputs))
    words = plain.get_entity_features(entity_input_ids=inputs["entity_input_ids"])

    def unit(vectors):
        return torch.nn.functional.normalize(vectors, dim=-1)

    def looks(pixels):
        return unit(model.visual_projection(model.pool_pictures(pixels[None])))[0]

    for row in range(BATCH):
        for column in range(POOL):
            mask = inputs["entity_pixel_mask"][column]
            own = [looks(pixels) for pixels in inputs["entity_pixel_values"][column][mask]]
            entity = match.projection(torch.stack(own).mean(0)) if own else match.missing
            mention = match.projection(looks(inputs["pixel_values"][row]))
            pictures = unit(mention) @ unit(entity) if inputs["pixel_mask"][row] else 0.0
            expected = fused[row] @ words[column] + match.log_weight.exp() * pictures
            torch.testing.assert_close(logits[row, column], model.logit_scale() * expected[0])
    vectors = model.get_mention_features(**mention_part(inputs)), model.get_entity_features(**entity_part(inputs))
    assert vectors[0].shape == (BATCH, model.config.vector_dim) == (BATCH, 2 * WIDTH)
    torch.testing.assert_close(model.logit_scale() * vectors[0] @ vectors[1].mT, logits)


@pytest.mark.parametrize("normalize", [True, False])
def test_scores_of_text_do_not_depend_on_pictures_of_entities(normalize):
    model = pairs_model(normalize=normalize)
    blind = tiny_inputs(pixel_values=None, pixel_mask=None, labels=None)
    bare = blind | {"entity_pixel_mask": torch.zeros(POOL, 2, dtype=torch.bool)}
    without = {name: value for name, value in blind.items() if not name.startswith("entity_pixel")}
    for inputs in (bare, without):
        assert torch.equal(model(**blind).logits, model(**inputs).logits)
    seen = tiny_inputs(labels=None)
    assert not torch.equal(
        model(**seen).logits, model(**seen | {"entity_pixel_mask": bare["entity_pixel_mask"]}).logits
    )


def test_entity_without_pictures_scores_what_was_learned():
    model = pairs_model()
    inputs = tiny_inputs(labels=None, entity_pixel_mask=torch.zeros(POOL, 2, dtype=torch.bool))
    blocks = model.get_entity_features(**entity_part(inputs)).chunk(2, -1)[1]
    missing = torch.nn.functional.normalize(model.picture_match.missing, dim=-1) * model.picture_match.log_weight.exp()
    torch.testing.assert_close(blocks, missing.expand(POOL, -1))
    left = tiny_inputs(labels=None, entity_pixel_values=None, entity_pixel_mask=None)
    torch.testing.assert_close(model(**left).logits, model(**inputs).logits)


def test_mean_of_mention_vectors_is_normalised_by_block():
    model, inputs = pairs_model(), tiny_inputs(labels=None)
    vectors = model.get_mention_features(**mention_part(inputs))
    lengths = model.normalize_vectors(vectors[:2].mean(0)).view(2, WIDTH).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones(2))
    torch.testing.assert_close(model.normalize_vectors(vectors), vectors)  # the last one has no picture


def with_prior(seed=0):
    """A model whose lexical prior has an effect, and features for it."""
    torch.manual_seed(seed)
    model = DIMModel(tiny_config(num_lexical_features=3, dropout=0.0))
    torch.nn.init.normal_(model.lexical_prior.output_weight)
    torch.nn.init.constant_(model.lexical_prior.vector_weight, 0.5)
    return model, torch.rand(BATCH, POOL, 3)


def test_lexical_prior_is_silent_before_training():
    model = DIMModel(tiny_config(num_lexical_features=3)).eval()
    features = torch.rand(BATCH, POOL, 3)
    inputs = tiny_inputs()
    assert torch.equal(model(**inputs, lexical_features=features).logits, model(**inputs).logits)


def test_lexical_prior_is_a_small_network_on_top():
    model, features = with_prior()
    inputs = tiny_inputs()
    bare, found = model.eval()(**inputs), model(**inputs, lexical_features=features)
    prior = model.lexical_prior
    for row in range(BATCH):
        for column in range(POOL):
            hidden = prior.hidden.weight @ features[row, column] + prior.hidden.bias
            expected = 0.5 * bare.logits[row, column] + prior.output_weight @ torch.nn.functional.gelu(hidden)
            torch.testing.assert_close(found.logits[row, column], expected)
    losses = [torch.nn.functional.cross_entropy(logits, inputs["labels"]) for logits in (found.logits, bare.logits)]
    penalty = bare.loss - losses[1]
    torch.testing.assert_close(found.loss, sum(losses) / 2 + penalty)


def test_lexical_prior_learns_and_travels(tmp_path):
    model, features = with_prior()
    model(**tiny_inputs(), lexical_features=features).loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.lexical_prior.parameters())
    model.eval().save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    inputs = tiny_inputs(lexical_features=features)
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)


def test_lexical_features_must_fit(model):
    inputs = tiny_inputs()
    with pytest.raises(ValueError, match=r"must have shape \(3, 4, 0\), got \(3, 4, 2\)"):
        model(**inputs, lexical_features=torch.rand(BATCH, POOL, 2))
    with pytest.raises(ValueError, match=r"must have shape \(3, 4, 3\), got \(3, 4, 2\)"):
        with_prior()[0](**inputs, lexical_features=torch.rand(BATCH, POOL, 2))


def test_missing_lexical_features_are_named_once(caplog):
    logging.warning_once.cache_clear()
    model, _ = with_prior()
    inputs = {name: value for name, value in tiny_inputs().items() if name not in ("labels", "entity_ids")}
    vectors = torch.randn(2, model.config.projection_dim), torch.randn(3, model.config.projection_dim)
    whole = model.eval()(**inputs)
    assert torch.equal(model.score(*vectors), model.score(*vectors, False))
    assert torch.equal(whole.logits, model(**inputs, lexical_features=False).logits)
    (told,) = caplog.messages
    assert "lexical prior" in told
    assert "processor.lexical_features" in told


def test_vectors_are_compared_alone_on_purpose_without_a_word(caplog, model):
    logging.warning_once.cache_clear()
    with_a_prior, features = with_prior()
    pairs = torch.randn(2, with_a_prior.config.projection_dim), torch.randn(2, 3, with_a_prior.config.projection_dim)
    for lexical_features in (None, False, features):  # with labels, a loss may leave the prior out
        assert torch.isfinite(with_a_prior(**tiny_inputs(), lexical_features=lexical_features).loss)
    with_a_prior.score_pairs(*pairs, False)
    model(**{name: value for name, value in tiny_inputs().items() if name != "labels"})
    assert caplog.messages == []


def test_pooled_vectors_stand_in_for_towers(model):
    inputs = tiny_inputs()
    pooled = {f"{side}_pooled": model.pool_texts(inputs[f"{side}_input_ids"]) for side in
              ("mention", "sentence", "expert", "entity")}  # fmt: skip
    pooled["image_pooled"] = model.pool_pictures(inputs["pixel_values"])
    flat = model.pool_pictures(inputs["entity_pixel_values"].flatten(0, 1))
    pooled["entity_image_pooled"] = flat.view(POOL, 2, -1)
    masks = {name: inputs[name] for name in ("expert_mask", "pixel_mask", "entity_pixel_mask")}
    torch.testing.assert_close(model(**pooled, **masks).logits, model(**inputs).logits)


@pytest.mark.parametrize(
    "fields", [{}, {"fusion": "sum"}, {"fusion": "pairs"}, {"normalize": False}, {"entity_pictures": False}]
)
def test_round_trip_is_exact(fields, tmp_path):
    torch.manual_seed(0)
    model = DIMModel(tiny_config(**fields)).eval()
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is DIMModel
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    assert torch.equal(loaded(**tiny_inputs()).logits, model(**tiny_inputs()).logits)


def test_config_tells_no_path(tiny_clip_dir, tmp_path):
    DIMModel.from_towers(str(tiny_clip_dir)).save_pretrained(tmp_path)
    assert str(tiny_clip_dir.parent) not in (tmp_path / "config.json").read_text()


def test_clip_towers_come_with_their_projections(tiny_clip_dir):
    """Before training, DIM on CLIP texts and pictures gives CLIP's own features."""
    clip = CLIPModel.from_pretrained(tiny_clip_dir).eval()
    model = DIMModel.from_towers(str(tiny_clip_dir), num_attention_heads=4)
    assert model.config.projection_dim == clip.config.projection_dim
    ids, pixels = torch.tensor([[5, 6, clip.config.text_config.eos_token_id]]), torch.randn(2, 3, 32, 32)
    text = model.text_projection(model.pool_texts(ids))
    torch.testing.assert_close(text, clip.get_text_features(input_ids=ids).pooler_output)
    picture = model.visual_projection(model.pool_pictures(pixels))
    torch.testing.assert_close(picture, clip.get_image_features(pixel_values=pixels).pooler_output)
    expected = torch.nn.functional.normalize(text, dim=-1)
    torch.testing.assert_close(model.get_entity_features(entity_input_ids=ids)[:, : expected.shape[1]], expected)
    seen = torch.nn.functional.normalize(picture, dim=-1)
    mention = model.get_mention_features(mention_input_ids=ids.expand(2, -1), pixel_values=pixels)
    torch.testing.assert_close(mention[:, expected.shape[1] :], seen)


def test_untrained_attention_adds_the_mean_of_the_modalities(model):
    inputs = mention_part(tiny_inputs())
    unit = torch.nn.functional.normalize
    m, t, c = (unit(model.text_projection(model.pool_texts(inputs[f"{s}_input_ids"])), dim=-1)
               for s in ("mention", "sentence", "expert"))  # fmt: skip
    v = unit(model.visual_projection(model.pool_pictures(inputs["pixel_values"])), dim=-1)
    for linear in (model.attention.q_proj, model.attention.k_proj):
        torch.nn.init.zeros_(linear.weight)
    expected = unit(m[0] + (t[0] + v[0] + c[0]) / 3, dim=-1)
    torch.testing.assert_close(model.get_mention_features(**inputs)[0], torch.cat([expected, v[0]]))


def test_bert_and_resnet_towers(tiny_bert_dir):
    vision = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    model = DIMModel.from_towers(str(tiny_bert_dir), vision, projection_dim=16, num_attention_heads=2)
    assert model.config.text_pooling == "mean"
    inputs = tiny_inputs(pixel_mask=torch.zeros(3).bool())  # batch norm has nothing to see: no error
    model.train()(**inputs).loss.backward()
    assert not any("pooler" in name for name, _ in model.text_model.named_parameters())


def test_two_checkpoints(tiny_bert_dir, tiny_clip_dir):
    model = DIMModel.from_towers(str(tiny_bert_dir), str(tiny_clip_dir), projection_dim=32, num_attention_heads=4)
    clip = CLIPModel.from_pretrained(tiny_clip_dir)
    assert torch.equal(model.visual_projection.weight, clip.visual_projection.weight)
    assert model.config.text_config.model_type == "bert"


def test_text_tower_alone_makes_a_model_of_texts(tiny_bert_dir):
    model = DIMModel.from_towers(str(tiny_bert_dir), projection_dim=16, num_attention_heads=2)
    assert model.config.vision_config is None
    assert not hasattr(model, "vision_model")


@pytest.mark.parametrize("model_type", ["xlm-roberta", "siglip_text_model"])
def test_other_text_towers(model_type):
    text = {"model_type": model_type, "vocab_size": 40, "max_position_embeddings": 20,
            "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 39, **TOWER}  # fmt: skip
    if "siglip" in model_type:
        text["projection_size"] = 24
    pooling = "pooler" if "siglip" in model_type else "mean"
    model = DIMModel(tiny_config(text_config=text, text_pooling=pooling)).eval()
    assert torch.isfinite(model(**tiny_inputs()).loss)


@pytest.mark.parametrize("model_type", ["siglip_vision_model", "dinov2", "vit"])
def test_other_vision_towers(model_type):
    vision = {"model_type": model_type, "image_size": 16, "patch_size": 8, **TOWER}
    model = DIMModel(tiny_config(vision_config=vision)).eval()
    assert torch.isfinite(model(**tiny_inputs()).loss)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_implementation_reaches_the_towers(model, implementation):
    expected = model(**tiny_inputs()).logits
    model.set_attn_implementation(implementation)
    assert model.text_model.config._attn_implementation == implementation
    assert model.vision_model.config._attn_implementation == implementation
    torch.testing.assert_close(model(**tiny_inputs()).logits, expected)


def test_activation_checkpointing_changes_no_gradient(model):
    model = DIMModel(tiny_config(dropout=0.0)).train()
    model(**tiny_inputs()).loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    assert model.text_model.encoder.layers[0].gradient_checkpointing
    model(**tiny_inputs()).loss.backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, expected[name])


def test_bfloat16(model):
    output = model.to(torch.bfloat16)(**tiny_inputs())
    assert output.mention_embeds.dtype == torch.bfloat16
    assert output.loss.dtype == torch.float32
    assert torch.isfinite(output.loss)


def test_temperature_is_bounded_and_can_fall_again(model):
    with torch.no_grad():
        model.logit_scale.log_scale.fill_(50.0)
    torch.testing.assert_close(model.logit_scale(), torch.tensor(100.0))
    model(**tiny_inputs()).loss.backward()
    assert model.logit_scale.log_scale.grad.abs().sum() > 0
    model.logit_scale.clamp()
    torch.testing.assert_close(model.logit_scale.log_scale.exp(), torch.tensor([100.0]))
    scale = model.logit_scale.log_scale
    torch.optim.SGD([scale], lr=0.1).step()
    assert (scale.exp() < 100) == (scale.grad > 0)


@pytest.mark.parametrize("fusion", ["attention", "pairs", "sum"])
@pytest.mark.parametrize("kind", ["ids beyond the vocabulary", "no tokens", "pooled NaN"])
def test_absent_modality_may_hold_anything(fusion, kind):
    """Vectors, loss and gradients are those without it; 0 times NaN would be NaN."""
    torch.manual_seed(0)
    model = DIMModel(tiny_config(fusion=fusion, dropout=0.0, text_pooling="mean")).train()
    expert = torch.zeros(3).bool()
    inputs = tiny_inputs(expert_mask=expert)
    without = tiny_inputs(expert_input_ids=None, expert_mask=None)
    if kind == "ids beyond the vocabulary":
        inputs |= {"expert_input_ids": torch.full((3, 5), -100), "expert_attention_mask": torch.zeros(3, 5)}
    elif kind == "no tokens":
        inputs |= {"expert_input_ids": torch.zeros(3, 0), "expert_attention_mask": torch.zeros(3, 0)}
    else:
        del inputs["expert_input_ids"]
        inputs |= {"expert_pooled": torch.full((3, 32), torch.nan)}
    inputs["pixel_values"][2] = without["pixel_values"][2] = torch.nan
    expected, found = model(**without), model(**inputs)
    torch.testing.assert_close(found.mention_embeds, expected.mention_embeds)
    found.loss.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_text_without_tokens_has_a_finite_mean(model):
    outputs = BaseModelOutputWithPooling(last_hidden_state=torch.full((2, 3, 4), torch.nan))
    mask = torch.tensor([[0, 0, 0], [0, 0, 0]])
    assert pool(outputs, "mean", mask).abs().sum() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_pools_and_normalises_in_float32(dtype):
    states = torch.full((1, 4000, 8), 60.0, dtype=dtype)  # their sum is above float16's largest number
    outputs = BaseModelOutputWithPooling(last_hidden_state=states)
    for mask in (None, torch.ones(1, 4000, dtype=torch.long)):
        torch.testing.assert_close(pool(outputs, "mean", mask), torch.full((1, 8), 60.0, dtype=dtype))
    model = DIMModel(tiny_config()).to(dtype)
    assert model._unit(torch.zeros(1, 4, dtype=dtype)).abs().sum() == 0
    small = torch.full((1, 4), 1e-6, dtype=dtype)
    torch.testing.assert_close(model._unit(small), torch.full((1, 4), 0.5, dtype=dtype))


def test_padding_rows_have_no_part_in_the_loss(model):
    """Trainer pads the last batch's labels with -100."""
    inputs = tiny_inputs()
    part = {name: value[:2] if not name.startswith("entity_") else value for name, value in inputs.items()}
    padded = inputs | {"labels": torch.tensor([0, 1, -100])}
    torch.testing.assert_close(model(**padded).loss, model(**part).loss)


def test_text_longer_than_the_tower_is_refused(model):
    with pytest.raises(ValueError, match="A text has 17 tokens, but the text tower has 16 positions"):
        model.pool_texts(torch.ones(1, 17, dtype=torch.long))


def test_unknown_argument_is_refused(model):
    with pytest.raises(TypeError, match="pixels"):
        model(**tiny_inputs(), pixels=torch.zeros(1))


def test_mention_and_entity_need_text(model):
    with pytest.raises(ValueError, match="mention_input_ids or mention_pooled"):
        model(**tiny_inputs(mention_input_ids=None))
    with pytest.raises(ValueError, match="entity_input_ids or entity_pooled"):
        model(**tiny_inputs(entity_input_ids=None))


def test_unknown_tower_is_refused(tmp_path):
    with pytest.raises((OSError, ValueError), match="no-such-tower"):
        DIMModel.from_towers(str(tmp_path / "no-such-tower"))


def test_lora(model, tmp_path):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        task_type="FEATURE_EXTRACTION",
        target_modules=r".*(text_model|vision_model).*\.(q_proj|v_proj)",
        modules_to_save=["attention", "logit_scale"],
    )
    wrapped = peft.get_peft_model(copy.deepcopy(model), config)
    trainable = [name for name, p in wrapped.named_parameters() if p.requires_grad]
    assert any("logit_scale" in name for name in trainable)
    wrapped.train()
    optimizer = torch.optim.SGD([p for p in wrapped.parameters() if p.requires_grad], lr=0.5)
    wrapped(**tiny_inputs()).loss.backward()
    optimizer.step()
    wrapped.eval()
    expected = wrapped(**tiny_inputs()).logits
    assert not torch.allclose(expected, model(**tiny_inputs()).logits)
    wrapped.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(model), tmp_path).eval()
    torch.testing.assert_close(loaded(**tiny_inputs()).logits, expected)
    torch.testing.assert_close(wrapped.merge_and_unload()(**tiny_inputs()).logits, expected, rtol=1e-4, atol=1e-4)


def test_trainer_averages_over_accumulation_steps(tmp_path):
    """Two steps of accumulation over equal halves give the gradient of their mean, not of their sum."""
    rows = [{k: v[i] for k, v in tiny_inputs().items() if k != "labels" and len(v) > i} for i in range(3)]

    def collate(features):
        batch = {k: torch.stack([f[k] for f in features]) for k in features[0]}
        return batch | {"labels": torch.arange(len(features))}

    norms = []
    for accumulation in (1, 2):
        torch.manual_seed(0)
        model = DIMModel(tiny_config(dropout=0.0))
        arguments = TrainingArguments(
            str(tmp_path), per_device_train_batch_size=2, gradient_accumulation_steps=accumulation, max_steps=1,
            report_to="none", use_cpu=True, logging_steps=1, max_grad_norm=1e9, save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        same = [rows[0], rows[1]] * accumulation
        trainer = Trainer(model, arguments, train_dataset=same, data_collator=collate)
        trainer._get_train_sampler = lambda *a, same=same: torch.utils.data.SequentialSampler(same)
        trainer.train()
        norms.append(trainer.state.log_history[0]["grad_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_end_to_end_from_raw_input(tiny_clip_dir):
    model = DIMModel.from_towers(str(tiny_clip_dir), num_attention_heads=4)
    processor = DIMProcessor.from_towers(str(tiny_clip_dir))
    inputs = processor(
        mentions=["Turkey", "Turkey"],
        text=["Turkey is in the news.", "We ate Turkey."],
        images=[Image.new("RGB", (40, 30), "red"), None],
        expert_answers=["a red flag", None],
        names=["Turkey", "turkey"],
        descriptions=["a country", "a bird"],
        entity_images=[[Image.new("RGB", (8, 8))], []],
    )
    output = model(**inputs, labels=torch.tensor([0, 1]))
    assert output.logits.shape == (2, 2)
    assert torch.isfinite(output.loss)


@pytest.mark.parametrize(
    ("model_type", "pooling"),
    [("clip_text_model", "pooler"), ("siglip_text_model", "pooler"), ("bert", "mean"), ("xlm-roberta", "mean")],
)
def test_pooling_follows_how_the_tower_was_trained(model_type, pooling):
    assert suggest_pooling(AutoConfig.for_model(model_type)) == pooling

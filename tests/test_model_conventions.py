"""DIMModel by transformers' conventions: outputs of the towers, embeddings, initialisation, graphs, devices, PEFT."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_inputs import BATCH, POOL, tiny_inputs
from tiny_towers import save_text, save_vision
from transformers import AutoModel, CLIPConfig, CLIPModel

from dim import DIMConfig, DIMModel
from dim.configuration_dim import TOWER_OUTPUTS

TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
CLIP_TEXT = {"model_type": "clip_text_model", "vocab_size": 40, "max_position_embeddings": 16, "eos_token_id": 39,
             "bos_token_id": 38, "pad_token_id": 0, **TOWER}  # fmt: skip
CLIP_VISION = {"model_type": "clip_vision_model", "image_size": 16, "patch_size": 8, **TOWER}
BERT = {"model_type": "bert", "vocab_size": 40, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        **TOWER}  # fmt: skip
DINO = {"model_type": "dinov2", "image_size": 16, "patch_size": 8, **TOWER}
SIGLIP_TEXT = {"model_type": "siglip_text_model", "vocab_size": 40, "max_position_embeddings": 16, "pad_token_id": 0,
               "bos_token_id": 38, "eos_token_id": 39, "projection_size": 32, **TOWER}  # fmt: skip
SIGLIP_VISION = {"model_type": "siglip_vision_model", "image_size": 16, "patch_size": 8, **TOWER}
PAIRS = {
    "clip": {"text_config": CLIP_TEXT, "vision_config": CLIP_VISION},
    "bert-dinov2": {"text_config": BERT, "vision_config": DINO, "text_pooling": "mean", "vision_pooling": "cls"},
    "siglip": {"text_config": SIGLIP_TEXT, "vision_config": SIGLIP_VISION, "attend_to_padding": True},
}


def make_model(pair="clip", **fields):
    torch.manual_seed(0)
    config = copy.deepcopy(PAIRS[pair]) | {"projection_dim": 32, "num_attention_heads": 4, "dropout": 0.0}
    return DIMModel(DIMConfig(**(config | fields))).eval()


def make_inputs(labels=False):
    changes = {
        "labels": None,
        "sentence_attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    }
    if labels:
        changes |= {"labels": torch.tensor([0, 1, -100]), "entity_ids": torch.tensor([0, 1, 2, 0])}
    return tiny_inputs(**changes)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("by", ["argument", "config"])
def test_states_and_attentions_of_every_tower_pass(pair, by):
    model, wanted = make_model(pair, attn_implementation="eager"), {"output_hidden_states": True}
    wanted["output_attentions"] = True
    if by == "config":
        for config in (model.config, model.config.text_config, model.config.vision_config):
            config.output_hidden_states = config.output_attentions = True
    with torch.no_grad():
        output = model(**make_inputs(), **(wanted if by == "argument" else {}))
    rows = {"mention_model_output": BATCH, "sentence_model_output": BATCH, "expert_model_output": BATCH,
            "text_model_output": POOL, "vision_model_output": 2, "entity_vision_model_output": 4}  # fmt: skip
    assert set(rows) == set(TOWER_OUTPUTS)
    for name, count in rows.items():
        tower = output[name]
        assert (len(tower.hidden_states), len(tower.attentions)) == (3, 2), name
        assert {len(states) for states in (*tower.hidden_states, *tower.attentions)} == {count}, name
    torch.testing.assert_close(  # those of the text tower by itself
        output.text_model_output.hidden_states[1],
        model.text_model(make_inputs()["entity_input_ids"], output_hidden_states=True).hidden_states[1],
    )


def test_no_states_are_kept_unasked():
    output = make_model()(**make_inputs())
    assert all(output[name].get("hidden_states") is None for name in TOWER_OUTPUTS)


def test_token_embeddings_are_set_and_resized(tmp_path):
    model = make_model()
    before = model(**make_inputs()).logits
    model.resize_token_embeddings(50)
    torch.testing.assert_close(model(**make_inputs()).logits, before)
    assert model.config.text_config.vocab_size == 50
    model.save_pretrained(tmp_path)
    loaded = DIMModel.from_pretrained(tmp_path)
    assert loaded.get_input_embeddings().weight.shape == (50, 32)
    ids = make_inputs() | {"mention_input_ids": torch.full((BATCH, 5), 49)}
    torch.testing.assert_close(loaded(**ids).logits, model(**ids).logits)
    other = torch.nn.Embedding(60, 32)
    model.set_input_embeddings(other)
    assert model.get_input_embeddings() is other


def test_missing_weights_of_a_tower_are_drawn_by_its_own_rule():
    """CLIP draws the output projections of its attention far wider than transformers' default of 0.02."""
    fields = {name: {**PAIRS["clip"][name], "hidden_size": 64} for name in PAIRS["clip"]}
    config = DIMConfig(**fields, projection_dim=32, num_attention_heads=4)
    own = CLIPModel(CLIPConfig(text_config=fields["text_config"], vision_config=fields["vision_config"]))
    expected = own.text_model.encoder.layers[0].self_attn.out_proj.weight.std().item()
    for model in (DIMModel(config), DIMModel.from_pretrained(None, config=config, state_dict={})):
        for tower in (model.text_model, model.vision_model):
            assert tower.encoder.layers[0].self_attn.out_proj.weight.std().item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("pair", PAIRS)
def test_eager_equals_fused_attention(pair, dtype):
    model = make_model(pair).to(dtype)
    found = {}
    for kind in ("eager", "sdpa"):
        model.set_attn_implementation(kind)
        with torch.no_grad():
            output = model(**make_inputs())
        found[kind] = output.mention_embeds.float(), output.entity_embeds.float()
    tolerance = {torch.float16: 5e-3, torch.bfloat16: 2e-2, torch.float32: 1e-6}[dtype]
    torch.testing.assert_close(found["eager"], found["sdpa"], rtol=0, atol=tolerance)


@pytest.mark.parametrize("pair", PAIRS)
def test_one_graph(pair):
    """Without a break, forward and backward; traced, not compiled, which takes a minute."""
    model, inputs = make_model(pair).train(), make_inputs(labels=True)
    expected = model(**inputs)
    found = torch.compile(model, fullgraph=True, backend="aot_eager")(**inputs)
    torch.testing.assert_close(found.loss, expected.loss)
    torch.testing.assert_close(found.logits, expected.logits)
    expected.loss.backward()
    gradient = model.attention.q_proj.weight.grad.clone()
    model.zero_grad()
    found.loss.backward()
    torch.testing.assert_close(model.attention.q_proj.weight.grad, gradient)


def test_export_of_the_model_itself_takes_other_pictures_missing():
    model, inputs = make_model(), make_inputs()
    exported = torch.export.export(model, (), inputs).module()
    for mask in ([True, True, False], [False, False, False]):
        inputs["pixel_mask"] = torch.tensor(mask)
        torch.testing.assert_close(exported(**inputs).logits, model(**inputs).logits)


def test_layers_that_are_not_split_are_those_of_both_towers(tmp_path, tiny_bert_dir):
    save_text("bert", tiny_bert_dir, tmp_path / "text")
    save_vision("dinov2", tmp_path / "vision")
    model = DIMModel.from_towers(str(tmp_path / "text"), str(tmp_path / "vision"))
    towers = AutoModel.from_pretrained(tmp_path / "text"), AutoModel.from_pretrained(tmp_path / "vision")
    assert model._no_split_modules == {name for tower in towers for name in tower._no_split_modules}
    assert len(model._no_split_modules) > 2


def test_a_device_map_keeps_layers_whole(tmp_path):
    """On two devices, that of the second holding what the first has no room for."""
    make_model("bert-dinov2").save_pretrained(tmp_path)
    inputs = make_inputs()
    expected = DIMModel.from_pretrained(tmp_path)(**inputs).logits
    devices = {"text_model": "cpu", "vision_model": "disk"}
    rest = {name: "cpu" for name, _ in DIMModel.from_pretrained(tmp_path).named_children() if name not in devices}
    model = DIMModel.from_pretrained(tmp_path, device_map=devices | rest, offload_folder=str(tmp_path / "offload"))
    assert model.hf_device_map["vision_model"] == "disk"
    torch.testing.assert_close(model(**inputs).logits, expected)


@pytest.mark.parametrize("targets", ["all-linear", DIMModel.lora_target_modules])
def test_peft_finds_what_to_adapt(targets):
    model = get_peft_model(make_model(), LoraConfig(r=2, target_modules=targets))
    adapted = {name.split(".lora_A")[0] for name, _ in model.named_parameters() if ".lora_A" in name}
    assert any("text_model" in name and "q_proj" in name for name in adapted)
    assert any("vision_model" in name and "v_proj" in name for name in adapted)
    output = model(**make_inputs(labels=True))
    output.loss.backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if ".lora_B" in name)

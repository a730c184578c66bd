"""DIMConfig: defaults, round trip, and contradictory fields."""

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, BertConfig, Dinov2Config, MobileNetV2Config, ResNetConfig

from dim import DIMConfig
from dim.configuration_dim import tower_width


def test_defaults_are_the_papers():
    config = DIMConfig()
    assert (config.projection_dim, config.num_attention_heads, config.dropout) == (512, 8, 0.4)
    assert (config.fusion, config.l2_weight) == ("pairs", 0.02)
    assert config.text_config.model_type == "clip_text_model"
    assert config.vision_config.model_type == "clip_vision_model"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"text_config": {"model_type": "bert", "hidden_size": 384}, "vision_config": {"model_type": "dinov2"}},
        {"vision_config": None, "mention_modalities": ["sentence"], "entity_pictures": False, "normalize": False},
        {"fusion": "sum", "mention_modalities": ["picture"], "dropout": 0.0},
    ],
)
def test_round_trip_is_exact(fields, tmp_path):
    config = DIMConfig(**fields)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is DIMConfig
    assert loaded.to_dict() | {"_name_or_path": ""} == config.to_dict() | {"_name_or_path": ""}
    assert (loaded.vision_config is None) == (config.vision_config is None)


def test_sub_configs_are_chosen_by_model_type():
    config = DIMConfig(text_config={"model_type": "bert"}, vision_config=Dinov2Config(hidden_size=96))
    assert isinstance(config.text_config, BertConfig)
    assert tower_width(config.vision_config) == 96


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"projection_dim": 100}, r"projection_dim \(100\) is not a multiple of num_attention_heads \(8\)"),
        ({"num_attention_heads": 0}, "must be positive"),
        ({"dropout": 1.0}, r"dropout \(1.0\) must be at least 0 and below 1"),
        ({"l2_weight": -0.1}, r"l2_weight \(-0.1\) must not be negative"),
        ({"mention_modalities": ["sound"]}, r"mention_modalities \(\['sound'\]\) must name each of"),
        ({"mention_modalities": ["picture", "picture"]}, "at most once"),
        ({"vision_config": None}, "vision_config is None, but"),
        ({"mention_modalities": ["sentence"], "entity_pictures": False}, "set vision_config=None"),
        ({"fusion": "pairs", "mention_modalities": ["sentence"]}, r"pictures of both sides, but mention_modalities"),
        ({"fusion": "product"}, "fusion"),
        ({"projection_dim": "512"}, "projection_dim"),
        ({"text_config": {"model_type": "no-such"}}, "no-such"),
    ],
)
def test_contradictions_are_refused(fields, message):
    with pytest.raises((StrictDataclassError, ValueError), match=message):
        DIMConfig(**fields)


def test_wrong_type_is_refused_at_assignment():
    config = DIMConfig()
    with pytest.raises(StrictDataclassError, match="normalize"):
        config.normalize = "yes"


def test_tower_width():
    assert tower_width(ResNetConfig(hidden_sizes=[8, 16, 32, 64])) == 64
    assert tower_width(AutoConfig.for_model("siglip_text_model", hidden_size=32, projection_size=48)) == 48
    with pytest.raises(ValueError, match="mobilenet_v2.*neither hidden_size nor hidden_sizes"):
        tower_width(MobileNetV2Config())

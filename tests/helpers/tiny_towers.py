"""Tiny checkpoints of many kinds of towers, as the Hub holds them: weights, tokenizer, image processor."""

from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, CLIPImageProcessorPil, PreTrainedModel

SIZE = 32  # pixels
POSITIONS = 40
_TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_TEXT = {**_TOWER, "max_position_embeddings": POSITIONS, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
_VISION = {**_TOWER, "image_size": SIZE, "patch_size": 8}

# Checkpoints with both towers: the class, and fields beside those of every tower.
TWO_TOWERS: dict[str, tuple[str, dict, dict]] = {
    "clip": ("CLIPModel", {}, {}),
    "siglip": ("SiglipModel", {"projection_size": 32}, {}),
    "siglip-wide": ("SiglipModel", {"projection_size": 48}, {"hidden_size": 48}),
    "metaclip_2": ("MetaClip2Model", {}, {}),
    "chinese_clip": ("ChineseCLIPModel", {"type_vocab_size": 2}, {}),
    "altclip": ("AltCLIPModel", {"project_dim": 24, "pad_token_id": 1}, {}),
    "blip": ("BlipModel", {"encoder_hidden_size": 32}, {}),
    "clipseg": ("CLIPSegModel", {}, {}),
    "aimv2": ("Aimv2Model", {}, {}),
    "owlvit": ("OwlViTModel", {}, {}),
}
# One tower: the class, and fields beside those of every tower.
TEXTS: dict[str, tuple[str, dict]] = {
    "bert": ("BertModel", {}),
    "minilm": ("BertModel", {"hidden_size": 24}),
    "roberta": ("RobertaModel", {"pad_token_id": 0}),
    "siglip_text": ("SiglipTextModel", {"projection_size": 32}),
    "siglip2_text": ("Siglip2TextModel", {"projection_size": 32}),
    "t5": ("T5EncoderModel", {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}),
    "modernbert": ("ModernBertModel", {}),
}
VISIONS: dict[str, tuple[str, dict]] = {
    "vit": ("ViTModel", {}),
    "dinov2": ("Dinov2Model", {}),
    "dinov3_vit": ("DINOv3ViTModel", {}),
    "siglip_vision": ("SiglipVisionModel", {}),
    "clip_vision": ("CLIPVisionModel", {}),
}


def save_two_towers(kind: str, tokenizer: Path, folder: Path) -> Path:
    """Writes a checkpoint with both towers."""
    name, text, vision = TWO_TOWERS[kind]
    cls = getattr(transformers, name)
    vocabulary = {"vocab_size": len(AutoTokenizer.from_pretrained(tokenizer))}
    config = cls.config_class(text_config=_TEXT | vocabulary | text, vision_config=_VISION | vision, projection_dim=24)
    return _save(cls, config, tokenizer, folder)


def save_text(kind: str, tokenizer: Path, folder: Path) -> Path:
    """Writes a checkpoint of a text tower."""
    name, fields = TEXTS[kind]
    cls = getattr(transformers, name)
    vocabulary = {"vocab_size": len(AutoTokenizer.from_pretrained(tokenizer))}
    common = {} if kind == "t5" else _TEXT
    return _save(cls, cls.config_class(**(common | vocabulary | fields)), tokenizer, folder)


def save_vision(kind: str, folder: Path, without: tuple[str, ...] = (), **fields: object) -> Path:
    """Writes a checkpoint of a vision tower, without the weights whose names begin so."""
    name, own = VISIONS[kind]
    cls = getattr(transformers, name)
    return _save(cls, cls.config_class(**(_VISION | own | fields)), None, folder, without)


def _save(
    cls: type[PreTrainedModel], config: AutoConfig, tokenizer: Path | None, folder: Path, without: tuple[str, ...] = ()
) -> Path:
    torch.manual_seed(0)
    model = cls(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)  # biases, class tokens and norms start at 0 or 1
    kept = {name: weight for name, weight in model.state_dict().items() if not name.startswith(without or ("-",))}
    model.save_pretrained(folder, state_dict=kept)
    if tokenizer is not None:
        AutoTokenizer.from_pretrained(tokenizer, model_max_length=POSITIONS).save_pretrained(folder)
    square = {"height": SIZE, "width": SIZE}
    CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size=square).save_pretrained(folder)
    return folder
